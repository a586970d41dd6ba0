//! Namespaces of endpoints and wires.

use std::{io, sync::Arc};

use super::{
    super::{
        error::ProvisionError,
        records::{self, key},
        snapshot,
    },
    Site,
};
use crate::{
    netns::{NameState, Netns, NetnsError, name_state},
    reconcile::{Home, NamespaceState, Object, Place, Refusal, Refused},
};

impl Site<'_> {
    /// Opens the namespace of a place; it must be the recorded one.
    pub(super) fn open(&mut self, place: &Place) -> Result<Arc<Netns>, ProvisionError> {
        match place {
            Place::Node => self.netns.clone().ok_or_else(|| ProvisionError::NotUp {
                object: "node",
                name: self.name.to_owned(),
            }),
            Place::Endpoint(name) => {
                let record = self.datapath()?.maps.endpoint_records.get(&key(name)?)?;
                let home = match &record {
                    Some(record) => records::home(record)?,
                    None => Home::Made,
                };
                let (state, netns) = snapshot::home(name, &home)?;
                let cookie = record.map_or(0, |record| record.netns_cookie);
                let recorded = netns.filter(|_| state == NamespaceState::Present(cookie));
                let foreign = || self.foreign_namespace(place, name);
                Ok(Arc::new(recorded.ok_or_else(foreign)?))
            }
            Place::Wire(wire) => {
                let name = snapshot::wire_namespace(wire)?;
                let (state, netns) = snapshot::home(&name, &Home::Made)?;
                let uplinks = self.datapath()?.maps.uplink_records.all()?;
                for record in uplinks.values() {
                    if netpath_common::text(&record.wire) == Some(wire)
                        && state == NamespaceState::Present(record.wire_cookie)
                    {
                        let foreign = || self.foreign_namespace(place, &name);
                        return Ok(Arc::new(netns.ok_or_else(foreign)?));
                    }
                }
                Err(self.foreign_namespace(place, &name).into())
            }
        }
    }

    /// Its cookie goes into the record before anybody can see it.
    pub(super) fn make_namespace(
        &mut self,
        place: &Place,
        record: &str,
    ) -> Result<(), ProvisionError> {
        let name = name(place)?;
        let key = key(record)?;
        let is_wire = matches!(place, Place::Wire(_));
        let maps = self.writer()?;
        let mut made = 0;
        let netns = Netns::create(&name, |cookie| {
            made = cookie;
            let missing = || ProvisionError::DamagedRecord(format!("there is none of {record}"));
            if is_wire {
                let mut uplink = maps.uplink_records.get(&key)?.ok_or_else(missing)?;
                uplink.wire_cookie = cookie;
                maps.uplink_records.set(&key, &uplink)?;
            } else {
                let mut endpoint = maps.endpoint_records.get(&key)?.ok_or_else(missing)?;
                endpoint.netns_cookie = cookie;
                maps.endpoint_records.set(&key, &endpoint)?;
            }
            Ok::<(), ProvisionError>(())
        });
        match netns {
            Err(ProvisionError::Netns(NetnsError::Step { source, .. }))
                if source.kind() == io::ErrorKind::AlreadyExists =>
            {
                return Err(self.foreign_namespace(place, &name).into());
            }
            result => drop(result?),
        }
        self.cookies.insert(place.clone(), made);
        Ok(())
    }

    pub(super) fn join_wire(&mut self, dev: &str, wire: &str) -> Result<(), ProvisionError> {
        let name = snapshot::wire_namespace(wire)?;
        let cookie = Netns::named(&name)?.cookie()?;
        let key = key(dev)?;
        let maps = self.writer()?;
        if let Some(mut record) = maps.uplink_records.get(&key)? {
            record.wire_cookie = cookie;
            maps.uplink_records.set(&key, &record)?;
        }
        self.cookies.insert(Place::Wire(wire.to_owned()), cookie);
        Ok(())
    }

    /// Takes away a namespace if it still is the recorded one, or the empty file of one that was never finished.
    pub(super) fn remove_namespace(&mut self, place: &Place) -> Result<(), ProvisionError> {
        let name = name(place)?;
        if name_state(&name)? == NameState::Namespace {
            let netns = self.open(place)?;
            self.watch(&netns)?;
        }
        Ok(Netns::remove(&name)?)
    }

    /// What a place belongs to, in words.
    pub(super) fn told(&self, place: &Place) -> String {
        match place {
            Place::Node => Object::Node.told(self.name, self.name),
            Place::Endpoint(name) => Object::Endpoint.told(name, self.name),
            Place::Wire(wire) => format!("wire {wire}"),
        }
    }

    fn foreign_namespace(&self, place: &Place, name: &str) -> Refused {
        Refusal::ForeignNamespace(name.to_owned()).of(self.told(place))
    }
}

fn name(place: &Place) -> Result<String, ProvisionError> {
    match place {
        Place::Endpoint(name) => Ok(name.clone()),
        Place::Wire(wire) => snapshot::wire_namespace(wire),
        Place::Node => Err(ProvisionError::NoSuchPlace("the node's own".to_owned())),
    }
}
