//! From the kernel's message to a [`Link`].

use netpath_common::{Ifindex, Mac};

use super::{Link, LinkKind, Peer, XdpMode, XdpProgram};
use crate::netlink::{
    attribute::{Attributes, terminated, text},
    namespace::NamespaceId,
    raw::Raw,
};

const RTM_NEWLINK: u16 = 16;
/// Size of `struct ifinfomsg` in bytes.
const IFINFOMSG: usize = 16;
// Attributes of linux/if_link.h.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_GROUP: u16 = 27;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
/// `IFF_LOWER_UP` of linux/if.h.
const LOWER_UP: u32 = 1 << 16;
/// `IF_OPER_UP`.
const OPERATIONALLY_UP: u8 = 6;

/// Only that attribute is read: whatever else an interface has, its group must be known before one is taken.
pub(super) fn group(message: &Raw) -> Result<Option<u32>, String> {
    match message.kind {
        RTM_NEWLINK => Attributes::behind(IFINFOMSG, &message.payload)?
            .1
            .u32(IFLA_GROUP),
        _ => Ok(None),
    }
}

pub(super) fn found(message: &Raw) -> Result<Option<Link>, String> {
    match message.kind {
        RTM_NEWLINK => decode(&message.payload).map(Some),
        _ => Ok(None),
    }
}

/// Reads the few attributes that are needed and leaves the others alone, so that what stands in them (an alias may be
/// any bytes) cannot hide the interface. Only without a whole header it is not known which interface it is.
pub(in super::super) fn decode(payload: &[u8]) -> Result<Link, String> {
    let (header, attributes) = payload
        .split_at_checked(IFINFOMSG)
        .ok_or_else(|| format!("an interface's header of {} bytes", payload.len()))?;
    let word = |offset: usize| u32::from_ne_bytes(std::array::from_fn(|at| header[offset + at]));
    let mut link = Link {
        ifindex: Ifindex(word(4)),
        name: String::new(),
        altnames: Vec::new(),
        mac: None,
        hardware: u16::from_ne_bytes([header[2], header[3]]),
        point_to_point: word(8) & libc::IFF_POINTOPOINT.cast_unsigned() != 0,
        no_arp: word(8) & libc::IFF_NOARP.cast_unsigned() != 0,
        up: word(8) & libc::IFF_UP.cast_unsigned() != 0,
        operational: false,
        carrier: word(8) & LOWER_UP != 0,
        controller: Ifindex(0),
        port_of: None,
        peer: None,
        mtu: 0,
        kind: LinkKind::Unsaid,
        xdp: Vec::new(),
        undecoded: None,
    };
    let mut peer_netns = None;
    let mut problems = Vec::new();
    match Attributes::parse(attributes) {
        Ok(attributes) => {
            for (kind, value) in attributes.iter() {
                if let Err(problem) = take(&mut link, &mut peer_netns, kind, value) {
                    problems.push(problem);
                }
            }
        }
        Err(problem) => problems.push(problem),
    }
    if let Some(peer) = &mut link.peer {
        peer.netns = peer_netns;
    }
    if link.name.is_empty() {
        problems.push("it has no name".to_owned());
    }
    if !problems.is_empty() {
        link.undecoded = Some(problems.join(", "));
    }
    Ok(link)
}

fn take(
    link: &mut Link,
    peer_netns: &mut Option<NamespaceId>,
    kind: u16,
    value: &[u8],
) -> Result<(), String> {
    match kind {
        IFLA_IFNAME => {
            link.name = text(value);
            std::str::from_utf8(terminated(value)).map_err(|_| "its name is not UTF-8")?;
        }
        IFLA_ADDRESS => link.mac = value.try_into().ok().map(Mac),
        IFLA_OPERSTATE => link.operational = value == [OPERATIONALLY_UP],
        IFLA_MASTER => link.controller = Ifindex(number("controller", value)?),
        IFLA_MTU => link.mtu = number("MTU", value)?,
        IFLA_LINK => {
            // Without one it points to nothing, or to itself.
            let index = number("peer", value)?;
            link.peer = (index != 0).then_some(Peer {
                ifindex: Ifindex(index),
                netns: None,
            });
        }
        IFLA_LINK_NETNSID => {
            let id = number("peer's namespace", value)?.cast_signed();
            *peer_netns = NamespaceId::from_number(id);
        }
        IFLA_LINKINFO => {
            let infos = Attributes::parse(value)?;
            link.port_of = infos.text(IFLA_INFO_SLAVE_KIND);
            link.kind = match infos.text(IFLA_INFO_KIND).as_deref() {
                None => LinkKind::Unsaid,
                Some("veth") => LinkKind::Veth,
                Some("bridge") => LinkKind::Bridge,
                Some(other) => LinkKind::Other(other.to_owned()),
            };
        }
        IFLA_PROP_LIST => {
            let properties = Attributes::parse(value)?;
            let names = properties
                .iter()
                .filter(|(kind, _)| *kind == IFLA_ALT_IFNAME);
            link.altnames = names.map(|(_, name)| text(name)).collect();
        }
        IFLA_XDP => link.xdp = xdp(&Attributes::parse(value)?)?,
        _ => {}
    }
    Ok(())
}

fn number(what: &str, value: &[u8]) -> Result<u32, String> {
    let bytes = value.try_into();
    let bytes = bytes.map_err(|_| format!("its {what} has {} bytes", value.len()))?;
    Ok(u32::from_ne_bytes(bytes))
}

/// Each mode has an attribute of its own; the one for the program of the only mode is as old as the list.
fn xdp(attributes: &Attributes<'_>) -> Result<Vec<XdpProgram>, String> {
    let mut programs = Vec::new();
    for (kind, mode) in [
        (5, XdpMode::Native),
        (6, XdpMode::Generic),
        (7, XdpMode::Offload),
    ] {
        if let Some(program) = attributes.u32(kind)? {
            programs.push(XdpProgram { mode, program });
        }
    }
    if !programs.is_empty() {
        return Ok(programs);
    }
    let mode = match attributes.u8(IFLA_XDP_ATTACHED)? {
        None | Some(0) => return Ok(programs),
        Some(1) => XdpMode::Native,
        Some(2) => XdpMode::Generic,
        Some(3) => XdpMode::Offload,
        Some(other) => XdpMode::Other(other),
    };
    let program = attributes.u32(IFLA_XDP_PROG_ID)?;
    let program = program.ok_or("its XDP program has no number")?;
    Ok(vec![XdpProgram { mode, program }])
}
