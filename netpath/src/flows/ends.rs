//! Which endpoint an address is of.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use netpath_common::{EndpointId, text};

use crate::datapath::{DatapathError, Maps};

/// The endpoints of a node.
pub(super) struct Endpoints<'a> {
    maps: &'a Maps,
    names: BTreeMap<EndpointId, String>,
    asked: RefCell<HashMap<IpAddr, Option<String>>>,
}

impl<'a> Endpoints<'a> {
    pub(super) fn of(maps: &'a Maps) -> Result<Self, DatapathError> {
        let records = maps.endpoint_records.all()?;
        let names = records.iter().filter_map(|(key, record)| {
            let name = text(&key.name)?;
            Some((record.id, name.to_owned()))
        });
        Ok(Self {
            maps,
            names: names.collect(),
            asked: RefCell::default(),
        })
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.values()
    }

    /// The one that has the address, or that its longest prefix is routed to.
    pub(super) fn at(&self, address: IpAddr) -> Result<Option<String>, DatapathError> {
        if let Some(known) = self.asked.borrow().get(&address) {
            return Ok(known.clone());
        }
        let id = match self.maps.endpoint(address)? {
            Some(entry) => Some(entry.id),
            None => {
                let route = self.maps.route(address.into())?;
                route.map(|route| route.endpoint.id)
            }
        };
        let name = id.and_then(|id| self.names.get(&id)).cloned();
        self.asked.borrow_mut().insert(address, name.clone());
        Ok(name)
    }
}
