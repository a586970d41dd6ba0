//! The namespace that is the endpoint.

use netpath_common::EndpointRecord;

use super::super::{
    error::ProvisionError,
    node::{Node, foreign_namespace, key, quiet_ipv6},
};
use crate::{
    netlink::Netlink,
    netns::{NameState, Netns, name_state},
};

/// The endpoint's namespace, if it is there and is the one that netpath made.
pub fn own_netns(name: &str, record: &EndpointRecord) -> Result<Option<Netns>, ProvisionError> {
    match name_state(name)? {
        NameState::Free | NameState::EmptyFile | NameState::Foreign => Ok(None),
        NameState::Namespace => {
            let netns = Netns::named(name)?;
            Ok((netns.cookie()? == record.netns_cookie).then_some(netns))
        }
    }
}

pub(super) fn ensure_netns(
    node: &Node,
    name: &str,
    record: &mut EndpointRecord,
) -> Result<Netns, ProvisionError> {
    let netns = match own_netns(name, record)? {
        Some(netns) => netns,
        None => create_netns(node, name, record)?,
    };
    // Each time: the run that made it may have been killed before this.
    netns.enter(|inside| {
        for scope in ["all", "default"] {
            quiet_ipv6(inside, scope)?;
        }
        let netlink = Netlink::open(inside)?;
        match netlink.link("lo")? {
            Some(lo) => Ok::<(), ProvisionError>(netlink.set_up(&lo)?),
            None => Ok(()),
        }
    })??;
    Ok(netns)
}

fn create_netns(
    node: &Node,
    name: &str,
    record: &mut EndpointRecord,
) -> Result<Netns, ProvisionError> {
    match name_state(name)? {
        NameState::Free => {}
        // Left by a creation that was interrupted after its record was written.
        NameState::EmptyFile if record.netns_cookie != 0 => Netns::remove(name)?,
        NameState::EmptyFile | NameState::Namespace | NameState::Foreign => {
            return Err(foreign_namespace(name));
        }
    }
    let name_key = key(name)?;
    Netns::create(name, |cookie| {
        record.netns_cookie = cookie;
        node.datapath().maps.set_endpoint_record(name_key, record)?;
        Ok(())
    })
}

/// Takes away the endpoint's namespace, or the empty file of one that was never finished.
pub fn remove_netns(name: &str, record: &EndpointRecord) -> Result<(), ProvisionError> {
    let ours = match name_state(name)? {
        NameState::EmptyFile => record.netns_cookie != 0,
        NameState::Namespace => own_netns(name, record)?.is_some(),
        NameState::Free | NameState::Foreign => false,
    };
    if ours {
        Netns::remove(name)?;
    }
    Ok(())
}
