//! A glance at latency and packet rate. It is no benchmark: nothing is pinned, and the two paths are measured
//! one after the other.

use std::{panic, thread, time::Duration};

use netpath::{
    netns::Netns,
    probe::measure::{Latency, LatencyOptions, RateOptions, measure_latency, measure_rate},
};
use netpath_common::Family;
use nix::{
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};
use serde::Serialize;

use super::{
    cast::{Cast, address, named},
    error::DemoError,
};

/// Each figure is the median of so many rounds.
pub const ROUNDS: usize = 3;
/// Request and response, and the packets of the rate: UDP payload in bytes.
pub const PAYLOAD: usize = 64;
const ROUND_TRIPS: usize = 2_000;
const RATE_TIME: Duration = Duration::from_millis(250);

/// Which way the packets take through the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// The kernel's forwarding path with ACCEPT rules in FORWARD.
    ForwardRules,
    /// netpath's.
    FastPath,
}

/// One path in one family.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// The path.
    pub path: Path,
    /// The family.
    #[serde(serialize_with = "named")]
    pub family: Family,
    /// Median round trip of UDP request and response between two applications on one core, in microseconds.
    pub latency_p50_us: f64,
    /// 99th percentile of the same.
    pub latency_p99_us: f64,
    /// Datagrams that one sender gets through the node, per second.
    pub packets_per_second: f64,
}

/// Measures between the two endpoints of the near node. `pause` is called between rounds and may end it.
pub fn measure(
    cast: &Cast<'_>,
    path: Path,
    family: Family,
    pause: &dyn Fn() -> Result<(), DemoError>,
) -> Result<Measurement, DemoError> {
    let from = Netns::named(cast.sender.name.as_ref())?;
    let to = Netns::named(cast.neighbour.name.as_ref())?;
    let (src, dst) = (
        address(cast.sender, family)?,
        address(cast.neighbour, family)?,
    );
    let latency_options = LatencyOptions {
        round_trips: ROUND_TRIPS,
        payload_len: PAYLOAD,
        deadline: Duration::from_secs(1),
        ..LatencyOptions::new(src, dst)
    };
    let rate_options = RateOptions {
        payload_len: PAYLOAD,
        duration: RATE_TIME,
        quiet: Duration::from_millis(30),
        ..RateOptions::new(src, dst)
    };
    let (mut p50, mut p99, mut rate) = ([0.0; ROUNDS], [0.0; ROUNDS], [0.0; ROUNDS]);
    for round in 0..ROUNDS {
        pause()?;
        let latency = latency_on_one_core(&from, &to, &latency_options)?;
        p50[round] = microseconds(latency.p50);
        p99[round] = microseconds(latency.p99);
        pause()?;
        rate[round] = measure_rate(&from, &to, &rate_options)?.packets_per_second();
    }
    Ok(Measurement {
        path,
        family,
        latency_p50_us: median(p50),
        latency_p99_us: median(p99),
        packets_per_second: median(rate).round(),
    })
}

/// Client and server on one core: to wake another one takes ten times as long as the path, and varies more
/// than the paths differ.
fn latency_on_one_core(
    from: &Netns,
    to: &Netns,
    options: &LatencyOptions,
) -> Result<Latency, DemoError> {
    thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            if let Err(error) = stay_on_this_core() {
                tracing::debug!(%error, "the latency is measured on several cores");
            }
            measure_latency(from, to, options)
        });
        let latency = measuring
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic));
        Ok(latency?)
    })
}

/// Threads inherit it.
fn stay_on_this_core() -> nix::Result<()> {
    let mut core = CpuSet::new();
    core.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &core)
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1_000.0
}

fn median(mut figures: [f64; ROUNDS]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[ROUNDS / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([9.0, 1.0, 3.0]), 3.0);
        assert_eq!(microseconds(Duration::from_nanos(1_500)), 1.5);
    }
}
