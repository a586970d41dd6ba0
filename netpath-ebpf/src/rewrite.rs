//! Stage 5: what a router changes in a packet. Everything before this stage leaves the packet's bytes as
//! they came.

use netpath_common::{DropReason, EndpointEntry, PuntReason, Verdict};
use network_types::eth::EtherType;

use crate::{
    access::{HeaderMut, Skb, View as _},
    family::{Family, V4, V6},
    parse::{ETHERNET, IPV4_END, IPV6_END, Parsed},
};

/// Cuts what stands behind the packet: the padding of short Ethernet frames, which the kernel removes when
/// it forwards.
#[inline(always)]
pub fn trim_padding<F: Family>(skb: &mut Skb, packet: &Parsed<F>) -> Result<(), Verdict> {
    let frame = ETHERNET as u32 + packet.length;
    if skb.length() > frame {
        // The kernel would forget how to cut it into segments (`bpf_skb_change_tail`).
        if skb.is_gso() {
            return Err(Verdict::Punt(PuntReason::PaddedGso));
        }
        skb.trim(frame)
            .map_err(|_| Verdict::Punt(PuntReason::NoMemory))?;
    }
    Ok(())
}

/// How a family counts a hop.
pub trait Hop: Family {
    /// In network order.
    const ETHER_TYPE: u16;

    /// Lowers TTL or hop limit by one, mends the checksums that cover it, and writes the MAC addresses.
    fn decrement_ttl(skb: &mut Skb, ethernet: Option<&[u32; 3]>) -> Option<()>;

    /// Sets the packet's priority in the kernel as forwarding does.
    fn set_priority(skb: &mut Skb);
}

impl Hop for V4 {
    const ETHER_TYPE: u16 = EtherType::Ipv4 as u16;

    #[inline(always)]
    fn decrement_ttl(skb: &mut Skb, ethernet: Option<&[u32; 3]>) -> Option<()> {
        ipv4(&mut skb.header_mut()?, ethernet);
        Some(())
    }

    #[inline(always)]
    fn set_priority(skb: &mut Skb) {
        if let Some(header) = skb.header::<IPV4_END>() {
            let priority = priority_of(header.byte::<15>());
            skb.set_priority(priority);
        }
    }
}

impl Hop for V6 {
    const ETHER_TYPE: u16 = EtherType::Ipv6 as u16;

    #[inline(always)]
    fn decrement_ttl(skb: &mut Skb, ethernet: Option<&[u32; 3]>) -> Option<()> {
        ipv6(&mut skb.header_mut()?, ethernet);
        // IPv6 has no checksum of its own, but a network card may have summed the whole packet.
        skb.update_device_checksum(LOWERED_BY_ONE);
        Some(())
    }

    /// `ip6_forward` leaves it as it is.
    #[inline(always)]
    fn set_priority(_skb: &mut Skb) {}
}

/// An Ethernet header in front of a packet that came without one: the helpers that redirect take no other.
#[inline(always)]
fn complete<F: Hop>(skb: &mut Skb) -> Result<(), Verdict> {
    if skb.has_ethernet() {
        return Ok(());
    }
    let added = skb.add_ethernet(F::ETHER_TYPE);
    added.map_err(|_| Verdict::Punt(PuntReason::NoMemory))
}

/// For a local endpoint: TTL and MAC addresses, as the host-side veth would have sent it.
#[inline(always)]
pub fn to_endpoint<F: Hop>(skb: &mut Skb, endpoint: &EndpointEntry) -> Result<(), Verdict> {
    complete::<F>(skb)?;
    let macs = (&raw const endpoint.endpoint_mac).cast::<[u32; 3]>();
    // SAFETY: `endpoint_mac` and `host_mac` are adjacent in this repr(C) structure: twelve bytes, at an
    // offset that is a multiple of four.
    let macs = unsafe { *macs };
    F::decrement_ttl(skb, Some(&macs)).ok_or(Verdict::Drop(DropReason::RewriteFailed))?;
    skb.clear_mark();
    Ok(())
}

/// For another node: TTL, and the priority that queueing disciplines and VLANs go by; the kernel writes the Ethernet
/// header when it has resolved the neighbour.
#[inline(always)]
pub fn to_next_hop<F: Hop>(skb: &mut Skb) -> Result<(), Verdict> {
    complete::<F>(skb)?;
    F::decrement_ttl(skb, None).ok_or(Verdict::Drop(DropReason::RewriteFailed))?;
    F::set_priority(skb);
    skb.clear_mark();
    Ok(())
}

/// The MAC addresses of a frame.
#[inline(always)]
pub fn macs(skb: &Skb) -> Option<[u32; 3]> {
    let header = skb.header::<ETHERNET>()?;
    Some([header.word::<0>(), header.word::<4>(), header.word::<8>()])
}

#[inline(always)]
fn set_macs<const N: usize>(header: &mut HeaderMut<'_, N>, ethernet: Option<&[u32; 3]>) {
    if let Some([a, b, c]) = ethernet {
        header.set_word::<0>(*a);
        header.set_word::<4>(*b);
        header.set_word::<8>(*c);
    }
}

/// TTL - 1, with the checksum mended incrementally (RFC 1624; as the kernel's `ip_decrease_ttl`). A header
/// with its checksum always sums to zero, so a checksum over the whole packet stays true.
#[inline(always)]
fn ipv4(header: &mut HeaderMut<'_, IPV4_END>, ethernet: Option<&[u32; 3]>) {
    let ttl = header.read().byte::<22>();
    let checksum = header.read().half::<24>();
    header.set_byte::<22>(ttl.wrapping_sub(1));
    header.set_half::<24>(raised_by_one_ttl(checksum));
    set_macs(header, ethernet);
}

/// The IPv4 header checksum (in network order) after the TTL has gone down by one.
#[inline(always)]
fn raised_by_one_ttl(checksum: u16) -> u16 {
    let sum = u32::from(checksum) + u32::from(0x0100u16.to_be());
    // The carry comes back in at the other end.
    (sum + u32::from(sum >= 0xffff)) as u16
}

/// The priority that an IPv4 packet is forwarded with, by its type of service (`rt_tos2priority` in net/route.h,
/// `ip_tos2prio` in net/ipv4/route.c): best effort, bulk, interactive or interactive bulk, by bits 3 and 4.
#[inline(always)]
fn priority_of(tos: u8) -> u32 {
    const BY_CLASS: u32 = 0x4620;
    let class = u32::from(tos >> 3 & 3);
    BY_CLASS >> (class * 4) & 0xf
}

/// What a sum over a packet gains when its hop limit, the lower byte of a 16-bit word, goes down by one, in network
/// order: in one's complement, subtracting one is adding its complement.
const LOWERED_BY_ONE: u16 = !1u16.to_be();

/// Hop limit - 1.
#[inline(always)]
fn ipv6(header: &mut HeaderMut<'_, IPV6_END>, ethernet: Option<&[u32; 3]>) {
    let hop_limit = header.read().byte::<21>();
    header.set_byte::<21>(hop_limit.wrapping_sub(1));
    set_macs(header, ethernet);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_the_kernels() {
        // `TC_PRIO_*` of linux/pkt_sched.h: 0 best effort, 2 bulk, 6 interactive, 4 interactive bulk.
        for (tos, priority) in [
            (0x00, 0),
            (0x02, 0),
            (0x04, 0),
            (0x08, 2),
            (0x0b, 2),
            (0x10, 6),
            (0x16, 6),
            (0x18, 4),
            (0x1e, 4),
            // The upper bits do not count: EF is 0xb8.
            (0xb8, 4),
            (0xe0, 0),
        ] {
            assert_eq!(priority_of(tos), priority, "{tos:#x}");
        }
    }

    /// One's complement sum of 16-bit words (RFC 1071), of bytes in network order.
    fn sum(bytes: &[u8]) -> u32 {
        let words = bytes
            .chunks(2)
            .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
        let mut sum: u32 = words.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum
    }

    /// A frame with a right IPv4 header of this TTL, whose checksum depends on the identification.
    fn frame(ttl: u8, identification: u16) -> [u8; IPV4_END] {
        let mut frame = [0x11; IPV4_END];
        frame[ETHERNET..].copy_from_slice(&[
            0x45, 0, 0, 40, 0, 0, 0x40, 0, ttl, 6, 0, 0, 10, 0, 1, 2, 10, 0, 2, 2,
        ]);
        frame[18..20].copy_from_slice(&identification.to_be_bytes());
        let checksum = !(sum(&frame[ETHERNET..]) as u16);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        frame
    }

    /// Every checksum there is, the two zeros included, stays right (RFC 1624, section 3).
    #[test]
    fn the_checksum_stays_right() {
        for ttl in [2, 64, 255] {
            for identification in 0..=u16::MAX {
                let mut after = frame(ttl, identification);
                ipv4(&mut HeaderMut::of(&mut after), None);
                assert_eq!(after[22], ttl - 1);
                assert_eq!(sum(&after[ETHERNET..]), 0xffff, "{ttl} {identification}");
            }
        }
    }

    /// As the kernel writes it (`ip_decrease_ttl`), where two values would be right.
    #[test]
    fn the_checksum_is_the_kernels() {
        for (before, after) in [
            (0x0000, 0x0100),
            (0x1234, 0x1334),
            (0xfeff, 0x0000),
            (0xfefe, 0xfffe),
            (0xff00, 0x0001),
            (0xffff, 0x0100),
        ] {
            let found = u16::from_be(raised_by_one_ttl(u16::to_be(before)));
            assert_eq!(found, after, "{before:#06x}");
        }
    }

    #[test]
    fn nothing_else_changes() {
        let before = frame(64, 7);
        let mut after = before;
        ipv4(&mut HeaderMut::of(&mut after), None);
        let kept = (0..IPV4_END).filter(|at| !(22..26).contains(at) || *at == 23);
        assert!(kept.into_iter().all(|at| after[at] == before[at]));
        let mut before = [0x33; IPV6_END];
        let mut after = before;
        ipv6(&mut HeaderMut::of(&mut after), None);
        before[21] = 0x32;
        assert_eq!(after, before);
    }

    #[test]
    fn the_macs_stand_in_front() {
        let macs: [u8; 12] = core::array::from_fn(|at| at as u8);
        let word = |at: usize| u32::from_ne_bytes(core::array::from_fn(|byte| macs[at + byte]));
        let words = [word(0), word(4), word(8)];
        let mut v4 = frame(64, 7);
        ipv4(&mut HeaderMut::of(&mut v4), Some(&words));
        assert_eq!(v4[..12], macs);
        assert_eq!(v4[12..14], [0x11; 2]);
        let mut v6 = [0x33; IPV6_END];
        ipv6(&mut HeaderMut::of(&mut v6), Some(&words));
        assert_eq!(v6[..12], macs);
        assert_eq!(v6[12..14], [0x33; 2]);
    }

    /// What the card summed before, and what it would sum after, differ by this.
    #[test]
    fn a_hop_less_in_a_card_s_sum() {
        let before = [0x11, 64, 0xab, 0xcd];
        let after = [0x11, 63, 0xab, 0xcd];
        let gained = sum(&before) + u32::from(u16::from_be(LOWERED_BY_ONE));
        assert_eq!((gained & 0xffff) + (gained >> 16), sum(&after));
    }
}
