//! The nodes of a run: each with two endpoints, a veth pair between these past the node, and two more from the node
//! to the second, which plays the next hops towards other nodes. Removed however the run ends.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path as FilePath,
    sync::atomic::AtomicBool,
};

use netpath::{
    command, datapath::Datapath, lab::Lab, lock::TopologyLock, model::Topology, netns::Netns,
    provision::UpOptions,
};
use netpath_common::{
    EndpointEntry, EndpointId, Ifindex, InterfaceEntry, InterfaceKind, InterfaceState, NAME_SIZE,
    fixed,
};
use nix::net::if_::if_nametoindex;

use super::{
    ScaleError,
    memory::Account,
    population::{DIRECT_V4, DIRECT_V6, LOCAL_V4, LOCAL_V6, REMOTE_V4, REMOTE_V6},
};
use crate::Family;

/// How a node is to be.
#[derive(Clone, Copy, Debug)]
pub struct NodeOptions {
    pub fast_path: bool,
    pub forward_drop: bool,
    pub max_endpoints: u32,
    pub max_routes: u32,
}

/// The sending endpoint's addresses.
pub fn sender(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 0, 1, 2).into(),
        Family::V6 => Ipv6Addr::new(0xfd01, 0, 0, 1, 0, 0, 0, 2).into(),
    }
}

/// The receiving endpoint's addresses.
pub fn receiver(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 0, 2, 2).into(),
        Family::V6 => Ipv6Addr::new(0xfd01, 0, 0, 2, 0, 0, 0, 2).into(),
    }
}

/// The next hop behind the n-th of the node's two uplinks.
pub fn next_hop(family: Family, uplink: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(100, 64, uplink, 2).into(),
        Family::V6 => Ipv6Addr::new(0xfd40, 0, 0, uplink.into(), 0, 0, 0, 2).into(),
    }
}

/// The node's two interfaces towards other nodes, and the far ends' names.
pub const UPLINKS: [&str; 2] = ["up0", "up1"];

/// One node that is up.
#[derive(Debug)]
pub struct Node {
    name: String,
    /// The node's namespace.
    pub netns: Netns,
    /// The sending endpoint's.
    pub a: Netns,
    /// The receiving endpoint's.
    pub b: Netns,
    /// Its maps and programs.
    pub datapath: Datapath,
    lab: Lab,
}

impl Node {
    /// Makes a node; `name` is to be unique on the machine.
    pub fn up(name: &str, options: &NodeOptions) -> Result<Self, ScaleError> {
        let text = format!(
            "[[node]]\nname = \"{name}\"\nforward_policy = \"{}\"\n\
             max_endpoints = {}\nmax_routes = {}\nendpoint = [\n\
             {{ name = \"{name}a\", addresses = [\"{}/24\", \"{}/64\"], host_dev = \"va\" }},\n\
             {{ name = \"{name}b\", addresses = [\"{}/24\", \"{}/64\"], host_dev = \"vb\" }},\n]\n",
            if options.forward_drop {
                "drop"
            } else {
                "accept"
            },
            options.max_endpoints,
            options.max_routes,
            sender(Family::V4),
            sender(Family::V6),
            receiver(Family::V4),
            receiver(Family::V6),
        );
        let topology = Topology::parse(FilePath::new("bench"), &text)?;
        let options = UpOptions {
            fast_path: Some(options.fast_path),
            ..UpOptions::default()
        };
        let lab = Lab::up(&topology, &options, &mut |_| {})?;
        let node = Self {
            name: name.to_owned(),
            netns: Netns::named(name)?,
            a: Netns::named(&format!("{name}a"))?,
            b: Netns::named(&format!("{name}b"))?,
            datapath: open_datapath(name)?,
            lab,
        };
        node.connect()?;
        node.register_uplinks()?;
        Ok(node)
    }

    /// The next hops are by interfaces that the topology does not know: what is sent out of none of the node's uplinks is
    /// left to the kernel.
    fn register_uplinks(&self) -> Result<(), ScaleError> {
        let lock = hold()?;
        let writer = self.datapath.writer(&lock);
        for dev in UPLINKS {
            let entry = InterfaceEntry {
                kind: InterfaceKind::Uplink as u32,
                state: InterfaceState::Ready as u32,
                endpoint_id: EndpointId(0),
                rp_filter: 0,
                punt_ingress: 0,
                punt_egress: 0,
                name: fixed(dev).ok_or_else(|| ScaleError::Lab {
                    what: format!("{dev} is too long a name"),
                })?,
                endpoint: [0; NAME_SIZE],
            };
            writer.set_interface(self.ifindex(dev)?, &entry)?;
        }
        Ok(())
    }

    /// What is not netpath's to make: the direct veth pair, the next hops, and an endpoint that takes every
    /// address of the lab for its own.
    fn connect(&self) -> Result<(), ScaleError> {
        let b = self.b.name();
        let mac = |number: u8, end: u8| format!("02:00:5c:00:{number:02x}:{end:02x}");
        let mut node = String::new();
        let mut far = String::new();
        for (number, dev) in (0u8..).zip(UPLINKS) {
            let (near_mac, far_mac) = (mac(number, 1), mac(number, 2));
            node += &format!(
                "link add {dev} address {near_mac} type veth peer name {dev} address {far_mac} netns {b}\n\
                 link set {dev} up\n\
                 addr add 100.64.{number}.1/24 dev {dev}\n\
                 addr add fd40:0:0:{number:x}::1/64 dev {dev} nodad\n"
            );
            for family in [Family::V4, Family::V6] {
                let hop = next_hop(family, number);
                node += &format!("neigh replace {hop} lladdr {far_mac} dev {dev} nud permanent\n");
            }
            far += &format!(
                "link set {dev} up\n\
                 addr add 100.64.{number}.2/24 dev {dev}\n\
                 addr add fd40:0:0:{number:x}::2/64 dev {dev} nodad\n"
            );
        }
        let near = format!(
            "link add direct address {} type veth peer name direct address {} netns {b}\n\
             link set direct up\n\
             neigh replace 169.254.9.2 lladdr {} dev direct nud permanent\n\
             neigh replace fe80::9 lladdr {} dev direct nud permanent\n\
             route add {DIRECT_V4} via 169.254.9.2 dev direct onlink src {}\n\
             route add {DIRECT_V6} via fe80::9 dev direct onlink src {}\n",
            mac(9, 1),
            mac(9, 2),
            mac(9, 2),
            mac(9, 2),
            sender(Family::V4),
            sender(Family::V6),
        );
        far += "link set direct up\n";
        for block in REMOTE_V4.iter().chain(&REMOTE_V6) {
            let family = if block.contains(':') {
                Family::V6
            } else {
                Family::V4
            };
            node += &format!("route add {block} via {} dev up0\n", next_hop(family, 0));
            far += &format!("route add local {block} dev lo\n");
        }
        for block in [LOCAL_V4, LOCAL_V6, DIRECT_V4, DIRECT_V6] {
            far += &format!("route add local {block} dev lo\n");
        }
        ip(&self.netns, &node)?;
        ip(&self.a, &near)?;
        for scope in ["all", "default", "up0", "up1", "direct"] {
            sysctl(&self.b, &format!("ipv4/conf/{scope}/rp_filter"), "0")?;
        }
        ip(&self.b, &far)
    }

    /// Index of one of the node's interfaces.
    pub fn ifindex(&self, dev: &str) -> Result<Ifindex, ScaleError> {
        self.netns
            .run(|| if_nametoindex(dev))?
            .map(Ifindex)
            .map_err(|errno| io_error(format!("interface {dev} of {}", self.name), errno.into()))
    }

    /// What the maps say of a real endpoint.
    pub fn entry(&self, address: IpAddr) -> Result<EndpointEntry, ScaleError> {
        self.datapath
            .maps
            .endpoint(address)?
            .ok_or_else(|| ScaleError::Lab {
                what: format!("{address} is not in the maps of {}", self.name),
            })
    }

    /// What each of the node's maps takes.
    pub fn memory(&self) -> Result<Account, ScaleError> {
        Account::of(&self.name)
    }

    /// Removes it.
    pub fn down(self) -> Result<(), ScaleError> {
        let Self {
            netns,
            a,
            b,
            mut lab,
            ..
        } = self;
        // While they are open the kernel does not clear them up.
        drop((netns, a, b));
        Ok(lab.remove()?)
    }
}

/// Holds the machine's topology for a change of maps.
pub fn hold() -> Result<TopologyLock, ScaleError> {
    Ok(TopologyLock::take(&AtomicBool::new(false))?)
}

fn open_datapath(name: &str) -> Result<Datapath, ScaleError> {
    Datapath::open(name)?.ok_or_else(|| ScaleError::Lab {
        what: format!("node {name} is gone"),
    })
}

/// Runs lines of `ip` commands in a namespace.
pub fn ip(netns: &Netns, lines: &str) -> Result<(), ScaleError> {
    feed(netns, "ip", &["-batch", "-"], lines)
}

/// Runs a command in a namespace and gives it its input.
pub fn feed(
    netns: &Netns,
    program: &str,
    arguments: &[&str],
    input: &str,
) -> Result<(), ScaleError> {
    netns.run(|| command::run(program, arguments, input))??;
    Ok(())
}

fn sysctl(netns: &Netns, key: &str, value: &str) -> Result<(), ScaleError> {
    let path = format!("/proc/sys/net/{key}");
    netns
        .run(|| fs::write(&path, value))?
        .map_err(|source| io_error(path, source))
}

/// A failure of a system call, with what it was done to.
pub fn io_error(what: impl Into<String>, source: std::io::Error) -> ScaleError {
    ScaleError::Io {
        what: what.into(),
        source,
    }
}
