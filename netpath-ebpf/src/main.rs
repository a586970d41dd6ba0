//! netpath's TC programs.
//!
//! | program | hook | what it sees |
//! |---|---|---|
//! | `from_endpoint` | ingress of each host-side veth | what an endpoint sends |
//! | `from_uplink` | ingress of each uplink | what other nodes send |
//! | `to_endpoint` | egress of each host-side veth | what the kernel itself delivers |
//! | `to_uplink` | egress of each uplink | what leaves for other nodes |
//!
//! The order of the stages stands in [`netpath_ebpf::pipeline`]; this file only turns a decision into a TC return code.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    missing_docs,
    reason = "the classifier macro writes a second, bare function for each program"
)]

mod object;

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    macros::classifier,
    programs::TcContext,
};
use netpath_common::{DropReason, Verdict};
use netpath_ebpf::{
    access::{Skb, View as _},
    cache, counters, datagrams, log,
    pipeline::{self, Decision},
    redirect, trace, trail,
};

/// Decides by a function, and acts. The function is no parameter: called through one it may not be inlined, and the kernel
/// counts the stack of calls within calls.
macro_rules! run {
    ($ctx:ident, $decide:path) => {{
        let mut skb = Skb::new($ctx);
        skb.set_decided(false);
        let came = match cache::take(&mut skb) {
            Ok(action) => return action,
            Err(came) => came,
        };
        let length = skb.length();
        let decision = $decide(&mut skb).spared(&skb);
        if decision.is_final() {
            skb.set_decided(true);
        } else if decision.goes_elsewhere() {
            skb.set_elsewhere();
        }
        if trail::is_asked(&skb) {
            trail::decided(&skb, decision.verdict);
        } else {
            cache::decided(&decision);
            datagrams::decided(&skb, decision.verdict);
            count(&skb, length, &decision);
        }
        let action = act(&skb, &decision);
        if !trail::may_be_asked(&skb) {
            cache::learn(&mut skb, came);
        }
        action
    }};
}

/// TC ingress of a host-side veth: a packet that an endpoint sent.
#[classifier]
#[inline(always)]
pub fn from_endpoint(ctx: TcContext) -> i32 {
    run!(ctx, pipeline::from_endpoint)
}

/// TC ingress of an uplink: a packet from another node.
#[classifier]
#[inline(always)]
pub fn from_uplink(ctx: TcContext) -> i32 {
    run!(ctx, pipeline::from_uplink)
}

/// TC egress of a host-side veth: a packet that the kernel delivers to an endpoint.
#[classifier]
#[inline(always)]
pub fn to_endpoint(ctx: TcContext) -> i32 {
    let skb = Skb::new(ctx);
    let decision = pipeline::to_endpoint(&skb);
    count(&skb, skb.length(), &decision);
    act(&skb, &decision)
}

/// TC egress of an uplink: a packet that leaves for another node, by whatever way. It was counted where it came in.
#[classifier]
#[inline(always)]
pub fn to_uplink(ctx: TcContext) -> i32 {
    pipeline::to_uplink(&Skb::new(ctx));
    TC_ACT_UNSPEC
}

/// Counts exactly once.
#[inline(always)]
fn count(skb: &Skb, length: u32, decision: &Decision) {
    let hop = decision.hop(skb);
    counters::count(&hop, length);
    log::decision(skb, &hop, length);
    trace::decision(skb, &hop, length);
}

/// Does what was decided.
#[inline(always)]
fn act(skb: &Skb, decision: &Decision) -> i32 {
    match decision.verdict {
        Verdict::RedirectPeer => redirect::peer(decision.egress.ifindex),
        Verdict::RedirectNeigh => redirect::next_hop(&decision.egress),
        // TCX_NEXT and TC_ACT_UNSPEC are both -1: other programs on the hook still run.
        Verdict::Punt(_) | Verdict::Deliver => TC_ACT_UNSPEC,
        // It has become the answer.
        Verdict::Drop(DropReason::PacketTooBig) => redirect::back(skb.interface()),
        Verdict::Drop(_) => TC_ACT_SHOT,
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
