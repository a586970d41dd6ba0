//! The decision cache: which packets it decides of, and for how long. That what it decides is what the stages would have is
//! tested with every packet of the other tests, which comes again and again (see `Passage`).

use std::time::{Duration, Instant};

use netpath::{
    datapath::{DatapathError, ProgramKind, ReturnCode, TestOutcome, Writer},
    probe::frame::FrameBuilder,
};
use netpath_common::{
    DropReason, EndpointEntry, HOP_ROWS, HopCounter, HopKey, InterfaceEntry, InterfaceState,
    PuntReason, Verdict,
};
use netpath_tests::{
    Addresses as _, Family, Passage, TestNode, as_forwarded, between, on_this_cpu, wait_for_ticks,
};

/// TCP's flags: a connection goes on, or begins.
const ACK: u8 = 0x10;
const SYN: u8 = 0x02;

/// From endpoint a to b, to the other node, and from there to a.
fn ways(node: &TestNode, family: Family) -> [(ProgramKind, FrameBuilder); 3] {
    let from_a = |to| between(node.a.frame(), family.a(), to);
    [
        (ProgramKind::FromEndpoint, from_a(family.b())),
        (ProgramKind::FromEndpoint, from_a(family.remote())),
        (
            ProgramKind::FromUplink,
            between(node.uplink.frame(), family.remote(), family.a()),
        ),
    ]
}

fn passage(node: &TestNode, program: ProgramKind, frame: FrameBuilder) -> Passage<'_> {
    match program {
        ProgramKind::FromEndpoint => node.from_a(frame),
        _ => node.from_uplink(frame),
    }
}

/// What the last of a flow's packets becomes: a hop less, the MACs of where it goes, no mark.
#[test]
fn it_decides_of_the_packets_of_a_flow() {
    let node = TestNode::new();
    for family in Family::ALL {
        let macs = [node.b, node.uplink, node.a].map(|device| Some((device.far_mac, device.mac)));
        for ((program, base), macs) in ways(&node, family).into_iter().zip(macs) {
            let long = base.clone().payload(&[0x5a; 1400]);
            for frame in [
                base.clone().udp(1000, 53),
                base.clone().tcp(1000, 80, ACK),
                long.clone().udp(1000, 53),
                long.tcp(1000, 80, ACK),
                base.udp(1, 2).tos(0xb9).flow_label(0x5_4321).ttl(2),
            ] {
                let sent = frame.build();
                let TestOutcome {
                    code,
                    frame,
                    mark,
                    priority,
                    ..
                } = passage(&node, program, frame).is_cached();
                assert_eq!((code, mark), (ReturnCode::Redirect, 0));
                assert_eq!(frame, as_forwarded(&sent, macs));
                // Interactive bulk, by IPv4's type of service, where it is forwarded.
                let leaves = macs == Some((node.uplink.far_mac, node.uplink.mac));
                let has_class = sent[15] == 0xb9 && family == Family::V4 && leaves;
                assert_eq!(priority, if has_class { 4 } else { 0 });
            }
        }
    }
}

/// Whatever is unusual goes through the stages, also of a flow that is remembered.
#[test]
fn what_is_unusual_it_leaves_to_the_stages() {
    let node = TestNode::new();
    for family in Family::ALL {
        for (program, base) in ways(&node, family) {
            let (udp, tcp) = (base.clone().udp(1000, 53), base.clone().tcp(1000, 80, ACK));
            let unusual = [
                base.clone().tcp(1000, 80, SYN),
                base.clone().tcp(1000, 80, SYN | ACK),
                udp.clone().ttl(1),
                udp.clone().ttl(0),
                udp.clone().fragment(0, true),
                udp.clone().fragment(64, false),
                base.clone()
                    .icmp(if family == Family::V4 { 8 } else { 128 }, 0, [0; 4]),
                base.clone()
                    .protocol(132)
                    .payload(&[3, 232, 0, 53, 0, 0, 0, 0]),
            ];
            for frame in unusual {
                passage(&node, program, udp.clone()).is_cached();
                passage(&node, program, tcp.clone()).is_cached();
                passage(&node, program, frame).is_never_cached();
            }
            passage(&node, program, udp.clone()).is_cached();
            // Padding, which is to be cut; a packet that ends before it says; marked.
            let padded = |frame: &mut Vec<u8>| frame.extend([0; 6]);
            passage(&node, program, udp.clone())
                .with(padded)
                .is_never_cached();
            let cut = |frame: &mut Vec<u8>| frame.truncate(frame.len() - 1);
            let with_payload = udp.clone().payload(&[1, 2, 3]);
            passage(&node, program, with_payload)
                .with(cut)
                .is_never_cached();
            if netpath_tests::fib_lookup_takes_marks() {
                passage(&node, program, udp.clone())
                    .marked(7)
                    .is_never_cached();
            }
            if family == Family::V4 {
                let broken = |frame: &mut Vec<u8>| frame[24] ^= 0x40;
                passage(&node, program, udp.clone())
                    .with(broken)
                    .is_never_cached();
                passage(&node, program, udp.clone().options(&[1; 4])).is_never_cached();
            } else {
                let with_options = udp.clone().extension(60, &[1, 4, 0, 0, 0, 0]);
                passage(&node, program, with_options).is_never_cached();
            }
        }
    }
}

/// What is punted or dropped is decided by the stages each time.
#[test]
fn it_remembers_redirects_only() {
    let node = TestNode::new();
    for family in Family::ALL {
        let from_a = |source, destination| {
            let frame = between(node.a.frame(), source, destination);
            node.from_a(frame.udp(1000, 53))
        };
        from_a(family.a(), family.outside()).is_never_cached();
        from_a(family.a(), family.node()).is_never_cached();
        from_a(family.b(), family.a()).is_never_cached();
        let from_outside = between(node.uplink.frame(), family.outside(), family.a());
        node.from_uplink(from_outside.udp(1000, 53))
            .is_never_cached();
        // As long as the kernel has no neighbour there, it is the kernel that resolves one.
        let remote = from_a(family.a(), family.remote());
        remote.is_cached();
        node.ip(&format!("neigh del {} dev up0", family.gateway()));
        remote.is_never_cached();
        remote.clone().goes_out();
    }
}

/// A packet that does not fit the way is the kernel's, whatever went before.
#[test]
fn it_knows_what_fits() {
    let node = TestNode::new();
    for family in Family::ALL {
        for (program, base) in ways(&node, family) {
            let header = base.clone().udp(1000, 53).build().len() - 14;
            let long = |length: usize| {
                let payload = vec![0; length - header];
                passage(&node, program, base.clone().udp(1000, 53).payload(&payload))
            };
            long(1500).is_cached();
            long(1501).is_never_cached();
            long(1501).is_punted(PuntReason::MtuExceeded);
        }
    }
}

type Change = fn(&TestNode, Family, &Writer<'_>) -> Result<(), DatapathError>;

/// What user space changes is heeded by the next packet, whatever was remembered a moment ago.
#[test]
fn what_netpath_changes_counts_at_once() {
    const ROUNDS: usize = 3;
    let ipsec = PuntReason::Ipsec;
    let changes: [(&str, Change, Verdict); 7] = [
        (
            "the address is nobody's",
            |_, family, maps| maps.remove_endpoint(family.b()),
            Verdict::Punt(PuntReason::FibNotForwarded),
        ),
        (
            "it is the node's",
            |_, family, maps| maps.set_endpoint(family.b(), &EndpointEntry::NODE),
            Verdict::Punt(PuntReason::NodeAddress),
        ),
        (
            "what is for it is the kernel's",
            |node, family, maps| {
                let entry = EndpointEntry {
                    punt_to: PuntReason::Ipsec.number(),
                    ..node.b.address()
                };
                maps.set_endpoint(family.b(), &entry)
            },
            Verdict::Punt(ipsec),
        ),
        (
            "the source is another's",
            |node, family, maps| maps.set_endpoint(family.a(), &node.b.address()),
            Verdict::Drop(DropReason::Spoofed),
        ),
        (
            "the interface is not ready",
            |node, _, maps| {
                let entry = node.a.entry(InterfaceState::Preparing);
                maps.set_interface(node.a.ifindex, &entry)
            },
            Verdict::Drop(DropReason::NotReady),
        ),
        (
            "what comes in is the kernel's",
            |node, _, maps| {
                let entry = InterfaceEntry {
                    punt_ingress: PuntReason::Rules.number(),
                    ..node.a.entry(InterfaceState::Ready)
                };
                maps.set_interface(node.a.ifindex, &entry)
            },
            Verdict::Punt(PuntReason::Rules),
        ),
        (
            "its prefix is not routed",
            |_, family, maps| {
                maps.remove_endpoint(family.b())?;
                let all = if family == Family::V4 {
                    "10.0.0.0/16"
                } else {
                    "fd00::/24"
                };
                maps.remove_route(all.parse().expect("a prefix"))
            },
            Verdict::Punt(PuntReason::NoRoute),
        ),
    ];
    for family in Family::ALL {
        for (_, change, verdict) in &changes {
            for _ in 0..ROUNDS {
                let node = TestNode::new();
                let frame = between(node.a.frame(), family.a(), family.b()).udp(1000, 53);
                let passage = node.from_a(frame).marked(0);
                let outcome = passage.is_cached();
                assert_eq!(outcome.code, ReturnCode::Redirect);
                node.change(|maps| change(&node, family, maps));
                match verdict {
                    Verdict::Punt(reason) => drop(passage.clone().is_punted(*reason)),
                    Verdict::Drop(reason) => drop(passage.clone().is_dropped(*reason)),
                    other => unreachable!("{other:?}"),
                }
            }
        }
    }
}

/// What the kernel changes is heeded two ticks later at the latest.
#[test]
fn what_the_kernel_changes_counts_within_two_ticks() {
    let node = TestNode::new();
    for family in Family::ALL {
        let frame = between(node.a.frame(), family.a(), family.remote()).udp(1000, 53);
        let passage = node.from_a(frame).marked(0);
        let prefix = format!(
            "{}/{}",
            family.subnet(3, 0),
            if family == Family::V4 { 24 } else { 64 }
        );
        // At its slowest the clock ticks a hundred times a second.
        let two_ticks = Duration::from_millis(20);
        let found_by = |is_new: &dyn Fn(&TestOutcome) -> bool| {
            let changed = Instant::now();
            loop {
                let asked = changed.elapsed();
                if is_new(&passage.outcome()) {
                    break;
                }
                assert!(asked < two_ticks, "still the old way after {asked:?}");
            }
        };
        passage.is_cached();
        node.ip_only(&format!(
            "neigh replace {} lladdr 02:00:00:00:77:77 dev up0 nud permanent",
            family.gateway()
        ));
        found_by(&|outcome| outcome.frame[..6] != node.uplink.far_mac.0);
        // On any CPU.
        wait_for_ticks();
        let outcome = passage.is_cached();
        assert_eq!(outcome.frame[..6], [2, 0, 0, 0, 0x77, 0x77]);
        node.ip_only(&format!("route replace blackhole {prefix}"));
        found_by(&|outcome| outcome.code == ReturnCode::Next);
        wait_for_ticks();
        passage.clone().is_punted(PuntReason::FibBlackhole);
    }
}

/// A flow that the kernel gets is forgotten, so that no packet of it is decided by what was remembered before.
#[test]
fn a_connection_that_becomes_the_kernels_is_forgotten() {
    let node = TestNode::new();
    for family in Family::ALL {
        for port in 1000..1030 {
            let there = between(node.a.frame(), family.a(), family.b());
            let back = between(node.b.frame(), family.b(), family.a());
            let from_b = |flags| {
                let frame = back.clone().tcp(80, port, flags).build();
                Passage::new(&node, ProgramKind::FromEndpoint, node.b, frame).marked(0)
            };
            // The next connection of the same ports is one that the kernel delivers.
            let syn = there.tcp(port, 80, SYN).build();
            let delivered = Passage::new(&node, ProgramKind::ToEndpoint, node.b, syn);
            let [reply, answer] = [ACK, SYN | ACK].map(from_b);
            let delivered = delivered.marked(0).arrived_by(node.a);
            // Nothing else in between, as all of it is to be in one tick.
            let codes = on_this_cpu(|| {
                reply.is_cached();
                [&delivered, &answer, &reply].map(|passage| passage.outcome().code)
            });
            assert_eq!(codes, [ReturnCode::Next; 3]);
            reply.is_punted(PuntReason::KernelConnection);
        }
    }
}

/// Where all rows for hits are others', they are counted as everything else is.
#[test]
fn without_a_row_hits_are_counted_in_hops() {
    let node = TestNode::new();
    let others = HopKey::new(node.b.ifindex, node.b.ifindex, Verdict::RedirectPeer);
    let rows = (0..HOP_ROWS).map(|row| (row, others));
    node.change(|maps| maps.hop_rows.set_many(rows));
    for family in Family::ALL {
        // Its outcome, frame and counters are as ever, and no row for hits moves.
        let frame = between(node.a.frame(), family.a(), family.b()).udp(1000, 53);
        node.from_a(frame.clone()).goes_to(node.b);
        node.from_a(frame).is_never_cached();
    }
    let hits = node.datapath().maps.hop_hits.all().expect("the rows");
    assert!(hits.values().all(|row| *row == HopCounter::default()));
}
