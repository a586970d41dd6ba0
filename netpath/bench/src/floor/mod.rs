//! The floor: what a fast path cannot be faster than. Its programs look nothing up, check nothing and count nothing; they
//! redirect to the one place that there is. They sit on the same interfaces as netpath's, in its stead, and are attached as
//! its own are.
//!
//! Links are held by descriptors: however the process ends, they are gone with it. Filters go with the lab at the latest.

mod bpf;
mod filter;
mod program;

use self::filter::Filter;

use std::os::fd::{AsFd as _, OwnedFd};

use netpath::{
    datapath::{AttachMode, attach_mode},
    expedite::Expedited,
    netlink::{Link, Netlink},
    provision::ProvisionError,
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
    hooks: Vec<Hook>,
}

/// What holds a program at its interface.
#[derive(Debug)]
enum Hook {
    Tcx(OwnedFd),
    Clsact(Filter),
}

impl Floor {
    /// Puts them in place.
    pub fn attach(kind: Kind, node: &LabNode, next_hop: &LabNode) -> Result<Self, BenchError> {
        let _expedited = expedited();
        let [one, other] = node.endpoint_devs;
        let programs = match kind {
            Kind::SameNode => {
                let (one, other) = (link(node, one)?, link(node, other)?);
                let (to_one, to_other) = (
                    program::to_peer(one.ifindex.0),
                    program::to_peer(other.ifindex.0),
                );
                [(one, to_other), (other, to_one)]
            }
            Kind::TwoNodes => {
                let (one, uplink) = (link(node, one)?, link(node, UPLINK)?);
                let far = link(next_hop, UPLINK)?;
                let to_far = program::to_next_hop(
                    uplink.ifindex.0,
                    mac(node, &uplink)?,
                    mac(next_hop, &far)?,
                );
                let to_one = program::to_peer(one.ifindex.0);
                [(one, to_far), (uplink, to_one)]
            }
        };
        let mut hooks = Vec::new();
        for (link, instructions) in &programs {
            hooks.push(attach(node, link, instructions)?);
        }
        Ok(Self {
            kind,
            node: node.name.clone(),
            hooks,
        })
    }

    /// Takes them away, and returns when no packet meets them any more.
    pub fn detach(self) -> Result<(), BenchError> {
        let _expedited = expedited();
        for hook in self.hooks {
            match hook {
                Hook::Tcx(link) => bpf::detach(link.as_fd()).map_err(|source| {
                    system(format!("take the floor off {}", self.node), source)
                })?,
                Hook::Clsact(filter) => filter.remove()?,
            }
        }
        Ok(())
    }
}

/// Where that cannot be, it only takes longer.
fn expedited() -> Option<Expedited> {
    Expedited::begin()
        .inspect_err(|error| tracing::debug!(%error, "grace periods are not expedited"))
        .ok()
}

fn attach(node: &LabNode, link: &Link, instructions: &[u64]) -> Result<Hook, BenchError> {
    let failed = |step| {
        let what = format!(
            "{step} the floor's program for {} of {}",
            link.name, node.name
        );
        move |source| system(what, source)
    };
    let program = bpf::load("bench_floor", instructions).map_err(failed("load"))?;
    match attach_mode().map_err(ProvisionError::from)? {
        AttachMode::Tcx => node
            .netns
            .run(|| bpf::attach(program.as_fd(), link.ifindex.0))?
            .map(Hook::Tcx)
            .map_err(failed("attach")),
        AttachMode::Clsact => {
            Filter::attach(&node.netns, program.as_fd(), link.ifindex.0).map(Hook::Clsact)
        }
    }
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
