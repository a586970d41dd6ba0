//! Requests and responses over one TCP connection, client and server taking turns on one processor: to wake
//! another one takes ten times as long as a path, and varies by more than paths differ.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::TcpStream,
    panic,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use netpath::probe::{ProbeError, error::io_error};

use super::{
    Course, Mark, Outcome, Packets, REQUEST, system,
    tcp::{Server, client_name, connect},
};
use crate::{
    cpu::{Clocks, ThreadClock, pin},
    lab::Ends,
};

/// Round trips after which a cell ends before its time: ten of them are beyond the 99.9th percentile, and every
/// one is kept.
const ROUND_TRIPS_MAX: usize = 10_000;

pub(super) fn run(ends: Ends<'_>, course: Course<'_>) -> Result<Outcome, ProbeError> {
    let server = Server::listen(ends)?;
    let (clock, server_clock) = mpsc::channel();
    thread::scope(|scope| {
        let serving = scope.spawn(|| serve(&server, course.processors.first(), clock));
        let outcome = ends
            .from
            .run(|| request(&server, ends, course, server_clock))?;
        let served = serving
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic));
        let outcome = outcome?;
        let answered = served?;
        if answered < outcome.received {
            return Err(ProbeError::Length {
                object: server.name.clone(),
                expected: outcome.received,
                received: answered,
            });
        }
        Ok(outcome)
    })
}

/// Answers until the client closes; returns how often.
fn serve(
    server: &Server,
    processor: usize,
    clock: mpsc::Sender<ThreadClock>,
) -> Result<u64, ProbeError> {
    hand_over_clock(processor, clock)?;
    let mut stream = server.accept()?;
    let mut answered = 0;
    let mut buffer = [0; REQUEST];
    loop {
        match stream.read_exact(&mut buffer) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(answered),
            Err(source) => return Err(server.failed("receive a request", source)),
        }
        stream
            .write_all(&buffer)
            .map_err(|source| server.failed("send a response", source))?;
        answered += 1;
    }
}

/// Stays on the processor and tells the client how much time it takes there.
pub(super) fn hand_over_clock(
    processor: usize,
    clock: mpsc::Sender<ThreadClock>,
) -> Result<(), ProbeError> {
    pin(processor).map_err(|source| system("stay on one processor", source))?;
    let own = ThreadClock::own().map_err(|source| system("perf_event_open", source))?;
    // A client that has failed meanwhile tells why itself.
    let _client_gone = clock.send(own);
    Ok(())
}

/// The clocks of this thread and of the server's.
pub(super) fn both_clocks(
    course: Course<'_>,
    of: &[usize],
    server: mpsc::Receiver<ThreadClock>,
) -> Result<Clocks, ProbeError> {
    let own = ThreadClock::own().map_err(|source| system("perf_event_open", source))?;
    let theirs = server
        .recv()
        .map_err(|_| system("the server's clock", io::Error::from(ErrorKind::BrokenPipe)))?;
    Clocks::new(vec![own, theirs], course.processors, of)
        .map_err(|source| system("perf_event_open", source))
}

fn request(
    server: &Server,
    ends: Ends<'_>,
    course: Course<'_>,
    server_clock: mpsc::Receiver<ThreadClock>,
) -> Result<Outcome, ProbeError> {
    let name = client_name(ends);
    let processor = course.processors.first();
    pin(processor).map_err(|source| system("stay on one processor", source))?;
    let clocks = both_clocks(course, &[processor], server_clock)?;
    let mut stream =
        connect(server.address).map_err(|source| io_error(&name, "connect", source))?;
    let mut round_trips = Vec::with_capacity(2 * ROUND_TRIPS_MAX);
    let mut go_on = |duration| {
        exchange(&mut stream, duration, &mut round_trips)
            .map_err(|source| io_error(&name, "a request", source))
    };
    let warmed_up = go_on(course.warm_up)?;
    let start = Mark::now(&clocks)?;
    let measured = go_on(course.measured)?;
    let (elapsed, cpu_ns) = Mark::now(&clocks)?.since(start);
    let round_trips_ns = round_trips.split_off(warmed_up);
    let received = round_trips_ns.len() as u64;
    Ok(Outcome {
        value: median(&round_trips_ns),
        elapsed,
        cpu_ns,
        sent: measured as u64,
        received,
        round_trips_ns,
        packets: Packets::AtLeast(2 * (warmed_up as u64 + received)),
    })
}

/// Goes on for so long, or until there are enough; returns the number of requests made.
fn exchange(
    stream: &mut TcpStream,
    duration: Duration,
    round_trips: &mut Vec<u32>,
) -> Result<usize, io::Error> {
    let before = round_trips.len();
    let mut before_request = Instant::now();
    let deadline = before_request + duration;
    let mut payload = [0; REQUEST];
    let mut response = [0; REQUEST];
    while before_request < deadline && round_trips.len() - before < ROUND_TRIPS_MAX {
        let number = round_trips.len() as u64;
        payload[..8].copy_from_slice(&number.to_ne_bytes());
        stream.write_all(&payload)?;
        stream.read_exact(&mut response)?;
        if response != payload {
            return Err(ErrorKind::InvalidData.into());
        }
        let now = Instant::now();
        let took = now.saturating_duration_since(before_request).as_nanos();
        round_trips.push(u32::try_from(took).unwrap_or(u32::MAX));
        before_request = now;
    }
    Ok(round_trips.len() - before)
}

/// The nearest rank.
fn median(round_trips: &[u32]) -> f64 {
    let mut sorted = round_trips.to_vec();
    sorted.sort_unstable();
    match sorted.len() {
        0 => f64::INFINITY,
        count => f64::from(sorted[(count - 1) / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_round_trip_that_was_measured() {
        assert_eq!(median(&[9, 1, 5]), 5.0);
        assert_eq!(median(&[9, 1, 5, 7]), 5.0);
        assert_eq!(median(&[]), f64::INFINITY);
    }
}
