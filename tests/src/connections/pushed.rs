//! A connection that lives long, by which the server pushes all the time.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::patience;
use crate::lab::{Deadline, Lab};

/// The stream repeats itself after so many bytes, which no packet's length is a multiple of.
const PERIOD: usize = 65_521;

/// How long the reader rests after each piece, so that the stream leaves time for others.
const REST: Duration = Duration::from_micros(500);

/// A stream on its way from a server to the client that has connected to it.
#[derive(Debug)]
pub struct Pushed {
    name: String,
    client: TcpStream,
    arrived: Arc<AtomicU64>,
    rests: Arc<AtomicBool>,
    server: JoinHandle<io::Result<u64>>,
    reader: JoinHandle<io::Result<u64>>,
}

impl Pushed {
    /// Connects a client in a namespace to `to`, which leads to the server at `at`.
    ///
    /// # Panics
    /// When it is not connected.
    pub fn start(
        lab: &Lab,
        (client, to): (&str, SocketAddr),
        (server, at): (&str, SocketAddr),
    ) -> Self {
        let name = format!("{client} to {to}");
        let listener = lab.inside(server, || TcpListener::bind(at).expect("a port"));
        let connect = || TcpStream::connect_timeout(&to, patience());
        let client = lab.inside(client, connect);
        let client = client.unwrap_or_else(|error| panic!("{name}: {error}"));
        client
            .set_read_timeout(Some(patience()))
            .expect("a timeout");
        let (stream, _) = listener.accept().expect("a connection that is there");
        let arrived = Arc::new(AtomicU64::new(0));
        let reading = client.try_clone().expect("a descriptor");
        let rests: Arc<AtomicBool> = Arc::default();
        let (counter, at_rest) = (Arc::clone(&arrived), Arc::clone(&rests));
        let client_rests = Arc::clone(&rests);
        Self {
            name,
            client,
            arrived,
            rests,
            server: thread::spawn(move || push(stream, &client_rests)),
            reader: thread::spawn(move || read(reading, &counter, &at_rest)),
        }
    }

    /// The client reads no more for now, so the server soon has no more room to push into.
    pub fn rest(&self) {
        self.rests.store(true, Ordering::Release);
    }

    /// Waits until more has arrived than now.
    ///
    /// # Panics
    /// When the stream stands still.
    pub fn assert_goes_on(&self) {
        Self::assert_all_go_on(std::slice::from_ref(self));
    }

    /// Waits until more has arrived of each than now. They go on side by side: waited for one after the other, each would push
    /// while all after it are waited for.
    ///
    /// # Panics
    /// When one stands still.
    pub fn assert_all_go_on(streams: &[Self]) {
        const MORE: u64 = 1 << 20;
        let arrived = |stream: &Self| stream.arrived.load(Ordering::Acquire);
        let starts: Vec<u64> = streams.iter().map(arrived).collect();
        for stream in streams {
            stream.rests.store(false, Ordering::Release);
        }
        for (stream, start) in streams.iter().zip(starts) {
            let deadline = Deadline::new();
            while arrived(stream) < start + MORE {
                deadline.check(|| format!("{} stands still at byte {start}", stream.name));
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// The client asks for the end, and gets it with all that was pushed until then.
    ///
    /// # Panics
    /// When a byte is lost or wrong.
    pub fn assert_ends_whole(self) {
        self.rests.store(false, Ordering::Release);
        self.client.shutdown(Shutdown::Write).expect("shutdown");
        let name = &self.name;
        let [pushed, read] = [self.server, self.reader].map(|thread| {
            let ended = thread.join().expect("a thread");
            ended.unwrap_or_else(|error| panic!("{name}: {error}"))
        });
        assert_eq!(read, pushed, "{name}: bytes read and pushed");
    }
}

fn pattern() -> Vec<u8> {
    (0..PERIOD).map(|at| (at ^ (at >> 8)) as u8).collect()
}

/// Pushes until the client has no more to say. Nothing is taken while the client rests, however long that is.
fn push(mut stream: TcpStream, rests: &AtomicBool) -> io::Result<u64> {
    let pattern = pattern();
    let ear = stream.try_clone()?;
    stream.set_write_timeout(Some(patience()))?;
    let (mut pushed, mut at) = (0, 0);
    loop {
        let rested = rests.load(Ordering::Acquire);
        match stream.write(&pattern[at..]) {
            Ok(count) => {
                pushed += count as u64;
                at = (at + count) % PERIOD;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if !rested && !rests.load(Ordering::Acquire) {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        if at == 0 && is_over(&ear)? {
            return Ok(pushed);
        }
    }
}

/// Whether the other side has no more to say.
fn is_over(mut stream: &TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let heard = stream.read(&mut [0]);
    stream.set_nonblocking(false)?;
    match heard {
        Ok(0) => Ok(true),
        Ok(_) => Err(io::Error::other("the client speaks")),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

fn read(mut stream: TcpStream, arrived: &AtomicU64, rests: &AtomicBool) -> io::Result<u64> {
    let pattern = pattern();
    let mut buffer = vec![0; 1 << 16];
    let mut at = 0;
    loop {
        let got = stream.read(&mut buffer)?;
        if got == 0 {
            return Ok(arrived.load(Ordering::Acquire));
        }
        at = check(&pattern, at, &buffer[..got])?;
        arrived.fetch_add(got as u64, Ordering::AcqRel);
        thread::sleep(REST);
        while rests.load(Ordering::Acquire) {
            thread::sleep(REST);
        }
    }
}

/// Compares with the pattern from its byte `at` on; returns where it goes on.
fn check(pattern: &[u8], mut at: usize, mut bytes: &[u8]) -> io::Result<usize> {
    while !bytes.is_empty() {
        let count = bytes.len().min(PERIOD - at);
        if bytes[..count] != pattern[at..at + count] {
            return Err(io::Error::other("other bytes than were pushed"));
        }
        bytes = &bytes[count..];
        at = (at + count) % PERIOD;
    }
    Ok(at)
}
