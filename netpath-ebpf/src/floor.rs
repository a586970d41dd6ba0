//! The floor of `netpath bench`: what a fast path cannot be faster than. Its programs look nothing up, check nothing and count nothing;
//! they redirect to the one place that there is.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    missing_docs,
    reason = "the classifier macro writes a second, bare function for each program"
)]

mod object;

use aya_ebpf::{
    Global,
    bindings::TC_ACT_UNSPEC,
    helpers::generated::{bpf_redirect, bpf_redirect_peer},
    macros::classifier,
    programs::TcContext,
};
use network_types::eth::{EthHdr, EtherType};

/// The interface that everything leaves by: a host-side veth, or an uplink.
#[unsafe(no_mangle)]
static IFINDEX: Global<u32> = Global::new(0);

/// The Ethernet addresses of what leaves by an uplink, as they stand in the header.
#[unsafe(no_mangle)]
static ETHERNET: Global<[u32; 3]> = Global::new([0; 3]);

/// IPv4 and IPv6 into the namespace behind a veth, and nothing else.
#[classifier]
pub fn to_peer(ctx: TcContext) -> i32 {
    if !is_ip(&ctx) {
        return TC_ACT_UNSPEC;
    }
    // SAFETY: a helper on the program's own packet; it looks the index up itself.
    unsafe { bpf_redirect_peer(IFINDEX.load(), 0) as i32 }
}

/// IPv4 and IPv6 out of an uplink to one next hop, and nothing else.
#[classifier]
pub fn to_next_hop(ctx: TcContext) -> i32 {
    // A frame without its header does not come here; the verifier does not know.
    if !is_ip(&ctx) || ctx.data() + EthHdr::LEN > ctx.data_end() {
        return TC_ACT_UNSPEC;
    }
    let header = ctx.data() as *mut [u32; 3];
    // SAFETY: the packet has its whole Ethernet header, and nobody else writes to it now. For alignment see `access::Header`.
    unsafe { *header = ETHERNET.load() };
    // SAFETY: as in `to_peer`.
    unsafe { bpf_redirect(IFINDEX.load(), 0) as i32 }
}

/// ARP is left to the kernel: neighbours that cannot find each other would be the end of every path.
#[inline(always)]
fn is_ip(ctx: &TcContext) -> bool {
    // SAFETY: the kernel gives each program a context.
    let protocol = unsafe { (*ctx.skb.skb).protocol } as u16;
    protocol == EtherType::Ipv4 as u16 || protocol == EtherType::Ipv6 as u16
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
