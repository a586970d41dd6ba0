//! What somebody else has the kernel do with packets, with the real thing: VRFs, IPsec, XDP, marks and policy rules, VLANs,
//! tunnels. What is right is said by what is seen to come and go at interfaces; counters are checked besides.

mod hooks;
mod ipsec;
mod mtu;
mod priority;
mod routing;
mod segments;
mod transit;
mod tunnel;
mod vlan;
mod vrf;
mod xdp;

use std::net::IpAddr;

use netpath_tests::lab::{Bytes, Lab, Place, SeenPacket, TWO_NODES, Watch, addresses};

/// What comes to a2.
const TO_A2: Place = Place::entering(("a2", "eth0"), ("A", "va2"));
/// What comes to a1.
const TO_A1: Place = Place::entering(("a1", "eth0"), ("A", "va1"));
/// What comes to b1.
const TO_B1: Place = Place::entering(("b1", "eth0"), ("B", "vb1"));
/// What node A sends to other nodes.
const FROM_A: Place = Place::leaving(("A", "up0"));
/// What node B sends to other nodes.
const FROM_B: Place = Place::leaving(("B", "up0"));

/// Packets of each kind that are sent.
const COUNT: usize = 4;

/// [`TWO_NODES`] with FORWARD at ACCEPT: what the kernel is left arrives, unless something else drops it.
fn accepting() -> String {
    TWO_NODES.replace("drop", "accept")
}

/// The same, of which node A has something of others passed by.
fn accepting_all_of(reason: &str) -> String {
    let bypass = format!("bypass = [\"{reason}\"]\nforward_policy");
    accepting().replacen("forward_policy", &bypass, 1)
}

/// [`accepting`], up, and the nodes know each other's MACs.
fn lab() -> Lab {
    let lab = Lab::up(&accepting());
    know_each_other(&lab);
    lab
}

fn know_each_other(lab: &Lab) {
    for (from, to) in [("A", "B"), ("B", "A")] {
        for dst in addresses(to) {
            lab.assert_reaches(from, dst, 64);
        }
    }
}

/// Sends a few datagrams from an endpoint of [`TWO_NODES`].
fn send(lab: &Lab, endpoint: &str, (from, to): (IpAddr, IpAddr)) {
    let node = endpoint[..1].to_uppercase();
    let frame = lab.datagram(&node, endpoint, from, to).build();
    let injector = lab.injector(endpoint, "eth0");
    for _ in 0..COUNT {
        injector.send(&frame).expect("send");
    }
}

/// The addresses of two places, of each family.
fn pairs(from: &str, to: &str) -> [(IpAddr, IpAddr); 2] {
    let ([a, b], [c, d]) = (addresses(from), addresses(to));
    [(a, c), (b, d)]
}

/// How many of the packets are datagrams of [`send`] between these addresses, as they are after so many routers.
fn datagrams(seen: &[SeenPacket], (from, to): (IpAddr, IpAddr), routers: u8) -> usize {
    let is_one = |packet: &&SeenPacket| {
        (packet.source, packet.destination) == (from, to)
            && (packet.protocol, packet.ttl) == (17, 64 - routers)
    };
    seen.iter().filter(is_one).count()
}

/// Sends from one endpoint to another, and tells how many come to a place, after so many routers. Nothing else may come
/// there between the two.
fn sent_and_seen(
    lab: &Lab,
    watch: &mut Watch<1>,
    (endpoint, ends): (&str, (IpAddr, IpAddr)),
    routers: u8,
) -> usize {
    send(lab, endpoint, ends);
    let [seen] = watch.seen();
    let count = datagrams(&seen, ends, routers);
    let (from, to) = ends;
    let between = seen
        .iter()
        .filter(|packet| (packet.source, packet.destination) == (from, to));
    assert_eq!(between.count(), count, "{seen:?}");
    count
}

/// A row of the counters in which as many are as [`send`] sends.
fn counted(row: &str) -> (&str, u64, Bytes) {
    (row, COUNT as u64, Bytes::Any)
}

/// Runs lines in a node's namespace, each a command without quotes.
fn all(lab: &Lab, place: &str, lines: &str) {
    for line in lines.trim().lines() {
        lab.run(place, line.trim());
    }
}
