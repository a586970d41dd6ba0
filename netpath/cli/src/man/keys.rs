//! What each key of a topology file means.

/// One key.
pub(super) struct Key {
    /// The keys that lead to its table.
    pub(super) table: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// What stands behind it, with an example.
    pub(super) example: &'static str,
    /// What it says, what may be written and what it is when it is left out.
    pub(super) means: &'static str,
}

const fn key(
    table: &'static str,
    name: &'static str,
    example: &'static str,
    means: &'static str,
) -> Key {
    Key {
        table,
        name,
        example,
        means,
    }
}

/// All keys, in the order in which the page has them.
pub(super) const KEYS: &[Key] = &[
    key("", "node", "[[node]]", "A router. A file has at least one."),
    key(
        "node",
        "name",
        "\"node03\"",
        "Its name: letters, digits, - and _. In a lab a namespace of this name is made for it. Needed.",
    ),
    key(
        "node",
        "netns",
        "\"host\"",
        "The node is this machine, and its uplinks are interfaces that are there. Left out: a lab node, in a namespace of its \
         own.",
    ),
    key(
        "node",
        "forward_policy",
        "\"drop\"",
        "The policy of iptables' FORWARD chain inside a lab node, accept or drop. Left out: accept.",
    ),
    key(
        "node",
        "bypass",
        "[\"shaped\"]",
        "What of the kernel's doing the fast path may pass by knowingly, by the names of netpath-reasons(7). Left out: nothing; \
         such packets are left to the kernel. \"forward\" is filter FORWARD, with NAT and logs between what is routed, where passing it by \
         changes what becomes of a machine's packets: without it, or --accept-bypass, `netpath up` refuses (netpath-audit(1)).",
    ),
    key(
        "node",
        "fast_prefixes",
        "[\"10.0.0.0/8\", \"fd00::/8\"]",
        "Prefixes that the fast path may take, each like a route without via: next hops are those of the kernel's own routes, \
         whoever makes them. They may contain the node's own endpoints. Left out: only what the routes say.",
    ),
    key(
        "node",
        "expedite",
        "false",
        "While `netpath up` or `down` is at work with the file, the kernel expedites its grace periods, on the whole machine; so \
         attaching programs and removing interfaces takes a tenth of the time. Left out: for lab nodes only, as with commands \
         that have no file.",
    ),
    key(
        "node",
        "mtu",
        "1500",
        "The MTU of its endpoints' veths in bytes, 68 to 65535. Left out: the least of its uplinks'.",
    ),
    key(
        "node",
        "max_endpoints",
        "65536",
        "Room for addresses of endpoints, for each family. A larger one grows a node that is up. Left out: 65536.",
    ),
    key(
        "node",
        "max_routes",
        "1048576",
        "Room for prefixes, for each family. Left out: 1048576.",
    ),
    key(
        "node",
        "max_connections",
        "65536",
        "Room for connections that are the kernel's, for each family: the longest unused are forgotten first. 1024 at least. Left out: 65536.",
    ),
    key(
        "node",
        "uplink",
        "[[node.uplink]]",
        "An interface towards other nodes.",
    ),
    key(
        "node",
        "route",
        "[[node.route]]",
        "A prefix of other nodes' endpoints.",
    ),
    key(
        "node",
        "endpoint",
        "[[node.endpoint]]",
        "A namespace with one veth into the node: a pod, a container.",
    ),
    key(
        "node.uplink",
        "dev",
        "\"enp2s0\"",
        "The interface. In a lab it is made; on this machine it may have Ethernet headers or none (tun, WireGuard, ppp, ipip, sit, \
         gre, ...). Needed.",
    ),
    key(
        "node.uplink",
        "addresses",
        "[\"192.0.2.1/24\", \"fd00::1/64\"]",
        "Its addresses with prefix lengths. On this machine they may be left out: it has its own.",
    ),
    key(
        "node.uplink",
        "wire",
        "\"lan\"",
        "The Ethernet segment, in a lab: uplinks with the same wire share it. Needed there, and refused on this machine.",
    ),
    key(
        "node.route",
        "dst",
        "\"10.0.3.0/24\"",
        "The prefix; never the default route. Needed.",
    ),
    key(
        "node.route",
        "via",
        "\"192.0.2.2\"",
        "The next hop: an address in the subnet of an uplink, for an IPv4 prefix also of IPv6, or with dev any on the link. netpath \
         makes the route. Left out: where the prefix leads the kernel's own routes say, and netpath makes none.",
    ),
    key(
        "node.route",
        "dev",
        "\"enp2s0\"",
        "The uplink that via is on the link of, where no address of it says so: of a link-local next hop, or a gateway outside \
         of every subnet.",
    ),
    key(
        "node.endpoint",
        "name",
        "\"demo01\"",
        "Its name and its namespace's, usable with ip netns exec. Needed.",
    ),
    key(
        "node.endpoint",
        "addresses",
        "[\"10.0.1.2/24\", \"fd00:1::2/64\"]",
        "Its addresses. It may send from these and from its prefixes, and from no other. At least one.",
    ),
    key(
        "node.endpoint",
        "mtu",
        "1500",
        "The MTU of its veth in bytes, 68 to 65535, with IPv6 addresses 1280 at least. Left out: the node's.",
    ),
    key(
        "node.endpoint",
        "prefixes",
        "[\"10.9.0.0/28\"]",
        "Prefixes that are routed to it as a whole, for a router, a VPN, nested containers. Left out: none.",
    ),
    key(
        "node.endpoint",
        "dev",
        "\"eth0\"",
        "The interface inside. Left out: eth0.",
    ),
    key(
        "node.endpoint",
        "host_dev",
        "\"np-demo01\"",
        "The interface in the node's namespace. Left out: derived from the name.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use netpath::model;

    use super::*;

    #[test]
    fn every_key_of_a_file_is_explained_once() {
        let explained: Vec<(&str, &str)> = KEYS.iter().map(|key| (key.table, key.name)).collect();
        let once: BTreeSet<(&str, &str)> = explained.iter().copied().collect();
        assert_eq!(once.len(), explained.len(), "{explained:?}");
        assert_eq!(
            once,
            model::keys().collect(),
            "netpath.toml(5) and what a file may have"
        );
    }
}
