//! ICMPv6 Packet Too Big (RFC 4443, section 3.2), in the place of the packet that it is about.
//!
//! For what does not fit a device the kernel sends it before it asks filter FORWARD, and the packet is left to the kernel.
//! What it has only learnt of a path (an ICMP error to the node itself), it heeds when it sends: behind FORWARD, where a
//! policy of DROP has the packet vanish. `ip6_fragment` in net/ipv6/ip6_output.c is what this stands for.

use crate::{
    access::{Skb, View as _, sum_of},
    family::V6,
    fib,
    parse::{ETHERNET, IPV6_END, Parsed},
};

/// The packet is as it was, and the kernel's.
pub const LEFT: u32 = 0;
/// The packet has become the answer.
pub const ANSWERED: u32 = 1;
/// It was changed, and is not complete.
pub const BROKEN: u32 = 2;

/// The least MTU of IPv6, which an answer must not exceed (RFC 4443, section 2.4 c).
const LEAST_MTU: usize = 1280;
/// Length of the IPv6 and ICMPv6 headers of an answer.
const HEADERS: usize = 40 + 8;
/// How much it quotes: all that fits, for what it is about is longer.
const QUOTED: usize = LEAST_MTU - HEADERS;
/// Length of its frame.
const FRAME: usize = ETHERNET + LEAST_MTU;
/// Length of what ICMPv6's checksum covers beside the addresses.
const MESSAGE: usize = LEAST_MTU - 40;

/// Protocol numbers (IANA).
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
/// The first ICMPv6 type that is no error.
const ICMPV6_ECHO: u8 = 128;
/// As the kernel's own (`IPV6_DEFAULT_HOPLIMIT`).
const HOP_LIMIT: u8 = 64;

/// Answers a packet that does not fit `mtu` bytes: [`LEFT`], [`ANSWERED`] or [`BROKEN`].
#[inline(never)]
pub fn answer(skb: &mut Skb, packet: &Parsed<V6>, mtu: u32) -> u32 {
    let mtu = mtu.max(LEAST_MTU as u32);
    // Without an Ethernet header there is nothing to send it back by.
    if packet.length <= mtu || !skb.has_ethernet() || !deserves_one(skb) {
        return LEFT;
    }
    let Some(own) = fib::own_address_towards(skb, packet) else {
        return LEFT;
    };
    if skb.trim((ETHERNET + QUOTED) as u32).is_err() {
        return LEFT;
    }
    if skb.make_room(HEADERS as u32).is_err() {
        return BROKEN;
    }
    let Ok(mut frame) = skb.writable::<FRAME>() else {
        return BROKEN;
    };
    let (to, from) = (fib::words(packet.source), own);
    let header = frame.read();
    let [a, b, c] = [header.half::<6>(), header.half::<8>(), header.half::<10>()];
    let [d, e, f] = [header.half::<0>(), header.half::<2>(), header.half::<4>()];
    frame.set_half::<0>(a);
    frame.set_half::<2>(b);
    frame.set_half::<4>(c);
    frame.set_half::<6>(d);
    frame.set_half::<8>(e);
    frame.set_half::<10>(f);
    frame.set_word::<14>(0x6000_0000u32.to_be());
    frame.set_half::<18>((MESSAGE as u16).to_be());
    frame.set_byte::<20>(ICMPV6);
    frame.set_byte::<21>(HOP_LIMIT);
    frame.set_word::<22>(from[0]);
    frame.set_word::<26>(from[1]);
    frame.set_word::<30>(from[2]);
    frame.set_word::<34>(from[3]);
    frame.set_word::<38>(to[0]);
    frame.set_word::<42>(to[1]);
    frame.set_word::<46>(to[2]);
    frame.set_word::<50>(to[3]);
    // Type 2, code 0, and a checksum of 0 until it is known.
    frame.set_word::<IPV6_END>(0x0200_0000u32.to_be());
    frame.set_word::<58>(mtu.to_be());
    // It is about the packet as it would leave.
    let hop_limit = frame.read().byte::<{ IPV6_END + 8 + 7 }>();
    frame.set_byte::<{ IPV6_END + 8 + 7 }>(hop_limit.wrapping_sub(1));
    let [pseudo_length, pseudo_protocol] = [(MESSAGE as u32).to_be(), u32::from(ICMPV6).to_be()];
    let sum = sum_of(&[
        from[0],
        from[1],
        from[2],
        from[3],
        to[0],
        to[1],
        to[2],
        to[3],
        pseudo_length,
        pseudo_protocol,
    ]);
    // The helper takes half a kilobyte at once.
    let sum = frame.sum::<IPV6_END, 512>(sum);
    let sum = frame.sum::<{ IPV6_END + 512 }, 512>(sum);
    let sum = frame.sum::<{ IPV6_END + 1024 }, { MESSAGE - 1024 }>(sum);
    frame.set_half::<56>(folded(sum));
    ANSWERED
}

/// Whether ICMPv6 errors may be sent about it: not about others (RFC 4443, section 2.4 e), and of rarer things the kernel
/// knows.
#[inline(always)]
fn deserves_one(skb: &Skb) -> bool {
    let Some([protocol]) = skb.copy((ETHERNET + 6) as u32) else {
        return false;
    };
    let Some([kind]) = skb.copy(IPV6_END as u32) else {
        return false;
    };
    matches!(protocol, TCP | UDP) || (protocol == ICMPV6 && kind >= ICMPV6_ECHO)
}

/// The checksum of a sum (RFC 1071).
#[inline(always)]
fn folded(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_folded_with_their_carries() {
        for (sum, checksum) in [
            (0, 0xffff),
            (0xffff, 0),
            (0x0001_0000, 0xfffe),
            (0x0001_ffff, 0xfffe),
            (0xffff_ffff, 0),
            (0x1234_5678, !0x68ac),
        ] {
            assert_eq!(folded(sum), checksum, "{sum:#x}");
        }
    }
}
