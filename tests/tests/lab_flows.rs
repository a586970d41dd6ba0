//! Connections that the kernel has translated while the fast path was off are its own when it comes on, and `netpath flows` lists
//! them.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::atomic::AtomicBool,
    time::Duration,
};

use netpath::{lock::TopologyLock, netfilter::conntrack};
use netpath_common::{ConnectionEntry, ConnectionKey, Ifindex};
use netpath_tests::{
    command::{assert_ends, run_netpath, stdout},
    lab::{Deadline, Lab, ONE_NODE, TWO_NODES, addresses, in_mode, is_in_mode},
};
use serde_json::{Value, json};

const FLOWS: &str = include_str!("../../docs/schema/flows.json");
const LONGEST: Duration = Duration::from_secs(10);
/// Where clients connect to, and where servers listen.
const ASKED: u16 = 80;
const SERVED: u16 = 8080;

/// The addresses of a service that no endpoint has.
fn service() -> [IpAddr; 2] {
    ["10.96.0.10", "fd00:96::10"].map(|it| it.parse().expect(it))
}

/// A lab whose FORWARD chains accept, with the fast path off.
fn lab_with_the_kernels_path() -> Lab {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    for node in ["A", "B"] {
        lab.fast_path(false, node, None);
    }
    lab
}

fn fast_path_on(lab: &Lab) {
    for node in ["A", "B"] {
        lab.fast_path(true, node, None);
    }
}

/// What is sent from A's endpoints to an address is translated to a server's, as kube-proxy and Docker do it.
fn translate(lab: &Lab, from: IpAddr, to: IpAddr) {
    let command = match from {
        IpAddr::V4(_) => "iptables",
        IpAddr::V6(_) => "ip6tables",
    };
    let to = SocketAddr::new(to, SERVED);
    let rule =
        format!("-A PREROUTING -d {from} -p tcp --dport {ASKED} -j DNAT --to-destination {to}");
    lab.run("A", &format!("{command} -w -t nat {rule}"));
}

/// A connection that is open, and between which addresses.
struct Open {
    client: TcpStream,
    server: TcpStream,
}

impl Open {
    /// From a client to an address, where a server has another.
    fn new(lab: &Lab, client: &str, asked: SocketAddr, server: &str, serves: SocketAddr) -> Self {
        let listener = lab.inside(server, || TcpListener::bind(serves).expect("bind"));
        let client = lab.inside(client, || TcpStream::connect_timeout(&asked, LONGEST));
        let client = client.unwrap_or_else(|error| panic!("to {asked}: {error}"));
        let (server, _) = listener.accept().expect("accept");
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(LONGEST)).expect("a time");
            stream.set_nodelay(true).expect("no delay");
        }
        Self { client, server }
    }

    /// Through the rules of [`translate`].
    fn translated(lab: &Lab, client: &str, asked: IpAddr, server: &str, serves: IpAddr) -> Self {
        let (asked, serves) = (
            SocketAddr::new(asked, ASKED),
            SocketAddr::new(serves, SERVED),
        );
        Self::new(lab, client, asked, server, serves)
    }

    fn client_address(&self) -> SocketAddr {
        self.client.local_addr().expect("connected")
    }

    /// The server speaks.
    fn push(&mut self, what: &str) {
        speak(&mut self.server, &mut self.client).unwrap_or_else(|error| panic!("{what}: {error}"));
    }

    /// The client speaks.
    fn ask(&mut self, what: &str) {
        speak(&mut self.client, &mut self.server).unwrap_or_else(|error| panic!("{what}: {error}"));
    }

    fn key(&self) -> (SocketAddr, SocketAddr) {
        let server = self.server.local_addr().expect("connected");
        (self.client_address(), server)
    }
}

fn speak(from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    for word in [b"one", b"two"] {
        from.write_all(word)?;
        let mut heard = [0; 3];
        to.read_exact(&mut heard)?;
        assert_eq!(&heard, word);
    }
    Ok(())
}

/// What a node's table has of the connection between two ends.
fn entry(lab: &Lab, node: &str, (from, to): (SocketAddr, SocketAddr)) -> Option<ConnectionEntry> {
    let maps = lab.datapath(node);
    let maps = &maps.maps;
    let found = match (from.ip(), to.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let ends = ((a.octets(), from.port()), (b.octets(), to.port()));
            maps.connections_v4
                .get(&ConnectionKey::of(ends.0, ends.1, 6).0)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let ends = ((a.octets(), from.port()), (b.octets(), to.port()));
            maps.connections_v6
                .get(&ConnectionKey::of(ends.0, ends.1, 6).0)
        }
        mixed => panic!("{mixed:?}"),
    };
    found.expect("read")
}

/// Takes what the table has of a connection away.
fn ruin(lab: &Lab, node: &str, (from, to): (SocketAddr, SocketAddr)) {
    let lock = TopologyLock::take(&AtomicBool::new(false)).expect("the lock");
    let datapath = lab.datapath(node);
    let writer = datapath.writer(&lock);
    match (from.ip(), to.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let key = ConnectionKey::of((a.octets(), from.port()), (b.octets(), to.port()), 6).0;
            writer.connections_v4.remove(&key)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let key = ConnectionKey::of((a.octets(), from.port()), (b.octets(), to.port()), 6).0;
            writer.connections_v6.remove(&key)
        }
        mixed => panic!("{mixed:?}"),
    }
    .expect("write");
}

/// `netpath flows -j` with more arguments.
fn flows(arguments: &[&str]) -> Value {
    let all: Vec<&str> = ["flows", "-j"]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    let output = run_netpath(&all);
    assert_ends(&output, 0, &[]);
    let document = serde_json::from_slice(&output.stdout).expect("JSON");
    let schema = serde_json::from_str(FLOWS).expect("JSON");
    jsonschema::draft202012::validate(&schema, &document)
        .unwrap_or_else(|error| panic!("{error}: {document}"));
    document
}

/// The rows of one connection.
fn rows_of(document: &Value, (from, to): (SocketAddr, SocketAddr)) -> Vec<Value> {
    let is_end = |end: &Value, address: SocketAddr| {
        end["address"] == address.ip().to_string() && end["port"] == address.port()
    };
    let rows = document["flows"].as_array().expect("rows").iter();
    let its = rows.filter(|row| is_end(&row["source"], from) && is_end(&row["destination"], to));
    its.cloned().collect()
}

fn is_refused(words: &[&str], status: i32, told: &str) {
    let output = run_netpath(words);
    assert_ends(&output, status, &[told]);
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_translated_connection_survives_off_and_on() {
    translated_survives();
}

#[test]
fn a_translated_connection_survives_off_and_on_with_clsact() {
    in_mode("by_clsact", "clsact");
}

#[test]
#[ignore = "in a process of its own"]
fn by_clsact() {
    if is_in_mode() {
        translated_survives();
    }
}

/// To the other node and to the same one; the server speaks first, and then the client.
fn translated_survives() {
    for family in [0, 1] {
        for (server, forwarded) in [("b1", "up0"), ("a2", "va2")] {
            let lab = lab_with_the_kernels_path();
            let (asked, serves) = (service()[family], addresses(server)[family]);
            translate(&lab, asked, serves);
            let mut first = Open::translated(&lab, "a1", asked, server, serves);
            let what = format!("to {server} by {asked}");
            first.push(&what);
            fast_path_on(&lab);
            let noted = entry(&lab, "A", first.key()).expect("entered");
            assert_eq!(noted.ingress.0, 0, "it was read");
            let before = lab.traffic("A");
            first.push(&format!("{what}, when the fast path came on"));
            first.ask(&format!("{what}, when the fast path came on"));
            let counted = lab.traffic("A").since(&before);
            // All of the server's packets are left to the kernel, which sends them back as the service's.
            let left = counted
                .row(&format!("{forwarded} > - punt kernel_connection"))
                .0;
            assert!(left >= 4, "{what}: {counted:?}");
            assert_eq!(
                counted.row(&format!("{forwarded} > va1 redirect_peer")).0,
                0,
                "{what}"
            );
            let delivered = counted.row(&format!("{forwarded} > va1 deliver")).0;
            assert_eq!(delivered, left, "{what}: {counted:?}");
            // The whole again.
            for node in ["A", "B"] {
                lab.fast_path(false, node, None);
            }
            first.push(&format!("{what}, off again"));
            fast_path_on(&lab);
            first.push(&format!("{what}, on again"));
            first.ask(&format!("{what}, on again"));
        }
    }
}

/// The first packet after the fast path came on is from who began it, between two ends that are both routed.
#[test]
fn what_is_sent_to_a_routed_address_is_translated_still() {
    let lab = lab_with_the_kernels_path();
    for (asked, serves) in addresses("b2").into_iter().zip(addresses("b1")) {
        translate(&lab, asked, serves);
        let mut open = Open::translated(&lab, "a1", asked, "b1", serves);
        open.ask("off");
        fast_path_on(&lab);
        let before = lab.traffic("A");
        open.ask("on");
        open.push("on");
        let counted = lab.traffic("A").since(&before);
        assert!(
            counted.row("va1 > - punt kernel_connection").0 >= 4,
            "{counted:?}"
        );
        assert!(
            counted.row("up0 > - punt kernel_connection").0 >= 4,
            "{counted:?}"
        );
        assert_eq!(counted.row("va1 > up0 redirect_neigh").0, 0, "{counted:?}");
        for node in ["A", "B"] {
            lab.fast_path(false, node, None);
        }
    }
}

#[test]
fn what_is_tracked_and_not_translated_takes_the_fast_path() {
    let lab = lab_with_the_kernels_path();
    for family in [0, 1] {
        // Its connections are tracked, and so is this one.
        translate(&lab, service()[family], addresses("b1")[family]);
        let server = SocketAddr::new(addresses("b1")[family], SERVED);
        let mut direct = Open::new(&lab, "a1", server, "b1", server);
        direct.push("off");
        let tracked = lab.run("A", "cat /proc/sys/net/netfilter/nf_conntrack_count");
        assert_ne!(tracked.trim(), "0");
        let netns = lab.netns("A");
        let translated = netns.enter(conntrack::translated).expect("enter");
        assert_eq!(translated.expect("listed").len(), 0);
        fast_path_on(&lab);
        assert_eq!(entry(&lab, "A", direct.key()), None);
        let before = lab.traffic("A");
        direct.push("on");
        direct.ask("on");
        let counted = lab.traffic("A").since(&before);
        assert!(counted.row("up0 > va1 redirect_peer").0 >= 4, "{counted:?}");
        assert_eq!(counted.row("up0 > - punt kernel_connection").0, 0);
        assert_eq!(entry(&lab, "A", direct.key()), None);
        for node in ["A", "B"] {
            lab.fast_path(false, node, None);
        }
    }
}

/// What the table has is not looked after, but where programs come anew.
#[test]
fn what_was_taken_out_comes_back_with_the_programs() {
    for family in [0, 1] {
        let lab = lab_with_the_kernels_path();
        let (asked, serves) = (service()[family], addresses("b1")[family]);
        translate(&lab, asked, serves);
        let mut open = Open::translated(&lab, "a1", asked, "b1", serves);
        fast_path_on(&lab);
        let key = open.key();
        ruin(&lab, "A", key);
        assert_eq!(lab.converge(), Vec::<String>::new());
        assert_eq!(entry(&lab, "A", key), None);
        // Whichever program is gone: one that would have noted connections, or that asks.
        for (program, dev, hook) in [
            ("to_uplink", "up0", "egress"),
            ("from_endpoint", "va1", "ingress"),
        ] {
            ruin(&lab, "A", key);
            detach(&lab, program, dev, hook);
            let deadline = Deadline::new();
            while lab.plan().is_empty() {
                deadline.check(|| format!("{program} is still at {dev}"));
            }
            let words = lab.converge();
            assert_eq!(words.len(), 1, "{words:?}");
            assert!(
                words[0].contains(&format!("program {program} is not attached")),
                "{words:?}"
            );
            assert!(entry(&lab, "A", key).is_some(), "{program} came back");
        }
        open.push("mended");
        open.ask("mended");
    }
}

/// Takes a program off an interface of A's.
fn detach(lab: &Lab, program: &str, dev: &str, hook: &str) {
    if netpath_tests::has_tcx() {
        let pin = format!(
            "/sys/fs/bpf/netpath/{}/links/{program}@{dev}",
            lab.name("A")
        );
        fs::remove_file(pin).expect("unpin");
    } else {
        lab.run("A", &format!("tc filter del dev {dev} {hook}"));
    }
}

#[test]
fn flows_lists_connections_with_their_ends() {
    let lab = lab_with_the_kernels_path();
    let (node, a1, a2) = (lab.name("A"), lab.name("a1"), lab.name("a2"));
    let mut open = Vec::new();
    for family in [0, 1] {
        translate(&lab, service()[family], addresses("b1")[family]);
        let (asked, serves) = (service()[family], addresses("b1")[family]);
        open.push(Open::translated(&lab, "a1", asked, "b1", serves));
    }
    fast_path_on(&lab);
    // One more of each family, of which the programs themselves note the first packet.
    for family in [0, 1] {
        let (asked, serves) = (service()[family], addresses("b1")[family]);
        let server = SocketAddr::new(serves, SERVED);
        let listener = lab.inside("b1", || TcpListener::bind(server).expect("bind"));
        let to = SocketAddr::new(asked, ASKED);
        let client = lab.inside("a2", || TcpStream::connect_timeout(&to, LONGEST));
        let client = client.expect("connected");
        let (server, _) = listener.accept().expect("accept");
        open.push(Open { client, server });
    }
    let all = flows(&["--node", &node]);
    assert_eq!(all["flows"].as_array().map(Vec::len), Some(4), "{all}");
    for (number, open) in open.iter().enumerate() {
        let (endpoint, ingress) = match number {
            0 | 1 => (&a1, Value::Null),
            _ => (&a2, json!("va2")),
        };
        let (from, to) = open.key();
        let rows = rows_of(&all, (from, to));
        let [row] = rows.as_slice() else {
            panic!("{from} to {to}: {all}");
        };
        let expected = json!({
            "node": node, "side": "kernel", "protocol": "tcp", "protocol_number": 6,
            "source": {"address": from.ip().to_string(), "port": from.port(), "endpoint": endpoint},
            "destination": {"address": to.ip().to_string(), "port": SERVED, "endpoint": null},
            "identifier": null, "ingress": ingress, "age": row["age"], "idle": row["idle"],
        });
        assert_eq!(*row, expected);
        assert!(
            row["age"].as_u64() < Some(60) && row["idle"].as_u64() <= row["age"].as_u64(),
            "{row}"
        );
    }
    // a1's come before a2's, and of these IPv4 before IPv6.
    let order: Vec<(Value, bool)> = all["flows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| {
            let source = &row["source"];
            let address = source["address"].as_str().expect("an address");
            (source["endpoint"].clone(), address.contains(':'))
        })
        .collect();
    let expected = [(&a1, false), (&a1, true), (&a2, false), (&a2, true)];
    assert_eq!(order, expected.map(|(name, v6)| (json!(name), v6)));
    // Each has a second entry, by which its fragments are found; those that were read are not counted.
    for table in all["tables"].as_array().expect("tables") {
        let numbers = ["entries", "entered", "evicted"].map(|key| table[key].as_u64());
        assert_eq!(numbers, [4, 2, 0].map(Some), "{table}");
    }
    // What is there is not entered again: the programs know more of it.
    let known = |number: usize| entry(&lab, "A", open[number].key()).expect("entered");
    let before = [known(2), known(3)];
    lab.fast_path(false, "A", None);
    lab.fast_path(true, "A", None);
    assert_eq!([known(2), known(3)], before);
    let its = flows(&["--endpoint", &a2, "--side", "kernel"]);
    assert_eq!(its["flows"].as_array().map(Vec::len), Some(2), "{its}");
    // The other node's are b1's.
    let far = flows(&["--node", &lab.name("B"), "--endpoint", &lab.name("b1")]);
    assert_eq!(far["flows"].as_array().map(Vec::len), Some(0), "{far}");

    let table = stdout(&run_netpath(&["flows", "--node", &node, "-o", "wide"]));
    let (from, to) = open[3].key();
    let line = table.lines().find(|line| line.contains(&from.to_string()));
    let line: Vec<&str> = line
        .unwrap_or_else(|| panic!("{table}"))
        .split_whitespace()
        .collect();
    assert_eq!(
        line[..8],
        [
            &node,
            "kernel",
            "tcp",
            &from.to_string(),
            &a2,
            &to.to_string(),
            "-",
            "va2"
        ]
    );
    assert!(table.contains("EVICTED"), "{table}");

    is_refused(&["flows", "--side", "fast"], 2, "keeps no connections");
    is_refused(&["flows", "--endpoint", "nobody"], 1, "nobody");
    is_refused(&["flows", "--node", "nobody"], 1, "nobody");
}

#[test]
fn a_large_table_is_listed_whole() {
    const EACH: u32 = 20_000;
    let lab = Lab::up(ONE_NODE);
    let entry = |from_high: bool| ConnectionEntry {
        entered: 1,
        seen: 1,
        ingress: Ifindex(0),
        from_high: from_high.into(),
    };
    let [v4, v6] = addresses("a1");
    {
        let lock = TopologyLock::take(&AtomicBool::new(false)).expect("the lock");
        let datapath = lab.datapath("A");
        let writer = datapath.writer(&lock);
        let numbers =
            || (0..EACH).map(|number| (number.to_be_bytes(), (number % 60_000) as u16 + 1));
        match (v4, v6) {
            (IpAddr::V4(v4), IpAddr::V6(v6)) => {
                let of_v4 = numbers().map(|([_, a, b, c], port)| {
                    let far = ([10, a, b, c], 53);
                    let (key, from_high) = ConnectionKey::of((v4.octets(), port), far, 17);
                    (key, entry(from_high))
                });
                writer.connections_v4.set_many(of_v4).expect("write");
                let of_v6 = numbers().map(|([_, a, b, c], port)| {
                    let mut far = [0xfd; 16];
                    far[13..].copy_from_slice(&[a, b, c]);
                    let (key, from_high) = ConnectionKey::of((v6.octets(), port), (far, 53), 17);
                    (key, entry(from_high))
                });
                writer.connections_v6.set_many(of_v6).expect("write");
            }
            mixed => panic!("{mixed:?}"),
        }
    }
    let a1 = lab.name("a1");
    let document = flows(&["--endpoint", &a1]);
    let rows = document["flows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2 * EACH as usize);
    assert!(rows.iter().all(|row| row["source"]["endpoint"] == *a1));
    let table = stdout(&run_netpath(&["flows", "--endpoint", &a1]));
    let is_a_row = |line: &&str| line.contains("kernel");
    assert_eq!(table.lines().filter(is_a_row).count(), 2 * EACH as usize);
}
