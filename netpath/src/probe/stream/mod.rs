//! An exact UDP stream: so many datagrams sent, each one accounted for at the other end.

mod datagram;
mod receiver;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsFd as _,
    panic,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use self::{
    datagram::{Datagrams, HEADER},
    receiver::Receiver,
};
use super::{
    Fragmentation, ProbeError,
    error::io_error,
    pattern,
    socket::{
        HeaderOptions, bind_udp, check_families, deadline_after, report_header_fields,
        set_header_options,
    },
};
use crate::netns::Netns;

/// What to send. Start from [`StreamOptions::new`].
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// Source address, in the sender's namespace.
    pub src: IpAddr,
    /// Destination address, in the receiver's namespace.
    pub dst: IpAddr,
    /// Source port; 0 for any free one.
    pub src_port: u16,
    /// Destination port; 0 for any free one.
    pub port: u16,
    /// Datagrams to send.
    pub packets: u64,
    /// UDP payload of each, in bytes: at least [`StreamOptions::PAYLOAD_MIN`], at most 65,507 (IPv6: 65,527).
    pub payload_len: usize,
    /// Most datagrams on their way at any time, so that nothing is lost for want of buffers. `None` sends
    /// without pause: right where the path is expected to drop them.
    pub window: Option<u32>,
    /// After this long without an arrival, what is on its way is taken for lost: a full window moves on, and
    /// a stream whose last datagram was sent is over.
    pub quiet: Duration,
    /// The sender stops after this long, whatever it has sent; the receiver one `quiet` later.
    pub deadline: Duration,
    /// TTL or hop limit, 1 to 255; `None` for the system's default.
    pub ttl: Option<u8>,
    /// TOS or traffic class: DSCP in the upper 6 bits, ECN in the lower 2.
    pub tos: Option<u8>,
    /// What happens to a datagram larger than the path's MTU.
    pub fragmentation: Fragmentation,
}

impl StreamOptions {
    /// Smallest payload: magic number, run and sequence number.
    pub const PAYLOAD_MIN: usize = HEADER;

    /// A hundred datagrams of 64 bytes, at most 64 of them on their way, within ten seconds.
    pub fn new(src: IpAddr, dst: IpAddr) -> Self {
        Self {
            src,
            dst,
            src_port: 0,
            port: 0,
            packets: 100,
            payload_len: 64,
            window: Some(64),
            quiet: Duration::from_millis(500),
            deadline: Duration::from_secs(10),
            ttl: None,
            tos: None,
            fragmentation: Fragmentation::Allow,
        }
    }
}

/// What came of a stream. Counts are datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamReport {
    /// Sender's port.
    pub src_port: u16,
    /// Receiver's port.
    pub port: u16,
    /// Datagrams that the sender's kernel took.
    pub sent: u64,
    /// Intact datagrams of this stream that arrived, duplicates included. The kernel has verified their UDP
    /// checksums, as it does by default.
    pub received: u64,
    /// Different ones among them.
    pub distinct: u64,
    /// Datagrams of this stream with a wrong length, sequence number or content.
    pub corrupted: u64,
    /// Datagrams that are not of this stream.
    pub foreign: u64,
    /// Lost by the receiving socket itself: no room, or a wrong UDP checksum.
    pub socket_drops: u32,
    /// Source addresses of this stream's datagrams as the receiver saw them.
    pub sources: BTreeSet<SocketAddr>,
    /// TTLs or hop limits they arrived with.
    pub ttls: BTreeSet<u8>,
    /// TOS or traffic class bytes they arrived with.
    pub tos: BTreeSet<u8>,
    /// From the first datagram sent to the last one received; without any, to the end of sending.
    pub elapsed: Duration,
}

impl StreamReport {
    /// Datagrams of this stream that were sent and did not arrive intact.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.distinct)
    }

    /// Whether exactly `packets` were sent and each arrived once, intact, with nothing else.
    pub fn is_exact(&self, packets: u64) -> bool {
        [self.sent, self.received, self.distinct] == [packets; 3]
            && (self.corrupted, self.foreign, self.socket_drops) == (0, 0, 0)
    }
}

/// Sends a stream from one namespace to another. The receiver is bound before the first datagram is sent.
///
/// # Errors
/// When the options contradict each other, a socket cannot be used, or the sender's kernel refuses a
/// datagram. Lost datagrams are no error.
pub fn udp_stream(
    from: &Netns,
    to: &Netns,
    options: &StreamOptions,
) -> Result<StreamReport, ProbeError> {
    check(options)?;
    let ipv4 = options.dst.is_ipv4();
    let (socket, object) = bind_udp(
        to,
        SocketAddr::new(options.dst, options.port),
        options.deadline,
    )?;
    report_header_fields(socket.as_fd(), ipv4, &object)?;
    let target = local_address(&socket, &object)?;
    let sender = Sender::open(from, target, options)?;

    let run = pattern::run_id();
    let datagrams = Datagrams {
        run,
        payload_len: options.payload_len,
    };
    let progress = Progress::default();
    let (stop, stopper) = io::pipe().map_err(|source| io_error(&object, "pipe", source))?;
    let receiver = Receiver {
        socket,
        object,
        datagrams,
        packets: options.packets,
        quiet: options.quiet,
        deadline: deadline_after(options.deadline.saturating_add(options.quiet)),
        progress: &progress,
        sender: thread::current(),
    };
    thread::scope(|scope| {
        let receiver = scope.spawn(move || receiver.run(stop));
        let start = Instant::now();
        let result = sender.run(options, datagrams, &progress);
        let sending = start.elapsed();
        // The receiver hears of it as a hang-up; a panic above does the same.
        drop(stopper);
        let arrivals = receiver
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic));
        result?;
        let arrivals = arrivals?;
        Ok(StreamReport {
            src_port: sender.port,
            port: target.port(),
            sent: progress.sent.load(Ordering::Acquire),
            elapsed: arrivals
                .last
                .map_or(sending, |last| last.saturating_duration_since(start)),
            ..arrivals.report
        })
    })
}

/// What sender and receiver tell each other while the stream runs.
#[derive(Debug, Default)]
struct Progress {
    sent: AtomicU64,
    /// Distinct datagrams that have arrived.
    arrived: AtomicU64,
}

struct Sender {
    socket: UdpSocket,
    object: String,
    port: u16,
    target: SocketAddr,
}

impl Sender {
    fn open(from: &Netns, target: SocketAddr, options: &StreamOptions) -> Result<Self, ProbeError> {
        let source = SocketAddr::new(options.src, options.src_port);
        let (socket, object) = bind_udp(from, source, options.deadline)?;
        let header = HeaderOptions {
            ttl: options.ttl,
            tos: options.tos,
            fragmentation: options.fragmentation,
        };
        set_header_options(socket.as_fd(), target.is_ipv4(), header, &object)?;
        let port = local_address(&socket, &object)?.port();
        Ok(Self {
            socket,
            object,
            port,
            target,
        })
    }

    /// The socket is not connected: an ICMP error about an earlier datagram must not stop the stream.
    fn run(
        &self,
        options: &StreamOptions,
        datagrams: Datagrams,
        progress: &Progress,
    ) -> Result<(), ProbeError> {
        let deadline = deadline_after(options.deadline);
        let mut payload = vec![0; options.payload_len];
        // Taken for lost, so that they no longer fill the window.
        let mut given_up = 0;
        for sequence in 0..options.packets {
            if Instant::now() >= deadline {
                return Ok(());
            }
            if let Some(window) = options.window {
                let room = Window {
                    size: window.max(1).into(),
                    quiet: options.quiet,
                    deadline,
                };
                match room.wait(sequence, given_up, progress) {
                    Room::Yes => {}
                    Room::AfterGivingUp(all) => given_up = all,
                    Room::NotInTime => return Ok(()),
                }
            }
            datagrams.write(sequence, &mut payload);
            loop {
                match self.socket.send_to(&payload, self.target) {
                    Ok(_) => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(source) => return Err(io_error(&self.object, "send", source)),
                }
            }
            progress.sent.store(sequence + 1, Ordering::Release);
        }
        Ok(())
    }
}

struct Window {
    size: u64,
    quiet: Duration,
    deadline: Instant,
}

enum Room {
    Yes,
    /// There is room now that this many in all are taken for lost.
    AfterGivingUp(u64),
    NotInTime,
}

impl Window {
    fn wait(&self, sent: u64, given_up: u64, progress: &Progress) -> Room {
        let mut seen = None;
        let mut since = Instant::now();
        loop {
            let arrived = progress.arrived.load(Ordering::Acquire);
            if sent.saturating_sub(arrived + given_up) < self.size {
                return Room::Yes;
            }
            let now = Instant::now();
            if seen != Some(arrived) {
                (seen, since) = (Some(arrived), now);
            }
            let quiet_for = now.saturating_duration_since(since);
            if now >= self.deadline {
                return Room::NotInTime;
            }
            if quiet_for >= self.quiet {
                return Room::AfterGivingUp(sent.saturating_sub(arrived));
            }
            // The receiver unparks this thread with each arrival.
            let left = self.deadline.saturating_duration_since(now);
            thread::park_timeout((self.quiet - quiet_for).min(left));
        }
    }
}

fn check(options: &StreamOptions) -> Result<(), ProbeError> {
    check_families(options.src, options.dst)?;
    // 65,535 less UDP's header and, in IPv4, the IP header.
    let most = if options.dst.is_ipv4() {
        65_507
    } else {
        65_527
    };
    if (HEADER..=most).contains(&options.payload_len) {
        return Ok(());
    }
    Err(ProbeError::Invalid {
        option: "payload_len",
        reason: format!("{} is not between {HEADER} and {most}", options.payload_len),
    })
}

fn local_address(socket: &UdpSocket, object: &str) -> Result<SocketAddr, ProbeError> {
    socket
        .local_addr()
        .map_err(|source| io_error(object, "getsockname", source))
}
