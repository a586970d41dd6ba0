//! What only a machine has, as opposed to a namespace that netpath made: settings and routes of others.

use std::collections::{BTreeMap, BTreeSet};

use netpath_common::Ifindex;

use super::namespace;
use crate::{
    netlink,
    netns::{self, Inside, NETNS_DIR},
    provision::error::ProvisionError,
    reconcile::{Link, Namespace, Route},
    sysctl::{self, Tree},
};

/// What is read of a machine alone.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// What it takes for itself: routes of table local.
    pub local: Vec<Route>,
    /// See [`Observed::advertised`](crate::reconcile::Observed::advertised).
    pub advertised: Vec<String>,
    /// What goes before a command to run it there.
    pub entry: String,
}

/// Reads it, in its namespace; what its tables main and local have is known already.
pub(super) fn read(
    inside: &Inside<'_>,
    node: &Namespace,
    main: &[netlink::Route],
    local: &[netlink::Route],
) -> Result<Machine, ProvisionError> {
    let links: BTreeMap<Ifindex, Link> = node
        .links
        .iter()
        .map(|link| (link.ifindex, link.clone()))
        .collect();
    Ok(Machine {
        local: namespace::routes(local, &links),
        advertised: advertised(inside, main, &links)?,
        entry: entry()?,
    })
}

/// The interfaces whose default route came by router advertisements, and that would not heed them as a router's.
fn advertised(
    inside: &Inside<'_>,
    main: &[netlink::Route],
    links: &BTreeMap<Ifindex, Link>,
) -> Result<Vec<String>, ProvisionError> {
    let defaults = main
        .iter()
        .filter(|route| route.protocol == RTPROT_RA && route.dst.prefix_len() == 0);
    let hops = defaults.flat_map(|route| &route.next_hops);
    let through: BTreeSet<Ifindex> = hops.filter_map(|hop| hop.ifindex).collect();
    let mut devs = Vec::new();
    for link in through.iter().filter_map(|ifindex| links.get(ifindex)) {
        let key = sysctl::of_interface(Tree::Ipv6, &link.name, "accept_ra");
        match sysctl::get(inside, &key) {
            Ok(value) if value == "2" => {}
            Ok(_) => devs.push(link.name.clone()),
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(devs)
}

/// `RTPROT_RA` of linux/rtnetlink.h.
const RTPROT_RA: u8 = 9;

/// A namespace that has a name can be entered from anywhere; without one commands are run where netpath is.
fn entry() -> Result<String, ProvisionError> {
    let file = netns::file_of_current().map_err(|source| ProvisionError::File {
        path: NETNS_DIR.to_owned(),
        source,
    })?;
    Ok(file.map_or_else(String::new, |file| {
        format!("nsenter --net={} ", file.display())
    }))
}
