//! What is no service: ports of a node that are a pod's, and pods that go out with their node's address.

use std::net::SocketAddr;

use netpath_tests::{
    Family,
    connections::{Case, Docker, FORWARDING, Portmap, address, install, masquerade, up},
    lab::Lab,
};

use super::{PORT, server};

const HOST_PORT: u16 = 8081;

/// Asks `to`, an address of node A's or of `X`, and whom the server sees.
fn case(
    family: Family,
    client: &'static str,
    (to, port): (&str, u16),
    server: &'static str,
    source: &'static str,
    answers: Option<(&'static str, &'static str)>,
) -> Case {
    Case {
        client,
        to: SocketAddr::new(address(to, family), port),
        server,
        port: PORT,
        source,
        answers,
    }
}

/// Both families, with the fast path off and on, with a rule that drops what conntrack makes nothing of.
fn each(cases: impl Fn(&Lab, Family) -> Vec<Case>) {
    for is_on in [false, true] {
        let lab = up(is_on);
        for family in Family::ALL {
            for node in ["A", "B"] {
                install(&lab, node, family, FORWARDING);
            }
            for case in cases(&lab, family) {
                case.assert_holds(&lab, is_on);
            }
        }
    }
}

#[test]
fn a_host_port_is_reached_by_everybody() {
    each(|lab, family| {
        let pod = server("a1", family);
        let host_port = HOST_PORT;
        Portmap { host_port, pod }.install(lab, "A");
        let at = ("A", HOST_PORT);
        let by_table = Some(("A", "va1"));
        vec![
            case(family, "a2", at, "a1", "a2", by_table),
            case(family, "b1", at, "a1", "b1", by_table),
            case(family, "A", at, "a1", "A", None),
            case(family, "X", at, "a1", "X", None),
            case(family, "a1", at, "a1", "A", None),
        ]
    });
}

#[test]
fn a_published_port_of_docker_is_reached_by_everybody() {
    each(|lab, family| {
        Docker {
            host_port: HOST_PORT,
            container: server("a2", family),
            bridge: "va2",
        }
        .install(lab, "A");
        let at = ("A", HOST_PORT);
        let by_table = Some(("A", "va2"));
        vec![
            case(family, "a1", at, "a2", "a1", by_table),
            case(family, "b1", at, "a2", "b1", by_table),
            case(family, "A", at, "a2", "A", None),
            case(family, "X", at, "a2", "X", None),
            case(family, "a2", ("X", PORT), "X", "A", None),
        ]
    });
}

#[test]
fn pods_go_out_with_their_nodes_address() {
    each(|lab, family| {
        for node in ["A", "B"] {
            masquerade(lab, node, family);
        }
        vec![
            case(family, "a1", ("X", PORT), "X", "A", None),
            case(family, "b2", ("X", PORT), "X", "B", None),
            case(family, "a1", ("B", PORT), "B", "A", None),
        ]
    });
}
