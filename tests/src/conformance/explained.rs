//! The differences that are meant.

use std::collections::BTreeMap;

use super::case::{Case, Path};
use crate::Family;

/// Why cases differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What the cases' names begin with.
    pub cases: &'static str,
    /// Only this family.
    pub family: Option<Family>,
    /// Only these paths; none stands for all.
    pub paths: &'static [Path],
    /// What node A may have counted the case's packets as, and nothing else.
    pub counted: &'static [&'static str],
    /// Why.
    pub reason: &'static str,
}

const SPOOFED: &str = "drop(spoofed)";
const MARTIAN: &str = "drop(martian_source)";
const PEER: &str = "redirect_peer";
const NEIGHBOUR: &str = "redirect_neigh";

/// All of them. One that explains nothing any more fails the suite.
pub const EXPLAINED: &[Explanation] = &[
    Explanation {
        cases: "source: ",
        family: Some(Family::V6),
        paths: &[Path::SameNode, Path::ToRemote],
        counted: &[SPOOFED, MARTIAN],
        reason: "An endpoint sends from its own addresses only. For IPv4 the kernel's reverse-path filter \
                 (`rp_filter`, which netpath sets on every endpoint's veth) does the same; for IPv6 the kernel \
                 has none and forwards whatever source an endpoint invents. netpath drops it in both families \
                 (`spoofed`, `martian_source`).",
    },
    Explanation {
        cases: "source: a",
        family: None,
        paths: &[Path::FromUplink, Path::Transit],
        counted: &[SPOOFED],
        reason: "From outside, nobody may use the address of an endpoint of this node (RFC 2827). The kernel \
                 accepts it where `rp_filter` is off on the uplink, as it has to be where paths are \
                 asymmetric, and always for IPv6. netpath drops it (`spoofed`).",
    },
    Explanation {
        cases: "source: the node's own",
        family: Some(Family::V6),
        paths: &[Path::FromUplink, Path::Transit],
        counted: &[SPOOFED],
        reason: "The same for the node's own addresses: the kernel refuses them as a source from outside for \
                 IPv4, and netpath for IPv6 too (`spoofed`).",
    },
    Explanation {
        cases: "source: this network",
        family: Some(Family::V4),
        paths: &[Path::FromUplink, Path::Transit],
        counted: &[MARTIAN],
        reason: "Sources that RFC 1812 (5.3.7) and RFC 6890 forbid. Since Linux 5.3 and 2.6.25 the kernel takes \
                 0/8 (but 0.0.0.0) and 240/4 (but 255.255.255.255) for ordinary addresses; nobody has them, so \
                 netpath drops them (`martian_source`).",
    },
    Explanation {
        cases: "source: class E",
        family: Some(Family::V4),
        paths: &[Path::FromUplink, Path::Transit],
        counted: &[MARTIAN],
        reason: "As the one before.",
    },
    Explanation {
        cases: "source: IPv4-mapped",
        family: Some(Family::V6),
        paths: &[Path::FromUplink, Path::Transit],
        counted: &[MARTIAN],
        reason: "An IPv4-mapped address must not appear on the wire (RFC 4291, 2.5.5.2; \
                 draft-itojun-v6ops-v4mapped-harmful). netpath drops it (`martian_source`).",
    },
    Explanation {
        cases: "link: ten times VLAN 0",
        family: None,
        paths: &[],
        counted: &["drop(malformed)"],
        reason: "The kernel takes any number of VLAN tags with VLAN 0 off and delivers what is in them. netpath looks \
                 for the source behind eight in the frame (the kernel's own `VLAN_MAX_DEPTH`) and drops what has more \
                 (`malformed`): no honest frame has, and what could not be checked must not be delivered.",
    },
    Explanation {
        cases: "small route MTU",
        family: None,
        paths: &[Path::SameNode, Path::FromUplink],
        counted: &[PEER],
        reason: "A local endpoint is found by its address, before any route: the MTU is that of its veth. A \
                 smaller one on the host route that netpath itself made is not looked at.",
    },
    Explanation {
        cases: "small locked route MTU",
        family: None,
        paths: &[Path::SameNode, Path::FromUplink],
        counted: &[PEER],
        reason: "A local endpoint is found by its address, before any route: the MTU is that of its veth. A \
                 smaller one on the host route that netpath itself made is not looked at.",
    },
    Explanation {
        cases: "small locked route MTU",
        family: Some(Family::V6),
        paths: &[Path::ToRemote, Path::Transit],
        counted: &["drop(packet_too_big)"],
        reason: "The route got its MTU after `up`, so netpath takes it for one that was learnt of the path, and answers \
                 itself (`packet_too_big`), as the kernel does behind filter FORWARD: without a flow label, and the \
                 quoted hop limit is lowered. What the kernel sends before it asks filter FORWARD quotes the packet as \
                 it came.",
    },
    Explanation {
        cases: "small MTU at the receiver's end only",
        family: None,
        paths: &[],
        counted: &[PEER],
        reason: "The two ends of an endpoint's veth have different MTUs. The kernel drops what is larger than \
                 the receiving end's without a word (`is_skb_forwardable`); `bpf_redirect_peer` delivers it.",
    },
    Explanation {
        cases: "rule about a local endpoint",
        family: None,
        paths: &[],
        counted: &[PEER],
        reason: "A local endpoint is found by its address, before any policy rule (`ip rule`): rules decide \
                 about next hops, and between endpoints of one node there is none.",
    },
    Explanation {
        cases: "next hop: one that does not answer",
        family: None,
        paths: &[Path::ToRemote],
        counted: &[NEIGHBOUR],
        reason: "The kernel resolves the next hop in both cases. When nobody answers it sends Host (Address) \
                 Unreachable about its own packets; about those of `bpf_redirect_neigh` it cannot, for they carry \
                 no route. To punt them instead would lose them to a FORWARD policy of DROP, and with them the \
                 resolution itself.",
    },
    Explanation {
        cases: "ECMP by hash policy 0: ICMP errors",
        family: None,
        paths: &[Path::ToRemote],
        counted: &[NEIGHBOUR],
        reason: "With several next hops and hash policy 0 the kernel sends an ICMP error the way of the packets that \
                 it is about, by a hash over the quoted addresses (`ip_multipath_l3_keys`). `bpf_fib_lookup` has no \
                 packet and hashes the error's own addresses. Every next hop is a valid one, and all errors from \
                 one host to another take the same.",
    },
    Explanation {
        cases: "ECMP by hash policy 0: IPv6 extension headers and fragments",
        family: Some(Family::V6),
        paths: &[Path::ToRemote],
        counted: &[NEIGHBOUR],
        reason: "With hash policy 0 the kernel hashes the Next Header field of the IPv6 header itself, 44 for a \
                 fragment (`ip6_multipath_l3_keys`; where a rule looks at protocol or ports it hashes what is behind \
                 the extension headers), so that fragments may take another next hop than whole packets of the same \
                 flow. netpath always asks with the protocol behind extension headers, as policy 1 and rules \
                 (`ipproto`) need it: a flow stays on one path.",
    },
    Explanation {
        cases: "ECMP by hash policy 2",
        family: None,
        paths: &[Path::ToRemote],
        counted: &[NEIGHBOUR],
        reason: "Hash policy 2 is about the addresses inside of tunnels, and `bpf_fib_lookup` is told the outer ones \
                 only: all packets of a tunnel take one path. Of IPv6 packets that are in none the kernel's two \
                 entrances to this hash take the flow label in different byte orders (`rt6_multipath_hash`), so that \
                 a flow with a label may take another path than the kernel's; it stays on it.",
    },
    Explanation {
        cases: "ECMP by hash policy 3",
        family: None,
        paths: &[Path::ToRemote],
        counted: &[NEIGHBOUR],
        reason: "With hash policy 3 (`fib_multipath_hash_fields`) the kernel mixes the hash of the outer headers with \
                 that of the inner ones, also where there are none, and `bpf_fib_lookup` does not \
                 (`fib_multipath_custom_hash_skb` and `_fl4`): the paths are as many and as even, and a flow stays \
                 on one, but which one is not the kernel's choice.",
    },
];

/// The explanation of a case's difference.
pub fn find(case: &Case, counted: &BTreeMap<String, u64>) -> Option<&'static Explanation> {
    EXPLAINED.iter().find(|explanation| {
        case.name.starts_with(explanation.cases)
            && explanation
                .family
                .is_none_or(|family| family == case.family)
            && (explanation.paths.is_empty() || explanation.paths.contains(&case.path))
            && !counted.is_empty()
            && counted
                .keys()
                .all(|outcome| explanation.counted.contains(&outcome.as_str()))
    })
}
