//! What the node's maps hold, and where its programs run.

use netpath_common::{Gate, InterfaceKind};

use super::Subject;
use crate::{
    datapath::{AttachMode, Datapath, attach_mode},
    provision::{error::ProvisionError, records},
    reconcile::{Interface, InterfacePunts, Maps, Observed},
};

/// Whether programs are attached by links that are pinned.
pub(super) fn pins_links() -> Result<bool, ProvisionError> {
    Ok(attach_mode()? == AttachMode::Tcx)
}

/// The entries that the programs read, and what else is pinned.
pub(super) fn maps(
    subject: &Subject<'_>,
    datapath: &Datapath,
    observed: &mut Observed,
) -> Result<(), ProvisionError> {
    let maps = &datapath.maps;
    let mut interfaces = std::collections::BTreeMap::new();
    for (ifindex, entry) in maps.interfaces.all()? {
        let gate = maps.gate(ifindex, &entry)?;
        let interface = Interface {
            kind: InterfaceKind::from_number(entry.kind),
            ready: gate.has(Gate::READY) && gate == entry.gate(),
            shadow: entry.is_shadow(),
            id: entry.endpoint_id,
            rp_filter: entry.rp_filter,
            punts: InterfacePunts {
                ingress: entry.punt_ingress,
                egress: entry.punt_egress,
            },
            // What is no text is no name that is wanted.
            dev: records::shown(&entry.name),
            endpoint: records::shown(&entry.endpoint),
        };
        interfaces.insert(ifindex, interface);
    }
    // All are a large array, and none of an endpoint's that is yet to come.
    let strange = match subject.only {
        Some(_) => Vec::new(),
        None => maps.open_gates()?,
    };
    observed.settings_sound = datapath.settings_are_sound()?;
    let rooms = [
        maps.endpoints_v4.max_entries(),
        maps.endpoints_v6.max_entries(),
    ];
    observed.address_room = rooms.into_iter().min().unwrap_or(0);
    let rooms = [maps.routes_v4.max_entries(), maps.routes_v6.max_entries()];
    observed.route_room = rooms.into_iter().min().unwrap_or(0);
    let devices = maps.devices.all()?;
    observed.maps = Maps {
        endpoints: maps.endpoints()?,
        routes: maps.routes()?,
        devices: devices
            .into_iter()
            .map(|(id, device)| (id, device.ifindex))
            .collect(),
        strange_gates: strange
            .into_iter()
            .filter(|ifindex| !interfaces.contains_key(ifindex))
            .collect(),
        retired: maps.retired.all()?.into_keys().collect(),
        features: maps.features.get()?,
        interfaces,
    };
    observed.link_pins = datapath.link_pins()?.into_iter().collect();
    Ok(())
}
