//! A quick comparison of paths: request/response latency, and packets per second. For the demo's two lines
//! of numbers; what is to be published takes the benchmark, which repeats, pins and interleaves.

pub mod batch;
mod latency;
mod rate;

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

pub use latency::{Latency, LatencyOptions, Waiting, measure_latency};
pub use rate::{Rate, RateOptions, measure_rate};

use super::{
    ProbeError,
    error::io_error,
    socket::{bind_udp, check_families},
};
use crate::netns::Netns;

/// How long a blocking receive lasts before it looks whether it is to end.
const RECEIVE_TICK: Duration = Duration::from_millis(20);

/// A bound pair of sockets; the sender's is connected, so that its kernel looks the route up once and an
/// ICMP error is reported at once.
pub struct Pair {
    /// Connected to the receiver.
    pub sender: UdpSocket,
    /// The sender and its namespace, for errors.
    pub sender_name: String,
    /// Bound; its receives end after a moment.
    pub receiver: UdpSocket,
    /// The receiver and its namespace, for errors.
    pub receiver_name: String,
}

impl Pair {
    /// Opens both, each in its namespace.
    ///
    /// # Errors
    /// When the addresses are of two families, or one cannot be used within `deadline`.
    pub fn open(
        from: &Netns,
        to: &Netns,
        src: IpAddr,
        dst: SocketAddr,
        deadline: Duration,
    ) -> Result<Self, ProbeError> {
        check_families(src, dst.ip())?;
        let (receiver, receiver_name) = bind_udp(to, dst, deadline)?;
        set_receive_timeout(&receiver, RECEIVE_TICK, &receiver_name)?;
        let target = receiver
            .local_addr()
            .map_err(|source| io_error(&receiver_name, "getsockname", source))?;
        let (sender, sender_name) = bind_udp(from, SocketAddr::new(src, 0), deadline)?;
        sender
            .connect(target)
            .map_err(|source| io_error(&sender_name, "connect", source))?;
        Ok(Self {
            sender,
            sender_name,
            receiver,
            receiver_name,
        })
    }
}

/// Sets a flag when dropped, so that another thread is told to end however its owner's function ends.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn set_receive_timeout(
    socket: &UdpSocket,
    timeout: Duration,
    object: &str,
) -> Result<(), ProbeError> {
    // The kernel counts in microseconds, and takes zero for "for ever".
    socket
        .set_read_timeout(Some(timeout.max(Duration::from_micros(1))))
        .map_err(|source| io_error(object, "SO_RCVTIMEO", source))
}

/// Whether a receive merely found nothing, for now.
pub fn is_empty(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
