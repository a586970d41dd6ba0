//! Between the two ends and the checks: is this connection the kernel's? The kernel's NAT and connection tracking have to see a
//! connection in both directions or in neither. So what the kernel itself delivers to an endpoint or sends on by an uplink is
//! noted at the egress, as it looks there, translated; and what comes in between the same two ends is the kernel's.
//!
//! A packet that the fast path sent, or left to the kernel for itself alone (options, TTL, MTU), is noted by nobody: it carries
//! a sign to the egress, in `tc_index`, which the kernel's forwarding keeps.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    btf_maps::{Array, LruHashMap, PerCpuHashMap},
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns},
    macros::btf_map,
};
use netpath_common::{
    CONNECTIONS_DEFAULT, CONNECTIONS_NEW as NEW, ConnectionCount, ConnectionEntry,
    ConnectionFamily, ConnectionKey, Ifindex, LastEntered, PuntReason, Verdict, has_ports,
};

use crate::{
    access::Skb,
    counters,
    destination::{Tables, is_routed},
    ends::{self, Between, Ends, Part},
    family::{V4, V6},
    flow::Flows,
    once::once,
    trail,
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

/// In which tick connections of a hash were last entered: what the decision cache remembers may be from before.
#[btf_map(name = "connections_new")]
pub static CONNECTIONS_NEW: Array<LastEntered, { NEW as usize }> = Array::new();

/// The connections of a family.
pub trait Connections: Tables + Between + Flows {
    /// What they are found by.
    type Of: Copy;

    /// The family in `connection_counts`.
    const COUNT: ConnectionFamily;

    /// The key of the connection between two ends, and whether the source is second in it.
    fn of(ends: &Ends<Self>) -> (Self::Of, bool);

    /// The same without ports.
    fn without_ports(key: &Self::Of) -> Self::Of;

    /// The entry of a connection.
    fn find(key: &Self::Of) -> Option<*mut ConnectionEntry>;

    /// Enters a connection; false where it is there.
    fn insert(key: &Self::Of, entry: &ConnectionEntry) -> bool;

    /// Takes a connection out; false where it is not there.
    fn remove(key: &Self::Of) -> bool;

    /// [`by_ports`].
    fn by_ports(skb: &mut Skb) -> u32;

    /// [`is_others_entered`].
    fn is_others_entered(skb: &Skb) -> u32;

    /// [`enter_of`].
    fn enter(skb: &Skb);
}

/// The same for both families, each in its own map.
macro_rules! connections {
    ($family:ident, $size:literal, $number:ident, $version:literal, $map:ident, $by_ports:ident, $is_others:ident, $enter:ident) => {
        once!(fn $by_ports(&mut skb) -> u32 = by_ports::<$family>);
        once!(fn $is_others(&skb) -> u32 = is_others_entered::<$family>);
        once!(fn $enter(&skb) = enter_of::<$family>);

        impl Connections for $family {
            type Of = ConnectionKey<$size>;

            const COUNT: ConnectionFamily = ConnectionFamily { version: $version };

            #[inline(always)]
            fn of(ends: &Ends<Self>) -> (Self::Of, bool) {
                let number = |address: &[u8; $size]| $number::from_be_bytes(*address);
                let (from, to) = (number(&ends.source), number(&ends.destination));
                let from_high = to < from || to == from && ends.destination_port < ends.source_port;
                let source = (ends.source, ends.source_port);
                let destination = (ends.destination, ends.destination_port);
                let key = ConnectionKey::between(source, destination, ends.protocol, from_high);
                (key, from_high)
            }

            #[inline(always)]
            fn without_ports(key: &Self::Of) -> Self::Of {
                key.without_ports()
            }

            #[inline(always)]
            fn find(key: &Self::Of) -> Option<*mut ConnectionEntry> {
                $map.get_ptr_mut(key)
            }

            #[inline(always)]
            fn insert(key: &Self::Of, entry: &ConnectionEntry) -> bool {
                $map.insert(key, entry, u64::from(BPF_NOEXIST)).is_ok()
            }

            #[inline(always)]
            fn remove(key: &Self::Of) -> bool {
                $map.remove(key).is_ok()
            }

            #[inline(always)]
            fn by_ports(skb: &mut Skb) -> u32 {
                $by_ports(skb)
            }

            #[inline(always)]
            fn is_others_entered(skb: &Skb) -> u32 {
                $is_others(skb)
            }

            #[inline(always)]
            fn enter(skb: &Skb) {
                $enter(skb);
            }
        }
    };
}
connections!(
    V4,
    4,
    u32,
    4,
    CONNECTIONS_V4,
    connections_by_ports_v4,
    connections_others_v4,
    connections_enter_v4
);
connections!(
    V6,
    16,
    u128,
    6,
    CONNECTIONS_V6,
    connections_by_ports_v6,
    connections_others_v6,
    connections_enter_v6
);

/// The connection of a packet from one routed end to another is not the kernel's.
#[inline(always)]
pub fn is_fast<F: Connections>(skb: &mut Skb) -> Result<(), Verdict> {
    // One after the other: the kernel counts the stack of calls within calls.
    let is_kernels = match F::by_ports(skb) {
        ENTERED => true,
        NOT_ENTERED => false,
        _ => F::is_others_entered(skb) != 0,
    };
    if is_kernels {
        return Err(Verdict::Punt(PuntReason::KernelConnection));
    }
    Ok(())
}

/// What [`by_ports`] finds.
const NOT_ENTERED: u32 = 0;
const ENTERED: u32 = 1;
const WITHOUT_PORTS: u32 = 2;

/// Whether a connection with ports is entered. A function of its own: what it is found by takes room on the stack, which the
/// stages behind need for themselves.
#[inline(always)]
fn by_ports<F: Connections>(skb: &mut Skb) -> u32 {
    // Headers that were read before can be read again.
    let (Ok((source, destination)), Ok(flow)) = (F::ends(skb), F::flow(skb)) else {
        return NOT_ENTERED;
    };
    if !has_ports(flow.protocol) {
        return WITHOUT_PORTS;
    }
    let ends: Ends<F> = Ends {
        source,
        destination,
        source_port: u16::from_be(flow.source_port),
        destination_port: u16::from_be(flow.destination_port),
        protocol: flow.protocol,
    };
    is_packets::<F>(skb, &ends).into()
}

/// Whether the connection of a packet is there. What comes from who began a translated one, and looks as its packets do only behind
/// the translation, is of another connection, untranslated, with the same ports: then the entry is of one that has ended, or is
/// made again by its next packet.
#[inline(always)]
fn is_packets<F: Connections>(skb: &Skb, ends: &Ends<F>) -> bool {
    let (key, from_high) = F::of(ends);
    match F::find(&key) {
        Some(entry) => {
            // SAFETY: as in `note`.
            let is_of_another = unsafe { is_of_another(&*entry, from_high) };
            if !trail::may_be_asked(skb) {
                if is_of_another {
                    // What was read from the kernel's table was not counted.
                    // SAFETY: as in `note`.
                    let is_counted = unsafe { (*entry).ingress } != Ifindex(0);
                    if F::remove(&key) && is_counted {
                        count::<F>(REMOVED);
                    }
                } else {
                    note(entry);
                }
            }
            !is_of_another
        }
        None => false,
    }
}

#[inline(always)]
fn is_of_another(entry: &ConnectionEntry, from_high: bool) -> bool {
    entry.translated != 0 && (entry.from_high != 0) == from_high
}

/// Whether a connection is there. It notes that it is used.
#[inline(always)]
fn is_entered<F: Connections>(skb: &Skb, key: &F::Of) -> bool {
    match F::find(key) {
        Some(entry) => {
            if !trail::may_be_asked(skb) {
                note(entry);
            }
            true
        }
        None => false,
    }
}

/// As [`is_entered`], of a packet without ports: ICMP, and whatever else.
#[inline(always)]
fn is_others_entered<F: Connections>(skb: &Skb) -> u32 {
    is_part_entered::<F>(skb).into()
}

#[inline(always)]
fn is_part_entered<F: Connections>(skb: &Skb) -> bool {
    match ends::of::<F>(skb) {
        Some((ends, Part::Packet)) => is_packets::<F>(skb, &ends),
        Some((ends, Part::Error)) => is_entered::<F>(skb, &F::of(&ends).0),
        Some((ends, Part::FirstFragment | Part::Fragment)) => {
            is_entered::<F>(skb, &F::without_ports(&F::of(&ends).0))
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

/// The time, in nanoseconds, from tick to tick.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments, no effects.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Whether a packet at an egress is noted: not where the node sent it itself, to which all answers are the kernel's, nor where
/// the fast path has decided of it.
#[inline(always)]
pub fn is_noted(skb: &Skb) -> bool {
    skb.arrived_by() != Ifindex(0) && !skb.is_decided()
}

/// Enters the connection of a packet that the kernel itself delivers or sends on, unless that is of no use: what goes between
/// ends of which one is not routed is the kernel's anyway.
#[inline(always)]
fn enter_of<F: Connections>(skb: &Skb) {
    let Some((ends, part)) = ends::of::<F>(skb) else {
        return;
    };
    if part == Part::Fragment {
        return;
    }
    let (key, from_high) = F::of(&ends);
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
                from_high: from_high.into(),
                translated: skb.was_elsewhere().into(),
            };
            if F::insert(&key, &entry) {
                count::<F>(ENTERED_ONE);
            }
            let ports = [ends.source_port, ends.destination_port];
            note_new(F::index_of(&ends.source, &ends.destination, ports));
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
            // Of all connections between the two: it tells nothing of one.
            let entry = ConnectionEntry {
                translated: 0,
                ..entry
            };
            if F::insert(&pieces, &entry) {
                count::<F>(ENTERED_ONE);
            }
        }
    }
}

/// Notes that a connection was entered just now.
#[inline(always)]
fn note_new(index: u32) {
    if let Some(last) = CONNECTIONS_NEW.get_ptr_mut(index) {
        // SAFETY: a number, of the map.
        unsafe { (*last).tick = tick() as u32 };
    }
}

/// Whether a connection of this index was entered in this tick.
#[inline(always)]
pub fn is_new(index: u32, tick: u64) -> bool {
    CONNECTIONS_NEW
        .get(index)
        .is_some_and(|last| last.tick == tick as u32)
}

/// The tick of the kernel's clock.
#[inline(always)]
pub fn tick() -> u64 {
    // SAFETY: no arguments, no effects.
    unsafe { bpf_jiffies64() }
}

/// Whether both ends are routed.
#[inline(always)]
fn is_between<F: Connections>(ends: &Ends<F>) -> bool {
    is_routed::<F>(&ends.destination) && is_routed::<F>(&ends.source)
}

/// One more that was entered, and one less.
const ENTERED_ONE: ConnectionCount = ConnectionCount { entered: 1 };
const REMOVED: ConnectionCount = ConnectionCount { entered: u64::MAX };

/// Counts how many were entered, less those that were taken out.
#[inline(always)]
fn count<F: Connections>(one: ConnectionCount) {
    // There is room for both families.
    let _always = counters::count_in(&CONNECTION_COUNTS, &F::COUNT, one);
}
