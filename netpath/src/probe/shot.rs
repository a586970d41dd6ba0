//! Single packets that somebody watches on their way: sent one by one, and nothing is waited for.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, connect, getsockname,
        sendto, socket,
    },
};

use super::{
    Fragmentation, ProbeError,
    error::io_error,
    pattern,
    ping::{self, Echo, PingOptions},
    socket::{HeaderOptions, check_families, set_header_options, set_int},
};
use crate::netns::Netns;

/// What kind of packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// An echo request of the family.
    #[default]
    Icmp,
    /// A UDP datagram.
    Udp,
    /// A TCP segment that opens a connection: one that is accepted is reset at the end.
    Tcp,
}

impl Kind {
    /// Its protocol number in a family (IANA).
    pub fn protocol(self, ipv4: bool) -> u8 {
        match (self, ipv4) {
            (Self::Icmp, true) => 1,
            (Self::Icmp, false) => 58,
            (Self::Tcp, _) => 6,
            (Self::Udp, _) => 17,
        }
    }
}

/// How to send.
#[derive(Clone, Debug)]
pub struct ShotOptions {
    /// What.
    pub kind: Kind,
    /// Source address; `None` leaves it to the kernel. It may be one that the sender has not.
    pub src: Option<IpAddr>,
    /// Source port; 0 leaves it to the kernel.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Bytes behind the transport header; of TCP none are sent.
    pub payload_len: usize,
    /// TTL or hop limit; `None` for the system's default.
    pub ttl: Option<u8>,
    /// What happens to a packet larger than the path's MTU.
    pub fragmentation: Fragmentation,
}

impl Default for ShotOptions {
    /// An echo request of 56 bytes.
    fn default() -> Self {
        Self {
            kind: Kind::Icmp,
            src: None,
            source_port: 0,
            destination_port: 0,
            payload_len: 56,
            ttl: None,
            fragmentation: Fragmentation::Allow,
        }
    }
}

/// Sends packets to one destination.
#[derive(Debug)]
pub struct Shooter {
    object: String,
    options: ShotOptions,
    target: SocketAddr,
    run: u64,
    next: u16,
    /// Each TCP segment has one of its own. They stay open, so that what answers is taken in.
    sockets: Vec<OwnedFd>,
}

impl Shooter {
    /// From a namespace to an address. Nothing is sent yet.
    ///
    /// # Errors
    /// When the options contradict each other, or a socket cannot be had.
    pub fn new(from: &Netns, to: IpAddr, options: ShotOptions) -> Result<Self, ProbeError> {
        if let Some(src) = options.src {
            check_families(src, to)?;
        }
        let object = format!("socket to {to} in {}", from.name());
        let mut shooter = Self {
            object,
            target: SocketAddr::new(to, options.destination_port),
            options,
            run: pattern::run_id(),
            next: 0,
            sockets: Vec::new(),
        };
        if shooter.options.kind != Kind::Tcp {
            let socket = shooter.open(from)?;
            shooter.sockets.push(socket);
        }
        Ok(shooter)
    }

    /// Sends the next one. What the sender's own kernel refuses is no error of the instrument.
    ///
    /// # Errors
    /// When a socket cannot be had.
    pub fn shoot(&mut self, from: &Netns) -> Result<Result<(), Errno>, ProbeError> {
        let sequence = self.next;
        self.next = self.next.wrapping_add(1);
        if self.options.kind == Kind::Tcp {
            let socket = self.open(from)?;
            let connected = connect(socket.as_raw_fd(), &SockaddrStorage::from(self.target));
            self.sockets.push(socket);
            return Ok(match connected {
                Ok(()) | Err(Errno::EINPROGRESS) => Ok(()),
                Err(errno) => Err(errno),
            });
        }
        let Some(socket) = self.sockets.first() else {
            return Ok(Err(Errno::EBADF));
        };
        let (message, target) = match self.options.kind {
            // The port of a raw socket is its protocol.
            Kind::Icmp => (
                self.echo().request(sequence),
                SocketAddr::new(self.target.ip(), 0),
            ),
            Kind::Udp | Kind::Tcp => (self.datagram(sequence), self.target),
        };
        let target = SockaddrStorage::from(target);
        let sent = sendto(
            socket.as_raw_fd(),
            &message,
            &target,
            MsgFlags::MSG_DONTWAIT,
        );
        Ok(sent.map(drop))
    }

    /// The identifier of its echo requests.
    pub fn echo_id(&self) -> u16 {
        self.echo().id
    }

    /// The ports that it sends from: one, but for TCP.
    pub fn source_ports(&self) -> Vec<u16> {
        if self.options.kind == Kind::Icmp {
            return Vec::new();
        }
        let port = |socket: &OwnedFd| {
            let name: SockaddrStorage = getsockname(socket.as_raw_fd()).ok()?;
            let v4 = name.as_sockaddr_in().map(|v4| v4.port());
            v4.or_else(|| name.as_sockaddr_in6().map(|v6| v6.port()))
        };
        self.sockets.iter().filter_map(port).collect()
    }

    fn echo(&self) -> Echo {
        Echo {
            ipv4: self.target.is_ipv4(),
            id: (self.run >> 48) as u16,
            run: self.run,
            payload_len: self.options.payload_len,
        }
    }

    fn datagram(&self, sequence: u16) -> Vec<u8> {
        let mut payload = vec![0; self.options.payload_len];
        let seed = pattern::packet_seed(self.run, sequence.into());
        pattern::fill(seed, 0, &mut payload);
        payload
    }

    fn open(&self, from: &Netns) -> Result<OwnedFd, ProbeError> {
        let ipv4 = self.target.is_ipv4();
        let options = &self.options;
        let socket = match options.kind {
            Kind::Icmp => {
                let ping = PingOptions {
                    payload_len: options.payload_len,
                    ttl: options.ttl,
                    fragmentation: options.fragmentation,
                    ..PingOptions::default()
                };
                ping::open(from, self.target.ip(), &ping, &self.object)?
            }
            Kind::Udp => self.ip_socket(from, SockType::Datagram, ipv4)?,
            Kind::Tcp => self.ip_socket(from, SockType::Stream, ipv4)?,
        };
        self.bind(&socket, ipv4)?;
        Ok(socket)
    }

    fn ip_socket(&self, from: &Netns, kind: SockType, ipv4: bool) -> Result<OwnedFd, ProbeError> {
        let family = match ipv4 {
            true => AddressFamily::Inet,
            false => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = from
            .run(|| socket(family, kind, flags, None))?
            .map_err(|errno| io_error(&self.object, "open", errno))?;
        let header = HeaderOptions {
            ttl: self.options.ttl,
            tos: None,
            fragmentation: self.options.fragmentation,
        };
        set_header_options(socket.as_fd(), ipv4, header, &self.object)?;
        Ok(socket)
    }

    fn bind(&self, socket: &OwnedFd, ipv4: bool) -> Result<(), ProbeError> {
        let options = &self.options;
        let port = match options.kind {
            Kind::Icmp => 0,
            Kind::Udp | Kind::Tcp => options.source_port,
        };
        if options.src.is_none() && port == 0 {
            return Ok(());
        }
        let any = match ipv4 {
            true => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            false => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        // It may be nobody's: whether it is let through is what is to be seen.
        let transparent = match ipv4 {
            true => (libc::SOL_IP, libc::IP_TRANSPARENT),
            false => (libc::SOL_IPV6, libc::IPV6_TRANSPARENT),
        };
        set_int(
            socket.as_fd(),
            transparent,
            1,
            &self.object,
            "IP_TRANSPARENT",
        )?;
        let address = SocketAddr::new(options.src.unwrap_or(any), port);
        bind(socket.as_raw_fd(), &SockaddrStorage::from(address))
            .map_err(|errno| io_error(&self.object, "bind", io::Error::from(errno)))
    }
}
