//! Between the two ends and the checks: is this connection the kernel's? The kernel's NAT and connection tracking have to see a
//! connection in both directions or in neither. So what the kernel itself delivers to an endpoint or sends on by an uplink is
//! noted at the egress, as it looks there, translated; and what comes in between the same two ends is the kernel's.
//!
//! A packet that the fast path sent, or left to the kernel for itself alone (options, TTL, MTU), is noted by nobody: it carries
//! a sign to the egress, in `tc_index`, which the kernel's forwarding keeps.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    btf_maps::{LruHashMap, PerCpuHashMap},
    helpers::generated::bpf_ktime_get_coarse_ns,
    macros::btf_map,
};
use netpath_common::{
    CONNECTIONS_DEFAULT, ConnectionCount, ConnectionEntry, ConnectionFamily, ConnectionKey,
    EndpointEntry, Ifindex, PuntReason, Verdict,
};
use network_types::ip::IpProto;

use crate::{
    access::{Skb, View},
    destination::Tables,
    family::{V4, V6},
    parse::{ETHERNET, FRAGMENT_MASK, IPV6_END, Parse, Parsed},
};

const MAX: usize = CONNECTIONS_DEFAULT as usize;

/// IPv4 connections that are the kernel's.
#[btf_map(name = "connections_v4")]
pub static CONNECTIONS_V4: LruHashMap<ConnectionKey<4>, ConnectionEntry, MAX> = LruHashMap::new();

/// IPv6 connections that are the kernel's.
#[btf_map(name = "connections_v6")]
pub static CONNECTIONS_V6: LruHashMap<ConnectionKey<16>, ConnectionEntry, MAX> = LruHashMap::new();

/// How many were entered, by family: less those that are there, they were evicted.
#[btf_map(name = "connection_counts")]
pub static CONNECTION_COUNTS: PerCpuHashMap<ConnectionFamily, ConnectionCount, 2> =
    PerCpuHashMap::new();

/// IPv4's fragment offset, without its flags (RFC 791).
const OFFSET_MASK: u16 = 0x1fff;
/// Extension headers that are looked behind for a connection.
const EXTENSIONS_MAX: u32 = 6;
/// Length of an ICMP header, in bytes; what it quotes follows.
const ICMP_HEADER: u32 = 8;

/// The two ends that a packet goes between.
#[derive(Clone, Copy)]
pub struct Ends<F: Tables> {
    source: F::Address,
    destination: F::Address,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
}

/// Where a packet has what is behind its IP header.
#[derive(Clone, Copy)]
pub struct Transport {
    protocol: u8,
    /// In bytes from the start of the frame.
    at: u32,
    /// It is a piece of a packet.
    is_fragment: bool,
    /// It has the packet's beginning.
    is_first: bool,
}

/// What kind of ICMP message it is, for connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// It quotes the packet that it is about.
    Error,
    /// It has an identifier, and its answer the same.
    Identified,
    /// Any other.
    Other,
}

/// The connections of a family.
pub trait Connections: Tables + Parse {
    /// What they are found by.
    type Key: Copy;

    /// The protocol number of the family's ICMP.
    const ICMP: u8;
    /// The family in `connection_counts`.
    const COUNT: ConnectionFamily;

    /// Whether an address comes before another, in network order.
    fn is_before(address: &Self::Address, other: &Self::Address) -> bool;

    /// The key of a connection, of which the first end's address and port are given first.
    fn key(low: (Self::Address, u16), high: (Self::Address, u16), protocol: u8) -> Self::Key;

    /// The same without ports.
    fn without_ports(key: &Self::Key) -> Self::Key;

    /// The entry of a connection.
    fn find(key: &Self::Key) -> Option<*mut ConnectionEntry>;

    /// Enters a connection; false where it is there.
    fn insert(key: &Self::Key, entry: &ConnectionEntry) -> bool;

    /// What is behind the IP header so many bytes from the start of the frame.
    fn transport(view: &impl View, at: u32) -> Option<Transport>;

    /// What an ICMP type says.
    fn message(kind: u8) -> Message;
}

impl Connections for V4 {
    type Key = ConnectionKey<4>;

    const ICMP: u8 = IpProto::Icmp as u8;
    const COUNT: ConnectionFamily = ConnectionFamily { version: 4 };

    #[inline(always)]
    fn is_before(address: &[u8; 4], other: &[u8; 4]) -> bool {
        u32::from_be_bytes(*address) < u32::from_be_bytes(*other)
    }

    #[inline(always)]
    fn key(low: ([u8; 4], u16), high: ([u8; 4], u16), protocol: u8) -> ConnectionKey<4> {
        key(low, high, protocol)
    }

    #[inline(always)]
    fn without_ports(key: &ConnectionKey<4>) -> ConnectionKey<4> {
        key.without_ports()
    }

    #[inline(always)]
    fn find(key: &ConnectionKey<4>) -> Option<*mut ConnectionEntry> {
        CONNECTIONS_V4.get_ptr_mut(key)
    }

    #[inline(always)]
    fn insert(key: &ConnectionKey<4>, entry: &ConnectionEntry) -> bool {
        let flags = u64::from(BPF_NOEXIST);
        CONNECTIONS_V4.insert(key, entry, flags).is_ok()
    }

    #[inline(always)]
    fn transport(view: &impl View, at: u32) -> Option<Transport> {
        let [version_and_length] = view.copy(at)?;
        let [high, low, _ttl, protocol] = view.copy(at + 6)?;
        let fragment = u16::from_be_bytes([high, low]);
        Some(Transport {
            protocol,
            at: at + u32::from(version_and_length & 0xf) * 4,
            is_fragment: fragment & FRAGMENT_MASK != 0,
            is_first: fragment & OFFSET_MASK == 0,
        })
    }

    /// RFC 792; 17 and 18 ask for an address mask (RFC 950).
    #[inline(always)]
    fn message(kind: u8) -> Message {
        match kind {
            3 | 4 | 5 | 11 | 12 => Message::Error,
            0 | 8 | 13..=18 => Message::Identified,
            _ => Message::Other,
        }
    }
}

impl Connections for V6 {
    type Key = ConnectionKey<16>;

    const ICMP: u8 = IpProto::Ipv6Icmp as u8;
    const COUNT: ConnectionFamily = ConnectionFamily { version: 6 };

    #[inline(always)]
    fn is_before(address: &[u8; 16], other: &[u8; 16]) -> bool {
        u128::from_be_bytes(*address) < u128::from_be_bytes(*other)
    }

    #[inline(always)]
    fn key(low: ([u8; 16], u16), high: ([u8; 16], u16), protocol: u8) -> ConnectionKey<16> {
        key(low, high, protocol)
    }

    #[inline(always)]
    fn without_ports(key: &ConnectionKey<16>) -> ConnectionKey<16> {
        key.without_ports()
    }

    #[inline(always)]
    fn find(key: &ConnectionKey<16>) -> Option<*mut ConnectionEntry> {
        CONNECTIONS_V6.get_ptr_mut(key)
    }

    #[inline(always)]
    fn insert(key: &ConnectionKey<16>, entry: &ConnectionEntry) -> bool {
        let flags = u64::from(BPF_NOEXIST);
        CONNECTIONS_V6.insert(key, entry, flags).is_ok()
    }

    /// Extension headers have their length in units of 8 bytes, the first not counted; a fragment's has its offset in the third
    /// and fourth byte, with three flags (RFC 8200, section 4).
    #[inline(always)]
    fn transport(view: &impl View, at: u32) -> Option<Transport> {
        const HOP_BY_HOP: u8 = IpProto::HopOpt as u8;
        const ROUTING: u8 = IpProto::Ipv6Route as u8;
        const OPTIONS: u8 = IpProto::Ipv6Opts as u8;
        const FRAGMENT: u8 = IpProto::Ipv6Frag as u8;
        const NO_FLAGS: u16 = 0xfff8;
        let [first] = view.copy(at + 6)?;
        let mut found = Transport {
            protocol: first,
            at: at + (IPV6_END - ETHERNET) as u32,
            is_fragment: false,
            is_first: true,
        };
        for _ in 0..EXTENSIONS_MAX {
            match found.protocol {
                HOP_BY_HOP | ROUTING | OPTIONS => {
                    let [next, units] = view.copy(found.at)?;
                    found.protocol = next;
                    found.at += (u32::from(units) + 1) * 8;
                }
                FRAGMENT => {
                    let [next, _, high, low] = view.copy(found.at)?;
                    found.protocol = next;
                    found.at += 8;
                    found.is_fragment = true;
                    found.is_first = u16::from_be_bytes([high, low]) & NO_FLAGS == 0;
                    if !found.is_first {
                        return Some(found);
                    }
                }
                _ => return Some(found),
            }
        }
        Some(found)
    }

    /// RFC 4443.
    #[inline(always)]
    fn message(kind: u8) -> Message {
        match kind {
            0..=127 => Message::Error,
            128 | 129 => Message::Identified,
            _ => Message::Other,
        }
    }
}

#[inline(always)]
fn key<const N: usize>(
    low: ([u8; N], u16),
    high: ([u8; N], u16),
    protocol: u8,
) -> ConnectionKey<N> {
    ConnectionKey {
        low: low.0,
        high: high.0,
        low_port: low.1,
        high_port: high.1,
        protocol: protocol.into(),
    }
}

/// Whether a protocol has ports that connection tracking goes by.
#[inline(always)]
fn has_ports(protocol: u8) -> bool {
    protocol == IpProto::Tcp as u8
        || protocol == IpProto::Udp as u8
        || protocol == IpProto::Sctp as u8
        || protocol == IpProto::Dccp as u8
        || protocol == IpProto::UdpLite as u8
}

impl<F: Connections> Ends<F> {
    /// Whether the source is second in the key.
    #[inline(always)]
    fn is_from_high(&self) -> bool {
        F::is_before(&self.destination, &self.source)
            || self.source == self.destination && self.destination_port < self.source_port
    }

    /// The key of the connection.
    #[inline(always)]
    fn key(&self) -> F::Key {
        let from = (self.source, self.source_port);
        let to = (self.destination, self.destination_port);
        if self.is_from_high() {
            F::key(to, from, self.protocol)
        } else {
            F::key(from, to, self.protocol)
        }
    }
}

/// What a packet is to a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// One of its packets.
    Packet,
    /// The first fragment of one, or another.
    FirstFragment,
    Fragment,
    /// An ICMP error, which quotes one.
    Error,
}

/// The ends of the packet at an offset, with where a quoted packet begins if it is an ICMP error.
#[inline(always)]
fn ends_at<F: Connections>(view: &impl View, at: u32) -> Option<(Ends<F>, Part, u32)> {
    let (source, destination) = F::addresses(view, at)?;
    let transport = F::transport(view, at)?;
    let mut ends = Ends {
        source,
        destination,
        source_port: 0,
        destination_port: 0,
        protocol: transport.protocol,
    };
    let part = match (transport.is_fragment, transport.is_first) {
        (false, _) => Part::Packet,
        (true, true) => Part::FirstFragment,
        (true, false) => return Some((ends, Part::Fragment, 0)),
    };
    if has_ports(transport.protocol) {
        let [a, b, c, d] = view.copy(transport.at)?;
        ends.source_port = u16::from_be_bytes([a, b]);
        ends.destination_port = u16::from_be_bytes([c, d]);
    } else if transport.protocol == F::ICMP {
        let [kind, _, _, _, high, low] = view.copy(transport.at)?;
        match F::message(kind) {
            Message::Error => return Some((ends, Part::Error, transport.at + ICMP_HEADER)),
            Message::Identified => {
                let identifier = u16::from_be_bytes([high, low]);
                ends.source_port = identifier;
                ends.destination_port = identifier;
            }
            Message::Other => {}
        }
    }
    Some((ends, part, 0))
}

/// What a packet is to which connection: an ICMP error is of the one that it quotes.
#[inline(always)]
fn part<F: Connections>(view: &impl View) -> Option<(Ends<F>, Part)> {
    let (ends, part, quoted) = ends_at::<F>(view, ETHERNET as u32)?;
    if part != Part::Error {
        return Some((ends, part));
    }
    let (ends, _, _) = ends_at::<F>(view, quoted)?;
    Some((ends, Part::Error))
}

/// The connection of a packet from one routed end to another is not the kernel's.
#[inline(always)]
pub fn is_fast<F: Connections>(skb: &mut Skb, packet: &Parsed<F>) -> Result<(), Verdict> {
    let flow = F::flow(skb)?;
    let is_kernels = if has_ports(flow.protocol) {
        let ends: Ends<F> = Ends {
            source: packet.source,
            destination: packet.destination,
            source_port: u16::from_be(flow.source_port),
            destination_port: u16::from_be(flow.destination_port),
            protocol: flow.protocol,
        };
        is_entered::<F>(&ends.key())
    } else {
        is_others_entered::<F>(skb)
    };
    if is_kernels {
        return Err(Verdict::Punt(PuntReason::KernelConnection));
    }
    Ok(())
}

/// Whether a connection is there. It notes that it is used.
#[inline(always)]
fn is_entered<F: Connections>(key: &F::Key) -> bool {
    match F::find(key) {
        Some(entry) => {
            note(entry);
            true
        }
        None => false,
    }
}

/// As [`is_entered`], of a packet without ports: ICMP, and whatever else.
#[inline(never)]
fn is_others_entered<F: Connections>(skb: &Skb) -> bool {
    match part::<F>(skb) {
        Some((ends, Part::Packet | Part::Error)) => is_entered::<F>(&ends.key()),
        Some((ends, Part::FirstFragment | Part::Fragment)) => {
            is_entered::<F>(&F::without_ports(&ends.key()))
        }
        None => false,
    }
}

/// Notes that a connection has had a packet, now and then: what is not written to is not fetched from another processor.
#[inline(always)]
fn note(entry: *mut ConnectionEntry) -> bool {
    let now = now();
    // SAFETY: an entry of the map; should another connection have got its place meanwhile, that has had a packet just now, too.
    let seen = unsafe { &mut (*entry).seen };
    let is_long_ago = now.wrapping_sub(*seen) > ConnectionEntry::NOTED_EACH;
    if is_long_ago {
        *seen = now;
    }
    is_long_ago
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: no arguments, no effects.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// A packet that goes to the kernel for itself alone, before its destination was looked at: if it goes between two routed
/// ends, and its connection is not the kernel's, it does not become it.
#[inline(never)]
pub fn passes_alone<F: Connections>(skb: &mut Skb) {
    let Some((ends, part)) = part::<F>(skb) else {
        return;
    };
    let key = match part {
        Part::Packet | Part::Error => ends.key(),
        Part::FirstFragment | Part::Fragment => F::without_ports(&ends.key()),
    };
    if are_routed::<F>(&ends) && !is_entered::<F>(&key) {
        skb.set_decided(true);
    }
}

/// Whether both ends are routed, and nothing is told of them for which their packets are the kernel's.
#[inline(always)]
fn are_routed<F: Connections>(ends: &Ends<F>) -> bool {
    is_routed::<F>(&ends.source) && is_routed::<F>(&ends.destination)
}

#[inline(always)]
fn is_routed<F: Connections>(address: &F::Address) -> bool {
    match F::endpoint(address) {
        Some(entry) => !entry.is_node() && is_free(&entry),
        None => F::route(address).is_some_and(|route| is_free(&route.endpoint)),
    }
}

#[inline(always)]
fn is_free(entry: &EndpointEntry) -> bool {
    entry.punt_to == 0 && entry.punt_between & EndpointEntry::ALONE == 0
}

/// Whether a packet at an egress is noted: not where the node sent it itself, to which all answers are the kernel's, nor where
/// the fast path has decided of it.
#[inline(always)]
pub fn is_noted(skb: &Skb) -> bool {
    skb.arrived_by() != Ifindex(0) && !skb.is_decided()
}

/// Enters the connection of a packet that the kernel itself delivers or sends on, unless that is of no use: what goes between
/// ends of which one is not routed is the kernel's anyway.
#[inline(never)]
pub fn enter<F: Connections>(skb: &Skb) {
    let Some((ends, part)) = part::<F>(skb) else {
        return;
    };
    if part == Part::Fragment {
        return;
    }
    let key = ends.key();
    let now = now();
    let entry = match F::find(&key) {
        Some(entry) => {
            if !note(entry) {
                return;
            }
            // SAFETY: as in `note`.
            unsafe { *entry }
        }
        // An error makes nothing the kernel's.
        None if part == Part::Error || !is_between::<F>(&ends) => return,
        None => {
            let entry = ConnectionEntry {
                entered: now,
                seen: now,
                ingress: skb.arrived_by(),
                from_high: ends.is_from_high().into(),
            };
            if F::insert(&key, &entry) {
                count::<F>();
            }
            entry
        }
    };
    // For fragments, again each time that the connection is noted, lest this one is evicted before it.
    let pieces = F::without_ports(&key);
    match F::find(&pieces) {
        Some(entry) => {
            note(entry);
        }
        None => {
            if F::insert(&pieces, &entry) {
                count::<F>();
            }
        }
    }
}

/// Whether both ends are routed.
#[inline(always)]
fn is_between<F: Connections>(ends: &Ends<F>) -> bool {
    is_end::<F>(&ends.destination) && is_end::<F>(&ends.source)
}

#[inline(always)]
fn is_end<F: Connections>(address: &F::Address) -> bool {
    match F::endpoint(address) {
        Some(entry) => !entry.is_node(),
        None => F::route(address).is_some(),
    }
}

/// Counts one that was entered.
#[inline(always)]
fn count<F: Connections>() {
    const ONE: ConnectionCount = ConnectionCount { entered: 1 };
    if add::<F>() {
        return;
    }
    // There is room for both families. What another CPU has made meanwhile is there to be added to.
    let flags = u64::from(BPF_NOEXIST);
    if CONNECTION_COUNTS.insert(F::COUNT, ONE, flags).is_err() {
        let _always = add::<F>();
    }
}

/// Adds to this CPU's count; false where there is none yet.
#[inline(always)]
fn add<F: Connections>() -> bool {
    match CONNECTION_COUNTS.get_ptr_mut(F::COUNT) {
        Some(count) => {
            // SAFETY: this CPU's slot; programs on one CPU do not interrupt each other on these hooks.
            unsafe { (*count).entered += 1 };
            true
        }
        None => false,
    }
}
