//! Datagrams in fragments of which some are too large for their way, beside connection tracking, which puts them together.

use std::{net::UdpSocket, time::Duration};

use netpath_tests::{
    Family,
    connections::{FORWARDING, address, install, up},
    lab::Deadline,
};

use super::server;

/// Who sends to whom, and the host-side veth that takes less than the fragments have: where the sender's packets come in by its
/// own veth, and by an uplink.
const WAYS: [(&str, &str, &str, &str); 2] = [("a1", "a2", "A", "va2"), ("a1", "b1", "B", "vb1")];

/// Two fragments of 1,500 bytes at the most: the first is too large, the last is not.
const LENGTH: usize = 2000;

/// IPv4's are cut once more on the way. Of IPv6's the sender hears how large they may be, and makes them so.
#[test]
fn one_arrives_of_which_some_fragments_fit_and_others_do_not() {
    let lab = up(true);
    for family in Family::ALL {
        for node in ["A", "B"] {
            install(&lab, node, family, FORWARDING);
        }
        for (number, (client, pod, node, dev)) in (5000..).zip(WAYS) {
            let what = format!("{family:?}, {client} to {pod}");
            lab.ip(node, &format!("link set {dev} mtu 1400"));
            let bind = |endpoint, at| lab.inside(endpoint, || UdpSocket::bind(at).expect("a port"));
            let sender = bind(client, (address(client, family), number).into());
            let receiver = bind(pod, server(pod, family));
            let wait = Some(Duration::from_millis(100));
            receiver.set_read_timeout(wait).expect("a time limit");
            let mut bytes = [0; 4096];
            let mut sent = 0;
            let deadline = Deadline::new();
            loop {
                let payload = [sent as u8; LENGTH];
                sender
                    .send_to(&payload, server(pod, family))
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                sent += 1;
                if let Ok((got, from)) = receiver.recv_from(&mut bytes) {
                    let expected = sender.local_addr().expect("bound");
                    assert_eq!((got, from), (LENGTH, expected), "{what}");
                    break;
                }
                deadline.check(|| format!("{what}: none of {sent} arrives"));
            }
            let mtu = lab.ip(client, &format!("route get {}", address(pod, family)));
            let is_told = mtu.contains("mtu 1400");
            assert_eq!(is_told, family == Family::V6, "{what}: {mtu}");
            lab.ip(node, &format!("link set {dev} mtu 1500"));
            lab.ip(client, "-6 route flush cache");
        }
    }
}
