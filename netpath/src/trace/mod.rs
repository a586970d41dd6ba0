//! Observes real packets: probes on their way, or the traffic of an endpoint.
//!
//! What the kernel's own tracepoints tell (received, sent, dropped and why, consumed) and what netpath's programs decide is put
//! together by the packet, hop by hop.

mod btf;
mod error;
mod fate;
pub mod filter;
mod kernel;
mod packet;
pub mod pcapng;
mod places;
mod reason;
mod session;

pub use self::{
    error::TraceError,
    fate::{Fate, Target, Why, fate, why},
    filter::Filter,
    kernel::Kernel,
    packet::{Decision, Drop, Follower, OF_A_WHOLE, Packet, Step, Summary, What},
    places::{Place, Places, Role},
    reason::{Meaning, is_arrival, meaning},
    session::{Direction, Found, LiveRequest, ProbeRequest, Session, Traced},
};
