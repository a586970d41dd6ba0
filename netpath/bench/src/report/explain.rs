//! What lies between the two endpoints on each path, for whoever reads the report alone.

use crate::Path;

/// A sentence or two.
pub fn explained(path: Path) -> String {
    match path {
        Path::Direct => "One veth pair between the two endpoints and no router: the limit, also where the endpoints \
                         are on two nodes."
            .to_owned(),
        Path::Floor => "In netpath's stead a program that looks nothing up, checks nothing and counts nothing: it \
                        redirects to the other endpoint (bpf_redirect_peer). No fast path on one node can be faster."
            .to_owned(),
        Path::FloorRemote => "The same for two nodes: the sender's node writes the MAC addresses of the one next hop \
                              and redirects to the uplink (bpf_redirect), the receiver's redirects to the endpoint."
            .to_owned(),
        Path::Netpath => "netpath's fast path, on every node on the way.".to_owned(),
        Path::Kernel => "The kernel's forwarding: no tables, no connection tracking.".to_owned(),
        Path::Iptables => "The kernel's forwarding with connection tracking: two ACCEPT rules in FORWARD for each of \
                           the node's two endpoints, and a MASQUERADE rule that the traffic does not match."
            .to_owned(),
        Path::IptablesRules(rules) => {
            format!("As iptables, behind {rules} further FORWARD rules that do not match.")
        }
        Path::NftRules(rules) => {
            format!("The same rules in nftables' own language, behind {rules} that do not match.")
        }
        Path::NftSet(elements) => format!(
            "The same rules in nftables' own language, behind one set of {elements} addresses that do not match."
        ),
        Path::NftFlowtable => "The four rules behind an nftables flowtable.".to_owned(),
        Path::Nat => "netpath's fast path on, and a ClusterIP: the sender's node translates the address (a DNAT rule \
                      beside those of iptables). Such a connection is the kernel's, both ways, so that netpath leaves \
                      its packets alone: what a service costs."
            .to_owned(),
        Path::Bridge => "Two ports of a Linux bridge in one subnet, without a router: what docker, podman and the CNI \
                         plugin bridge make, without their rules."
            .to_owned(),
        Path::Macvlan => "Two macvlan interfaces (bridge mode) of one parent, without a router.".to_owned(),
        Path::Ipvlan => "Two ipvlan interfaces (layer 2) of one parent, without a router.".to_owned(),
        Path::Vxlan => "The kernel's forwarding on both nodes and a VXLAN between them, as flannel's backend of that \
                        name sets it up: IPv4 in IPv4, IPv6 in IPv6."
            .to_owned(),
        Path::Ipip => "The kernel's forwarding on both nodes and an IPIP tunnel between them, as Calico's IPIP mode: \
                       IPv4 only."
            .to_owned(),
    }
}
