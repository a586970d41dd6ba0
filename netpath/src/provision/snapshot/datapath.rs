//! What the node's maps hold, and where its programs run.

use netpath_common::{InterfaceKind, InterfaceState, ProgramKind};

use crate::{
    datapath::{AttachMode, Datapath, attach_mode},
    netlink::Netlink,
    netns::Inside,
    provision::{error::ProvisionError, records},
    reconcile::{Interface, Link, Maps, Observed},
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

/// The kernel's numbers of the pinned programs.
pub(super) fn program_ids(datapath: &Datapath) -> Result<Vec<(ProgramKind, u32)>, ProvisionError> {
    ProgramKind::ALL
        .into_iter()
        .map(|program| Ok((program, datapath.program_id(program)?)))
        .collect()
}

/// Whether a program runs on an interface.
pub(super) fn runs(
    datapath: &Datapath,
    inside: &Inside<'_>,
    netlink: &Netlink,
    ids: &[(ProgramKind, u32)],
    program: ProgramKind,
    link: &Link,
) -> Result<bool, ProvisionError> {
    match attach_mode() {
        AttachMode::Tcx => Ok(datapath.is_attached(inside, program, &link.name)?),
        AttachMode::Clsact => {
            let ours = ids
                .iter()
                .find(|(kind, _)| *kind == program)
                .map(|(_, id)| *id);
            let Some(link) = netlink.link(&link.name)? else {
                return Ok(false);
            };
            let filters = netlink.filter_programs(&link, program.hook())?;
            Ok(filters.iter().any(|filter| Some(filter.program) == ours))
        }
    }
}
