//! The one way that the kernel would choose for a packet: the next hop among several, and the MTU that it knows of the
//! path.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::route::RouteType;
use netpath_common::Ifindex;

use super::{NoWay, RouteKind, decode};
use crate::netlink::{
    Netlink, NetlinkError,
    attribute::{Attributes, attribute},
    channel::About,
    raw::Raw,
};

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
/// Size of `struct rtmsg` in bytes.
const RTMSG: usize = 12;
/// `RTM_F_LOOKUP_TABLE` of linux/rtnetlink.h: tell the table.
const LOOKUP_TABLE: u32 = 0x1000;

/// A packet that is asked about. Integers are in the host's byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The interface that it comes in by; `None`: it is sent here.
    pub iif: Option<Ifindex>,
    /// Of what is sent here: the interface that it is to leave by.
    pub oif: Option<Ifindex>,
    /// From here; `None`: the kernel chooses.
    pub source: Option<IpAddr>,
    /// To there.
    pub destination: IpAddr,
    /// Its type of service, without ECN.
    pub tos: u8,
    /// Its mark.
    pub mark: u32,
    /// Its protocol's number. The kernel takes those of TCP, UDP, ICMP and ICMPv6.
    pub protocol: Option<u8>,
    /// Source and destination port.
    pub ports: Option<(u16, u16)>,
    /// Its flow label (Linux 6.13).
    pub flow_label: u32,
}

/// The way that the kernel would choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// What becomes of the packet.
    pub kind: RouteKind,
    /// The interface that it leaves by; that of the loopback device if it stays here.
    pub ifindex: Ifindex,
    /// The router; `None` for a destination on the link.
    pub via: Option<IpAddr>,
    /// The source address that the kernel would choose, or that the route prefers.
    pub source: Option<IpAddr>,
    /// The table that it is in. IPv4 does not tell it of a packet that stays here.
    pub table: u32,
    /// The MTU that the route has, or that was learnt of the path.
    pub mtu: Option<u32>,
    /// The MTU holds against what is learnt.
    pub mtu_locked: bool,
    /// The way is one that was learnt for this destination, and the MTU with it.
    pub learnt: bool,
}

impl Netlink {
    /// The way that the kernel would choose for a packet, or why there is none. Of what comes in by IPv4 it checks the
    /// source as well.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn resolve(&self, lookup: &Lookup) -> Result<Result<Resolved, NoWay>, NetlinkError> {
        let about = About {
            action: "ask for the way of a packet to",
            object: &lookup.destination.to_string(),
        };
        let request = Raw {
            kind: RTM_GETROUTE,
            payload: payload(lookup),
        };
        let answer = match self.channel.ask(about, request, 0) {
            Ok(answer) => answer,
            // A kernel that does not know flow labels refuses the question itself, with what it says of dropped packets.
            Err(error) if error.errno() == Some(libc::EINVAL) && lookup.flow_label != 0 => {
                let flow_label = 0;
                return self.resolve(&Lookup {
                    flow_label,
                    ..*lookup
                });
            }
            Err(error) => return NoWay::of(error.errno()).map(Err).ok_or(error),
        };
        let found = answer.iter().find(|message| message.kind == RTM_NEWROUTE);
        let found = found.ok_or_else(|| about.undecoded("it holds no route"))?;
        let resolved = resolved(&found.payload).map_err(|problem| about.undecoded(problem))?;
        Ok(Ok(resolved))
    }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn payload(lookup: &Lookup) -> Vec<u8> {
    const DST: u16 = 1;
    const SRC: u16 = 2;
    const IIF: u16 = 3;
    const OIF: u16 = 4;
    const MARK: u16 = 16;
    const IP_PROTO: u16 = 27;
    const SPORT: u16 = 28;
    const DPORT: u16 = 29;
    const FLOWLABEL: u16 = 31;
    let (family, length) = match lookup.destination {
        IpAddr::V4(_) => (libc::AF_INET as u8, 32),
        IpAddr::V6(_) => (libc::AF_INET6 as u8, 128),
    };
    let source_length = lookup.source.map_or(0, |_| length);
    let mut payload = vec![family, length, source_length, lookup.tos, 0, 0, 0, 0];
    let flags = match lookup.destination {
        IpAddr::V4(_) => LOOKUP_TABLE,
        IpAddr::V6(_) => 0,
    };
    payload.extend(flags.to_ne_bytes());
    payload.extend(attribute(DST, &bytes(lookup.destination)));
    if let Some(source) = lookup.source {
        payload.extend(attribute(SRC, &bytes(source)));
    }
    for (kind, index) in [(IIF, lookup.iif), (OIF, lookup.oif)] {
        if let Some(Ifindex(index)) = index {
            payload.extend(attribute(kind, &index.to_ne_bytes()));
        }
    }
    if lookup.mark != 0 {
        payload.extend(attribute(MARK, &lookup.mark.to_ne_bytes()));
    }
    if let Some(protocol @ (1 | 6 | 17 | 58)) = lookup.protocol {
        payload.extend(attribute(IP_PROTO, &[protocol]));
    }
    if let Some((source, destination)) = lookup.ports {
        payload.extend(attribute(SPORT, &source.to_be_bytes()));
        payload.extend(attribute(DPORT, &destination.to_be_bytes()));
    }
    if lookup.flow_label != 0 && lookup.destination.is_ipv6() {
        payload.extend(attribute(FLOWLABEL, &lookup.flow_label.to_be_bytes()));
    }
    payload
}

fn resolved(payload: &[u8]) -> Result<Resolved, String> {
    const OIF: u16 = 4;
    const GATEWAY: u16 = 5;
    const PREFSRC: u16 = 7;
    const METRICS: u16 = 8;
    const CACHEINFO: u16 = 12;
    const TABLE: u16 = 15;
    const VIA: u16 = 18;
    const LOCK: u16 = 1;
    const MTU: u16 = 2;
    /// Where `rta_expires` is in `struct rta_cacheinfo`.
    const EXPIRES: usize = 8;
    let (header, attributes) = Attributes::behind(RTMSG, payload)?;
    let via = match attributes.get(VIA) {
        // `struct rtvia`: a family, and an address of it.
        Some(via) => via.get(2..).map(address).transpose()?,
        None => attributes.get(GATEWAY).map(address).transpose()?,
    };
    let metrics = attributes.nested(METRICS)?;
    let metric = |kind| match &metrics {
        Some(metrics) => metrics.u32(kind),
        None => Ok(None),
    };
    let cache = attributes.get(CACHEINFO).unwrap_or_default();
    let expires = cache.get(EXPIRES..EXPIRES + 4);
    Ok(Resolved {
        kind: decode::kind(RouteType::from(header[7])),
        ifindex: Ifindex(attributes.u32(OIF)?.unwrap_or(0)),
        via,
        source: attributes.get(PREFSRC).map(address).transpose()?,
        table: attributes.u32(TABLE)?.unwrap_or(u32::from(header[4])),
        mtu: metric(MTU)?.filter(|mtu| *mtu != 0),
        mtu_locked: metric(LOCK)?.unwrap_or(0) & 1 << MTU != 0,
        learnt: expires.is_some_and(|expires| expires != [0; 4]),
    })
}

fn address(bytes: &[u8]) -> Result<IpAddr, String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(Ipv4Addr::from(v4).into());
    }
    let v6 = <[u8; 16]>::try_from(bytes);
    v6.map(|v6| Ipv6Addr::from(v6).into())
        .map_err(|_| format!("an address of {} bytes", bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_read_with_the_mtu_that_was_learnt() {
        let mut message = vec![libc::AF_INET as u8, 32, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0];
        message.extend(attribute(4, &7u32.to_ne_bytes()));
        message.extend(attribute(18, &[&[10, 0][..], &[0xfe; 16][..]].concat()));
        let metrics = [
            attribute(1, &4u32.to_ne_bytes()),
            attribute(2, &1300u32.to_ne_bytes()),
        ];
        message.extend(attribute(8, &metrics.concat()));
        message.extend(attribute(12, &[[0; 8], [9; 8]].concat()));
        let resolved = resolved(&message).expect("a route");
        assert_eq!(resolved.kind, RouteKind::Unicast);
        assert_eq!((resolved.ifindex, resolved.table), (Ifindex(7), 254));
        assert_eq!(resolved.via, Some(IpAddr::from([0xfe; 16])));
        assert_eq!((resolved.mtu, resolved.mtu_locked), (Some(1300), true));
        assert!(resolved.learnt);
    }
}
