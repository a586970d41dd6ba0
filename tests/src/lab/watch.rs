//! What packets of an endpoint's are seen at other interfaces: on the wire, inside another endpoint.

use std::{net::IpAddr, time::Duration};

use netpath::probe::{
    capture::{Capture, CapturedFrame, Direction, Injector},
    frame::{FrameBuilder, ParsedFrame, ParsedIp, Tag, Transport},
};
use netpath_common::Mac;

use crate::{between, system::run_on_one_cpu};

use super::Lab;

/// Far longer than anything here takes, also on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// More queues than a packet passes in a lab. There is one for all veths, the CPU's, and a busy kernel empties it behind the
/// sender's back: what goes through it as often comes later.
const HOPS: u16 = 8;

/// An interface, by its namespace and name.
pub type Interface = (&'static str, &'static str);

/// Where packets are seen.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// What is sent by this interface comes by, behind all that came by before.
    pub by: Interface,
    /// Where that is seen.
    pub at: Interface,
}

impl Place {
    /// What leaves by an interface.
    pub const fn leaving(interface: Interface) -> Self {
        Self {
            by: interface,
            at: interface,
        }
    }

    /// What comes in by `at`, which `by` sends to.
    pub const fn entering(at: Interface, by: Interface) -> Self {
        Self { by, at }
    }
}

/// A packet that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenPacket {
    /// VLAN tags, the outermost first.
    pub tags: Vec<Tag>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// What it carries: IPv4's protocol, or IPv6's next header behind extension headers.
    pub protocol: u8,
    /// The IP packet as it was seen, with what stood behind it in the frame.
    pub bytes: Vec<u8>,
}

/// Sees what goes by at some places.
#[derive(Debug)]
pub struct Watch<const N: usize> {
    places: [(Capture, Injector, bool); N],
    /// Into an endpoint, and what comes in there.
    queue: (Injector, Capture),
    round: u16,
}

impl<const N: usize> Watch<N> {
    /// Starts to watch.
    ///
    /// From now on the calling thread stays on one CPU: what it sends then arrives in the order of sending.
    pub fn new(lab: &Lab, places: [Place; N]) -> Self {
        run_on_one_cpu();
        let open = |Place { by, at }: Place| {
            let capture = lab.capture(at.0, at.1);
            (capture, lab.injector(by.0, by.1), by == at)
        };
        let mut nodes = lab.topology().nodes.iter();
        let first = nodes.find_map(|node| Some((node, node.endpoints.first()?)));
        let (node, endpoint) = first.expect("an endpoint");
        let short = |name: String| name.trim_start_matches(lab.prefix()).to_owned();
        let (outside, inside) = (
            short(node.name.to_string()),
            short(endpoint.name.to_string()),
        );
        Self {
            places: places.map(open),
            queue: (
                lab.injector(&outside, endpoint.host_dev.as_ref()),
                lab.capture(&inside, endpoint.dev.as_ref()),
            ),
            round: 0,
        }
    }

    /// The IP packets that came by at each place since it was last asked, but neighbour discovery and the like.
    pub fn seen(&mut self) -> [Vec<SeenPacket>; N] {
        for _ in 0..HOPS {
            self.round += 1;
            let end = end(self.round);
            self.queue.0.send(&end).expect("send");
            let is_it = |frame: &CapturedFrame| frame.bytes.starts_with(&end);
            let passed = self.queue.1.wait_for(is_it, PATIENCE).expect("capture");
            passed.expect("a frame that passes the queue");
        }
        self.round += 1;
        let end = end(self.round);
        self.places.each_mut().map(|(capture, by, outgoing)| {
            by.send(&end).expect("send");
            let mut seen = Vec::new();
            loop {
                let frame = capture.next(PATIENCE).expect("capture");
                let frame = frame.expect("the frame that ends the round");
                let is_outgoing = frame.direction == Direction::Outgoing;
                if is_outgoing != *outgoing {
                    continue;
                }
                if frame.bytes.starts_with(&end) {
                    break;
                }
                seen.extend(packet(&frame));
            }
            assert_eq!(capture.dropped().expect("capture"), 0, "not captured");
            seen
        })
    }
}

/// A frame of a type that is for experiments (IEEE 802, 0x88b5), to everybody.
fn end(round: u16) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 0x77], &[0x88, 0xb5]].concat();
    frame.extend(round.to_be_bytes());
    frame.resize(60, 0);
    frame
}

fn packet(frame: &CapturedFrame) -> Option<SeenPacket> {
    let bytes = frame.on_wire();
    let ethernet = ParsedFrame::parse(&bytes).expect("an Ethernet frame");
    let ip = ethernet.ip().ok()?;
    let to_all = matches!(frame.direction, Direction::Broadcast | Direction::Multicast);
    (!to_all && !is_chatter(&ip)).then(|| SeenPacket {
        tags: ethernet.tags.clone(),
        source: ip.source,
        destination: ip.destination,
        ttl: ip.ttl,
        protocol: ip.protocol,
        bytes: ethernet.payload.to_vec(),
    })
}

/// Neighbour discovery and multicast listeners' reports, which hosts send when they please.
fn is_chatter(ip: &ParsedIp<'_>) -> bool {
    ip.destination.is_multicast()
        || matches!(
            (ip.source.is_ipv6(), ip.transport()),
            (
                true,
                Ok(Transport::Icmp {
                    kind: 130..=137 | 143,
                    ..
                })
            )
        )
}

/// A UDP datagram that nobody answers, whoever gets it, for its checksum is wrong.
pub fn unanswered(frame: FrameBuilder) -> FrameBuilder {
    let frame = frame.udp(7_001, 7_002).payload(b"netpath");
    frame.forge_transport_checksum(0xbad)
}

impl Lab {
    /// A UDP datagram of an endpoint's to its node, that nobody answers.
    pub fn datagram(&self, node: &str, endpoint: &str, from: IpAddr, to: IpAddr) -> FrameBuilder {
        let record = self.record(node, endpoint);
        let frame = FrameBuilder::new(record.endpoint_mac, record.host_mac);
        unanswered(between(frame, from, to))
    }

    /// An interface's MAC, as the kernel tells it.
    pub fn mac(&self, short: &str, dev: &str) -> Mac {
        let line = self.ip(short, &format!("-o link show dev {dev}"));
        let mut words = line
            .split_whitespace()
            .skip_while(|word| *word != "link/ether");
        let text = words.nth(1).expect("a MAC");
        let mut bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16));
        Mac([(); 6].map(|()| bytes.next().expect("six bytes").expect("hexadecimal")))
    }
}
