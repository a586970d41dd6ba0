//! What a packet costs inside a program. A measurement to be read by people: nothing is asserted of it.
//!
//! `cargo test -p netpath-tests --test programs -- --ignored --nocapture cost`

use netpath::datapath::{ProgramKind, TestPacket};
use netpath_tests::{Device, Family, TestNode, between};

/// Runs of one call: each takes one from the TTL.
const REPEAT: u32 = 200;
/// Calls for each way, interleaved.
const ROUNDS: usize = 400;

/// A packet on a hook, and what was measured of it in ns.
struct Way {
    name: String,
    program: ProgramKind,
    packet: TestPacket,
    samples: Vec<u128>,
}

impl Way {
    fn new(
        name: &str,
        family: Family,
        program: ProgramKind,
        device: Device,
        to: [std::net::IpAddr; 2],
    ) -> Self {
        let frame = between(device.frame(), to[0], to[1]).udp(1, 2).ttl(255);
        Self {
            name: format!("{name} {family:?}"),
            program,
            packet: TestPacket {
                repeat: REPEAT,
                ..TestPacket::new(frame.build(), device.ifindex)
            },
            samples: Vec::with_capacity(ROUNDS),
        }
    }
}

#[test]
#[ignore = "a measurement, for people to read"]
fn cost() {
    let node = TestNode::new();
    let (endpoint, uplink) = (ProgramKind::FromEndpoint, ProgramKind::FromUplink);
    let mut ways = Vec::new();
    for family in Family::BOTH {
        let (a, b, remote) = (family.a(), family.b(), family.remote());
        ways.extend([
            Way::new("same node", family, endpoint, node.a, [a, b]),
            Way::new("remote", family, endpoint, node.a, [a, remote]),
            Way::new("uplink", family, uplink, node.uplink, [remote, b]),
            Way::new(
                "delivered",
                family,
                ProgramKind::ToEndpoint,
                node.b,
                [remote, b],
            ),
        ]);
    }
    let measure = || {
        for _ in 0..ROUNDS {
            for way in &mut ways {
                let outcome = node.datapath().test_run(way.program, &way.packet);
                let outcome = outcome.unwrap_or_else(|e| panic!("{e}"));
                way.samples.push(outcome.duration.as_nanos());
            }
        }
    };
    node.netns().run(measure).unwrap_or_else(|e| panic!("{e}"));
    for Way { name, samples, .. } in &mut ways {
        samples.sort_unstable();
        println!("{name}: {} ns", samples[ROUNDS / 2]);
    }
}
