//! Per-packet logging, for debugging only: an object built without the feature holds none of it.
//!
//! A line is numbers and addresses, which user space reads (`netpath::datapath::LoggedPacket`) and turns into names.

use netpath_common::HopKey;
#[cfg(feature = "debug-log")]
use netpath_common::Outcome;

use crate::access::Skb;
#[cfg(feature = "debug-log")]
use crate::{access::View as _, gate};

/// Logs what was decided for one packet.
#[cfg(feature = "debug-log")]
#[inline(always)]
pub fn decision(skb: &Skb, hop: &HopKey, length: u32) {
    // On its way into an endpoint it has got an Ethernet header.
    if hop.outcome != Outcome::RedirectPeer.number() && gate::is_bare(skb) {
        packet(&Skb::bare(skb.raw()), hop, length);
    } else {
        packet(skb, hop, length);
    }
}

#[cfg(feature = "debug-log")]
#[inline(always)]
fn packet(skb: &Skb, hop: &HopKey, length: u32) {
    // Behind the MAC addresses. What is behind a VLAN tag is not looked into here.
    let ether_type = if skb.has_ethernet() {
        skb.copy::<2>(12)
    } else {
        Some(skb.protocol().to_ne_bytes())
    };
    match ether_type {
        Some([0x08, 0x00]) => ipv4(skb, hop, length),
        Some([0x86, 0xdd]) => ipv6(skb, hop, length),
        _ => other(skb, hop, length),
    }
}

/// Defines the function that logs a packet of one family: its addresses are so many bytes long, from these places on.
#[cfg(feature = "debug-log")]
macro_rules! with_addresses {
    ($family:ident, $length:literal, $source:literal, $destination:literal) => {
        #[inline(never)]
        fn $family(skb: &Skb, hop: &HopKey, length: u32) {
            let source = skb.copy::<$length>($source);
            let (Some(source), Some(destination)) = (source, skb.copy::<$length>($destination))
            else {
                return other(skb, hop, length);
            };
            aya_log_ebpf::debug!(
                skb.context(),
                "{} {} {} {} {} {:i} {:i}",
                hop.ingress.0,
                hop.egress.0,
                hop.outcome,
                hop.reason,
                length,
                source,
                destination
            );
        }
    };
}

#[cfg(feature = "debug-log")]
with_addresses!(ipv4, 4, 26, 30);
#[cfg(feature = "debug-log")]
with_addresses!(ipv6, 16, 22, 38);

#[cfg(feature = "debug-log")]
#[inline(never)]
fn other(skb: &Skb, hop: &HopKey, length: u32) {
    aya_log_ebpf::debug!(
        skb.context(),
        "{} {} {} {} {}",
        hop.ingress.0,
        hop.egress.0,
        hop.outcome,
        hop.reason,
        length
    );
}

/// Nothing.
#[cfg(not(feature = "debug-log"))]
#[inline(always)]
pub fn decision(_skb: &Skb, _hop: &HopKey, _length: u32) {}
