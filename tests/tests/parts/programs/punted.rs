//! What is left to the kernel because of what it is, or because the kernel has to answer it.

use std::net::IpAddr;

use netpath::probe::frame::{
    ETHERTYPE_ARP, EXTENSION_HOP_BY_HOP, FrameBuilder, TPID_QINQ, TPID_VLAN, Tag,
};
use netpath_common::{Mac, PuntReason};
use netpath_tests::{Addresses as _, Family, Passage, TestNode, UNKNOWN_MAC, Wrapping, between};

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// What makes one frame of a device's empty one.
type Fill<'a> = &'a dyn Fn(FrameBuilder) -> FrameBuilder;

/// The same, from an endpoint and from the uplink.
fn from_both<'a>(node: &'a TestNode, fill: Fill<'_>) -> [Passage<'a>; 2] {
    [
        node.from_a(fill(node.a.frame())),
        node.from_uplink(fill(node.uplink.frame())),
    ]
}

/// From endpoint a, and from outside the node's endpoints, to one destination.
fn to<'a>(
    node: &'a TestNode,
    family: Family,
    destination: IpAddr,
    fill: Fill<'_>,
) -> [Passage<'a>; 2] {
    let packet = |frame, source| fill(between(frame, source, destination));
    [
        node.from_a(packet(node.a.frame(), family.a())),
        node.from_uplink(packet(node.uplink.frame(), family.remote())),
    ]
}

fn udp(frame: FrameBuilder) -> FrameBuilder {
    frame.udp(1000, 2000).payload(b"netpath")
}

fn all_punted<'a>(passages: impl IntoIterator<Item = Passage<'a>>, reason: PuntReason) {
    for passage in passages {
        passage.is_punted(reason);
    }
}

pub fn arp(reason: PuntReason) {
    let node = TestNode::new();
    let request = |frame: FrameBuilder| frame.ethertype(ETHERTYPE_ARP).payload(&[1; 28]);
    all_punted(from_both(&node, &request), reason);
    let padded = |frame: FrameBuilder| request(frame).pad_to(60);
    all_punted(from_both(&node, &padded), reason);
    let broadcast = request(FrameBuilder::new(node.a.far_mac, Mac([0xff; 6])));
    node.from_a(broadcast).is_punted(reason);
}

pub fn ether_type(reason: PuntReason) {
    let node = TestNode::new();
    // A length (LLC), EAPOL, MPLS, LLDP, and the type that means nothing.
    for ether_type in [0x0040, 0x888e, 0x8847, 0x88cc, 0xffff, 0x0000] {
        let frame = |frame: FrameBuilder| frame.ethertype(ether_type).payload(&[0x45; 60]);
        all_punted(from_both(&node, &frame), reason);
    }
    // A frame that ends with its Ethernet header.
    all_punted(from_both(&node, &|frame| frame.ethertype(0x88cc)), reason);
}

pub fn vlan(reason: PuntReason) {
    let node = TestNode::new();
    for family in Family::ALL {
        for (tpid, tci) in [(TPID_VLAN, 5), (TPID_VLAN, 0), (TPID_QINQ, 0xe005)] {
            let tagged = |frame: FrameBuilder| udp(frame).tag(Tag { tpid, tci });
            all_punted(to(&node, family, family.b(), &tagged), reason);
            // Not IP, or cut short: nothing can be read of it.
            let other = |frame: FrameBuilder| tagged(frame).ethertype(0x88cc);
            all_punted(to(&node, family, family.b(), &other), reason);
            for passage in to(&node, family, family.b(), &tagged) {
                let end = 14 + 4 + family.headers() - 14 - 1;
                passage.with(|frame| frame.truncate(end)).is_punted(reason);
            }
        }
    }
}

/// With the right source, each of them as it always was.
#[test]
fn wrapped() {
    let node = TestNode::new();
    for family in Family::ALL {
        for wrapping in Wrapping::ALL {
            for destination in [family.b(), family.remote(), family.node(), family.outside()] {
                for passage in to(&node, family, destination, &udp) {
                    passage
                        .with(|frame| *frame = wrapping.wrap(frame))
                        .is_punted(wrapping.reason);
                }
            }
        }
    }
}

/// What an uplink carries for another interface or host of this machine: its sources are somebody else's business,
/// also where they are of this node, unless it is for this node.
#[test]
fn for_others() {
    let node = TestNode::new();
    for family in Family::ALL {
        let martian = match family {
            Family::V4 => "240.0.0.1",
            Family::V6 => "::ffff:10.0.1.2",
        };
        for wrapping in Wrapping::ALL.iter().filter(|w| w.is_for_others()) {
            let sources = [family.a(), family.node(), family.remote(), address(martian)];
            for source in sources {
                for destination in [family.remote(), family.outside()] {
                    let frame = udp(between(node.uplink.frame(), source, destination));
                    node.from_uplink(frame)
                        .with(|frame| *frame = wrapping.wrap(frame))
                        .is_punted(wrapping.reason);
                }
            }
            let frame = udp(between(node.uplink.frame(), family.remote(), family.b()));
            node.from_uplink(frame)
                .with(|frame| *frame = wrapping.wrap(frame))
                .is_punted(wrapping.reason);
        }
    }
}

pub fn not_to_this_host(reason: PuntReason) {
    let node = TestNode::new();
    for destination in [UNKNOWN_MAC, node.b.mac] {
        in_a_frame_to(&node, destination, reason);
    }
}

/// A unicast packet in a frame that is not this node's own.
fn in_a_frame_to(node: &TestNode, destination: Mac, reason: PuntReason) {
    for family in Family::ALL {
        for passage in to(node, family, family.b(), &udp) {
            passage
                .with(|frame| frame[..6].copy_from_slice(&destination.0))
                .is_punted(reason);
        }
    }
}

pub fn ip_options(reason: PuntReason) {
    let node = TestNode::new();
    let router_alert = [0x94, 4, 0, 0];
    let longest = [1; 40];
    for options in [&router_alert[..], &longest] {
        let with_options = |frame: FrameBuilder| udp(frame).options(options);
        for destination in [Family::V4.b(), Family::V4.remote(), address("224.0.0.22")] {
            all_punted(to(&node, Family::V4, destination, &with_options), reason);
        }
        let padded = |frame: FrameBuilder| with_options(frame).pad_to(200);
        all_punted(to(&node, Family::V4, Family::V4.b(), &padded), reason);
    }
}

pub fn hop_by_hop(reason: PuntReason) {
    let node = TestNode::new();
    let family = Family::V6;
    let with_options =
        |frame: FrameBuilder| udp(frame).extension(EXTENSION_HOP_BY_HOP, &[1, 4, 0, 0, 0, 0]);
    for destination in [family.b(), family.remote(), address("ff02::16")] {
        all_punted(to(&node, family, destination, &with_options), reason);
    }
    // A listener report from a link-local address, and from one that has none yet (RFC 3590).
    for source in ["fe80::5", "::"] {
        let report = between(node.a.frame(), address(source), address("ff02::16"));
        let report = report
            .extension(EXTENSION_HOP_BY_HOP, &[5, 2, 0, 0])
            .icmp(143, 0, [0; 4]);
        node.from_a(report).is_punted(reason);
    }
}

pub fn neighbour_discovery(reason: PuntReason) {
    let node = TestNode::new();
    let family = Family::V6;
    for kind in 133..=137 {
        let message = |frame: FrameBuilder| frame.ttl(255).icmp(kind, 0, [0; 4]).payload(&[0; 16]);
        for destination in [
            family.node(),
            family.b(),
            address("fe80::1"),
            address("ff02::1"),
        ] {
            all_punted(to(&node, family, destination, &message), reason);
        }
        // From a link-local address, and for duplicate address detection.
        for source in ["fe80::5", "::"] {
            let frame = between(node.a.frame(), address(source), address("ff02::1:ff00:2"));
            node.from_a(message(frame)).is_punted(reason);
        }
    }
}

pub fn multicast(reason: PuntReason) {
    let node = TestNode::new();
    for (family, groups) in [
        (Family::V4, ["224.0.0.1", "239.255.255.250"]),
        (Family::V6, ["ff02::1", "ff0e::1"]),
    ] {
        for group in groups {
            all_punted(to(&node, family, address(group), &udp), reason);
        }
    }
    let from_link_local = between(node.a.frame(), address("fe80::5"), address("ff02::fb"));
    node.from_a(udp(from_link_local)).is_punted(reason);
    in_a_frame_to(&node, Mac([0x33, 0x33, 0, 0, 0, 1]), reason);
    in_a_frame_to(&node, Mac([1, 0, 0x5e, 0, 0, 1]), reason);
}

pub fn broadcast(reason: PuntReason) {
    let node = TestNode::new();
    let everybody = address("255.255.255.255");
    all_punted(to(&node, Family::V4, everybody, &udp), reason);
    // DHCP's discover, here as a relay's unicast frame.
    let discover = |frame: FrameBuilder| {
        between(frame, address("0.0.0.0"), everybody)
            .udp(68, 67)
            .payload(&[1; 300])
    };
    all_punted(from_both(&node, &discover), reason);
    // And as clients send it.
    let frame = FrameBuilder::new(node.a.far_mac, Mac([0xff; 6]));
    node.from_a(discover(frame)).is_punted(reason);
    in_a_frame_to(&node, Mac([0xff; 6]), reason);
}

pub fn link_local(reason: PuntReason) {
    let node = TestNode::new();
    for (family, link_local, gateway) in [
        (Family::V4, "169.254.7.7", "169.254.1.1"),
        (Family::V6, "fe80::7", "fe80::1"),
        (Family::V6, "febf::1", "fe80::1"),
    ] {
        let (link_local, gateway) = (address(link_local), address(gateway));
        for destination in [link_local, gateway] {
            all_punted(to(&node, family, destination, &udp), reason);
        }
        for destination in [link_local, gateway, family.b(), family.remote()] {
            let from = |frame: FrameBuilder| udp(between(frame, link_local, destination));
            all_punted(from_both(&node, &from), reason);
            // On an uplink another router may have that address.
            let frame = between(node.uplink.frame(), gateway, destination);
            node.from_uplink(udp(frame)).is_punted(reason);
        }
    }
}

pub fn martian_destination(reason: PuntReason) {
    let node = TestNode::new();
    let v4 = [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "240.0.0.1",
        "255.255.255.254",
    ];
    let v6 = ["::", "::1", "::ffff:10.0.2.2"];
    for (family, destinations) in [(Family::V4, &v4[..]), (Family::V6, &v6)] {
        for destination in destinations {
            all_punted(to(&node, family, address(destination), &udp), reason);
        }
    }
}

pub fn node_address(reason: PuntReason) {
    let node = TestNode::new();
    for family in Family::ALL {
        all_punted(to(&node, family, family.node(), &udp), reason);
        let last_hop = |frame: FrameBuilder| udp(frame).ttl(1);
        all_punted(to(&node, family, family.node(), &last_hop), reason);
    }
}

pub fn no_route(reason: PuntReason) {
    let node = TestNode::new();
    for family in Family::ALL {
        all_punted(to(&node, family, family.outside(), &udp), reason);
        // A punt leaves the padding, too, to the kernel.
        let padded = |frame: FrameBuilder| frame.udp(1, 2).pad_to(110);
        all_punted(to(&node, family, family.outside(), &padded), reason);
        let transit = between(node.uplink.frame(), family.remote(), family.outside());
        node.from_uplink(udp(transit)).is_punted(reason);
    }
}

/// What answers it is the kernel's, too.
pub fn outside(reason: PuntReason) {
    let node = TestNode::new();
    for family in Family::ALL {
        for destination in [family.a(), family.remote()] {
            let frame = between(node.uplink.frame(), family.outside(), destination);
            node.from_uplink(udp(frame)).is_punted(reason);
        }
        // An error follows what it quotes: what its receiver sent to another node, and no other. What stays on this one nobody
        // outside has seen.
        let [kind, request] = match family {
            Family::V4 => [3, 8],
            Family::V6 => [1, 128],
        };
        let quoting = |kind, source, destination| {
            let quoted = udp(between(node.a.frame(), source, destination)).build();
            let frame = between(node.uplink.frame(), family.outside(), family.a());
            node.from_uplink(frame.icmp(kind, 0, [0; 4]).payload(&quoted[14..]))
        };
        quoting(kind, family.a(), family.remote()).goes_to(node.a);
        quoting(kind, family.a(), family.b()).is_punted(reason);
        quoting(kind, family.a(), family.outside()).is_punted(reason);
        quoting(kind, family.b(), family.remote()).is_punted(reason);
        quoting(request, family.a(), family.remote()).is_punted(reason);
    }
}

pub fn ttl_exceeded(reason: PuntReason) {
    let node = TestNode::new();
    for family in Family::ALL {
        for ttl in [0, 1] {
            let expired = |frame: FrameBuilder| udp(frame).ttl(ttl);
            all_punted(to(&node, family, family.b(), &expired), reason);
            let padded = |frame: FrameBuilder| frame.udp(1, 2).ttl(ttl).pad_to(110);
            all_punted(to(&node, family, family.b(), &padded), reason);
            let remote = between(node.a.frame(), family.a(), family.remote());
            node.from_a(expired(remote.clone())).is_punted(reason);
            // Longer than the route's MTU as well: the kernel looks at the TTL first.
            node.from_a(expired(remote).payload(&[1; 1600]))
                .is_punted(reason);
        }
    }
}

/// A route's MTU is locked here: `bpf_fib_lookup` does not tell another. For IPv6 neither path heeds one that
/// is not; for IPv4 the kernel's own does (since Linux 5.9), unless `ip_forward_use_pmtu` makes both.
pub fn mtu_exceeded(reason: PuntReason) {
    let node = TestNode::new();
    node.ip("link set epb mtu 1400\n\
             link set up0 mtu 1450\n\
             route add 10.0.4.0/24 via 100.100.198.253 mtu lock 1350\n\
             route add fd00:4::/64 via fd00:198::253 mtu lock 1350");
    for family in Family::ALL {
        let sized = |length: usize| {
            let payload = vec![1; length - (family.headers() - 14) - 8];
            move |frame: FrameBuilder| frame.udp(1, 2).payload(&payload)
        };
        all_punted(to(&node, family, family.b(), &sized(1401)), reason);
        all_punted(to(&node, family, family.b(), &sized(3000)), reason);
        let remote = between(node.a.frame(), family.a(), family.remote());
        node.from_a(sized(1450)(remote.clone())).goes_out();
        node.from_a(sized(1451)(remote.clone())).is_punted(reason);
        node.from_a(sized(1451)(remote.dont_fragment()))
            .is_punted(reason);
        let narrow = between(node.a.frame(), family.a(), family.subnet(4, 2));
        node.from_a(sized(1350)(narrow.clone())).goes_out();
        node.from_a(sized(1351)(narrow.clone())).is_punted(reason);
        // Segments of a packet that fits the device: of others test_run does not know how long they are.
        let segments = narrow.tcp(1, 2, 0x10).payload(&[1; 1380]);
        let payload = 1350 - (family.headers() as u32 - 14) - 20;
        let segmented = |payload| node.from_a(segments.clone()).segmented(payload);
        segmented(payload).goes_out();
        segmented(payload + 1).is_punted(reason);
    }
}

pub fn same_interface(reason: PuntReason) {
    let node = TestNode::new();
    node.ip("route add 10.0.4.0/24 dev epa\nroute add fd00:4::/64 dev epa");
    for family in Family::ALL {
        for destination in [family.a(), family.a_too(), family.subnet(4, 2)] {
            let frame = between(node.a.frame(), family.a(), destination);
            node.from_a(udp(frame)).is_punted(reason);
        }
    }
}

/// Somebody else's veth with the index of the endpoint's, too, is not the endpoint's.
pub fn endpoint_gone(reason: PuntReason) {
    let node = TestNode::new();
    for family in Family::ALL {
        node.from_a(udp(between(node.a.frame(), family.a(), family.b())))
            .goes_to(node.b);
    }
    let index = node.b.ifindex.0;
    for change in [
        "link del epb".to_owned(),
        format!("link add other index {index} type veth peer name peer\nlink set other up"),
    ] {
        node.ip(&change);
        for family in Family::ALL {
            for (frame, from_uplink) in [
                (between(node.a.frame(), family.a(), family.b()), false),
                (
                    between(node.uplink.frame(), family.remote(), family.b()),
                    true,
                ),
            ] {
                let passage = match from_uplink {
                    true => node.from_uplink(udp(frame)),
                    false => node.from_a(udp(frame)),
                };
                passage.is_punted(reason);
            }
        }
    }
}
