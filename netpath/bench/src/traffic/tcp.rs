//! What the TCP measures share: sockets in the two namespaces that never wait for ever.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd as _},
    thread,
    time::{Duration, Instant},
};

use netpath::probe::{ProbeError, error::io_error};
use nix::sys::{
    socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, connect as connect_socket, setsockopt,
        socket,
        sockopt::{ReceiveTimeout, SendTimeout, TcpNoDelay},
    },
    time::{TimeVal, TimeValLike as _},
};

use crate::lab::Ends;

/// How long a peer may be silent: longer than TCP needs to send again what a busy machine has dropped a few times,
/// each time after twice as long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A listening socket in the receiver's namespace.
pub(super) struct Server {
    listener: TcpListener,
    /// What a client connects to.
    pub address: SocketAddr,
    pub name: String,
}

impl Server {
    pub fn listen(ends: Ends<'_>) -> Result<Self, ProbeError> {
        let name = format!("TCP listener {} in {}", ends.dst, ends.to.name());
        let failed = |step| {
            let name = name.clone();
            move |source: io::Error| io_error(&name, step, source)
        };
        let listener = ends
            .to
            .run(|| TcpListener::bind((ends.dst, 0)))?
            .map_err(failed("listen"))?;
        // What it accepts inherits them (sk_clone_lock, net/core/sock.c).
        set_options(&listener).map_err(failed("setsockopt"))?;
        let port = listener.local_addr().map_err(failed("getsockname"))?.port();
        let address = SocketAddr::new(ends.target, port);
        Ok(Self {
            listener,
            address,
            name,
        })
    }

    pub fn accept(&self) -> Result<TcpStream, ProbeError> {
        match self.listener.accept() {
            Ok((stream, _)) => Ok(stream),
            Err(source) => Err(self.failed("accept", source)),
        }
    }

    pub fn failed(&self, step: &'static str, source: io::Error) -> ProbeError {
        io_error(&self.name, step, source)
    }
}

/// Connects from the calling thread's namespace, with no more system calls than it takes: some of them are
/// part of what is measured.
pub(super) fn connect(address: SocketAddr) -> Result<TcpStream, io::Error> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    set_options(&socket)?;
    // The send timeout limits it.
    connect_socket(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket.into())
}

fn set_options(socket: &impl AsFd) -> Result<(), io::Error> {
    let patience = TimeVal::milliseconds(PATIENCE.as_millis() as i64);
    setsockopt(socket, ReceiveTimeout, &patience)?;
    setsockopt(socket, SendTimeout, &patience)?;
    Ok(setsockopt(socket, TcpNoDelay, &true)?)
}

/// Waits until no connection is left that might still send: those whose last acknowledgement is on its way when both
/// sides have closed.
pub(super) fn await_closed(ends: Ends<'_>) -> Result<(), ProbeError> {
    let deadline = Instant::now() + PATIENCE;
    for netns in [ends.from, ends.to] {
        while netns
            .run(is_talking)?
            .map_err(|source| io_error(netns.name(), "read /proc/thread-self/net/tcp", source))?
        {
            if Instant::now() > deadline {
                return Err(ProbeError::Deadline {
                    object: netns.name().to_owned(),
                    step: "close its TCP connections",
                    after: PATIENCE,
                });
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Whether the calling thread's namespace has a connection that is neither closed nor only remembered.
fn is_talking() -> io::Result<bool> {
    // The states TCP_TIME_WAIT and TCP_LISTEN of net/tcp_states.h, as proc_net_tcp.txt prints them.
    const SILENT: [&str; 2] = ["06", "0A"];
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}"))?;
        let mut states = text.lines().skip(1).filter_map(state);
        if states.any(|state| !SILENT.contains(&state)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The fourth word of a line: number, local and remote address, state.
fn state(line: &str) -> Option<&str> {
    line.split_whitespace().nth(3)
}

/// The name of a client's socket in errors.
pub(super) fn client_name(ends: Ends<'_>) -> String {
    format!("TCP client to {} in {}", ends.dst, ends.from.name())
}
