//! The floor: what a fast path cannot be faster than. Its programs look nothing up, check nothing and count nothing; they
//! redirect to the one place that there is. They sit on the same interfaces as netpath's, in its stead, and are attached as
//! its own are ([`datapath::Floor`]).

use std::io;

use netpath::{
    datapath::{self, DatapathError, FloorTo},
    expedite::Expedited,
    netlink::{Link, Netlink},
};
use netpath_common::Mac;

use super::{
    error::{BenchError, system},
    lab::{LabNode, UPLINK},
    results::Path,
};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// From one endpoint of a node to the other.
    SameNode,
    /// From the first endpoint of a node to the uplink, and back.
    TwoNodes,
}

impl Kind {
    /// That of a path; `None` where it is no floor.
    pub fn of(path: Path) -> Option<Self> {
        match path {
            Path::Floor => Some(Self::SameNode),
            Path::FloorRemote => Some(Self::TwoNodes),
            _ => None,
        }
    }
}

/// The programs of one node, in place.
#[derive(Debug)]
pub(super) struct Floor {
    pub kind: Kind,
    node: String,
    programs: Vec<datapath::Floor>,
}

impl Floor {
    /// Puts them in place.
    pub fn attach(kind: Kind, node: &LabNode, next_hop: &LabNode) -> Result<Self, BenchError> {
        let _expedited = expedited();
        let [one, other] = node.endpoint_devs;
        let one = link(node, one)?;
        let to_one = FloorTo::Peer(one.ifindex);
        let ways = match kind {
            Kind::SameNode => {
                let other = link(node, other)?;
                let to_other = FloorTo::Peer(other.ifindex);
                [(one, to_other), (other, to_one)]
            }
            Kind::TwoNodes => {
                let uplink = link(node, UPLINK)?;
                let far = link(next_hop, UPLINK)?;
                let to_far = FloorTo::NextHop {
                    ifindex: uplink.ifindex,
                    source: mac(node, &uplink)?,
                    destination: mac(next_hop, &far)?,
                };
                [(one, to_far), (uplink, to_one)]
            }
        };
        let mut programs = Vec::new();
        for (link, to) in &ways {
            let attached = datapath::Floor::attach(&node.netns, link, *to);
            programs.push(attached.map_err(failed("put the floor in place in", &node.name))?);
        }
        Ok(Self {
            kind,
            node: node.name.clone(),
            programs,
        })
    }

    /// Takes them away, and returns when no packet meets them any more.
    pub fn detach(self) -> Result<(), BenchError> {
        let _expedited = expedited();
        for program in self.programs {
            let removed = program.remove();
            removed.map_err(failed("take the floor off", &self.node))?;
        }
        Ok(())
    }
}

fn failed(what: &str, node: &str) -> impl FnOnce(DatapathError) -> BenchError {
    let what = format!("{what} {node}");
    move |error| system(what, io::Error::other(error))
}

/// Where that cannot be, it only takes longer.
fn expedited() -> Option<Expedited> {
    Expedited::begin()
        .inspect_err(|error| tracing::debug!(%error, "grace periods are not expedited"))
        .ok()
}

fn link(node: &LabNode, dev: &str) -> Result<Link, BenchError> {
    let found = node
        .netns
        .enter(|inside| Netlink::open(inside)?.link(dev))??;
    found.ok_or_else(|| missing(node, dev, "no such interface"))
}

fn mac(node: &LabNode, link: &Link) -> Result<Mac, BenchError> {
    link.mac
        .ok_or_else(|| missing(node, &link.name, "no Ethernet address"))
}

fn missing(node: &LabNode, dev: &str, problem: &str) -> BenchError {
    BenchError::Unreadable {
        path: format!("interface {dev} of {}", node.name),
        line: problem.to_owned(),
    }
}
