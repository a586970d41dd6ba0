//! The programs, instruction by instruction (`struct bpf_insn` of linux/bpf.h, RFC 9669): what they do not do is the point
//! of them.

use netpath_common::Mac;

/// Helpers of `linux/bpf.h`.
const REDIRECT: i32 = 23;
const REDIRECT_PEER: i32 = 155;
/// `TCX_NEXT`: not ours.
const NEXT: i32 = -1;
/// Offsets in `struct __sk_buff`.
const PROTOCOL: i16 = 16;
const DATA: i16 = 76;
const DATA_END: i16 = 80;
/// Length of an Ethernet header.
const ETHERNET: i32 = 14;
/// `ETH_P_IP` and `ETH_P_IPV6` of linux/if_ether.h.
const ETHERTYPES: [u16; 2] = [0x0800, 0x86dd];

const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R4: u8 = 4;
const EXIT: u64 = instruction(0x95, 0, 0, 0, 0);

/// IPv4 and IPv6 into the namespace behind an interface, and nothing else.
pub(super) fn to_peer(ifindex: u32) -> Vec<u64> {
    [only_ip(), redirect(REDIRECT_PEER, ifindex)].concat()
}

/// IPv4 and IPv6 out of an interface to one next hop, and nothing else.
pub(super) fn to_next_hop(ifindex: u32, from: Mac, to: Mac) -> Vec<u64> {
    let [macs @ .., last] = words(from, to);
    let [first, middle, third] = macs;
    let mut program = only_ip();
    program.extend([
        load_word(R2, R1, DATA),
        load_word(R3, R1, DATA_END),
        move_register(R4, R2),
        add(R4, ETHERNET),
        // A frame without its header does not come here; the verifier does not know.
        jump_if_not_above(R4, R3, 2),
        move_immediate(R0, NEXT),
        EXIT,
        store_half(R2, 0, first),
        store_word(R2, 2, middle),
        store_word(R2, 6, third),
        store_half(R2, 10, last),
    ]);
    program.extend(redirect(REDIRECT, ifindex));
    program
}

/// Leaves ARP to the kernel: neighbours that cannot find each other would be the end of every path.
fn only_ip() -> Vec<u64> {
    let [v4, v6] = ETHERTYPES.map(|ethertype| i32::from(ethertype.to_be()));
    vec![
        load_word(R2, R1, PROTOCOL),
        jump_if(R2, v4, 3),
        jump_if(R2, v6, 2),
        move_immediate(R0, NEXT),
        EXIT,
    ]
}

fn redirect(helper: i32, ifindex: u32) -> Vec<u64> {
    vec![
        move_immediate(R1, ifindex.cast_signed()),
        move_immediate(R2, 0),
        instruction(0x85, 0, 0, 0, helper),
        EXIT,
    ]
}

/// Destination and source as the four stores write them: two bytes, four, four, two, each aligned where the packet is.
fn words(from: Mac, to: Mac) -> [i32; 4] {
    let [a, b, c, d, e, f] = to.0;
    let [g, h, i, j, k, l] = from.0;
    [
        i32::from(u16::from_ne_bytes([a, b])),
        i32::from_ne_bytes([c, d, e, f]),
        i32::from_ne_bytes([g, h, i, j]),
        i32::from(u16::from_ne_bytes([k, l])),
    ]
}

const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> u64 {
    let [low, high] = offset.to_ne_bytes();
    let [a, b, c, d] = immediate.to_ne_bytes();
    // The two registers share a byte; the destination has the half that C's bit field has first.
    let registers = if cfg!(target_endian = "little") {
        from << 4 | to
    } else {
        to << 4 | from
    };
    u64::from_ne_bytes([code, registers, low, high, a, b, c, d])
}

fn move_register(to: u8, from: u8) -> u64 {
    instruction(0xbf, to, from, 0, 0)
}

fn move_immediate(to: u8, immediate: i32) -> u64 {
    instruction(0xb7, to, 0, 0, immediate)
}

fn add(to: u8, immediate: i32) -> u64 {
    instruction(0x07, to, 0, 0, immediate)
}

fn load_word(to: u8, from: u8, offset: i16) -> u64 {
    instruction(0x61, to, from, offset, 0)
}

fn store_word(to: u8, offset: i16, immediate: i32) -> u64 {
    instruction(0x62, to, 0, offset, immediate)
}

fn store_half(to: u8, offset: i16, immediate: i32) -> u64 {
    instruction(0x6a, to, 0, offset, immediate)
}

fn jump_if(register: u8, is: i32, over: i16) -> u64 {
    instruction(0x15, register, 0, over, is)
}

/// Unsigned: jumps if one register is not greater than another.
fn jump_if_not_above(register: u8, than: u8, over: i16) -> u64 {
    instruction(0xbd, register, than, over, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_written_in_the_order_of_the_header() {
        let words = words(Mac([7, 8, 9, 10, 11, 12]), Mac([1, 2, 3, 4, 5, 6]));
        let [first, middle, third, last] = words.map(i32::to_ne_bytes);
        let half = |bytes: [u8; 4]| match cfg!(target_endian = "little") {
            true => [bytes[0], bytes[1]],
            false => [bytes[2], bytes[3]],
        };
        let all = [&half(first)[..], &middle, &third, &half(last)].concat();
        assert_eq!(all, (1..=12).collect::<Vec<u8>>());
    }
}
