//! Shadow mode: all is decided and counted, and each packet is the kernel's, as it came.
//!
//! It holds for a packet if it holds for the interface that the packet came in by, or for the one that it would leave by: so it is
//! the same for both directions of a connection.

use netpath_common::{Gate, Ifindex, PuntReason, Verdict};

use crate::{access::Skb, features::Features, gate, once::once};

/// A packet that was to go there may be changed: it is not the kernel's for shadow mode's sake. To be asked before a byte is
/// changed, and after all that would have left the packet to the kernel anyway.
#[inline(always)]
pub fn lets_change(skb: &Skb, egress: Ifindex, features: Features) -> Result<(), Verdict> {
    if features.shadow() && shadow_is_between(skb.interface().0, egress.0) != 0 {
        return Err(Verdict::Punt(PuntReason::Shadow));
    }
    Ok(())
}

/// What becomes of a packet of which this was decided: nothing is dropped that came in by an interface in shadow mode.
#[inline(always)]
pub fn spared(skb: &Skb, verdict: Verdict) -> Verdict {
    if let Verdict::Drop(reason) = verdict
        && let Some(instead) = PuntReason::instead_of(reason)
        && Features::of_node().shadow()
        && is_on(skb.interface())
    {
        return Verdict::Punt(instead);
    }
    verdict
}

#[inline(always)]
fn is_between(ingress: u32, egress: u32) -> u32 {
    (is_on(Ifindex(ingress)) || is_on(Ifindex(egress))).into()
}

once!(fn shadow_is_between(ingress: u32, egress: u32) -> u32 = is_between);

#[inline(always)]
fn is_on(interface: Ifindex) -> bool {
    gate::of(interface).has(Gate::SHADOW)
}
