//! Request/response latency over UDP: one request at a time.

use std::{
    hint,
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    panic,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{Pair, StopOnDrop, is_empty, set_receive_timeout};
use crate::{
    netns::Netns,
    probe::{ProbeError, error::io_error, pattern, socket::deadline_after},
};

/// Run and sequence number, 8 bytes each, host byte order.
const HEADER: usize = 16;

/// Largest UDP payload over IPv4.
const PAYLOAD_MAX: usize = 65_507;

/// How both sides wait for a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waiting {
    /// Sleep in the kernel: includes the time to wake up, as most applications do.
    #[default]
    Blocking,
    /// Ask again and again: takes a core for each side, and shows the path alone.
    Busy,
}

/// What to measure. Start from [`LatencyOptions::new`].
#[derive(Clone, Debug)]
pub struct LatencyOptions {
    /// Source address, in the client's namespace.
    pub src: IpAddr,
    /// Destination address, in the server's namespace.
    pub dst: IpAddr,
    /// Server's port; 0 for any free one.
    pub port: u16,
    /// Round trips to measure.
    pub round_trips: usize,
    /// Round trips before them that are not measured.
    pub warm_up: usize,
    /// UDP payload of request and response, 16 to 65,507 bytes.
    pub payload_len: usize,
    /// How both sides wait.
    pub waiting: Waiting,
    /// A response that takes longer counts as lost.
    pub timeout: Duration,
    /// The measurement ends after this long (and at most one `timeout`), with the samples it has by then.
    pub deadline: Duration,
}

impl LatencyOptions {
    /// 2,000 round trips of 64 bytes after 100 for warming up, in at most two seconds.
    pub fn new(src: IpAddr, dst: IpAddr) -> Self {
        Self {
            src,
            dst,
            port: 0,
            round_trips: 2_000,
            warm_up: 100,
            payload_len: 64,
            waiting: Waiting::Blocking,
            timeout: Duration::from_millis(100),
            deadline: Duration::from_secs(2),
        }
    }
}

/// Round-trip times between two applications.
#[derive(Clone, Debug)]
pub struct Latency {
    /// The shortest.
    pub min: Duration,
    /// The median.
    pub p50: Duration,
    /// The 99th percentile (nearest rank).
    pub p99: Duration,
    /// All of them, in the order measured.
    pub samples: Vec<Duration>,
    /// Requests without a response in time.
    pub lost: u64,
}

/// Measures round trips between a client in `from` and a server in `to`.
///
/// # Errors
/// When the options contradict each other, a socket cannot be used, an ICMP error comes back, or no response
/// comes in time at all.
pub fn measure_latency(
    from: &Netns,
    to: &Netns,
    options: &LatencyOptions,
) -> Result<Latency, ProbeError> {
    if !(HEADER..=PAYLOAD_MAX).contains(&options.payload_len) {
        return Err(ProbeError::Invalid {
            option: "payload_len",
            reason: format!(
                "{} is not between {HEADER} and {PAYLOAD_MAX}",
                options.payload_len
            ),
        });
    }
    let dst = SocketAddr::new(options.dst, options.port);
    let pair = Pair::open(from, to, options.src, dst, options.timeout)?;
    let stop = AtomicBool::new(false);
    let (samples, lost) = thread::scope(|scope| {
        let guard = StopOnDrop(&stop);
        let server = scope.spawn(|| serve(&pair, options, &stop));
        let result = ask(&pair, options);
        drop(guard);
        let served = server
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic));
        let result = result?;
        served?;
        Ok::<_, ProbeError>(result)
    })?;
    Latency::from_samples(samples, lost).ok_or(ProbeError::Deadline {
        object: pair.sender_name,
        step: "wait for the first response",
        after: options.deadline,
    })
}

impl Latency {
    fn from_samples(samples: Vec<Duration>, lost: u64) -> Option<Self> {
        let mut sorted = samples.clone();
        sorted.sort_unstable();
        Some(Self {
            min: *sorted.first()?,
            p50: percentile(&sorted, 50)?,
            p99: percentile(&sorted, 99)?,
            samples,
            lost,
        })
    }
}

/// The smallest sample that at least `percent` of all do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Sends back every datagram until told to stop.
fn serve(pair: &Pair, options: &LatencyOptions, stop: &AtomicBool) -> Result<(), ProbeError> {
    let object = &pair.receiver_name;
    let socket = &pair.receiver;
    set_waiting(socket, options.waiting, object)?;
    let mut buffer = vec![0; options.payload_len + 1];
    while !stop.load(Ordering::Acquire) {
        match socket.recv_from(&mut buffer) {
            Ok((len, client)) => {
                socket
                    .send_to(&buffer[..len], client)
                    .map_err(|source| io_error(object, "send the response", source))?;
            }
            Err(error) if is_empty(&error) => hint::spin_loop(),
            Err(source) => return Err(io_error(object, "receive a request", source)),
        }
    }
    Ok(())
}

/// Sends the requests one by one; returns the times and the number of requests without a response.
fn ask(pair: &Pair, options: &LatencyOptions) -> Result<(Vec<Duration>, u64), ProbeError> {
    let object = &pair.sender_name;
    let socket = &pair.sender;
    set_receive_timeout(socket, options.timeout, object)?;
    set_waiting(socket, options.waiting, object)?;
    let run = pattern::run_id();
    let mut request = vec![0; options.payload_len];
    let mut buffer = vec![0; options.payload_len + 1];
    let mut samples = Vec::with_capacity(options.round_trips);
    let mut lost = 0;
    let deadline = deadline_after(options.deadline);
    for number in 0..options.warm_up + options.round_trips {
        let sequence = number as u64;
        request[..8].copy_from_slice(&run.to_ne_bytes());
        request[8..HEADER].copy_from_slice(&sequence.to_ne_bytes());
        let sent_at = Instant::now();
        if sent_at >= deadline {
            break;
        }
        match socket.send(&request) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                lost += 1;
                continue;
            }
            Err(source) => return Err(io_error(object, "send a request", source)),
        }
        match await_response(socket, &request, &mut buffer, sent_at + options.timeout) {
            Ok(Some(at)) if number >= options.warm_up => samples.push(at - sent_at),
            Ok(Some(_)) => {}
            Ok(None) => lost += 1,
            Err(source) => return Err(io_error(object, "receive a response", source)),
        }
    }
    Ok((samples, lost))
}

/// When the response that equals `request` came. Late ones to earlier requests are passed over.
fn await_response(
    socket: &UdpSocket,
    request: &[u8],
    buffer: &mut [u8],
    until: Instant,
) -> Result<Option<Instant>, std::io::Error> {
    loop {
        let received = socket.recv(buffer);
        let now = Instant::now();
        match received {
            Ok(len) if buffer[..len] == *request => return Ok(Some(now)),
            Ok(_) => {}
            Err(error) if is_empty(&error) => hint::spin_loop(),
            Err(error) => return Err(error),
        }
        if now >= until {
            return Ok(None);
        }
    }
}

fn set_waiting(socket: &UdpSocket, waiting: Waiting, object: &str) -> Result<(), ProbeError> {
    socket
        .set_nonblocking(waiting == Waiting::Busy)
        .map_err(|source| io_error(object, "set blocking mode", source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::lab::{Lab, address_pairs};

    #[test]
    fn percentiles_are_nearest_ranks() {
        let samples = (1..=200).rev().map(Duration::from_micros).collect();
        let latency = Latency::from_samples(samples, 0).expect("samples");
        assert_eq!(latency.min, Duration::from_micros(1));
        assert_eq!(latency.p50, Duration::from_micros(100));
        assert_eq!(latency.p99, Duration::from_micros(198));
        let one = Latency::from_samples(vec![Duration::from_micros(7)], 0).expect("sample");
        assert_eq!((one.p50, one.p99), (one.min, one.min));
        assert!(Latency::from_samples(vec![], 0).is_none());
    }

    #[test]
    fn round_trips_are_measured() {
        let lab = Lab::new();
        for (a, b) in address_pairs() {
            for waiting in [Waiting::Blocking, Waiting::Busy] {
                let options = LatencyOptions {
                    round_trips: 50,
                    warm_up: 20,
                    waiting,
                    timeout: Duration::from_secs(5),
                    deadline: Duration::from_secs(30),
                    ..LatencyOptions::new(a, b)
                };
                let latency = measure_latency(&lab.a, &lab.b, &options).expect("latency");
                assert_eq!((latency.samples.len(), latency.lost), (50, 0));
                assert!(latency.min > Duration::ZERO);
                assert!(latency.min <= latency.p50 && latency.p50 <= latency.p99);
            }
        }
    }

    #[test]
    fn silence_is_an_error_in_time() {
        let lab = Lab::new();
        lab.lose_everything();
        let (a, b) = address_pairs()[0];
        for waiting in [Waiting::Blocking, Waiting::Busy] {
            let start = Instant::now();
            let options = LatencyOptions {
                waiting,
                timeout: Duration::from_millis(50),
                deadline: Duration::from_millis(120),
                ..LatencyOptions::new(a, b)
            };
            let error = measure_latency(&lab.a, &lab.b, &options).expect_err("silence");
            assert!(matches!(error, ProbeError::Deadline { .. }), "{error}");
            assert!(start.elapsed() < Duration::from_secs(2));
        }
    }

    #[test]
    fn an_icmp_error_ends_it_at_once() {
        let lab = Lab::new();
        let (a, b) = address_pairs()[0];
        lab.prohibit_everything();
        let start = Instant::now();
        let result = measure_latency(&lab.a, &lab.b, &LatencyOptions::new(a, b));
        let error = result.map(|latency| latency.lost).expect_err("ICMP");
        assert!(matches!(error, ProbeError::Io { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}
