//! What namespaces and interfaces are called: nodes and endpoints as netpath's records have them, other namespaces as `ip netns` does.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fs,
    net::IpAddr,
    path::Path,
};

use netpath_common::{Family, NetnsKind, text};

use super::{TraceError, packet::Behind};
use crate::{
    datapath::{self, Datapath, from_bytes},
    descriptors,
    netns::{NETNS_DIR, Netns},
};

/// What a namespace is to netpath.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A node.
    Node,
    /// An endpoint of a node.
    Endpoint {
        /// The node.
        node: String,
        /// The node's end of its veth.
        host_dev: String,
        /// Index of that.
        host_ifindex: u32,
        /// Its addresses.
        addresses: Vec<IpAddr>,
    },
    /// Neither.
    Other,
}

/// A namespace.
#[derive(Debug)]
pub struct Place {
    /// Of the node, the endpoint, or what `ip netns` calls it; `host` for the machine's own.
    pub name: String,
    /// What it is.
    pub role: Role,
    netns: Netns,
}

impl Place {
    /// To act in it.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its first address of a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        match &self.role {
            Role::Endpoint { addresses, .. } => addresses
                .iter()
                .copied()
                .find(|address| Family::of(*address) == family),
            Role::Node | Role::Other => None,
        }
    }
}

impl Place {
    /// An address of a family to send to: of a node the first of its interfaces'.
    pub fn reached_at(&self, family: Family) -> Option<IpAddr> {
        match self.role {
            Role::Node => self.netns.run(|| first(family)).ok().flatten(),
            Role::Endpoint { .. } | Role::Other => self.address(family),
        }
    }
}

/// All namespaces that have a name.
#[derive(Debug, Default)]
pub struct Places {
    by_number: BTreeMap<u32, Place>,
    /// The nodes.
    pub nodes: Vec<Datapath>,
    /// Nodes that cannot be read, and why.
    pub unread: Vec<String>,
    devices: RefCell<HashMap<(u32, u32), String>>,
    own: RefCell<HashMap<(u32, IpAddr), bool>>,
}

impl Places {
    /// As they are now.
    ///
    /// # Errors
    /// When netpath's directory cannot be read.
    pub fn now() -> Result<Self, TraceError> {
        // Else what is not seen for want of them seems not to be there.
        descriptors::require(1)?;
        let nodes = datapath::nodes()?;
        descriptors::require(nodes.len() + 1)?;
        let mut places = Self::default();
        places.enter(
            "host",
            Role::Other,
            Netns::at(Path::new("/proc/1/ns/net")).ok(),
        );
        places.enter("here", Role::Other, Netns::current().ok());
        for entry in fs::read_dir(NETNS_DIR).into_iter().flatten().flatten() {
            if let Some(name) = entry.file_name().to_str() {
                places.enter(name, Role::Other, Netns::named(name).ok());
            }
        }
        for name in nodes {
            match Datapath::open(&name) {
                Ok(Some(node)) => places.enter_node(node)?,
                Ok(None) => {}
                Err(error) => places.unread.push(error.to_string()),
            }
        }
        Ok(places)
    }

    fn enter_node(&mut self, node: Datapath) -> Result<(), TraceError> {
        let identity = node.maps.meta.get()?;
        let netns = match identity.netns_made {
            0 => Netns::current(),
            _ => Netns::named(node.name()),
        };
        // Another namespace of that name is not the node's.
        let is_its = |netns: &Netns| netns.cookie().ok() == Some(identity.netns_cookie);
        if let Some(netns) = netns.ok().filter(is_its) {
            self.enter(node.name(), Role::Node, Some(netns));
        }
        for (key, record) in node.maps.endpoint_records.all()? {
            let (Some(name), Some(host_dev)) = (text(&key.name), text(&record.host_dev)) else {
                continue;
            };
            let netns = match (
                NetnsKind::from_number(record.netns_kind),
                text(&record.netns_path),
            ) {
                (Some(NetnsKind::Given), Some(path)) => Netns::at(Path::new(path)),
                _ => Netns::named(name),
            };
            let is_its = |netns: &Netns| netns.cookie().ok() == Some(record.netns_cookie);
            let Some(netns) = netns.ok().filter(is_its) else {
                continue;
            };
            let addresses = record.addresses.iter().filter_map(from_bytes);
            let role = Role::Endpoint {
                node: node.name().to_owned(),
                host_dev: host_dev.to_owned(),
                host_ifindex: record.host_ifindex.0,
                addresses: addresses.map(|address| address.addr()).collect(),
            };
            self.enter(name, role, Some(netns));
        }
        self.nodes.push(node);
        Ok(())
    }

    /// What is known later is known better. What is gone by now has no packets.
    fn enter(&mut self, name: &str, role: Role, netns: Option<Netns>) {
        let Some(netns) = netns else { return };
        let Ok(Ok(number)) = netns.inode().map(u32::try_from) else {
            return;
        };
        let place = Place {
            name: name.to_owned(),
            role,
            netns,
        };
        if name == "here" && self.by_number.contains_key(&number) {
            return;
        }
        self.by_number.insert(number, place);
    }

    /// The namespace of a number.
    pub fn get(&self, number: u32) -> Option<&Place> {
        self.by_number.get(&number)
    }

    /// The endpoint or node of a name, and its number.
    pub fn named(&self, name: &str) -> Option<(u32, &Place)> {
        let mut all = self.by_number.iter();
        all.find(|(_, place)| place.name == name && place.role != Role::Other)
            .map(|(number, place)| (*number, place))
    }

    /// The endpoint that has an address, and its number.
    pub fn with_address(&self, address: IpAddr) -> Option<(u32, &Place)> {
        self.with_address_where(address, |_| false)
    }

    /// The same; of several the first whose number this prefers.
    pub fn with_address_where(
        &self,
        address: IpAddr,
        prefers: impl Fn(u32) -> bool,
    ) -> Option<(u32, &Place)> {
        let has = |place: &Place| matches!(&place.role, Role::Endpoint { addresses, .. } if addresses.contains(&address));
        let all = || {
            let all = self.by_number.iter().filter(|(_, place)| has(place));
            all.map(|(number, place)| (*number, place))
        };
        all()
            .find(|(number, _)| prefers(*number))
            .or_else(|| all().next())
    }

    /// Whether an address is one of a namespace's own.
    pub fn is_own(&self, netns: u32, address: IpAddr) -> bool {
        let known = self.own.borrow().get(&(netns, address)).copied();
        known.unwrap_or_else(|| {
            let place = self.get(netns);
            let has =
                place.is_some_and(|place| matches!(place.netns.run(|| has(address)), Ok(true)));
            self.own.borrow_mut().insert((netns, address), has);
            has
        })
    }

    /// Whether endpoints of several nodes have an address: what is seen elsewhere may be the others'.
    pub fn is_ambiguous(&self, address: IpAddr) -> bool {
        let has = |place: &&Place| matches!(&place.role, Role::Endpoint { addresses, .. } if addresses.contains(&address));
        self.by_number.values().filter(has).count() > 1
    }

    /// Whether a namespace is that of an endpoint's node.
    pub fn is_node_of(&self, node: u32, endpoint: u32) -> bool {
        let (node, endpoint) = (self.get(node), self.get(endpoint));
        node.zip(endpoint).is_some_and(|(node, endpoint)| {
            node.role == Role::Node
                && matches!(&endpoint.role, Role::Endpoint { node: of, .. } if *of == node.name)
        })
    }

    /// The endpoint that an interface of a node leads to.
    pub fn behind(&self, netns: u32, ifindex: u32) -> Option<String> {
        let node = &self.get(netns)?.name;
        let mut all = self.by_number.values();
        let found = all.find(|place| {
            matches!(&place.role, Role::Endpoint { node: of, host_ifindex, .. } if of == node && *host_ifindex == ifindex)
        });
        found.map(|place| place.name.clone())
    }

    /// The namespaces behind all host-side veths of nodes.
    pub fn behind_veths(&self) -> Behind {
        let nodes = self.by_number.iter();
        let nodes = nodes.filter(|(_, place)| place.role == Role::Node);
        let mut behind = Behind::new();
        for (node, node_place) in nodes {
            for (number, place) in &self.by_number {
                if let Role::Endpoint {
                    node: of,
                    host_ifindex,
                    ..
                } = &place.role
                    && *of == node_place.name
                {
                    behind.insert((*node, *host_ifindex), *number);
                }
            }
        }
        behind
    }

    /// What a namespace is called.
    pub fn name(&self, number: u32) -> String {
        match (self.get(number), number) {
            (Some(place), _) => place.name.clone(),
            (None, 0) => "-".to_owned(),
            (None, number) => format!("netns {number}"),
        }
    }

    /// What an interface of a namespace is called.
    pub fn device(&self, netns: u32, ifindex: u32) -> String {
        if ifindex == 0 {
            return "-".to_owned();
        }
        let known = self.devices.borrow().get(&(netns, ifindex)).cloned();
        if let Some(name) = known {
            return name;
        }
        let name = self.get(netns).and_then(|place| {
            let name = || nix::net::if_::if_indextoname(ifindex).ok();
            place.netns.run(name).ok().flatten()?.into_string().ok()
        });
        let name = name.unwrap_or_else(|| format!("if{ifindex}"));
        let mut devices = self.devices.borrow_mut();
        devices.insert((netns, ifindex), name.clone());
        name
    }
}

/// Whether an interface of the calling thread's namespace has an address.
fn has(address: IpAddr) -> bool {
    own_addresses().any(|it| it == address)
}

/// The first address there that others may know.
fn first(family: Family) -> Option<IpAddr> {
    let is_others = |it: &IpAddr| match it {
        IpAddr::V4(it) => !it.is_loopback() && !it.is_link_local(),
        IpAddr::V6(it) => !it.is_loopback() && !it.is_unicast_link_local(),
    };
    let mut all = own_addresses().filter(|it| Family::of(*it) == family);
    all.find(is_others)
}

/// The addresses of all interfaces there, in the kernel's order.
fn own_addresses() -> impl Iterator<Item = IpAddr> {
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    all.filter_map(|it| {
        let address = it.address?;
        let v4 = address.as_sockaddr_in().map(|it| IpAddr::from(it.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::from(it.ip())))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_machine_has_a_name() {
        let places = Places::now().expect("a directory");
        let current = Netns::current().and_then(|netns| netns.inode());
        let current = current.expect("a namespace") as u32;
        let found = fs::metadata("/proc/thread-self/ns/net").expect("/proc");
        assert_eq!(found.ino(), u64::from(current));
        assert_ne!(places.name(current), format!("netns {current}"));
        assert_eq!(places.device(current, 1), "lo");
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert!(places.is_own(current, loopback) && !places.is_own(7, loopback));
        assert!(!places.is_own(current, IpAddr::from([192, 0, 2, 77])));
        assert_eq!(
            (places.name(7), places.device(7, 3)),
            ("netns 7".into(), "if3".into())
        );
    }
}
