//! Sockets that get a copy of what a namespace delivers.

use std::{
    net::IpAddr,
    os::fd::{AsRawFd, FromRawFd as _, OwnedFd},
};

use netpath_common::Family;
use nix::sys::socket::{SockaddrStorage, recvfrom, setsockopt, sockopt};

/// More than any packet of a test's.
const PACKET_MAX: usize = 4096;

/// Sets an option that is a number, of those that nix has no name for.
pub fn set_option(socket: &impl AsRawFd, level: i32, name: i32, value: i32) {
    // SAFETY: the socket is open, and the value is an int that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    assert_eq!(
        result,
        0,
        "option {level}/{name}: {}",
        std::io::Error::last_os_error()
    );
}

/// Of one protocol.
#[derive(Debug)]
pub struct Raw {
    socket: OwnedFd,
    /// Its number.
    pub protocol: u8,
}

impl Raw {
    /// Of UDP, TCP, and ICMP of a family, in the calling thread's namespace.
    pub fn all(family: Family) -> Vec<Self> {
        let (domain, icmp) = match family {
            Family::V4 => (libc::AF_INET, libc::IPPROTO_ICMP),
            Family::V6 => (libc::AF_INET6, libc::IPPROTO_ICMPV6),
        };
        let open = |protocol| {
            let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            // SAFETY: socket(2) takes three numbers.
            let file = unsafe { libc::socket(domain, kind, protocol) };
            assert!(file >= 0, "a raw socket of protocol {protocol}");
            // SAFETY: the kernel has just given it to this process.
            let socket = unsafe { OwnedFd::from_raw_fd(file) };
            setsockopt(&socket, sockopt::RcvBuf, &(1 << 20)).expect("a buffer");
            let protocol = u8::try_from(protocol).expect("a protocol");
            Self { socket, protocol }
        };
        [libc::IPPROTO_UDP, libc::IPPROTO_TCP, icmp]
            .map(open)
            .into()
    }

    /// The next packet, from its IP header on for IPv4, from the one behind it for IPv6; and where it is from.
    pub fn next(&self) -> Option<(IpAddr, Vec<u8>)> {
        let mut buffer = vec![0; PACKET_MAX];
        match recvfrom::<SockaddrStorage>(self.socket.as_raw_fd(), &mut buffer) {
            Ok((length, from)) => {
                buffer.truncate(length);
                let from = from.expect("it has a source");
                let v4 = from.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
                let v6 = from.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
                Some((v4.or(v6).expect("an address"), buffer))
            }
            Err(nix::Error::EAGAIN) => None,
            Err(error) => panic!("a raw socket: {error}"),
        }
    }
}
