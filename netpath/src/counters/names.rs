//! Names of interfaces and endpoints.

use std::collections::BTreeMap;

use netpath_common::{HopKey, Ifindex, InterfaceEntry, Outcome, text};

use super::LOCAL;
use crate::{
    datapath::{Datapath, DatapathError},
    netns::Netns,
};

/// Names of a node's interfaces.
pub(super) struct Names<'a> {
    netpath: &'a BTreeMap<Ifindex, InterfaceEntry>,
    /// Those that netpath's programs are not attached to.
    other: BTreeMap<Ifindex, String>,
}

impl<'a> Names<'a> {
    pub(super) fn new(netpath: &'a BTreeMap<Ifindex, InterfaceEntry>) -> Self {
        Self {
            netpath,
            other: BTreeMap::new(),
        }
    }

    /// The kernel delivers packets from any interface, and its routes lead to any.
    pub(super) fn ask_kernel<'k>(
        &mut self,
        datapath: &Datapath,
        hops: impl Iterator<Item = &'k HopKey>,
    ) -> Result<(), DatapathError> {
        let unknown: Vec<Ifindex> = hops
            .flat_map(|key| [key.ingress, key.egress])
            .filter(|index| index.0 != 0 && !self.netpath.contains_key(index))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let identity = datapath.maps.meta.get()?;
        let netns = if identity.netns_made == 0 {
            Netns::current()
        } else {
            Netns::named(datapath.name())
        };
        // Another namespace of that name has other interfaces; without one, an index has to do.
        let Ok(netns) = netns else { return Ok(()) };
        if netns.cookie().ok() != Some(identity.netns_cookie) {
            return Ok(());
        }
        let names = netns.run(|| {
            unknown
                .into_iter()
                .filter_map(|index| {
                    let name = nix::net::if_::if_indextoname(index.0).ok()?;
                    Some((index, name.into_string().ok()?))
                })
                .collect()
        });
        self.other = names.unwrap_or_default();
        Ok(())
    }

    fn interface(&self, index: Ifindex) -> String {
        self.netpath
            .get(&index)
            .and_then(|entry| text(&entry.name))
            .filter(|name| !name.is_empty())
            .or_else(|| self.other.get(&index).map(String::as_str))
            .map_or_else(|| format!("if{}", index.0), str::to_owned)
    }

    fn endpoint(&self, index: Ifindex) -> Option<String> {
        let name = text(&self.netpath.get(&index)?.endpoint)?;
        (!name.is_empty()).then(|| name.to_owned())
    }

    pub(super) fn hop(&self, key: &HopKey, outcome: Outcome) -> Hop {
        let is_local = key.ingress == Ifindex(0);
        let (sender, receiver) = (self.endpoint(key.ingress), self.endpoint(key.egress));
        Hop {
            ingress: if is_local {
                LOCAL.to_owned()
            } else {
                self.interface(key.ingress)
            },
            egress: (key.egress != Ifindex(0)).then(|| self.interface(key.egress)),
            endpoint: match outcome {
                Outcome::Deliver => receiver,
                Outcome::RedirectPeer | Outcome::RedirectNeigh | Outcome::Punt | Outcome::Drop => {
                    sender.or(receiver)
                }
            },
        }
    }
}

/// The named parts of a row.
pub(super) struct Hop {
    pub(super) ingress: String,
    pub(super) egress: Option<String>,
    pub(super) endpoint: Option<String>,
}
