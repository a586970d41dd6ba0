//! Ports that a connection through a service has had, of one to the server itself.

use std::{net::UdpSocket, time::Duration};

use netpath_tests::{
    Family,
    connections::{address, up},
    lab::Lab,
};

use super::{server, service, with_kube_proxy};

/// Who asks whom: on the same node, to the other one and from there.
const WAYS: [(&str, &str); 3] = [("a1", "a2"), ("a1", "b1"), ("b1", "a1")];

/// A client with a port of its own, and a server.
struct Pair {
    client: UdpSocket,
    server: UdpSocket,
}

impl Pair {
    fn new(lab: &Lab, family: Family, (client, pod): (&str, &str), port: u16) -> Self {
        let bind = |endpoint, at| {
            let socket = lab.inside(endpoint, || UdpSocket::bind(at).expect("a free port"));
            let limit = Some(Duration::from_secs(3));
            socket.set_read_timeout(limit).expect("a time limit");
            socket
        };
        Self {
            client: bind(client, (address(client, family), port).into()),
            server: bind(pod, server(pod, family)),
        }
    }

    /// Both get what the other sends, the client from whom it asked.
    fn ask(&self, to: std::net::SocketAddr, length: usize) {
        let mut bytes = [0; 4096];
        self.client.send_to(&vec![7; length], to).expect("sent");
        let (got, from) = self.server.recv_from(&mut bytes).expect("the question");
        let this = self.client.local_addr().expect("bound");
        assert_eq!((got, from.port()), (length, this.port()), "to {to}");
        self.server.send_to(&[8], from).expect("sent");
        let (got, from) = self.client.recv_from(&mut bytes).expect("the answer");
        assert_eq!((got, from), (1, to));
    }
}

/// Where FORWARD drops what is not translated, a direct connection lives by the fast path, also with those ports, as often as they
/// change hands.
#[test]
fn a_direct_connection_lives_with_the_ports_of_one_through_a_service() {
    let lab = up(true);
    with_kube_proxy(&lab);
    for (node, tables) in [
        ("A", "iptables"),
        ("A", "ip6tables"),
        ("B", "iptables"),
        ("B", "ip6tables"),
    ] {
        lab.run(
            node,
            &format!(
                "{tables} -w -I FORWARD -m conntrack --ctstate DNAT,RELATED,ESTABLISHED -j ACCEPT"
            ),
        );
        lab.run(node, &format!("{tables} -w -A FORWARD -j DROP"));
    }
    for family in Family::ALL {
        for way in WAYS {
            let pair = Pair::new(&lab, family, way, 5000);
            for _ in 0..3 {
                pair.ask(service(way.1, family), 8);
                pair.ask(server(way.1, family), 8);
            }
        }
    }
}

/// Fragments between two ends that have a connection through a service are the kernel's, but their connection is not for that.
#[test]
fn a_fragmented_datagram_leaves_its_connection_where_it_is() {
    let lab = up(true);
    with_kube_proxy(&lab);
    for family in Family::ALL {
        let way = ("a1", "a2");
        Pair::new(&lab, family, way, 5000).ask(service("a2", family), 8);
        let pair = Pair::new(&lab, family, way, 5001);
        pair.ask(server("a2", family), 8);
        pair.ask(server("a2", family), 3000);
        let before = lab.traffic("A");
        pair.ask(server("a2", family), 8);
        let counted = lab.traffic("A").since(&before);
        for row in ["va1 > va2 redirect_peer", "va2 > va1 redirect_peer"] {
            assert_eq!(counted.row(row).0, 1, "{row}: {counted:?}");
        }
    }
}
