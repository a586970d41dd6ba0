//! What the kernel does with one packet in one namespace: the way that it would take through netfilter's hooks, the
//! routes, the checks of forwarding and the neighbours, to where it leaves, is delivered, or ends.
//!
//! [`State::read`] reads what the way depends on, once; [`ask`] follows a packet through it and asks the kernel for routes
//! ([`Kernel`]). Nothing is sent and nothing is changed. What cannot be known (a match that is not understood, a limit, a
//! random number) is named, and both outcomes are followed: an [`Answer`] has one [`Way`] for each end that the packet may
//! come to.
//!
//! ```no_run
//! # use netpath::{kernel_way::{self, *}, netns::Inside};
//! # fn f(inside: &Inside<'_>, question: &Question) -> Result<(), KernelWayError> {
//! let state = State::read(inside)?;
//! let answer = kernel_way::ask(&state, &Live::open(inside)?, question)?;
//! match answer.certain() {
//!     Some(end) => assert!(matches!(end, End::Delivered { .. })),
//!     None => assert_ne!(answer.unknown().len(), 0),
//! }
//! # Ok(())
//! # }
//! ```

mod answer;
mod choices;
mod error;
mod kernel;
mod packet;
mod rules;
mod state;
#[cfg(test)]
mod tests;
mod walk;

pub use self::{
    answer::{
        Answer, Cause, End, IcmpError, Leaving, NextHopState, Outcome, Place, RuleAt, Step,
        Supposed, Unknown, Way,
    },
    error::KernelWayError,
    kernel::{Kernel, Live},
    packet::{Connection, Entry, Packet, Question, Tracked, Transport, Tuple},
    state::{LEGACY, Program, State},
    walk::ask,
};
