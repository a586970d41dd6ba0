//! The lab: two nodes of netpath's with two endpoints each, on one wire, and beside them a veth pair straight
//! from the sender to each receiver, for the path without a router.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use ipnet::IpNet;
use netpath::{
    lab,
    model::Topology,
    netlink::{Netlink, VethEnd},
    netns::Netns,
    provision::{ProvisionError, UpOptions},
};
use netpath_common::{Family, Mac};

use super::{
    beside::{Beside, Namespaces},
    error::BenchError,
    orphans,
    passage::received,
    results::{Path, Reach},
};

/// The lab as a topology file, with `NAME` for what makes its names unique.
const TOPOLOGY: &str = include_str!("lab.toml");

/// A node of the lab.
pub(super) struct LabNode {
    /// Its name and its namespace's.
    pub name: String,
    /// Its namespace.
    pub netns: Netns,
    /// The host ends of its two endpoints.
    pub endpoint_devs: [&'static str; 2],
}

/// The interface of either node towards the other.
pub(super) const UPLINK: &str = "uplink0";

/// The veth pair without a router between two endpoints.
struct DirectPair {
    /// The interface at either end, by the same name.
    dev: &'static str,
    /// Sender's and receiver's address, in the order of [`Family::ALL`].
    addresses: [[&'static str; 2]; 2],
    macs: [Mac; 2],
}

/// In the order of [`Reach::ALL`].
const DIRECT: [DirectPair; 2] = [
    DirectPair {
        dev: "direct-ab",
        addresses: [
            ["10.78.1.1/24", "10.78.1.2/24"],
            ["fd78:1::1/64", "fd78:1::2/64"],
        ],
        macs: [Mac([2, 0x78, 0, 1, 0, 1]), Mac([2, 0x78, 0, 1, 0, 2])],
    },
    DirectPair {
        dev: "direct-ac",
        addresses: [
            ["10.78.2.1/24", "10.78.2.2/24"],
            ["fd78:2::1/64", "fd78:2::2/64"],
        ],
        macs: [Mac([2, 0x78, 0, 2, 0, 1]), Mac([2, 0x78, 0, 2, 0, 2])],
    },
];

/// Where traffic starts and ends.
#[derive(Clone, Copy)]
pub(super) struct Ends<'a> {
    /// The sender's namespace.
    pub from: &'a Netns,
    /// The receiver's namespace.
    pub to: &'a Netns,
    /// The sender's address.
    pub src: IpAddr,
    /// The receiver's address.
    pub dst: IpAddr,
    /// What the sender sends to: that, or what is translated to it on the way.
    pub target: IpAddr,
}

/// What the node translates to the address of a receiver, by [`Reach`]: from where clusters have their services'.
pub(super) fn service(reach: Reach, family: Family) -> IpAddr {
    let number = subnet(reach);
    match family {
        Family::V4 => IpAddr::from([10, 96, 0, number]),
        Family::V6 => IpAddr::from([0xfd96, 0, 0, 0, 0, 0, 0, u16::from(number)]),
    }
}

/// The address of an endpoint by the number of its subnet.
pub(super) fn endpoint(subnet: u8, family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([10, 77, subnet, 2]),
        Family::V6 => IpAddr::from([0xfd77, u16::from(subnet), 0, 0, 0, 0, 0, 2]),
    }
}

/// The subnet of a receiver.
pub(super) const fn subnet(reach: Reach) -> u8 {
    match reach {
        Reach::SameNode => 2,
        Reach::TwoNodes => 3,
    }
}

/// The lab while a run lasts.
pub(super) struct Lab {
    /// The nodes, in the order that traffic passes them.
    pub nodes: [LabNode; 2],
    sender: Netns,
    /// By [`Reach`].
    receivers: [Netns; 2],
    /// What a user would pick instead.
    pub beside: Beside,
    /// Dropped after the namespaces, which would otherwise live on.
    lab: lab::Lab,
}

impl Lab {
    /// Makes it, with the fast path off.
    pub fn up(interrupted: &Arc<AtomicBool>) -> Result<Self, BenchError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self::named(&orphans::lab_name(number), interrupted)
    }

    /// The same, with names that begin with `name`.
    pub fn named(name: &str, interrupted: &Arc<AtomicBool>) -> Result<Self, BenchError> {
        let topology = Topology::parse("the benchmark's lab", &TOPOLOGY.replace("NAME", name))
            .expect("a test parses it");
        let options = UpOptions {
            fast_path: Some(false),
            interrupted: Arc::clone(interrupted),
            ..UpOptions::default()
        };
        let lab = lab::Lab::up(&topology, &options, &mut |_| {})?;
        let node = |suffix: &str, endpoint_devs| -> Result<LabNode, BenchError> {
            let name = format!("{name}-{suffix}");
            Ok(LabNode {
                netns: Netns::named(&name)?,
                name,
                endpoint_devs,
            })
        };
        let netns = |suffix: &str| Netns::named(&format!("{name}-{suffix}"));
        let nodes = [
            node("n", ["bench-a", "bench-b"])?,
            node("m", ["bench-c", "bench-d"])?,
        ];
        let (sender, receivers) = (netns("a")?, [netns("b")?, netns("c")?]);
        for (pair, receiver) in DIRECT.iter().zip(&receivers) {
            pair.make(&sender, receiver)?;
        }
        Ok(Self {
            nodes,
            sender,
            receivers,
            beside: Beside::new()?,
            lab,
        })
    }

    /// Makes the ways that paths take beside the nodes.
    pub fn make_ways(&mut self, paths: &[Path]) -> Result<(), BenchError> {
        let mut beside = Beside::new()?;
        for &path in paths {
            beside.make(path, self.namespaces())?;
        }
        self.beside = beside;
        Ok(())
    }

    /// Packets that have been received on each way that passes no node, or not by the node's interfaces alone.
    pub fn received(&self, reach: Reach) -> Result<Vec<(Path, u64)>, BenchError> {
        let dev = DIRECT[reach.index()].dev;
        let receiver = &self.receivers[reach.index()];
        let direct = received(&self.sender, &[dev])? + received(receiver, &[dev])?;
        let mut ways = vec![(Path::Direct, direct)];
        ways.extend(self.beside.received(reach, self.namespaces())?);
        Ok(ways)
    }

    fn namespaces(&self) -> Namespaces<'_> {
        let [first, second] = &self.nodes;
        Namespaces {
            sender: &self.sender,
            receivers: &self.receivers,
            nodes: [&first.netns, &second.netns],
        }
    }

    /// The nodes between the two ends, first to last.
    pub fn between(&self, reach: Reach) -> &[LabNode] {
        match reach {
            Reach::SameNode => &self.nodes[..1],
            Reach::TwoNodes => &self.nodes,
        }
    }

    /// Where traffic of a path starts and ends.
    pub fn ends(&self, path: Path, reach: Reach, family: Family) -> Ends<'_> {
        let [src, dst] = match path {
            Path::Direct => DIRECT[reach.index()].of(family).map(|prefix| prefix.addr()),
            _ => self
                .beside
                .addresses(path, family)
                .unwrap_or_else(|| [1, subnet(reach)].map(|number| endpoint(number, family))),
        };
        Ends {
            from: &self.sender,
            to: &self.receivers[reach.index()],
            src,
            dst,
            target: match path {
                Path::Nat => service(reach, family),
                _ => dst,
            },
        }
    }

    /// Removes it.
    pub fn remove(self) -> Result<(), ProvisionError> {
        let Self {
            nodes,
            sender,
            receivers,
            beside,
            mut lab,
        } = self;
        // While they are open the kernel does not clear them up.
        drop((nodes, sender, receivers, beside));
        lab.remove()
    }
}

impl DirectPair {
    fn of(&self, family: Family) -> [IpNet; 2] {
        let addresses = match family {
            Family::V4 => self.addresses[0],
            Family::V6 => self.addresses[1],
        };
        addresses.map(|prefix| prefix.parse().expect("a test parses it"))
    }

    fn make(&self, sender: &Netns, receiver: &Netns) -> Result<(), BenchError> {
        let end = |mac| VethEnd {
            name: self.dev,
            mac,
        };
        let [here, there] = self.macs.map(end);
        sender.enter(|inside| {
            Netlink::open(inside)?.add_veth(here, there, std::os::fd::AsFd::as_fd(receiver))
        })??;
        for (side, netns) in [sender, receiver].into_iter().enumerate() {
            netns.enter(|inside| {
                let netlink = Netlink::open(inside)?;
                let link = netlink
                    .link(self.dev)?
                    .ok_or_else(|| ProvisionError::NotUp {
                        object: "interface",
                        name: self.dev.to_owned(),
                    })?;
                netlink.set_up(&link)?;
                for family in Family::ALL {
                    netlink.add_address(&link, self.of(family)[side], true)?;
                }
                Ok::<_, ProvisionError>(())
            })??;
        }
        for netns in [sender, receiver] {
            netns.enter(|inside| Netlink::open(inside)?.await_operational(self.dev))??;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topology_is_valid_with_the_longest_names() {
        let text = TOPOLOGY.replace("NAME", "npb-4194304-999");
        let topology = Topology::parse("lab.toml", &text).expect("valid");
        assert_eq!(topology.nodes.len(), 2);
        for pair in &DIRECT {
            for family in Family::ALL {
                let [a, b] = pair.of(family);
                assert_eq!(a.trunc(), b.trunc());
                assert_ne!(a.addr(), b.addr());
            }
        }
    }
}
