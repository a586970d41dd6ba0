//! What somebody alters in the maps that the programs read.

use netpath_common::{EndpointEntry, EndpointId, RouteEntry};

use super::Damage;
use crate::reconcile::{World, tests::generate::net};

impl Damage {
    pub(super) fn inflict_on_maps(&self, world: &mut World) {
        let maps = &mut world.observed.maps;
        let strange = EndpointEntry {
            id: EndpointId(99),
            ..EndpointEntry::NODE
        };
        match self.kind {
            10 => maps.endpoints.clear(),
            11 => {
                if let Some(key) = self.pick(maps.endpoints.keys().copied()) {
                    maps.endpoints.insert(key, strange);
                }
            }
            12 => {
                maps.endpoints.insert([10, 66, 6, 6].into(), strange);
            }
            13 => maps.routes.clear(),
            14 => {
                maps.routes.insert(net("10.66.0.0/16"), RouteEntry::REMOTE);
            }
            15 => maps.devices.clear(),
            16 => {
                if let Some(key) = self.pick(maps.interfaces.keys().copied()) {
                    maps.interfaces.remove(&key);
                }
            }
            17 => {
                if let Some(interface) = self
                    .pick(maps.interfaces.keys().copied())
                    .and_then(|key| maps.interfaces.get_mut(&key))
                {
                    interface.ready = false;
                }
            }
            18 => {
                if let Some(key) = self.pick(maps.routes.keys().copied()) {
                    maps.routes.insert(key, RouteEntry::local(&strange));
                }
            }
            _ => {
                if let Some(interface) = self
                    .pick(maps.interfaces.keys().copied())
                    .and_then(|key| maps.interfaces.get_mut(&key))
                {
                    interface.dev = "other".to_owned();
                }
            }
        }
    }
}
