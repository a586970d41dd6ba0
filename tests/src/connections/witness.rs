//! What arrives at the ends of connections, seen on their interfaces.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use netpath::probe::{
    capture::{Capture, CapturedFrame, Direction},
    frame::{ParsedFrame, Transport},
};

use super::address;
use crate::{Family, lab::Lab};

/// Packets from one address to another that have come in at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    /// Where.
    pub at: &'static str,
    /// From whom, as it stands in them.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
}

impl Arrival {
    /// Packets to a place's own address.
    pub fn new(at: &'static str, source: IpAddr) -> Self {
        let family = if source.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        };
        Self {
            at,
            source,
            destination: address(at, family),
        }
    }
}

/// Sees what comes in at some places.
#[derive(Debug)]
pub struct Witness {
    captures: Vec<(&'static str, Capture)>,
}

impl Witness {
    /// Starts to watch endpoints and, of nodes, only `X`: what goes through a node's uplink is nobody's end there.
    pub fn new(lab: &Lab, places: &[&'static str]) -> Self {
        let places: BTreeSet<&'static str> = places.iter().copied().collect();
        let captures = places.into_iter().filter_map(|place| {
            let dev = match place {
                "A" | "B" => return None,
                "X" => "up0",
                _ => "eth0",
            };
            Some((place, lab.capture(place, dev)))
        });
        Self {
            captures: captures.collect(),
        }
    }

    /// What has come in of a protocol since it was last asked, each kind of packet once: from or to one of these ports, or
    /// fragments that have none.
    pub fn seen(&mut self, protocol: u8, ports: &[u16]) -> BTreeSet<Arrival> {
        let mut seen = BTreeSet::new();
        self.each(|at, frame| {
            let Ok(ip) = ParsedFrame::parse(&frame.bytes).and_then(|it| it.ip()) else {
                return;
            };
            let is_meant = match ip.transport() {
                Ok(
                    Transport::Udp {
                        source_port,
                        destination_port,
                        ..
                    }
                    | Transport::Tcp {
                        source_port,
                        destination_port,
                        ..
                    },
                ) => ports.contains(&source_port) || ports.contains(&destination_port),
                Ok(Transport::Icmp { .. } | Transport::Other(_)) | Err(_) => true,
            };
            if ip.protocol == protocol && is_meant {
                let (source, destination) = (ip.source, ip.destination);
                seen.insert(Arrival {
                    at,
                    source,
                    destination,
                });
            }
        });
        seen
    }

    /// Every frame that has come in since it was last asked.
    pub fn each(&mut self, mut take: impl FnMut(&'static str, &CapturedFrame)) {
        for (place, capture) in &mut self.captures {
            while let Some(frame) = capture.next(Duration::ZERO).expect("capture") {
                if frame.direction != Direction::Outgoing {
                    take(place, &frame);
                }
            }
            assert_eq!(capture.dropped().expect("capture"), 0, "not captured");
        }
    }
}
