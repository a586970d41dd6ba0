//! Carrying out steps, in order. Nothing is decided here: what an operation names is done, or fails.

mod connections;
mod links;
mod maps;
mod namespaces;
mod node;

use std::{collections::BTreeMap, sync::Arc};

pub use self::node::Making;
use super::{departures::Departures, error::ProvisionError, snapshot::Snapshot};
use crate::{
    datapath::{Datapath, Writer},
    lock::TopologyLock,
    netlink::Netlink,
    netns::{Inside, Netns},
    reconcile::{Change, Op, Place, Step},
};

/// A node that steps are carried out for.
pub struct Site<'a> {
    name: &'a str,
    lock: &'a TopologyLock,
    making: Option<Making>,
    datapath: Option<Datapath>,
    netns: Option<Arc<Netns>>,
    /// Cookies of the namespaces that were made on the way: what was planned for them is not what they got.
    cookies: BTreeMap<Place, u64>,
    departures: Option<&'a mut Departures>,
}

impl<'a> Site<'a> {
    /// Where steps that were planned from a snapshot are carried out. `making` says how a new node is made.
    pub fn new(
        name: &'a str,
        lock: &'a TopologyLock,
        snapshot: Snapshot,
        making: Option<Making>,
    ) -> Self {
        Self {
            name,
            lock,
            making,
            datapath: snapshot.datapath,
            netns: snapshot.netns.map(Arc::new),
            cookies: BTreeMap::new(),
            departures: None,
        }
    }

    /// The same, where somebody will wait for the namespaces that are taken away.
    pub fn watched(mut self, departures: &'a mut Departures) -> Self {
        self.departures = Some(departures);
        self
    }

    fn watch(&mut self, netns: &Netns) -> Result<(), ProvisionError> {
        match &mut self.departures {
            Some(departures) => departures.add(netns),
            None => Ok(()),
        }
    }

    /// Carries out one step.
    pub fn step(&mut self, step: &Step) -> Result<(), ProvisionError> {
        match &step.change {
            Some(change) => tracing::info!("doing {change}"),
            None => tracing::debug!(
                "doing what belongs to {}",
                step.object.0.told(&step.object.1, self.name)
            ),
        }
        let groups = step.ops.chunk_by(|one, other| group(one) == group(other));
        for ops in groups {
            let Some(place) = group(&ops[0]) else {
                ops.iter().try_for_each(|op| {
                    tracing::debug!("{}: {op:?}", self.name);
                    self.outside(op)
                })?;
                continue;
            };
            let netns = self.open(place)?;
            netns.enter(|inside| {
                let netlink = Netlink::open(inside)?;
                ops.iter().try_for_each(|op| {
                    tracing::debug!("{}: {op:?}", self.name);
                    self.inside(inside, &netlink, op)
                })
            })??;
        }
        Ok(())
    }

    /// Carries out steps until one fails, and tells each that is done.
    pub fn steps(
        &mut self,
        steps: &[Step],
        report: &mut dyn FnMut(&Change),
    ) -> Result<(), ProvisionError> {
        for step in steps {
            self.step(step)?;
            step.change.iter().for_each(&mut *report);
        }
        Ok(())
    }

    fn datapath(&self) -> Result<&Datapath, ProvisionError> {
        self.datapath.as_ref().ok_or_else(|| ProvisionError::NotUp {
            object: "node",
            name: self.name.to_owned(),
        })
    }

    /// The node's maps, to be changed.
    fn writer(&self) -> Result<Writer<'_>, ProvisionError> {
        Ok(self.datapath()?.writer(self.lock))
    }

    /// What is done in one of the node's namespaces.
    fn inside(
        &mut self,
        inside: &Inside<'_>,
        netlink: &Netlink,
        op: &Op,
    ) -> Result<(), ProvisionError> {
        match op {
            Op::RecordEndpoint(..)
            | Op::RecordUplink(..)
            | Op::RecordRoute(..)
            | Op::ForgetRoute(_)
            | Op::Register(_)
            | Op::Unregister(_)
            | Op::Unretire(_)
            | Op::SetReady(_)
            | Op::SetDevice(..)
            | Op::RemoveDevice(_)
            | Op::SetEntry(..)
            | Op::RemoveEntry(_)
            | Op::SetPrefix(..)
            | Op::RemovePrefix(_)
            | Op::Attach(..)
            | Op::Detach(..)
            | Op::RemoveClsact(_) => self.maps(inside, netlink, op),
            Op::EnterConnections(to_come) => self.enter_connections(inside, to_come),
            Op::SetForwardPolicy { drop } => self.set_forward_policy(inside, *drop),
            _ => self.links(inside, netlink, op),
        }
    }

    /// What is done from wherever.
    fn outside(&mut self, op: &Op) -> Result<(), ProvisionError> {
        match op {
            Op::MakeNamespace { place, record } => self.make_namespace(place, record),
            Op::JoinWire { dev, wire } => self.join_wire(dev, wire),
            Op::RemoveNamespace(place) => self.remove_namespace(place),
            _ => self.node(op),
        }
    }
}

/// The namespace that an operation has to be done in; `None` where it makes or removes one, or where it does not matter
/// and the node's need not be there.
fn group(op: &Op) -> Option<&Place> {
    match op {
        Op::RemoveRemains
        | Op::MakeNode { .. }
        | Op::RemoveNode
        | Op::ReplacePrograms
        | Op::Grow
        | Op::MendSettings
        | Op::WishFastPath(_)
        | Op::NoteConfigured
        | Op::Accept(_)
        | Op::SetFeatures(_)
        | Op::SetNextId(_)
        | Op::MakeNamespace { .. }
        | Op::JoinWire { .. }
        | Op::RemoveNamespace(_)
        | Op::ForgetUplink(_)
        | Op::ForgetEndpoint(_) => None,
        op => Some(op.place()),
    }
}
