//! Why a packet was punted or dropped.

use netpath_common::{DropReason, Outcome, PuntReason};
use serde::{Serialize, Serializer};

/// Why a packet was punted or dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Left to the kernel.
    Punt(PuntReason),
    /// Dropped.
    Drop(DropReason),
    /// One that a newer netpath counts.
    Unknown(u16),
}

impl Reason {
    pub(super) fn of(outcome: Outcome, number: u16) -> Option<Self> {
        let known = match outcome {
            _ if number == 0 => return None,
            Outcome::Punt => PuntReason::from_number(number).map(Self::Punt),
            Outcome::Drop => DropReason::from_number(number).map(Self::Drop),
            Outcome::RedirectPeer | Outcome::RedirectNeigh | Outcome::Deliver => None,
        };
        Some(known.unwrap_or(Self::Unknown(number)))
    }
}

/// Its stable snake_case name; `reason_<number>` where there is none.
impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Punt(reason) => f.pad(reason.name()),
            Self::Drop(reason) => f.pad(reason.name()),
            Self::Unknown(number) => write!(f, "reason_{number}"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
