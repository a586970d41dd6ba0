//! Connections that node A translates: a client speaks to an address that nobody has, as it does to a Kubernetes Service, and
//! the kernel's NAT leads it to the receiver. Both directions have to come by the kernel, or the answers are not translated
//! back.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    time::Duration,
};

use super::{List, Probe};
use crate::{
    Family,
    conformance::{
        case::{Flow, Path, Step},
        lab::Lab,
        place::Place,
    },
    connections::report_errors,
    lab::run,
};

const SOURCE: &str = "RFC 3022; Kubernetes Services, as kube-proxy makes them of iptables";

/// The Service's port, and the receiver's.
const SERVICE_PORT: u16 = 80;
const PORT: u16 = 8080;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who speaks to whom.
#[derive(Clone, Copy)]
struct Talk {
    client: (Place, IpAddr),
    server: (Place, IpAddr),
    /// Whom the client believes to speak to.
    service: IpAddr,
}

/// What a client does; it says what came of it.
type Speak = fn(&Lab, Talk) -> Vec<String>;

pub(super) fn add(list: &mut List<'_>, flow: &Flow) {
    if flow.path == Path::Transit {
        return;
    }
    let service = match flow.family {
        Family::V4 => "198.51.100.10",
        Family::V6 => "2001:db8:96::10",
    };
    let service = service.parse().expect(service);
    let talk = Talk {
        client: (flow.path.sender(), flow.source),
        server: (flow.path.receiver(), flow.destination),
        service,
    };
    let cases: [(&str, Speak); 7] = [
        ("UDP, questions and answers", datagrams),
        ("UDP, beside the same two directly", beside),
        ("UDP, in fragments both ways", fragments),
        ("UDP, nobody listens", nobody),
        ("TCP, 200 KB and back", stream),
        ("UDP, the client translated, too", masqueraded),
        ("ICMP, echoes", echoes),
    ];
    for (name, speak) in cases {
        let work = move |lab: &Lab| {
            let _nat = Nat::new(lab, talk);
            speak(lab, talk)
        };
        let name = format!("through a Service: {name}");
        let case = list.add(flow, name, SOURCE, Probe::Work(Box::new(work)));
        if !flow.path.is_from_endpoint() {
            let (family, length) = match flow.family {
                Family::V4 => ("-4", 32),
                Family::V6 => ("-6", 128),
            };
            let route = format!(
                "{service}/{length} via {}",
                Place::NodeA.address(flow.family)
            );
            case.steps.push(Step::ip(
                Place::NodeB,
                format!("{family} route add {route}"),
                format!("{family} route del {route}"),
            ));
        }
    }
}

/// The rules on node A, which go with it: what has no chain in NAT's table is not tracked.
struct Nat<'a> {
    lab: &'a Lab,
    tables: &'static str,
}

impl<'a> Nat<'a> {
    fn new(lab: &'a Lab, talk: Talk) -> Self {
        let nat = Self {
            lab,
            tables: tables(talk),
        };
        let to = SocketAddr::new(talk.server.1, PORT);
        for protocol in ["udp", "tcp"] {
            nat.rules(&format!(
                "-A PREROUTING -d {} -p {protocol} --dport {SERVICE_PORT} -j DNAT --to-destination {to}",
                talk.service
            ));
        }
        let icmp = match talk.service {
            IpAddr::V4(_) => "icmp",
            IpAddr::V6(_) => "icmpv6",
        };
        nat.rules(&format!(
            "-A PREROUTING -d {} -p {icmp} -j DNAT --to-destination {}",
            talk.service, talk.server.1
        ));
        nat
    }

    fn rules(&self, arguments: &str) {
        let command = format!("{} -w -t nat {arguments}", self.tables);
        self.lab
            .netns(Place::NodeA)
            .run(|| run(&command))
            .expect("the namespace is there");
    }
}

impl Drop for Nat<'_> {
    fn drop(&mut self) {
        self.rules("-F");
        self.rules("-X");
    }
}

fn tables(talk: Talk) -> &'static str {
    match talk.service {
        IpAddr::V4(_) => "iptables",
        IpAddr::V6(_) => "ip6tables",
    }
}

/// A UDP socket somewhere, which waits for as long as an answer may take.
fn socket(lab: &Lab, place: Place, at: SocketAddr) -> UdpSocket {
    let bind = || UdpSocket::bind(at).unwrap_or_else(|error| panic!("{at}: {error}"));
    let socket = lab.netns(place).run(bind).expect("the namespace is there");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

fn client(lab: &Lab, talk: Talk) -> UdpSocket {
    let client = socket(lab, talk.client.0, SocketAddr::new(talk.client.1, 0));
    client
        .connect((talk.service, SERVICE_PORT))
        .expect("connecting");
    client
}

fn server(lab: &Lab, talk: Talk) -> UdpSocket {
    socket(lab, talk.server.0, SocketAddr::new(talk.server.1, PORT))
}

/// A question of so many bytes, and its answer. A connected socket takes what comes from whom it speaks to only.
fn question(client: &UdpSocket, server: &UdpSocket, length: usize) -> String {
    let data: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    let mut buffer = vec![0; length + 1];
    if let Err(error) = client.send(&data) {
        return format!("no question sent: {}", error.kind());
    }
    let (got, peer) = match server.recv_from(&mut buffer) {
        Ok(received) => received,
        Err(error) => return format!("no question: {}", error.kind()),
    };
    assert_eq!(buffer[..got], data[..], "the question");
    server.send_to(&data, peer).expect("answering");
    match client.recv(&mut buffer) {
        Ok(got) => {
            assert_eq!(buffer[..got], data[..], "the answer");
            format!("{got} bytes from {}, and back", peer.ip())
        }
        Err(error) => format!("no answer: {}", error.kind()),
    }
}

/// The lines, or one where they are all the same.
fn told(lines: Vec<String>) -> Vec<String> {
    match lines.iter().all(|line| *line == lines[0]) {
        true => vec![format!("{} times {}", lines.len(), lines[0])],
        false => lines,
    }
}

fn datagrams(lab: &Lab, talk: Talk) -> Vec<String> {
    let server = server(lab, talk);
    let ask = |length| question(&client(lab, talk), &server, length);
    let mut lines = told((0..5).map(|_| ask(100)).collect());
    let one = client(lab, talk);
    lines.extend(told((0..5).map(|_| question(&one, &server, 100)).collect()));
    lines
}

fn beside(lab: &Lab, talk: Talk) -> Vec<String> {
    let server = server(lab, talk);
    let translated = client(lab, talk);
    let direct = socket(lab, talk.client.0, SocketAddr::new(talk.client.1, 0));
    let (address, port) = (talk.server.1, PORT);
    direct.connect((address, port)).expect("connecting");
    let ask = |index| match index % 2 {
        0 => question(&translated, &server, 100),
        _ => question(&direct, &server, 100),
    };
    told((0..6).map(ask).collect())
}

/// As a NodePort is led to another node: the server sees node A.
fn masqueraded(lab: &Lab, talk: Talk) -> Vec<String> {
    let nat = Nat {
        lab,
        tables: tables(talk),
    };
    let to = talk.server.1;
    nat.rules(&format!(
        "-A POSTROUTING -d {to} -p udp --dport {PORT} -j MASQUERADE"
    ));
    datagrams(lab, talk)
}

/// The client's kernel takes only answers of whom it asked.
fn echoes(lab: &Lab, talk: Talk) -> Vec<String> {
    let mut ping = Command::new("ping");
    ping.args(["-q", "-c", "5", "-i", "0.01", "-W", "2"]);
    ping.arg(talk.service.to_string());
    let ping = lab.netns(talk.client.0).run(|| ping.output());
    let output = ping
        .expect("the namespace is there")
        .expect("ping is there");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let counted = said.lines().find(|line| line.contains(" received"));
    let counted = counted.unwrap_or_else(|| panic!("{output:?}"));
    let received = counted.split(", ").nth(1).expect("what was received");
    vec![format!("of 5 echoes {received}")]
}

fn fragments(lab: &Lab, talk: Talk) -> Vec<String> {
    let server = server(lab, talk);
    let client = client(lab, talk);
    told((0..3).map(|_| question(&client, &server, 20_000)).collect())
}

/// The receiver's ICMP error comes as from the Service.
fn nobody(lab: &Lab, talk: Talk) -> Vec<String> {
    let client = client(lab, talk);
    report_errors(&client, talk.client.1.is_ipv4());
    client.send(b"anybody there?").expect("asking");
    match client.recv(&mut [0; 64]) {
        Ok(length) => vec![format!("{length} bytes come back")],
        Err(error) => vec![format!("the client is told: {}", error.kind())],
    }
}

fn stream(lab: &Lab, talk: Talk) -> Vec<String> {
    const BYTES: usize = 200_000;
    let listen = || TcpListener::bind((talk.server.1, PORT)).expect("binding");
    let listener = lab.netns(talk.server.0).run(listen);
    let listener = listener.expect("the namespace is there");
    let service = SocketAddr::new(talk.service, SERVICE_PORT);
    let connect = || TcpStream::connect_timeout(&service, PATIENCE);
    let client = lab.netns(talk.client.0).run(connect);
    let mut client = match client.expect("the namespace is there") {
        Ok(client) => client,
        Err(error) => return vec![format!("no connection: {}", error.kind())],
    };
    let (mut server, peer) = listener.accept().expect("accepting");
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    }
    let data: Vec<u8> = (0..BYTES).map(|at| (at % 249) as u8).collect();
    let there = carried(&mut client, &mut server, &data);
    let back = carried(&mut server, &mut client, &data);
    drop(server);
    let end = match client.read(&mut [0; 1]) {
        Ok(0) => "ends".to_owned(),
        Ok(_) => "does not end".to_owned(),
        Err(error) => format!("ends with {}", error.kind()),
    };
    vec![format!("from {}: {there}, {back}, {end}", peer.ip())]
}

/// Sends at one end what is read at the other.
fn carried(from: &mut TcpStream, to: &mut TcpStream, data: &[u8]) -> String {
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| from.write_all(data));
        let mut got = vec![0; data.len()];
        let received = to.read_exact(&mut got);
        let sent = sending.join().expect("it does not panic");
        match (sent, received) {
            (Ok(()), Ok(())) if got == data => format!("{} bytes", got.len()),
            (Ok(()), Ok(())) => "other bytes".to_owned(),
            (sent, received) => {
                let kind = |result: std::io::Result<()>| result.map_err(|error| error.kind());
                let kinds: [Result<(), ErrorKind>; 2] = [kind(sent), kind(received)];
                format!("sent and received: {kinds:?}")
            }
        }
    })
}
