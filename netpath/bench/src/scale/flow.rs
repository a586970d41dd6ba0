//! A stream of datagrams on one processor: one thread sends a batch, and takes it from the receiving socket before
//! it sends the next, so that the figure is the whole cost of a packet and nothing waits for anybody.

use std::{
    io, mem,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    ptr,
    time::{Duration, Instant},
};

use netpath::netns::Netns;

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

/// A destination as sendmmsg wants it.
#[derive(Clone, Copy)]
pub struct Target {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl Target {
    pub fn new(address: IpAddr, port: u16) -> Self {
        // SAFETY: sockaddr_storage holds integers only, for which zero is valid.
        let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let length = match address {
            IpAddr::V4(v4) => {
                let name = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: port.to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(v4.octets()),
                    },
                    sin_zero: [0; 8],
                };
                // SAFETY: sockaddr_storage is made to hold any address, and is aligned for it.
                unsafe { ptr::write((&raw mut storage).cast(), name) };
                size_of_val(&name)
            }
            IpAddr::V6(v6) => {
                let name = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: port.to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.octets(),
                    },
                    sin6_scope_id: 0,
                };
                // SAFETY: as above.
                unsafe { ptr::write((&raw mut storage).cast(), name) };
                size_of_val(&name)
            }
        };
        Self {
            storage,
            length: length as libc::socklen_t,
        }
    }
}

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
    pub fn targets(&self, addresses: &[IpAddr]) -> Vec<Target> {
        addresses
            .iter()
            .map(|&address| Target::new(address, self.port))
            .collect()
    }

    /// Sends to two lists of targets in turn, some batches to one and as many to the other, for so long; each list
    /// one after the other and from the start again. What disturbs the machine disturbs both alike.
    pub fn run(
        &self,
        targets: [&[Target]; 2],
        payload: usize,
        duration: Duration,
    ) -> Result<[Flow; 2], ScaleError> {
        let mut batches = [Batch::new(payload), Batch::new(payload)];
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
            .send(&self.tx)
            .map_err(|source| io_error("sendmmsg", source))?;
        let mut missing = sent;
        while missing > 0 {
            match back.receive(&self.rx) {
                Ok(got) => missing = missing.saturating_sub(got),
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

/// Buffers, with all memory set up beforehand.
struct Batch {
    headers: Vec<libc::mmsghdr>,
    names: Vec<libc::sockaddr_storage>,
    // `headers` point here.
    _slices: Vec<libc::iovec>,
    _buffers: Vec<Vec<u8>>,
}

impl Batch {
    fn new(payload: usize) -> Self {
        let mut buffers = vec![vec![0x5a; payload]; BATCH];
        let mut slices: Vec<_> = buffers
            .iter_mut()
            .map(|buffer| libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            })
            .collect();
        // SAFETY: integers and pointers only, for which zero is valid.
        let mut names: Vec<libc::sockaddr_storage> = vec![unsafe { mem::zeroed() }; BATCH];
        let headers = slices
            .iter_mut()
            .zip(&mut names)
            .map(|(slice, name)| {
                // SAFETY: as above.
                let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
                header.msg_hdr.msg_iov = ptr::from_mut(slice);
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_name = ptr::from_mut(name).cast();
                header
            })
            .collect();
        Self {
            headers,
            names,
            _slices: slices,
            _buffers: buffers,
        }
    }

    /// Sets the destinations, from one target on; returns where to go on.
    fn aim(&mut self, targets: &[Target], mut next: usize) -> usize {
        for (header, name) in self.headers.iter_mut().zip(&mut self.names) {
            let target = &targets[next];
            *name = target.storage;
            header.msg_hdr.msg_namelen = target.length;
            next += 1;
            if next == targets.len() {
                next = 0;
            }
        }
        next
    }

    fn send(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        // SAFETY: the descriptor is open; `headers` and all that they point to are owned by self, which is
        // borrowed for the call, and have the lengths stated.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                0,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        for header in &mut self.headers {
            header.msg_hdr.msg_name = ptr::null_mut();
        }
        // SAFETY: as in `send`; the kernel writes at most `iov_len` bytes to each buffer.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }
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
