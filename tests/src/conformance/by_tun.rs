//! The cases where the nodes are joined by tun devices.

use std::net::IpAddr;

use netpath::probe::frame::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ParsedFrame};

use super::{
    case::{Case, Flow, Path, Probe, Step},
    cases::all,
    lab::Lab,
    observe::is_discovery,
    place::Place,
    topology,
};
use crate::Family;

/// Length of an Ethernet header in bytes.
const ETHERNET: usize = 14;

/// To these the two nodes, each of which takes the other for a router to all of the link, send to and fro.
const OF_THE_LINK: &str = "destination: directed broadcast or anycast, 10.8.0.0";

/// Every case that can be run so, and some that are about nothing else.
pub fn all_by_tun(lab: &Lab) -> Vec<Case> {
    let mut cases = all(lab);
    cases.retain(|case| can_go_by_tun(lab, case));
    assert!(cases.len() > 1000, "{} cases", cases.len());
    let flows = Family::ALL.map(|family| Flow::new(lab, family, Path::FromUplink));
    cases.extend(flows.iter().flat_map(like_frames));
    // The decision cache remembers nothing of what comes or goes without an Ethernet header.
    for case in &mut cases {
        case.once = true;
    }
    cases
}

/// Packets with the EtherTypes of IPv4, ARP, VLAN tags and IPv6 in the place where a frame has its own.
fn like_frames(flow: &Flow) -> Vec<Case> {
    let counted = [(64, "redirect_peer"), (1, "punt(ttl_exceeded)")];
    let pairs = topology::like_frames(flow.family)
        .flat_map(|source| counted.map(|counted| (source, counted)));
    let cases = pairs.map(|(source, (ttl, counted_as))| Case {
        name: format!("by a tun: from {source}, TTL {ttl}"),
        source: "ieee802-numbers (IANA)",
        family: flow.family,
        path: flow.path,
        steps: Vec::new(),
        probe: Probe::Frames(vec![flow.from(source).udp().ttl(ttl).build()]),
        with_discovery: false,
        with_redirects: false,
        once: false,
        counted_as: Some(counted_as),
    });
    cases.collect()
}

/// Whether all that a case sends reaches node A, and says the same, without the Ethernet header that it has on a wire. What
/// is about frames, or about the neighbours that are on a wire, does not.
fn can_go_by_tun(lab: &Lab, case: &Case) -> bool {
    if case.path == Path::SameNode
        || case.name == OF_THE_LINK
        || bounces(case)
        || !case.steps.iter().all(is_without_neighbours)
    {
        return false;
    }
    let is_whole = |frame: &Vec<u8>| {
        frame.starts_with(&lab.mac(Place::NodeA).0) && !is_discovery(frame) && is_plain(frame)
    };
    match (&case.probe, case.path) {
        (Probe::Frames(frames), Path::FromUplink) => frames.iter().all(is_whole),
        // The device that packets are read from cuts them into segments first.
        (Probe::Gso(_), Path::FromUplink) => false,
        (Probe::Work(_), _) => false,
        _ => true,
    }
}

/// Whether it, or what answers it, goes back and forth between the devices until its hop limit ends, some of that after the case:
/// IPv6 to an address of the link, which a tun has on no side.
fn bounces(case: &Case) -> bool {
    let is_of_a_link = |frame: &Vec<u8>| {
        let packet = ParsedFrame::parse(frame).and_then(|frame| frame.ip());
        packet.is_ok_and(|packet| {
            [packet.source, packet.destination]
                .iter()
                .any(|address| matches!(address, IpAddr::V6(it) if it.is_unicast_link_local()))
        })
    };
    match &case.probe {
        Probe::Frames(frames) => frames.iter().any(is_of_a_link),
        Probe::Gso(_) | Probe::Work(_) => false,
    }
}

/// A frame of which nothing but its MACs is lost: a tun device goes by the first byte.
fn is_plain(frame: &[u8]) -> bool {
    let Ok(parsed) = ParsedFrame::parse(frame) else {
        return false;
    };
    let version = frame.get(ETHERNET).map(|byte| byte >> 4);
    parsed.tags.is_empty()
        && matches!(
            (parsed.ethertype, version),
            (ETHERTYPE_IPV4, Some(4)) | (ETHERTYPE_IPV6, Some(6))
        )
}

fn is_without_neighbours(step: &Step) -> bool {
    match step {
        Step::Ip { place, change, .. } => *place != Place::Wire && change.starts_with("link set "),
        Step::Sysctl { .. } | Step::TcProgram { .. } => true,
    }
}
