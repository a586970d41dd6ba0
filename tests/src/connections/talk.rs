//! One conversation between two ends, of which every byte is checked at both.

use std::{
    collections::BTreeSet,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{reset_on_close, socket::make_room};
use crate::{
    kernel::more_than_enough,
    lab::{Deadline, Lab},
};

/// Far longer than anything here takes; what has not come until then is lost.
pub fn patience() -> Duration {
    more_than_enough(Duration::from_secs(5))
}

/// How long a server waits before it looks whether its client has given up.
const TICK: Duration = Duration::from_millis(20);

/// Who speaks with whom.
#[derive(Clone, Copy, Debug)]
pub struct Talk<'a> {
    /// Where both are.
    pub lab: &'a Lab,
    /// The client's namespace.
    pub client: &'static str,
    /// Whom it speaks to, as far as it knows.
    pub to: SocketAddr,
    /// The server's namespace.
    pub server: &'static str,
    /// Where the server listens.
    pub at: SocketAddr,
}

/// How a TCP connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Each side says that it has no more to say.
    Fin,
    /// The client resets it.
    ClientResets,
    /// The server resets it.
    ServerResets,
}

impl End {
    /// Every end.
    pub const ALL: [Self; 3] = [Self::Fin, Self::ClientResets, Self::ServerResets];
}

/// What the server was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Who spoke to it, by the addresses of the packets.
    pub clients: BTreeSet<IpAddr>,
}

impl Talk<'_> {
    /// Asks so many times by UDP, each time with as many bytes, and waits for the answer before the next.
    ///
    /// # Errors
    /// When one is not answered, the answer is another, or comes from another address than was spoken to.
    pub fn udp(&self, requests: usize, length: usize) -> io::Result<Told> {
        let server = self.open(UdpSocket::bind);
        make_room(&server);
        server.set_read_timeout(Some(TICK))?;
        self.beside(
            |given_up| serve_datagrams(&server, requests, length, given_up),
            || {
                let socket = UdpSocket::bind(wildcard(self.to))?;
                make_room(&socket);
                socket.set_read_timeout(Some(patience()))?;
                for number in 0..requests {
                    self.ask(&socket, number, length)?;
                }
                Ok(())
            },
        )
    }

    fn ask(&self, socket: &UdpSocket, number: usize, length: usize) -> io::Result<()> {
        socket.send_to(&request(number, length), self.to)?;
        let mut buffer = vec![0; 1 << 16];
        let (got, from) = socket.recv_from(&mut buffer)?;
        if from != self.to {
            return Err(other(format!("the answer to {} is from {from}", self.to)));
        }
        same("the answer", &buffer[..got], &reply(number, length))
    }

    /// Whether a datagram arrives.
    pub fn arrives(&self) -> bool {
        let server = self.open(UdpSocket::bind);
        let send = || {
            let socket = UdpSocket::bind(wildcard(self.to)).expect("a port");
            socket.send_to(b"anybody there?", self.to)
        };
        if self.lab.inside(self.client, send).is_err() {
            return false;
        }
        readable(&server, Duration::from_millis(200)).expect("poll")
    }

    /// Sends so many bytes each way by TCP.
    ///
    /// # Errors
    /// When it is not connected, other bytes arrive, or it does not end as it should on both sides.
    pub fn tcp(&self, length: usize, end: End) -> io::Result<Told> {
        let listener = self.open(TcpListener::bind);
        self.beside(
            |given_up| serve_stream(&listener, length, end, given_up),
            || {
                let mut stream = TcpStream::connect_timeout(&self.to, patience())?;
                stream.set_read_timeout(Some(patience()))?;
                stream.write_all(&request(0, length))?;
                let mut answer = vec![0; length];
                stream.read_exact(&mut answer)?;
                same("the answer", &answer, &reply(0, length))?;
                match end {
                    End::Fin => {
                        stream.shutdown(std::net::Shutdown::Write)?;
                        ends_with(&mut stream, None)
                    }
                    End::ClientResets => {
                        reset_on_close(&stream);
                        Ok(())
                    }
                    End::ServerResets => {
                        stream.write_all(b"!")?;
                        ends_with(&mut stream, Some(ErrorKind::ConnectionReset))
                    }
                }
            },
        )
    }

    /// The server's socket. One that was closed just now may live on for a moment in a process that another thread is starting.
    fn open<T: Send>(&self, bind: impl Fn(SocketAddr) -> io::Result<T> + Sync) -> T {
        let deadline = Deadline::new();
        loop {
            match self.lab.inside(self.server, || bind(self.at)) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    deadline.check(|| format!("{} is never free", self.at));
                }
                socket => return socket.expect("a socket"),
            }
        }
    }

    /// A server and its client, which ends first if it fails.
    fn beside(
        &self,
        serve: impl FnOnce(&AtomicBool) -> io::Result<Told> + Send,
        ask: impl FnOnce() -> io::Result<()> + Send,
    ) -> io::Result<Told> {
        let given_up = AtomicBool::new(false);
        thread::scope(|scope| {
            let serving = scope.spawn(|| serve(&given_up));
            let asked = self.lab.inside(self.client, ask);
            if asked.is_err() {
                given_up.store(true, Ordering::Release);
            }
            let served = serving.join().expect("the server's thread");
            asked.map_err(|error| other(format!("the client: {error}; the server: {served:?}")))?;
            served.map_err(|error| other(format!("the server: {error}")))
        })
    }
}

fn serve_datagrams(
    socket: &UdpSocket,
    requests: usize,
    length: usize,
    given_up: &AtomicBool,
) -> io::Result<Told> {
    let mut told = Told::default();
    let mut buffer = vec![0; 1 << 16];
    for number in 0..requests {
        let until = Instant::now() + patience();
        let (got, from) = loop {
            match socket.recv_from(&mut buffer) {
                Err(error) if is_timeout(&error) => go_on(given_up, until)?,
                result => break result?,
            }
        };
        told.clients.insert(from.ip());
        same("the request", &buffer[..got], &request(number, length))?;
        socket.send_to(&reply(number, length), from)?;
    }
    Ok(told)
}

fn serve_stream(
    listener: &TcpListener,
    length: usize,
    end: End,
    given_up: &AtomicBool,
) -> io::Result<Told> {
    let until = Instant::now() + patience();
    while !readable(listener, TICK)? {
        go_on(given_up, until)?;
    }
    let (mut stream, from) = listener.accept()?;
    stream.set_read_timeout(Some(patience()))?;
    let mut asked = vec![0; length];
    stream.read_exact(&mut asked)?;
    same("the request", &asked, &request(0, length))?;
    stream.write_all(&reply(0, length))?;
    match end {
        End::Fin => ends_with(&mut stream, None)?,
        End::ClientResets => ends_with(&mut stream, Some(ErrorKind::ConnectionReset))?,
        End::ServerResets => {
            stream.read_exact(&mut [0])?;
            reset_on_close(&stream);
        }
    }
    Ok(Told {
        clients: BTreeSet::from([from.ip()]),
    })
}

/// Nothing more comes, and the connection ends: by FIN, or with this error.
fn ends_with(stream: &mut TcpStream, kind: Option<ErrorKind>) -> io::Result<()> {
    let mut rest = Vec::new();
    let ended = stream
        .read_to_end(&mut rest)
        .err()
        .map(|error| error.kind());
    if (ended, rest.is_empty()) == (kind, true) {
        return Ok(());
    }
    let bytes = rest.len();
    Err(other(format!("ends with {ended:?} after {bytes} bytes")))
}

fn go_on(given_up: &AtomicBool, until: Instant) -> io::Result<()> {
    if given_up.load(Ordering::Acquire) || Instant::now() > until {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(())
}

fn readable(socket: &impl AsFd, within: Duration) -> io::Result<bool> {
    let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let within = PollTimeout::try_from(within).expect("short");
    Ok(poll(&mut polled, within)? > 0)
}

/// Any port of any address of the same family.
fn wildcard(of: SocketAddr) -> SocketAddr {
    let any: IpAddr = match of {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(any, 0)
}

fn request(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 3 + number * 7) as u8).collect()
}

fn reply(number: usize, length: usize) -> Vec<u8> {
    request(number, length).iter().map(|byte| !byte).collect()
}

fn same(what: &str, got: &[u8], expected: &[u8]) -> io::Result<()> {
    if got == expected {
        return Ok(());
    }
    let (got, expected) = (got.len(), expected.len());
    Err(other(format!(
        "{what}: {got} bytes that are not the {expected} that were sent"
    )))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn other(message: String) -> io::Error {
    io::Error::other(message)
}
