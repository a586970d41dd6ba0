//! Packets per second, one way.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    panic,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{Pair, StopOnDrop, batch::Batch, is_empty};
use crate::{
    netns::Netns,
    probe::{
        ProbeError,
        error::io_error,
        pattern,
        socket::{deadline_after, socket_drops},
    },
};

/// Datagrams per system call.
const BATCH: usize = 64;

/// The run's number, 8 bytes.
const PAYLOAD_MIN: usize = 8;

/// Largest UDP payload over IPv4.
const PAYLOAD_MAX: usize = 65_507;

/// What to measure. Start from [`RateOptions::new`].
#[derive(Clone, Debug)]
pub struct RateOptions {
    /// Source address, in the sender's namespace.
    pub src: IpAddr,
    /// Destination address, in the receiver's namespace.
    pub dst: IpAddr,
    /// Receiver's port; 0 for any free one.
    pub port: u16,
    /// UDP payload, 8 to 65,507 bytes.
    pub payload_len: usize,
    /// How long to send.
    pub duration: Duration,
    /// After this long without an arrival, once sending is over, the rest is taken for lost.
    pub quiet: Duration,
}

impl RateOptions {
    /// 64 bytes, for half a second.
    pub fn new(src: IpAddr, dst: IpAddr) -> Self {
        Self {
            src,
            dst,
            port: 0,
            payload_len: 64,
            duration: Duration::from_millis(500),
            quiet: Duration::from_millis(100),
        }
    }
}

/// What one sender got across to one receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Datagrams that the sender's kernel took.
    pub sent: u64,
    /// Datagrams that the receiver got.
    pub received: u64,
    /// Of those lost, how many the receiving socket had no room for: the receiver's slowness, not the path's.
    pub socket_drops: u32,
    /// From the first datagram sent to the last one received; without any, to the end of sending.
    pub elapsed: Duration,
    /// From the first datagram sent to the last one sent.
    pub sending: Duration,
}

impl Rate {
    /// Datagrams received per second of `elapsed`.
    pub fn packets_per_second(&self) -> f64 {
        per_second(self.received, self.elapsed)
    }

    /// Datagrams sent per second of `sending`.
    pub fn sent_per_second(&self) -> f64 {
        per_second(self.sent, self.sending)
    }
}

fn per_second(packets: u64, time: Duration) -> f64 {
    if time.is_zero() {
        return 0.0;
    }
    packets as f64 / time.as_secs_f64()
}

/// Sends as fast as possible from `from` to `to` for a while and counts what arrives.
///
/// # Errors
/// When the options contradict each other, a socket cannot be used, or an ICMP error comes back. A path
/// that delivers nothing is no error: `received` is 0.
pub fn measure_rate(from: &Netns, to: &Netns, options: &RateOptions) -> Result<Rate, ProbeError> {
    if !(PAYLOAD_MIN..=PAYLOAD_MAX).contains(&options.payload_len) {
        return Err(ProbeError::Invalid {
            option: "payload_len",
            reason: format!(
                "{} is not between {PAYLOAD_MIN} and {PAYLOAD_MAX}",
                options.payload_len
            ),
        });
    }
    let dst = SocketAddr::new(options.dst, options.port);
    let pair = Pair::open(from, to, options.src, dst, options.duration)?;
    let run = pattern::run_id();
    let state = State {
        finished: AtomicBool::new(false),
        sent: AtomicU64::new(0),
    };
    thread::scope(|scope| {
        let guard = StopOnDrop(&state.finished);
        let receiver = scope.spawn(|| count(&pair, run, options, &state));
        let start = Instant::now();
        let result = send(&pair, run, options, &state);
        let sending = start.elapsed();
        drop(guard);
        let arrivals = receiver
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic));
        result?;
        let arrivals = arrivals?;
        Ok(Rate {
            sent: state.sent.load(Ordering::Acquire),
            received: arrivals.received,
            socket_drops: socket_drops(pair.receiver.as_fd(), &pair.receiver_name)?,
            elapsed: arrivals
                .last
                .map_or(sending, |last| last.saturating_duration_since(start)),
            sending,
        })
    })
}

struct State {
    finished: AtomicBool,
    /// Meaningful once `finished` is set.
    sent: AtomicU64,
}

struct Arrivals {
    received: u64,
    last: Option<Instant>,
}

fn send(pair: &Pair, run: u64, options: &RateOptions, state: &State) -> Result<(), ProbeError> {
    let mut payload = vec![0; options.payload_len];
    payload[..PAYLOAD_MIN].copy_from_slice(&run.to_ne_bytes());
    let mut batch = Batch::new(BATCH, &payload);
    let deadline = deadline_after(options.duration);
    while Instant::now() < deadline {
        match batch.send(pair.sender.as_fd()) {
            Ok(sent) => {
                state.sent.fetch_add(sent as u64, Ordering::Release);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // No room in the send buffer for as long as the whole was to take.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(source) => return Err(io_error(&pair.sender_name, "send", source)),
        }
    }
    Ok(())
}

/// Counts arrivals until all are here or nothing has come for a while after the sender finished.
fn count(
    pair: &Pair,
    run: u64,
    options: &RateOptions,
    state: &State,
) -> Result<Arrivals, ProbeError> {
    let mut batch = Batch::new(BATCH, &vec![0; options.payload_len]);
    let mut arrivals = Arrivals {
        received: 0,
        last: None,
    };
    let run = run.to_ne_bytes();
    let mut quiet_since = None;
    loop {
        match batch.receive(pair.receiver.as_fd()) {
            Ok(payloads) => {
                let ours = payloads.filter(|payload| payload.starts_with(&run));
                let ours = ours.count() as u64;
                if ours > 0 {
                    arrivals.received += ours;
                    arrivals.last = Some(Instant::now());
                    quiet_since = None;
                }
            }
            Err(error) if is_empty(&error) => {}
            Err(source) => return Err(io_error(&pair.receiver_name, "receive", source)),
        }
        if state.finished.load(Ordering::Acquire) {
            let since = *quiet_since.get_or_insert_with(Instant::now);
            if arrivals.received >= state.sent.load(Ordering::Acquire)
                || since.elapsed() >= options.quiet
            {
                return Ok(arrivals);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::lab::{Lab, address_pairs};

    #[test]
    fn what_arrives_is_counted() {
        let lab = Lab::new();
        for (a, b) in address_pairs() {
            let options = RateOptions {
                duration: Duration::from_millis(100),
                ..RateOptions::new(a, b)
            };
            let rate = measure_rate(&lab.a, &lab.b, &options).expect("rate");
            assert!(rate.sent >= 64 && rate.received >= 64, "{rate:?}");
            // A veth loses nothing: what is missing, the socket dropped.
            let missing = rate.sent - rate.received;
            assert_eq!(missing, u64::from(rate.socket_drops), "{rate:?}");
            assert!(rate.sending >= options.duration && rate.elapsed >= Duration::from_millis(50));
            assert!(rate.packets_per_second() > 640.0 && rate.sent_per_second() > 640.0);
        }
    }

    #[test]
    fn nothing_arrives_in_bounded_time() {
        let lab = Lab::new();
        lab.lose_everything();
        for (a, b) in address_pairs() {
            let start = Instant::now();
            let options = RateOptions {
                duration: Duration::from_millis(50),
                ..RateOptions::new(a, b)
            };
            let rate = measure_rate(&lab.a, &lab.b, &options).expect("rate");
            assert!(rate.sent > 0);
            assert_eq!((rate.received, rate.packets_per_second()), (0, 0.0));
            assert_eq!(rate.elapsed, rate.sending);
            assert!(start.elapsed() < Duration::from_secs(2));
        }
    }

    #[test]
    fn rates_are_received_over_elapsed() {
        let rate = Rate {
            sent: 900,
            received: 600,
            socket_drops: 0,
            elapsed: Duration::from_millis(500),
            sending: Duration::from_millis(300),
        };
        assert_eq!(rate.packets_per_second(), 1200.0);
        assert_eq!(rate.sent_per_second(), 3000.0);
    }
}
