//! What the stages found of a packet that was made to be asked about, for `netpath explain`. All others cost a load and a branch
//! at each note.
//!
//! Nothing moves by such a packet: it is counted nowhere, and the decision cache and the connections stay as they are. Whether it is
//! one nobody can guess: user space has put its random key into the map, and takes it out again.
//!
//! What is noted goes into the map and not into variables, so that the verifier goes on as if nothing had been noted.

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, btf_maps::HashMap, macros::btf_map};
use netpath_common::{EndpointEntry, TRAIL_SIGN, TRAILS, Trail, TrailKey, Verdict};

use crate::{
    access::{Control, Skb},
    fib::NextHop,
};

/// The packets that are asked about just now.
#[btf_map(name = "trail")]
pub static TRAIL: HashMap<TrailKey, Trail, { TRAILS as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// Whether this packet is one.
#[inline(always)]
pub fn is_asked(skb: &Skb) -> bool {
    may_be_asked(skb) && is_known(skb.control()) != 0
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
        note_source(skb.control(), owner.ifindex.0, owner.id.0);
    }
}

/// What its destination is: that of an endpoint here, or another node's.
#[inline(always)]
pub fn destination(skb: &Skb, entry: &EndpointEntry) {
    if may_be_asked(skb) {
        note_destination(skb.control(), entry.ifindex.0, entry.id.0);
    }
}

/// Its connection is not the kernel's.
#[inline(always)]
pub fn is_fast(skb: &Skb) {
    if may_be_asked(skb) {
        note_fast(skb.control());
    }
}

/// Where the kernel's FIB sends it.
#[inline(always)]
pub fn next_hop(skb: &Skb, found: &NextHop) {
    if may_be_asked(skb) {
        note_egress(skb.control(), found.ifindex.0, found.mtu, found.family);
        let [a, b, c, d] = found.gateway;
        note_gateway(skb.control(), a, b, c, d);
    }
}

/// What becomes of it.
#[inline(always)]
pub fn decided(skb: &Skb, verdict: Verdict) {
    let (outcome, reason) = verdict.numbers();
    note_outcome(skb.control(), outcome.number().into(), reason.into());
}

#[inline(always)]
fn of(control: Control) -> Option<&'static mut Trail> {
    let key = TrailKey {
        secret: control.secret(),
    };
    // SAFETY: user space looks at the entry when the run is over, and takes it out then; what runs on this packet is one program.
    TRAIL.get_ptr_mut(key).map(|trail| unsafe { &mut *trail })
}

// Functions of their own, so that what is rare takes no room among what is not.

#[inline(never)]
fn is_known(control: Control) -> u32 {
    of(control).is_some().into()
}

#[inline(always)]
fn kind(ifindex: u32) -> u32 {
    if ifindex == 0 {
        Trail::ELSEWHERE
    } else {
        Trail::OWNED
    }
}

#[inline(never)]
fn note_source(control: Control, ifindex: u32, id: u32) {
    if let Some(trail) = of(control) {
        trail.source = kind(ifindex);
        trail.source_ifindex.0 = ifindex;
        trail.source_id.0 = id;
    }
}

#[inline(never)]
fn note_destination(control: Control, ifindex: u32, id: u32) {
    if let Some(trail) = of(control) {
        trail.destination = kind(ifindex);
        trail.destination_ifindex.0 = ifindex;
        trail.destination_id.0 = id;
    }
}

#[inline(never)]
fn note_outcome(control: Control, outcome: u32, reason: u32) {
    if let Some(trail) = of(control) {
        trail.outcome = outcome;
        trail.reason = reason;
    }
}

#[inline(never)]
fn note_egress(control: Control, ifindex: u32, mtu: u32, family: u32) {
    if let Some(trail) = of(control) {
        trail.egress.0 = ifindex;
        trail.mtu = mtu;
        trail.family = family;
    }
}

#[inline(never)]
fn note_gateway(control: Control, a: u32, b: u32, c: u32, d: u32) {
    if let Some(trail) = of(control) {
        trail.gateway = [a, b, c, d];
    }
}

#[inline(never)]
fn note_fast(control: Control) {
    if let Some(trail) = of(control) {
        trail.is_fast = 1;
    }
}
