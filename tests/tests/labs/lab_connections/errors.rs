//! What belongs to a translated connection without having its ports: ICMP, the errors that quote it, and fragments.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use netpath::probe::frame::{ParsedFrame, ParsedIp, Transport};
use netpath_tests::{
    Family,
    connections::{
        Arrival, Talk, Witness, address, kernel_connections, patience, redirects, report_errors,
        set_option, up,
    },
    lab::{Deadline, Lab},
};

use super::{PORT, SERVICE, cluster_ip, server, service, with_kube_proxy};

/// A pod that a1 asks by its service, by which interface of node A its answers come in, and with which TTL.
const WAYS: [(&str, &str, u8); 2] = [("a2", "va2", 63), ("b1", "up0", 62)];

/// Each way in each family, with the fast path off and on.
fn each(test: impl Fn(&Lab, Family, (&'static str, &'static str, u8), bool)) {
    for is_on in [false, true] {
        let lab = up(is_on);
        with_kube_proxy(&lab);
        for family in Family::ALL {
            for way in WAYS {
                test(&lab, family, way, is_on);
            }
        }
    }
}

#[test]
fn a_translated_echo_is_answered_by_whom_it_asked() {
    each(|lab, family, (pod, dev, ttl), is_on| {
        let (ip, to) = (cluster_ip(pod, family), address(pod, family));
        let (program, icmp) = match family {
            Family::V4 => ("iptables", "icmp"),
            Family::V6 => ("ip6tables", "ipv6-icmp"),
        };
        let rule = format!("-A PREROUTING -d {ip} -p {icmp} -j DNAT --to-destination {to}");
        lab.run("A", &format!("{program} -w -t nat {rule}"));
        let before = lab.traffic("A");
        lab.assert_reaches("a1", ip, ttl);
        let counted = lab.traffic("A").since(&before);
        let row = format!("{dev} > - punt kernel_connection");
        assert_eq!(
            counted.row(&row).0,
            if is_on { 3 } else { 0 },
            "{counted:?}"
        );
        // To the same pod, but not by the service.
        let before = lab.traffic("A");
        lab.assert_reaches("a1", to, ttl);
        let counted = lab.traffic("A").since(&before);
        let sides = (kernel_connections(&counted), redirects(&counted));
        assert_eq!(sides, if is_on { (0, 6) } else { (0, 0) }, "{counted:?}");
    });
}

/// A socket in a pod.
fn socket(lab: &Lab, pod: &str, at: SocketAddr) -> UdpSocket {
    let socket = lab.inside(pod, || UdpSocket::bind(at).expect("a port"));
    socket
        .set_read_timeout(Some(patience()))
        .expect("a timeout");
    socket
}

/// Waits until nobody is at a UDP port: a program that another test is about to run holds a copy of each open socket
/// between its fork and its exec.
fn closed(lab: &Lab, pod: &str, port: u16) {
    let at_port = format!(":{port:04X}");
    let is_open = || {
        ["udp", "udp6"].iter().any(|protocol| {
            let path = format!("/proc/thread-self/net/{protocol}");
            let sockets = std::fs::read_to_string(path).expect("readable");
            let mut locals = sockets
                .lines()
                .filter_map(|it| it.split_whitespace().nth(1));
            locals.any(|local| local.ends_with(&at_port))
        })
    };
    let deadline = Deadline::new();
    while lab.inside(pod, is_open) {
        deadline.check(|| format!("{pod}: port {port} is still open"));
        std::thread::yield_now();
    }
}

/// The pod has nobody at the port: the client is told so as if by the service.
#[test]
fn a_client_is_told_of_a_closed_port_by_whom_it_asked() {
    each(|lab, family, (pod, _, _), is_on| {
        let (ip, to) = (cluster_ip(pod, family), service(pod, family));
        let mut witness = Witness::new(lab, &["a1"]);
        let client = socket(lab, "a1", (address("a1", family), 0).into());
        client.connect(to).expect("a route");
        client.send(b"anybody there?").expect("a route");
        let told = client.recv(&mut [0; 8]).map_err(|error| error.kind());
        let what = format!("{pod}, {family:?}, {is_on}");
        assert_eq!(told, Err(ErrorKind::ConnectionRefused), "{what}");
        let errors = quoted(&mut witness, "a1");
        assert_eq!(errors, [(Arrival::new("a1", ip), ip)], "{what}");
    });
}

/// The client has gone: the pod is told so as if by the client, to whom it answered.
#[test]
fn a_server_is_told_of_a_client_that_has_gone() {
    each(|lab, family, (pod, _, _), is_on| {
        let mut witness = Witness::new(lab, &[pod]);
        let serving = socket(lab, pod, server(pod, family));
        let from = {
            let client = socket(lab, "a1", (address("a1", family), 0).into());
            let sent = client.send_to(b"bye", service(pod, family));
            sent.expect("a route");
            let port = client.local_addr().expect("bound").port();
            drop(client);
            closed(lab, "a1", port);
            serving.recv_from(&mut [0; 8]).expect("a datagram").1
        };
        serving.connect(from).expect("a route");
        serving.send(b"wait!").expect("a route");
        let told = serving.recv(&mut [0; 8]).map_err(|error| error.kind());
        let what = format!("{pod}, {family:?}, {is_on}");
        assert_eq!(told, Err(ErrorKind::ConnectionRefused), "{what}");
        let a1 = address("a1", family);
        let errors = quoted(&mut witness, pod);
        assert_eq!(errors, [(Arrival::new(pod, a1), a1)], "{what}");
    });
}

/// The ICMP errors that have come in about UDP datagrams: from whom, and to whom the datagram went.
fn quoted(witness: &mut Witness, place: &str) -> Vec<(Arrival, IpAddr)> {
    let mut errors = Vec::new();
    witness.each(|at, frame| {
        let parsed = ParsedFrame::parse(&frame.bytes).and_then(|it| it.ip());
        let Ok(ip) = parsed else { return };
        let Ok(Transport::Icmp { kind, payload, .. }) = ip.transport() else {
            return;
        };
        let is_unreachable = kind == if ip.source.is_ipv4() { 3 } else { 1 };
        if at == place && is_unreachable {
            let quote = ParsedIp::parse(payload).expect("a whole header is quoted");
            let arrival = Arrival {
                at,
                source: ip.source,
                destination: ip.destination,
            };
            errors.push((arrival, quote.destination));
        }
    });
    errors
}

/// A router behind the translation has a smaller MTU: the client learns it for whom it asked.
#[test]
fn a_client_learns_the_path_mtu_to_whom_it_asked() {
    each(|lab, family, (pod, _, _), is_on| {
        if pod != "b1" {
            return;
        }
        let to = service(pod, family);
        lab.ip("B", "link set vb1 mtu 1300");
        let client = socket(lab, "a1", (address("a1", family), 0).into());
        let is_v4 = family == Family::V4;
        let (level, option) = match family {
            Family::V4 => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
            Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
        };
        set_option(&client, level, option, &libc::IP_PMTUDISC_DO.to_ne_bytes());
        report_errors(&client, is_v4);
        client.connect(to).expect("a route");
        let deadline = Deadline::new();
        let what = format!("{family:?}, {is_on}");
        while client.send(&[7; 1400]).is_ok() {
            deadline.check(|| format!("{what}: nobody says that it is too large"));
        }
        let route = lab.ip("a1", &format!("route get {}", to.ip()));
        assert!(route.contains("mtu 1300"), "{what}: {route}");
        lab.ip("B", "link set vb1 mtu 1500");
        let option = if is_v4 { "-4" } else { "-6" };
        lab.ip("a1", &format!("{option} route flush cache"));
    });
}

#[test]
fn fragments_follow_the_connections_of_their_ends() {
    // 8,000 bytes and a UDP header, 1,480 or 1,448 in each packet.
    const FRAGMENTS: u64 = 6;
    const TIMES: usize = 3;
    each(|lab, family, (pod, dev, _), is_on| {
        let talk = Talk {
            lab,
            client: "a1",
            to: service(pod, family),
            server: pod,
            at: (address(pod, family), PORT).into(),
        };
        let what = format!("{pod}, {family:?}, {is_on}");
        let mut witness = Witness::new(lab, &["a1", pod]);
        let before = lab.traffic("A");
        let told = talk.udp(TIMES, 8000);
        let told = told.unwrap_or_else(|error| panic!("{what}: {error}"));
        let a1 = address("a1", family);
        assert_eq!(Vec::from_iter(told.clients), [a1], "{what}");
        let ends = [Arrival::new("a1", talk.to.ip()), Arrival::new(pod, a1)];
        assert_eq!(witness.seen(17, &[SERVICE, PORT]), ends.into(), "{what}");
        if is_on {
            let counted = lab.traffic("A").since(&before);
            let row = format!("{dev} > - punt kernel_connection");
            let expected = FRAGMENTS * TIMES as u64;
            assert_eq!(counted.row(&row).0, expected, "{what}: {counted:?}");
        }
        // Of the same ends and not translated: whole all the same.
        let direct = Talk {
            to: talk.at,
            ..talk
        };
        let told = direct.udp(TIMES, 8000);
        told.unwrap_or_else(|error| panic!("{what}, direct: {error}"));
        // Of other ends: on the fast path.
        let at = (address("a2", family), PORT).into();
        let beside = Talk {
            client: "b2",
            to: at,
            server: "a2",
            at,
            ..talk
        };
        let before = lab.traffic("A");
        let told = beside.udp(TIMES, 8000);
        told.unwrap_or_else(|error| panic!("{what}, beside: {error}"));
        if is_on {
            let counted = lab.traffic("A").since(&before);
            let sides = (kernel_connections(&counted), redirects(&counted));
            let expected = (0, 2 * FRAGMENTS * TIMES as u64);
            assert_eq!(sides, expected, "{what}: {counted:?}");
        }
    });
}
