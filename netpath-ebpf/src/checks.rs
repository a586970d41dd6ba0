//! Stage 4: what the kernel has to answer itself is punted before any byte is changed.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{bpf_check_mtu_flags::BPF_MTU_CHK_SEGS, bpf_check_mtu_ret::BPF_MTU_CHK_RET_SUCCESS},
    helpers::generated::bpf_check_mtu,
};
use netpath_common::{Ifindex, PuntReason, Verdict};

use crate::{access::Skb, family::Family, parse::Parsed};

/// The least MTU that Linux lets an Ethernet device have: `ETH_MIN_MTU` in `linux/if_ether.h` (RFC 791).
/// A smaller packet fits everywhere, so that most need not ask the device.
const LEAST_MTU: u32 = 68;

/// The packet may be forwarded once more.
#[inline(always)]
pub fn ttl<F: Family>(packet: &Parsed<F>) -> Result<(), Verdict> {
    if packet.ttl <= 1 {
        return Err(Verdict::Punt(PuntReason::TtlExceeded));
    }
    Ok(())
}

/// It leaves by another interface than it came in by.
#[inline(always)]
pub fn turns_back(skb: &Skb, egress: Ifindex) -> Result<(), Verdict> {
    if egress == skb.interface() {
        return Err(Verdict::Punt(PuntReason::SameInterface));
    }
    Ok(())
}

/// It fits a device's MTU, a GSO packet in each of its segments: the check of `ip_forward`.
#[inline(always)]
pub fn device_mtu<F: Family>(
    skb: &Skb,
    packet: &Parsed<F>,
    egress: Ifindex,
) -> Result<(), Verdict> {
    if packet.length <= LEAST_MTU {
        return Ok(());
    }
    if skb.is_gso() {
        // 0 is what BPF_MTU_CHK_SEGS asks for.
        ask_device(skb, egress, 0, u64::from(BPF_MTU_CHK_SEGS)).map(drop)
    } else {
        // Padding does not count.
        ask_device(skb, egress, packet.length, 0).map(drop)
    }
}

/// It fits the path to a next hop. The FIB has judged a single packet by the route's MTU; for a GSO packet
/// the segments are judged by the device, and a route with a smaller MTU than its device is the kernel's.
#[inline(always)]
pub fn path_mtu(skb: &Skb, egress: Ifindex, mtu: u32) -> Result<(), Verdict> {
    if !skb.is_gso() {
        return Ok(());
    }
    let device_mtu = ask_device(skb, egress, 0, u64::from(BPF_MTU_CHK_SEGS))?;
    if mtu < device_mtu {
        return Err(Verdict::Punt(PuntReason::MtuExceeded));
    }
    Ok(())
}

/// The device's MTU in bytes, if a packet of `length` bytes from its IP header on fits it; where that is 0,
/// the packet at hand.
#[inline(always)]
fn ask_device(skb: &Skb, egress: Ifindex, length: u32, flags: u64) -> Result<u32, Verdict> {
    // The helper takes the length and gives the MTU.
    let mut mtu = length;
    // SAFETY: the context is valid and `mtu` outlives the call.
    let result = unsafe { bpf_check_mtu(skb.context().as_ptr(), egress.0, &raw mut mtu, 0, flags) };
    if result == i64::from(BPF_MTU_CHK_RET_SUCCESS) {
        Ok(mtu)
    } else {
        Err(Verdict::Punt(PuntReason::MtuExceeded))
    }
}
