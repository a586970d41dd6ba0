//! A stream of datagrams on one processor: one thread sends a batch, and takes it from the receiving socket before
//! it sends the next, so that the figure is the whole cost of a packet and nothing waits for anybody.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use netpath::{netns::Netns, probe::measure::batch::Batch};
use nix::sys::socket::SockaddrStorage;

use super::{
    ScaleError,
    lab::{Node, io_error, sender},
};
use crate::{Family, cpu, stats::median};

/// Datagrams per system call.
const BATCH: usize = 64;

/// Batches to one list of targets before the other list has its turn: enough for its code and data to be warm, and
/// few enough that both see the same machine.
const TURN: usize = 8;

/// How long a batch may take to arrive before what is missing counts as lost.
const LOST_AFTER: Duration = Duration::from_millis(500);

/// What a stream came to.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    pub sent: u64,
    pub received: u64,
    pub elapsed: Duration,
    /// Nanoseconds per packet of each batch that arrived whole.
    batches: Vec<f64>,
}

impl Flow {
    /// Nanoseconds per packet received.
    pub fn ns(&self) -> f64 {
        self.elapsed.as_secs_f64() * 1e9 / self.received.max(1) as f64
    }

    /// Nanoseconds per packet in the median batch: one that another process interrupted says nothing.
    pub fn batch_ns(&self) -> Option<f64> {
        median(&self.batches)
    }
}

/// The two sockets of a stream between a node's endpoints, whatever the destination's address.
pub struct Sockets {
    tx: UdpSocket,
    rx: UdpSocket,
    port: u16,
}

impl Sockets {
    pub fn open(node: &Node, family: Family) -> Result<Self, ScaleError> {
        let any: IpAddr = match family {
            Family::V4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let rx = bind(&node.b, SocketAddr::new(any, 0))?;
        let tx = bind(&node.a, SocketAddr::new(sender(family), 0))?;
        rx.set_nonblocking(true)
            .map_err(|source| io_error("receiving socket", source))?;
        let port = rx
            .local_addr()
            .map_err(|source| io_error("receiving socket", source))?
            .port();
        Ok(Self { tx, rx, port })
    }

    /// Destinations as this stream's sender wants them.
    pub fn targets(&self, addresses: &[IpAddr]) -> Vec<SockaddrStorage> {
        addresses
            .iter()
            .map(|&address| SocketAddr::new(address, self.port).into())
            .collect()
    }

    /// Sends to two lists of targets in turn, some batches to one and as many to the other, for so long; each list
    /// one after the other and from the start again. What disturbs the machine disturbs both alike.
    pub fn run(
        &self,
        targets: [&[SockaddrStorage]; 2],
        payload: usize,
        duration: Duration,
    ) -> Result<[Flow; 2], ScaleError> {
        let mut batches = [(); 2].map(|()| Batch::new(BATCH, &vec![0x5a; payload]));
        let mut next = [0; 2];
        let mut flows = [Flow::default(), Flow::default()];
        let start = Instant::now();
        while start.elapsed() < duration {
            for (list, flow) in flows.iter_mut().enumerate() {
                for _ in 0..TURN {
                    next[list] = batches[0].aim(targets[list], next[list]);
                    self.one_batch(&mut batches, flow)?;
                }
            }
            // What does not arrive at all is not waited for again and again.
            if flows.iter().any(|flow| flow.received == 0) {
                break;
            }
        }
        Ok(flows)
    }

    /// Sends a batch and waits until it is here.
    fn one_batch(&self, [out, back]: &mut [Batch; 2], flow: &mut Flow) -> Result<(), ScaleError> {
        let start = Instant::now();
        let sent = out
            .send(self.tx.as_fd())
            .map_err(|source| io_error("sendmmsg", source))?;
        let mut missing = sent;
        while missing > 0 {
            match back.receive(self.rx.as_fd()) {
                Ok(got) => missing = missing.saturating_sub(got.count()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if start.elapsed() > LOST_AFTER {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(io_error("recvmmsg", source)),
            }
        }
        let elapsed = start.elapsed();
        flow.elapsed += elapsed;
        flow.sent += sent as u64;
        flow.received += (sent - missing) as u64;
        if missing == 0 && sent == BATCH {
            flow.batches.push(elapsed.as_secs_f64() * 1e9 / sent as f64);
        }
        Ok(())
    }
}

pub fn bind(netns: &Netns, address: SocketAddr) -> Result<UdpSocket, ScaleError> {
    netns
        .run(|| UdpSocket::bind(address))?
        .map_err(|source| io_error(format!("UDP socket {address} in {}", netns.name()), source))
}

/// Keeps the calling thread on a processor, and puts it before other processes' threads there.
pub fn pin(processor: usize) -> Result<(), ScaleError> {
    cpu::pin(processor)
        .map_err(|source| io_error(format!("staying on processor {processor}"), source))?;
    // A thread has a nice value of its own on Linux, and 0 is the calling one.
    // SAFETY: no pointers.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) } {
        0 => Ok(()),
        _ => Err(io_error("setpriority", io::Error::last_os_error())),
    }
}
