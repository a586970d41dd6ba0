//! The kernel's reverse-path filter (RFC 3704; `rp_filter`), which comes after TC: what it may not accept is left
//! to the kernel, which then judges it itself.

use netpath_common::{Ifindex, PuntReason, Verdict};

use crate::{
    access::Skb,
    features::Features,
    fib::{self, Route},
    gate::INTERFACES,
    parse::Parsed,
};

/// `rp_filter` values of Linux's ip-sysctl.rst.
const OFF: u32 = 0;
const LOOSE: u32 = 2;

/// The filter of the uplink accepts a packet that is on its way to `egress`, or is off.
#[inline(always)]
pub fn accepts<F: Route>(
    skb: &mut Skb,
    packet: &Parsed<F>,
    egress: Ifindex,
    features: Features,
) -> Result<(), Verdict> {
    if !F::HAS_REVERSE_PATH_FILTER || !features.reverse_path() {
        return Ok(());
    }
    let ingress = skb.interface();
    // SAFETY: only the mode is read, and at once.
    let mode = unsafe { INTERFACES.get(ingress) }.map_or(OFF, |interface| interface.rp_filter);
    if mode == OFF {
        return Ok(());
    }
    match fib::way_back(skb, packet, egress) {
        // Of several next hops the kernel takes any, and this is one of them: the others are for it to find.
        Some(interface) if interface == ingress || mode == LOOSE => Ok(()),
        _ => Err(Verdict::Punt(PuntReason::ReversePath)),
    }
}
