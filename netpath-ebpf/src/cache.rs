//! In front of all stages: what they decided of a flow's last packets, each CPU for itself.
//!
//! A slot is good for one tick of the kernel's clock and one epoch of user space's. So what the kernel changes (routes,
//! neighbours, devices) is heeded a tick later at the latest, and what netpath changes at once. Only redirects are remembered,
//! of TCP and UDP without anything unusual; every other packet takes the way through the stages, and so do the first two of a
//! flow in each tick: they have the kernel keep its neighbours alive, and flows of few packets cost no more than without this.

use aya_ebpf::{
    btf_maps::{Array, PerCpuArray},
    macros::btf_map,
};
use netpath_common::{Epoch, HopKey, Ifindex, PuntReason, Verdict};

use crate::{
    access::{Skb, View as _},
    checks,
    connections::{self, tick},
    counters,
    family::{V4, V6},
    features::Features,
    fib::{self, Route},
    flow::{self, Flows},
    gate, log,
    parse::Network,
    pipeline::Decision,
    redirect,
    rewrite::{self, Hop},
    trace, trail,
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

/// What tells of each slot whether it is worth to be looked at: most packets of many flows are not in the cache, and these few
/// kilobytes are in the processor's.
#[btf_map(name = "cache_tags")]
pub static TAGS: PerCpuArray<Tags, 1> = PerCpuArray::new();

/// The tags of both families' slots, and what is known of the packet at hand. That is here and not on the stack, where the verifier
/// would follow each value that it may have through all that is done before and after.
#[repr(C)]
pub struct Tags {
    /// The hash of its flow: odd, or 0 for a packet that is not remembered.
    asked: u64,
    /// What is to be done with its flow when all is decided.
    then: u32,
    /// As in a [`Slot`], where it is to be kept.
    egress: u32,
    of: [[Tag; PAGES * SLOTS]; 2],
}

/// What [`Tags::then`] may be.
const NOTHING: u32 = 0;
const KEEP: u32 = 1;
const FORGET: u32 = 2;

/// Flows that may be or get into a slot: a part of their hash, mixed with a tick.
#[repr(C)]
pub struct Tag {
    /// The one that is in it, with the tick that it is good for.
    kept: u32,
    /// The one of the last packet that was not decided by the slot, with its tick: should there be one more of this flow in this
    /// tick, it gets the slot.
    candidate: u32,
}

/// What was decided of a flow.
#[repr(C)]
pub struct Slot<K> {
    /// The tick that it is good for; 0 for none, [`WRITTEN`] while it is written.
    tick: u64,
    key: K,
    /// The epoch that it is good for.
    epoch: u32,
    /// The interface to redirect to, and in the highest bit, which no index has, [`OUT`].
    egress: u32,
    /// Where it is counted in `hop_hits`, or [`counters::NO_ROW`].
    row: u32,
    /// Destination and source, as they stand in a frame.
    macs: [u32; 3],
    /// Length in bytes of the longest packet that fits the way.
    longest: u32,
    /// Where it is noted that connections between its ends were entered.
    index: u32,
}

/// It leaves by the interface itself, and not into the namespace of its peer.
const OUT: u32 = 1 << 31;

/// No tick. A program that `BPF_PROG_TEST_RUN` runs may be interrupted by one that has a packet of the wire, which then leaves the
/// slot alone: what is in it is of one packet always.
const WRITTEN: u64 = u64::MAX;

/// The epoch that it is: its lower half, in nanoseconds, as two within a tick differ by less than that holds.
#[inline(always)]
fn epoch() -> u32 {
    EPOCH.get(0).map_or(0, |epoch| epoch.changed as u32)
}

/// When a packet came: the lower half of the tick, and in the upper the epoch. Taken before anything else is read, so that what is
/// remembered of it is never older than it says.
#[derive(Clone, Copy)]
pub struct Came(u64);

impl Came {
    #[inline(always)]
    fn of(tick: u64, epoch: u32) -> Self {
        Self(u64::from(tick as u32) | u64::from(epoch) << 32)
    }

    #[inline(always)]
    fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The tick, unless it is over.
    #[inline(always)]
    fn tick(self) -> Option<u64> {
        let now = tick();
        (now as u32 == self.0 as u32).then_some(now)
    }

    /// What is in a tag for a flow of this hash.
    #[inline(always)]
    fn tag(self, hash: u64) -> u32 {
        hash as u32 ^ self.0 as u32
    }
}

impl Tags {
    #[inline(always)]
    fn get() -> Option<&'static mut Self> {
        // SAFETY: this CPU's; programs on one CPU do not interrupt each other on these hooks.
        TAGS.get_ptr_mut(0).map(|tags| unsafe { &mut *tags })
    }

    /// That of a flow's slot.
    #[inline(always)]
    fn tag<F: Cached>(&mut self, hash: u64) -> &mut Tag {
        let at = (hash >> 54) as usize;
        // SAFETY: as many bits as there are slots.
        unsafe { self.of[F::NUMBER].get_unchecked_mut(at) }
    }
}

/// A family's flows, and where they are remembered.
pub trait Cached: Flows + Route + Hop {
    /// Which of the tags are its own.
    const NUMBER: usize;

    /// The slot of a flow of this hash.
    fn slot(hash: u64) -> Option<&'static mut Slot<Self::Key>>;
}

macro_rules! cached {
    ($family:ident, $number:literal, $map:ident) => {
        impl Cached for $family {
            const NUMBER: usize = $number;

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
cached!(V4, 0, CACHE_V4);
cached!(V6, 1, CACHE_V6);

const _: () = assert!(PAGES == 1 << (u64::BITS - 60) && PAGES * SLOTS == 1 << (u64::BITS - 54));

/// Does with a packet what was done with its flow's last ones, if that is known and good for it, and counts it: then it returns
/// what the program is to return. Else when it came.
#[inline(always)]
pub fn take(skb: &mut Skb) -> Result<i32, Came> {
    let tick = tick();
    let came = Came::of(tick, epoch());
    // It is for the stages to tell what they find.
    if trail::is_asked(skb) {
        return Err(came);
    }
    let Some(tags) = Tags::get() else {
        return Err(came);
    };
    tags.asked = 0;
    let action = match flow::network(skb) {
        Some(Network::V4) => take_of::<V4>(skb, tags, tick, came),
        Some(Network::V6) => take_of::<V6>(skb, tags, tick, came),
        None => None,
    };
    action.ok_or(came)
}

#[inline(always)]
fn take_of<F: Cached>(skb: &mut Skb, tags: &mut Tags, tick: u64, came: Came) -> Option<i32> {
    let key = F::key(skb)?;
    let hash = F::hash(&key) | 1;
    tags.asked = hash;
    if tags.tag::<F>(hash).kept != came.tag(hash) {
        return None;
    }
    let slot = F::slot(hash)?;
    if slot.tick != tick || slot.epoch != came.epoch() || !F::is_same(&slot.key, &key) {
        return None;
    }
    // What was entered in this tick may be the flow's own connection.
    if connections::is_new(slot.index, tick) {
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

/// Notes what the stages have decided, for [`learn`].
#[inline(always)]
pub fn decided(decision: &Decision) {
    let Some(tags) = Tags::get() else {
        return;
    };
    tags.egress = decision.egress.ifindex.0;
    tags.then = match decision.verdict {
        Verdict::RedirectPeer => KEEP,
        Verdict::RedirectNeigh if decision.egress.has_neighbour() => {
            tags.egress |= OUT;
            KEEP
        }
        // Should its flow have begun as another one.
        Verdict::Punt(PuntReason::KernelConnection) => FORGET,
        _ => NOTHING,
    };
}

/// Remembers what the stages have decided of a packet that came at this moment; to be asked once all else is done, so that the
/// verifier looks at it once.
#[inline(always)]
pub fn learn(skb: &mut Skb, came: Came) {
    let Some(tags) = Tags::get() else {
        return;
    };
    match (tags.then, Network::of(skb.protocol())) {
        // What the cache decides is told nobody.
        (KEEP, _) if trace::is_wanted() => {}
        (KEEP, Some(Network::V4)) => keep_candidate::<V4>(skb, tags, came),
        (KEEP, Some(Network::V6)) => keep_candidate::<V6>(skb, tags, came),
        (FORGET, _) => forget(skb),
        _ => {}
    }
}

#[inline(always)]
fn keep_candidate<F: Cached>(skb: &mut Skb, tags: &mut Tags, came: Came) {
    let (hash, egress) = (tags.asked, tags.egress);
    let tag = tags.tag::<F>(hash);
    if tag.candidate == came.tag(hash) {
        keep_of::<F>(skb, hash, came.0, egress);
    } else {
        tag.candidate = came.tag(hash);
    }
}

#[inline(never)]
fn keep_of<F: Cached>(skb: &mut Skb, hash: u64, came: u64, egress: u32) {
    let came = Came(came);
    // What comes without an Ethernet header has no key of its own.
    let is_bare = Features::of_node().bare_uplinks() && gate::is_bare(skb);
    if is_bare || hash & 1 == 0 {
        return;
    }
    let (Some(slot), Some(tags)) = (F::slot(hash), Tags::get()) else {
        return;
    };
    if slot.tick == WRITTEN {
        return;
    }
    write(&mut slot.tick, WRITTEN);
    let way = if egress & OUT != 0 {
        next_hop::<F>(skb, Ifindex(egress & !OUT), &mut slot.macs)
    } else {
        peer(skb, Ifindex(egress), &mut slot.macs)
    };
    // Read again: to hold it meanwhile takes more of the stack than there is. A packet that came with a mark has none now.
    let (Some(longest), Some(key), Some(tick)) = (way, F::key(skb), came.tick()) else {
        return write(&mut slot.tick, 0);
    };
    if F::hash(&key) | 1 != hash {
        return write(&mut slot.tick, 0);
    }
    slot.longest = longest;
    slot.index = F::index(&key);
    slot.key = key;
    slot.epoch = came.epoch();
    slot.egress = egress;
    slot.row = row(skb, egress);
    tags.tag::<F>(hash).kept = came.tag(hash);
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
        && let Some(slot) = F::slot(F::hash(&key) | 1)
        && slot.tick != WRITTEN
        && F::is_same(&slot.key, &key)
    {
        slot.tick = 0;
    }
}
