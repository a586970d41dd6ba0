//! The receiving side of a stream.

use std::{
    io::PipeReader,
    net::UdpSocket,
    os::fd::AsFd as _,
    sync::atomic::Ordering,
    thread::Thread,
    time::{Duration, Instant},
};

use nix::poll::PollFlags;

use super::{
    Progress, StreamReport,
    datagram::{Datagrams, Verdict},
};
use crate::probe::{
    ProbeError,
    error::io_error,
    socket::{DRAIN_MAX, Wake, receive, socket_drops, wait},
};

pub(super) struct Receiver<'a> {
    pub(super) socket: UdpSocket,
    pub(super) object: String,
    pub(super) datagrams: Datagrams,
    pub(super) packets: u64,
    pub(super) quiet: Duration,
    pub(super) deadline: Instant,
    pub(super) progress: &'a Progress,
    pub(super) sender: Thread,
}

/// What has arrived: the receiver's part of the report.
#[derive(Default)]
pub(super) struct Arrivals {
    pub(super) report: StreamReport,
    pub(super) last: Option<Instant>,
    seen: Vec<u64>,
}

impl Receiver<'_> {
    /// Receives until all that was sent is here, or nothing more can be expected. The other end of `stop` is
    /// closed when the sender has finished.
    pub(super) fn run(self, stop: PipeReader) -> Result<Arrivals, ProbeError> {
        let mut arrivals = Arrivals::default();
        // One byte more than expected tells a datagram that is too long.
        let mut buffer = vec![0; self.datagrams.payload_len + 1];
        let mut stop = Some(stop);
        let mut finished_at = None;
        let mut over = false;
        loop {
            let before = arrivals.last;
            self.drain(&mut buffer, &mut arrivals)?;
            if over && arrivals.last == before {
                break;
            }
            let mut until = self.deadline;
            if let Some(finished_at) = finished_at {
                if arrivals.report.distinct >= self.progress.sent.load(Ordering::Acquire) {
                    break;
                }
                let since = arrivals.last.map_or(finished_at, |at| at.max(finished_at));
                until = until.min(since + self.quiet);
            }
            let wake = wait(
                self.socket.as_fd(),
                PollFlags::POLLIN,
                stop.as_ref().map(|pipe| pipe.as_fd()),
                until,
            )
            .map_err(|errno| io_error(&self.object, "poll", errno))?;
            // Once the time is up, what has arrived by then is still taken; others' datagrams, which may keep
            // the socket ready without end, do not prolong it.
            over = Instant::now() >= until;
            if wake == Wake::Stopped {
                finished_at = Some(Instant::now());
                stop = None;
                over = false;
            }
        }
        arrivals.report.socket_drops = socket_drops(self.socket.as_fd(), &self.object)?;
        Ok(arrivals)
    }

    fn drain(&self, buffer: &mut [u8], arrivals: &mut Arrivals) -> Result<(), ProbeError> {
        for _ in 0..DRAIN_MAX {
            let Some(datagram) = receive(self.socket.as_fd(), buffer)
                .map_err(|errno| io_error(&self.object, "receive", errno))?
            else {
                return Ok(());
            };
            let report = &mut arrivals.report;
            match self.datagrams.verify(&buffer[..datagram.len], self.packets) {
                Verdict::Foreign => {
                    report.foreign += 1;
                    continue;
                }
                Verdict::Corrupted => report.corrupted += 1,
                Verdict::Intact(sequence) => {
                    report.received += 1;
                    if mark(&mut arrivals.seen, sequence) {
                        report.distinct += 1;
                        self.progress
                            .arrived
                            .store(report.distinct, Ordering::Release);
                        self.sender.unpark();
                    }
                }
            }
            report.sources.extend(datagram.source);
            report.ttls.extend(datagram.ttl);
            report.tos.extend(datagram.tos);
            arrivals.last = Some(Instant::now());
        }
        Ok(())
    }
}

/// Notes a sequence number, one bit each; tells whether it is new.
fn mark(seen: &mut Vec<u64>, sequence: u64) -> bool {
    let (word, bit) = ((sequence / 64) as usize, 1 << (sequence % 64));
    if seen.len() <= word {
        seen.resize(word + 1, 0);
    }
    let new = seen[word] & bit == 0;
    seen[word] |= bit;
    new
}
