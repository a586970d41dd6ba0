//! Stage 4: what the kernel has to answer itself is punted before any byte is changed.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{bpf_check_mtu_flags::BPF_MTU_CHK_SEGS, bpf_check_mtu_ret::BPF_MTU_CHK_RET_SUCCESS},
    helpers::generated::bpf_check_mtu,
};
use netpath_common::{Ifindex, PuntReason, Verdict};

use crate::{
    access::{Skb, View},
    family::Family,
    features::Features,
    fib::{self, NextHop, Route},
    parse::{ETHERNET, Parsed},
};

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
    match to_measure(skb, packet.length) {
        Some((length, flags)) => ask_device(skb, egress, length, flags).map(drop),
        None => Ok(()),
    }
}

/// A device's MTU in bytes; none where there is no such device.
#[inline(always)]
pub fn mtu(skb: &Skb, egress: Ifindex) -> Option<u32> {
    ask_device(skb, egress, LEAST_MTU, 0).ok()
}

/// What `bpf_check_mtu` has to measure of a packet of this length in bytes, with its flags; nothing where it fits
/// everywhere.
#[inline(always)]
fn to_measure(skb: &impl View, length: u32) -> Option<(u32, u64)> {
    if length <= LEAST_MTU {
        None
    } else if skb.is_gso() {
        // 0 is what BPF_MTU_CHK_SEGS asks for.
        Some((0, u64::from(BPF_MTU_CHK_SEGS)))
    } else {
        // Padding does not count.
        Some((length, 0))
    }
}

/// It fits the way to a next hop, as `ip_forward` and `ip6_forward` judge it, a GSO packet in each of its segments: by
/// the device, by the route's own MTU, and by what is known of the path where the kernel goes by that when it forwards.
#[inline(always)]
pub fn path_mtu<F: Route>(
    skb: &mut Skb,
    packet: &Parsed<F>,
    next_hop: &NextHop,
    features: Features,
) -> Result<(), Verdict> {
    let route_mtu = features.route_mtu();
    let Some((length, flags)) = to_measure(skb, packet.length) else {
        return Ok(());
    };
    let by_path = fib::by_path_mtu::<F>(features);
    if by_path && !skb.is_gso() && packet.length <= next_hop.mtu {
        // Of a path that is no wider than the device.
        return fits_route(route_mtu, packet.length);
    }
    let device_mtu = ask_device(skb, next_hop.ifindex, length, flags)?;
    let known = if skb.is_gso() {
        segment::<F>(skb)
    } else {
        Some(packet.length)
    };
    // Segments of which it is not known how long they are may fill the device.
    let longest = known.unwrap_or(device_mtu);
    if next_hop.mtu < longest && (by_path || !fib::is_of_this_path(skb, packet, next_hop)) {
        return Err(match known {
            Some(_) => F::exceeds(skb, packet, next_hop),
            None => Verdict::Punt(PuntReason::MtuExceeded),
        });
    }
    fits_route(route_mtu, longest)
}

/// Length of the longest segment of a GSO packet, from its IP header on. Only TCP's is known: what goes through a tunnel has
/// more headers than can be seen.
#[inline(always)]
pub fn segment<F: Route>(skb: &Skb) -> Option<u32> {
    const TCP: u8 = 6;
    /// Where TCP's header says how long it is, in words of four bytes (RFC 9293, section 3.1).
    const DATA_OFFSET: u32 = 12;
    let [protocol] = skb.copy(F::PROTOCOL)?;
    if protocol != TCP {
        return None;
    }
    let [words] = skb.copy(F::HEADERS + DATA_OFFSET)?;
    let headers = F::HEADERS - ETHERNET as u32 + u32::from(words >> 4) * 4;
    Some(headers + skb.segment_payload())
}

/// So many bytes fit the narrowest route that has an MTU of its own. Which route that is, is for the kernel to say.
#[inline(always)]
fn fits_route(route_mtu: u32, length: u32) -> Result<(), Verdict> {
    if route_mtu != 0 && length > route_mtu {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{access::tests::Frame, family::V4};

    #[test]
    fn a_packet_has_to_live_one_hop_longer() {
        let expired = Err(Verdict::Punt(PuntReason::TtlExceeded));
        for (left, expected) in [(0, expired), (1, expired), (2, Ok(())), (255, Ok(()))] {
            let packet = Parsed::<V4> {
                ttl: left,
                ..Parsed::with_addresses([10, 0, 1, 2], [10, 0, 2, 2])
            };
            assert_eq!(ttl(&packet), expected, "{left}");
        }
    }

    #[test]
    fn what_every_device_takes_is_not_measured() {
        let one = Frame::new([0; 1514]);
        let several = Frame {
            is_gso: true,
            ..one.clone()
        };
        assert_eq!(to_measure(&one, 68), None);
        // The packet, not the frame, which may be padded.
        assert_eq!(to_measure(&one, 69), Some((69, 0)));
        assert_eq!(to_measure(&one, 65_575), Some((65_575, 0)));
        // Its segments, whatever its own length is.
        assert_eq!(to_measure(&several, 69), Some((0, 1)));
        assert_eq!(to_measure(&several, 200_000), Some((0, 1)));
    }

    #[test]
    fn what_does_not_fit_the_narrowest_route_is_the_kernels() {
        let exceeded = Err(Verdict::Punt(PuntReason::MtuExceeded));
        for (route, length, expected) in [
            (0, 65_535, Ok(())),
            (1400, 1400, Ok(())),
            (1400, 1401, exceeded),
            (9000, 1500, Ok(())),
        ] {
            assert_eq!(fits_route(route, length), expected, "{route} {length}");
        }
    }
}
