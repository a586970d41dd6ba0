//! What has to hold of every packet, whatever it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netpath::{
    datapath::{ProgramKind, ReturnCode, TestOutcome},
    probe::frame::internet_checksum,
};
use netpath_common::{HopKey, Ifindex, Mac, Outcome, Verdict};

use super::{Input, Row, Violation};
use crate::{Addresses as _, Device, Family, TestNode};

/// Who has which address in a [`TestNode`].
#[derive(Debug)]
pub struct World {
    endpoints: Vec<(IpAddr, Device)>,
    /// Prefixes that are routed to endpoints.
    prefixes: Vec<(IpNet, Device)>,
    node: [IpAddr; 2],
    /// Where the kernel routes remote prefixes, the longer ones first.
    remote: [(IpNet, Device); 4],
}

/// A prefix of each family that is routed to endpoint a. The second is in one that is remote.
const OF_A: [&str; 2] = ["10.9.0.0/28", "fd00:9::/64"];

/// The node that inputs are for.
pub fn node() -> TestNode {
    let mut node = TestNode::new();
    for prefix in OF_A {
        node.route_to(node.a, prefix);
    }
    node
}

/// What a packet that is redirected says of itself.
struct Headers {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    /// Where the packet ends in the frame, by its own length field.
    end: usize,
    /// Where the TTL or hop limit is.
    ttl_at: usize,
}

impl World {
    /// As [`node`] fills the maps, with one more subnet that is remote, but behind endpoint a's veth: so
    /// there is also something remote that an uplink's packets would not turn back to.
    pub fn of(node: &TestNode) -> Self {
        node.ip("route add 10.0.5.0/24 dev epa\nroute add fd00:5::/64 dev epa");
        let endpoints = Family::ALL.into_iter().flat_map(|family| {
            [
                (family.a(), node.a),
                (family.a_too(), node.a),
                (family.b(), node.b),
            ]
        });
        Self {
            endpoints: endpoints.collect(),
            prefixes: OF_A
                .map(|prefix| (prefix.parse().expect("a prefix"), node.a))
                .to_vec(),
            node: Family::ALL.map(Family::node),
            remote: [
                ("10.0.5.0/24", node.a),
                ("fd00:5::/64", node.a),
                ("10.0.0.0/16", node.uplink),
                ("fd00::/24", node.uplink),
            ]
            .map(|(prefix, device)| (prefix.parse().expect("a prefix"), device)),
        }
    }

    /// Checks what a program made of an input, and says where it has to be counted.
    pub fn check(&self, input: &Input, outcome: &TestOutcome) -> Result<Row, Violation> {
        let ingress = input.packet.ifindex;
        let punt_or_drop = match (input.program, outcome.code) {
            (_, ReturnCode::Other(_)) => return Err(Violation::Code),
            (ProgramKind::ToEndpoint, ReturnCode::Next) => {
                untouched(input, outcome)?;
                let arrived = input.packet.ingress_ifindex;
                return Ok(Row::Exact(HopKey::new(arrived, ingress, Verdict::Deliver)));
            }
            (ProgramKind::ToUplink, ReturnCode::Next) => {
                untouched(input, outcome)?;
                return Ok(Row::Nowhere);
            }
            (ProgramKind::ToEndpoint | ProgramKind::ToUplink, _) => return Err(Violation::Code),
            (_, ReturnCode::Redirect) => return self.redirected(input, outcome),
            (_, ReturnCode::Next) => Outcome::Punt,
            (_, ReturnCode::Shot) => Outcome::Drop,
        };
        untouched(input, outcome)?;
        Ok(Row::Some(ingress, punt_or_drop))
    }

    fn redirected(&self, input: &Input, outcome: &TestOutcome) -> Result<Row, Violation> {
        let frame = &input.packet.frame;
        let segmented = input.packet.gso_size != 0;
        let headers = headers(frame, segmented).ok_or(Violation::Redirected("no IP header"))?;
        if frame[..6] != input.device.mac.0 {
            return Err(Violation::Redirected("the frame is not for this host"));
        }
        match input.program {
            ProgramKind::FromEndpoint => self.is_own(headers.source, input.device.ifindex)?,
            _ => self.is_foreign(headers.source)?,
        }
        let endpoint = self.endpoint(headers.destination);
        let (verdict, to) = match (input.program, endpoint) {
            (_, Some(to)) => (Verdict::RedirectPeer, to),
            (ProgramKind::FromEndpoint, None) => {
                let mut remote = self.remote.iter();
                let found = remote.find(|(prefix, _)| prefix.contains(&headers.destination));
                match found {
                    Some((_, to)) if !self.node.contains(&headers.destination) => {
                        (Verdict::RedirectNeigh, *to)
                    }
                    _ => return Err(Violation::Redirected("the destination is nobody's")),
                }
            }
            _ => return Err(Violation::Redirected("the destination is not here")),
        };
        if to.ifindex == input.device.ifindex {
            return Err(Violation::Redirected("back to where it came from"));
        }
        if headers.ttl < 2 {
            return Err(Violation::Redirected("its time is exceeded"));
        }
        if outcome.mark != 0 {
            return Err(Violation::Marked);
        }
        let macs = Some((to.far_mac, to.mac));
        let mut expected = forwarded(frame, &headers, macs);
        // Those of the next hop are the kernel's to write, where they are not known of its last packets.
        if verdict == Verdict::RedirectNeigh && outcome.frame.get(..12) == frame.get(..12) {
            expected[..12].copy_from_slice(&frame[..12]);
        }
        if outcome.frame != expected {
            return Err(Violation::Rewritten(expected));
        }
        Ok(Row::Exact(HopKey::new(
            input.packet.ifindex,
            to.ifindex,
            verdict,
        )))
    }

    fn endpoint(&self, address: IpAddr) -> Option<Device> {
        let mut endpoints = self.endpoints.iter();
        let mut prefixes = self.prefixes.iter();
        let exact = endpoints.find(|(its, _)| *its == address);
        exact.map(|&(_, device)| device).or_else(|| {
            let prefix = prefixes.find(|(prefix, _)| prefix.contains(&address));
            prefix.map(|&(_, device)| device)
        })
    }

    fn is_own(&self, source: IpAddr, ifindex: Ifindex) -> Result<(), Violation> {
        match self.endpoint(source) {
            Some(device) if device.ifindex == ifindex => Ok(()),
            _ => Err(Violation::Redirected("the source is not this endpoint's")),
        }
    }

    fn is_foreign(&self, source: IpAddr) -> Result<(), Violation> {
        if self.endpoint(source).is_some() || self.node.contains(&source) {
            return Err(Violation::Redirected("a source of this node"));
        }
        if is_martian(source) {
            return Err(Violation::Redirected("a martian source"));
        }
        Ok(())
    }
}

/// Sources that no router may forward (RFC 1812, 5.3.7; RFC 4291, 2.5), link-local ones included.
fn is_martian(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(v4) => {
            let first = v4.octets()[0];
            first == 0 || first >= 224 || v4.is_loopback() || v4.is_link_local()
        }
        IpAddr::V6(v6) => {
            v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || v6.to_ipv4_mapped().is_some()
        }
    }
}

fn untouched(input: &Input, outcome: &TestOutcome) -> Result<(), Violation> {
    if outcome.frame == input.packet.frame && outcome.mark == input.packet.mark {
        return Ok(());
    }
    Err(Violation::Touched)
}

/// The headers of a packet that may be redirected at all: whole, consistent, and without options.
fn headers(frame: &[u8], segmented: bool) -> Option<Headers> {
    let be16 = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let (length, headers) = match frame.get(12..14)? {
        [0x08, 0x00] if frame.len() >= 34 && frame[14] == 0x45 => {
            let address = |at| <[u8; 4]>::try_from(&frame[at..at + 4]).map(Ipv4Addr::from);
            let headers = Headers {
                source: address(26).ok()?.into(),
                destination: address(30).ok()?.into(),
                ttl: frame[22],
                end: 14 + be16(16),
                ttl_at: 22,
            };
            (be16(16), headers)
        }
        [0x86, 0xdd] if frame.len() >= 54 && frame[14] >> 4 == 6 => {
            let address = |at| <[u8; 16]>::try_from(&frame[at..at + 16]).map(Ipv6Addr::from);
            let headers = Headers {
                source: address(22).ok()?.into(),
                destination: address(38).ok()?.into(),
                ttl: frame[21],
                end: 54 + be16(18),
                ttl_at: 21,
            };
            (be16(18), headers)
        }
        _ => return None,
    };
    // The length of segments beyond 64 KB (BIG TCP) is 0, and the frame has no padding. That of any other packet
    // is what it says, in IPv6 also 0.
    let end = if length == 0 && segmented {
        frame.len()
    } else {
        headers.end
    };
    (end <= frame.len()).then_some(Headers { end, ..headers })
}

/// The frame as a router leaves it: cut to its packet, TTL or hop limit down by one, the checksum computed anew.
fn forwarded(frame: &[u8], headers: &Headers, macs: Option<(Mac, Mac)>) -> Vec<u8> {
    let mut frame = frame[..headers.end].to_vec();
    if let Some((destination, source)) = macs {
        frame[..6].copy_from_slice(&destination.0);
        frame[6..12].copy_from_slice(&source.0);
    }
    frame[headers.ttl_at] -= 1;
    if frame[14] >> 4 == 4 {
        frame[24..26].fill(0);
        let checksum = internet_checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    }
    frame
}
