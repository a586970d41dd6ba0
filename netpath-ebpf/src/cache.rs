//! In front of all stages: what they decided of a flow's last packets, each CPU for itself.
//!
//! A slot is good for one tick of the kernel's clock and one epoch of user space's. So what the kernel changes (routes,
//! neighbours, devices) is heeded a tick later at the latest, and what netpath changes at once. Only redirects are remembered,
//! of TCP and UDP without anything unusual; every other packet takes the way through the stages, and so do the first two of a
//! flow in each tick: they have the kernel keep its neighbours alive, and flows of few packets cost no more than without this.

use aya_ebpf::{
    btf_maps::{Array, PerCpuArray},
    helpers::generated::bpf_jiffies64,
    macros::btf_map,
};
use netpath_common::{Epoch, HopKey, Ifindex, PuntReason, Verdict};

use crate::{
    access::{Skb, View as _},
    checks, counters,
    family::{V4, V6},
    features::Features,
    fib::{self, Route},
    flow::{self, Flows},
    gate, log,
    parse::Network,
    pipeline::Decision,
    redirect,
    rewrite::{self, Hop},
};

/// When what the programs go by was last changed.
#[btf_map(name = "epoch")]
pub static EPOCH: Array<Epoch, 1> = Array::new();

/// Slots come in pages, because each value of a per-CPU array is an allocation of its own of at most 32 KiB.
const PAGES: usize = 16;
const SLOTS: usize = 64;

/// IPv4 flows. No state: it goes with the programs, and nobody else reads it.
#[btf_map(name = "cache_v4")]
pub static CACHE_V4: PerCpuArray<[Slot<[u64; 3]>; SLOTS], PAGES> = PerCpuArray::new();

/// IPv6 flows.
#[btf_map(name = "cache_v6")]
pub static CACHE_V6: PerCpuArray<[Slot<[u64; 6]>; SLOTS], PAGES> = PerCpuArray::new();

/// What was decided of a flow.
#[repr(C)]
pub struct Slot<K> {
    /// The tick that it is good for; 0 for none, [`WRITTEN`] while it is written.
    tick: u64,
    key: K,
    /// The epoch that it is good for.
    epoch: u32,
    /// Of the last packet that was not decided by the slot, its flow and tick: should there be one more of this flow in this
    /// tick, it gets the slot.
    candidate: u32,
    /// The interface to redirect to, and in the highest bit, which no index has, [`OUT`].
    egress: u32,
    /// Where it is counted in `hop_hits`, or [`counters::NO_ROW`].
    row: u32,
    /// Destination and source, as they stand in a frame.
    macs: [u32; 3],
    /// Length in bytes of the longest packet that fits the way.
    longest: u32,
}

/// It leaves by the interface itself, and not into the namespace of its peer.
const OUT: u32 = 1 << 31;

/// No tick. A program that `BPF_PROG_TEST_RUN` runs may be interrupted by one that has a packet of the wire, which then leaves the
/// slot alone: what is in it is of one packet always.
const WRITTEN: u64 = u64::MAX;

/// When a packet came. It is taken before anything else is read, so that what is remembered of it is never older than it says.
#[derive(Clone, Copy)]
pub struct Moment {
    tick: u64,
    epoch: u32,
}

impl Moment {
    /// Now. Of the epoch the lower half, in nanoseconds: two within a tick differ by less than it holds.
    #[inline(always)]
    pub fn now() -> Self {
        let epoch = EPOCH.get(0).map_or(0, |epoch| epoch.changed as u32);
        // SAFETY: no arguments, no effects.
        let tick = unsafe { bpf_jiffies64() };
        Self { tick, epoch }
    }
}

/// A family's flows, and where they are remembered.
pub trait Cached: Flows + Route + Hop {
    /// The slot of a flow of this hash.
    fn slot(hash: u64) -> Option<&'static mut Slot<Self::Key>>;
}

macro_rules! cached {
    ($family:ident, $map:ident) => {
        impl Cached for $family {
            #[inline(always)]
            fn slot(hash: u64) -> Option<&'static mut Slot<Self::Key>> {
                let page = $map.get_ptr_mut((hash >> 60) as u32)?;
                let at = (hash >> 54) as usize & (SLOTS - 1);
                // SAFETY: within the page, which is this CPU's; programs on one CPU do not interrupt each other on these hooks.
                unsafe { Some(&mut *page.cast::<Slot<Self::Key>>().add(at)) }
            }
        }
    };
}
cached!(V4, CACHE_V4);
cached!(V6, CACHE_V6);

const _: () = assert!(PAGES == 1 << (u64::BITS - 60) && SLOTS.is_power_of_two());

/// Does with a packet what was done with its flow's last ones, if that is known and good for it, and counts it. Returns what the
/// program is to return.
#[inline(always)]
pub fn take(skb: &mut Skb, now: Moment) -> Option<i32> {
    match flow::network(skb)? {
        Network::V4 => take_of::<V4>(skb, now),
        Network::V6 => take_of::<V6>(skb, now),
    }
}

#[inline(always)]
fn take_of<F: Cached>(skb: &mut Skb, now: Moment) -> Option<i32> {
    let key = F::key(skb)?;
    let slot = F::slot(F::hash(&key))?;
    if slot.tick != now.tick || slot.epoch != now.epoch || !F::is_same(&slot.key, &key) {
        return None;
    }
    flow::is_taken::<F>(skb, slot.longest)?;
    let length = skb.length();
    F::decrement_ttl(skb, Some(&slot.macs))?;
    let (ingress, egress) = (skb.interface(), Ifindex(slot.egress & !OUT));
    let verdict = if slot.egress & OUT != 0 {
        F::set_priority(skb);
        skb.set_decided(true);
        Verdict::redirect_neigh()
    } else {
        Verdict::redirect_peer()
    };
    let hop = HopKey::new(ingress, egress, verdict);
    counters::count_hit(slot.row, &hop, length);
    log::decision(skb, &hop, length);
    Some(if slot.egress & OUT != 0 {
        redirect::by_device(egress)
    } else {
        redirect::peer(egress)
    })
}

/// Remembers what the stages have decided of a packet that came at this moment, without a mark; to be asked once its bytes are
/// as they leave.
#[inline(always)]
pub fn learn(skb: &mut Skb, came: Moment, decision: &Decision) {
    let egress = decision.egress.ifindex.0;
    match decision.verdict {
        Verdict::RedirectPeer => keep(skb, came, egress),
        Verdict::RedirectNeigh if decision.egress.has_neighbour() => keep(skb, came, egress | OUT),
        // Should its flow have begun as another one.
        Verdict::Punt(PuntReason::KernelConnection) => forget(skb),
        _ => {}
    }
}

#[inline(always)]
fn keep(skb: &mut Skb, came: Moment, egress: u32) {
    match flow::network(skb) {
        Some(Network::V4) => keep_of::<V4>(skb, came.tick, came.epoch, egress),
        Some(Network::V6) => keep_of::<V6>(skb, came.tick, came.epoch, egress),
        None => {}
    }
}

#[inline(never)]
fn keep_of<F: Cached>(skb: &mut Skb, tick: u64, epoch: u32, egress: u32) {
    // What comes without an Ethernet header has no key of its own.
    if Features::of_node().bare_uplinks() && gate::is_bare(skb) {
        return;
    }
    let Some(key) = F::key(skb) else {
        return;
    };
    let hash = F::hash(&key);
    let Some(slot) = F::slot(hash) else {
        return;
    };
    let candidate = hash as u32 ^ tick as u32;
    if slot.candidate != candidate {
        slot.candidate = candidate;
        return;
    }
    if slot.tick == WRITTEN {
        return;
    }
    write(&mut slot.tick, WRITTEN);
    let way = if egress & OUT != 0 {
        next_hop::<F>(skb, Ifindex(egress & !OUT), &mut slot.macs)
    } else {
        peer(skb, Ifindex(egress), &mut slot.macs)
    };
    let Some(longest) = way else {
        return write(&mut slot.tick, 0);
    };
    slot.longest = longest;
    slot.key = key;
    slot.epoch = epoch;
    slot.egress = egress;
    slot.row = row(skb, egress);
    write(&mut slot.tick, tick);
}

/// The longest packet that an endpoint's device takes, and the MACs that the packet at hand has got for it.
#[inline(always)]
fn peer(skb: &Skb, egress: Ifindex, macs: &mut [u32; 3]) -> Option<u32> {
    *macs = rewrite::macs(skb)?;
    checks::mtu(skb, egress)
}

/// A write that stays in its place among others.
#[inline(always)]
fn write(to: &mut u64, value: u64) {
    // SAFETY: a reference is valid.
    unsafe { core::ptr::from_mut(to).write_volatile(value) };
}

#[inline(always)]
fn row(skb: &Skb, egress: u32) -> u32 {
    let verdict = if egress & OUT != 0 {
        Verdict::redirect_neigh()
    } else {
        Verdict::redirect_peer()
    };
    counters::row(&HopKey::new(
        skb.interface(),
        Ifindex(egress & !OUT),
        verdict,
    ))
}

/// The longest packet that fits the way out by an interface, and the MACs of the neighbour there. None where the kernel has not
/// resolved it, or would go another way by now.
#[inline(always)]
fn next_hop<F: Cached>(skb: &mut Skb, egress: Ifindex, macs: &mut [u32; 3]) -> Option<u32> {
    let path = fib::neighbour::<F>(skb, egress, macs)?;
    let longest = path.min(checks::mtu(skb, egress)?);
    match Features::of_node().route_mtu() {
        0 => Some(longest),
        narrowest => Some(longest.min(narrowest)),
    }
}

/// Forgets a packet's flow, if it is remembered.
#[inline(never)]
fn forget(skb: &mut Skb) {
    match flow::network(skb) {
        Some(Network::V4) => forget_of::<V4>(skb),
        Some(Network::V6) => forget_of::<V6>(skb),
        None => {}
    }
}

#[inline(always)]
fn forget_of<F: Cached>(skb: &Skb) {
    if let Some(key) = F::key(skb)
        && let Some(slot) = F::slot(F::hash(&key))
        && slot.tick != WRITTEN
        && F::is_same(&slot.key, &key)
    {
        slot.tick = 0;
    }
}
