//! The clocks of the programs.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC_COARSE`, which `bpf_ktime_get_coarse_ns` tells.
pub fn coarse_now() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC_COARSE)
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn monotonic() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock).expect("every kernel has this clock");
    let now = Duration::from(now).as_nanos();
    u64::try_from(now).expect("a machine is not up for centuries")
}
