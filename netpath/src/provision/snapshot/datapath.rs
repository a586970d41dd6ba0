//! What the node's maps hold, and where its programs run.

use netpath_common::{InterfaceKind, InterfaceState};

use crate::{
    datapath::{AttachMode, Datapath, attach_mode},
    provision::{error::ProvisionError, records},
    reconcile::{Interface, Maps, Observed},
};

/// Whether programs are attached by links that are pinned.
pub(super) fn pins_links() -> bool {
    attach_mode() == AttachMode::Tcx
}

/// The entries that the programs read, and what else is pinned.
pub(super) fn maps(datapath: &Datapath, observed: &mut Observed) -> Result<(), ProvisionError> {
    let maps = &datapath.maps;
    let mut interfaces = std::collections::BTreeMap::new();
    for (ifindex, entry) in maps.interfaces()? {
        let interface = Interface {
            kind: InterfaceKind::from_number(entry.kind),
            ready: entry.state == InterfaceState::Ready as u32,
            id: entry.endpoint_id,
            rp_filter: entry.rp_filter,
            dev: records::text(&entry.name)?,
            endpoint: records::text(&entry.endpoint)?,
        };
        interfaces.insert(ifindex, interface);
    }
    observed.maps = Maps {
        endpoints: maps.endpoints()?.into_iter().collect(),
        routes: maps.routes()?.into_iter().collect(),
        devices: maps.devices()?,
        interfaces,
        features: maps.features()?.bits,
    };
    observed.link_pins = datapath.link_pins()?.into_iter().collect();
    Ok(())
}
