//! A file for this machine, of what the machine has.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netpath::{
    model::Name,
    netlink::{Netlink, NetlinkError, RouteKind, Table},
    netns::Inside,
    sysctl,
};

use super::super::{Failure, Refusal};

/// The machine's name, as `hostname` prints it.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// What a machine without a name that a node can have is called.
const NODE_DEFAULT: &str = "node01";

/// What there is on the machine, as far as it matters here.
#[derive(Debug)]
pub(super) struct Machine {
    name: String,
    /// The interfaces by which its default routes leave.
    uplinks: BTreeSet<String>,
    /// Its addresses' prefixes, and where its routes lead, but for default routes.
    taken: Vec<IpNet>,
    /// Not with `ipv6.disable=1`: a file with IPv6 addresses is refused there.
    has_ipv6: bool,
}

impl Machine {
    /// Looks at the calling thread's namespace. Anybody may, where nobody may enter one, not even this.
    pub(super) fn look() -> Result<Self, Failure> {
        let found = Netlink::open(&Inside::current()).and_then(|netlink| find(&netlink));
        let (uplinks, taken) = found.map_err(|error| Failure::new(error.to_string()))?;
        Ok(Self {
            name: node_name(&fs::read_to_string(HOSTNAME).unwrap_or_default()),
            uplinks,
            taken,
            has_ipv6: sysctl::has_ipv6(),
        })
    }
}

fn find(netlink: &Netlink) -> Result<(BTreeSet<String>, Vec<IpNet>), NetlinkError> {
    let links = netlink.links()?;
    let addresses = netlink.all_addresses()?;
    let mut taken: Vec<IpNet> = addresses
        .iter()
        .map(|(_, found)| found.address.trunc())
        .collect();
    let mut uplinks = BTreeSet::new();
    for route in netlink.routes(Table::All)? {
        if route.dst.prefix_len() != 0 {
            taken.push(route.dst);
        } else if route.kind == RouteKind::Unicast {
            let indices = route.next_hops.iter().filter_map(|hop| hop.ifindex);
            let devs = indices.filter_map(|index| links.iter().find(|link| link.ifindex == index));
            uplinks.extend(devs.map(|link| link.name.clone()));
        }
    }
    Ok((uplinks, taken))
}

/// The machine's name up to the first dot, where a node can be called so.
fn node_name(host: &str) -> String {
    let name = host.trim().split('.').next().unwrap_or_default();
    let name = name.parse::<Name>();
    name.map_or_else(|_| NODE_DEFAULT.to_owned(), |name| name.to_string())
}

/// The file.
pub(super) fn starter(machine: &Machine) -> Result<String, Refusal> {
    let (v4, v6) = free(machine)?;
    let name = &machine.name;
    let uplinks: String = if machine.uplinks.is_empty() {
        UPLINK_MISSING.to_owned()
    } else {
        machine.uplinks.iter().map(|dev| uplink(dev)).collect()
    };
    let endpoints = [1, 2].map(|number| endpoint(number, v4, v6)).concat();
    Ok(format!(
        "# This machine as a node, as `netpath init --host` found it. netpath changes no setting, address or route that it\n\
         # did not make: what it needs and does not find (forwarding, say) `netpath up -f FILE` names, with the command.\n\
         \n\
         [[node]]\n\
         name = \"{name}\"\n\
         netns = \"host\"              # this machine\n\
         #bypass = [\"forward\"]       # what of the kernel's doing may be passed by knowingly (netpath audit); default nothing\n\
         #expedite = false           # while `up` is at work have the kernel expedite grace periods, for the whole machine\n\
         \n\
         {uplinks}\n\
         {ROUTE_EXAMPLE}\n\
         {endpoints}"
    ))
}

const ROUTE_EXAMPLE: &str = "\
#[[node.route]]             # what another node has, and the next hop to it: one for each prefix
#dst = \"10.0.3.0/24\"
#via = \"192.0.2.1\"
";

const UPLINK_MISSING: &str = "\
#[[node.uplink]]            # an interface towards other nodes: this machine has no default route to tell one by\n\
#dev = \"eth0\"\n";

fn uplink(dev: &str) -> String {
    format!(
        "[[node.uplink]]             # an interface towards other nodes: here what the default route leaves by\n\
         dev = {dev:?}\n"
    )
}

fn endpoint(number: u8, v4: Ipv4Net, v6: Option<Ipv6Net>) -> String {
    let [a, b, ..] = v4.network().octets();
    let v4 = Ipv4Addr::new(a, b, number, 2);
    let v6 = v6.map_or_else(String::new, |v6| {
        let [c, d, ..] = v6.network().segments();
        format!(", \"{c:x}:{d:x}:{number}::2/64\"")
    });
    let gap = if number == 1 { "\n" } else { "" };
    format!(
        "[[node.endpoint]]           # a pod, a container: a namespace with a veth into the node\n\
         name = \"pod0{number}\"              # its namespace: `ip netns exec pod0{number} ...`\n\
         addresses = [\"{v4}/24\"{v6}]\n{gap}"
    )
}

/// A prefix of each family that the machine has, which nothing on it overlaps.
fn free(machine: &Machine) -> Result<(Ipv4Net, Option<Ipv6Net>), Refusal> {
    // 77 first: no container engine's default is below it.
    let seconds = || (77..=254).chain(1..77);
    let private = [10, 172, 192].into_iter().flat_map(|first: u8| {
        seconds()
            .filter(move |second| match first {
                172 => (16..32).contains(second),
                192 => *second == 168,
                _ => true,
            })
            .map(move |second| (first, second))
    });
    let mut v4 = private.filter_map(|(a, b)| Ipv4Net::new(Ipv4Addr::new(a, b, 0, 0), 16).ok());
    let mut v6 = seconds().filter_map(|second| {
        let address = Ipv6Addr::new(0xfd77, u16::from(second), 0, 0, 0, 0, 0, 0);
        Ipv6Net::new(address, 32).ok()
    });
    let is_free = |net: IpNet| {
        !machine
            .taken
            .iter()
            .any(|other| net.contains(other) || other.contains(&net))
    };
    let v4 = v4.find(|net| is_free((*net).into()));
    let v6 = match machine.has_ipv6 {
        true => v6.find(|net| is_free((*net).into())).map(Some),
        false => Some(None),
    };
    v4.zip(v6).ok_or_else(|| {
        Refusal(
            "every private prefix overlaps a route or an address of this machine: write a file of `netpath init --lab`"
                .to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use netpath::model::{NodePlace, Topology};

    use super::*;

    fn machine(uplinks: &[&str], taken: &[&str]) -> Machine {
        Machine {
            name: "host1".to_owned(),
            uplinks: uplinks.iter().map(|dev| (*dev).to_owned()).collect(),
            taken: taken
                .iter()
                .map(|net| net.parse().expect("valid"))
                .collect(),
            has_ipv6: true,
        }
    }

    fn addresses(taken: &[&str]) -> Vec<String> {
        addresses_on(&machine(&["up0"], taken))
    }

    fn addresses_on(machine: &Machine) -> Vec<String> {
        let text = starter(machine).expect("free");
        let topology =
            Topology::parse("host.toml", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let node = &topology.nodes[0];
        assert_eq!(node.place, NodePlace::Host);
        let endpoints = node.endpoints.iter();
        endpoints
            .flat_map(|endpoint| endpoint.addresses.iter().map(ToString::to_string))
            .collect()
    }

    #[test]
    fn every_starter_is_valid() {
        for uplinks in [&[][..], &["eth0"], &["bond0.354", "wlan0"]] {
            let text = starter(&machine(uplinks, &[])).expect("free");
            let topology = Topology::parse("host.toml", &text);
            let topology = topology.unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(topology.nodes[0].uplinks.len(), uplinks.len());
            assert_eq!(topology.nodes[0].endpoints.len(), 2);
            assert!(text.lines().all(|line| line.len() <= 120), "{text}");
        }
    }

    #[test]
    fn addresses_are_free_on_the_machine() {
        let free = [
            "10.77.1.2/24",
            "fd77:4d:1::2/64",
            "10.77.2.2/24",
            "fd77:4d:2::2/64",
        ];
        assert_eq!(addresses(&[]), free);
        assert_eq!(
            addresses(&["10.77.7.0/24", "fd77:4d::/48"])[..2],
            ["10.78.1.2/24", "fd77:4e:1::2/64"]
        );
        assert_eq!(addresses(&["10.0.0.0/8"])[0], "172.16.1.2/24");
        assert_eq!(
            addresses(&["10.0.0.0/8", "172.16.0.0/12"])[0],
            "192.168.1.2/24"
        );
        let all = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
        let refusal = starter(&machine(&[], &all))
            .expect_err("nothing is free")
            .to_string();
        assert!(refusal.starts_with("every private prefix"), "{refusal}");
    }

    #[test]
    fn a_machine_without_ipv6_is_given_none() {
        let machine = Machine {
            has_ipv6: false,
            ..machine(&["up0"], &["10.77.7.0/24"])
        };
        assert_eq!(addresses_on(&machine), ["10.78.1.2/24", "10.78.2.2/24"]);
    }

    #[test]
    fn a_machines_name_is_its_nodes_where_it_can_be() {
        assert_eq!(node_name("web-7.example.org"), "web-7");
        for host in ["", "-x", "a b", "x".repeat(65).as_str()] {
            assert_eq!(node_name(host), NODE_DEFAULT, "{host}");
        }
    }
}
