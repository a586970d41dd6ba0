//! Real frames, sent into the node's interfaces: what test_run does not carry out or cannot make.

use std::time::{Duration, Instant};

use netpath::probe::{
    capture::{Capture, Direction, Injector},
    frame::FrameBuilder,
};
use netpath_common::{DropReason, HopCounter, HopKey, Ifindex, PuntReason, Verdict};
use netpath_tests::{
    Addresses as _, Device, Family, GsoInjector, TestNode, Wrapping, as_forwarded, between, counted,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens something on the far end of a device.
fn at<T: Send>(node: &TestNode, device: Device, open: impl FnOnce(&str) -> T + Send) -> T {
    node.far()
        .run(|| open(device.name))
        .expect("entering the namespace")
}

fn injector(node: &TestNode, device: Device) -> Injector {
    at(node, device, |dev| Injector::open(dev).expect("injecting"))
}

fn capture(node: &TestNode, device: Device) -> Capture {
    at(node, device, |dev| Capture::open(dev).expect("capturing"))
}

/// Sends, and waits until this hop, and nothing else, has counted one more packet of that many bytes.
fn sent(node: &TestNode, hop: HopKey, bytes: usize, send: impl FnOnce()) {
    let maps = &node.datapath().maps;
    let packets = || {
        maps.hops()
            .expect("reading")
            .get(&hop)
            .map_or(0, |c| c.packets)
    };
    let one = HopCounter {
        packets: 1,
        bytes: bytes as u64,
    };
    counted(maps, &[(hop, one)], || {
        let before = packets();
        send();
        let deadline = Instant::now() + PATIENCE;
        while packets() == before && Instant::now() < deadline {
            std::thread::yield_now();
        }
    });
}

/// The next frame that comes in there for that device's own MAC: the kernel's listener reports do not.
fn arrived(capture: &mut Capture) -> Vec<u8> {
    let frame = capture
        .wait_for(|frame| frame.direction == Direction::ToUs, PATIENCE)
        .expect("capturing")
        .expect("a frame arrives");
    assert_eq!(frame.vlan, None);
    frame.bytes
}

fn redirected(node: &TestNode, ingress: Device, egress: Device, verdict: Verdict) {
    let (source, mut sink) = (injector(node, ingress), capture(node, egress));
    let hop = HopKey::new(ingress.ifindex, egress.ifindex, verdict);
    for family in Family::ALL {
        let (from, to) = match (ingress.name, egress.name) {
            ("epa", "epb") => (family.a(), family.b()),
            ("epa", _) => (family.a(), family.remote()),
            (_, _) => (family.remote(), family.b()),
        };
        for payload in [1, 1400] {
            let frame = between(ingress.frame(), from, to)
                .udp(1, 2)
                .payload(&vec![7; payload])
                .build();
            sent(node, hop, frame.len(), || {
                source.send(&frame).expect("sending");
            });
            let macs = Some((egress.far_mac, egress.mac));
            assert_eq!(arrived(&mut sink), as_forwarded(&frame, macs));
        }
    }
}

#[test]
fn redirects_arrive() {
    let node = TestNode::new();
    node.attach();
    redirected(&node, node.a, node.b, Verdict::RedirectPeer);
    redirected(&node, node.a, node.uplink, Verdict::RedirectNeigh);
    redirected(&node, node.uplink, node.b, Verdict::RedirectPeer);
}

/// RFC 5549: an IPv4 route by an IPv6 next hop.
#[test]
fn next_hop_of_the_other_family() {
    let node = TestNode::new();
    node.ip("route add 10.0.4.0/24 via inet6 fd00:198::253 dev up0");
    node.attach();
    let (source, mut sink) = (injector(&node, node.a), capture(&node, node.uplink));
    let hop = HopKey::new(node.a.ifindex, node.uplink.ifindex, Verdict::RedirectNeigh);
    let family = Family::V4;
    let frame = between(node.a.frame(), family.a(), family.subnet(4, 2)).udp(1, 2);
    let frame = frame.build();
    sent(&node, hop, frame.len(), || {
        source.send(&frame).expect("sending");
    });
    let macs = Some((node.uplink.far_mac, node.uplink.mac));
    assert_eq!(arrived(&mut sink), as_forwarded(&frame, macs));
}

/// The kernel takes the outermost tag out of the frame before the hook.
#[test]
fn vlan_tag_beside_the_frame() {
    let node = TestNode::new();
    node.attach();
    let spoofed = Verdict::Drop(DropReason::Spoofed);
    let tagged = Wrapping::ALL
        .into_iter()
        .filter(|wrapping| wrapping.reason == PuntReason::Vlan);
    for (wrapping, device) in tagged.flat_map(|w| [(w, node.a), (w, node.uplink)]) {
        let source = injector(&node, device);
        for family in Family::ALL {
            let own = match device.name {
                "epa" => family.a(),
                _ => family.remote(),
            };
            for (from, verdict) in [
                (own, Verdict::Punt(PuntReason::Vlan)),
                (family.b(), spoofed),
            ] {
                let frame = between(device.frame(), from, family.b()).udp(1, 2);
                let frame = wrapping.wrap(&frame.build());
                let hop = HopKey::new(device.ifindex, Ifindex(0), verdict);
                sent(&node, hop, wrapping.seen(&frame), || {
                    source.send(&frame).expect("sending");
                });
            }
        }
    }
}

/// Headers cut short, which test_run refuses.
#[test]
fn truncated_headers() {
    let node = TestNode::new();
    node.attach();
    for device in [node.a, node.uplink] {
        let source = injector(&node, device);
        let malformed = Verdict::Drop(DropReason::Malformed);
        let hop = HopKey::new(device.ifindex, Ifindex(0), malformed);
        for family in Family::ALL {
            let packet = between(device.frame(), family.a(), family.b()).udp(1, 2);
            let frame = packet.build();
            for length in 14..frame.len() {
                sent(&node, hop, length, || {
                    source.send(&frame[..length]).expect("sending");
                });
            }
        }
    }
}

fn segments(frame: FrameBuilder, payload: usize) -> Vec<u8> {
    // Unfragmentable, so that the kernel sends nothing on either where netpath punts.
    frame
        .dont_fragment()
        .tcp(1, 2, 0x10)
        .payload(&vec![7; payload])
        .build()
}

/// A GSO packet is judged by its segments, and goes through in one piece.
#[test]
fn segments_are_measured() {
    let node = TestNode::new();
    node.attach();
    let source = at(&node, node.a, GsoInjector::open);
    for (egress, verdict) in [
        (node.b, Verdict::RedirectPeer),
        (node.uplink, Verdict::RedirectNeigh),
    ] {
        let mut sink = capture(&node, egress);
        for family in Family::ALL {
            let destination = match verdict {
                Verdict::RedirectPeer => family.b(),
                _ => family.remote(),
            };
            let frame = segments(between(node.a.frame(), family.a(), destination), 8000);
            let fits = (1500 - (family.headers() - 14) - 20) as u16;
            let through = HopKey::new(node.a.ifindex, egress.ifindex, verdict);
            sent(&node, through, frame.len(), || {
                source.send(family, &frame, fits);
            });
            let macs = Some((egress.far_mac, egress.mac));
            assert_eq!(arrived(&mut sink), as_forwarded(&frame, macs));
            let punt = Verdict::Punt(PuntReason::MtuExceeded);
            let punted = HopKey::new(node.a.ifindex, Ifindex(0), punt);
            sent(&node, punted, frame.len(), || {
                source.send(family, &frame, fits + 1);
            });
        }
    }
}
