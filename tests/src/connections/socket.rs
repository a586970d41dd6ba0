//! Options of sockets that the standard library has no words for.

use std::{io, os::fd::AsFd};

use nix::sys::socket::{setsockopt, sockopt};

/// From now on closing it tells the peer so by RST.
pub fn reset_on_close(socket: &impl AsFd) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&socket.as_fd(), sockopt::Linger, &linger).expect("SO_LINGER");
}

/// Room for all that may come at once.
pub(super) fn make_room(socket: &impl AsFd) {
    setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &(8 << 20)).expect("SO_RCVBUFFORCE");
}

/// Every ICMP error is the socket's, not only those that end a connection (ip(7), ipv6(7)).
pub fn report_errors(socket: &impl AsFd, is_v4: bool) {
    let (level, option) = if is_v4 {
        (libc::IPPROTO_IP, libc::IP_RECVERR)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    };
    set_option(socket, level, option, &1_i32.to_ne_bytes());
}

/// Sets an option of a socket to some bytes.
pub fn set_option(socket: &impl AsFd, level: i32, option: i32, value: &[u8]) {
    use std::os::fd::AsRawFd as _;
    // SAFETY: the socket is open, and `value` outlives the call and has the length stated.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "setsockopt: {}", io::Error::last_os_error());
}
