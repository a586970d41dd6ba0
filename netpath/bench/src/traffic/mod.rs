//! The traffic of one cell. Each generator warms up, measures, and says what it sent in all, so that it can be
//! compared with the counters along the path.

mod bulk;
mod connect;
mod request;
mod tcp;
mod udp;

use std::time::{Duration, Instant};

use netpath::probe::ProbeError;

use super::{cpu::Processors, lab::Ends, results::Measure};

/// UDP payload, in bytes.
pub(super) const UDP_PAYLOAD: usize = 64;
/// TCP request and response, in bytes each.
pub(super) const REQUEST: usize = 64;

/// How long, and where.
#[derive(Clone, Copy)]
pub(super) struct Course<'a> {
    /// Discarded.
    pub warm_up: Duration,
    /// What counts.
    pub measured: Duration,
    /// Where sender and receiver run.
    pub processors: &'a Processors,
}

/// What a cell found.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// As [`Measure`] says.
    pub value: f64,
    /// Duration of the measurement.
    pub elapsed: Duration,
    /// CPU time of all that took part.
    pub cpu_ns: u64,
    /// Units sent.
    pub sent: u64,
    /// Units that arrived.
    pub received: u64,
    /// Round trips.
    pub round_trips_ns: Vec<u32>,
    /// Packets of the whole cell, warm-up included, both directions.
    pub packets: Packets,
}

/// Packets that have been sent, as a router sees them: one of many segments (GSO) counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packets {
    /// Exactly so many.
    Exactly(u64),
    /// TCP: so many at least.
    AtLeast(u64),
}

/// Sends and receives for one cell.
pub(super) fn run(
    measure: Measure,
    ends: Ends<'_>,
    course: Course<'_>,
) -> Result<Outcome, ProbeError> {
    let outcome = match measure {
        Measure::UdpPacket => return udp::run(ends, course),
        Measure::TcpRequest => request::run(ends, course),
        Measure::TcpConnect => connect::run(ends, course),
        Measure::TcpBulk => bulk::run(ends, course),
    };
    // Whatever became of it: what its connections still send must not be counted as the next cell's.
    let closed = tcp::await_closed(ends);
    let outcome = outcome?;
    closed.map(|()| outcome)
}

/// Wall-clock and CPU time at one moment.
#[derive(Clone, Copy)]
struct Mark {
    at: Instant,
    cpu_ns: u64,
}

impl Mark {
    fn now(clocks: &super::cpu::Clocks) -> Result<Self, ProbeError> {
        Ok(Self {
            cpu_ns: clocks
                .nanoseconds()
                .map_err(|source| system("read the task clock", source))?,
            at: Instant::now(),
        })
    }

    /// Wall-clock and CPU time since an earlier one.
    fn since(self, earlier: Self) -> (Duration, u64) {
        (
            self.at.saturating_duration_since(earlier.at),
            self.cpu_ns.saturating_sub(earlier.cpu_ns),
        )
    }
}

fn system(step: &'static str, source: impl Into<std::io::Error>) -> ProbeError {
    netpath::probe::error::io_error("the benchmark's traffic", step, source)
}

/// Nanoseconds per unit; infinite if there were none.
fn per_unit(elapsed: Duration, units: u64) -> f64 {
    elapsed.as_nanos() as f64 / units as f64
}
