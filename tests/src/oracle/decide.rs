//! The oracle itself.

use netpath::{
    datapath::{ProgramKind, ReturnCode},
    probe::frame::internet_checksum,
};
use netpath_common::{DropReason, Ifindex, PuntReason, Verdict};

use super::{
    Hop, Packet, Tables,
    prefix::{Address, Prefix, longest},
};

/// What has to become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The outcome with its reason.
    pub verdict: Verdict,
    /// Where it leaves if it is redirected, else 0.
    pub egress: Ifindex,
}

impl Choice {
    /// What the program answers then.
    pub fn code(self) -> ReturnCode {
        match self.verdict {
            Verdict::RedirectPeer | Verdict::RedirectNeigh => ReturnCode::Redirect,
            Verdict::Punt(_) | Verdict::Deliver => ReturnCode::Next,
            Verdict::Drop(_) => ReturnCode::Shot,
        }
    }

    fn stays(verdict: Verdict) -> Self {
        Self {
            verdict,
            egress: Ifindex(0),
        }
    }
}

/// What the design says of a packet.
pub fn decide(tables: &Tables, packet: &Packet) -> Choice {
    match choose(tables, packet) {
        Ok(choice) => choice,
        Err(verdict) => Choice::stays(verdict),
    }
}

/// What the headers say.
struct Headers {
    source: Address,
    destination: Address,
    /// TTL or hop limit.
    ttl: u8,
    /// The IP packet's length, without the Ethernet header and padding.
    length: usize,
    /// Why the kernel has to look at it, if the source is right.
    special: Option<PuntReason>,
}

fn choose(tables: &Tables, packet: &Packet) -> Result<Choice, Verdict> {
    let envelope = envelope(tables, packet)?;
    let headers = headers(&envelope, &packet.frame)?;
    if envelope.for_others && packet.program == ProgramKind::FromUplink {
        not_from_here_to_here(tables, &headers)?;
    } else {
        source_is_right(tables, packet, &headers)?;
    }
    if let Some(reason) = headers.special {
        return Err(Verdict::Punt(reason));
    }
    if let Some(reason) = not_forwarded(headers.destination) {
        return Err(Verdict::Punt(reason));
    }
    let is_inside = packet.program != ProgramKind::FromUplink
        || is_remote(tables, headers.source)
        || quotes_what_is_routed(tables, &headers, &packet.frame);
    let choice = destination(tables, headers.destination, is_inside)?;
    passes(tables, packet, &headers, choice)?;
    Ok(choice)
}

/// What stands around an IP packet.
struct Envelope {
    /// EtherType of the packet: IPv4 or IPv6.
    ether_type: u16,
    /// Where it begins in the frame.
    at: usize,
    /// Why the kernel has to look at it, if its source is right.
    reason: Option<PuntReason>,
    /// It has a VLAN of its own, or somebody else's MAC.
    for_others: bool,
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Tags in a frame that are looked behind (ADR 0004).
const TAGS: usize = 8;

fn envelope(tables: &Tables, packet: &Packet) -> Result<Envelope, Verdict> {
    let frame = &packet.frame;
    let be16 = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let is_tag = |ether_type| matches!(ether_type, 0x8100 | 0x88a8);
    let mac = &frame[..6];
    let to = if mac == [0xff; 6] {
        Some(PuntReason::Broadcast)
    } else if mac[0] & 1 == 1 {
        Some(PuntReason::Multicast)
    } else if mac != tables.interface(packet.ingress).device.mac.0 {
        Some(PuntReason::NotToThisHost)
    } else {
        None
    };
    let outer = u16::from_be_bytes([frame[12], frame[13]]);
    let reason = match outer {
        IPV4 | IPV6 => to,
        0x0806 => Some(PuntReason::Arp),
        tag if is_tag(tag) => Some(PuntReason::Vlan),
        _ => Some(PuntReason::EtherType),
    };
    let unreadable = Verdict::Punt(reason.unwrap_or(PuntReason::EtherType));
    let mut for_others = to == Some(PuntReason::NotToThisHost);
    let (mut ether_type, mut at, mut tags) = (outer, 14, 0);
    while is_tag(ether_type) {
        if tags == TAGS {
            return Err(malformed());
        }
        let (Some(tci), Some(next)) = (be16(at), be16(at + 2)) else {
            return Err(unreadable);
        };
        for_others |= tci % 4096 != 0;
        (ether_type, at, tags) = (next, at + 4, tags + 1);
    }
    // IEEE 802: a length, LLC with SNAP's SAPs, an organisation, an EtherType.
    if ether_type < 1536 && frame.get(at..at + 3) == Some(&[0xaa, 0xaa, 3]) {
        (ether_type, at) = (be16(at + 6).ok_or(unreadable)?, at + 8);
    }
    match ether_type {
        IPV4 | IPV6 => Ok(Envelope {
            ether_type,
            at,
            reason,
            for_others,
        }),
        _ => Err(unreadable),
    }
}

/// Of a packet that is the kernel's for what stands around it, only the addresses matter.
fn headers(envelope: &Envelope, frame: &[u8]) -> Result<Headers, Verdict> {
    let is_v4 = envelope.ether_type == IPV4;
    let Some(reason) = envelope.reason else {
        return if is_v4 { ipv4(frame) } else { ipv6(frame) };
    };
    let (from, width) = if is_v4 { (12, 4) } else { (8, 16) };
    let from = envelope.at + from;
    let both = frame.get(from..from + 2 * width);
    let both = both.ok_or(Verdict::Punt(reason))?;
    Ok(Headers {
        source: address(&both[..width]),
        destination: address(&both[width..]),
        ttl: 0,
        length: 0,
        special: Some(reason),
    })
}

/// From outside, what is for others: nothing goes from here to here by way of them.
fn not_from_here_to_here(tables: &Tables, headers: &Headers) -> Result<(), Verdict> {
    let is_here = |address| tables.node.contains(&address) || owner(tables, address).is_some();
    if is_here(headers.source) && is_here(headers.destination) {
        return Err(Verdict::Drop(DropReason::Spoofed));
    }
    Ok(())
}

fn malformed() -> Verdict {
    Verdict::Drop(DropReason::Malformed)
}

/// RFC 791, 3.1; what a router has to check of it: RFC 1812, 5.2.2.
fn ipv4(frame: &[u8]) -> Result<Headers, Verdict> {
    let packet = &frame[14..];
    let header = usize::from(packet[0] & 0xf) * 4;
    if packet[0] >> 4 != 4 || header < 20 {
        return Err(malformed());
    }
    // A packet with options is the kernel's, once its source is known to be right: the kernel checks whether the
    // options are all there, and the checksum over them.
    let has_options = header > 20;
    if !has_options && internet_checksum(&packet[..20]) != 0 {
        return Err(Verdict::Drop(DropReason::BadChecksum));
    }
    let length = usize::from(packet[2]) * 256 + usize::from(packet[3]);
    if length < header || !has_options && length > packet.len() {
        return Err(malformed());
    }
    Ok(Headers {
        source: address(&packet[12..16]),
        destination: address(&packet[16..20]),
        ttl: packet[8],
        length,
        special: has_options.then_some(PuntReason::IpOptions),
    })
}

/// RFC 8200, 3.
fn ipv6(frame: &[u8]) -> Result<Headers, Verdict> {
    let packet = &frame[14..];
    let length = 40 + usize::from(packet[4]) * 256 + usize::from(packet[5]);
    // A jumbogram says its length in its hop-by-hop options (RFC 2675), which the kernel reads.
    let has_hop_by_hop = packet[6] == 0;
    if packet[0] >> 4 != 6 || !has_hop_by_hop && length > packet.len() {
        return Err(malformed());
    }
    let body = packet.get(40..length).unwrap_or_default();
    let special = match (packet[6], body.first()) {
        (0, _) => Some(PuntReason::HopByHop),
        // RFC 4861, 4: solicitations, advertisements, redirects.
        (58, Some(133..=137)) => Some(PuntReason::NeighbourDiscovery),
        _ => None,
    };
    Ok(Headers {
        source: address(&packet[8..24]),
        destination: address(&packet[24..40]),
        ttl: packet[7],
        length,
        special,
    })
}

fn address(bytes: &[u8]) -> Address {
    Address {
        bits: bytes.iter().fold(0, |bits, &b| bits << 8 | u128::from(b)),
        width: bytes.len() as u32 * 8,
    }
}

/// What an address is by itself, whoever has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unspecified,
    Broadcast,
    Multicast,
    LinkLocal,
    Martian,
    Ordinary,
}

/// The registries of special addresses (RFC 6890; RFC 4291, 2.4), as far as the design names them.
fn kind(address: Address) -> Kind {
    let kinds = [
        ("0.0.0.0/32", Kind::Unspecified),
        ("0.0.0.0/8", Kind::Martian),
        ("127.0.0.0/8", Kind::Martian),
        ("169.254.0.0/16", Kind::LinkLocal),
        ("224.0.0.0/4", Kind::Multicast),
        ("240.0.0.0/4", Kind::Martian),
        ("255.255.255.255/32", Kind::Broadcast),
        ("::/128", Kind::Unspecified),
        ("::1/128", Kind::Martian),
        ("::ffff:0:0/96", Kind::Martian),
        ("fe80::/10", Kind::LinkLocal),
        ("ff00::/8", Kind::Multicast),
    ];
    let kinds = kinds.map(|(prefix, kind)| (Prefix::of(prefix), kind));
    longest(&kinds, address).unwrap_or(Kind::Ordinary)
}

fn source_is_right(tables: &Tables, packet: &Packet, headers: &Headers) -> Result<(), Verdict> {
    let martian = Verdict::Drop(DropReason::MartianSource);
    match (kind(headers.source), kind(headers.destination)) {
        // It looks for an address: DHCP, duplicate address detection, listener reports.
        (Kind::Unspecified, Kind::Multicast) => return Ok(()),
        (Kind::Unspecified, Kind::Broadcast) => {
            let reason = headers.special.unwrap_or(PuntReason::Broadcast);
            return Err(Verdict::Punt(reason));
        }
        (Kind::Unspecified | Kind::Broadcast | Kind::Multicast | Kind::Martian, _) => {
            return Err(martian);
        }
        // The node's own, towards endpoints.
        (Kind::LinkLocal, _)
            if packet.program != ProgramKind::FromUplink && is_gateway(headers.source) =>
        {
            return Err(Verdict::Drop(DropReason::Spoofed));
        }
        // Anybody's on its own link, and never forwarded.
        (Kind::LinkLocal, destination) => {
            let reason = match destination {
                Kind::Multicast => PuntReason::Multicast,
                _ => PuntReason::LinkLocal,
            };
            return Err(Verdict::Punt(headers.special.unwrap_or(reason)));
        }
        (Kind::Ordinary, _) => {}
    }
    let owner = owner(tables, headers.source);
    let right = match packet.program {
        ProgramKind::FromUplink => owner.is_none() && !tables.node.contains(&headers.source),
        _ => owner == Some(packet.ingress),
    };
    if right {
        Ok(())
    } else {
        Err(Verdict::Drop(DropReason::Spoofed))
    }
}

fn is_gateway(address: Address) -> bool {
    let gateways = ["169.254.1.1/32", "fe80::1/128"];
    gateways.iter().any(|it| Prefix::of(it).contains(address))
}

/// Whose an address is: the endpoint's that has it; else, if the node does not have it itself, the endpoint's to which
/// the longest prefix around it is routed.
fn owner(tables: &Tables, address: Address) -> Option<Ifindex> {
    let mut endpoints = tables.endpoints.iter();
    if let Some(&(_, ifindex)) = endpoints.find(|(its, _)| *its == address) {
        return Some(ifindex);
    }
    if tables.node.contains(&address) {
        return None;
    }
    let local = tables.local.iter().map(|&(prefix, at)| (prefix, Some(at)));
    let remote = tables.remote.iter().map(|&prefix| (prefix, None));
    let prefixes: Vec<_> = local.chain(remote).collect();
    longest(&prefixes, address).flatten()
}

fn not_forwarded(destination: Address) -> Option<PuntReason> {
    match kind(destination) {
        Kind::Broadcast => Some(PuntReason::Broadcast),
        Kind::Multicast => Some(PuntReason::Multicast),
        Kind::LinkLocal => Some(PuntReason::LinkLocal),
        Kind::Unspecified | Kind::Martian => Some(PuntReason::MartianDestination),
        Kind::Ordinary => None,
    }
}

fn is_remote(tables: &Tables, address: Address) -> bool {
    tables.remote.iter().any(|prefix| prefix.contains(address))
}

/// An ICMP error (RFC 792; RFC 4443, 2.1) about a packet that its receiver sent to another node, or to the node itself.
fn quotes_what_is_routed(tables: &Tables, headers: &Headers, frame: &[u8]) -> bool {
    let packet = &frame[14..];
    let (is_error, quoted, width) = match headers.destination.width {
        32 => {
            let is_whole = packet[6] & 0x3f == 0 && packet[7] == 0;
            let is_error = matches!(packet.get(20), Some(3 | 11 | 12));
            (is_whole && packet[9] == 1 && is_error, 20 + 8 + 12, 4)
        }
        _ => {
            let is_error = matches!(packet.get(40), Some(..128));
            (packet[6] == 58 && is_error, 40 + 8 + 8, 16)
        }
    };
    let Some(addresses) = packet.get(quoted..quoted + 2 * width) else {
        return false;
    };
    let [source, destination] = [&addresses[..width], &addresses[width..]].map(address);
    // What goes to one of the node's own endpoints nobody outside has seen.
    let is_elsewhere = owner(tables, destination).is_none() && is_remote(tables, destination);
    let is_known = tables.node.contains(&destination) || is_elsewhere;
    is_error && source == headers.destination && is_known
}

/// Where it goes; of what comes from outside that is the kernel's to say, if netpath knows the destination at all.
fn destination(tables: &Tables, destination: Address, is_inside: bool) -> Result<Choice, Verdict> {
    let outside = Verdict::Punt(PuntReason::Outside);
    if tables.node.contains(&destination) {
        return Err(Verdict::Punt(PuntReason::NodeAddress));
    }
    if let Some(egress) = owner(tables, destination) {
        if !is_inside {
            return Err(outside);
        }
        let verdict = Verdict::RedirectPeer;
        return Ok(Choice { verdict, egress });
    }
    if !is_remote(tables, destination) {
        return Err(Verdict::Punt(PuntReason::NoRoute));
    }
    if !is_inside {
        return Err(outside);
    }
    let routes: Vec<_> = tables.routes.iter().chain(&tables.fixed).copied().collect();
    let reason = match longest(&routes, destination) {
        Some(Hop::Out(egress, _)) => {
            let verdict = Verdict::RedirectNeigh;
            return Ok(Choice { verdict, egress });
        }
        Some(Hop::Blackhole) => PuntReason::FibBlackhole,
        Some(Hop::Unreachable) => PuntReason::FibUnreachable,
        Some(Hop::Prohibit) => PuntReason::FibProhibit,
        Some(Hop::Own) | None => PuntReason::FibNotForwarded,
    };
    Err(Verdict::Punt(reason))
}

fn passes(
    tables: &Tables,
    packet: &Packet,
    headers: &Headers,
    choice: Choice,
) -> Result<(), Verdict> {
    let reason = if headers.ttl <= 1 {
        PuntReason::TtlExceeded
    } else if headers.length > tables.interface(choice.egress).mtu {
        PuntReason::MtuExceeded
    } else if choice.egress == packet.ingress {
        PuntReason::SameInterface
    } else if choice.verdict == Verdict::RedirectNeigh
        && !tables.interface(choice.egress).is_uplink()
    {
        PuntReason::NotAnUplink
    } else {
        return Ok(());
    };
    Err(Verdict::Punt(reason))
}
