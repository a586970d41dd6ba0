//! Stage 5: what a router changes in a packet. Everything before this stage leaves the packet's bytes as
//! they came.

use netpath_common::{DropReason, EndpointEntry, PuntReason, Verdict};

use crate::{
    access::{HeaderMut, Skb},
    family::{Family, V4, V6},
    parse::{ETHERNET, IPV4_END, IPV6_END, Parsed},
};

/// Cuts what stands behind the packet: the padding of short Ethernet frames, which the kernel removes when
/// it forwards.
#[inline(always)]
pub fn trim_padding<F: Family>(skb: &mut Skb, packet: &Parsed<F>) -> Result<(), Verdict> {
    let frame = ETHERNET as u32 + packet.length;
    if skb.length() > frame {
        skb.trim(frame)
            .map_err(|_| Verdict::Punt(PuntReason::NoMemory))?;
    }
    Ok(())
}

/// How a family counts a hop.
pub trait Hop: Family {
    /// Lowers TTL or hop limit by one, mends the checksums that cover it, and writes the MAC addresses.
    fn decrement_ttl(skb: &mut Skb, ethernet: Option<&[u32; 3]>) -> Option<()>;
}

impl Hop for V4 {
    #[inline(always)]
    fn decrement_ttl(skb: &mut Skb, ethernet: Option<&[u32; 3]>) -> Option<()> {
        ipv4(skb, ethernet)
    }
}

impl Hop for V6 {
    #[inline(always)]
    fn decrement_ttl(skb: &mut Skb, ethernet: Option<&[u32; 3]>) -> Option<()> {
        ipv6(skb, ethernet)
    }
}

/// For a local endpoint: TTL and MAC addresses, as the host-side veth would have sent it.
#[inline(always)]
pub fn to_endpoint<F: Hop>(skb: &mut Skb, endpoint: &EndpointEntry) -> Result<(), Verdict> {
    let macs = (&raw const endpoint.endpoint_mac).cast::<[u32; 3]>();
    // SAFETY: `endpoint_mac` and `host_mac` are adjacent in this repr(C) structure: twelve bytes, at an
    // offset that is a multiple of four.
    let macs = unsafe { *macs };
    F::decrement_ttl(skb, Some(&macs)).ok_or(Verdict::Drop(DropReason::RewriteFailed))?;
    skb.clear_mark();
    Ok(())
}

/// For another node: TTL; the kernel writes the Ethernet header when it has resolved the neighbour.
#[inline(always)]
pub fn to_next_hop<F: Hop>(skb: &mut Skb) -> Result<(), Verdict> {
    F::decrement_ttl(skb, None).ok_or(Verdict::Drop(DropReason::RewriteFailed))?;
    skb.clear_mark();
    Ok(())
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
fn ipv4(skb: &mut Skb, ethernet: Option<&[u32; 3]>) -> Option<()> {
    let mut header = skb.header_mut::<IPV4_END>()?;
    let ttl = header.read().byte::<22>();
    let checksum = header.read().half::<24>();
    header.set_byte::<22>(ttl.wrapping_sub(1));
    header.set_half::<24>(raised_by_one_ttl(checksum));
    set_macs(&mut header, ethernet);
    Some(())
}

/// The IPv4 header checksum (in network order) after the TTL has gone down by one.
#[inline(always)]
fn raised_by_one_ttl(checksum: u16) -> u16 {
    let sum = u32::from(checksum) + u32::from(0x0100u16.to_be());
    // The carry comes back in at the other end.
    (sum + u32::from(sum >= 0xffff)) as u16
}

/// Hop limit - 1. IPv6 has no checksum of its own, but a network card may have summed the whole packet.
#[inline(always)]
fn ipv6(skb: &mut Skb, ethernet: Option<&[u32; 3]>) -> Option<()> {
    let mut header = skb.header_mut::<IPV6_END>()?;
    let hop_limit = header.read().byte::<21>();
    header.set_byte::<21>(hop_limit.wrapping_sub(1));
    set_macs(&mut header, ethernet);
    // One's complement: subtracting one from the 16-bit word is adding its complement.
    skb.update_device_checksum(!1u16.to_be());
    Some(())
}
