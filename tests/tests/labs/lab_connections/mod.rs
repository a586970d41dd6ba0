//! A connection belongs to one side: what the kernel translates, or judges by its state, is the kernel's in both directions, and
//! everything beside it still takes the fast path. With the fast path off the same has to arrive, so each case is run both ways.

mod again;
mod beside;
mod datagrams;
mod errors;
mod mix;
mod one_endpoint;
mod others;
mod rules;
mod services;
mod switched;

use std::net::{IpAddr, SocketAddr};

use netpath_tests::{
    Family,
    connections::{KubeProxy, Service, address},
    lab::{Lab, again_with_clsact},
};

/// The port of every server.
const PORT: u16 = 8080;
/// The port of every service.
const SERVICE: u16 = 80;

/// The ClusterIP of a pod's service.
fn cluster_ip(pod: &str, family: Family) -> IpAddr {
    let number = PODS.iter().position(|it| *it == pod).expect("a pod") + 1;
    let text = match family {
        Family::V4 => format!("10.96.0.{number}"),
        Family::V6 => format!("fd00:96::{number}"),
    };
    text.parse().expect("an address")
}

/// All endpoints.
const PODS: [&str; 4] = ["a1", "a2", "b1", "b2"];

/// A pod's service.
fn service(pod: &str, family: Family) -> SocketAddr {
    SocketAddr::new(cluster_ip(pod, family), SERVICE)
}

/// Where a pod serves.
fn server(pod: &str, family: Family) -> SocketAddr {
    SocketAddr::new(address(pod, family), PORT)
}

/// The port of every node that is a pod's.
fn node_port(pod: &str) -> u16 {
    30_000 + u16::try_from(PODS.iter().position(|it| *it == pod).expect("a pod")).expect("few")
}

/// What kube-proxy writes where each pod has a service of its own.
fn kube_proxy(family: Family) -> KubeProxy {
    let service = |pod: &&str| Service {
        at: service(pod, family),
        node_port: Some(node_port(pod)),
        backends: vec![server(pod, family)],
    };
    KubeProxy {
        family,
        services: PODS.iter().map(service).collect(),
    }
}

/// The same on both nodes, for both families.
fn with_kube_proxy(lab: &Lab) {
    for family in Family::ALL {
        for node in ["A", "B"] {
            kube_proxy(family).install(lab, node);
        }
    }
}

/// The tests of this file again where programs are clsact filters.
#[test]
fn with_clsact() {
    again_with_clsact(&[
        "services::a_service_is_reached_by_everybody",
        "others::a_host_port_is_reached_by_everybody",
        "others::a_published_port_of_docker_is_reached_by_everybody",
        "switched::a_stream_through_a_service_survives_off_and_on",
    ]);
}
