//! What the kernel's reasons and places mean, in plain words.

use super::packet::Drop;

/// What a drop means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// In a sentence, without the place.
    pub text: String,
    /// What the packet filter's hook is, where that dropped it.
    pub chain: Option<&'static str>,
}

/// Functions that call the packet filter, and its chain there.
const CHAINS: [(&str, &str); 13] = [
    ("ip_rcv", "PREROUTING"),
    ("ipv6_rcv", "PREROUTING"),
    ("ip_forward", "FORWARD"),
    ("ip6_forward", "FORWARD"),
    ("ip_local_deliver", "INPUT"),
    ("ip6_input", "INPUT"),
    ("__ip_local_out", "OUTPUT"),
    ("__ip6_local_out", "OUTPUT"),
    ("rawv6_send_hdrinc", "OUTPUT"),
    ("raw_send_hdrinc", "OUTPUT"),
    ("ip_output", "POSTROUTING"),
    ("ip_mc_output", "POSTROUTING"),
    ("ip6_output", "POSTROUTING"),
];

/// Reasons of `enum skb_drop_reason`, without what all begin with. What is not here is told by its name.
const REASONS: [(&str, &str); 45] = [
    ("NO_SOCKET", "nobody listens there"),
    ("PKT_TOO_SMALL", "it is shorter than its headers say"),
    ("TCP_CSUM", "its TCP checksum is wrong"),
    ("UDP_CSUM", "its UDP checksum is wrong"),
    ("ICMP_CSUM", "its ICMP checksum is wrong"),
    ("IP_CSUM", "its IP checksum is wrong"),
    (
        "IP_INHDR",
        "its header is not as it must be, or its TTL is over",
    ),
    (
        "IP_RPFILTER",
        "the reverse-path filter (rp_filter) expects its source elsewhere",
    ),
    (
        "UNICAST_IN_L2_MULTICAST",
        "a unicast packet came in a multicast frame",
    ),
    (
        "XFRM_POLICY",
        "an IPsec policy demands or forbids something else",
    ),
    ("IP_NOPROTO", "nobody takes this protocol there"),
    ("UNHANDLED_PROTO", "nobody takes this kind of frame there"),
    ("SOCKET_FILTER", "the receiving socket's filter dropped it"),
    (
        "SOCKET_RCVBUFF",
        "the receiving socket's buffer is full: its program reads too slowly",
    ),
    ("PROTO_MEM", "the protocol has used up its memory"),
    ("IP_OUTNOROUTES", "the kernel has no route for it"),
    ("IP_INNOROUTES", "the kernel has no route for it"),
    (
        "IP_INADDRERRORS",
        "its destination is none that the kernel forwards to",
    ),
    (
        "IP_LOCAL_SOURCE",
        "its source is an address of this very host",
    ),
    ("IP_INVALID_SOURCE", "no packet may come from its source"),
    ("IP_INVALID_DEST", "no packet may go to its destination"),
    ("IP_LOCALNET", "it is from or to 127/8"),
    ("IPV6DISABLED", "IPv6 is switched off there"),
    (
        "NEIGH_CREATEFAIL",
        "no entry could be made for the neighbour",
    ),
    (
        "NEIGH_FAILED",
        "the neighbour does not answer ARP or neighbour discovery",
    ),
    (
        "NEIGH_QUEUEFULL",
        "too many packets wait for a neighbour that does not answer",
    ),
    ("NEIGH_DEAD", "the neighbour's entry is gone"),
    ("NEIGH_HH_FILLFAIL", "the neighbour's MAC is not known"),
    ("PKT_TOO_BIG", "it is larger than the MTU"),
    ("OTHERHOST", "its destination MAC is another host's"),
    ("TC_INGRESS", "a TC program or filter dropped it"),
    (
        "TC_EGRESS",
        "a TC program or filter dropped it on the way out",
    ),
    ("TC_COOKIE_ERROR", "a TC filter dropped it"),
    ("XDP", "an XDP program dropped it"),
    (
        "BPF_CGROUP_EGRESS",
        "a BPF program of its cgroup dropped it",
    ),
    ("QDISC_DROP", "the queueing discipline dropped it"),
    ("QDISC_OVERLIMIT", "the queue is full"),
    (
        "CPU_BACKLOG",
        "the processor's backlog is full: more packets come than it can take",
    ),
    ("FULL_RING", "the interface's ring is full"),
    ("NOMEM", "there was no memory"),
    ("DEV_READY", "the interface is not up"),
    ("DEV_HDR", "the interface's header could not be made"),
    ("VLAN_FILTER", "the bridge does not let this VLAN in"),
    (
        "FRAG_REASM_TIMEOUT",
        "not all of its fragments came in time",
    ),
    ("FRAG_TOO_FAR", "its fragments came too far apart"),
];

/// Where the kernel gives no reason, the functions that tell it.
const PLACES: [(&str, &str); 10] = [
    (
        "ip_error",
        "the kernel has no route for it, or one that refuses it",
    ),
    ("ip6_pkt_discard", "the kernel has no route for it"),
    ("ip6_pkt_drop", "the kernel has no route for it"),
    ("ip6_pkt_prohibit", "the kernel's route prohibits it"),
    ("dst_discard", "the kernel's route is a blackhole"),
    ("ip_forward", "the kernel does not forward it"),
    ("ip6_forward", "the kernel does not forward it"),
    (
        "neigh_invalidate",
        "the neighbour does not answer ARP or neighbour discovery",
    ),
    ("arp_error_report", "the neighbour does not answer ARP"),
    (
        "ndisc_error_report",
        "the neighbour does not answer neighbour discovery",
    ),
];

/// What a drop means.
pub fn meaning(drop: &Drop) -> Meaning {
    let calls = || drop.function.iter().chain(&drop.callers);
    if drop.reason == "NETFILTER_DROP" || drop.function.as_deref() == Some("nf_hook_slow") {
        let chain = calls().find_map(|function| found(&CHAINS, function));
        let text = match chain {
            Some(chain) => format!("the packet filter dropped it in {chain}"),
            None => "the packet filter dropped it".to_owned(),
        };
        return Meaning { text, chain };
    }
    let by_place = || calls().find_map(|function| found(&PLACES, function));
    let is_unsaid = ["NOT_SPECIFIED", "NOT_DROPPED_YET", ""].contains(&&*drop.reason);
    let is_ttl = drop.reason == "IP_INHDR" && calls().any(|it| it.ends_with("_forward"));
    let text = match found(&REASONS, &drop.reason).filter(|_| !is_unsaid) {
        _ if is_ttl => "its TTL is over".to_owned(),
        Some(text) => text.to_owned(),
        None => match by_place() {
            Some(text) => text.to_owned(),
            None if is_unsaid => "the kernel does not say why".to_owned(),
            None => format!("the kernel calls it {}", drop.reason),
        },
    };
    Meaning { text, chain: None }
}

fn found(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    let row = table.iter().find(|(of, _)| *of == name);
    row.map(|(_, text)| *text)
}

/// Whether a drop of this reason means that a packet has come where it was to come: only that nobody wants it there, or closed its
/// socket before it was read. The kernel says the first of each echo reply, which sockets have got a copy of.
pub fn is_arrival(reason: &str) -> bool {
    ["NO_SOCKET", "QUEUE_PURGE"].contains(&reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop(reason: &str, calls: &[&str]) -> Drop {
        let mut calls = calls.iter().map(|it| (*it).to_owned());
        Drop {
            reason: reason.to_owned(),
            function: calls.next(),
            callers: calls.collect(),
        }
    }

    #[test]
    fn the_packet_filters_chain_is_told_by_who_called_it() {
        for (calls, chain) in [
            (
                &["nf_hook_slow", "ip_forward", "ip_rcv"][..],
                Some("FORWARD"),
            ),
            (&["nf_hook_slow", "ip_rcv"], Some("PREROUTING")),
            (&["nf_hook_slow", "ip6_output"], Some("POSTROUTING")),
            (&["nf_hook_slow"], None),
        ] {
            let found = meaning(&drop("NETFILTER_DROP", calls));
            assert_eq!(found.chain, chain, "{found:?}");
        }
    }

    #[test]
    fn without_a_reason_the_place_tells_it() {
        let text = |reason, calls: &[&str]| meaning(&drop(reason, calls)).text;
        assert_eq!(text("IP_INHDR", &["ip_forward"]), "its TTL is over");
        assert!(text("IP_INHDR", &["ip_rcv_core"]).contains("header"));
        assert!(text("NOT_SPECIFIED", &["ip_error"]).contains("no route"));
        assert_eq!(text("NOT_SPECIFIED", &["x"]), "the kernel does not say why");
        assert_eq!(text("NEW_ONE", &["x"]), "the kernel calls it NEW_ONE");
    }
}
