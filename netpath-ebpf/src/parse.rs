//! Stage 1: bytes to a [`Parsed`] packet.
//!
//! A packet that the fast path will not forward for a reason found here, but whose source can be known, is
//! not punted at once: the reason is kept in [`Parsed::punt`] until the source has been checked. That holds for
//! whatever stands around the packet too (VLAN tags, LLC/SNAP, another destination MAC: a [`Frame`]), for the kernel may
//! deliver it.

use core::mem::MaybeUninit;

use netpath_common::{DropReason, PuntReason, Verdict};
use network_types::{eth::EtherType, ip::IpProto};

pub use crate::access::ETHERNET;
use crate::{
    access::{Header, LinkDestination, Skb, Unreadable, View},
    family::{Family, V4, V6},
    once::once,
};

/// End of an IPv4 header without options, in bytes from the start of the frame.
pub const IPV4_END: usize = ETHERNET + 20;
/// End of the fixed IPv6 header, in bytes from the start of the frame.
pub const IPV6_END: usize = ETHERNET + 40;

/// Room for the ports behind either header: the first four bytes of TCP, UDP, SCTP and UDP-Lite.
const PORTS: usize = 4;
/// Length of the shortest legal packet up to what is read directly, per family.
const IPV4_WITH_PORTS: usize = IPV4_END + PORTS;
const IPV6_WITH_PORTS: usize = IPV6_END + PORTS;

/// Most headers that the kernel's flow dissector walks (`MAX_FLOW_DISSECT_HDRS` in net/core/flow_dissector.c).
const EXTENSIONS_MAX: u32 = 15;

/// ICMPv6 types of neighbour discovery: router solicitation to redirect (RFC 4861, section 4).
const ND_TYPES: core::ops::RangeInclusive<u8> = 133..=137;
/// Fragment offset and the more-fragments bit of IPv4's flags word (RFC 791, section 3.1).
pub const FRAGMENT_MASK: u16 = 0x3fff;

/// VLAN tags in a frame's bytes that are looked behind, beside the one that the kernel has taken out: its
/// `VLAN_MAX_DEPTH` in linux/if_vlan.h. It delivers what is in any number of tags with VLAN 0
/// (`__netif_receive_skb_core`).
const TAGS_MAX: u32 = 8;
/// Length of a tag with the EtherType behind it, in bytes.
const TAG: u32 = 4;
/// The VLAN id of a tag (IEEE 802.1Q); 0 says the priority only.
const VLAN_ID: u16 = 0x0fff;
/// Below this, an EtherType is a length (`ETH_P_802_3_MIN` in linux/if_ether.h).
const ETHERTYPES: u16 = 0x0600;
/// LLC's two SAPs and control byte where SNAP follows (IEEE 802).
const LLC_SNAP: [u8; 3] = [0xaa, 0xaa, 0x03];
/// Length of LLC and SNAP with the EtherType, in bytes.
const SNAP: u32 = 8;

/// The network layer of a frame, by its ethertype.
#[derive(Clone, Copy)]
pub enum Network {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Network {
    /// That of an EtherType in network order.
    #[inline(always)]
    pub fn of(ether_type: u16) -> Option<Self> {
        if ether_type == EtherType::Ipv4 as u16 {
            Some(Self::V4)
        } else if ether_type == EtherType::Ipv6 as u16 {
            Some(Self::V6)
        } else {
            None
        }
    }
}

/// A frame whose packet is punted for what stands around it, whatever the packet is, once its source is known to be
/// right.
#[derive(Clone, Copy)]
pub struct Frame {
    /// What the packet is.
    pub network: Network,
    /// Why it is punted.
    pub reason: PuntReason,
    /// Whether it is another interface's or another host's, should it be an uplink's: it has a VLAN of its own, or
    /// somebody else's MAC.
    pub for_others: bool,
    /// Where the packet begins, in bytes from the start of the frame.
    packet: u32,
}

/// What later stages need to know of a packet; addresses in network order.
#[derive(Clone, Copy)]
pub struct Parsed<F: Family> {
    /// Source address.
    pub source: F::Address,
    /// Destination address.
    pub destination: F::Address,
    /// Length of the packet from its IP header on, in bytes, as the header says.
    pub length: u32,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Why it has to be punted once its source is known to be right.
    pub punt: Option<PuntReason>,
}

/// Room for a packet, which [`Parse::headers`] fills.
pub type Place<F> = MaybeUninit<Parsed<F>>;

/// What the kernel's FIB goes by beside the addresses. It is read only when the FIB is asked.
#[derive(Clone, Copy)]
pub struct Flow {
    /// DSCP and ECN for IPv4; the first word of the header (version, class, flow label) for IPv6.
    pub class: u32,
    /// Protocol; in IPv6 that behind routing, destination options and fragment headers.
    pub protocol: u8,
    /// Source port in network order, 0 where there is none to read.
    pub source_port: u16,
    /// Destination port in network order, 0 where there is none to read.
    pub destination_port: u16,
}

impl<F: Family> Parsed<F> {
    /// A packet of which only the addresses are known.
    #[inline(always)]
    pub fn with_addresses(source: F::Address, destination: F::Address) -> Self {
        Self {
            source,
            destination,
            length: 0,
            ttl: 0,
            punt: None,
        }
    }
}

/// Stage 1a: what packet there is in a frame that is addressed to this host and has nothing else around it. For any
/// other frame none: [`frame`] looks into it.
#[inline(always)]
pub fn plain(skb: &mut Skb) -> Result<Option<Network>, Verdict> {
    let ether_type = if skb.has_ethernet() {
        readable::<ETHERNET>(skb)?.1.half::<12>()
    } else {
        skb.protocol()
    };
    let is_plain =
        matches!(skb.link_destination(), LinkDestination::ThisHost) && skb.vlan_tag().is_none();
    Ok(if is_plain {
        Network::of(ether_type)
    } else {
        None
    })
}

/// Stage 1a of a frame that is not plain.
#[inline(always)]
pub fn frame(skb: &Skb) -> Result<Frame, Verdict> {
    let ether_type = if skb.has_ethernet() {
        header::<ETHERNET>(skb)?.half::<12>()
    } else {
        skb.protocol()
    };
    let mut reason = match skb.link_destination() {
        LinkDestination::ThisHost => None,
        LinkDestination::Broadcast => Some(PuntReason::Broadcast),
        LinkDestination::Multicast => Some(PuntReason::Multicast),
        LinkDestination::OtherHost => Some(PuntReason::NotToThisHost),
    };
    let mut for_others = matches!(reason, Some(PuntReason::NotToThisHost));
    let outermost = skb.vlan_tag();
    if let Some(tag) = outermost {
        reason = Some(PuntReason::Vlan);
        for_others |= tag & VLAN_ID != 0;
    }
    match (Network::of(ether_type), reason) {
        (Some(network), Some(reason)) => Ok(Frame {
            network,
            reason,
            for_others,
            packet: ETHERNET as u32,
        }),
        _ => wrapped(skb, ether_type, outermost.is_some(), for_others),
    }
}

/// A frame whose EtherType is not IP: where the IP packet is, behind VLAN tags and LLC/SNAP, if there is one. The kernel
/// may have taken a tag out before.
#[inline(always)]
fn wrapped(
    skb: &impl View,
    outer: u16,
    is_tagged: bool,
    outer_for_others: bool,
) -> Result<Frame, Verdict> {
    let (mut ether_type, mut for_others) = (outer, outer_for_others);
    let mut packet = ETHERNET as u32;
    let reason = if is_tagged || is_tag(ether_type) {
        PuntReason::Vlan
    } else if ether_type == EtherType::Arp as u16 {
        PuntReason::Arp
    } else {
        PuntReason::EtherType
    };
    let punt = Verdict::Punt(reason);
    for _ in 0..TAGS_MAX {
        if !is_tag(ether_type) {
            break;
        }
        let [a, b, c, d] = skb.copy::<{ TAG as usize }>(packet).ok_or(punt)?;
        for_others |= u16::from_be_bytes([a, b]) & VLAN_ID != 0;
        ether_type = u16::from_ne_bytes([c, d]);
        packet += TAG;
    }
    if is_tag(ether_type) {
        return Err(Verdict::Drop(DropReason::Malformed));
    }
    if u16::from_be(ether_type) < ETHERTYPES {
        let [a, b, c, _, _, _, e, f] = skb.copy::<{ SNAP as usize }>(packet).ok_or(punt)?;
        if [a, b, c] != LLC_SNAP {
            return Err(punt);
        }
        ether_type = u16::from_ne_bytes([e, f]);
        packet += SNAP;
    }
    Ok(Frame {
        network: Network::of(ether_type).ok_or(punt)?,
        reason,
        for_others,
        packet,
    })
}

/// Whether this EtherType, in network order, is that of a VLAN tag which the kernel takes out
/// (`eth_type_vlan` in linux/if_vlan.h).
#[inline(always)]
fn is_tag(ether_type: u16) -> bool {
    ether_type == EtherType::Ieee8021q as u16 || ether_type == EtherType::Ieee8021ad as u16
}

/// The first `N` bytes, made readable if they are not yet.
#[inline(always)]
fn readable<const N: usize>(skb: &mut Skb) -> Result<(&Skb, Header<'_, N>), Verdict> {
    skb.readable().map_err(|unreadable| match unreadable {
        Unreadable::TooShort => Verdict::Drop(DropReason::Malformed),
        Unreadable::NoMemory => Verdict::Punt(PuntReason::NoMemory),
    })
}

/// The frame holds all of the packet.
#[inline(always)]
fn is_whole(skb: &impl View, packet: u32) -> Result<(), Verdict> {
    if skb.length() < ETHERNET as u32 + packet {
        return Err(Verdict::Drop(DropReason::Malformed));
    }
    Ok(())
}

/// Length of a packet in bytes, by the length field of its header, in network order: it counts what comes behind the
/// first `uncounted` bytes. A GSO packet that is longer than the field can say has a 0 there (BIG TCP, Linux 6.3).
#[inline(always)]
fn stated_length(skb: &impl View, field: u16, uncounted: u32) -> u32 {
    if field == 0 && skb.is_gso() {
        skb.length() - ETHERNET as u32
    } else {
        uncounted + u32::from(u16::from_be(field))
    }
}

/// Where a protocol has its ports, in bytes from its header on, if it has any: IPsec's SPI counts as both.
/// As the kernel's `proto_ports_offset`, for its rules and its multipath hash go by it.
#[inline(always)]
fn ports_offset(protocol: u8) -> Option<u32> {
    if protocol == IpProto::Tcp as u8
        || protocol == IpProto::Udp as u8
        || protocol == IpProto::Sctp as u8
        || protocol == IpProto::UdpLite as u8
        || protocol == IpProto::Dccp as u8
        || protocol == IpProto::Esp as u8
    {
        Some(0)
    } else if protocol == IpProto::Ah as u8 {
        Some(4)
    } else {
        None
    }
}

/// The ports behind a header of `N - PORTS` bytes, if its protocol has them at all.
#[inline(always)]
fn ports<const N: usize, const SOURCE: usize, const DESTINATION: usize>(
    skb: &mut Skb,
    protocol: u8,
) -> (u16, u16) {
    match ports_offset(protocol) {
        None => (0, 0),
        Some(0) => match readable::<N>(skb) {
            Ok((_, header)) => (header.half::<SOURCE>(), header.half::<DESTINATION>()),
            Err(_) => ports_at(skb, SOURCE as u32),
        },
        Some(offset) => ports_at(skb, SOURCE as u32 + offset),
    }
}

/// The ports at an offset in bytes from the start of the frame.
#[inline(always)]
fn ports_at(skb: &impl View, offset: u32) -> (u16, u16) {
    match skb.copy::<PORTS>(offset) {
        Some([a, b, c, d]) => (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])),
        None => (0, 0),
    }
}

/// The protocol and ports behind IPv6 extension headers, as the kernel's flow dissector finds them: of a
/// fragment the protocol only.
#[inline(always)]
fn behind_extensions(skb: &impl View, first: u8) -> (u8, u16, u16) {
    let mut protocol = first;
    let mut at = IPV6_END as u32;
    for _ in 0..EXTENSIONS_MAX {
        if protocol == IpProto::Ipv6Frag as u8 {
            let next = skb.copy::<8>(at).map_or(protocol, |header| header[0]);
            return (next, 0, 0);
        }
        if !is_extension(protocol) {
            break;
        }
        let Some([next, units]) = skb.copy::<2>(at) else {
            return (protocol, 0, 0);
        };
        protocol = next;
        // In units of 8 bytes, the first not counted (RFC 8200, section 4).
        at += (u32::from(units) + 1) * 8;
    }
    match ports_offset(protocol) {
        Some(offset) => {
            let (source, destination) = ports_at(skb, at + offset);
            (protocol, source, destination)
        }
        None => (protocol, 0, 0),
    }
}

/// What [`behind_extensions`] finds, the protocol in the lowest byte, the ports 16 and 32 bits above.
#[inline(always)]
fn packed_behind_extensions(skb: &Skb, first: u32) -> u64 {
    let (protocol, source, destination) = behind_extensions(skb, first as u8);
    u64::from(protocol) | u64::from(source) << 16 | u64::from(destination) << 32
}

once!(fn parse_behind_extensions(&skb, first: u32) -> u64 = packed_behind_extensions);

/// Whether this is a header that is looked behind.
#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    protocol == IpProto::HopOpt as u8
        || protocol == IpProto::Ipv6Route as u8
        || protocol == IpProto::Ipv6Opts as u8
        || protocol == IpProto::Ipv6Frag as u8
}

/// Stage 1b: the packet.
pub trait Parse: Family {
    /// Checks the headers and writes down what later stages need. To a place of its own: within a `Result` an address is
    /// put together from parts, and the kernel, which hashes it as a map's key in words, would have to wait for them.
    fn headers<'p>(skb: &mut Skb, place: &'p mut Place<Self>) -> Result<&'p Parsed<Self>, Verdict>;

    /// What the FIB goes by, of a packet whose headers were checked.
    fn flow(skb: &mut Skb) -> Result<Flow, Verdict>;

    /// Source and destination of a packet whose headers were checked.
    fn ends(skb: &Skb) -> Result<(Self::Address, Self::Address), Verdict>;

    /// Source and destination of the packet that begins so many bytes from the start of the frame.
    fn addresses(skb: &impl View, packet: u32) -> Option<(Self::Address, Self::Address)>;
}

impl Parse for V4 {
    #[inline(always)]
    fn headers<'p>(skb: &mut Skb, place: &'p mut Place<Self>) -> Result<&'p Parsed<Self>, Verdict> {
        ipv4(skb, place)
    }

    #[inline(always)]
    fn flow(skb: &mut Skb) -> Result<Flow, Verdict> {
        ipv4_flow(skb)
    }

    #[inline(always)]
    fn ends(skb: &Skb) -> Result<([u8; 4], [u8; 4]), Verdict> {
        let header = header::<IPV4_END>(skb)?;
        let (source, destination) = (header.word::<26>(), header.word::<30>());
        Ok((source.to_ne_bytes(), destination.to_ne_bytes()))
    }

    #[inline(always)]
    fn addresses(skb: &impl View, packet: u32) -> Option<([u8; 4], [u8; 4])> {
        Some((skb.copy(packet + 12)?, skb.copy(packet + 16)?))
    }
}

impl Parse for V6 {
    #[inline(always)]
    fn headers<'p>(skb: &mut Skb, place: &'p mut Place<Self>) -> Result<&'p Parsed<Self>, Verdict> {
        ipv6(skb, place)
    }

    #[inline(always)]
    fn flow(skb: &mut Skb) -> Result<Flow, Verdict> {
        ipv6_flow(skb)
    }

    #[inline(always)]
    fn ends(skb: &Skb) -> Result<([u8; 16], [u8; 16]), Verdict> {
        Ok(both_addresses(header::<IPV6_END>(skb)?))
    }

    #[inline(always)]
    fn addresses(skb: &impl View, packet: u32) -> Option<([u8; 16], [u8; 16])> {
        Some((skb.copy(packet + 8)?, skb.copy(packet + 24)?))
    }
}

impl Frame {
    /// Its packet, of which nothing is looked at but the addresses: the rest is the kernel's to judge.
    #[inline(always)]
    pub fn packet<F: Parse>(&self, skb: &impl View) -> Result<Parsed<F>, Verdict> {
        // Without addresses there is no packet that the kernel would take.
        let (source, destination) =
            F::addresses(skb, self.packet).ok_or(Verdict::Punt(self.reason))?;
        Ok(Parsed {
            punt: Some(self.reason),
            ..Parsed::with_addresses(source, destination)
        })
    }
}

/// The first `N` bytes, which have been made readable before.
#[inline(always)]
fn header<const N: usize>(skb: &Skb) -> Result<Header<'_, N>, Verdict> {
    skb.header().ok_or(Verdict::Punt(PuntReason::NoMemory))
}

/// RFC 791.
#[inline(always)]
fn ipv4<'p>(skb: &mut Skb, place: &'p mut Place<V4>) -> Result<&'p Parsed<V4>, Verdict> {
    let (view, header) = readable::<IPV4_END>(skb)?;
    let version_and_length = header.byte::<14>();
    if version_and_length >> 4 != 4 || version_and_length & 0xf < 5 {
        return Err(Verdict::Drop(DropReason::Malformed));
    }
    let has_options = version_and_length != 0x45;
    if !has_options && !checksum_is_right(header) {
        return Err(Verdict::Drop(DropReason::BadChecksum));
    }
    let length = stated_length(view, header.half::<16>(), 0);
    if length < u32::from(version_and_length & 0xf) * 4 {
        return Err(Verdict::Drop(DropReason::Malformed));
    }
    let packet = place.write(Parsed {
        source: header.word::<26>().to_ne_bytes(),
        destination: header.word::<30>().to_ne_bytes(),
        length,
        ttl: header.byte::<22>(),
        punt: None,
    });
    if has_options {
        packet.punt = Some(PuntReason::IpOptions);
    } else {
        is_whole(view, length)?;
    }
    Ok(packet)
}

/// As the kernel's flow dissector: a fragment has no ports.
#[inline(always)]
fn ipv4_flow(skb: &mut Skb) -> Result<Flow, Verdict> {
    let header = header::<IPV4_END>(skb)?;
    let class = u32::from(header.byte::<15>());
    let is_fragment = u16::from_be(header.half::<20>()) & FRAGMENT_MASK != 0;
    let protocol = header.byte::<23>();
    let mut flow = Flow {
        class,
        protocol,
        source_port: 0,
        destination_port: 0,
    };
    if !is_fragment {
        (flow.source_port, flow.destination_port) = ports::<IPV4_WITH_PORTS, 34, 36>(skb, protocol);
    }
    Ok(flow)
}

/// Whether the header's one's complement sum is all ones (RFC 1071).
#[inline(always)]
pub fn checksum_is_right(header: Header<'_, IPV4_END>) -> bool {
    let sum = u64::from(header.word::<14>())
        + u64::from(header.word::<18>())
        + u64::from(header.word::<22>())
        + u64::from(header.word::<26>())
        + u64::from(header.word::<30>());
    // Five words make less than 35 bits; folded once, less than 20. What is all ones is a multiple of 0xffff, and one
    // below 2^32 - 1 is 0xffff when it has been folded once more.
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum == 0xffff
}

/// Source and destination of an IPv6 header.
#[inline(always)]
fn both_addresses(header: Header<'_, IPV6_END>) -> ([u8; 16], [u8; 16]) {
    let source = address(
        header.word::<22>(),
        header.word::<26>(),
        header.word::<30>(),
        header.word::<34>(),
    );
    let destination = address(
        header.word::<38>(),
        header.word::<42>(),
        header.word::<46>(),
        header.word::<50>(),
    );
    (source, destination)
}

/// RFC 8200.
#[inline(always)]
fn ipv6<'p>(skb: &mut Skb, place: &'p mut Place<V6>) -> Result<&'p Parsed<V6>, Verdict> {
    let (view, header) = readable::<IPV6_END>(skb)?;
    if header.byte::<14>() >> 4 != 6 {
        return Err(Verdict::Drop(DropReason::Malformed));
    }
    let length = stated_length(view, header.half::<18>(), (IPV6_END - ETHERNET) as u32);
    let next_header = header.byte::<20>();
    let (source, destination) = both_addresses(header);
    let packet = place.write(Parsed {
        source,
        destination,
        length,
        ttl: header.byte::<21>(),
        punt: None,
    });
    // Every router has to look at hop-by-hop options; other extension headers are for the destination. A
    // jumbogram (RFC 2675) says its length there too.
    if next_header == IpProto::HopOpt as u8 {
        packet.punt = Some(PuntReason::HopByHop);
        return Ok(packet);
    }
    is_whole(view, length)?;
    if next_header == IpProto::Ipv6Icmp as u8 && is_neighbour_discovery(skb) {
        packet.punt = Some(PuntReason::NeighbourDiscovery);
    }
    Ok(packet)
}

/// Behind the extension headers that the kernel's flow dissector looks behind.
#[inline(always)]
fn ipv6_flow(skb: &mut Skb) -> Result<Flow, Verdict> {
    let header = header::<IPV6_END>(skb)?;
    let class = header.word::<14>();
    let next_header = header.byte::<20>();
    let (protocol, source_port, destination_port) = if is_extension(next_header) {
        let found = parse_behind_extensions(skb, next_header.into());
        (found as u8, (found >> 16) as u16, (found >> 32) as u16)
    } else {
        let (source, destination) = ports::<IPV6_WITH_PORTS, 54, 56>(skb, next_header);
        (next_header, source, destination)
    };
    Ok(Flow {
        class,
        protocol,
        source_port,
        destination_port,
    })
}

#[inline(always)]
fn is_neighbour_discovery(skb: &mut Skb) -> bool {
    const TYPE_END: usize = IPV6_END + 1;
    match readable::<TYPE_END>(skb) {
        Ok((_, header)) => ND_TYPES.contains(&header.byte::<IPV6_END>()),
        Err(_) => false,
    }
}

#[inline(always)]
fn address(a: u32, b: u32, c: u32, d: u32) -> [u8; 16] {
    let words = [a, b, c, d];
    // SAFETY: four words and sixteen bytes are the same memory, and any byte is valid.
    unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(words) }
}

#[cfg(test)]
mod tests;
