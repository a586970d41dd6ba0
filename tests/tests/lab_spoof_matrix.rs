//! A hundred thousand forged frames on the wire, from an endpoint and from outside, each another one: owners of the source,
//! destinations, wrappings, fragments, options, transports, families. None arrives, and each is counted for what it is.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, UdpSocket},
    time::Duration,
};

use netpath::probe::{
    capture::{CapturedFrame, Injector},
    frame::FrameBuilder,
};
use netpath_common::Mac;
use netpath_tests::{
    Wrapping,
    lab::{
        Bytes::{self, Exactly},
        Lab, TWO_NODES, addresses,
    },
};

const FORGED: u16 = 4_001;

/// A sender's MAC that is nobody's, and no destination's either: the wire's bridge would learn where that is.
const FORGED_MAC: Mac = Mac([2, 0, 0, 0, 0x5a, 0x5a]);

/// In every forged frame, and in no other.
const MARK: [u8; 25] = *b"nobody sends such a thing";

/// Addresses of the nodes that no topology names.
const OTHERS: [&str; 2] = ["10.9.9.9", "fd99::9"];

/// Frames of both directions together.
const FRAMES: u64 = 100_000;

/// Whose a source is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Somebody's who is not the sender.
    Other,
    /// Nobody's ever.
    Martian,
}

/// From where to where.
struct Way<'a> {
    node: &'static str,
    dev: &'static str,
    outside: (&'static str, &'static str),
    macs: (Mac, Mac),
    sources: Vec<(IpAddr, Owner)>,
    /// Endpoints and nodes.
    receivers: &'a [&'static str],
    /// Whether what is around a frame may make it another's business ([ADR 4](../../docs/adr)).
    is_uplink: bool,
}

fn parse(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn martians() -> impl Iterator<Item = (IpAddr, Owner)> {
    let martians = [
        "127.0.0.1",
        "240.0.0.1",
        "224.0.0.1",
        "::1",
        "ff02::1",
        "::ffff:10.0.2.2",
    ];
    martians
        .into_iter()
        .map(|text| (parse(text), Owner::Martian))
}

fn others(names: &[&str], more: &[&str]) -> impl Iterator<Item = (IpAddr, Owner)> {
    let named: Vec<IpAddr> = names.iter().flat_map(|name| addresses(name)).collect();
    let more: Vec<IpAddr> = more.iter().map(|text| parse(text)).collect();
    named
        .into_iter()
        .chain(more)
        .map(|address| (address, Owner::Other))
}

/// What is in a packet, by a number below [`SHAPES`].
const SHAPES: u32 = 10;

fn shaped(frame: FrameBuilder, shape: u32, is_ipv4: bool) -> FrameBuilder {
    // Router alert (RFC 2113, RFC 2711), record route (RFC 791), padding.
    let options: &[u8] = if shape == 3 {
        &[148, 4, 0, 0]
    } else {
        &[7, 7, 4, 0, 0, 0, 0]
    };
    let extension = |number: u8, data: &[u8]| (number, data.to_vec());
    let (number, data) = match shape {
        3 => extension(0, &[5, 2, 0, 0]),
        4 => extension(60, &[1, 4, 0, 0, 0, 0]),
        _ => extension(43, &[4, 0, 0, 0, 0, 0]),
    };
    let udp = |frame: FrameBuilder| frame.udp(4_000, FORGED);
    match shape {
        0 => udp(frame),
        1 => udp(frame).fragment(0, true),
        2 => frame.protocol(17).fragment(1_480, false),
        3..=5 if is_ipv4 && shape < 5 => udp(frame.options(options)),
        5 if is_ipv4 => udp(frame.dont_fragment()),
        3..=5 => udp(frame.extension(number, &data)),
        6 => frame.tcp(4_000, FORGED, 2),
        7 if is_ipv4 => frame.icmp(8, 0, [0, 1, 0, 1]),
        7 => frame.icmp(128, 0, [0, 1, 0, 1]),
        8 => udp(frame).ttl(1),
        9 => frame.protocol(47),
        other => panic!("{other}"),
    }
}

/// What is counted, by row of the table.
type Counted = BTreeMap<String, (u64, u64)>;

impl Way<'_> {
    /// As what a frame is to be counted.
    fn row(&self, owner: Owner, wrapping: Option<&Wrapping>) -> String {
        let for_others = wrapping.filter(|it| self.is_uplink && it.is_for_others());
        let verdict = match (owner, for_others) {
            // From one address of this node to another nothing comes from outside, whatever is around it.
            (Owner::Other, _) => "drop spoofed".to_owned(),
            (Owner::Martian, None) => "drop martian_source".to_owned(),
            // Of another interface or host: the kernel's.
            (Owner::Martian, Some(wrapping)) => format!("punt {}", wrapping.reason.name()),
        };
        format!("{} > - {verdict}", self.dev)
    }

    /// Sends one frame of each kind; `round` makes them others than those of another round.
    fn send(&self, injector: &Injector, round: u32, counted: &mut Counted) {
        let plain = [None];
        for &(source, owner) in &self.sources {
            let receivers = self.receivers.iter().flat_map(|name| addresses(name));
            for destination in receivers.filter(|it| it.is_ipv4() == source.is_ipv4()) {
                for shape in 0..SHAPES {
                    let bytes = self.packet(source, destination, shape, round);
                    let all = Wrapping::ALL.iter().map(Some);
                    for wrapping in plain.into_iter().chain(all) {
                        let frame = wrapping.map_or_else(|| bytes.clone(), |it| it.wrap(&bytes));
                        let seen = wrapping.map_or(frame.len(), |it| it.seen(&frame));
                        injector.send(&frame).expect("send");
                        let row = counted.entry(self.row(owner, wrapping)).or_default();
                        row.0 += 1;
                        row.1 += seen as u64;
                    }
                }
            }
        }
    }

    /// A plain Ethernet frame. Rounds differ in the sender's MAC, in the type of service, in the payload's length.
    fn packet(&self, source: IpAddr, destination: IpAddr, shape: u32, round: u32) -> Vec<u8> {
        let mac = if round & 1 == 0 {
            self.macs.0
        } else {
            FORGED_MAC
        };
        let frame = FrameBuilder::new(mac, self.macs.1);
        let frame = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => frame.ipv4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => frame.ipv6(source, destination),
            mixed => panic!("{mixed:?}"),
        };
        let frame = shaped(frame, shape, source.is_ipv4());
        let tos = (round as u8 >> 1) << 2;
        let mut payload = MARK.to_vec();
        payload.resize(40 + 8 * round as usize, 0);
        frame.tos(tos).payload(&payload).build()
    }
}

/// Whether a frame is one of the test's.
fn is_forged(frame: &CapturedFrame) -> bool {
    frame.bytes.windows(MARK.len()).any(|bytes| bytes == MARK)
}

/// Sends rounds of all kinds until there are so many, and fails if one arrives or is not counted.
fn run(lab: &Lab, way: &Way<'_>, frames: u64) -> u64 {
    let (place, dev) = way.outside;
    let injector = lab.injector(place, dev);
    let endpoints = way.receivers.iter().filter(|name| name.len() == 2);
    let mut captures: Vec<_> = endpoints
        .map(|name| (name, lab.capture(name, "eth0")))
        .collect();
    let open = || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, FORGED)).expect("a socket");
    let socket = lab.inside(way.node, open);
    socket.set_nonblocking(true).expect("not blocking");
    let before = lab.traffic(way.node);
    let mut counted = Counted::new();
    let mut round = 0;
    let sent = |counted: &Counted| counted.values().map(|row| row.0).sum::<u64>();
    while sent(&counted) < frames {
        way.send(&injector, round, &mut counted);
        round += 1;
    }
    // Left out of what is expected, as hosts tell their link so when they please: looked at by itself.
    let to_others = format!("{} > - punt not_to_this_host", way.dev);
    let expected: Vec<(&str, u64, Bytes)> = counted
        .iter()
        .filter(|(row, _)| **row != to_others)
        .map(|(row, (packets, bytes))| (row.as_str(), *packets, Exactly(*bytes)))
        .collect();
    lab.assert_counted(way.node, &before, &expected);
    if let Some(&expected) = counted.get(&to_others) {
        let since = lab.traffic(way.node).since(&before);
        assert_eq!(since.row(&to_others), expected, "{to_others}");
    }
    for (name, capture) in &mut captures {
        let seen = capture
            .wait_for(is_forged, Duration::ZERO)
            .expect("capture");
        assert_eq!(seen, None, "at {name}");
        assert_eq!(
            capture.dropped().expect("asked"),
            0,
            "{name}: all was looked at"
        );
    }
    let arrived = socket.recv(&mut [0; 64]);
    assert!(arrived.is_err(), "node {} got {arrived:?}", way.node);
    sent(&counted)
}

/// The kernel of each node lets through what netpath leaves to it, so that what is not dropped arrives.
#[test]
fn a_hundred_thousand_forged_frames_go_nowhere() {
    let lab = Lab::up(&TWO_NODES.replace("forward_policy = \"drop\"\n", ""));
    for node in ["A", "B"] {
        lab.ip(node, "addr add 10.9.9.9/32 dev lo");
        lab.ip(node, "addr add fd99::9/128 dev lo nodad");
    }
    lab.converge();
    let record = lab.record("A", "a1");
    // The neighbour's, another node's endpoint's, the node's own, nobody's, one of its own prefix.
    let unowned = ["192.0.2.1", "2001:db8::1", "10.0.1.77", "fd00:1::77"];
    let more = [OTHERS.as_slice(), &unowned].concat();
    let from_an_endpoint = Way {
        node: "A",
        dev: "va1",
        outside: ("a1", "eth0"),
        macs: (record.endpoint_mac, record.host_mac),
        sources: others(&["a2", "b1", "A", "B"], &more)
            .chain(martians())
            .collect(),
        receivers: &["a2", "b1", "A"],
        is_uplink: false,
    };
    let from_outside = Way {
        node: "B",
        dev: "up0",
        outside: ("A", "up0"),
        macs: (lab.uplink_mac("A"), lab.uplink_mac("B")),
        sources: others(&["b1", "b2", "B"], &OTHERS)
            .chain(martians())
            .collect(),
        receivers: &["b1", "b2", "B"],
        is_uplink: true,
    };
    let sent = [from_an_endpoint, from_outside].map(|way| run(&lab, &way, FRAMES / 2));
    println!("{sent:?} frames");
    assert!(sent.iter().sum::<u64>() >= FRAMES);
}
