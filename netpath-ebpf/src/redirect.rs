//! Stage 6: the redirect itself.

use aya_ebpf::{
    bindings::{bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1},
    helpers::generated::{bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer},
};
use netpath_common::Ifindex;

use crate::fib::NextHop;

/// Into the namespace of the veth peer of `ifindex`, past both backlogs.
#[inline(always)]
pub fn peer(ifindex: Ifindex) -> i32 {
    // SAFETY: a helper on the program's own packet; it looks the index up itself.
    unsafe { bpf_redirect_peer(ifindex.0, 0) as i32 }
}

/// Out of an interface, to a neighbour that the kernel resolves, or to whatever is at the other end.
#[inline(always)]
pub fn next_hop(next_hop: &NextHop) -> i32 {
    match next_hop.family {
        NextHop::BY_ROUTE => by_route(next_hop.ifindex),
        NextHop::BY_DEVICE => by_device(next_hop.ifindex),
        _ => neighbour(next_hop),
    }
}

#[inline(always)]
fn by_route(interface: Ifindex) -> i32 {
    // SAFETY: without parameters none are read.
    unsafe { bpf_redirect_neigh(interface.0, core::ptr::null_mut(), 0, 0) as i32 }
}

/// Out of an interface, as it is.
#[inline(always)]
pub fn by_device(interface: Ifindex) -> i32 {
    // SAFETY: as in `peer`.
    unsafe { bpf_redirect(interface.0, 0) as i32 }
}

#[inline(always)]
fn neighbour(next_hop: &NextHop) -> i32 {
    let mut params = bpf_redir_neigh {
        nh_family: next_hop.family,
        __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 {
            ipv6_nh: next_hop.gateway,
        },
    };
    // SAFETY: params has the kernel's layout and outlives the call.
    unsafe {
        bpf_redirect_neigh(
            next_hop.ifindex.0,
            &raw mut params,
            size_of::<bpf_redir_neigh>() as i32,
            0,
        ) as i32
    }
}

/// Out of the interface that it came in by, as it is.
#[inline(always)]
pub fn back(interface: Ifindex) -> i32 {
    by_device(interface)
}
