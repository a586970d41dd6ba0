//! What the stages found of a packet that was made to be asked about, for `netpath explain`. All others cost a load and a branch
//! at each note.
//!
//! Nothing moves by such a packet: it is counted nowhere, and the decision cache and the connections stay as they are. Whether it is
//! one nobody can guess: user space has put its random key into the map, and takes it out again.
//!
//! What is noted goes into the map and not into variables, so that the verifier goes on as if nothing had been noted.

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, btf_maps::HashMap, macros::btf_map};
use netpath_common::{EndpointEntry, TRAIL_SIGN, TRAILS, Trail, TrailKey, Verdict};

use crate::{access::Skb, fib::NextHop, once::once};

/// The packets that are asked about just now.
#[btf_map(name = "trail")]
pub static TRAIL: HashMap<TrailKey, Trail, { TRAILS as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// Whether this packet is one.
#[inline(always)]
pub fn is_asked(skb: &Skb) -> bool {
    may_be_asked(skb) && trail_is_known(skb) != 0
}

/// Whether it may be one.
#[inline(always)]
pub fn may_be_asked(skb: &Skb) -> bool {
    skb.control().sign() == TRAIL_SIGN
}

/// The owner of its source, or of a prefix that the source is of.
#[inline(always)]
pub fn owner(skb: &Skb, owner: &EndpointEntry) {
    if may_be_asked(skb) {
        trail_note_source(skb, owner.ifindex.0, owner.id.0);
    }
}

/// What its destination is: that of an endpoint here, or another node's.
#[inline(always)]
pub fn destination(skb: &Skb, entry: &EndpointEntry) {
    if may_be_asked(skb) {
        trail_note_destination(skb, entry.ifindex.0, entry.id.0);
    }
}

/// Its connection is not the kernel's.
#[inline(always)]
pub fn is_fast(skb: &Skb) {
    if may_be_asked(skb) {
        trail_note_fast(skb);
    }
}

/// Where the kernel's FIB sends it.
#[inline(always)]
pub fn next_hop(skb: &Skb, found: &NextHop) {
    if may_be_asked(skb) {
        trail_note_egress(skb, found.ifindex.0, found.mtu, found.family);
        let [a, b, c, d] = found.gateway.map(u64::from);
        trail_note_gateway(skb, a | b << 32, c | d << 32);
    }
}

/// What becomes of it.
#[inline(always)]
pub fn decided(skb: &Skb, verdict: Verdict) {
    let (outcome, reason) = verdict.numbers();
    trail_note_outcome(skb, outcome.number().into(), reason.into());
}

#[inline(always)]
fn of(skb: &Skb) -> Option<&'static mut Trail> {
    let key = TrailKey {
        secret: skb.control().secret(),
    };
    // SAFETY: user space looks at the entry when the run is over, and takes it out then; what runs on this packet is one program.
    TRAIL.get_ptr_mut(key).map(|trail| unsafe { &mut *trail })
}

#[inline(always)]
fn is_known(skb: &Skb) -> u32 {
    of(skb).is_some().into()
}

#[inline(always)]
fn kind(ifindex: u32) -> u32 {
    if ifindex == 0 {
        Trail::ELSEWHERE
    } else {
        Trail::OWNED
    }
}

#[inline(always)]
fn note_source(skb: &Skb, ifindex: u32, id: u32) {
    if let Some(trail) = of(skb) {
        trail.source = kind(ifindex);
        trail.source_ifindex.0 = ifindex;
        trail.source_id.0 = id;
    }
}

#[inline(always)]
fn note_destination(skb: &Skb, ifindex: u32, id: u32) {
    if let Some(trail) = of(skb) {
        trail.destination = kind(ifindex);
        trail.destination_ifindex.0 = ifindex;
        trail.destination_id.0 = id;
    }
}

#[inline(always)]
fn note_outcome(skb: &Skb, outcome: u32, reason: u32) {
    if let Some(trail) = of(skb) {
        trail.outcome = outcome;
        trail.reason = reason;
    }
}

#[inline(always)]
fn note_egress(skb: &Skb, ifindex: u32, mtu: u32, family: u32) {
    if let Some(trail) = of(skb) {
        trail.egress.0 = ifindex;
        trail.mtu = mtu;
        trail.family = family;
    }
}

#[inline(always)]
fn note_gateway(skb: &Skb, first: u64, second: u64) {
    if let Some(trail) = of(skb) {
        trail.gateway = [
            first as u32,
            (first >> 32) as u32,
            second as u32,
            (second >> 32) as u32,
        ];
    }
}

#[inline(always)]
fn note_fast(skb: &Skb) {
    if let Some(trail) = of(skb) {
        trail.is_fast = 1;
    }
}

once!(fn trail_is_known(&context) -> u32 = is_known);
once!(fn trail_note_source(&context, ifindex: u32, id: u32) = note_source);
once!(fn trail_note_destination(&context, ifindex: u32, id: u32) = note_destination);
once!(fn trail_note_outcome(&context, outcome: u32, reason: u32) = note_outcome);
once!(fn trail_note_egress(&context, ifindex: u32, mtu: u32, family: u32) = note_egress);
once!(fn trail_note_gateway(&context, first: u64, second: u64) = note_gateway);
once!(fn trail_note_fast(&context) = note_fast);
