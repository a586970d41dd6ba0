//! All fragments of a datagram go one way. One that is the kernel's for itself alone, because it is larger than its way takes or
//! has options, is noted, and what comes behind it of the same datagram is the kernel's, too: where connection tracking puts
//! datagrams together, it would wait for the others in vain.
//!
//! What is noted is a hash, for as long as a datagram may take to be complete. It is no state: not pinned, and read by nobody.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use netpath_common::{PuntReason, Verdict, has_ports};

use crate::{
    access::Skb,
    connections,
    ends::{self, Between, Ends},
    family::{V4, V6},
    fib::words,
    flow::mix,
    gate,
    once::once,
    parse::{FRAGMENT_MASK, IPV4_END, IPV6_END, Network},
};

const SLOTS: usize = 4096;

/// The datagrams of which fragments were the kernel's, each in a slot that its hash says: [`noted`].
#[btf_map(name = "cache_datagrams")]
pub static DATAGRAMS: Array<u64, SLOTS> = Array::new();

/// What is left of a hash when it is a slot's number.
const SLOT: u32 = 52;
const _: () = assert!(SLOTS == 1 << (u64::BITS - SLOT));

/// How long the kernel waits for the rest of a datagram, in seconds, at the longest (`IPV6_FRAG_TIMEOUT` in net/ipv6.h).
const WAITS: u32 = 60;

/// Why a datagram is the kernel's, or that it is not.
const NOT: u32 = 0;
const TOO_LARGE: u32 = 1;
const OPTIONS: u32 = 2;

/// A family's datagrams.
pub trait Datagrams: Between {
    /// Whether it may be a fragment, by what has been read of it.
    fn may_be_fragment(skb: &Skb) -> bool;

    /// A hash of addresses.
    fn mixed(ends: &Ends<Self>) -> u64;

    /// [`why`].
    fn why(skb: &Skb) -> u32;
}

impl Datagrams for V4 {
    #[inline(always)]
    fn may_be_fragment(skb: &Skb) -> bool {
        match skb.header::<IPV4_END>() {
            Some(header) => header.half::<20>() & FRAGMENT_MASK.to_be() != 0,
            None => false,
        }
    }

    #[inline(always)]
    fn mixed(ends: &Ends<Self>) -> u64 {
        let source = u64::from(u32::from_ne_bytes(ends.source));
        let destination = u64::from(u32::from_ne_bytes(ends.destination));
        mix(source | destination << 32, 0)
    }

    #[inline(always)]
    fn why(skb: &Skb) -> u32 {
        datagrams_why_v4(skb)
    }
}

impl Datagrams for V6 {
    #[inline(always)]
    fn may_be_fragment(skb: &Skb) -> bool {
        match skb.header::<IPV6_END>() {
            Some(header) => {
                let next = header.byte::<20>();
                !has_ports(next) && next != Self::ICMP
            }
            None => false,
        }
    }

    #[inline(always)]
    fn mixed(ends: &Ends<Self>) -> u64 {
        let [a, b, c, d] = words(ends.source);
        let [e, f, g, h] = words(ends.destination);
        let hash = mix(double(a, b), double(c, d));
        mix(mix(hash, double(e, f)), double(g, h))
    }

    #[inline(always)]
    fn why(skb: &Skb) -> u32 {
        datagrams_why_v6(skb)
    }
}

#[inline(always)]
fn double(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// No fragment of this one's datagram was left to the kernel for itself alone.
#[inline(always)]
pub fn is_fast<F: Datagrams>(skb: &mut Skb) -> Result<(), Verdict> {
    if !F::may_be_fragment(skb) {
        return Ok(());
    }
    let reason = match F::why(skb) {
        NOT => return Ok(()),
        TOO_LARGE => PuntReason::MtuExceeded,
        _ => PuntReason::IpOptions,
    };
    skb.set_decided(true);
    Err(Verdict::Punt(reason))
}

/// Notes the datagram of a packet of which this was decided, if it is a fragment and others of it could go another way.
#[inline(always)]
pub fn decided(skb: &Skb, verdict: Verdict) {
    match verdict {
        Verdict::Punt(PuntReason::MtuExceeded) => datagrams_note(skb, TOO_LARGE),
        Verdict::Punt(PuntReason::IpOptions) => datagrams_note(skb, OPTIONS),
        _ => 0,
    };
}

once!(fn datagrams_why_v4(&skb) -> u32 = why::<V4>);
once!(fn datagrams_why_v6(&skb) -> u32 = why::<V6>);
once!(fn datagrams_note(&context, why: u32) -> u32 = note);

/// Why a fragment's datagram is the kernel's.
#[inline(always)]
fn why<F: Datagrams>(skb: &Skb) -> u32 {
    let Some(hash) = hash::<F>(skb) else {
        return NOT;
    };
    let Some(&found) = DATAGRAMS.get((hash >> SLOT) as u32) else {
        return NOT;
    };
    let age = seconds().wrapping_sub(found as u32);
    let why = (found >> 32) as u32 & (TOO_LARGE | OPTIONS);
    if why != NOT && age <= WAITS && found == noted(hash, why, found as u32) {
        why
    } else {
        NOT
    }
}

#[inline(always)]
fn note(skb: &Skb, why: u32) -> u32 {
    if gate::is_bare(skb) {
        note_of(&Skb::bare(skb.raw()), why)
    } else {
        note_of(skb, why)
    }
    0
}

#[inline(always)]
fn note_of(skb: &Skb, why: u32) {
    let hash = match Network::of(skb.protocol()) {
        Some(Network::V4) => hash::<V4>(skb),
        Some(Network::V6) => hash::<V6>(skb),
        None => None,
    };
    let Some(hash) = hash else {
        return;
    };
    if let Some(slot) = DATAGRAMS.get_ptr_mut((hash >> SLOT) as u32) {
        // SAFETY: a number, of the map; whoever reads it meanwhile has the old one or the new one.
        unsafe { slot.write_volatile(noted(hash, why, seconds())) };
    }
}

/// What stands in the slot of a datagram: a part of its hash, why it is the kernel's, and since when.
#[inline(always)]
fn noted(hash: u64, why: u32, since: u32) -> u64 {
    double(since, hash as u32 & !(TOO_LARGE | OPTIONS) | why)
}

/// Of the datagram that a packet is a fragment of.
#[inline(always)]
fn hash<F: Datagrams>(skb: &Skb) -> Option<u64> {
    let (ends, number) = ends::of_piece::<F>(skb)?;
    let which = double(number, ends.protocol.into());
    Some(mix(F::mixed(&ends), which))
}

/// The time, in units of 2^30 nanoseconds.
#[inline(always)]
fn seconds() -> u32 {
    (connections::now() >> 30) as u32
}
