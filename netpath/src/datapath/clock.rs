//! The clock of the programs.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC_COARSE`, which `bpf_ktime_get_coarse_ns` tells.
pub fn coarse_now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).expect("every kernel has this clock");
    let now = Duration::from(now).as_nanos();
    u64::try_from(now).expect("a machine is not up for centuries")
}
