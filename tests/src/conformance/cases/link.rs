//! What is not an IP packet to this router's MAC, and frames longer than their packet.

use std::net::IpAddr;

use netpath::probe::frame::{ETHERTYPE_ARP, FrameBuilder, TPID_QINQ, TPID_VLAN, Tag};
use netpath_common::Mac;

use super::List;
use crate::{Family, conformance::case::Flow};

const BROADCAST: Mac = Mac([0xff; 6]);

pub(super) fn add(list: &mut List<'_>) {
    for flow in list.flows() {
        destination_mac(list, &flow);
        tags(list, &flow);
        padding(list, &flow);
        to_many(list, &flow);
        match flow.source {
            IpAddr::V4(address) => other_protocols(list, &flow, address.octets()),
            IpAddr::V6(_) => discovery(list, &flow),
        }
    }
}

fn with_macs(frame: &[u8], destination: Mac) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[..6].copy_from_slice(&destination.0);
    frame
}

fn destination_mac(list: &mut List<'_>, flow: &Flow) {
    let multicast = match flow.family {
        Family::V4 => Mac([1, 0, 0x5e, 0, 0, 1]),
        Family::V6 => Mac([0x33, 0x33, 0, 0, 0, 1]),
    };
    for (name, mac) in [
        ("another host's", Mac([2, 0, 0, 0, 0, 0x99])),
        ("broadcast", BROADCAST),
        ("multicast", multicast),
        ("all zero", Mac([0; 6])),
    ] {
        let frame = with_macs(&flow.udp().build(), mac);
        list.frames(
            flow,
            format!("link: unicast packet, destination MAC {name}"),
            "RFC 1812, 5.3.4; ip_forward(): pkt_type",
            [frame],
        );
    }
    let mut frame = flow.udp().build();
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0x98]);
    list.frames(flow, "link: unknown source MAC", "802.1D", [frame]);
}

/// Broadcast and multicast with the MAC that belongs to it, from an address and from none.
fn to_many(list: &mut List<'_>, flow: &Flow) {
    let unspecified: IpAddr = match flow.family {
        Family::V4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let groups: &[(&str, &str, Mac)] = match flow.family {
        Family::V4 => &[
            ("limited broadcast", "255.255.255.255", BROADCAST),
            ("all hosts", "224.0.0.1", Mac([1, 0, 0x5e, 0, 0, 1])),
            ("mDNS", "224.0.0.251", Mac([1, 0, 0x5e, 0, 0, 0xfb])),
            ("a routed group", "239.1.2.3", Mac([1, 0, 0x5e, 1, 2, 3])),
        ],
        Family::V6 => &[
            ("all nodes", "ff02::1", Mac([0x33, 0x33, 0, 0, 0, 1])),
            ("mDNS", "ff02::fb", Mac([0x33, 0x33, 0, 0, 0, 0xfb])),
            ("a routed group", "ff0e::1:2", Mac([0x33, 0x33, 0, 1, 0, 2])),
        ],
    };
    for (name, group, mac) in groups {
        let group: IpAddr = group.parse().expect(group);
        for (whose, source) in [("its address", flow.source), ("no address", unspecified)] {
            for ttl in [1, 64] {
                let frame = flow.from(source).to(group).ip().ttl(ttl);
                let frame = frame.udp(5353, 5354).payload(b"everybody");
                list.frames(
                    flow,
                    format!("link: to {name} from {whose}, TTL {ttl}"),
                    "RFC 1112; RFC 919; RFC 4291, 2.7; RFC 2131",
                    [with_macs(&frame.build(), *mac)],
                );
            }
        }
    }
    let membership = match flow.source {
        IpAddr::V4(_) => {
            // IGMPv2 report (RFC 2236), with Router Alert.
            let group: IpAddr = "239.1.2.3".parse().expect("an address");
            let mut report = vec![0x16, 0, 0, 0, 239, 1, 2, 3];
            let sum = netpath::probe::frame::internet_checksum(&report);
            report[2..4].copy_from_slice(&sum.to_be_bytes());
            let frame = flow.to(group).ip().ttl(1).options(&[148, 4, 0, 0]);
            let frame = frame.protocol(2).payload(&report).build();
            with_macs(&frame, Mac([1, 0, 0x5e, 1, 2, 3]))
        }
        IpAddr::V6(_) => {
            // MLDv2 report (RFC 3810): one record that excludes nobody.
            let routers: IpAddr = "ff02::16".parse().expect("an address");
            let link_local: IpAddr = "fe80::7:7".parse().expect("an address");
            let mut record = vec![4, 0, 0, 0];
            record.extend([0xff, 0x0e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2]);
            let frame = flow.from(link_local).to(routers).ip().ttl(1);
            let frame = frame
                .extension(0, &[5, 2, 0, 0, 1, 0])
                .icmp(143, 0, [0, 0, 0, 1]);
            let frame = frame.payload(&record).build();
            with_macs(&frame, Mac([0x33, 0x33, 0, 0, 0, 0x16]))
        }
    };
    let case = list.frames(
        flow,
        "link: group membership report",
        "RFC 2236; RFC 3810",
        [membership],
    );
    case.with_discovery = true;
}

fn tags(list: &mut List<'_>, flow: &Flow) {
    let tag = |tpid, tci| Tag { tpid, tci };
    for (name, tags) in [
        ("VLAN 0 (priority only)", vec![tag(TPID_VLAN, 0xa000)]),
        ("VLAN 7", vec![tag(TPID_VLAN, 7)]),
        ("QinQ", vec![tag(TPID_QINQ, 3), tag(TPID_VLAN, 7)]),
        (
            "VLAN 0 in VLAN 0",
            vec![tag(TPID_VLAN, 0), tag(TPID_VLAN, 0)],
        ),
    ] {
        let tagged = |frame: FrameBuilder| {
            let tags = tags.iter();
            tags.fold(frame, |frame, tag| frame.tag(*tag)).build()
        };
        list.frames(
            flow,
            format!("link: {name}"),
            "IEEE 802.1Q",
            [tagged(flow.udp())],
        );
        let expired = tagged(flow.udp().ttl(1));
        list.frames(
            flow,
            format!("link: {name}, TTL 1"),
            "IEEE 802.1Q",
            [expired],
        );
    }
}

fn padding(list: &mut List<'_>, flow: &Flow) {
    const SOURCE: &str = "RFC 894; RFC 2464; pskb_trim_rcsum()";
    for length in [60, 61, 200, 1514] {
        let padded = |frame: FrameBuilder| frame.pad_to(length).build();
        for (name, frame) in [
            ("a short UDP packet", flow.ip().udp(40_000, 40_001)),
            ("a short TCP packet", flow.ip().tcp(40_000, 40_001, 2)),
            (
                "a short packet, TTL 1",
                flow.ip().udp(40_000, 40_001).ttl(1),
            ),
            (
                "a short packet, TTL 2",
                flow.ip().udp(40_000, 40_001).ttl(2),
            ),
            (
                "a short fragment",
                flow.ip().protocol(17).fragment(8, false).payload(&[1; 8]),
            ),
            (
                "an unknown protocol",
                flow.ip().protocol(253).payload(&[9; 3]),
            ),
        ] {
            let name = format!("link: padded to {length}: {name}");
            list.frames(flow, name, SOURCE, [padded(frame)]);
        }
    }
    let mut noisy = flow.ip().udp(40_000, 40_001).payload(b"x").build();
    noisy.extend([0xee; 100]);
    list.frames(flow, "link: trailer that is not zero", SOURCE, [noisy]);
}

fn other_protocols(list: &mut List<'_>, flow: &Flow, source: [u8; 4]) {
    let frame = |mac, ethertype, payload: &[u8]| {
        FrameBuilder::new(flow.source_mac, mac)
            .ethertype(ethertype)
            .payload(payload)
            .build()
    };
    let lldp = Mac([1, 0x80, 0xc2, 0, 0, 0x0e]);
    for (name, frame) in [
        (
            "LLDP",
            frame(lldp, 0x88cc, &[0x02, 0x07, 4, 2, 0, 0, 0, 0, 1, 0, 0]),
        ),
        (
            "an unknown EtherType",
            frame(flow.destination_mac, 0x9999, &[1; 60]),
        ),
        (
            "IEEE 802.3 with LLC",
            frame(flow.destination_mac, 0x0026, &[0x42; 60]),
        ),
        ("EtherType 0", frame(flow.destination_mac, 0, &[0; 60])),
        (
            "MPLS",
            frame(flow.destination_mac, 0x8847, &[0, 1, 1, 64, 0x45]),
        ),
        (
            "PPPoE",
            frame(
                flow.destination_mac,
                0x8864,
                &[0x11, 0, 0, 1, 0, 2, 0, 0x21],
            ),
        ),
    ] {
        list.frames(flow, format!("link: {name}"), "IEEE 802", [frame]);
    }
    let arp = |operation: u8, source: [u8; 4], target: [u8; 4]| {
        let mut payload = vec![0, 1, 8, 0, 6, 4, 0, operation];
        payload.extend(flow.source_mac.0);
        payload.extend(source);
        payload.extend([0; 6]);
        payload.extend(target);
        frame(BROADCAST, ETHERTYPE_ARP, &payload)
    };
    let IpAddr::V4(node) = crate::conformance::Place::NodeA.address(Family::V4) else {
        unreachable!("an IPv4 address")
    };
    let gateway = netpath::provision::GATEWAY_V4.octets();
    let (own, nobody) = (node.octets(), [10, 8, 0, 200]);
    for (name, frame) in [
        ("ARP for the node's address", arp(1, source, own)),
        ("ARP for the gateway", arp(1, source, gateway)),
        ("ARP for nobody", arp(1, source, nobody)),
        ("ARP probe (RFC 5227)", arp(1, [0; 4], gateway)),
        ("gratuitous ARP", arp(2, source, source)),
    ] {
        let case = list.frames(flow, format!("link: {name}"), "RFC 826", [frame]);
        case.with_discovery = true;
    }
}

fn discovery(list: &mut List<'_>, flow: &Flow) {
    const SOURCE: &str = "RFC 4861; RFC 2710";
    let IpAddr::V6(node) = crate::conformance::Place::NodeA.address(Family::V6) else {
        unreachable!("an IPv6 address")
    };
    let gateway = netpath::provision::GATEWAY_V6;
    let mut option = vec![1, 1];
    option.extend(flow.source_mac.0);
    let link_local: IpAddr = "fe80::7:7".parse().expect("an address");
    let unspecified: IpAddr = "::".parse().expect("an address");
    let ask = |target: [u8; 16], options: &[u8]| [&target[..], options].concat();
    let solicitation = |from: IpAddr, target: std::net::Ipv6Addr, ttl: u8, options: &[u8]| {
        flow.from(from)
            .to(target.into())
            .ip()
            .ttl(ttl)
            .icmp(135, 0, [0; 4])
            .payload(&ask(target.octets(), options))
            .build()
    };
    let all_routers: IpAddr = "ff02::2".parse().expect("an address");
    let all_nodes: IpAddr = "ff02::1".parse().expect("an address");
    let mac = Mac([0x33, 0x33, 0, 0, 0, 2]);
    let router_solicitation = flow.from(link_local).to(all_routers).ip().ttl(255);
    let router_solicitation = with_macs(&router_solicitation.icmp(133, 0, [0; 4]).build(), mac);
    let advertisement = flow.from(link_local).to(all_nodes).ip().ttl(255);
    let advertisement = advertisement.icmp(134, 0, [64, 0, 0, 30]).payload(&[0; 8]);
    let advertisement = with_macs(&advertisement.build(), Mac([0x33, 0x33, 0, 0, 0, 1]));
    let listener = flow.from(link_local).to(all_nodes).ip().ttl(1);
    let listener = listener
        .extension(0, &[5, 2, 0, 0, 1, 0])
        .icmp(131, 0, [0; 4]);
    let listener = with_macs(
        &listener.payload(&[0xff; 16]).build(),
        Mac([0x33, 0x33, 0, 0, 0, 1]),
    );
    for (name, frame) in [
        (
            "NS for the node's address",
            solicitation(flow.source, node, 255, &option),
        ),
        (
            "NS for the gateway",
            solicitation(flow.source, gateway, 255, &option),
        ),
        (
            "NS for the gateway, link-local source",
            solicitation(link_local, gateway, 255, &option),
        ),
        (
            "NS with hop limit 64",
            solicitation(flow.source, node, 64, &option),
        ),
        (
            "duplicate address detection",
            solicitation(unspecified, gateway, 255, &[]),
        ),
        (
            "NS to another endpoint, to be forwarded",
            flow.ip()
                .ttl(255)
                .icmp(135, 0, [0; 4])
                .payload(&ask([0xfd; 16], &option))
                .build(),
        ),
        ("router solicitation", router_solicitation),
        ("router advertisement", advertisement),
        ("multicast listener report", listener),
    ] {
        let case = list.frames(flow, format!("link: {name}"), SOURCE, [frame]);
        case.with_discovery = true;
    }
}
