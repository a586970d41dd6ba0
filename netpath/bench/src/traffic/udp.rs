//! UDP packets, with one processor doing everything: one thread owns both sockets, sends a batch and takes it
//! again before it sends the next. A veth delivers in the sender's own softirq, so that nothing else runs.

use std::{
    net::UdpSocket,
    os::fd::AsFd as _,
    panic, thread,
    time::{Duration, Instant},
};

use netpath::probe::{
    ProbeError,
    error::io_error,
    measure::{Pair, batch::Batch, is_empty},
    pattern,
};

use super::{Course, Mark, Outcome, Packets, UDP_PAYLOAD, per_unit, system};
use crate::{
    cpu::{Clocks, ThreadClock, pin},
    lab::Ends,
};

/// Datagrams per system call.
const BATCH: usize = 64;
/// How long the two ends may take to find each other.
const GREETING: Duration = Duration::from_secs(2);

pub(super) fn run(ends: Ends<'_>, course: Course<'_>) -> Result<Outcome, ProbeError> {
    thread::scope(|scope| {
        let work = scope.spawn(|| on_one_processor(ends, course));
        work.join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

fn on_one_processor(ends: Ends<'_>, course: Course<'_>) -> Result<Outcome, ProbeError> {
    let processor = course.processors.first();
    pin(processor).map_err(|source| system("stay on one processor", source))?;
    let pair = Pair::open(ends.from, ends.to, ends.src, (ends.dst, 0).into(), GREETING)?;
    send_to_target(&pair, ends)?;
    let mut stream = Stream::new(&pair);
    stream.greet()?;
    let own = ThreadClock::own().map_err(|source| system("perf_event_open", source))?;
    let clocks = Clocks::new(vec![own], course.processors, &[processor])
        .map_err(|source| system("perf_event_open", source))?;

    stream.go_on(course.warm_up)?;
    let (sent, received) = (stream.sent, stream.received);
    let start = Mark::now(&clocks)?;
    stream.go_on(course.measured)?;
    let (elapsed, cpu_ns) = Mark::now(&clocks)?.since(start);
    let received = stream.received - received;
    Ok(Outcome {
        value: per_unit(elapsed, received),
        elapsed,
        cpu_ns,
        sent: stream.sent - sent,
        received,
        round_trips_ns: Vec::new(),
        // One more in either direction: the greeting.
        packets: Packets::Exactly(stream.sent + 2),
    })
}

/// Where the way there translates the receiver's address, the sender knows that one only.
fn send_to_target(pair: &Pair, ends: Ends<'_>) -> Result<(), ProbeError> {
    let receiver = pair
        .receiver
        .local_addr()
        .map_err(|source| io_error(&pair.receiver_name, "getsockname", source))?;
    pair.sender
        .connect((ends.target, receiver.port()))
        .map_err(|source| io_error(&pair.sender_name, "connect", source))
}

struct Stream<'a> {
    pair: &'a Pair,
    /// What every datagram of this cell starts with.
    run: [u8; 8],
    outgoing: Batch,
    incoming: Batch,
    sent: u64,
    received: u64,
    /// Given up.
    lost: u64,
}

impl<'a> Stream<'a> {
    fn new(pair: &'a Pair) -> Self {
        let run = pattern::run_id().to_ne_bytes();
        let mut payload = [0; UDP_PAYLOAD];
        payload[..run.len()].copy_from_slice(&run);
        Self {
            pair,
            run,
            outgoing: Batch::new(BATCH, &payload),
            incoming: Batch::new(BATCH, &[0; UDP_PAYLOAD]),
            sent: 0,
            received: 0,
            lost: 0,
        }
    }

    /// One datagram there and one back: neighbours are resolved then, and a connection that is tracked is an
    /// established one, as those are that carry many packets.
    fn greet(&mut self) -> Result<(), ProbeError> {
        let Pair {
            sender,
            sender_name,
            receiver,
            receiver_name,
        } = self.pair;
        let greeting = [self.run; UDP_PAYLOAD / 8].concat();
        sender
            .send(&greeting)
            .map_err(|source| io_error(sender_name, "send", source))?;
        let from = await_one(receiver, receiver_name, &greeting)?;
        receiver
            .send_to(&greeting, from)
            .map_err(|source| io_error(receiver_name, "send", source))?;
        await_one(sender, sender_name, &greeting).map(drop)
    }

    fn go_on(&mut self, duration: Duration) -> Result<(), ProbeError> {
        let deadline = Instant::now() + duration;
        while Instant::now() < deadline {
            let sent = self
                .outgoing
                .send(self.pair.sender.as_fd())
                .map_err(|source| io_error(&self.pair.sender_name, "send", source))?;
            self.sent += sent as u64;
            self.take()?;
        }
        Ok(())
    }

    /// Takes what was sent, or gives it up when nothing comes within the socket's timeout.
    fn take(&mut self) -> Result<(), ProbeError> {
        while self.received + self.lost < self.sent {
            let run = self.run;
            match self.incoming.receive(self.pair.receiver.as_fd()) {
                Ok(payloads) => {
                    let ours = payloads.filter(|payload| {
                        payload.len() == UDP_PAYLOAD && payload.starts_with(&run)
                    });
                    self.received += ours.count() as u64;
                }
                Err(error) if is_empty(&error) => self.lost = self.sent - self.received,
                Err(source) => {
                    return Err(io_error(&self.pair.receiver_name, "receive", source));
                }
            }
        }
        Ok(())
    }
}

fn await_one(
    socket: &UdpSocket,
    name: &str,
    expected: &[u8],
) -> Result<std::net::SocketAddr, ProbeError> {
    let mut buffer = [0; UDP_PAYLOAD];
    let deadline = Instant::now() + GREETING;
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .map_err(|source| io_error(name, "SO_RCVTIMEO", source))?;
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) if buffer[..length] == *expected => return Ok(from),
            Ok(_) => {}
            Err(error) if is_empty(&error) => {}
            Err(source) => return Err(io_error(name, "receive", source)),
        }
        if Instant::now() >= deadline {
            return Err(ProbeError::Deadline {
                object: name.to_owned(),
                step: "receive the first datagram",
                after: GREETING,
            });
        }
    }
}
