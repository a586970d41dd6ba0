//! A node has addresses beside those that its topology names: on other network cards, bridges, the loopback device. What
//! says from outside to come from one of them is forged, and what is for them is the kernel's.

mod changes;
mod endpoints;
mod prefixes;
mod room;
mod wire;

use std::{
    net::{IpAddr, UdpSocket},
    time::Duration,
};

use netpath::probe::{frame::FrameBuilder, ping::PingOptions};
use netpath_common::{EndpointEntry, Mac};
use netpath_tests::lab::{Bytes::Any, Deadline, Lab, TWO_NODES, addresses, on_a_machine, run};

use self::wire::{labs_wire, machines_wire};

const FORGED: u16 = 4_001;
const HONEST: u16 = 4_002;
const PAYLOAD: [u8; 40] = [0x5a; 40];

/// Addresses that no topology names, of both families.
const OTHERS: [&str; 2] = ["10.9.9.9", "fd99::9"];

fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn datagram(macs: (Mac, Mac), source: IpAddr, destination: IpAddr, port: u16) -> Vec<u8> {
    let frame = FrameBuilder::new(macs.0, macs.1);
    let frame = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => frame.ipv4(source, destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) => frame.ipv6(source, destination),
        mixed => panic!("{mixed:?}"),
    };
    frame.udp(4_000, port).payload(&PAYLOAD).build()
}

fn length(address: IpAddr) -> u64 {
    let header = if address.is_ipv4() { 20 } else { 40 };
    14 + header + 8 + PAYLOAD.len() as u64
}

/// Ids of what `show` tells of a node itself.
fn drift(lab: &Lab, node: &str) -> Vec<String> {
    let drift = lab.status(node).drift;
    drift.iter().map(|finding| finding.id.to_string()).collect()
}

fn entry(lab: &Lab, node: &str, address: IpAddr) -> Option<EndpointEntry> {
    let maps = &lab.datapath(node).maps;
    maps.endpoint(address)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The way from the machine's neighbour to an address of the machine's.
fn route_there(lab: &Lab, address: &str) {
    let machine = addresses("A")[usize::from(address.contains(':'))];
    lab.ip("P", &format!("route add {address} via {machine}"));
}

fn add(address: &str) {
    run(&format!(
        "ip addr add {} dev lo {}",
        host(address),
        nodad(address)
    ));
    // The kernel takes an IPv6 address in by a worker of its own.
    let option = if address.contains(':') { "-6" } else { "-4" };
    let deadline = Deadline::new();
    while !run(&format!("ip {option} route show table local"))
        .contains(&format!("local {address} "))
    {
        deadline.check(|| format!("{address} is not taken in"));
    }
}

fn host(address: &str) -> String {
    let length = if address.contains(':') { 128 } else { 32 };
    format!("{address}/{length}")
}

fn nodad(address: &str) -> &'static str {
    if address.contains(':') { "nodad" } else { "" }
}

#[test]
fn nobody_outside_speaks_for_an_address_of_the_machine() {
    on_a_machine(|lab| {
        OTHERS.iter().for_each(|address| add(address));
        run("ip link add nic2 type veth peer name nic3");
        run("ip link set nic3 up");
        run("ip link set nic2 up");
        run("ip addr add 10.8.8.8/24 dev nic2");
        run("ip addr add fd88::8/64 dev nic2 nodad");
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
        assert_eq!(drift(lab, "H"), Vec::<String>::new());
        let wire = machines_wire(lab);
        // 192.0.2.1 is on a bridge of the machine's.
        for source in OTHERS.iter().chain(&["10.8.8.8", "fd88::8", "192.0.2.1"]) {
            wire.assert_forged(address(source));
        }
        // What is for them is the kernel's, also from an endpoint.
        for family in [0, 1] {
            let before = lab.traffic("H");
            lab.assert_reaches("a1", address(OTHERS[family]), 64);
            let row = ("va1 > - punt node_address", 3, Any);
            lab.assert_counted("H", &before, &[row]);
            route_there(lab, OTHERS[family]);
            lab.assert_reaches_from(
                "P",
                Some(addresses("b1")[family]),
                address(OTHERS[family]),
                64,
            );
        }
        run("ip link del nic2");
        // With the broadcast address of its subnet.
        assert_eq!(drift(lab, "H"), ["own_address_gone"; 3]);
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
    });
}

#[test]
fn the_same_in_a_lab() {
    let lab = Lab::up(TWO_NODES);
    for other in OTHERS {
        lab.ip(
            "B",
            &format!("addr add {} dev lo {}", host(other), nodad(other)),
        );
    }
    assert_eq!(drift(&lab, "B"), ["own_address_unknown"; 2]);
    assert_eq!(drift(&lab, "A"), Vec::<String>::new());
    assert_eq!(lab.converge().len(), 1);
    assert_eq!(lab.plan(), Vec::<String>::new());
    for other in OTHERS {
        labs_wire(&lab).assert_forged(address(other));
        let from = PingOptions::default();
        assert!(lab.ping("B", address(other), &from).is_clean());
    }
    lab.down();
}

/// What only listens to an address of the machine's goes on being reached from outside.
#[test]
fn a_service_at_such_an_address_is_reached() {
    on_a_machine(|lab| {
        OTHERS.iter().for_each(|address| add(address));
        lab.converge();
        for (family, other) in OTHERS.into_iter().map(address).enumerate() {
            let server = UdpSocket::bind((other, HONEST)).expect("a socket");
            let wait = Some(Duration::from_secs(3));
            server.set_read_timeout(wait).expect("a time limit");
            let source = addresses("b1")[family];
            route_there(lab, OTHERS[family]);
            lab.inside("P", || {
                let client = UdpSocket::bind((source, 0)).expect("a socket");
                client.send_to(&PAYLOAD, (other, HONEST)).expect("send");
            });
            let mut payload = [0; 64];
            let (length, sender) = server.recv_from(&mut payload).expect("it arrives");
            assert_eq!((&payload[..length], sender.ip()), (&PAYLOAD[..], source));
        }
    });
}
