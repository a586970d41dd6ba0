//! One endpoint by itself, as a command or a container runtime asks for it: checked as one of a file is, as far as it
//! can be without a file. What it has in common with others is for the planner to refuse.

use ipnet::IpNet;
use netpath_common::{ADDRESSES_MAX, PREFIXES_MAX};

use super::{
    Endpoint, IPV6_MIN_MTU, InterfaceName, MTU_RANGE, Name, TopologyErrors, address,
    check::{prefixes::Nets, reserved_name, too_small_for_ipv6},
    derived_host_dev,
    fault::{Fault, FaultKind},
    findings::At,
    read::DEV_DEFAULT,
};

/// What is asked for, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointText {
    /// Its name.
    pub name: String,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<String>,
    /// Prefixes that are routed to it.
    pub prefixes: Vec<String>,
    /// The interface inside; `eth0` where it is not said.
    pub dev: Option<String>,
    /// The interface in the node's namespace; made of the name where it is not said.
    pub host_dev: Option<String>,
    /// The MTU of both ends of the veth, in bytes; the least of the node's uplinks where it is not said.
    pub mtu: Option<u32>,
}

impl Endpoint {
    /// An endpoint of this node.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn of_text(node: &Name, text: &EndpointText) -> Result<Self, TopologyErrors> {
        let mut faults = Faults::default();
        let name = faults.take("name", text.name.parse::<Name>().map_err(Fault::from));
        if let Some(fault) = name.as_ref().and_then(|name| reserved_name(name, false)) {
            faults.add("name", fault);
        }
        let addresses = faults.list("address", &text.addresses, address::interface_address);
        let prefixes = faults.list("prefix", &text.prefixes, address::routed_prefix);
        let mut interface = |key, text: &Option<String>| {
            let text = text.as_deref()?;
            faults.take(key, text.parse::<InterfaceName>().map_err(Fault::from))
        };
        let dev = interface("dev", &text.dev);
        let host_dev = interface("host-dev", &text.host_dev);
        if let Some(name) = name.as_ref().filter(|_| faults.is_empty()) {
            faults.of_addresses(&addresses);
            faults.of_prefixes(name, &addresses, &prefixes);
        }
        if let (Some(name), Some(mtu)) = (&name, text.mtu) {
            faults.of_mtu(mtu, name, &addresses);
        }
        let name = match name {
            Some(name) if faults.is_empty() => name,
            _ => return Err(faults.into_errors(&text.name)),
        };
        Ok(Self {
            dev: dev.unwrap_or_else(|| InterfaceName::trusted(DEV_DEFAULT.to_owned())),
            host_dev: host_dev.unwrap_or_else(|| derived_host_dev(node, &name)),
            name,
            addresses,
            prefixes,
            mtu: text.mtu,
        })
    }
}

/// What is wrong so far, each with the option that it is about.
#[derive(Default)]
struct Faults(Vec<(&'static str, Fault)>);

impl Faults {
    fn add(&mut self, key: &'static str, fault: Fault) {
        self.0.push((key, fault));
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take<T>(&mut self, key: &'static str, read: Result<T, Fault>) -> Option<T> {
        read.map_err(|fault| self.add(key, fault)).ok()
    }

    fn list(
        &mut self,
        key: &'static str,
        texts: &[String],
        read: impl Fn(&str) -> Result<IpNet, Fault>,
    ) -> Vec<IpNet> {
        let read = texts.iter().map(|text| read(text));
        read.filter_map(|read| self.take(key, read)).collect()
    }

    fn of_addresses(&mut self, addresses: &[IpNet]) {
        const KEY: &str = "address";
        if addresses.is_empty() {
            let cure = "add at least one, such as 10.0.1.2/24";
            self.add(KEY, Fault::new(FaultKind::NoAddresses, "no address", cure));
        }
        self.at_most(KEY, ADDRESSES_MAX, addresses.len());
        for (index, address) in addresses.iter().enumerate() {
            let mut before = addresses[..index].iter();
            if before.any(|other| other.addr() == address.addr()) {
                let problem = format!("{address} stands there twice");
                let cure = "write each address once";
                self.add(KEY, Fault::new(FaultKind::DuplicateAddress, problem, cure));
            }
        }
    }

    fn of_prefixes(&mut self, name: &Name, addresses: &[IpNet], prefixes: &[IpNet]) {
        const KEY: &str = "prefix";
        self.at_most(KEY, PREFIXES_MAX, prefixes.len());
        let nowhere = |nets: &[IpNet]| -> Vec<At<IpNet>> {
            let nets = nets.iter().copied();
            nets.map(At::nowhere).collect()
        };
        let nets = Nets {
            name,
            addresses: &nowhere(addresses),
            prefixes: &nowhere(prefixes),
        };
        let faults = nets.faults(true).into_iter();
        faults.for_each(|(_, fault)| self.add(KEY, fault));
    }

    fn of_mtu(&mut self, mtu: u32, name: &Name, addresses: &[IpNet]) {
        const KEY: &str = "mtu";
        let has_ipv6 = addresses.iter().any(|address| address.addr().is_ipv6());
        if !MTU_RANGE.contains(&mtu) {
            let (least, most) = (MTU_RANGE.start(), MTU_RANGE.end());
            let problem = format!("{mtu} is no MTU");
            let cure = format!("write one of {least} to {most} bytes");
            self.add(KEY, Fault::new(FaultKind::OutOfRange, problem, cure));
        } else if has_ipv6 && mtu < IPV6_MIN_MTU {
            self.add(KEY, too_small_for_ipv6(mtu, name));
        }
    }

    fn at_most(&mut self, key: &'static str, most: usize, found: usize) {
        if found > most {
            let (problem, cure) = (format!("{found} of them"), format!("write at most {most}"));
            self.add(key, Fault::new(FaultKind::TooMany, problem, cure));
        }
    }

    fn into_errors(self, name: &str) -> TopologyErrors {
        let findings = self.0.into_iter().map(|(key, fault)| {
            let object = format!("endpoint {name:?}, {key}");
            fault.kind.kind().found(object, fault.problem, fault.cure)
        });
        TopologyErrors::of(findings.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(addresses: &[&str], prefixes: &[&str]) -> EndpointText {
        EndpointText {
            name: "c1".to_owned(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            prefixes: prefixes.iter().map(ToString::to_string).collect(),
            ..EndpointText::default()
        }
    }

    fn ids(text: &EndpointText) -> Vec<&'static str> {
        let node = "node03".parse().expect("a name");
        match Endpoint::of_text(&node, text) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.findings().iter().map(|it| it.id).collect(),
        }
    }

    #[test]
    fn what_is_not_said_is_as_in_a_file() {
        let node = "node03".parse().expect("a name");
        let text = text(&["10.0.1.2/24", "fd00:1::2/64"], &["10.9.0.0/28"]);
        let endpoint = Endpoint::of_text(&node, &text).expect("valid");
        assert_eq!(
            (endpoint.dev.as_ref(), endpoint.host_dev.as_ref()),
            ("eth0", "np-c1")
        );
        assert_eq!(endpoint.addresses.len(), 2);
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        let wrong = EndpointText {
            name: "../c1".to_owned(),
            dev: Some("a/b".to_owned()),
            ..text(&["10.0.1.2", "127.0.0.1/8"], &["0.0.0.0/0"])
        };
        let expected = [
            "bad_name",
            "no_prefix_length",
            "not_forwardable",
            "default_route",
            "bad_name",
        ];
        assert_eq!(ids(&wrong), expected);
        for (wrong, id) in [
            (text(&[], &[]), "no_addresses"),
            (
                text(&["10.0.1.2/24", "10.0.1.2/32"], &[]),
                "duplicate_address",
            ),
            (
                text(&["10.0.1.2/24"], &["10.0.1.2/32"]),
                "prefix_is_own_address",
            ),
            (
                text(&["10.0.1.2/24"], &["fd00::/64"]),
                "prefix_without_next_hop",
            ),
            (
                text(&["10.0.1.2/24"], &["10.9.0.0/24", "10.9.0.0/28"]),
                "prefix_overlap",
            ),
            (
                text(&["10.0.1.2/24"], &["10.9.0.0/24", "10.9.0.0/24"]),
                "duplicate_prefix",
            ),
        ] {
            assert_eq!(ids(&wrong), [id]);
        }
        for name in ["host", "default", "netpath-wire-x"] {
            let reserved = EndpointText {
                name: name.to_owned(),
                ..text(&["10.0.1.2/24"], &[])
            };
            assert_eq!(ids(&reserved), ["reserved_name"], "{name}");
        }
    }

    #[test]
    fn an_mtu_carries_what_the_endpoint_speaks() {
        let with = |addresses: &[&str], mtu| EndpointText {
            mtu: Some(mtu),
            ..text(addresses, &[])
        };
        for mtu in [68, 1280, 65535] {
            assert!(ids(&with(&["10.0.1.2/24"], mtu)).is_empty(), "{mtu}");
        }
        for wrong in [
            with(&["10.0.1.2/24"], 67),
            with(&["10.0.1.2/24"], 65536),
            with(&["10.0.1.2/24", "fd00:1::2/64"], 1279),
        ] {
            assert_eq!(ids(&wrong), ["out_of_range"], "{wrong:?}");
        }
    }
}
