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
    datapath::{Writer, to_bytes},
    netlink::Netlink,
    netns::Inside,
    reconcile::{AddressPunts, Op, Owner, Place, RecordedEndpoint, RecordedUplink},
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
                let bytes = records::route_bytes(record)?;
                Ok(self.writer()?.route_records.set(&to_bytes(*dst), &bytes)?)
            }
            Op::ForgetRoute(dst) => Ok(self.writer()?.route_records.remove(&to_bytes(*dst))?),
            Op::Register(new) => {
                let ifindex = link(netlink, &new.dev)?.ifindex;
                let entry = InterfaceEntry {
                    kind: new.kind as u32,
                    state: with_mode(InterfaceState::Preparing as u32, new.shadow),
                    endpoint_id: new.id,
                    rp_filter: new.rp_filter,
                    punt_ingress: new.punts.ingress,
                    punt_egress: new.punts.egress,
                    name: fixed(&new.dev)?,
                    endpoint: fixed(&new.endpoint)?,
                };
                register(&self.writer()?, ifindex, new.kind, entry)
            }
            Op::Unregister(ifindex) => {
                let writer = self.writer()?;
                match netlink.has_index(*ifindex)? {
                    true => Ok(writer.forget_interface(*ifindex)?),
                    false => Ok(writer.retire_interface(*ifindex)?),
                }
            }
            Op::Unretire(ifindex) => Ok(self.writer()?.retired.remove(ifindex)?),
            Op::SetReady(dev) => set_ready(&self.writer()?, link(netlink, dev)?.ifindex),
            Op::SetDevice(id, dev) => {
                let ifindex = link(netlink, dev)?.ifindex;
                Ok(self.writer()?.set_device(*id, ifindex)?)
            }
            Op::RemoveDevice(id) => Ok(self.writer()?.devices.remove(id)?),
            Op::SetEntry(address, owner, punts) => {
                let entry = entry(netlink, owner, *punts)?;
                Ok(self.writer()?.set_endpoint(*address, &entry)?)
            }
            Op::RemoveEntry(address) => Ok(self.writer()?.remove_endpoint(*address)?),
            Op::SetPrefix(prefix, owner, punts) => {
                let entry = RouteEntry::local(&entry(netlink, owner, *punts)?);
                Ok(self.writer()?.set_route(*prefix, &entry)?)
            }
            Op::RemovePrefix(prefix) => Ok(self.writer()?.remove_route(*prefix)?),
            Op::Attach(program, dev) => {
                self.datapath()?.attach(inside, *program, dev)?;
                Ok(())
            }
            Op::Detach(program, dev) => {
                self.datapath()?.detach(inside, *program, dev)?;
                Ok(())
            }
            Op::RemoveClsact(dev) => {
                Ok(self
                    .datapath()?
                    .remove_clsact(inside, InterfaceKind::Uplink.programs(), dev)?)
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
            record.ifindex = match link(netlink, &record.host_dev) {
                Ok(link) => link.ifindex,
                // Somebody took it away or renamed it, and what changes is what is wished of it.
                Err(ProvisionError::NotUp { .. })
                    if self.recorded_index(name)? == Some(record.ifindex) =>
                {
                    record.ifindex
                }
                Err(error) => return Err(error),
            };
        }
        let bytes = records::endpoint_bytes(&record)?;
        Ok(self.writer()?.endpoint_records.set(&key(name)?, &bytes)?)
    }

    /// The index of an endpoint's host-side veth, as its record has it.
    fn recorded_index(&mut self, name: &str) -> Result<Option<Ifindex>, ProvisionError> {
        let record = self.datapath()?.maps.endpoint_records.get(&key(name)?)?;
        Ok(record.map(|record| record.host_ifindex))
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
        // One of the machine's had its index when it was planned, whatever it is called by now.
        if record.made && record.complete && record.ifindex != Ifindex(0) {
            record.ifindex = link(netlink, dev)?.ifindex;
        }
        let bytes = records::uplink_bytes(&record)?;
        Ok(self.writer()?.uplink_records.set(&key(dev)?, &bytes)?)
    }
}

fn entry(
    netlink: &Netlink,
    owner: &Owner,
    punts: AddressPunts,
) -> Result<EndpointEntry, ProvisionError> {
    let entry = match owner {
        Owner::Node => EndpointEntry::NODE,
        Owner::Machine => return Ok(RouteEntry::NODE.endpoint),
        Owner::Endpoint {
            id,
            dev,
            endpoint_mac,
            host_mac,
        } => EndpointEntry {
            ifindex: link(netlink, dev)?.ifindex,
            id: *id,
            endpoint_mac: *endpoint_mac,
            host_mac: *host_mac,
            ..EndpointEntry::NODE
        },
    };
    Ok(EndpointEntry {
        punt_to: punts.to,
        punt_between: punts.between,
        ..entry
    })
}

/// What the maps hold under the index of another interface goes first: its counters and addresses are not this one's.
fn register(
    maps: &Writer<'_>,
    ifindex: Ifindex,
    kind: InterfaceKind,
    mut entry: InterfaceEntry,
) -> Result<(), ProvisionError> {
    match maps.interfaces.get(&ifindex)? {
        Some(old) if is_like(old.kind, kind) && old.endpoint_id == entry.endpoint_id => {
            entry.state = with_mode(old.state, entry.is_shadow());
        }
        _ => forget_others(maps, ifindex, entry.endpoint_id)?,
    }
    Ok(maps.set_interface(ifindex, &entry)?)
}

/// The number of a state, with the bit of shadow mode or without.
fn with_mode(state: u32, shadow: bool) -> u32 {
    match shadow {
        true => state | InterfaceEntry::SHADOW,
        false => state & !InterfaceEntry::SHADOW,
    }
}

/// Whether the number is that of a kind which leads to the like.
fn is_like(number: u32, kind: InterfaceKind) -> bool {
    let old = InterfaceKind::from_number(number);
    old.is_some_and(|old| old.is_uplink() == kind.is_uplink())
}

fn forget_others(
    maps: &Writer<'_>,
    ifindex: Ifindex,
    id: EndpointId,
) -> Result<(), ProvisionError> {
    let was_known = maps.interfaces.get(&ifindex)?.is_some();
    maps.reuse_index(ifindex)?;
    if !was_known {
        return Ok(());
    }
    for (address, entry) in maps.reader.endpoints()? {
        if entry.ifindex == ifindex && entry.id != id {
            maps.remove_endpoint(address)?;
        }
    }
    for (prefix, route) in maps.reader.routes()? {
        if route.endpoint.ifindex == ifindex && route.endpoint.id != id {
            maps.remove_route(prefix)?;
        }
    }
    Ok(())
}

fn set_ready(maps: &Writer<'_>, ifindex: Ifindex) -> Result<(), ProvisionError> {
    let missing = || ProvisionError::NotUp {
        object: "interface",
        name: format!("with index {}", ifindex.0),
    };
    let mut entry = maps.interfaces.get(&ifindex)?.ok_or_else(missing)?;
    entry.state = with_mode(InterfaceState::Ready as u32, entry.is_shadow());
    Ok(maps.set_interface(ifindex, &entry)?)
}
