//! The log of programs that were built with logging.

use std::{
    net::IpAddr,
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, Ordering},
};

use aya::programs::ProgramInfo;
use aya_log::EbpfLogger;
use netpath_common::{HopKey, Ifindex};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Datapath, ProgramKind, error::DatapathError};

/// How long a signal may be missed, in milliseconds.
const PATIENCE: u8 = 100;

/// The ring buffer that a node's programs log to. One object has one, whichever of its programs writes.
#[derive(Debug)]
pub struct DatapathLog {
    program: u32,
}

impl DatapathLog {
    /// Of a node whose programs were loaded with logging.
    ///
    /// # Errors
    /// When the programs are not pinned.
    pub fn of(datapath: &Datapath) -> Result<Self, DatapathError> {
        let kind = ProgramKind::FromEndpoint;
        let info = ProgramInfo::from_pin(datapath.pins.program(kind.name())).map_err(|source| {
            DatapathError::Program {
                program: kind.name(),
                dev: None,
                source,
            }
        })?;
        Ok(Self { program: info.id() })
    }

    /// Gives each packet to `sink` until `stop` is set. Those that come faster than they are read are lost; the counters never
    /// are.
    ///
    /// # Errors
    /// When the programs were built without logging.
    pub fn run(
        &self,
        stop: &AtomicBool,
        sink: impl Fn(LoggedPacket) + Send + Sync + 'static,
    ) -> Result<(), DatapathError> {
        let mut logger = EbpfLogger::init_from_id_with_logger(self.program, Lines(sink))?;
        while !stop.load(Ordering::Relaxed) {
            let mut ready = [PollFd::new(logger.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::from(PATIENCE)) {
                // A signal: the loop's condition looks at it.
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(errno) => {
                    return Err(super::error::file("the log's ring buffer", "poll")(
                        errno.into(),
                    ));
                }
            }
            logger.flush();
        }
        Ok(())
    }
}

/// A packet that a program logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedPacket {
    /// Where it came from, where it went, and why: the row that it is counted in.
    pub hop: HopKey,
    /// `skb->len`, in bytes.
    pub length: u32,
    /// Its source and its destination, where it is a plain IP packet.
    pub addresses: Option<[IpAddr; 2]>,
}

impl LoggedPacket {
    /// From a line as `netpath-ebpf/src/log.rs` writes it.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut number = || words.next()?.parse::<u32>().ok();
        let hop = HopKey {
            ingress: Ifindex(number()?),
            egress: Ifindex(number()?),
            outcome: number()?.try_into().ok()?,
            reason: number()?.try_into().ok()?,
            padding: 0,
        };
        let length = number()?;
        let mut addresses = words.map(str::parse::<IpAddr>);
        let addresses = match (addresses.next(), addresses.next()) {
            (None, _) => None,
            (Some(source), Some(destination)) => Some([source.ok()?, destination.ok()?]),
            (Some(_), None) => return None,
        };
        Some(Self {
            hop,
            length,
            addresses,
        })
    }
}

/// aya-log speaks to the `log` crate.
struct Lines<S>(S);

impl<S: Fn(LoggedPacket) + Send + Sync> log::Log for Lines<S> {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = record.args().to_string();
        match LoggedPacket::parse(&line) {
            Some(packet) => (self.0)(packet),
            // Of a program of another version, which an `up` meanwhile put there.
            None => tracing::warn!("a program logged what this version does not know: {line}"),
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whole_or_not_at_all() {
        let hop = HopKey {
            ingress: Ifindex(3),
            egress: Ifindex(5),
            reason: 0,
            outcome: 1,
            padding: 0,
        };
        let packet = |addresses: Option<[&str; 2]>| LoggedPacket {
            hop,
            length: 98,
            addresses: addresses.map(|both| both.map(|text| text.parse().expect("an address"))),
        };
        let parse = LoggedPacket::parse;
        assert_eq!(parse("3 5 1 0 98"), Some(packet(None)));
        let v4 = Some(["10.0.1.2", "10.0.2.2"]);
        assert_eq!(parse("3 5 1 0 98 10.0.1.2 10.0.2.2"), Some(packet(v4)));
        let v6 = Some(["fd00:1::2", "fd00:2::2"]);
        assert_eq!(parse("3 5 1 0 98 fd00:1::2 fd00:2::2"), Some(packet(v6)));
        for line in [
            "",
            "3 5 1 0",
            "3 5 256 0 98",
            "3 5 1 0 98 10.0.1.2",
            "3 5 1 0 98 a b",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
