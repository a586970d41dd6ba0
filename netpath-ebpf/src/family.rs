//! What IPv4 and IPv6 do differently, behind one trait, so that each stage is written once.

use aya_ebpf::btf_maps::lpm_trie::Key;
use netpath_common::{EndpointEntry, RouteEntry};

use crate::{
    access::Skb,
    destination::{ENDPOINTS_V4, ENDPOINTS_V6, ROUTES_V4, ROUTES_V6},
    parse::{self, Parsed},
    redirect::FibLookup,
    rewrite,
};
use netpath_common::Verdict;

/// Kinds of address that no endpoint can have, or that no router forwards.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    /// Any other.
    Unicast,
    /// 224/4, ff00::/8.
    Multicast,
    /// 255.255.255.255.
    Broadcast,
    /// 169.254/16, fe80::/10.
    LinkLocal,
    /// 0.0.0.0 or `::`.
    Unspecified,
    /// The rest of 0/8; 127/8, 240/4, `::1`, and IPv4-mapped addresses.
    Martian,
}

/// An address family.
pub trait Family: Copy {
    /// An address in network order: the key of the endpoint map.
    type Address: Copy + PartialEq;

    /// Checks the headers and copies out what later stages need.
    fn parse(skb: &mut Skb) -> Result<Parsed<Self>, Verdict>;

    /// The endpoint that has exactly this address.
    fn endpoint(address: &Self::Address) -> Option<EndpointEntry>;

    /// The longest prefix of the route table that holds this address.
    fn route(address: &Self::Address) -> Option<RouteEntry>;

    /// What kind of address this is.
    fn classify(address: &Self::Address) -> AddressClass;

    /// The question to put to the kernel's FIB.
    fn fib_question(packet: &Parsed<Self>) -> FibLookup;

    /// Lowers TTL or hop limit by one and mends the checksums that cover it.
    fn decrement_ttl(skb: &mut Skb, ethernet: Option<&[u32; 3]>) -> Option<()>;
}

/// IPv4.
#[derive(Clone, Copy)]
pub struct V4;

/// IPv6.
#[derive(Clone, Copy)]
pub struct V6;

impl Family for V4 {
    type Address = [u8; 4];

    #[inline(always)]
    fn parse(skb: &mut Skb) -> Result<Parsed<Self>, Verdict> {
        parse::ipv4(skb)
    }

    #[inline(always)]
    fn endpoint(address: &[u8; 4]) -> Option<EndpointEntry> {
        // SAFETY: the entry is copied out at once; user space replaces entries as a whole.
        unsafe { ENDPOINTS_V4.get(address) }.copied()
    }

    #[inline(always)]
    fn route(address: &[u8; 4]) -> Option<RouteEntry> {
        ROUTES_V4.get(&Key::new(32, *address)).copied()
    }

    #[inline(always)]
    fn classify(address: &[u8; 4]) -> AddressClass {
        match *address {
            [0, 0, 0, 0] => AddressClass::Unspecified,
            [255, 255, 255, 255] => AddressClass::Broadcast,
            [169, 254, ..] => AddressClass::LinkLocal,
            [224..=239, ..] => AddressClass::Multicast,
            [0 | 127 | 240..=255, ..] => AddressClass::Martian,
            _ => AddressClass::Unicast,
        }
    }

    #[inline(always)]
    fn fib_question(packet: &Parsed<Self>) -> FibLookup {
        FibLookup::v4(packet)
    }

    #[inline(always)]
    fn decrement_ttl(skb: &mut Skb, ethernet: Option<&[u32; 3]>) -> Option<()> {
        rewrite::ipv4(skb, ethernet)
    }
}

impl Family for V6 {
    type Address = [u8; 16];

    #[inline(always)]
    fn parse(skb: &mut Skb) -> Result<Parsed<Self>, Verdict> {
        parse::ipv6(skb)
    }

    #[inline(always)]
    fn endpoint(address: &[u8; 16]) -> Option<EndpointEntry> {
        // SAFETY: as for IPv4.
        unsafe { ENDPOINTS_V6.get(address) }.copied()
    }

    #[inline(always)]
    fn route(address: &[u8; 16]) -> Option<RouteEntry> {
        ROUTES_V6.get(&Key::new(128, *address)).copied()
    }

    #[inline(always)]
    fn classify(address: &[u8; 16]) -> AddressClass {
        match *address {
            [0xff, ..] => AddressClass::Multicast,
            [0xfe, 0x80..=0xbf, ..] => AddressClass::LinkLocal,
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, tail @ ..] => match tail {
                [0, 0, 0, 0, 0, 0] => AddressClass::Unspecified,
                [0, 0, 0, 0, 0, 1] | [0xff, 0xff, ..] => AddressClass::Martian,
                _ => AddressClass::Unicast,
            },
            _ => AddressClass::Unicast,
        }
    }

    #[inline(always)]
    fn fib_question(packet: &Parsed<Self>) -> FibLookup {
        FibLookup::v6(packet)
    }

    #[inline(always)]
    fn decrement_ttl(skb: &mut Skb, ethernet: Option<&[u32; 3]>) -> Option<()> {
        rewrite::ipv6(skb, ethernet)
    }
}
