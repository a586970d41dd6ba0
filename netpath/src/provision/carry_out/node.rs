//! The node itself.

use std::sync::Arc;

use netpath_common::FastPathMode;

use super::{
    super::{error::ProvisionError, iptables, records::key},
    Site,
};
use crate::{
    datapath::{Capacity, Datapath, NodeIdentity, ObjectKind},
    model::NodePlace,
    netns::{Inside, NameState, Netns, name_state},
    reconcile::Op,
};

/// How a new node is made.
#[derive(Clone, Copy, Debug)]
pub struct Making {
    /// How much its maps hold.
    pub capacity: Capacity,
    /// Which build of the programs it gets.
    pub object: ObjectKind,
}

impl Site<'_> {
    pub(super) fn node(&mut self, op: &Op) -> Result<(), ProvisionError> {
        match op {
            Op::RemoveRemains => self.remove_remains(),
            Op::MakeNode { place, fast_path } => self.make_node(*place, *fast_path),
            Op::RemoveNode => self.remove_node(),
            Op::ReplacePrograms => self.replace_programs(),
            Op::Grow => self.grow(),
            Op::MendSettings => Ok(self.datapath()?.mend_settings(self.lock)?),
            Op::WishFastPath(mode) => self.settings(|settings| settings.fast_path = *mode as u32),
            Op::NoteConfigured => self.settings(|settings| settings.configured = 1),
            Op::Accept(bypass) => self.settings(|settings| settings.bypass = bypass.0),
            Op::SetFeatures(features) => Ok(self.writer()?.features.set(features)?),
            Op::SetNextId(id) => Ok(self
                .writer()?
                .ids
                .update(|ids| ids.next_endpoint_id = *id)?),
            Op::ForgetEndpoint(name) => Ok(self.writer()?.endpoint_records.remove(&key(name)?)?),
            Op::ForgetUplink(dev) => Ok(self.writer()?.uplink_records.remove(&key(dev)?)?),
            op => Err(ProvisionError::NoSuchPlace(format!("{op:?}"))),
        }
    }

    fn settings(
        &self,
        change: impl FnOnce(&mut netpath_common::Settings),
    ) -> Result<(), ProvisionError> {
        Ok(self.writer()?.settings.update(change)?)
    }

    fn replace_programs(&self) -> Result<(), ProvisionError> {
        let making = self.making.ok_or_else(|| self.not_up())?;
        self.datapath()?.upgrade(making.object, self.lock)?;
        Ok(())
    }

    /// Gives the maps room for what the topology says. They are other maps afterwards.
    fn grow(&mut self) -> Result<(), ProvisionError> {
        let making = self.making.ok_or_else(|| self.not_up())?;
        let datapath = self.datapath.take().ok_or_else(|| self.not_up())?;
        datapath.grow(&making.capacity, making.object, self.lock)?;
        self.datapath = Datapath::open(self.name)?;
        Ok(())
    }

    pub(super) fn set_forward_policy(
        &mut self,
        inside: &Inside<'_>,
        drop: bool,
    ) -> Result<(), ProvisionError> {
        // Recorded first where it is set, and last where it is taken back: what is recorded is what has to be undone.
        if drop {
            self.settings(|settings| settings.forward_drop = 1)?;
        }
        iptables::set_forward_policy(inside, drop)?;
        self.settings(|settings| settings.forward_drop = u32::from(drop))
    }

    /// Its datapath, and its namespace if it is a lab's.
    fn make_node(
        &mut self,
        place: NodePlace,
        fast_path: FastPathMode,
    ) -> Result<(), ProvisionError> {
        let (name, making) = (self.name, self.making.ok_or_else(|| self.not_up())?);
        let make = |netns_cookie, netns_made| {
            let identity = NodeIdentity {
                name,
                netns_cookie,
                netns_made,
            };
            Datapath::create(identity, making.capacity, making.object).map_err(ProvisionError::from)
        };
        let netns = match place {
            NodePlace::Host => {
                let netns = Netns::current()?;
                self.datapath = Some(make(netns.cookie()?, false)?);
                netns
            }
            NodePlace::Lab => {
                let mut datapath = None;
                let netns = Netns::create(name, |cookie| {
                    datapath = Some(make(cookie, true)?);
                    Ok::<(), ProvisionError>(())
                });
                match (netns, datapath) {
                    (Ok(netns), datapath) => {
                        self.datapath = datapath;
                        netns
                    }
                    (Err(error), None) => return Err(error),
                    (Err(error), Some(made)) => return Err(error.and(made.remove().err())),
                }
            }
        };
        self.netns = Some(Arc::new(netns));
        self.settings(|settings| settings.fast_path = fast_path as u32)
    }

    fn not_up(&self) -> ProvisionError {
        ProvisionError::NotUp {
            object: "node",
            name: self.name.to_owned(),
        }
    }

    fn remove_node(&mut self) -> Result<(), ProvisionError> {
        let made = match &self.datapath {
            Some(datapath) => datapath.maps.meta.get()?.netns_made != 0,
            None => false,
        };
        if let Some(netns) = self.netns.take().filter(|_| made) {
            self.watch(&netns)?;
        }
        if made {
            Netns::remove(self.name)?;
        }
        self.unpin()
    }

    fn remove_remains(&mut self) -> Result<(), ProvisionError> {
        if name_state(self.name)? == NameState::EmptyFile {
            Netns::remove(self.name)?;
        }
        self.unpin()
    }

    /// The pins are what proves the rest to be netpath's: they go last.
    fn unpin(&mut self) -> Result<(), ProvisionError> {
        match self.datapath.take() {
            Some(datapath) => Ok(datapath.remove()?),
            None => Ok(()),
        }
    }
}
