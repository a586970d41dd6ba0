//! The table of checks.

use super::{
    Part, Seen,
    judge::{Judge, addresses, file, links, machine, node, routes},
};

/// One thing that is looked at.
#[derive(Debug)]
pub struct Check {
    /// Its name, in snake_case: it is never changed, and never given to another check.
    pub id: &'static str,
    /// What is looked at, in a line.
    pub about: &'static str,
    /// What it cannot be judged without.
    pub(super) needs: &'static [Part],
    /// Ids of what `show` tells and this check is about. What no check names is of the one called `nodes`.
    pub(super) told: &'static [&'static str],
    /// What else is found.
    pub(super) judge: Judge,
}

/// What is told of all that no other check is about.
pub(super) const REST: &str = "nodes";

fn nothing(_: &Seen) -> Vec<super::Found> {
    Vec::new()
}

/// All checks, in the order in which they are told: first what the others need.
pub const CHECKS: &[Check] = &[
    Check {
        id: "kernel",
        about: "the kernel has the hooks and helpers that programs need",
        needs: &[Part::Kernel],
        told: &[],
        judge: machine::kernel,
    },
    Check {
        id: "jit",
        about: "BPF programs are compiled (bpf_jit_enable, bpf_jit_harden)",
        needs: &[Part::Jit],
        told: &[],
        judge: machine::jit,
    },
    Check {
        id: "limits",
        about: "open files and locked memory of this process",
        needs: &[],
        told: &[],
        judge: machine::limits,
    },
    Check {
        id: "mounts",
        about: "/sys/fs/bpf and /run/netns are everybody's and writable",
        needs: &[Part::Mounts],
        told: &[],
        judge: machine::mounts,
    },
    Check {
        id: "capabilities",
        about: "this process may look at everything",
        needs: &[],
        told: &[],
        judge: nothing,
    },
    Check {
        id: "others",
        about: "no other netpath is at work or has left things half done",
        needs: &[Part::Files],
        told: &[],
        judge: machine::others,
    },
    Check {
        id: "file",
        about: "the topology file: what `up` would refuse, change or tell",
        needs: &[Part::File],
        told: &[],
        judge: file::file,
    },
    Check {
        id: REST,
        about: "nodes and endpoints: readable, whole, where they were made",
        needs: &[Part::Nodes],
        told: &[],
        judge: nothing,
    },
    Check {
        id: "programs",
        about: "programs: in place, pinned, of this version, at work",
        needs: &[Part::Nodes, Part::Beyond],
        told: &[
            "fast_path",
            "program_missing",
            "program_surplus",
            "link_unpinned",
            "link_surplus",
            "filter_beside",
            "filter_in_place",
            "shared_uplink",
            "programs_of_another_version",
            "not_ready",
        ],
        judge: node::programs,
    },
    Check {
        id: "maps",
        about: "maps: entries, what programs go by, the room that is left",
        needs: &[Part::Nodes, Part::Beyond],
        told: &[
            "room",
            "map_entry_gone",
            "map_entry_altered",
            "map_entry_surplus",
            "bypass",
            "bypassed",
            "reverse_path_filter",
            "own_address_unknown",
            "own_address_gone",
            "own_prefix_unknown",
            "own_prefix_gone",
            "other_nodes_address_unknown",
            "too_many_addresses",
            "too_many_prefixes",
        ],
        judge: node::maps,
    },
    Check {
        id: "interfaces",
        about: "veths and uplinks: there, up, with a carrier, by their names",
        needs: &[Part::Nodes],
        told: &[
            "interface_gone",
            "interface_renamed",
            "interface_remade",
            "interface_down",
            "other_mac",
            "host_mac_changed",
            "foreign_interface",
            "off_the_wire",
            "no_carrier",
            "arp_off",
            "uplink_missing",
            "uplink_renamed",
            "uplink_down",
            "same_interface",
            "unknown_framing",
        ],
        judge: nothing,
    },
    Check {
        id: "mtu",
        about: "MTUs of both ends of veths, of uplinks, segments, paths",
        needs: &[Part::Nodes, Part::Beyond, Part::Paths],
        told: &["mtu_too_small", "mtu_other", "mtu_differs"],
        judge: links::mtu,
    },
    Check {
        id: "addresses",
        about: "addresses and gateways are there, and nobody has one twice",
        needs: &[Part::Nodes, Part::Beyond],
        told: &[
            "address_gone",
            "gateway_gone",
            "gateway_scope",
            "uplink_address_missing",
            "address_of_the_machine",
            "address_taken",
            "inside_a_subnet",
            "of_another_node",
        ],
        judge: addresses::all,
    },
    Check {
        id: "settings",
        about: "sysctls: forwarding, IPv6, accept_ra, reverse-path filters",
        needs: &[Part::Nodes],
        told: &[
            "forwarding_off",
            "sysctl",
            "machine_not_forwarding",
            "default_route_advertised",
            "ipv6_absent",
        ],
        judge: nothing,
    },
    Check {
        id: "routes",
        about: "routes to endpoints and to other nodes, and the ways back",
        needs: &[Part::Nodes],
        told: &[
            "node_route_gone",
            "node_route_source",
            "default_route_gone",
            "default_route_there",
            "route_gone",
            "route_elsewhere",
            "route_refuses",
            "routed_elsewhere",
            "foreign_route",
            "led_elsewhere",
            "no_way_back",
        ],
        judge: nothing,
    },
    Check {
        id: "ecmp",
        about: "how several next hops are chosen among",
        needs: &[Part::Nodes, Part::Beyond],
        told: &[],
        judge: routes::ecmp,
    },
    Check {
        id: "neighbours",
        about: "next hops answer, and the table of neighbours has room",
        needs: &[Part::Nodes, Part::Beyond],
        told: &["next_hop_silent", "neighbour_gone"],
        judge: routes::neighbours,
    },
    Check {
        id: "forward",
        about: "FORWARD lets through what is left to the kernel",
        needs: &[Part::Nodes],
        told: &["forward_policy", "forward_drops", "forward_may_drop"],
        judge: nothing,
    },
    Check {
        id: "conntrack",
        about: "conntrack has room, and rules let connections change sides",
        needs: &[Part::Nodes, Part::Beyond],
        told: &[],
        judge: node::conntrack,
    },
    Check {
        id: "counters",
        about: "every packet is counted, and none had a wrong source",
        needs: &[Part::Nodes, Part::Beyond],
        told: &[],
        judge: node::counters,
    },
];

/// The check that tells a kind of what `show` tells.
pub(super) fn of_told(id: &str) -> &'static str {
    let mut checks = CHECKS.iter();
    checks
        .find(|check| check.told.contains(&id))
        .map_or(REST, |check| check.id)
}
