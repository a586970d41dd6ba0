//! ICMP and ICMPv6 echo over raw sockets.

mod icmp;
mod report;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    poll::PollFlags,
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind,
            sendto, setsockopt, socket, sockopt::SendTimeout,
        },
        time::TimeVal,
    },
};

pub(super) use self::icmp::Echo;
use self::icmp::{Answer, ECHO_HEADER};
use super::{
    Fragmentation, ProbeError,
    error::io_error,
    frame::ParsedIp,
    pattern,
    socket::{
        DRAIN_MAX, HeaderOptions, check_families, deadline_after, enlarge_buffers, receive,
        report_header_fields, set_header_options, wait,
    },
};
use crate::netns::Netns;

pub use self::report::{IcmpError, PingReport, Refusal, Reply};

/// Largest IPv4 packet and IPv6 payload, in bytes.
const PACKET_MAX: usize = 65_535;

/// Longest wait for room in the socket's send buffer.
const SEND_TIMEOUT_SECONDS: libc::time_t = 1;

/// How to ping.
#[derive(Clone, Debug)]
pub struct PingOptions {
    /// Source address; `None` leaves it to the kernel.
    pub src: Option<IpAddr>,
    /// Requests to send.
    pub count: u16,
    /// Time from one request to the next; zero sends them back to back.
    pub interval: Duration,
    /// How long to wait for answers after the last request. It ends earlier once each has its answer.
    pub timeout: Duration,
    /// Bytes after the ICMP header, at most 65,507 in IPv4 and 65,527 in IPv6.
    pub payload_len: usize,
    /// TTL or hop limit, 1 to 255; `None` for the system's default.
    pub ttl: Option<u8>,
    /// TOS or traffic class: DSCP in the upper 6 bits, ECN in the lower 2.
    pub tos: Option<u8>,
    /// What happens to a packet larger than the path's MTU.
    pub fragmentation: Fragmentation,
}

impl Default for PingOptions {
    /// One request of 56 bytes, waiting at most a second.
    fn default() -> Self {
        Self {
            src: None,
            count: 1,
            interval: Duration::from_millis(10),
            timeout: Duration::from_secs(1),
            payload_len: 56,
            ttl: None,
            tos: None,
            fragmentation: Fragmentation::Allow,
        }
    }
}

/// Pings `dst` from the namespace `from`. It takes at most (count - 1) intervals and one timeout.
///
/// # Errors
/// When the options contradict each other or the socket cannot be used. A packet lost or refused is no error.
pub fn ping(from: &Netns, dst: IpAddr, options: &PingOptions) -> Result<PingReport, ProbeError> {
    let object = format!("ICMP socket to {dst} in {}", from.name());
    let socket = open(from, dst, options, &object)?;
    let run = pattern::run_id();
    let echo = Echo {
        ipv4: dst.is_ipv4(),
        id: (run >> 48) as u16,
        run,
        payload_len: options.payload_len,
    };
    Session {
        socket,
        object,
        echo,
        sent_at: Vec::new(),
        open: BTreeSet::new(),
        replied: BTreeSet::new(),
        report: PingReport::default(),
    }
    .run(dst, options)
}

pub(super) fn open(
    from: &Netns,
    dst: IpAddr,
    options: &PingOptions,
    object: &str,
) -> Result<OwnedFd, ProbeError> {
    let ipv4 = dst.is_ipv4();
    let payload_max = PACKET_MAX - ECHO_HEADER - if ipv4 { 20 } else { 0 };
    if options.payload_len > payload_max {
        return Err(ProbeError::Invalid {
            option: "payload_len",
            reason: format!("{} is more than {payload_max}", options.payload_len),
        });
    }
    let (family, protocol) = if ipv4 {
        (AddressFamily::Inet, SockProtocol::Icmp)
    } else {
        (AddressFamily::Inet6, SockProtocol::IcmpV6)
    };
    let socket = from
        .run(|| socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol))?
        .map_err(|errno| io_error(object, "open raw socket (needs CAP_NET_RAW)", errno))?;
    enlarge_buffers(socket.as_fd(), object)?;
    report_header_fields(socket.as_fd(), ipv4, object)?;
    let header = HeaderOptions {
        ttl: options.ttl,
        tos: options.tos,
        fragmentation: options.fragmentation,
    };
    set_header_options(socket.as_fd(), ipv4, header, object)?;
    setsockopt(&socket, SendTimeout, &TimeVal::new(SEND_TIMEOUT_SECONDS, 0))
        .map_err(|errno| io_error(object, "SO_SNDTIMEO", errno))?;
    if let Some(src) = options.src {
        check_families(src, dst)?;
        let address = SockaddrStorage::from(SocketAddr::new(src, 0));
        bind(socket.as_raw_fd(), &address).map_err(|errno| io_error(object, "bind", errno))?;
    }
    Ok(socket)
}

struct Session {
    socket: OwnedFd,
    object: String,
    echo: Echo,
    /// When each request was sent, by sequence.
    sent_at: Vec<Instant>,
    /// Requests without an answer of any kind.
    open: BTreeSet<u16>,
    replied: BTreeSet<u16>,
    report: PingReport,
}

impl Session {
    fn run(mut self, dst: IpAddr, options: &PingOptions) -> Result<PingReport, ProbeError> {
        let target = SockaddrStorage::from(SocketAddr::new(dst, 0));
        let mut buffer = vec![0; PACKET_MAX];
        let mut next = 0;
        // When to send the next request or, after the last one, when to give up.
        let mut due = Instant::now();
        loop {
            let all_sent = next == options.count;
            if all_sent && self.open.is_empty() {
                return Ok(self.report);
            }
            if !all_sent && Instant::now() >= due {
                self.send(&target, next);
                next += 1;
                let last = next == options.count;
                due = deadline_after(if last {
                    options.timeout
                } else {
                    options.interval
                });
                continue;
            }
            wait(self.socket.as_fd(), PollFlags::POLLIN, None, due)
                .map_err(|errno| io_error(&self.object, "poll", errno))?;
            let over = all_sent && Instant::now() >= due;
            self.drain(&mut buffer)?;
            if over {
                return Ok(self.report);
            }
        }
    }

    fn send(&mut self, target: &SockaddrStorage, sequence: u16) {
        let request = self.echo.request(sequence);
        self.sent_at.push(Instant::now());
        match sendto(self.socket.as_raw_fd(), &request, target, MsgFlags::empty()) {
            Ok(_) => {
                self.report.sent += 1;
                self.open.insert(sequence);
            }
            Err(errno) => self.report.refused.push(Refusal { sequence, errno }),
        }
    }

    /// Takes what has arrived; not for ever, even if others' messages come faster than they are read.
    fn drain(&mut self, buffer: &mut [u8]) -> Result<(), ProbeError> {
        for _ in 0..DRAIN_MAX {
            let Some(datagram) = receive(self.socket.as_fd(), buffer)
                .map_err(|errno| io_error(&self.object, "receive", errno))?
            else {
                return Ok(());
            };
            let arrived = Instant::now();
            let packet = &buffer[..datagram.len];
            let Some(source) = datagram.source.map(|source| source.ip()) else {
                continue;
            };
            // A raw IPv4 socket hands over the IP header too (raw(7)), a raw IPv6 socket does not.
            let (message, ttl) = if self.echo.ipv4 {
                let ip = ParsedIp::parse(packet).map_err(|error| {
                    io_error(&self.object, "read the IP header", io::Error::other(error))
                })?;
                (ip.payload, Some(ip.ttl))
            } else {
                (packet, datagram.ttl)
            };
            let ttl = ttl.ok_or_else(|| {
                let missing = io::Error::other("the kernel did not report it");
                io_error(&self.object, "read the hop limit", missing)
            })?;
            let sent = self.sent_at.len() as u16;
            match self.echo.answer(message, sent) {
                Some(Answer::Reply { sequence, intact }) => {
                    self.open.remove(&sequence);
                    if !intact {
                        self.report.corrupted += 1;
                    } else if self.replied.insert(sequence) {
                        self.report.received += 1;
                        self.report.replies.push(Reply {
                            sequence,
                            source,
                            ttl,
                            rtt: arrived - self.sent_at[usize::from(sequence)],
                        });
                    } else {
                        self.report.duplicates += 1;
                    }
                }
                Some(Answer::Error {
                    sequence,
                    kind,
                    code,
                }) => {
                    self.open.remove(&sequence);
                    self.report.errors.push(IcmpError {
                        sequence,
                        source,
                        ttl,
                        kind,
                        code,
                        message: message.to_vec(),
                    });
                }
                None => {}
            }
        }
        Ok(())
    }
}
