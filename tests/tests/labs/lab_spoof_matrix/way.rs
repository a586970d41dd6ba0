//! From where to where forged frames go, and what becomes of them.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, UdpSocket},
    time::Duration,
};

use netpath::probe::{
    capture::{CapturedFrame, Injector},
    frame::FrameBuilder,
};
use netpath_common::Mac;
use netpath_tests::{
    Wrapping, between,
    lab::{
        Bytes::{self, Exactly},
        Lab, listener,
    },
};

use super::shape::{MARK, PORTS, SHAPES, packet};

/// Whose a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Somebody's who is not the sender.
    Other,
    /// Nobody's ever.
    Martian,
    /// Good on one link only, and nobody's in particular.
    Link,
}

/// From where to where.
pub struct Way<'a> {
    /// The node that judges.
    pub node: &'static str,
    /// The interface of it that they come in by.
    pub dev: &'static str,
    /// The interface that sends them.
    pub outside: (&'static str, &'static str),
    /// The MACs of the two.
    pub macs: (Mac, Mac),
    /// Sources.
    pub sources: Vec<(IpAddr, Owner)>,
    /// Destinations.
    pub destinations: Vec<IpAddr>,
    /// Those of them that are not on the node.
    pub elsewhere: &'a [IpAddr],
    /// Endpoints that none may come to.
    pub endpoints: &'a [&'static str],
    /// Whether what is around a frame may make it another's business ([ADR 4](../../docs/adr)).
    pub is_uplink: bool,
    /// What goes its way beside them, of each family.
    pub honest: [Honest; 2],
}

/// A packet with a source that is right, and the same ports as what is forged.
pub struct Honest {
    /// The interface that sends it.
    pub from: (&'static str, &'static str),
    /// Its MACs.
    pub macs: (Mac, Mac),
    /// Its addresses.
    pub ends: (IpAddr, IpAddr),
    /// The endpoint that it is for.
    pub to: &'static str,
    /// As what the node counts it.
    pub row: &'static str,
}

/// So many forged frames for each time that honest packets are sent.
const BESIDE: usize = 2_500;
/// As many at once: the decision cache remembers what it has seen twice within a tick, and decides of the third. A tick may
/// end between any two of them.
const AT_ONCE: u64 = 8;
const HONEST: [u8; 40] = [0x48; 40];

/// What is counted, by row of the table.
type Counted = BTreeMap<String, (u64, u64)>;

/// One of the frames there are.
struct Frame {
    wrapping: Option<Wrapping>,
    owner: Owner,
    destination: IpAddr,
    bytes: Vec<u8>,
}

impl Way<'_> {
    /// As what a frame is to be counted.
    fn row(&self, frame: &Frame) -> String {
        let wrapping = frame.wrapping;
        let for_others = wrapping.filter(|it| self.is_uplink && it.is_for_others());
        let is_elsewhere = self.elsewhere.contains(&frame.destination);
        let verdict = match (frame.owner, for_others) {
            // From one address of this node to another nothing comes from outside, whatever is around it.
            (Owner::Other, Some(wrapping)) if is_elsewhere => {
                format!("punt {}", wrapping.reason.name())
            }
            (Owner::Other, _) => "drop spoofed".to_owned(),
            (Owner::Martian, None) => "drop martian_source".to_owned(),
            // Of another interface or host: the kernel's.
            (Owner::Martian, Some(wrapping)) => format!("punt {}", wrapping.reason.name()),
            (Owner::Link, _) => match wrapping {
                Some(wrapping) => format!("punt {}", wrapping.reason.name()),
                None if frame.destination.is_multicast() => "punt multicast".to_owned(),
                None => "punt link_local".to_owned(),
            },
        };
        format!("{} > - {verdict}", self.dev)
    }

    /// The pairs of one family each.
    fn pairs(&self) -> Vec<(IpAddr, Owner, IpAddr)> {
        let sources = self.sources.iter();
        let pairs = sources.flat_map(|&(source, owner)| {
            let destinations = self.destinations.iter();
            let of_family = destinations.filter(move |it| it.is_ipv4() == source.is_ipv4());
            of_family.map(move |&destination| (source, owner, destination))
        });
        // Who looks for an address asks everybody, and rightly.
        let asks = |&(source, _, destination): &(IpAddr, Owner, IpAddr)| {
            source.is_unspecified() && destination.is_multicast()
        };
        pairs.filter(|pair| !asks(pair)).collect()
    }

    /// The frame of a number. Those that follow one another differ in everything: any number of them has some of each kind.
    fn frame(&self, pairs: &[(IpAddr, Owner, IpAddr)], shapes: usize, number: usize) -> Frame {
        /// A prime number that divides no number of kinds.
        const STRIDE: usize = 7_919;
        let wrappings = Wrapping::ALL.len() + 1;
        let kinds = pairs.len() * shapes * wrappings;
        assert_ne!(kinds % STRIDE, 0);
        let (round, kind) = (number / kinds, number * STRIDE % kinds);
        let (source, owner, destination) = pairs[kind % pairs.len()];
        let rest = kind / pairs.len();
        let wrapping = (rest / shapes)
            .checked_sub(1)
            .map(|index| Wrapping::ALL[index]);
        let plain = packet(self.macs, (source, destination), rest % shapes, round);
        let bytes = wrapping.map_or_else(|| plain.clone(), |it| it.wrap(&plain));
        Frame {
            wrapping,
            owner,
            destination,
            bytes,
        }
    }
}

impl Honest {
    /// Sends a few at once and waits for them.
    fn send(&self, lab: &Lab, socket: &UdpSocket) {
        let frame = between(
            FrameBuilder::new(self.macs.0, self.macs.1),
            self.ends.0,
            self.ends.1,
        );
        let frame = frame.udp(PORTS.0, PORTS.1).payload(&HONEST).build();
        let injector = lab.injector(self.from.0, self.from.1);
        for _ in 0..AT_ONCE {
            injector.send(&frame).expect("send");
        }
        let mut payload = [0; 2_000];
        for _ in 0..AT_ONCE {
            let (length, sender) = socket.recv_from(&mut payload).expect(self.row);
            assert_eq!(payload[..length], HONEST, "{}: from {sender}", self.row);
            assert_eq!(sender.ip().to_canonical(), self.ends.0);
        }
    }

    fn bytes(&self) -> u64 {
        let header = if self.ends.0.is_ipv4() { 20 } else { 40 };
        14 + header + 8 + HONEST.len() as u64
    }
}

/// Whether a frame is one of the test's.
fn is_forged(frame: &CapturedFrame) -> bool {
    frame.bytes.windows(MARK.len()).any(|bytes| bytes == MARK)
}

/// How many packets a node's decision cache has decided of.
fn hits(lab: &Lab, node: &str) -> u64 {
    let rows = lab
        .datapath(node)
        .maps
        .hop_hits
        .all()
        .expect("the rows of hits");
    rows.values().map(|row| row.packets).sum()
}

/// What hosts tell their own link when they please is counted in these rows, too, which are looked at by themselves.
fn is_chatter(row: &str) -> bool {
    [" punt not_to_this_host", " punt multicast"]
        .iter()
        .any(|end| row.ends_with(end))
}

/// Sends so many, and fails if one arrives or is not counted.
pub fn run(lab: &Lab, way: &Way<'_>, frames: usize) {
    send(lab, way, SHAPES, frames, true);
}

/// The same with plain datagrams alone, each once, which may come to the node itself.
pub fn run_once(lab: &Lab, way: &Way<'_>) {
    let frames = way.pairs().len() * (Wrapping::ALL.len() + 1);
    send(lab, way, 1, frames, false);
}

fn send(lab: &Lab, way: &Way<'_>, shapes: usize, frames: usize, node_is_silent: bool) {
    let injector = lab.injector(way.outside.0, way.outside.1);
    let endpoints = way.endpoints.iter();
    let mut captures: Vec<_> = endpoints
        .map(|name| (name, lab.capture(name, "eth0")))
        .collect();
    let socket = lab.inside(way.node, || listener(PORTS.1));
    socket.set_nonblocking(true).expect("not blocking");
    // Of both families.
    let receiver = lab.inside(way.honest[0].to, || listener(PORTS.1));
    let patience = Some(Duration::from_secs(3));
    receiver.set_read_timeout(patience).expect("a time limit");
    let (before, hits) = (lab.traffic(way.node), hits(lab, way.node));
    let (counted, repeats) = send_all(lab, way, (&injector, &receiver), shapes, frames);
    let counted_honest = way.honest.iter().map(|it| (it.row, it.bytes()));
    let mut expected: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (row, bytes) in counted_honest {
        let sum = expected.entry(row).or_default();
        *sum = (sum.0 + repeats, sum.1 + repeats * bytes);
    }
    expected.extend(counted.iter().map(|(row, sum)| (row.as_str(), *sum)));
    let exactly: Vec<(&str, u64, Bytes)> = expected
        .iter()
        .filter(|(row, _)| !is_chatter(row))
        .map(|(row, (packets, bytes))| (*row, *packets, Exactly(*bytes)))
        .collect();
    lab.assert_counted(way.node, &before, &exactly);
    assert!(
        self::hits(lab, way.node) > hits,
        "{}: none is from the cache",
        way.dev
    );
    let since = lab.traffic(way.node).since(&before);
    for (row, sum) in expected.iter().filter(|(row, _)| is_chatter(row)) {
        let found = since.row(row);
        assert!(
            found.0 >= sum.0 && found.1 >= sum.1,
            "{row}: {found:?} of {sum:?}"
        );
    }
    for (name, capture) in &mut captures {
        let seen = capture
            .wait_for(is_forged, Duration::ZERO)
            .expect("capture");
        assert_eq!(seen, None, "at {name}, by {}", way.dev);
        let dropped = capture.dropped().expect("asked");
        assert_eq!(dropped, 0, "{name}: all was looked at");
    }
    if node_is_silent {
        let error = socket.recv(&mut [0; 64]).expect_err("node got one");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}

/// Sends so many, and honest ones beside them; tells as what, and how many of each honest one.
fn send_all(
    lab: &Lab,
    way: &Way<'_>,
    (injector, receiver): (&Injector, &UdpSocket),
    shapes: usize,
    frames: usize,
) -> (Counted, u64) {
    let mut counted = Counted::new();
    let pairs = way.pairs();
    let mut repeats = 0;
    for number in 0..frames {
        if number.is_multiple_of(BESIDE) {
            for honest in &way.honest {
                honest.send(lab, receiver);
            }
            repeats += AT_ONCE;
        }
        let frame = way.frame(&pairs, shapes, number);
        injector.send(&frame.bytes).expect("send");
        let seen = frame
            .wrapping
            .map_or(frame.bytes.len(), |it| it.seen(&frame.bytes));
        let row = counted.entry(way.row(&frame)).or_default();
        *row = (row.0 + 1, row.1 + seen as u64);
    }
    (counted, repeats)
}
