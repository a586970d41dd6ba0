//! Waiting for conditions.

use std::time::{Duration, Instant};

use crate::kernel::more_than_enough;

/// A bound on waiting for a condition.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// Ten seconds from now: long enough for a busy machine.
    #[expect(clippy::new_without_default, reason = "now is not a default")]
    pub fn new() -> Self {
        Self::within(Duration::from_secs(10))
    }

    /// So long from now, as this machine goes: later where the processors are emulated.
    pub fn within(time: Duration) -> Self {
        Self(Instant::now() + more_than_enough(time))
    }

    /// Fails when the time is over.
    pub fn check(self, what: impl FnOnce() -> String) {
        assert!(Instant::now() < self.0, "{}", what());
    }
}
