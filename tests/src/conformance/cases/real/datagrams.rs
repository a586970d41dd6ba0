//! UDP sockets.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use super::{
    List, Probe,
    delivered::Delivery,
    narrow_way_out,
    offload::{Offload, Switched},
};
use crate::{
    conformance::{
        case::{Flow, Step},
        lab::Lab,
        place::Place,
    },
    connections::set_option,
};

/// How often each case sends.
const TIMES: usize = 2;

/// Segments of a UDP GSO packet.
const SEGMENTS: usize = 40;

/// One way of sending.
#[derive(Clone, Copy, Debug)]
struct Sending {
    /// Bytes for each call.
    length: usize,
    /// UDP GSO, with segments of so many bytes.
    segment: Option<u16>,
    /// The sender sets no DF.
    may_fragment: bool,
    /// The receiver takes many segments at once (UDP GRO).
    merged: bool,
    /// The sender's interface computes no checksums.
    no_offload: bool,
}

const WHOLE: Sending = Sending {
    length: 60_000,
    segment: None,
    may_fragment: false,
    merged: false,
    no_offload: false,
};

const fn segments(segment: u16) -> Sending {
    Sending {
        length: segment as usize * SEGMENTS,
        segment: Some(segment),
        ..WHOLE
    }
}

pub(super) fn add(list: &mut List<'_>, flow: &Flow) {
    const SOURCE: &str = "udpgso.sh; udpgro.sh; RFC 768";
    let narrow = || vec![narrow_way_out(flow.path, 1300)];
    let cases: [(&str, Sending, Vec<Step>); 10] = [
        ("UDP sockets, 60 KB datagrams in fragments", WHOLE, vec![]),
        (
            "UDP sockets, 1200 bytes, no offload",
            Sending {
                length: 1200,
                no_offload: true,
                ..WHOLE
            },
            vec![],
        ),
        ("UDP GSO, 40 segments of 1400", segments(1400), vec![]),
        ("UDP GSO, 40 segments of 1000", segments(1000), vec![]),
        (
            "UDP GSO, 40 segments of 1400, no offload",
            Sending {
                no_offload: true,
                ..segments(1400)
            },
            vec![],
        ),
        (
            "UDP GSO, 40 segments of 1400, to a UDP GRO socket",
            Sending {
                merged: true,
                ..segments(1400)
            },
            vec![],
        ),
        (
            "UDP GSO, 40 segments of 1000, MTU 1300 on the way",
            segments(1000),
            narrow(),
        ),
        (
            "UDP GSO, 40 segments of 1400, MTU 1300 on the way",
            segments(1400),
            narrow(),
        ),
        (
            "UDP GSO, 40 segments of 1400, no DF, MTU 1300 on the way",
            Sending {
                may_fragment: true,
                ..segments(1400)
            },
            narrow(),
        ),
        (
            "UDP sockets, 1400 bytes, no DF, MTU 1300 on the way",
            Sending {
                length: 1400,
                may_fragment: true,
                ..WHOLE
            },
            narrow(),
        ),
    ];
    let (from, to) = (flow.path.sender(), flow.path.receiver());
    let (source, address) = (flow.source, flow.destination);
    for (name, sending, mut steps) in cases {
        if !steps.is_empty() && flow.path.is_to_endpoint() {
            steps.push(Step::mtu(to, to.dev(), 1300));
        }
        let work = move |lab: &Lab| run(lab, (from, source), (to, address), sending);
        let case = list.add(flow, name, SOURCE, Probe::Work(Box::new(work)));
        case.steps = steps;
    }
}

fn open(lab: &Lab, place: Place, address: IpAddr) -> UdpSocket {
    let bind = || UdpSocket::bind(SocketAddr::new(address, 0)).expect("binding");
    let socket = lab.netns(place).run(bind).expect("the namespace is there");
    // What is on its way takes microseconds.
    let patience = Duration::from_millis(300);
    socket.set_read_timeout(Some(patience)).expect("a timeout");
    socket
}

fn set_options(sender: &UdpSocket, receiver: &UdpSocket, is_v4: bool, sending: Sending) {
    if let Some(segment) = sending.segment {
        set_number(sender, libc::SOL_UDP, libc::UDP_SEGMENT, segment.into());
    }
    if sending.may_fragment {
        let (level, option) = if is_v4 {
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
        };
        set_number(sender, level, option, libc::IP_PMTUDISC_DONT);
    }
    if sending.merged {
        set_number(receiver, libc::SOL_UDP, libc::UDP_GRO, 1);
    }
}

fn set_number(socket: &UdpSocket, level: i32, option: i32, value: i32) {
    set_option(socket, level, option, &value.to_ne_bytes());
}

/// Sends a few times and says what the sender is told, and what arrives, in pieces of which lengths.
fn run(
    lab: &Lab,
    (from, source): (Place, IpAddr),
    (to, address): (Place, IpAddr),
    sending: Sending,
) -> Vec<String> {
    let option = if address.is_ipv4() { "-4" } else { "-6" };
    lab.ip(from, &format!("{option} route flush cache"));
    let switched = sending
        .no_offload
        .then(|| Switched::new(lab, (from, from.dev()), Offload::TransmitChecksum, false));
    let (sender, receiver) = (open(lab, from, source), open(lab, to, address));
    set_options(&sender, &receiver, address.is_ipv4(), sending);
    let delivery = Delivery::watch(lab, to, to.dev(), address);
    let target = receiver.local_addr().expect("bound");
    let data: Vec<u8> = (0..sending.length).map(|i| (i / 3) as u8).collect();
    let mut lines = Vec::new();
    for _ in 0..TIMES {
        let sent = match sender.send_to(&data, target) {
            Ok(length) => format!("{length} bytes sent"),
            Err(error) => format!("the sender is told: {error}"),
        };
        let received = receive(&receiver, source, &data);
        lines.push(format!("{sent}, {received}"));
    }
    if lines.iter().all(|line| *line == lines[0]) {
        lines = vec![format!("each time {}", lines[0])];
    }
    lines.extend(delivery.lines());
    drop(switched);
    lab.ip(from, &format!("{option} route flush cache"));
    lines
}

/// What comes of one call, until all has come or nothing does any more.
fn receive(receiver: &UdpSocket, source: IpAddr, data: &[u8]) -> String {
    let mut got = 0;
    let mut lengths = std::collections::BTreeMap::<usize, usize>::new();
    let mut buffer = vec![0; 70_000];
    while got < data.len() {
        match receiver.recv_from(&mut buffer) {
            Ok((length, peer)) => {
                assert_eq!(peer.ip(), source);
                assert_eq!(buffer[..length], data[got..got + length], "the bytes sent");
                got += length;
                *lengths.entry(length).or_default() += 1;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("receiving: {error}"),
        }
    }
    let pieces: Vec<String> = lengths
        .iter()
        .map(|(length, count)| format!("{count} of {length}"))
        .collect();
    match pieces.is_empty() {
        true => "nothing arrives".to_owned(),
        false => format!("{} bytes arrive ({})", got, pieces.join(", ")),
    }
}
