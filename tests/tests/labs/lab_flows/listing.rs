//! `netpath flows`.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::atomic::AtomicBool,
    time::Duration,
};

use netpath::{
    lock::TopologyLock,
    probe::frame::{FrameBuilder, ParsedFrame},
};
use netpath_common::{ConnectionEntry, ConnectionKey, Ifindex};
use netpath_tests::{
    between,
    command::{assert_ends, run_netpath, stdout},
    lab::{Deadline, Lab, ONE_NODE, addresses},
};
use serde_json::{Value, json};

use super::{
    ASKED, LONGEST, Open, SERVED, entry, fast_path_on, lab_with_the_kernels_path, service,
    translate,
};

const FLOWS: &str = include_str!("../../../../docs/schema/flows.json");

/// `netpath flows -j` with more arguments.
pub(super) fn flows(arguments: &[&str]) -> Value {
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
            ">",
            &to.to_string(),
            "va2"
        ]
    );
    assert!(table.contains("EVICTED"), "{table}");

    is_refused(&["flows", "--side", "fast"], 2, "keeps no connections");
    is_refused(&["flows", "--endpoint", "nobody"], 1, "nobody");
    is_refused(&["flows", "--node", "nobody"], 1, "nobody");
}

/// The identifier of an echo is where the programs look for it: they find the entry that was read.
#[test]
fn an_echo_that_is_translated_has_its_identifier() {
    const IDENTIFIER: u16 = 0x1234;
    let lab = lab_with_the_kernels_path();
    let (node, a1) = (lab.name("A"), lab.name("a1"));
    for (family, command, protocol, kinds) in [
        (0, "iptables", "icmp", [8, 0]),
        (1, "ip6tables", "icmpv6", [128, 129]),
    ] {
        let [client, asked, serves] =
            [addresses("a1"), service(), addresses("b1")].map(|it| it[family]);
        let rule =
            format!("-A PREROUTING -d {asked} -p {protocol} -j DNAT --to-destination {serves}");
        lab.run("A", &format!("{command} -w -t nat {rule}"));
        let record = lab.record("A", "a1");
        let injector = lab.injector("a1", "eth0");
        let mut capture = lab.capture("a1", "eth0");
        let mut echo = |sequence: u8| {
            let [high, low] = IDENTIFIER.to_be_bytes();
            let frame = FrameBuilder::new(record.endpoint_mac, record.host_mac);
            let frame = between(frame, client, asked).icmp(kinds[0], 0, [high, low, 0, sequence]);
            injector.send(&frame.build()).expect("send");
            let answer = |bytes: &[u8]| {
                let at = if family == 0 { 34 } else { 54 };
                bytes.get(at) == Some(&kinds[1])
                    && bytes.get(at + 4..at + 8) == Some(&[high, low, 0, sequence])
            };
            let deadline = Deadline::new();
            loop {
                let frame = capture.next(Duration::from_millis(100)).expect("capture");
                if let Some(frame) = frame.filter(|frame| answer(&frame.bytes)) {
                    return source_of(&frame.bytes);
                }
                deadline.check(|| format!("no answer from {asked}"));
            }
        };
        assert_eq!(echo(1), asked);
        fast_path_on(&lab);
        for sequence in [2, 3] {
            let all = flows(&["--node", &node]);
            let rows = all["flows"].as_array().expect("rows").iter();
            let its: Vec<&Value> = rows.filter(|row| row["protocol"] == protocol).collect();
            let [row] = its.as_slice() else {
                panic!("{all}");
            };
            assert_eq!(
                (&row["identifier"], &row["ingress"]),
                (&json!(IDENTIFIER), &Value::Null)
            );
            let ends = ["source", "destination"].map(|end| row[end].clone());
            let end = |address: IpAddr, endpoint: Value| json!({"address": address.to_string(), "port": null, "endpoint": endpoint});
            assert_eq!(ends, [end(client, json!(a1)), end(serves, Value::Null)]);
            let entered = all["tables"][family]["entered"].as_u64();
            assert_eq!(entered, Some(0), "the programs have made none: {all}");
            assert_eq!(echo(sequence), asked);
        }
        for node in ["A", "B"] {
            lab.fast_path(false, node, None);
        }
    }
}

/// The source of an IP packet behind an Ethernet header.
fn source_of(frame: &[u8]) -> IpAddr {
    let frame = ParsedFrame::parse(frame).expect("a frame");
    frame.ip().expect("a packet").source
}

#[test]
fn a_large_table_is_listed_whole() {
    const EACH: u32 = 20_000;
    let room = "[[node]]\nmax_connections = 65536\n";
    let lab = Lab::up(&ONE_NODE.replace("[[node]]\n", room));
    let entry = |from_high: bool| ConnectionEntry {
        entered: 1,
        seen: 1,
        ingress: Ifindex(0),
        from_high: from_high.into(),
        translated: 0,
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
    let is_a_row = |line: &&str| line.contains(" > ");
    assert_eq!(table.lines().filter(is_a_row).count(), 2 * EACH as usize);
}
