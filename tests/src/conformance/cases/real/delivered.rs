//! What of a socket's data comes in by an interface, in words that do not depend on how the kernel cut it into
//! frames: that differs from one run to the next.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use netpath::probe::{
    capture::{Capture, CapturedFrame, Direction},
    frame::{PROTOCOL_TCP, PROTOCOL_UDP, ParsedFrame, ParsedIp, Transport},
};

use crate::conformance::{lab::Lab, place::Place};

/// Length of a UDP header.
const UDP_HEADER: usize = 8;

/// A watch on the packets to one address.
pub(super) struct Delivery {
    capture: Capture,
    destination: IpAddr,
}

/// What came of one protocol.
#[derive(Default)]
struct Data {
    /// UDP payload, in bytes.
    datagrams: usize,
    /// TCP payload by sequence numbers from the first data byte on: start to end.
    segments: BTreeMap<u32, u32>,
    first: Option<u32>,
    ttls: BTreeSet<u8>,
    tos: BTreeSet<u8>,
    wrong_checksums: usize,
}

impl Delivery {
    /// Begins to watch an interface.
    pub(super) fn watch(lab: &Lab, place: Place, dev: &str, destination: IpAddr) -> Self {
        let open = || Capture::open(dev).unwrap_or_else(|error| panic!("{error}"));
        Self {
            capture: lab.netns(place).run(open).expect("the namespace is there"),
            destination,
        }
    }

    /// What has come in, when all of it has.
    pub(super) fn lines(mut self) -> Vec<String> {
        let mut tcp = Data::default();
        let mut udp = Data::default();
        while let Some(frame) = self.next() {
            let parsed = ParsedFrame::parse(&frame.bytes).and_then(|frame| frame.ip());
            let Ok(packet) = parsed else { continue };
            if frame.direction == Direction::Outgoing || packet.destination != self.destination {
                continue;
            }
            match packet.protocol {
                PROTOCOL_TCP => tcp.add(&frame, &packet),
                PROTOCOL_UDP => udp.add(&frame, &packet),
                _ => {}
            }
        }
        let lost = self.capture.dropped();
        assert_eq!(
            lost.unwrap_or_else(|error| panic!("{error}")),
            0,
            "frames not seen"
        );
        let mut lines = Vec::new();
        if !tcp.ttls.is_empty() {
            lines.push(tcp.line("TCP", tcp.stream()));
        }
        if !udp.ttls.is_empty() {
            lines.push(udp.line("UDP", format!("{} bytes", udp.datagrams)));
        }
        lines
    }

    fn next(&mut self) -> Option<CapturedFrame> {
        let frame = self.capture.next(Duration::ZERO);
        frame.unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Data {
    fn add(&mut self, frame: &CapturedFrame, packet: &ParsedIp<'_>) {
        self.ttls.insert(packet.ttl);
        self.tos.insert(packet.tos);
        if !frame.csum_not_ready && packet.verify_checksums().is_err() {
            self.wrong_checksums += 1;
        }
        match packet.transport() {
            Ok(Transport::Tcp {
                sequence,
                flags,
                payload,
                ..
            }) => {
                const SYN: u8 = 2;
                if flags & SYN != 0 {
                    self.first = Some(sequence.wrapping_add(1));
                }
                if payload.is_empty() {
                    return;
                }
                let start = sequence.wrapping_sub(self.first.expect("a SYN is first"));
                let end = self.segments.entry(start).or_default();
                *end = (*end).max(start.wrapping_add(payload.len() as u32));
            }
            _ => {
                let header = if packet.fragment_offset == 0 {
                    UDP_HEADER
                } else {
                    0
                };
                self.datagrams += packet.payload.len() - header;
            }
        }
    }

    /// The stream, whatever of it came twice.
    fn stream(&self) -> String {
        let mut end = 0;
        let mut holes = 0;
        for (&from, &to) in &self.segments {
            if from > end {
                holes += from - end;
            }
            end = end.max(to);
        }
        format!("{end} bytes of a stream, {holes} of them missing")
    }

    fn line(&self, protocol: &str, what: String) -> String {
        format!(
            "on the wire {protocol}, {what}, TTL {:?}, TOS {:?}, {} wrong checksums",
            self.ttls, self.tos, self.wrong_checksums
        )
    }
}
