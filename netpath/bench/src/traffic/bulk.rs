//! Bulk TCP: one connection, sender and receiver on a processor each.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::Shutdown,
    panic,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use netpath::probe::{ProbeError, error::io_error};

use super::{
    Course, Mark, Outcome, Packets, per_unit,
    request::{both_clocks, hand_over_clock},
    system,
    tcp::{Server, client_name, connect},
};
use crate::{
    cpu::{ThreadClock, pin},
    lab::Ends,
};

/// Bytes per write.
const WRITE: usize = 128 * 1024;
/// Room of a read.
const READ: usize = 256 * 1024;
/// Most bytes of a packet with its headers: net/core's GSO_LEGACY_MAX_SIZE, which devices have by default.
const PACKET_MAX: u64 = 65_536;

pub(super) fn run(ends: Ends<'_>, course: Course<'_>) -> Result<Outcome, ProbeError> {
    let server = Server::listen(ends)?;
    let (clock, client_clock) = mpsc::channel();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (server, over) = (&server, &over);
        let receiving = scope.spawn(move || {
            let received = receive(server, course, client_clock, over);
            // However it ended, the sender is to end too.
            over.store(true, Ordering::Release);
            received
        });
        let sent = ends.from.run(|| send(server, ends, course, clock, over))?;
        let received = receiving
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic));
        let (sent, (outcome, received)) = (sent?, received?);
        if sent != received {
            return Err(ProbeError::Length {
                object: server.name.clone(),
                expected: sent,
                received,
            });
        }
        Ok(Outcome {
            packets: Packets::AtLeast(received / PACKET_MAX),
            ..outcome
        })
    })
}

/// Returns the bytes that it sent.
fn send(
    server: &Server,
    ends: Ends<'_>,
    course: Course<'_>,
    clock: mpsc::Sender<ThreadClock>,
    over: &AtomicBool,
) -> Result<u64, ProbeError> {
    let name = client_name(ends);
    let failed = |step| {
        let name = &name;
        move |source| io_error(name, step, source)
    };
    hand_over_clock(course.processors.first(), clock)?;
    let mut stream = connect(server.address).map_err(failed("connect"))?;
    let payload = vec![0x5a; WRITE];
    let mut sent = 0;
    while !over.load(Ordering::Acquire) {
        match stream.write_all(&payload) {
            Ok(()) => sent += payload.len() as u64,
            // The receiver has failed, and says why itself.
            Err(_) if over.load(Ordering::Acquire) => return Ok(sent),
            Err(source) => return Err(failed("send")(source)),
        }
    }
    match stream.shutdown(Shutdown::Write) {
        // As above: it has reset the connection.
        Err(error) if error.kind() == ErrorKind::NotConnected => {}
        result => result.map_err(failed("shutdown"))?,
    }
    Ok(sent)
}

/// Returns what was measured, and all bytes that it received.
fn receive(
    server: &Server,
    course: Course<'_>,
    client_clock: mpsc::Receiver<ThreadClock>,
    over: &AtomicBool,
) -> Result<(Outcome, u64), ProbeError> {
    let (here, there) = (course.processors.second(), course.processors.first());
    pin(here).map_err(|source| system("stay on one processor", source))?;
    let clocks = both_clocks(course, &[here, there], client_clock)?;
    let mut stream = server.accept()?;
    let mut buffer = vec![0; READ];
    let mut received = 0;
    let mut read = |received: &mut u64| loop {
        match stream.read(&mut buffer) {
            Ok(length) => {
                *received += length as u64;
                return Ok(length);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(source) => return Err(server.failed("receive", source)),
        }
    };
    let warm = Instant::now() + course.warm_up;
    while Instant::now() < warm && read(&mut received)? > 0 {}
    let (before, start) = (received, Mark::now(&clocks)?);
    let end = start.at + course.measured;
    while Instant::now() < end && read(&mut received)? > 0 {}
    let (elapsed, cpu_ns) = Mark::now(&clocks)?.since(start);
    let measured = received - before;
    over.store(true, Ordering::Release);
    while read(&mut received)? > 0 {}
    let outcome = Outcome {
        value: per_unit(elapsed, measured),
        elapsed,
        cpu_ns,
        // TCP loses nothing; that all of it arrived is checked against the sender when the stream has ended.
        sent: measured,
        received: measured,
        round_trips_ns: Vec::new(),
        packets: Packets::AtLeast(0),
    };
    Ok((outcome, received))
}
