//! ClusterIPs and NodePorts, as kube-proxy makes them.

use std::net::SocketAddr;

use netpath_tests::{
    Family,
    connections::{Case, address, up},
};

use super::{PORT, node_port, service, with_kube_proxy};

/// Who asks which pod's service, whom the server sees, and where the answers have to be known for the kernel's.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    Option<(&'static str, &'static str)>,
);

/// By ClusterIP. Who is no pod comes as the node, and so does a pod that asks itself.
const CLUSTER_IPS: [Row; 9] = [
    ("a1", "a2", "a1", Some(("A", "va2"))),
    ("a2", "a1", "a2", Some(("A", "va1"))),
    ("a1", "b1", "a1", Some(("A", "up0"))),
    ("b2", "a2", "b2", Some(("B", "up0"))),
    ("b1", "b2", "b1", Some(("B", "vb2"))),
    ("a1", "a1", "A", None),
    ("b2", "b2", "B", None),
    ("A", "a2", "A", None),
    ("A", "b1", "A", None),
];

/// By a node's port: all come as that node.
const NODE_PORTS: [(&str, &str, &str); 11] = [
    ("X", "A", "a1"),
    ("X", "A", "b1"),
    ("X", "B", "b2"),
    ("a1", "A", "a2"),
    ("a1", "A", "b1"),
    ("a1", "A", "a1"),
    ("a1", "B", "b1"),
    ("a1", "B", "a2"),
    ("b1", "A", "a1"),
    ("b1", "A", "b2"),
    ("b1", "A", "b1"),
];

fn cluster_ips(family: Family) -> impl Iterator<Item = Case> {
    CLUSTER_IPS
        .into_iter()
        .map(move |(client, server, source, answers)| Case {
            client,
            to: service(server, family),
            server,
            port: PORT,
            source,
            answers,
        })
}

fn node_ports(family: Family) -> impl Iterator<Item = Case> {
    NODE_PORTS
        .into_iter()
        .map(move |(client, node, server)| Case {
            client,
            to: SocketAddr::new(address(node, family), node_port(server)),
            server,
            port: PORT,
            source: node,
            answers: None,
        })
}

#[test]
fn a_service_is_reached_by_everybody() {
    for is_on in [false, true] {
        let lab = up(is_on);
        with_kube_proxy(&lab);
        for family in Family::ALL {
            for case in cluster_ips(family).chain(node_ports(family)) {
                case.assert_holds(&lab, is_on);
            }
        }
    }
}
