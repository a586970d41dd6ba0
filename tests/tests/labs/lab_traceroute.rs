//! A traceroute through both nodes, netpath on each of them: the same hops as with the kernel alone, whatever
//! the probes are. (The conformance suite compares every byte, but only one of its nodes is netpath's.)

use std::{net::IpAddr, time::Duration};

use netpath::probe::frame::{FrameBuilder, ParsedFrame, ParsedIp, Transport};
use netpath_tests::{
    Family, between,
    lab::{Lab, TWO_NODES, addresses},
};

/// One more than there are hops.
const TTLS: std::ops::RangeInclusive<u8> = 1..=4;

/// Ports of the probes.
const SOURCE_PORT: u16 = 33_000;
const PORT: u16 = 33_434;

/// What a traceroute sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probes {
    /// UDP to another port each time.
    Udp,
    /// UDP of one flow, so that all take one path: only the checksum tells them apart.
    Flow,
    /// Echo requests, as mtr sends them.
    Echo,
    /// TCP SYN.
    Syn,
}

impl Probes {
    fn add_to(self, frame: FrameBuilder, family: Family, ttl: u8) -> FrameBuilder {
        let echo = match family {
            Family::V4 => 8,
            Family::V6 => 128,
        };
        match self {
            Self::Udp => frame
                .udp(SOURCE_PORT, PORT + u16::from(ttl))
                .payload(&[0; 32]),
            Self::Flow => frame.udp(SOURCE_PORT, PORT).payload(&[0, ttl]),
            Self::Echo => frame.icmp(echo, 0, [7, 7, 0, ttl]).payload(&[0; 32]),
            Self::Syn => frame.tcp(SOURCE_PORT, PORT, 2).tcp_numbers(ttl.into(), 0),
        }
    }
}

/// Who answers a probe, and with what: the last hop is who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hop {
    from: IpAddr,
    ttl: u8,
    is_end: bool,
}

/// The answer in a frame, if it is one to a probe to this address.
fn answer(bytes: &[u8], to: IpAddr) -> Option<Hop> {
    let frame = ParsedFrame::parse(bytes).ok()?;
    let packet = frame.ip().ok()?;
    let is_end = match packet.transport().ok()? {
        Transport::Icmp { kind, payload, .. } => match (packet.source.is_ipv4(), kind) {
            // Echo replies.
            (true, 0) | (false, 129) if packet.source == to => true,
            // Time Exceeded and Destination Unreachable, about the probe.
            (true, 3 | 11) | (false, 1 | 3) => {
                let quoted = ParsedIp::parse(payload).ok()?;
                if quoted.destination != to {
                    return None;
                }
                matches!((packet.source.is_ipv4(), kind), (true, 3) | (false, 1))
            }
            _ => return None,
        },
        Transport::Tcp { flags, .. } if packet.source == to && flags & 4 != 0 => true,
        _ => return None,
    };
    Some(Hop {
        from: packet.source,
        ttl: packet.ttl,
        is_end,
    })
}

/// The hops from a1 to b1.
fn trace(lab: &Lab, family: Family, probes: Probes) -> Vec<Hop> {
    let at = usize::from(family == Family::V6);
    let [a1, b1] = ["a1", "b1"].map(|of| addresses(of)[at]);
    let record = lab.record("A", "a1");
    let injector = lab.injector("a1", "eth0");
    let mut capture = lab.capture("a1", "eth0");
    TTLS.map(|ttl| {
        let frame = FrameBuilder::new(record.endpoint_mac, record.host_mac);
        let frame = between(frame, a1, b1).ttl(ttl);
        let frame = probes.add_to(frame, family, ttl).build();
        injector.send(&frame).expect("send");
        let seen = capture.wait_for(
            |frame| answer(&frame.bytes, b1).is_some(),
            Duration::from_secs(3),
        );
        let seen = seen.expect("capture");
        let seen = seen.unwrap_or_else(|| panic!("{family:?}, {probes:?}: no answer to TTL {ttl}"));
        answer(&seen.bytes, b1).expect("it was one just now")
    })
    .collect()
}

#[test]
fn the_same_hops_with_the_fast_path_on_and_off() {
    // The kernel's own forwarding is to let them through.
    let lab = Lab::prepare(&TWO_NODES.replace("forward_policy = \"drop\"\n", ""));
    lab.converge();
    for place in ["A", "B", "a1", "b1"] {
        // As many answers as there are probes.
        for key in [
            "ipv4/icmp_ratemask",
            "ipv4/icmp_ratelimit",
            "ipv6/icmp/ratelimit",
        ] {
            lab.set_sysctl(place, key, "0");
        }
    }
    for family in Family::ALL {
        let at = usize::from(family == Family::V6);
        let hop = |of: &str, ttl: u8, is_end: bool| Hop {
            from: addresses(of)[at],
            ttl,
            is_end,
        };
        let hops = [
            hop("A", 64, false),
            hop("B", 63, false),
            hop("b1", 62, true),
            hop("b1", 62, true),
        ];
        for probes in [Probes::Udp, Probes::Flow, Probes::Echo, Probes::Syn] {
            for on in [true, false] {
                for node in ["A", "B"] {
                    lab.fast_path(on, node, None);
                }
                let before = ["A", "B"].map(|node| lab.traffic(node));
                assert_eq!(
                    trace(&lab, family, probes),
                    hops,
                    "{family:?}, {probes:?}, fast path on: {on}"
                );
                let rows = [
                    ("va1 > - punt ttl_exceeded", "va1 > up0 redirect_neigh", 3),
                    ("up0 > - punt ttl_exceeded", "up0 > vb1 redirect_peer", 2),
                ];
                for ((node, before), (expired, forwarded, count)) in
                    ["A", "B"].into_iter().zip(&before).zip(rows)
                {
                    let seen = lab.traffic(node).since(before);
                    let seen = (seen.row(expired).0, seen.row(forwarded).0);
                    let expected = if on { (1, count) } else { (0, 0) };
                    assert_eq!(seen, expected, "{node}: {family:?}, {probes:?}, on: {on}");
                }
            }
        }
    }
}
