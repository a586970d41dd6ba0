//! The trail: what the stages find of a packet that is asked about, and that nothing moves by it.

use netpath::{
    datapath::{Answer, ProgramKind, ReturnCode, TestPacket},
    netns::Inside,
    probe::frame::FrameBuilder,
};
use netpath_common::{
    DropReason, EndpointEntry, Ifindex, InterfaceEntry, InterfaceState, PuntReason, TRAIL_SIGN,
    Trail, Verdict,
};
use netpath_tests::{Addresses as _, Device, Family, TestNode, as_forwarded, between, counted};

fn ask(node: &TestNode, program: ProgramKind, device: Device, frame: &FrameBuilder) -> Answer {
    let packet = TestPacket::new(frame.build(), device.ifindex);
    let answer = |inside: &Inside<'_>| node.datapath().ask(inside, program, &packet);
    // No row moves.
    let answer = counted(&node.datapath().maps, &[], || {
        node.netns().enter(answer).expect("enter")
    });
    answer.unwrap_or_else(|error| panic!("{error}"))
}

fn verdict(trail: &Trail) -> (u32, u32) {
    (trail.outcome, trail.reason)
}

fn numbers(verdict: Verdict) -> (u32, u32) {
    let (outcome, reason) = verdict.numbers();
    (outcome.number().into(), reason.into())
}

fn from_a(node: &TestNode, frame: &FrameBuilder) -> Answer {
    ask(node, ProgramKind::FromEndpoint, node.a, frame)
}

#[test]
fn what_each_stage_finds() {
    let node = TestNode::new();
    for family in Family::ALL {
        let frame = |to| between(node.a.frame(), family.a(), to).udp(1000, 53);
        // To an endpoint of the node.
        let to_b = from_a(&node, &frame(family.b()));
        let trail = to_b.trail;
        assert_eq!(verdict(&trail), numbers(Verdict::RedirectPeer));
        assert_eq!(
            (trail.source, trail.source_ifindex),
            (Trail::OWNED, node.a.ifindex)
        );
        let found = (trail.destination, trail.destination_ifindex);
        assert_eq!(found, (Trail::OWNED, node.b.ifindex));
        assert_eq!(trail.source_id, node.a.address().id);
        assert_eq!(trail.destination_id, node.b.address().id);
        assert_eq!((trail.is_fast, trail.egress), (1, Ifindex(0)));
        let macs = Some((node.b.far_mac, node.b.mac));
        let expected = as_forwarded(&frame(family.b()).build(), macs);
        assert_eq!(to_b.outcome.frame, expected);
        // To another node.
        let trail = from_a(&node, &frame(family.remote())).trail;
        assert_eq!(verdict(&trail), numbers(Verdict::RedirectNeigh));
        assert_eq!((trail.destination, trail.is_fast), (Trail::ELSEWHERE, 1));
        assert_eq!((trail.egress, trail.mtu), (node.uplink.ifindex, 1500));
        let gateway: Vec<u8> = trail
            .gateway
            .iter()
            .flat_map(|it| it.to_ne_bytes())
            .collect();
        match family.gateway() {
            std::net::IpAddr::V4(v4) => {
                assert_eq!((trail.family, &gateway[..4]), (2, &v4.octets()[..]))
            }
            std::net::IpAddr::V6(v6) => {
                assert_eq!((trail.family, &gateway[..]), (10, &v6.octets()[..]))
            }
        }
        // From another node.
        let frame = between(node.uplink.frame(), family.remote(), family.a()).udp(53, 1000);
        let trail = ask(&node, ProgramKind::FromUplink, node.uplink, &frame).trail;
        assert_eq!(verdict(&trail), numbers(Verdict::RedirectPeer));
        assert_eq!(trail.destination_ifindex, node.a.ifindex);
    }
}

/// Every verdict that such packets meet, with as much as was found until then.
#[test]
fn every_verdict() {
    let node = TestNode::new();
    for family in Family::ALL {
        let frame = |from, to| between(node.a.frame(), from, to).udp(1000, 53);
        let is = |frame: &FrameBuilder, expected| {
            let trail = from_a(&node, frame).trail;
            assert_eq!(verdict(&trail), numbers(expected));
            trail
        };
        let forged = is(
            &frame(family.b(), family.remote()),
            Verdict::Drop(DropReason::Spoofed),
        );
        assert_eq!(forged.source_ifindex, node.b.ifindex);
        assert_eq!((forged.destination, forged.is_fast), (0, 0));
        let punt = Verdict::Punt;
        let own = |to| frame(family.a(), to);
        is(&own(family.outside()), punt(PuntReason::NoRoute));
        is(&own(family.node()), punt(PuntReason::NodeAddress));
        let expired = is(&own(family.b()).ttl(1), punt(PuntReason::TtlExceeded));
        assert_eq!((expired.destination, expired.is_fast), (Trail::OWNED, 1));
        let large = own(family.remote()).payload(&[0; 1600]);
        let large = is(&large, punt(PuntReason::MtuExceeded));
        assert_eq!((large.egress, large.mtu), (node.uplink.ifindex, 1500));
        // What user space says.
        let ipsec = EndpointEntry {
            punt_to: PuntReason::Ipsec.number(),
            ..node.b.address()
        };
        node.change(|maps| maps.set_endpoint(family.b(), &ipsec));
        let left = is(&own(family.b()), punt(PuntReason::Ipsec));
        assert_eq!((left.destination, left.is_fast), (Trail::OWNED, 0));
        node.change(|maps| maps.set_endpoint(family.b(), &node.b.address()));
        let preparing = node.a.entry(InterfaceState::Preparing);
        node.change(|maps| maps.set_interface(node.a.ifindex, &preparing));
        is(&own(family.b()), Verdict::Drop(DropReason::NotReady));
        let rules = InterfaceEntry {
            punt_ingress: PuntReason::Rules.number(),
            ..node.a.entry(InterfaceState::Ready)
        };
        node.change(|maps| maps.set_interface(node.a.ifindex, &rules));
        is(&own(family.b()), punt(PuntReason::Rules));
        let ready = node.a.entry(InterfaceState::Ready);
        node.change(|maps| maps.set_interface(node.a.ifindex, &ready));
    }
}

/// A connection of the kernel's is found, and stays as it is: neither is it noted as used, nor taken out for another one.
#[test]
fn a_connection_stays_as_it_is() {
    let node = TestNode::new();
    let maps = &node.datapath().maps;
    for family in Family::ALL {
        let there = between(node.a.frame(), family.a(), family.b()).udp(1000, 53);
        let delivered =
            netpath_tests::Passage::new(&node, ProgramKind::ToEndpoint, node.b, there.build());
        delivered.marked(0).arrived_by(node.a).outcome();
        let all = || {
            let v4 = maps.connections_v4.all().expect("connections");
            let v6 = maps.connections_v6.all().expect("connections");
            let counts = maps.connection_counts.all().expect("counts");
            (v4, v6, counts)
        };
        // Long ago, and translated: a packet from its first end would have it taken out.
        let (v4, v6, _) = all();
        node.change(|writer| {
            for (key, entry) in v4 {
                let entry = netpath_common::ConnectionEntry {
                    seen: 1,
                    translated: 1,
                    ..entry
                };
                writer.connections_v4.set(&key, &entry)?;
            }
            for (key, entry) in v6 {
                let entry = netpath_common::ConnectionEntry {
                    seen: 1,
                    translated: 1,
                    ..entry
                };
                writer.connections_v6.set(&key, &entry)?;
            }
            Ok(())
        });
        let before = all();
        let back = between(node.b.frame(), family.b(), family.a()).udp(53, 1000);
        let trail = ask(&node, ProgramKind::FromEndpoint, node.b, &back).trail;
        assert_eq!(
            verdict(&trail),
            numbers(Verdict::Punt(PuntReason::KernelConnection))
        );
        assert_eq!(trail.is_fast, 0);
        let trail = from_a(&node, &there).trail;
        assert_eq!(verdict(&trail), numbers(Verdict::RedirectPeer));
        assert_eq!(all(), before, "{family}");
    }
}

/// The decision cache is not asked, and remembers nothing.
#[test]
fn the_cache_is_left_alone() {
    let node = TestNode::new();
    for family in Family::ALL {
        let frame = between(node.a.frame(), family.a(), family.b()).udp(1000, 53);
        let passage = node.from_a(frame.clone()).marked(0);
        passage.is_cached();
        // What it decides of would find nothing.
        let trail = from_a(&node, &frame).trail;
        assert_eq!((trail.source, trail.is_fast), (Trail::OWNED, 1));
        let other = between(node.a.frame(), family.a(), family.b()).udp(2000, 53);
        for _ in 0..5 {
            from_a(&node, &other);
        }
        // Nobody has asked yet: the first two go through the stages.
        assert_eq!(
            node.from_a(other).marked(0).outcome().code,
            ReturnCode::Redirect
        );
    }
}

/// Whatever is in a packet's `cb`, without an entry of its key it is a packet like any other.
#[test]
fn a_packet_that_nobody_asks_about_is_counted() {
    let node = TestNode::new();
    let frame = between(node.a.frame(), Family::V4.a(), Family::V4.b()).udp(1000, 53);
    let mut seed = netpath::random::SplitMix64::new(12);
    for round in 0..200 {
        let mut control = [0; 5].map(|_: u32| seed.next() as u32);
        if round % 2 == 0 {
            control[0] = TRAIL_SIGN;
        }
        let packet = TestPacket {
            control,
            ..TestPacket::new(frame.build(), node.a.ifindex)
        };
        let before = node.datapath().maps.hops().expect("hops");
        let run = |inside: &Inside<'_>| {
            node.datapath()
                .test_run(inside, ProgramKind::FromEndpoint, &packet)
        };
        let outcome = node.netns().enter(run).expect("enter");
        assert_eq!(outcome.expect("it runs").code, ReturnCode::Redirect);
        let after = node.datapath().maps.hops().expect("hops");
        let sum = |rows: &std::collections::BTreeMap<_, netpath_common::HopCounter>| -> u64 {
            rows.values().map(|row| row.packets).sum()
        };
        assert_eq!(sum(&after), sum(&before) + 1, "{control:x?}");
    }
}
