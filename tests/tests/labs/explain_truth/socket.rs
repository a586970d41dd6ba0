//! Sockets that send what was asked about.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use netpath::kernel_way::{Packet, Transport};
use netpath_common::Family;
use netpath_tests::raw::set_option as set;
use nix::sys::socket::{MsgFlags, SockaddrStorage, bind, connect, sendto};

/// What is sent, as far as sockets can be told.
#[derive(Clone, Debug)]
pub struct Shot {
    /// Source address; `None` leaves it to the kernel.
    pub from: Option<IpAddr>,
    pub packet: Packet,
}

fn open(family: Family, kind: i32, protocol: i32) -> OwnedFd {
    let domain = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket(2) takes three numbers.
    let file = unsafe { libc::socket(domain, kind, protocol) };
    assert!(file >= 0, "a socket: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just given it to this process.
    unsafe { OwnedFd::from_raw_fd(file) }
}

/// A datagram socket of both families that others may share the port of.
pub fn reusable(port: u16) -> UdpSocket {
    let socket = open(Family::V6, libc::SOCK_DGRAM, 0);
    set(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0);
    set(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
    let address = SocketAddr::new(IpAddr::from([0; 16]), port);
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address)).expect("a port");
    socket.into()
}

impl Shot {
    /// Sends it from the calling thread's namespace. What the kernel refuses is nobody's packet: that is what is looked for. The
    /// socket is to stay open while answers may come.
    pub fn send(&self) -> (OwnedFd, nix::Result<()>) {
        let packet = &self.packet;
        let family = packet.family();
        let ends = packet.tuple();
        let (kind, protocol) = match (packet.transport, family) {
            (Transport::Udp { .. }, _) => (libc::SOCK_DGRAM, 0),
            (Transport::Tcp { .. }, _) => (libc::SOCK_STREAM, 0),
            (_, Family::V4) => (libc::SOCK_RAW, libc::IPPROTO_ICMP),
            (_, Family::V6) => (libc::SOCK_RAW, libc::IPPROTO_ICMPV6),
        };
        let socket = open(family, kind, protocol);
        self.apply(&socket);
        let is_echo = matches!(packet.transport, Transport::Icmp { .. });
        let any: IpAddr = match family {
            Family::V4 => [0; 4].into(),
            Family::V6 => [0; 16].into(),
        };
        let port = |port| if is_echo { 0 } else { port };
        let own = SocketAddr::new(self.from.unwrap_or(any), port(ends.source_port));
        if let Err(error) = bind(socket.as_raw_fd(), &SockaddrStorage::from(own)) {
            return (socket, Err(error));
        }
        let to = SockaddrStorage::from(SocketAddr::new(
            ends.destination,
            port(ends.destination_port),
        ));
        let result = match packet.transport {
            Transport::Tcp { .. } => match connect(socket.as_raw_fd(), &to) {
                Err(nix::Error::EINPROGRESS) => Ok(()),
                other => other,
            },
            _ => {
                let flags = MsgFlags::MSG_DONTWAIT;
                sendto(socket.as_raw_fd(), &self.payload(), &to, flags).map(drop)
            }
        };
        (socket, result)
    }

    /// All behind the IP header, or behind UDP's.
    fn payload(&self) -> Vec<u8> {
        let packet = &self.packet;
        let header = match packet.family() {
            Family::V4 => 20,
            Family::V6 => 40,
        };
        let length = packet.length as usize - header;
        match packet.transport {
            Transport::Icmp { kind, code, id } => {
                let [a, b] = id.to_be_bytes();
                let mut echo = vec![kind, code, 0, 0, a, b, 0, 1];
                echo.resize(length, 0);
                // The kernel sums up ICMPv6's itself.
                let sum = netpath::probe::frame::internet_checksum(&echo).to_be_bytes();
                echo[2..4].copy_from_slice(&sum);
                echo
            }
            _ => vec![0; length - 8],
        }
    }

    fn apply(&self, socket: &OwnedFd) {
        let packet = &self.packet;
        let (ttl, tos) = (i32::from(packet.ttl), i32::from(packet.tos));
        set(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
        if packet.mark != 0 {
            set(socket, libc::SOL_SOCKET, libc::SO_MARK, packet.mark as i32);
        }
        let is_tcp = matches!(packet.transport, Transport::Tcp { .. });
        match packet.family() {
            Family::V4 => {
                set(socket, libc::IPPROTO_IP, libc::IP_TTL, ttl);
                set(socket, libc::IPPROTO_IP, libc::IP_TOS, tos);
                if !is_tcp {
                    let how = match packet.dont_fragment {
                        true => libc::IP_PMTUDISC_DO,
                        false => libc::IP_PMTUDISC_DONT,
                    };
                    set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, how);
                }
            }
            Family::V6 => {
                set(socket, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, ttl);
                set(socket, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, tos);
                if !is_tcp {
                    let how = libc::IPV6_PMTUDISC_DONT;
                    set(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, how);
                }
            }
        }
    }
}
