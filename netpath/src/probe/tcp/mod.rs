//! A TCP transfer, every byte verified.

#[cfg(test)]
mod tests;

use std::{
    io::{self, ErrorKind, PipeReader, Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    panic, thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::PollFlags,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, getsockopt, socket,
        sockopt::SocketError,
    },
};

use super::{
    ProbeError,
    error::io_error,
    pattern,
    socket::{Wake, check_families, deadline_after, wait},
};
use crate::netns::Netns;

/// Bytes per read or write.
const CHUNK: usize = 64 * 1024;

/// What to transfer. Start from [`TransferOptions::new`].
#[derive(Clone, Debug)]
pub struct TransferOptions {
    /// Source address, in the client's namespace; `None` leaves it to the kernel.
    pub src: Option<IpAddr>,
    /// Destination address, in the server's namespace.
    pub dst: IpAddr,
    /// Server's port; 0 for any free one.
    pub port: u16,
    /// Bytes from client to server.
    pub bytes: u64,
    /// Within this long it must be done, the connection included.
    pub deadline: Duration,
}

impl TransferOptions {
    /// One megabyte, within five seconds.
    pub fn new(dst: IpAddr) -> Self {
        Self {
            src: None,
            dst,
            port: 0,
            bytes: 1_000_000,
            deadline: Duration::from_secs(5),
        }
    }
}

/// A transfer that arrived complete and unaltered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferReport {
    /// Bytes transferred.
    pub bytes: u64,
    /// From the first SYN to the end of the stream at the server.
    pub elapsed: Duration,
    /// From the first SYN to the established connection.
    pub connecting: Duration,
    /// The client's address as the server saw it.
    pub peer: SocketAddr,
    /// The server's address.
    pub server: SocketAddr,
}

/// Transfers bytes from a client in `from` to a server in `to`.
///
/// # Errors
/// When a socket cannot be used, the connection is refused or reset, the deadline passes, or what arrives is
/// not what was sent.
pub fn tcp_transfer(
    from: &Netns,
    to: &Netns,
    options: &TransferOptions,
) -> Result<TransferReport, ProbeError> {
    if let Some(src) = options.src {
        check_families(src, options.dst)?;
    }
    let address = SocketAddr::new(options.dst, options.port);
    let object = format!("TCP server {address} in {}", to.name());
    let listener = to
        .run(|| TcpListener::bind(address))?
        .map_err(|source| io_error(&object, "bind and listen", source))?;
    listener
        .set_nonblocking(true)
        .map_err(|source| io_error(&object, "set non-blocking", source))?;
    let server = listener
        .local_addr()
        .map_err(|source| io_error(&object, "getsockname", source))?;
    let client = format!("TCP client to {server} in {}", from.name());
    let seed = pattern::run_id();
    let (stop, stopper) = io::pipe().map_err(|source| io_error(&object, "pipe", source))?;
    let start = Instant::now();
    let end = |object| End {
        object,
        until: deadline_after(options.deadline),
        deadline: options.deadline,
        bytes: options.bytes,
        seed,
    };
    let (receiving, sending) = (end(object), end(client));
    thread::scope(|scope| {
        let receiver = scope.spawn(move || receiving.receive(&listener, &stop));
        let sent = sending.connect_and_send(from, server, options.src);
        // Ends a server that still waits for a connection.
        drop(stopper);
        let received = receiver
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic));
        let (connected, (peer, finished)) = match (sent, received) {
            (Ok(connected), Ok(received)) => (connected, received),
            // A server that finds a wrong byte resets the connection: its reason comes first.
            (_, Err(error @ ProbeError::Corrupt { .. }))
            | (Err(error), _)
            | (Ok(_), Err(error)) => {
                return Err(error);
            }
        };
        Ok(TransferReport {
            bytes: options.bytes,
            elapsed: finished - start,
            connecting: connected.saturating_duration_since(start),
            peer,
            server,
        })
    })
}

/// What either end of the connection needs to know.
struct End {
    object: String,
    until: Instant,
    deadline: Duration,
    bytes: u64,
    seed: u64,
}

impl End {
    fn error(&self, step: &'static str, source: impl Into<io::Error>) -> ProbeError {
        io_error(&self.object, step, source)
    }

    fn await_ready(
        &self,
        fd: BorrowedFd<'_>,
        events: PollFlags,
        step: &'static str,
    ) -> Result<(), ProbeError> {
        match wait(fd, events, None, self.until).map_err(|errno| self.error("poll", errno))? {
            Wake::Ready => Ok(()),
            Wake::TimedOut | Wake::Stopped => Err(self.too_late(step)),
        }
    }

    fn too_late(&self, step: &'static str) -> ProbeError {
        ProbeError::Deadline {
            object: self.object.clone(),
            step,
            after: self.deadline,
        }
    }

    /// Accepts one connection and verifies its bytes up to the end of the stream.
    fn receive(
        &self,
        listener: &TcpListener,
        stop: &PipeReader,
    ) -> Result<(SocketAddr, Instant), ProbeError> {
        let (mut stream, peer) = loop {
            let wake = wait(
                listener.as_fd(),
                PollFlags::POLLIN,
                Some(stop.as_fd()),
                self.until,
            )
            .map_err(|errno| self.error("poll", errno))?;
            if wake != Wake::Ready {
                return Err(self.too_late("accept a connection"));
            }
            match listener.accept() {
                Ok(accepted) => break accepted,
                Err(error) if is_transient(&error) => {}
                Err(source) => return Err(self.error("accept", source)),
            }
        };
        stream
            .set_nonblocking(true)
            .map_err(|source| self.error("set non-blocking", source))?;
        let mut buffer = vec![0; CHUNK];
        let mut received = 0;
        loop {
            match stream.read(&mut buffer) {
                Ok(0) if received == self.bytes => return Ok((peer, Instant::now())),
                Ok(0) => return Err(self.wrong_length(received)),
                Ok(len) => {
                    let wrong = pattern::first_difference(self.seed, received, &buffer[..len]);
                    if let Some(index) = wrong {
                        return Err(ProbeError::Corrupt {
                            object: self.object.clone(),
                            offset: received + index as u64,
                        });
                    }
                    received += len as u64;
                    if received > self.bytes {
                        return Err(self.wrong_length(received));
                    }
                }
                Err(error) if is_transient(&error) => {
                    self.await_ready(stream.as_fd(), PollFlags::POLLIN, "receive")?;
                }
                Err(source) => return Err(self.error("receive", source)),
            }
        }
    }

    fn wrong_length(&self, received: u64) -> ProbeError {
        ProbeError::Length {
            object: self.object.clone(),
            expected: self.bytes,
            received,
        }
    }

    /// Sends all bytes and closes; returns when the connection was established.
    fn connect_and_send(
        &self,
        from: &Netns,
        server: SocketAddr,
        src: Option<IpAddr>,
    ) -> Result<Instant, ProbeError> {
        let mut stream = self.connect(from, server, src)?;
        let connected = Instant::now();
        let mut buffer = vec![0; CHUNK];
        let mut sent = 0;
        while sent < self.bytes {
            let len = usize::try_from(self.bytes - sent).map_or(CHUNK, |left| left.min(CHUNK));
            pattern::fill(self.seed, sent, &mut buffer[..len]);
            let mut written = 0;
            while written < len {
                match stream.write(&buffer[written..len]) {
                    Ok(count) => written += count,
                    Err(error) if is_transient(&error) => {
                        self.await_ready(stream.as_fd(), PollFlags::POLLOUT, "send")?;
                    }
                    Err(source) => return Err(self.error("send", source)),
                }
            }
            sent += len as u64;
        }
        stream
            .shutdown(Shutdown::Write)
            .map_err(|source| self.error("shut down", source))?;
        // The server closes when it has all; until then this end must not close with data on its way.
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(connected),
                Ok(_) => {}
                Err(error) if is_transient(&error) => {
                    self.await_ready(stream.as_fd(), PollFlags::POLLIN, "wait for the server")?;
                }
                Err(source) => return Err(self.error("wait for the server", source)),
            }
        }
    }

    fn connect(
        &self,
        from: &Netns,
        server: SocketAddr,
        src: Option<IpAddr>,
    ) -> Result<TcpStream, ProbeError> {
        let family = if server.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket: OwnedFd = from
            .run(|| socket(family, SockType::Stream, flags, None))?
            .map_err(|errno| self.error("open socket", errno))?;
        if let Some(src) = src {
            let address = SockaddrStorage::from(SocketAddr::new(src, 0));
            bind(socket.as_raw_fd(), &address).map_err(|errno| self.error("bind", errno))?;
        }
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(server)) {
            Ok(()) => {}
            Err(Errno::EINPROGRESS) => {
                self.await_ready(socket.as_fd(), PollFlags::POLLOUT, "connect")?;
                let error = getsockopt(&socket, SocketError)
                    .map_err(|errno| self.error("SO_ERROR", errno))?;
                if error != 0 {
                    return Err(self.error("connect", Errno::from_raw(error)));
                }
            }
            Err(errno) => return Err(self.error("connect", errno)),
        }
        Ok(TcpStream::from(socket))
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
