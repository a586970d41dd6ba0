//! What connection tracking has translated, read over nfnetlink (linux/netfilter/nfnetlink_conntrack.h).

use std::{
    collections::HashSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netpath_common::has_ports;

use super::{CONNTRACK_COUNT, NetfilterError};
use crate::{
    netlink::{
        attribute::{Attributes, attribute},
        raw::{Protocol, Raw, RawNetlink},
    },
    netns::Inside,
};

const SUBSYSTEM: u16 = 1 << 8;
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 1;
/// Size of `struct nfgenmsg` in bytes.
const NFGENMSG: usize = 4;

const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const STATUS_MASK: u16 = 26;

/// `IPS_SRC_NAT` and `IPS_DST_NAT` of linux/netfilter/nf_conntrack_common.h.
const SRC_NAT: u32 = 1 << 4;
const DST_NAT: u32 = 1 << 5;

/// The packets of a connection that go one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Where they come from.
    pub source: IpAddr,
    /// Where they go.
    pub destination: IpAddr,
    /// The source port; of an ICMP echo its identifier; 0 of what has neither.
    pub source_port: u16,
    /// The destination port; the same for ICMP.
    pub destination_port: u16,
    /// The layer-4 protocol's number.
    pub protocol: u8,
}

impl Tuple {
    /// The other way.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }
}

/// A connection whose packets are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Translated {
    /// Its packets as who began it sends them.
    pub original: Tuple,
    /// Its packets as the other end sends them.
    pub reply: Tuple,
}

/// All connections that are translated, of both families and all zones, of the calling thread's namespace. There are none where
/// the kernel tracks none, or does not tell.
///
/// # Errors
/// When they cannot be listed, all of them: also without `CAP_NET_ADMIN`.
pub fn translated(inside: &Inside<'_>) -> Result<HashSet<Translated>, NetfilterError> {
    // To ask for connections would load what tracks them.
    if !is_tracking()? {
        return Ok(HashSet::new());
    }
    let Some(netlink) = RawNetlink::open(inside, Protocol::Netfilter)? else {
        return Ok(HashSet::new());
    };
    let mut found = HashSet::new();
    // The kernel compares bits under a mask; one before Linux 5.18 tells all connections each time.
    for (mask, bits) in [(SRC_NAT, SRC_NAT), (SRC_NAT | DST_NAT, DST_NAT)] {
        let listed = netlink.list(
            "connections",
            &request(mask, bits),
            |message| match message.kind {
                NEW => decode(&message.payload),
                _ => Ok(None),
            },
        );
        match listed {
            Ok(some) => found.extend(some),
            // A kernel without ctnetlink does not know the question.
            Err(error) if error.errno() == Some(libc::EINVAL) => return Ok(HashSet::new()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

fn is_tracking() -> Result<bool, NetfilterError> {
    fs::exists(CONNTRACK_COUNT).map_err(|source| NetfilterError::File {
        path: CONNTRACK_COUNT,
        source,
    })
}

/// Asks for the connections whose status has these bits under the mask.
fn request(mask: u32, bits: u32) -> Raw {
    let mut payload = vec![libc::AF_UNSPEC as u8, libc::NFNETLINK_V0 as u8, 0, 0];
    payload.extend(attribute(STATUS, &bits.to_be_bytes()));
    payload.extend(attribute(STATUS_MASK, &mask.to_be_bytes()));
    Raw { kind: GET, payload }
}

/// A connection, if it is translated.
fn decode(payload: &[u8]) -> Result<Option<Translated>, String> {
    let (header, attributes) = Attributes::behind(NFGENMSG, payload)?;
    let family = i32::from(header[0]);
    if ![libc::AF_INET, libc::AF_INET6].contains(&family) {
        return Ok(None);
    }
    let nested = |kind, which| {
        let tuple = attributes.nested(kind)?;
        tuple.ok_or_else(|| format!("a connection has no {which} tuple"))
    };
    let original = tuple(&nested(TUPLE_ORIG, "original")?)?;
    let reply = tuple(&nested(TUPLE_REPLY, "reply")?)?;
    let status = attributes.be32(STATUS)?.unwrap_or(0);
    let is_translated = status & (SRC_NAT | DST_NAT) != 0 || reply != original.inverse();
    Ok(is_translated.then_some(Translated { original, reply }))
}

fn tuple(attributes: &Attributes<'_>) -> Result<Tuple, String> {
    const IP: u16 = 1;
    const PROTO: u16 = 2;
    const V4: (u16, u16) = (1, 2);
    const V6: (u16, u16) = (3, 4);
    const NUMBER: u16 = 1;
    const PORTS: (u16, u16) = (2, 3);
    let addresses = attributes.nested(IP)?.ok_or("a tuple has no addresses")?;
    let of_protocol = attributes.nested(PROTO)?.ok_or("a tuple has no protocol")?;
    let protocol = of_protocol.u8(NUMBER)?.ok_or("a protocol has no number")?;
    let v4 = |kind| {
        Ok::<_, String>(
            addresses
                .fixed(kind)?
                .map(|it| Ipv4Addr::from_octets(it).into()),
        )
    };
    let v6 = |kind| {
        Ok::<_, String>(
            addresses
                .fixed(kind)?
                .map(|it| Ipv6Addr::from_octets(it).into()),
        )
    };
    let address = |v4: Option<IpAddr>, v6: Option<IpAddr>| v4.or(v6).ok_or("an address is missing");
    let port = |kind| Ok::<_, String>(of_protocol.fixed(kind)?.map_or(0, u16::from_be_bytes));
    let (source_port, destination_port) = match has_ports(protocol) {
        true => (port(PORTS.0)?, port(PORTS.1)?),
        false => {
            let identifier = identifier(&of_protocol, protocol)?;
            (identifier, identifier)
        }
    };
    Ok(Tuple {
        source: address(v4(V4.0)?, v6(V6.0)?)?,
        destination: address(v4(V4.1)?, v6(V6.1)?)?,
        source_port,
        destination_port,
        protocol,
    })
}

/// The identifier of an ICMP message and its answer; 0 of what has none.
fn identifier(attributes: &Attributes<'_>, protocol: u8) -> Result<u16, String> {
    const ICMP_ID: u16 = 4;
    const ICMPV6_ID: u16 = 7;
    const ICMPV6_TYPE: u16 = 8;
    let kind = match i32::from(protocol) {
        libc::IPPROTO_ICMP => ICMP_ID,
        // Node information has a nonce there (RFC 4620).
        libc::IPPROTO_ICMPV6 if matches!(attributes.u8(ICMPV6_TYPE)?, Some(128 | 129)) => ICMPV6_ID,
        _ => return Ok(0),
    };
    Ok(attributes.fixed(kind)?.map_or(0, u16::from_be_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ENDS` of a tuple: source, destination, and the attributes of its protocol.
    fn tuple_bytes(kind: u16, source: IpAddr, destination: IpAddr, protocol: &[u8]) -> Vec<u8> {
        let ends = match (source, destination) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                [attribute(1, &a.octets()), attribute(2, &b.octets())]
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                [attribute(3, &a.octets()), attribute(4, &b.octets())]
            }
            mixed => panic!("{mixed:?}"),
        };
        let nested = |kind: u16| kind | 0x8000;
        let mut tuple = attribute(nested(1), &ends.concat());
        tuple.extend(attribute(nested(2), protocol));
        // The zone of one way.
        tuple.extend(attribute(3, &7u16.to_be_bytes()));
        attribute(nested(kind), &tuple)
    }

    fn ports(protocol: u8, source: u16, destination: u16) -> Vec<u8> {
        let mut bytes = attribute(1, &[protocol]);
        bytes.extend(attribute(2, &source.to_be_bytes()));
        bytes.extend(attribute(3, &destination.to_be_bytes()));
        bytes
    }

    fn message(family: i32, status: u32, tuples: [Vec<u8>; 2]) -> Vec<u8> {
        let mut bytes = vec![family as u8, 0, 0, 0];
        bytes.extend(tuples.concat());
        bytes.extend(attribute(STATUS, &status.to_be_bytes()));
        // Its timeout, which nobody asked for.
        bytes.extend(attribute(7, &[0, 0, 0, 9]));
        bytes
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn a_translated_connection_has_both_its_tuples() {
        for (family, [client, service, server]) in [
            (libc::AF_INET, ["10.0.1.2", "10.96.0.10", "10.0.2.2"]),
            (libc::AF_INET6, ["fd00:1::2", "fd00:96::10", "fd00:2::2"]),
        ] {
            let [client, service, server] = [client, service, server].map(address);
            let tuples = [
                tuple_bytes(1, client, service, &ports(6, 40_000, 80)),
                tuple_bytes(2, server, client, &ports(6, 8080, 40_000)),
            ];
            let found = decode(&message(family, 0x1ae, tuples)).expect("whole");
            let found = found.expect("translated");
            let original = Tuple {
                source: client,
                destination: service,
                source_port: 40_000,
                destination_port: 80,
                protocol: 6,
            };
            assert_eq!(found.original, original);
            let reply = Tuple {
                source: server,
                destination: client,
                source_port: 8080,
                destination_port: 40_000,
                protocol: 6,
            };
            assert_eq!(found.reply, reply);
        }
    }

    #[test]
    fn what_is_tracked_only_is_not_translated() {
        let [a, b] = ["10.0.1.2", "10.0.2.2"].map(address);
        let tuples = || {
            [
                tuple_bytes(1, a, b, &ports(17, 5000, 53)),
                tuple_bytes(2, b, a, &ports(17, 53, 5000)),
            ]
        };
        assert_eq!(decode(&message(libc::AF_INET, 0x188, tuples())), Ok(None));
        // By its status alone, as of a rule that translates to what is there.
        for status in [SRC_NAT, DST_NAT] {
            let found = decode(&message(libc::AF_INET, status, tuples()));
            assert!(found.expect("whole").is_some());
        }
        // By its tuples alone.
        let translated = [
            tuple_bytes(1, a, b, &ports(17, 5000, 53)),
            tuple_bytes(2, b, a, &ports(17, 53, 5001)),
        ];
        let found = decode(&message(libc::AF_INET, 0x188, translated));
        assert!(found.expect("whole").is_some());
        // Of another family.
        assert_eq!(
            decode(&message(libc::AF_BRIDGE, SRC_NAT, tuples())),
            Ok(None)
        );
    }

    #[test]
    fn what_has_no_ports_has_its_identifier_or_nothing() {
        let icmp = |number: u8, id: u16, kind: u8| {
            let [of_id, of_kind] = if number == 1 { [4, 5] } else { [7, 8] };
            let mut bytes = attribute(1, &[number]);
            bytes.extend(attribute(of_id, &id.to_be_bytes()));
            bytes.extend(attribute(of_kind, &[kind]));
            bytes
        };
        for (family, ends, protocol, expected) in [
            (libc::AF_INET, ["10.0.1.2", "10.0.2.2"], icmp(1, 77, 8), 77),
            (
                libc::AF_INET6,
                ["fd00:1::2", "fd00:2::2"],
                icmp(58, 77, 128),
                77,
            ),
            (
                libc::AF_INET6,
                ["fd00:1::2", "fd00:2::2"],
                icmp(58, 77, 139),
                0,
            ),
            // GRE's keys are told as ports.
            (libc::AF_INET, ["10.0.1.2", "10.0.2.2"], ports(47, 1, 2), 0),
        ] {
            let [a, b] = ends.map(address);
            let tuples = [
                tuple_bytes(1, a, b, &protocol),
                tuple_bytes(2, b, a, &protocol),
            ];
            let found = decode(&message(family, SRC_NAT, tuples)).expect("whole");
            let original = found.expect("translated").original;
            let ports = (original.source_port, original.destination_port);
            assert_eq!(ports, (expected, expected), "{protocol:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let [a, b] = ["10.0.1.2", "10.0.2.2"].map(address);
        let tuples = [
            tuple_bytes(1, a, b, &ports(6, 1, 2)),
            tuple_bytes(2, b, a, &ports(6, 2, 1)),
        ];
        let [original, reply] = tuples.clone();
        let whole = message(libc::AF_INET, SRC_NAT, tuples);
        assert!(decode(&whole).is_ok());
        assert!(decode(&whole[..3]).is_err());
        assert!(decode(&whole[..whole.len() - 1]).is_err());
        for lacking in [[original, Vec::new()], [Vec::new(), reply.clone()]] {
            assert!(decode(&message(libc::AF_INET, SRC_NAT, lacking)).is_err());
        }
        let mut short = attribute(1, &[6]);
        short.extend(attribute(2, &[0]));
        let of_short = tuple_bytes(1, a, b, &short);
        assert!(decode(&message(libc::AF_INET, SRC_NAT, [of_short, reply])).is_err());
    }
}
