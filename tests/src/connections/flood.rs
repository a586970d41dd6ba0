//! New connections, as many as a pod can make.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsFd as _,
};

use netpath::probe::measure::batch::Batch;
use nix::sys::socket::SockaddrStorage;

use crate::lab::Lab;

/// Datagrams for each system call.
const AT_ONCE: usize = 500;

/// Destination ports of each source port; the first is the first that nobody needs to be asked for.
const FIRST: u16 = 1024;
const PORTS: u16 = 60_000;

/// Sends so many UDP datagrams of each of so many flows, no two of which have the same ports, from an endpoint to a host that
/// answers none. The kernel's tables of the least recently used let go first of what was used only once.
///
/// # Panics
/// When the number is none of whole batches, or the kernel does not take them all.
pub fn flood(
    lab: &Lab,
    from: &str,
    (source, to): (IpAddr, IpAddr),
    (flows, datagrams): (usize, usize),
) {
    assert_eq!(flows % AT_ONCE, 0, "whole batches");
    let targets: Vec<SockaddrStorage> = (FIRST..FIRST + PORTS)
        .map(|port| SocketAddr::new(to, port).into())
        .collect();
    let send = || {
        let mut batch = Batch::new(AT_ONCE, &[0x77; 18]);
        let mut left = flows;
        while left > 0 {
            let socket = UdpSocket::bind((source, 0)).expect("a port");
            let of_this = left.min(targets.len());
            let mut next = 0;
            for _ in 0..of_this / AT_ONCE {
                next = batch.aim(&targets, next);
                for _ in 0..datagrams {
                    let sent = batch.send(socket.as_fd()).expect("sendmmsg");
                    assert_eq!(sent, AT_ONCE, "datagrams that the kernel took");
                }
            }
            left -= of_this;
        }
    };
    lab.inside(from, send);
}
