//! What a packet loses, or is cut to, between two namespaces.

use std::{
    io::ErrorKind,
    net::{IpAddr, UdpSocket},
    time::Duration,
};

use netpath::{
    explain::{Arrives, Explanation, Question},
    probe::{Fragmentation, ping::PingOptions},
};
use netpath_tests::lab::{Lab, TWO_NODES, addresses};
use nix::sys::socket::{setsockopt, sockopt};

use super::{explained, question, shown};

fn up() -> Lab {
    Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""))
}

/// Whether an echo of so many bytes, which may be cut, is answered.
fn is_answered(lab: &Lab, to: IpAddr, size: usize) -> bool {
    let headers = if to.is_ipv4() { 28 } else { 48 };
    let options = PingOptions {
        timeout: Duration::from_millis(1500),
        payload_len: size - headers,
        fragmentation: Fragmentation::Allow,
        ..PingOptions::default()
    };
    lab.ping("a1", to, &options).received == 1
}

fn with_size(lab: &Lab, to: IpAddr, size: u32) -> Explanation {
    explained(&Question {
        size: Some(size),
        ..question(lab.name("a1"), to)
    })
}

/// Its sender cuts it, in either family; and each piece is no longer than what fits.
#[test]
fn fragments_go_on() {
    const SIZE: u16 = 1450;
    let lab = up();
    // What has been cut in A is put together in B, where rules look at connections.
    for program in ["iptables", "ip6tables"] {
        let line = "-A FORWARD -m conntrack --ctstate INVALID -j DROP";
        lab.run("B", &format!("{program} -w {line}"));
    }
    lab.fast_path(false, "B", None);
    for (place, dev) in [("a1", "eth0"), ("A", "va1"), ("B", "vb1"), ("b1", "eth0")] {
        lab.ip(place, &format!("link set {dev} mtu 1400"));
    }
    for to in addresses("b1") {
        let found = with_size(&lab, to, SIZE.into());
        let is_cut = |name: &str| {
            let hops = found.there.hops.iter();
            let hop = hops.clone().find(|hop| hop.name == lab.name(name));
            hop.expect(name).packet.fragments
        };
        let longest = if to.is_ipv4() { 1396 } else { 1400 };
        assert_eq!(
            ["a1", "A", "B"].map(is_cut),
            [Some(longest); 3],
            "{}",
            shown(&found)
        );
        assert_eq!(found.arrives, Arrives::Yes, "{}", shown(&found));
        assert!(is_answered(&lab, to, SIZE.into()), "{to}");
    }
}

/// The bridge between two nodes drops what the other's uplink does not take.
#[test]
fn an_uplink_takes_no_more_than_its_own_mtu() {
    let lab = up();
    for to in addresses("b1") {
        lab.ip("B", "link set up0 mtu 1400");
        let found = with_size(&lab, to, 1450);
        let id = found.finding.as_ref().map(|finding| finding.id);
        assert_eq!(id, Some("way_too_big"), "{}", shown(&found));
        assert!(!is_answered(&lab, to, 1450), "{to}");
        lab.ip("B", "link set up0 mtu 1500");
        let found = with_size(&lab, to, 1450);
        assert_eq!(found.arrives, Arrives::Yes, "{}", shown(&found));
        assert!(is_answered(&lab, to, 1450), "{to}");
    }
}

/// Whether a datagram with a mark arrives; else its sender has to be told that it may not go.
fn is_sent(lab: &Lab, from: &str, mark: u32, to: IpAddr) -> bool {
    let receiver = lab.inside("b1", || UdpSocket::bind((to, 0)).expect("a port"));
    receiver
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let sender = lab.inside(from, || UdpSocket::bind(any).expect("a port"));
    setsockopt(&sender, sockopt::Mark, &mark).expect("SO_MARK");
    match sender.send_to(b"marked", receiver.local_addr().expect("bound")) {
        Ok(_) => receiver.recv(&mut [0; 8]).is_ok(),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{from}, {to}");
            false
        }
    }
}

/// A mark does not leave its namespace: the node's rule does not see that of an endpoint.
#[test]
fn marks_stay_where_they_are() {
    let lab = up();
    for (from, of, to) in [("A", "node", false), ("a1", "endpoint", true)] {
        for b1 in addresses("b1") {
            let option = if b1.is_ipv4() { "-4" } else { "-6" };
            lab.ip("A", &format!("{option} rule add fwmark 7 prohibit prio 7"));
            let marked = Question {
                mark: 7,
                ..question(lab.name(from), b1)
            };
            let found = explained(&marked);
            let arrives = found.arrives == Arrives::Yes;
            assert_eq!(arrives, to, "of a {of}: {}", shown(&found));
            assert_eq!(is_sent(&lab, from, 7, b1), to, "of a {of}, to {b1}");
            lab.ip("A", &format!("{option} rule del prio 7"));
        }
    }
}

/// Where neighbours are not asked, the kernel sends to its own interface's address.
#[test]
fn without_arp_an_endpoint_is_not_reached_by_the_kernel() {
    let lab = up();
    lab.fast_path(false, "A", None);
    for to in addresses("a2") {
        lab.ip("A", "link set va2 arp off");
        let found = with_size(&lab, to, 100);
        let finding = found.finding.clone();
        let finding = finding.unwrap_or_else(|| panic!("{}", shown(&found)));
        assert_eq!(finding.id, "way_wrong_mac", "{}", shown(&found));
        assert!(!is_answered(&lab, to, 100), "{to}");
        super::obey(&finding.cure);
        let found = with_size(&lab, to, 100);
        assert_eq!(found.arrives, Arrives::Yes, "{}", shown(&found));
        assert!(is_answered(&lab, to, 100), "{to}");
    }
}

/// Nothing comes in by it, whatever the programs would do.
#[test]
fn an_uplink_that_is_down_lets_nothing_in() {
    let lab = up();
    lab.ip("B", "link set up0 down");
    for (a1, b1) in addresses("a1").into_iter().zip(addresses("b1")) {
        // Of nobody's here: it comes from outside.
        let outside = match a1 {
            IpAddr::V4(_) => "10.0.1.77",
            IpAddr::V6(_) => "fd00:1::77",
        };
        let found = explained(&Question {
            node: Some(lab.name("B").parse().expect("a name")),
            reply: Some(false),
            ..question(outside, b1)
        });
        let id = found.finding.as_ref().map(|finding| finding.id);
        assert_eq!(id, Some("way_link_down"), "{}", shown(&found));
    }
}
