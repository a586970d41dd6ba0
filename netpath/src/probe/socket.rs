//! What every probe does with its sockets: options, bounded waits, datagrams with their IP header's fields.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        socket::{
            ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
            sockopt::{RcvBufForce, SndBufForce},
        },
        time::TimeSpec,
    },
};

use super::error::{ProbeError, io_error};
use crate::netns::Netns;

/// Room for what a receiver has not read yet. `SO_RCVBUFFORCE` doubles it (socket(7)).
const BUFFER_BYTES: usize = 16 << 20;

/// Datagrams that a receiver takes before it looks at the time again.
pub(super) const DRAIN_MAX: usize = 4096;

/// Longest wait that is computed with; it keeps `Instant` arithmetic from overflowing.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// What happens to a packet larger than the path's MTU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fragmentation {
    /// IPv4: DF clear, routers may fragment. IPv6: the sender fragments to the path MTU it has learnt.
    #[default]
    Allow,
    /// DF set. What exceeds a path MTU learnt earlier is refused before it is sent (`EMSGSIZE`).
    Forbid,
    /// DF set, and a path MTU learnt earlier is not heeded, so that each packet reaches the narrow link.
    Probe,
}

/// What a sender sets in the IP header.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeaderOptions {
    pub(super) ttl: Option<u8>,
    pub(super) tos: Option<u8>,
    pub(super) fragmentation: Fragmentation,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    Ready,
    Stopped,
    TimedOut,
}

/// One received datagram; its bytes are in the buffer that was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram {
    pub(super) len: usize,
    pub(super) source: Option<SocketAddr>,
    pub(super) ttl: Option<u8>,
    pub(super) tos: Option<u8>,
}

/// `wait` from now, at most a year.
pub(super) fn deadline_after(wait: Duration) -> Instant {
    Instant::now() + wait.min(LONGEST_WAIT)
}

/// A UDP socket in `netns`, bound to `address`, with large buffers.
pub(super) fn bind_udp(
    netns: &Netns,
    address: SocketAddr,
    send_timeout: Duration,
) -> Result<(UdpSocket, String), ProbeError> {
    let object = format!("UDP socket {address} in {}", netns.name());
    let socket = netns
        .run(|| UdpSocket::bind(address))?
        .map_err(|source| io_error(&object, "bind", source))?;
    enlarge_buffers(socket.as_fd(), &object)?;
    socket
        .set_write_timeout(Some(send_timeout.max(Duration::from_millis(1))))
        .map_err(|source| io_error(&object, "SO_SNDTIMEO", source))?;
    Ok((socket, object))
}

pub(super) fn enlarge_buffers(fd: BorrowedFd<'_>, object: &str) -> Result<(), ProbeError> {
    setsockopt(&fd, RcvBufForce, &BUFFER_BYTES)
        .map_err(|errno| io_error(object, "SO_RCVBUFFORCE", errno))?;
    setsockopt(&fd, SndBufForce, &BUFFER_BYTES)
        .map_err(|errno| io_error(object, "SO_SNDBUFFORCE", errno))
}

/// Refuses a source and a destination of different families.
pub(super) fn check_families(source: IpAddr, destination: IpAddr) -> Result<(), ProbeError> {
    if source.is_ipv4() == destination.is_ipv4() {
        return Ok(());
    }
    Err(ProbeError::Invalid {
        option: "src",
        reason: format!("{source} cannot reach {destination}: give two addresses of one family"),
    })
}

/// Sets an option whose value is a C int.
pub(super) fn set_int(
    fd: BorrowedFd<'_>,
    option: (libc::c_int, libc::c_int),
    value: libc::c_int,
    object: &str,
    step: &'static str,
) -> Result<(), ProbeError> {
    let length = libc::socklen_t::try_from(size_of_val(&value)).expect("4 fits");
    // SAFETY: the descriptor is borrowed, hence open; `value` lives through the call and has `length` bytes.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            option.0,
            option.1,
            (&raw const value).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io_error(object, step, io::Error::last_os_error()))
    }
}

/// Applies what the sender wants in its IP headers.
pub(super) fn set_header_options(
    fd: BorrowedFd<'_>,
    ipv4: bool,
    options: HeaderOptions,
    object: &str,
) -> Result<(), ProbeError> {
    const IP: libc::c_int = libc::IPPROTO_IP;
    const IPV6: libc::c_int = libc::IPPROTO_IPV6;
    let set = |option, value, step| set_int(fd, option, value, object, step);
    if let Some(ttl) = options.ttl.map(libc::c_int::from) {
        if ipv4 {
            set((IP, libc::IP_TTL), ttl, "IP_TTL")?;
        } else {
            set((IPV6, libc::IPV6_UNICAST_HOPS), ttl, "IPV6_UNICAST_HOPS")?;
        }
    }
    if let Some(tos) = options.tos.map(libc::c_int::from) {
        if ipv4 {
            set((IP, libc::IP_TOS), tos, "IP_TOS")?;
        } else {
            set((IPV6, libc::IPV6_TCLASS), tos, "IPV6_TCLASS")?;
        }
    }
    if ipv4 {
        let discover = match options.fragmentation {
            Fragmentation::Allow => libc::IP_PMTUDISC_DONT,
            Fragmentation::Forbid => libc::IP_PMTUDISC_DO,
            Fragmentation::Probe => libc::IP_PMTUDISC_PROBE,
        };
        set((IP, libc::IP_MTU_DISCOVER), discover, "IP_MTU_DISCOVER")
    } else {
        let discover = match options.fragmentation {
            Fragmentation::Allow => libc::IPV6_PMTUDISC_DONT,
            Fragmentation::Forbid => libc::IPV6_PMTUDISC_DO,
            Fragmentation::Probe => libc::IPV6_PMTUDISC_PROBE,
        };
        let option = (IPV6, libc::IPV6_MTU_DISCOVER);
        set(option, discover, "IPV6_MTU_DISCOVER")
    }
}

/// Asks for the TTL and TOS (hop limit and traffic class) of every datagram received.
pub(super) fn report_header_fields(
    fd: BorrowedFd<'_>,
    ipv4: bool,
    object: &str,
) -> Result<(), ProbeError> {
    const IP: libc::c_int = libc::IPPROTO_IP;
    const IPV6: libc::c_int = libc::IPPROTO_IPV6;
    let set = |option, step| set_int(fd, option, 1, object, step);
    if ipv4 {
        set((IP, libc::IP_RECVTTL), "IP_RECVTTL")?;
        set((IP, libc::IP_RECVTOS), "IP_RECVTOS")
    } else {
        set((IPV6, libc::IPV6_RECVHOPLIMIT), "IPV6_RECVHOPLIMIT")?;
        set((IPV6, libc::IPV6_RECVTCLASS), "IPV6_RECVTCLASS")
    }
}

/// Waits until the descriptor is ready, the other end of `stop` is closed, or the deadline has passed.
/// A ready descriptor comes first.
pub(super) fn wait(
    fd: BorrowedFd<'_>,
    events: PollFlags,
    stop: Option<BorrowedFd<'_>>,
    deadline: Instant,
) -> Result<Wake, Errno> {
    let mut fds = [
        PollFd::new(fd, events),
        // A second entry without events only hears of the hang-up.
        PollFd::new(stop.unwrap_or(fd), PollFlags::empty()),
    ];
    let fds = if stop.is_some() {
        &mut fds[..]
    } else {
        &mut fds[..1]
    };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match ppoll(fds, Some(TimeSpec::from_duration(left)), None) {
            Ok(0) => return Ok(Wake::TimedOut),
            Ok(_) if fds[0].any().unwrap_or(true) => return Ok(Wake::Ready),
            Ok(_) => return Ok(Wake::Stopped),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Takes one datagram without waiting; `None` when there is none.
pub(super) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Option<Datagram>, Errno> {
    let mut control = nix::cmsg_space!(libc::c_int, libc::c_int);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = loop {
        match recvmsg::<SockaddrStorage>(
            fd.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        ) {
            Ok(message) => break message,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    };
    let mut datagram = Datagram {
        len: message.bytes,
        source: message.address.as_ref().and_then(socket_address),
        ttl: None,
        tos: None,
    };
    for control in message.cmsgs()? {
        match control {
            ControlMessageOwned::Ipv4Ttl(value) | ControlMessageOwned::Ipv6HopLimit(value) => {
                datagram.ttl = u8::try_from(value).ok();
            }
            ControlMessageOwned::Ipv4Tos(value) => datagram.tos = Some(value),
            ControlMessageOwned::Ipv6TClass(value) => datagram.tos = u8::try_from(value).ok(),
            _ => {}
        }
    }
    Ok(Some(datagram))
}

/// Packets that this socket itself has lost: its buffer was full, or a checksum was wrong
/// (`SO_MEMINFO`, Linux 4.12).
pub(super) fn socket_drops(fd: BorrowedFd<'_>, object: &str) -> Result<u32, ProbeError> {
    const DROPS: usize = libc::SK_MEMINFO_DROPS as usize;
    let mut values = [0u32; DROPS + 1];
    let mut length = libc::socklen_t::try_from(size_of_val(&values)).expect("36 fits");
    // SAFETY: the descriptor is open; `values` and `length` outlive the call, and `length` is the room there
    // is, which the kernel does not exceed.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(values[DROPS])
    } else {
        Err(io_error(object, "SO_MEMINFO", io::Error::last_os_error()))
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    address
        .as_sockaddr_in6()
        .map(|v6| SocketAddr::V6((*v6).into()))
}
