//! Sends and receives test packets: for the demo, for tests, for the benchmark.
//!
//! Functions that take a [`Netns`](crate::netns::Netns) open their sockets inside it: a socket belongs to
//! the namespace it was made in, whichever thread uses it later. Everything else acts in the namespace of
//! the calling thread.
//!
//! Nothing here waits without a bound, and a packet that does not come back is a number in a report, not
//! an error. A [`ProbeError`] says that the instrument itself did not work.
//!
//! Integers, ports included, are in the host's byte order; frames and payloads are as on the wire.

pub mod capture;
pub mod error;
pub mod frame;
mod lab;
pub mod measure;
pub mod pattern;
pub mod ping;
pub mod shot;
mod socket;
pub mod stream;
pub mod tcp;

pub use error::ProbeError;
pub use socket::Fragmentation;
