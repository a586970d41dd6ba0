//! Many flows from an endpoint to a remote prefix, and which next hop each of them takes, seen on the wire.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use netpath::{
    model::{wire_namespace, wire_port},
    netns::Netns,
    probe::{
        capture::{Capture, Injector},
        frame::FrameBuilder,
    },
};
use netpath_common::Mac;

use crate::{
    Family, between,
    lab::{Deadline, Lab, run},
    system::run_on_one_cpu,
};

/// Node A with one endpoint and two uplinks, each to the same other node by a wire of its own.
pub const TWO_WIRES: &str = r#"
[[node]]
name = "@A"
uplink = [
    { dev = "up0", addresses = ["10.9.1.1/24", "fd00:91::1/64"], wire = "@v" },
    { dev = "up1", addresses = ["10.9.2.1/24", "fd00:92::1/64"], wire = "@w" },
]
route = [
    { dst = "10.2.0.0/16", via = "10.9.1.2" },
    { dst = "fd00:2::/32", via = "fd00:91::2" },
]
endpoint = [{ name = "@a1", addresses = ["10.1.1.2/24", "fd00:1::2/64"], host_dev = "va1" }]

[[node]]
name = "@B"
uplink = [
    { dev = "up0", addresses = ["10.9.1.2/24", "fd00:91::2/64"], wire = "@v" },
    { dev = "up1", addresses = ["10.9.2.2/24", "fd00:92::2/64"], wire = "@w" },
]
"#;

/// A next hop that exists only as a permanent neighbour of node A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// 0 or 1: up0 or up1.
    pub uplink: u8,
    /// The last part of its addresses, and the last byte of its MAC.
    pub number: u8,
}

impl Hop {
    /// Those that there are: three by up0, one by up1.
    pub const ALL: [Self; 4] = [
        Self::new(0, 11),
        Self::new(0, 12),
        Self::new(0, 13),
        Self::new(1, 21),
    ];
    /// Where the frame goes that ends each batch.
    const END: Self = Self::new(0, 99);

    const fn new(uplink: u8, number: u8) -> Self {
        Self { uplink, number }
    }

    /// Its interface on node A.
    pub fn dev(self) -> String {
        format!("up{}", self.uplink)
    }

    /// Its address.
    pub fn address(self, family: Family) -> String {
        let Self { uplink, number } = self;
        match family {
            Family::V4 => format!("10.9.{}.{number}", uplink + 1),
            Family::V6 => format!("fd00:9{}::{number}", uplink + 1),
        }
    }

    /// "via 10.9.1.11 dev up0".
    pub fn via(self, family: Family) -> String {
        format!("via {} dev {}", self.address(family), self.dev())
    }

    fn mac(self) -> Mac {
        Mac([0x02, 0, 0, 0, self.uplink, self.number])
    }
}

/// What a flow consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One datagram a round.
    Udp,
    /// One segment a round.
    Tcp,
    /// One datagram a round, in three fragments.
    Fragments,
}

/// What tells flows of one kind apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distinct {
    /// The source port.
    Ports,
    /// The destination's address.
    Addresses,
}

/// One flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// What it consists of.
    pub kind: Kind,
    /// What tells it from others.
    pub distinct: Distinct,
    /// Which of them it is.
    pub number: u16,
}

/// The next hop of each flow; `None` where none of its frames arrived.
pub type Choices = BTreeMap<Flow, Option<Hop>>;

/// Sends flows from a1 and watches both wires. Its frames and their order are the same every time.
#[derive(Debug)]
pub struct Flows<'a> {
    lab: &'a Lab,
    injector: Injector,
    captures: [Capture; 2],
    macs: (Mac, Mac),
    batches: u16,
}

/// Frames between two looks at the wire, well below what a capture's buffer holds.
const BATCH: usize = 200;

/// Payload of every frame begins like this; the number of the flow follows.
const MAGIC: [u8; 4] = *b"flow";
/// The same for the frame that ends a batch; the batch's number follows.
const END: [u8; 4] = *b"stop";

impl<'a> Flows<'a> {
    /// Gives node A of a lab of [`TWO_WIRES`] the next hops and starts to watch.
    ///
    /// From now on the calling thread stays on one CPU: what it sends then arrives in the order of sending, on
    /// both wires alike.
    pub fn new(lab: &'a Lab) -> Self {
        run_on_one_cpu();
        for family in Family::ALL {
            for hop in Hop::ALL.into_iter().chain([Hop::END]) {
                let (address, dev, mac) = (hop.address(family), hop.dev(), hop.mac());
                lab.ip(
                    "A",
                    &format!("neigh replace {address} dev {dev} lladdr {mac} nud permanent"),
                );
            }
            let (end, via) = (host(family, 0), Hop::END.via(family));
            lab.ip("A", &format!("route add {end} {via}"));
        }
        let record = lab.record("A", "a1");
        Self {
            lab,
            injector: lab.injector("a1", "eth0"),
            captures: ["up0", "up1"].map(|dev| lab.capture("B", dev)),
            macs: (record.endpoint_mac, record.host_mac),
            batches: 0,
        }
    }

    /// Where the flows go: `prefix` in `ip route`.
    pub fn prefix(family: Family) -> &'static str {
        match family {
            Family::V4 => "10.2.16.0/20",
            Family::V6 => "fd00:2:16::/48",
        }
    }

    /// Every flow's next hop, sent this many times over, all flows in each round.
    ///
    /// # Panics
    /// When a flow takes two ways, or arrives in part.
    pub fn choices(&mut self, family: Family, flows: &[Flow], rounds: usize) -> Choices {
        let mut seen: BTreeMap<Flow, Vec<Hop>> =
            flows.iter().map(|flow| (*flow, Vec::new())).collect();
        for _ in 0..rounds {
            for batch in flows.chunks(BATCH) {
                for (index, flow) in batch.iter().enumerate() {
                    for frame in self.frames(family, *flow, index as u16) {
                        self.injector.send(&frame).expect("send");
                    }
                }
                for (index, hop) in self.arrived(family) {
                    let flow = batch[usize::from(index)];
                    seen.get_mut(&flow).expect("it was sent").push(hop);
                }
            }
        }
        let choice = |(flow, hops): (Flow, Vec<Hop>)| {
            let frames = if flow.kind == Kind::Fragments { 3 } else { 1 };
            let whole = hops.len() == rounds * frames || hops.is_empty();
            let ways: BTreeSet<Hop> = hops.iter().copied().collect();
            assert!(
                whole && ways.len() <= 1,
                "{flow:?} ({family:?}), {rounds} rounds of {frames} frames: {hops:?}"
            );
            (flow, ways.first().copied())
        };
        seen.into_iter().map(choice).collect()
    }

    /// The same for UDP flows that differ in their ports, sent by sockets of a1's kernel: such packets carry a hash
    /// of their socket's along.
    ///
    /// # Panics
    /// As [`Self::choices`].
    pub fn choices_of_sockets(&mut self, family: Family, count: u16, rounds: usize) -> Choices {
        let (from, to) = (source(family), host(family, 1));
        let open = || {
            let socket = |number| {
                let socket = UdpSocket::bind(SocketAddr::new(from, 10_000 + number));
                let socket = socket.expect("a port");
                socket.connect((to, 40_001)).expect("a route");
                socket
            };
            (0..count).map(socket).collect::<Vec<_>>()
        };
        let sockets = self.lab.inside("a1", open);
        let mut seen = vec![Vec::new(); sockets.len()];
        for _ in 0..rounds {
            for (index, socket) in sockets.iter().enumerate() {
                socket.send(&tagged(MAGIC, index as u16)).expect("send");
            }
            for (index, hop) in self.arrived(family) {
                seen[usize::from(index)].push(hop);
            }
        }
        let choice = |(flow, hops): (Flow, Vec<Hop>)| {
            assert!(
                hops.len() == rounds && hops.iter().all(|hop| *hop == hops[0]),
                "{flow:?} ({family:?}), {rounds} rounds: {hops:?}"
            );
            (flow, Some(hops[0]))
        };
        let flows = flows(Kind::Udp, Distinct::Ports, count);
        flows.zip(seen).map(choice).collect()
    }

    /// How many frames of these flows arrive at each hop, whichever way each takes.
    pub fn count(&mut self, family: Family, flows: &[Flow]) -> BTreeMap<Hop, usize> {
        let mut counts = BTreeMap::new();
        for batch in flows.chunks(BATCH) {
            for flow in batch {
                for frame in self.frames(family, *flow, 0) {
                    self.injector.send(&frame).expect("send");
                }
            }
            for (_, hop) in self.arrived(family) {
                *counts.entry(hop).or_default() += 1;
            }
        }
        counts
    }

    fn frames(&self, family: Family, flow: Flow, tag: u16) -> Vec<Vec<u8>> {
        let (port, to) = match flow.distinct {
            Distinct::Ports => (10_000 + flow.number, host(family, 1)),
            Distinct::Addresses => (10_000, host(family, 1 + flow.number)),
        };
        let ip = || self.ip(family, to);
        let payload = tagged(MAGIC, tag);
        match flow.kind {
            Kind::Udp => vec![ip().udp(port, 40_001).payload(&payload).build()],
            Kind::Tcp => vec![ip().tcp(port, 40_001, 0x10).payload(&payload).build()],
            Kind::Fragments => {
                let first = ip().udp(port, 40_001).payload(&payload).fragment(0, true);
                let later = |offset, more| {
                    let fragment = ip().protocol(17).fragment(offset, more);
                    fragment.payload(&payload)
                };
                [first, later(16, true), later(24, false)]
                    .map(|frame| frame.id(flow.number.into()).build())
                    .into()
            }
        }
    }

    fn ip(&self, family: Family, to: IpAddr) -> FrameBuilder {
        let frame = FrameBuilder::new(self.macs.0, self.macs.1);
        between(frame, source(family), to)
    }

    /// The tags of what has arrived on both wires, and where it was going.
    fn arrived(&mut self, family: Family) -> Vec<(u16, Hop)> {
        self.batches = self.batches.wrapping_add(1);
        let end = self.ip(family, host(family, 0)).udp(1, 1);
        let end = end.payload(&tagged(END, self.batches)).build();
        self.injector.send(&end).expect("send");
        let mut arrived = Vec::new();
        let [first, second] = &mut self.captures;
        let deadline = Duration::from_secs(5);
        loop {
            let frame = first.next(deadline).expect("capture");
            let frame = frame.expect("the frame that ends the batch arrives");
            if tag(&frame.bytes, END) == Some(self.batches) {
                break;
            }
            arrived.extend(arrival(&frame.bytes));
        }
        // It was sent last, so all that went by the other wire is there already.
        while let Some(frame) = second.next(Duration::ZERO).expect("capture") {
            arrived.extend(arrival(&frame.bytes));
        }
        for capture in &mut self.captures {
            assert_eq!(
                capture.dropped().expect("capture"),
                0,
                "frames not captured"
            );
        }
        arrived
    }

    /// Sets the wire's end towards an uplink of node A up or down, as a switch does with its port, and waits
    /// until the wire carries frames there, or no longer does.
    pub fn set_port(&self, uplink: usize, up: bool) {
        let node = &self.lab.topology().nodes[0];
        let uplink = &node.uplinks[uplink];
        let wire = wire_namespace(uplink.wire.as_ref().expect("a lab's uplink"));
        let wire = Netns::named(wire.as_ref()).expect("the wire");
        let port = wire_port(&node.name, &uplink.dev);
        let (link, bridge) = if up {
            ("up", "forwarding")
        } else {
            ("down", "disabled")
        };
        let work = || {
            run(&format!("ip link set {port} {link}"));
            let deadline = Deadline::new();
            loop {
                let shown = run(&format!("ip -d link show {port}"));
                if shown.contains(&format!("bridge_slave state {bridge}")) {
                    return;
                }
                deadline.check(|| format!("not {bridge}: {shown}"));
            }
        };
        wire.run(work).expect("entering the namespace");
    }
}

/// The share of each hop among those that have one.
pub fn shares(choices: &Choices) -> BTreeMap<Hop, f64> {
    let mut counts: BTreeMap<Hop, f64> = BTreeMap::new();
    for hop in choices.values().flatten() {
        *counts.entry(*hop).or_default() += 1.0;
    }
    let total: f64 = counts.values().sum();
    counts
        .into_iter()
        .map(|(hop, count)| (hop, count / total))
        .collect()
}

/// Flows of one kind.
pub fn flows(kind: Kind, distinct: Distinct, count: u16) -> impl Iterator<Item = Flow> {
    (0..count).map(move |number| Flow {
        kind,
        distinct,
        number,
    })
}

/// a1's address.
fn source(family: Family) -> IpAddr {
    match family {
        Family::V4 => [10, 1, 1, 2].into(),
        Family::V6 => [0xfd00, 1, 0, 0, 0, 0, 0, 2].into(),
    }
}

/// A host behind the next hops; 0 is the one outside [`Flows::prefix`] that ends a batch.
fn host(family: Family, number: u16) -> IpAddr {
    match (family, number) {
        (Family::V4, 0) => [10, 2, 15, 1].into(),
        (Family::V4, _) => {
            let [high, low] = number.to_be_bytes();
            [10, 2, 16 + high, low].into()
        }
        (Family::V6, 0) => [0xfd00, 2, 0x15, 0, 0, 0, 0, 1].into(),
        (Family::V6, _) => [0xfd00, 2, 0x16, 0, 0, 0, 0, number].into(),
    }
}

/// Eight bytes, so that fragments may end behind them.
fn tagged(magic: [u8; 4], tag: u16) -> [u8; 8] {
    let [a, b] = tag.to_be_bytes();
    let [m, n, o, p] = magic;
    [m, n, o, p, a, b, 0, 0]
}

/// The tag at a frame's end.
fn tag(frame: &[u8], magic: [u8; 4]) -> Option<u16> {
    let payload = frame.last_chunk::<8>()?;
    let tag = u16::from_be_bytes([payload[4], payload[5]]);
    (*payload == tagged(magic, tag)).then_some(tag)
}

fn arrival(frame: &[u8]) -> Option<(u16, Hop)> {
    let tag = tag(frame, MAGIC)?;
    let destination = frame.first_chunk::<6>()?;
    let hop = Hop::ALL.into_iter().find(|hop| hop.mac().0 == *destination);
    Some((
        tag,
        hop.unwrap_or_else(|| panic!("a flow goes to {destination:02x?}")),
    ))
}
