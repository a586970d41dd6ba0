//! The cases where the nodes are machines that uplinks of some kind join.

use std::{collections::BTreeSet, net::IpAddr};

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
/// Length of the IPv6 header in bytes.
const IPV6_HEADER: usize = 40;

/// To these the two nodes, each of which takes the other for a router to all of the link, send to and fro.
const OF_THE_LINK: &str = "destination: directed broadcast or anycast, 10.8.0.0";

/// Every case about packets, and some that are about nothing but packets that have no Ethernet header.
pub fn all_by_uplink(lab: &Lab) -> Vec<Case> {
    let mut cases = all(lab);
    let families: Vec<Family> = lab.families().collect();
    cases.retain(|case| families.contains(&case.family) && can_go_by_uplink(lab, case));
    assert!(cases.len() > 500 * families.len(), "{} cases", cases.len());
    if !lab.is_bare(Place::NodeA) {
        return cases;
    }
    let flows = families
        .iter()
        .map(|family| Flow::new(lab, *family, Path::FromUplink));
    cases.extend(flows.flat_map(|flow| like_frames(&flow)));
    // The decision cache remembers nothing of what comes or goes without an Ethernet header.
    for case in &mut cases {
        case.once = true;
    }
    cases
}

/// The first of them of each kind, family and path: so few that an emulated processor has time for them.
pub fn some_by_uplink(lab: &Lab) -> Vec<Case> {
    let mut kinds = BTreeSet::new();
    let mut cases = all_by_uplink(lab);
    cases.retain(|case| {
        let is_no_word = |c: char| !c.is_alphanumeric();
        let kind = case.name.split(is_no_word).next().unwrap_or_default();
        let is_v4 = case.family == Family::V4;
        is_alike_in_a_tunnel(case) && kinds.insert((kind.to_owned(), is_v4, case.path))
    });
    cases
}

/// Whether a tunnel neither judges nor divides what the case sends: it goes by the packet's own length, and so must that.
fn is_alike_in_a_tunnel(case: &Case) -> bool {
    let is_honest = |frame: &Vec<u8>| {
        let length = match (
            frame.get(ETHERNET).map(|byte| byte >> 4),
            &frame[ETHERNET..],
        ) {
            (Some(4), [_, _, high, low, ..]) => usize::from(u16::from_be_bytes([*high, *low])),
            (Some(6), [_, _, _, _, high, low, ..]) => {
                usize::from(u16::from_be_bytes([*high, *low])) + IPV6_HEADER
            }
            _ => return false,
        };
        length == frame.len() - ETHERNET
            && ParsedFrame::parse(frame).is_ok_and(|frame| frame.ip().is_ok())
    };
    match &case.probe {
        Probe::Frames(frames) => frames.iter().all(is_honest),
        Probe::Gso(_) | Probe::Work(_) => false,
    }
}

/// Packets with the EtherTypes of IPv4, ARP, VLAN tags and IPv6 in the place where a frame has its own.
fn like_frames(flow: &Flow) -> Vec<Case> {
    let counted = [(64, "redirect_peer"), (1, "punt(ttl_exceeded)")];
    let pairs = topology::like_frames(flow.family)
        .flat_map(|source| counted.map(|counted| (source, counted)));
    let cases = pairs.map(|(source, (ttl, counted_as))| Case {
        name: format!("without a frame: from {source}, TTL {ttl}"),
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
fn can_go_by_uplink(lab: &Lab, case: &Case) -> bool {
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
