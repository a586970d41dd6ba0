//! Real sockets: what they are told, and what arrives.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use netpath::probe::tcp::{TransferOptions, tcp_transfer};

use super::{List, Probe};
use crate::{
    Family,
    conformance::{
        case::{Flow, Path, Step},
        lab::{Lab, Place},
    },
};

/// Bytes of a transfer.
const BYTES: u64 = 3_000_000;

pub(super) fn add(list: &mut List<'_>) {
    for flow in list.flows() {
        transfers(list, &flow);
        datagrams(list, &flow);
        if flow.path == Path::ToRemote {
            silent_neighbour(list, &flow);
        }
        forwarding_off(list, &flow);
    }
}

/// A next hop that nobody answers for: what the sender is told, once the kernel has given up.
fn silent_neighbour(list: &mut List<'_>, flow: &Flow) {
    let (prefix, host, via, family): (_, &str, _, _) = match flow.family {
        Family::V4 => ("10.2.9.0/24", "10.2.9.9", "10.8.0.99", "ipv4"),
        Family::V6 => ("fd00:2:9::/48", "fd00:2:9::9", "fd00:8::99", "ipv6"),
    };
    let (source, target) = (flow.source, host.parse().expect(host));
    let work = move |lab: &Lab| vec![told(lab, Place::A1, source, target)];
    let case = list.add(
        flow,
        "next hop: one that does not answer",
        "RFC 1122, 2.3.2.2; RFC 4861, 7.2.2",
        Probe::Work(Box::new(work)),
    );
    for (key, value) in [("mcast_solicit", "1"), ("retrans_time_ms", "20")] {
        let key = format!("{family}/neigh/up0/{key}");
        case.steps.push(Step::sysctl(Place::NodeA, &key, value));
    }
    let route = format!("{prefix} via {via} dev up0");
    case.steps.push(Step::add(Place::NodeA, "route", &route));
}

fn forwarding_off(list: &mut List<'_>, flow: &Flow) {
    let family = match flow.family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    let (from, source, target) = (flow.path.sender(), flow.source, flow.destination);
    let work = move |lab: &Lab| vec![told(lab, from, source, target)];
    let case = list.add(
        flow,
        "forwarding off at the ingress",
        "ip-sysctl.rst: conf/interface/forwarding",
        Probe::Work(Box::new(work)),
    );
    let key = format!("{family}/conf/{}/forwarding", flow.path.ingress());
    case.steps.push(Step::sysctl(Place::NodeA, &key, "0"));
}

/// What a UDP socket learns about the packet that it sent to a port where nobody listens.
fn told(lab: &Lab, from: Place, source: IpAddr, target: IpAddr) -> String {
    let ask = || {
        let socket = UdpSocket::bind(SocketAddr::new(source, 0)).expect("binding");
        socket.connect((target, 40_001)).expect("connecting");
        socket
            .set_read_timeout(Some(Duration::from_secs(1)))
            .expect("a timeout");
        report_errors(&socket, source);
        socket.send(b"anybody there?").expect("sending");
        match socket.recv(&mut [0; 64]) {
            Ok(length) => format!("{length} bytes come back"),
            Err(error) => format!("the sender is told: {}", error.kind()),
        }
    };
    lab.netns(from).run(ask).expect("the namespace is there")
}

/// Every ICMP error is the socket's, not only those that end a connection (ip(7), ipv6(7)).
fn report_errors(socket: &UdpSocket, address: IpAddr) {
    let (level, option) = match address {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    set_socket_option(socket, level, option, 1);
}

fn set_socket_option(socket: &UdpSocket, level: i32, option: i32, value: libc::c_int) {
    // SAFETY: the socket is open, and `value` outlives the call and has the size stated.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "setsockopt: {}", io::Error::last_os_error());
}

fn transfers(list: &mut List<'_>, flow: &Flow) {
    let (from, to) = (flow.path.sender(), flow.path.receiver());
    let address = flow.destination;
    let egress = |mtu| {
        let mut steps = vec![Step::mtu(Place::NodeA, flow.path.egress(), mtu)];
        if flow.path != Path::ToRemote {
            steps.push(Step::mtu(to, to.dev(), mtu));
        }
        steps
    };
    for (name, steps) in [
        ("MTU 1500", vec![]),
        ("MTU 1300 at the receiver", egress(1300)),
        // Only the sender's node knows of it.
        ("MTU 1300 on the way", egress(1300)[..1].to_vec()),
    ] {
        let work = move |lab: &Lab| transfer(lab, from, to, address);
        let case = list.add(
            flow,
            format!("TCP, 3 MB, {name}"),
            "RFC 1191; RFC 8201; pmtu.sh",
            Probe::Work(Box::new(work)),
        );
        case.steps = steps;
    }
    // Without offload every segment is a packet, with its checksum filled in.
    let work = move |lab: &Lab| {
        for place in [from, to] {
            offload(lab, place, false);
        }
        let lines = transfer(lab, from, to, address);
        for place in [from, to] {
            offload(lab, place, true);
        }
        lines
    };
    list.add(
        flow,
        "TCP, 3 MB, no offload at either end",
        "checksum-offloads.rst",
        Probe::Work(Box::new(work)),
    );
    if flow.path == Path::SameNode {
        let family = flow.family;
        let work = move |lab: &Lab| {
            let address = Place::A1.address(family);
            transfer(lab, Place::NodeA, Place::A1, address)
        };
        list.add(
            flow,
            "TCP, 3 MB, from the node itself to an endpoint",
            "RFC 1812, 5.2.3",
            Probe::Work(Box::new(work)),
        );
        let node = Place::NodeA.address(family);
        let work = move |lab: &Lab| transfer(lab, Place::A1, Place::NodeA, node);
        list.add(
            flow,
            "TCP, 3 MB, from an endpoint to the node",
            "RFC 1812, 5.2.3",
            Probe::Work(Box::new(work)),
        );
    }
}

/// What a transfer came to, and the path MTU that the sender learnt.
fn transfer(lab: &Lab, from: Place, to: Place, address: IpAddr) -> Vec<String> {
    let option = if address.is_ipv4() { "-4" } else { "-6" };
    lab.ip(from, &format!("{option} route flush cache"));
    let options = TransferOptions {
        bytes: BYTES,
        deadline: Duration::from_secs(20),
        ..TransferOptions::new(address)
    };
    let result = tcp_transfer(lab.netns(from), lab.netns(to), &options);
    let told = lab.ip(from, &format!("route get {address}"));
    let mtu = told
        .split_whitespace()
        .skip_while(|word| *word != "mtu")
        .nth(1)
        .unwrap_or("of the interface");
    let line = match result {
        Ok(report) => format!(
            "{} bytes arrive from {}, path MTU {mtu}",
            report.bytes,
            report.peer.ip()
        ),
        Err(error) => format!("{error}, path MTU {mtu}"),
    };
    lab.ip(from, &format!("{option} route flush cache"));
    vec![line]
}

/// Switches transmit checksums, and with them segmentation, of an interface.
fn offload(lab: &Lab, place: Place, on: bool) {
    /// `ETHTOOL_STXCSUM` of linux/ethtool.h.
    const SET_TX_CHECKSUM: u32 = 0x17;
    /// `struct ethtool_value`.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let switch = || {
        let socket = UdpSocket::bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))?;
        let mut value = Value {
            command: SET_TX_CHECKSUM,
            data: u32::from(on),
        };
        let mut name = [0; libc::IFNAMSIZ];
        for (to, from) in name.iter_mut().zip(place.dev().bytes()) {
            *to = from as libc::c_char;
        }
        let mut request = libc::ifreq {
            ifr_name: name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_data: (&raw mut value).cast(),
            },
        };
        // SAFETY: the socket is open; the request and the value that it points to outlive the call.
        let result =
            unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    let result = lab
        .netns(place)
        .run(switch)
        .expect("the namespace is there");
    result.unwrap_or_else(|error| panic!("SIOCETHTOOL ({place}): {error}"));
}

/// UDP of one size each, and UDP GSO: what a receiving socket gets.
fn datagrams(list: &mut List<'_>, flow: &Flow) {
    let (from, to) = (flow.path.sender(), flow.path.receiver());
    let (source, address) = (flow.source, flow.destination);
    for (name, segment) in [
        ("UDP sockets, 60 KB datagrams in fragments", None),
        ("UDP GSO, 40 segments of 1400", Some(1400u16)),
        ("UDP GSO, 40 segments of 1000", Some(1000)),
    ] {
        let work = move |lab: &Lab| receive(lab, (from, source), (to, address), segment);
        list.add(
            flow,
            name,
            "udpgso.sh; RFC 768",
            Probe::Work(Box::new(work)),
        );
    }
}

/// Sends three times and says what arrives.
fn receive(
    lab: &Lab,
    (from, source): (Place, IpAddr),
    (to, address): (Place, IpAddr),
    segment: Option<u16>,
) -> Vec<String> {
    let open = |place, address| {
        let bind = || UdpSocket::bind(SocketAddr::new(address, 0)).expect("binding");
        lab.netns(place).run(bind).expect("the namespace is there")
    };
    let (sender, receiver) = (open(from, source), open(to, address));
    receiver
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("a timeout");
    let target = receiver.local_addr().expect("bound");
    let (length, count) = match segment {
        Some(segment) => (usize::from(segment) * 40, 40),
        None => (60_000, 1),
    };
    if let Some(segment) = segment {
        set_socket_option(&sender, libc::SOL_UDP, libc::UDP_SEGMENT, segment.into());
    }
    let data: Vec<u8> = (0..length).map(|i| (i / 3) as u8).collect();
    let mut got = Vec::new();
    let mut buffer = vec![0; 70_000];
    for _ in 0..3 {
        sender.send_to(&data, target).expect("sending");
        for _ in 0..count {
            match receiver.recv_from(&mut buffer) {
                Ok((length, peer)) => {
                    let at = got.len() % data.len();
                    assert_eq!(peer.ip(), source);
                    assert_eq!(buffer[..length], data[at..at + length], "the bytes sent");
                    got.extend_from_slice(&buffer[..length]);
                }
                Err(_) => return vec![format!("only {} bytes arrive", got.len())],
            }
        }
    }
    vec![format!("{} bytes arrive in order", got.len())]
}
