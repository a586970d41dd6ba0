//! What is done with records, with the entries that programs read, and with programs.

use netpath_common::{
    EndpointEntry, EndpointId, Ifindex, InterfaceEntry, InterfaceKind, InterfaceState, RouteEntry,
};

use super::{
    super::{
        error::ProvisionError,
        records::{self, fixed, key},
    },
    Site,
    links::link,
};
use crate::{
    datapath::{Datapath, to_bytes},
    netlink::Netlink,
    netns::Inside,
    reconcile::{Op, Owner, Place, RecordedEndpoint, RecordedUplink},
};

impl Site<'_> {
    pub(super) fn maps(
        &mut self,
        inside: &Inside<'_>,
        netlink: &Netlink,
        op: &Op,
    ) -> Result<(), ProvisionError> {
        match op {
            Op::RecordEndpoint(name, record) => self.record_endpoint(netlink, name, record),
            Op::RecordUplink(dev, record) => self.record_uplink(netlink, dev, record),
            Op::RecordRoute(dst, record) => {
                let bytes = records::route_bytes(record);
                Ok(self
                    .datapath()?
                    .maps
                    .set_route_record(to_bytes(*dst), &bytes)?)
            }
            Op::ForgetRoute(dst) => {
                Ok(self.datapath()?.maps.remove_route_record(to_bytes(*dst))?)
            }
            Op::Register {
                dev,
                kind,
                id,
                endpoint,
                rp_filter,
            } => {
                let ifindex = link(netlink, dev)?.ifindex;
                let entry = InterfaceEntry {
                    kind: *kind as u32,
                    state: InterfaceState::Preparing as u32,
                    endpoint_id: *id,
                    rp_filter: *rp_filter,
                    name: fixed(dev)?,
                    endpoint: fixed(endpoint)?,
                };
                register(self.datapath()?, ifindex, *kind, entry)
            }
            Op::Unregister(ifindex) => {
                let maps = &mut self.datapath()?.maps;
                maps.remove_interface(*ifindex)?;
                Ok(maps.forget_hops(*ifindex)?)
            }
            Op::SetReady(dev) => set_ready(self.datapath()?, link(netlink, dev)?.ifindex),
            Op::SetDevice(id, dev) => {
                let ifindex = link(netlink, dev)?.ifindex;
                Ok(self.datapath()?.maps.set_device(*id, ifindex)?)
            }
            Op::RemoveDevice(id) => Ok(self.datapath()?.maps.remove_device(*id)?),
            Op::SetEntry(address, owner) => {
                let entry = entry(netlink, owner)?;
                Ok(self.datapath()?.maps.set_endpoint(*address, &entry)?)
            }
            Op::RemoveEntry(address) => Ok(self.datapath()?.maps.remove_endpoint(*address)?),
            Op::SetPrefix(prefix, owner) => {
                let entry = RouteEntry::local(&entry(netlink, owner)?);
                Ok(self.datapath()?.maps.set_route(*prefix, &entry)?)
            }
            Op::RemovePrefix(prefix) => Ok(self.datapath()?.maps.remove_route(*prefix)?),
            Op::Attach(program, dev) => {
                self.datapath()?.attach(inside, *program, dev)?;
                Ok(())
            }
            Op::Detach(program, dev) => {
                self.datapath()?.detach(inside, *program, dev)?;
                Ok(())
            }
            op => Err(ProvisionError::NoSuchPlace(format!("{op:?}"))),
        }
    }

    /// With the cookie and the index that it got, where they could not be known when it was planned.
    fn record_endpoint(
        &mut self,
        netlink: &Netlink,
        name: &str,
        record: &RecordedEndpoint,
    ) -> Result<(), ProvisionError> {
        let mut record = record.clone();
        let place = Place::Endpoint(name.to_owned());
        record.cookie = self.cookies.get(&place).copied().unwrap_or(record.cookie);
        if record.complete {
            record.ifindex = link(netlink, &record.host_dev)?.ifindex;
        }
        let bytes = records::endpoint_bytes(&record)?;
        Ok(self
            .datapath()?
            .maps
            .set_endpoint_record(key(name)?, &bytes)?)
    }

    fn record_uplink(
        &mut self,
        netlink: &Netlink,
        dev: &str,
        record: &RecordedUplink,
    ) -> Result<(), ProvisionError> {
        let mut record = record.clone();
        let place = Place::Wire(record.wire.clone());
        let made = self.cookies.get(&place).copied();
        if record.wire_cookie != 0 {
            record.wire_cookie = made.unwrap_or(record.wire_cookie);
        }
        if record.complete && record.ifindex != Ifindex(0) {
            record.ifindex = link(netlink, dev)?.ifindex;
        }
        let bytes = records::uplink_bytes(&record)?;
        Ok(self.datapath()?.maps.set_uplink_record(key(dev)?, &bytes)?)
    }
}

fn entry(netlink: &Netlink, owner: &Owner) -> Result<EndpointEntry, ProvisionError> {
    match owner {
        Owner::Node => Ok(EndpointEntry::NODE),
        Owner::Endpoint {
            id,
            dev,
            endpoint_mac,
            host_mac,
        } => Ok(EndpointEntry {
            ifindex: link(netlink, dev)?.ifindex,
            id: *id,
            endpoint_mac: *endpoint_mac,
            host_mac: *host_mac,
        }),
    }
}

/// What the maps hold under the index of another interface goes first: its counters and addresses are not this one's.
fn register(
    datapath: &mut Datapath,
    ifindex: Ifindex,
    kind: InterfaceKind,
    mut entry: InterfaceEntry,
) -> Result<(), ProvisionError> {
    let maps = &mut datapath.maps;
    match maps.interface(ifindex)? {
        Some(old) if old.kind == kind as u32 && old.endpoint_id == entry.endpoint_id => {
            entry.state = old.state;
        }
        Some(_) => forget_others(datapath, ifindex, entry.endpoint_id)?,
        None => {}
    }
    Ok(datapath.maps.set_interface(ifindex, &entry)?)
}

fn forget_others(
    datapath: &mut Datapath,
    ifindex: Ifindex,
    id: EndpointId,
) -> Result<(), ProvisionError> {
    let maps = &mut datapath.maps;
    maps.forget_hops(ifindex)?;
    for (address, entry) in maps.endpoints()? {
        if entry.ifindex == ifindex && entry.id != id {
            maps.remove_endpoint(address)?;
        }
    }
    for (prefix, route) in maps.routes()? {
        if route.endpoint.ifindex == ifindex && route.endpoint.id != id {
            maps.remove_route(prefix)?;
        }
    }
    Ok(())
}

fn set_ready(datapath: &mut Datapath, ifindex: Ifindex) -> Result<(), ProvisionError> {
    let maps = &mut datapath.maps;
    let missing = || ProvisionError::NotUp {
        object: "interface",
        name: format!("with index {}", ifindex.0),
    };
    let mut entry = maps.interface(ifindex)?.ok_or_else(missing)?;
    entry.state = InterfaceState::Ready as u32;
    Ok(maps.set_interface(ifindex, &entry)?)
}
