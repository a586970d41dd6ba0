//! TCP connections: each is made, carries one request and one response, and is closed. Client and server are on
//! one processor, as for requests. The client closes with a reset (SO_LINGER 0, socket(7)), so that no port is
//! left waiting (TIME_WAIT) and none runs out.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    panic,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use netpath::probe::{ProbeError, error::io_error};
use nix::sys::socket::{setsockopt, sockopt::Linger};

use super::{
    Course, Mark, Outcome, Packets, REQUEST, per_unit,
    request::{both_clocks, hand_over_clock},
    system,
    tcp::{Server, client_name, connect},
};
use crate::{
    cpu::{ThreadClock, pin},
    lab::Ends,
};

/// SYN, SYN and ACK, request, response, reset; the ACK of the handshake may travel with the request.
const PACKETS: u64 = 5;

pub(super) fn run(ends: Ends<'_>, course: Course<'_>) -> Result<Outcome, ProbeError> {
    let server = Server::listen(ends)?;
    let (clock, server_clock) = mpsc::channel();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let serving = scope.spawn(|| serve(&server, course.processors.first(), clock, &over));
        let (server, over) = (&server, &over);
        let outcome = ends.from.run(move || {
            let outcome = connections(server, ends, course, server_clock);
            over.store(true, Ordering::Release);
            // Wakes the server, which waits for one more. It misses nothing if this fails: it gives up by itself.
            let _unheard = connect(server.address);
            outcome
        })?;
        let served = serving
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic));
        let outcome = outcome?;
        served?;
        Ok(outcome)
    })
}

fn serve(
    server: &Server,
    processor: usize,
    clock: mpsc::Sender<ThreadClock>,
    over: &AtomicBool,
) -> Result<(), ProbeError> {
    hand_over_clock(processor, clock)?;
    let mut buffer = [0; REQUEST];
    loop {
        let mut stream = server.accept()?;
        if over.load(Ordering::Acquire) {
            return Ok(());
        }
        stream
            .read_exact(&mut buffer)
            .map_err(|source| server.failed("receive a request", source))?;
        stream
            .write_all(&buffer)
            .map_err(|source| server.failed("send a response", source))?;
        // The client is the one that closes.
        match stream.read(&mut buffer) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Ok(_) => return Err(server.failed("close", ErrorKind::InvalidData.into())),
            Err(source) => return Err(server.failed("close", source)),
        }
    }
}

fn connections(
    server: &Server,
    ends: Ends<'_>,
    course: Course<'_>,
    server_clock: mpsc::Receiver<ThreadClock>,
) -> Result<Outcome, ProbeError> {
    let name = client_name(ends);
    let processor = course.processors.first();
    pin(processor).map_err(|source| system("stay on one processor", source))?;
    let clocks = both_clocks(course, &[processor], server_clock)?;
    let mut number = 0;
    let mut go_on = |duration| {
        many(server.address, duration, &mut number)
            .map_err(|source| io_error(&name, "a connection", source))
    };
    let warmed_up = go_on(course.warm_up)?;
    let start = Mark::now(&clocks)?;
    let made = go_on(course.measured)?;
    let (elapsed, cpu_ns) = Mark::now(&clocks)?.since(start);
    Ok(Outcome {
        value: per_unit(elapsed, made),
        elapsed,
        cpu_ns,
        sent: made,
        received: made,
        round_trips_ns: Vec::new(),
        packets: Packets::AtLeast(PACKETS * (warmed_up + made)),
    })
}

fn many(address: SocketAddr, duration: Duration, number: &mut u64) -> Result<u64, io::Error> {
    let before = *number;
    let deadline = Instant::now() + duration;
    while Instant::now() < deadline {
        one(address, *number)?;
        *number += 1;
    }
    Ok(*number - before)
}

fn one(address: SocketAddr, number: u64) -> Result<(), io::Error> {
    let mut stream = connect(address)?;
    let reset = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&stream, Linger, &reset)?;
    let mut payload = [0; REQUEST];
    payload[..8].copy_from_slice(&number.to_ne_bytes());
    stream.write_all(&payload)?;
    let mut response = [0; REQUEST];
    stream.read_exact(&mut response)?;
    if response == payload {
        Ok(())
    } else {
        Err(ErrorKind::InvalidData.into())
    }
}
