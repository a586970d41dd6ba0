//! How soon a change takes effect: one thread sends as fast as it can; another makes the change and reads, from the
//! kernel's receive timestamps, when the first packet arrived that took the new way.
//!
//! For another next hop, the new way is another interface into the receiving endpoint. For a prefix or an endpoint that
//! appears in netpath's table, FORWARD drops what netpath does not take, so that nothing arrives before.

use std::{
    io, mem,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use netpath::{
    lock::TopologyLock,
    netlink::{KnownRoutes, Netlink, NewRoute, Replace},
    probe::measure::StopOnDrop,
    random::SplitMix64,
};
use nix::{
    sys::socket::{setsockopt, sockopt},
    time::{ClockId, clock_gettime},
};

use super::{
    Run, ScaleError,
    flow::{bind, pin},
    lab::{Node, UPLINKS, hold, io_error, next_hop, receiver, sender},
    population,
    results::{ChangeKind, Reaction},
};
use crate::{Family, Path};

/// Longest wait for the first packet.
const PATIENCE: Duration = Duration::from_secs(5);

/// Measures every change in each round.
pub fn measure(
    run: &mut Run<'_>,
    fast: &mut Node,
    kernel: &mut Node,
) -> Result<Vec<Reaction>, ScaleError> {
    let mut reactions = Vec::new();
    for round in 0..run.options.rounds {
        for family in [Family::V4, Family::V6] {
            for (path, change) in [
                (Path::Netpath, ChangeKind::NextHop),
                (Path::Kernel, ChangeKind::NextHop),
                (Path::Netpath, ChangeKind::Prefix),
                (Path::Netpath, ChangeKind::Endpoint),
            ] {
                run.step("reactions", || format!("round {}", round + 1))?;
                let node = match path {
                    Path::Kernel => &mut *kernel,
                    _ => &mut *fast,
                };
                let seed = run.options.seed + u64::from(round);
                let found = Trial::new(node, family, change, seed)?.measure(run)?;
                reactions.push(Reaction {
                    round,
                    path,
                    change,
                    family,
                    request_ns: found.request,
                    first_packet_ns: found.first_packet,
                    interval_ns: found.interval,
                });
            }
        }
    }
    Ok(reactions)
}

/// One change under a stream of its own.
struct Trial<'a> {
    node: &'a mut Node,
    family: Family,
    change: ChangeKind,
    /// What appears, or is routed elsewhere.
    prefix: IpNet,
    /// The node's routes before the change.
    known: KnownRoutes,
    tx: UdpSocket,
    /// Hears what takes the new way.
    rx: UdpSocket,
    /// Hears what takes the old way, if anything does.
    old: Option<UdpSocket>,
}

/// In nanoseconds.
struct Found {
    request: u64,
    first_packet: u64,
    interval: u64,
}

impl<'a> Trial<'a> {
    fn new(
        node: &'a mut Node,
        family: Family,
        change: ChangeKind,
        seed: u64,
    ) -> Result<Self, ScaleError> {
        let any: IpAddr = match family {
            Family::V4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let prefix = match change {
            ChangeKind::NextHop | ChangeKind::Prefix => population::prefixes(family, 1, seed)[0],
            ChangeKind::Endpoint => IpNet::from(population::endpoints(family, 1, seed)[0]),
        };
        let (rx, old) = if change == ChangeKind::NextHop {
            let bound = |port, dev: &str| {
                let netns = &node.b;
                let socket = netns.run(|| -> Result<_, ScaleError> {
                    let fail =
                        |errno: nix::Error| io_error(format!("socket on {dev}"), errno.into());
                    let socket = unbound(family)?;
                    setsockopt(&socket, sockopt::BindToDevice, &dev.into()).map_err(fail)?;
                    bind_to(&socket, SocketAddr::new(any, port))?;
                    Ok(socket)
                })??;
                Ok::<_, ScaleError>(socket)
            };
            let old = bound(0, UPLINKS[0])?;
            (bound(port_of(&old)?, UPLINKS[1])?, Some(old))
        } else {
            (bind(&node.b, SocketAddr::new(any, 0))?, None)
        };
        for socket in [Some(&rx), old.as_ref()].into_iter().flatten() {
            prepare(socket)?;
        }
        let tx = bind(&node.a, SocketAddr::new(sender(family), 0))?;
        // A full queue is no reason to wait, nor is an ICMP error one to stop.
        tx.set_nonblocking(true)
            .map_err(|source| io_error("sending socket", source))?;
        Ok(Self {
            node,
            family,
            change,
            prefix,
            known: KnownRoutes::default(),
            tx,
            rx,
            old,
        })
    }

    fn measure(mut self, run: &Run<'_>) -> Result<Found, ScaleError> {
        self.reset()?;
        let mut random = SplitMix64::new(run.options.seed);
        let target = SocketAddr::new(
            population::inside(self.prefix, &mut random),
            port_of(&self.rx)?,
        );
        let tx = self
            .tx
            .try_clone()
            .map_err(|source| io_error("sending socket", source))?;
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let processor = run.processor;
        let payload = vec![0x5a; run.options.udp_payload as usize];
        let result = thread::scope(|scope| {
            let _stop = StopOnDrop(&stop);
            scope.spawn(|| -> Result<(), ScaleError> {
                pin(processor)?;
                while !stop.load(Ordering::Relaxed) {
                    // What is refused was not sent, and the next one is.
                    if tx.send_to(&payload, target).is_ok() {
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(())
            });
            self.under_way(&sent)
        });
        self.reset()?;
        result
    }

    /// Makes the change while the stream runs.
    fn under_way(&mut self, sent: &AtomicU64) -> Result<Found, ScaleError> {
        let deadline = Instant::now() + PATIENCE;
        let late = |what: &str| ScaleError::Lab {
            what: format!("{what} within {PATIENCE:?}"),
        };
        let begun = Instant::now();
        // The stream is under way, and on the old way where there is one.
        let mut heard = self.old.is_none();
        while !heard || sent.load(Ordering::Relaxed) < 1000 {
            heard = heard || self.old.as_ref().map_or(Ok(None), arrival)?.is_some();
            if Instant::now() > deadline {
                return Err(late("no stream"));
            }
        }
        if arrival(&self.rx)?.is_some() {
            return Err(ScaleError::Lab {
                what: format!("{} is reached before it is routed", self.prefix),
            });
        }
        let lock = hold()?;
        let before = now()?;
        self.apply(&lock)?;
        let answered = now()?;
        let first = loop {
            if let Some(first) = arrival(&self.rx)? {
                break first;
            }
            if Instant::now() > deadline {
                return Err(late("no packet took the new way"));
            }
        };
        let packets = sent.load(Ordering::Relaxed).max(1);
        let elapsed = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Ok(Found {
            request: answered.saturating_sub(before),
            first_packet: first.saturating_sub(before),
            interval: elapsed / packets,
        })
    }

    fn apply(&mut self, lock: &TopologyLock) -> Result<(), ScaleError> {
        match self.change {
            ChangeKind::NextHop => self.route_via(1),
            ChangeKind::Prefix => Ok(self
                .node
                .datapath
                .writer(lock)
                .set_remote_routes(&[self.prefix])?),
            ChangeKind::Endpoint => {
                let entry = self.node.entry(receiver(self.family))?;
                Ok(self
                    .node
                    .datapath
                    .writer(lock)
                    .set_endpoint(self.prefix.addr(), &entry)?)
            }
        }
    }

    /// As it was before the change.
    fn reset(&mut self) -> Result<(), ScaleError> {
        let lock = hold()?;
        match self.change {
            ChangeKind::NextHop => {
                self.route_via(0)?;
                let netlink = self.node.netns.enter(Netlink::open)??;
                // So that the change is one request.
                self.known = netlink.known_routes()?;
                Ok(self
                    .node
                    .datapath
                    .writer(&lock)
                    .set_remote_routes(&[self.prefix])?)
            }
            ChangeKind::Prefix => Ok(self.node.datapath.writer(&lock).remove_route(self.prefix)?),
            ChangeKind::Endpoint => Ok(self
                .node
                .datapath
                .writer(&lock)
                .remove_endpoint(self.prefix.addr())?),
        }
    }

    fn route_via(&mut self, uplink: u8) -> Result<(), ScaleError> {
        let route = NewRoute {
            dst: self.prefix,
            via: Some(next_hop(self.family, uplink)),
            ifindex: None,
            onlink: false,
            source: None,
        };
        let known = &self.known;
        Ok(self.node.netns.enter(|inside| {
            Netlink::open(inside)?.add_route_among(known, &route, Replace::Ours)
        })??)
    }
}

fn unbound(family: Family) -> Result<UdpSocket, ScaleError> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let domain = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    socket(domain, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map(UdpSocket::from)
        .map_err(|errno| io_error("UDP socket", errno.into()))
}

fn bind_to(socket: &UdpSocket, address: SocketAddr) -> Result<(), ScaleError> {
    let storage = nix::sys::socket::SockaddrStorage::from(address);
    nix::sys::socket::bind(socket.as_raw_fd(), &storage)
        .map_err(|errno| io_error(format!("bind to {address}"), errno.into()))
}

fn port_of(socket: &UdpSocket) -> Result<u16, ScaleError> {
    socket
        .local_addr()
        .map(|address| address.port())
        .map_err(|source| io_error("receiving socket", source))
}

/// Timestamps, room for what the old way brings meanwhile, and no waiting.
fn prepare(socket: &UdpSocket) -> Result<(), ScaleError> {
    let fail = |errno: nix::Error| io_error("receiving socket", errno.into());
    setsockopt(&socket.as_fd(), sockopt::ReceiveTimestampns, &true).map_err(fail)?;
    setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &(1 << 20)).map_err(fail)?;
    socket
        .set_nonblocking(true)
        .map_err(|source| io_error("receiving socket", source))
}

/// Takes one packet, if there is one; returns when the kernel received it, in nanoseconds since 1970.
fn arrival(socket: &UdpSocket) -> Result<Option<u64>, ScaleError> {
    let mut buffer = [0u8; 2048];
    let mut control = [0u64; 16];
    let mut slice = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: integers and pointers only, for which zero is valid.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: the socket is open, and all that the header points to outlives the call with the sizes stated.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    if got < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
            _ => Err(io_error("receiving socket", error)),
        };
    }
    // SAFETY: the kernel has filled in the control messages and their length.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() };
    while let Some(found) = header {
        if (found.cmsg_level, found.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
            // SAFETY: this kind of control message holds one timespec, not necessarily aligned.
            let time: libc::timespec =
                unsafe { std::ptr::read_unaligned(libc::CMSG_DATA(found).cast()) };
            return Ok(Some(nanoseconds(time.tv_sec, time.tv_nsec)));
        }
        // SAFETY: as for the first.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, found).as_ref() };
    }
    Err(ScaleError::Lab {
        what: "a packet came without a timestamp".to_owned(),
    })
}

/// The clock of the kernel's receive timestamps.
fn now() -> Result<u64, ScaleError> {
    clock_gettime(ClockId::CLOCK_REALTIME)
        .map(|time| nanoseconds(time.tv_sec(), time.tv_nsec()))
        .map_err(|errno| io_error("clock", errno.into()))
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0) * 1_000_000_000 + u64::try_from(nanoseconds).unwrap_or(0)
}
