//! What a packet costs inside a program. A measurement to be read by people: nothing is asserted of it.
//!
//! `cargo test -p netpath-tests --test parts -- --ignored --nocapture programs::cost`

use std::net::IpAddr;

use netpath::{
    datapath::{ProgramKind, TestPacket},
    netns::Inside,
};
use netpath_tests::{Addresses as _, Device, Family, TestNode, between};

/// Runs of one call: each takes one from the TTL.
const REPEAT: u32 = 200;
/// Calls for each way, interleaved.
const ROUNDS: usize = 400;

/// A packet on a hook, and what was measured of it in ns.
struct Way<'a> {
    name: String,
    node: &'a TestNode,
    program: ProgramKind,
    packet: TestPacket,
    samples: Vec<u128>,
}

impl<'a> Way<'a> {
    fn new(
        name: &str,
        node: &'a TestNode,
        (program, device): (ProgramKind, Device),
        (source, destination): (IpAddr, IpAddr),
    ) -> Self {
        let frame = between(device.frame(), source, destination);
        let family = match source {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        };
        Self {
            name: format!("{name} {family:?}"),
            node,
            program,
            packet: TestPacket {
                repeat: REPEAT,
                ..TestPacket::new(frame.udp(1, 2).ttl(255).build(), device.ifindex)
            },
            samples: Vec::with_capacity(ROUNDS),
        }
    }

    fn measure(&mut self) {
        let run = |inside: &Inside<'_>| {
            self.node
                .datapath()
                .test_run(inside, self.program, &self.packet)
        };
        let outcome = self
            .node
            .netns()
            .enter(run)
            .unwrap_or_else(|e| panic!("{e}"));
        let outcome = outcome.unwrap_or_else(|e| panic!("{e}"));
        self.samples.push(outcome.duration.as_nanos());
    }
}

#[test]
#[ignore = "a measurement, for people to read"]
fn cost() {
    let node = TestNode::new();
    let mut with_prefixes = TestNode::new();
    let mut with_filter = TestNode::new();
    for prefix in ["10.9.0.0/28", "fd00:9::/64"] {
        with_prefixes.route_to(with_prefixes.b, prefix);
    }
    with_filter.filter_reverse_path(with_filter.uplink, 1);
    let mut ways = Vec::new();
    for family in Family::ALL {
        let (a, b, remote) = (family.a(), family.b(), family.remote());
        let routed = family.routed();
        for (suffix, node) in [
            ("", &node),
            (" (prefixes)", &with_prefixes),
            (" (filter)", &with_filter),
        ] {
            let endpoint = (ProgramKind::FromEndpoint, node.a);
            let uplink = (ProgramKind::FromUplink, node.uplink);
            ways.extend([
                Way::new(&format!("same node{suffix}"), node, endpoint, (a, b)),
                Way::new(&format!("remote{suffix}"), node, endpoint, (a, remote)),
                Way::new(&format!("uplink{suffix}"), node, uplink, (remote, b)),
            ]);
        }
        let node = &with_prefixes;
        let endpoint = |device| (ProgramKind::FromEndpoint, device);
        let uplink = (ProgramKind::FromUplink, node.uplink);
        ways.extend([
            Way::new("to a prefix", node, endpoint(node.a), (a, routed)),
            Way::new("from a prefix", node, endpoint(node.b), (routed, a)),
            Way::new("uplink to a prefix", node, uplink, (remote, routed)),
        ]);
    }
    for _ in 0..ROUNDS {
        ways.iter_mut().for_each(Way::measure);
    }
    for Way { name, samples, .. } in &mut ways {
        samples.sort_unstable();
        println!("{name}: {} ns", samples[ROUNDS / 2]);
    }
}
