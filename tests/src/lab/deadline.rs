//! Waiting for conditions.

use std::time::{Duration, Instant};

/// A bound on waiting for a condition.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// Ten seconds from now: long enough for a busy machine.
    #[expect(clippy::new_without_default, reason = "now is not a default")]
    pub fn new() -> Self {
        Self::within(Duration::from_secs(10))
    }

    /// So long from now.
    pub fn within(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Fails when the time is over.
    pub fn check(self, what: impl FnOnce() -> String) {
        assert!(Instant::now() < self.0, "{}", what());
    }
}
