//! Random rules of the packet filter, for whoever has the interfaces `r0`, `r1`, ... and the addresses of [`ip`].

mod iptables;
mod nft;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netpath::random::SplitMix64;
use netpath_common::Family;

use self::{iptables::Iptables, nft::Nft};

/// A program with its arguments and its input.
pub type Call = (&'static str, Vec<&'static str>, String);

/// The last number of an address that nobody has.
pub const DEAD: u8 = 99;

/// An address of 10.x.y.z, or of fd00:x:y::z.
pub fn ip(family: Family, [x, y, z]: [u8; 3]) -> IpAddr {
    let hex = |decimal: u8| u16::from_str_radix(&decimal.to_string(), 16).expect("digits");
    match family {
        Family::V4 => Ipv4Addr::new(10, x, y, z).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, hex(x), hex(y), 0, 0, 0, 0, hex(z)).into(),
    }
}

/// All of 10.x, or of fd00:x.
pub fn wide(family: Family, x: u8) -> String {
    let length = if family == Family::V4 { 16 } else { 32 };
    format!("{}/{length}", ip(family, [x, 0, 0]))
}

/// All of 10.x.y, or of fd00:x:y.
pub fn narrow(family: Family, [x, y]: [u8; 2]) -> String {
    let length = if family == Family::V4 { 24 } else { 48 };
    format!("{}/{length}", ip(family, [x, y, 0]))
}

/// Any of these.
pub fn one<T: Copy>(random: &mut SplitMix64, of: &[T]) -> T {
    of[random.below(of.len())]
}

/// So often of a hundred times.
pub fn chance(random: &mut SplitMix64, percent: usize) -> bool {
    random.below(100) < percent
}

/// Rules of `iptables` of either kind, and of `nft`.
pub fn netfilter(family: Family, random: &mut SplitMix64) -> Vec<Call> {
    let mut calls = Vec::new();
    if chance(random, 75) {
        let legacy = chance(random, 30);
        let program = match (family, legacy) {
            (Family::V4, false) => "iptables-nft-restore",
            (Family::V6, false) => "ip6tables-nft-restore",
            (Family::V4, true) => "iptables-legacy-restore",
            (Family::V6, true) => "ip6tables-legacy-restore",
        };
        let mut iptables = Iptables {
            family,
            legacy,
            random,
        };
        calls.push((program, Vec::new(), iptables.all()));
    }
    if chance(random, 60) {
        let own = if family == Family::V4 { "ip" } else { "ip6" };
        let mut nft = Nft {
            family,
            table: one(random, &["inet", own]),
            random,
        };
        calls.push(("nft", vec!["-f", "-"], nft.all()));
    }
    calls
}
