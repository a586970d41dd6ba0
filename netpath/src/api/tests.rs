//! The documents and their schemas.

use jsonschema::Validator;
use netpath_common::{EndpointId, Family, Ifindex, Outcome, PuntReason};
use serde::Serialize;
use serde_json::{Value, json};

use super::*;
use crate::{
    counters::{Counters, GroupBy, HopRow, Reason},
    doctor, explain, finding, flows, kernel_way,
    provision::{
        self, Action, EndpointStatus, FastPath, InterfaceStatus, NextHopStatus, NodeStatus, Object,
        RouteStatus, UplinkStatus,
    },
    reconcile,
};

const STATS: &str = include_str!("../../../docs/schema/stats.json");
const AUDIT: &str = include_str!("../../../docs/schema/audit.json");
const FLOWS: &str = include_str!("../../../docs/schema/flows.json");
const EXPLAIN: &str = include_str!("../../../docs/schema/explain.json");
const SHOW: &str = include_str!("../../../docs/schema/show.json");
const DOCTOR: &str = include_str!("../../../docs/schema/doctor.json");
const TRACE: &str = include_str!("../../../docs/schema/trace.json");
const UP: &str = include_str!("../../../docs/schema/up.json");

fn validator(schema: &str) -> Validator {
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    jsonschema::draft202012::meta::validate(&schema).expect("the schema is one");
    jsonschema::draft202012::new(&schema).expect("the schema is usable")
}

fn value(document: &impl Serialize) -> Value {
    serde_json::to_value(document).expect("serializes")
}

/// The document is of its schema, and would not be with a key more, with one less, or of another version.
fn conforms(schema: &str, document: &Value) {
    let validator = validator(schema);
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| error.to_string())
        .collect();
    assert_eq!(errors, Vec::<String>::new(), "{document}");

    for (path, object) in objects("", document) {
        let mut more = document.clone();
        more.pointer_mut(&path).expect("it is there")["unheard_of"] = json!(1);
        assert!(!validator.is_valid(&more), "with a key more in {path:?}");
        for key in object {
            let mut less = document.clone();
            let place = less.pointer_mut(&path).expect("it is there");
            place.as_object_mut().expect("an object").remove(&key);
            assert!(!validator.is_valid(&less), "without {key} in {path:?}");
        }
    }
    let mut newer = document.clone();
    newer["version"] = json!(document["version"].as_u64().map(|version| version + 1));
    assert!(!validator.is_valid(&newer), "of another version");
}

/// The JSON pointer and the keys of every object within a value.
fn objects(path: &str, value: &Value) -> Vec<(String, Vec<String>)> {
    match value {
        Value::Object(map) => {
            let mut found = vec![(path.to_owned(), map.keys().cloned().collect())];
            for (key, value) in map {
                found.extend(objects(&format!("{path}/{key}"), value));
            }
            found
        }
        Value::Array(values) => values
            .iter()
            .enumerate()
            .flat_map(|(index, value)| objects(&format!("{path}/{index}"), value))
            .collect(),
        _ => Vec::new(),
    }
}

fn row(outcome: Outcome, reason: Option<Reason>) -> HopRow {
    HopRow {
        node: "node03".into(),
        ingress: "np-demo01".into(),
        egress: None,
        endpoint: Some("demo01".into()),
        outcome,
        reason,
        packets: 2,
        bytes: 84,
    }
}

#[test]
fn counters_are_of_their_schema() {
    let arp = row(Outcome::Punt, Some(Reason::Punt(PuntReason::Arp)));
    let rows = [
        Outcome::RedirectPeer,
        Outcome::RedirectNeigh,
        Outcome::Deliver,
    ]
    .map(|outcome| HopRow {
        egress: Some("np-demo02".into()),
        endpoint: None,
        ..row(outcome, None)
    });
    let newer = row(Outcome::Drop, Some(Reason::Unknown(77)));
    let rows: Vec<HopRow> = rows.into_iter().chain([arp.clone(), newer]).collect();
    conforms(STATS, &value(&Hops::from(&rows[..])));
    assert_eq!(
        serde_json::to_string(&Hops::from(&[arp][..])).expect("serializes"),
        r#"{"hops":[{"node":"node03","ingress":"np-demo01","egress":null,"endpoint":"demo01","outcome":"punt","reason":"arp","packets":2,"bytes":84}],"version":1}"#
    );
}

#[test]
fn rates_are_of_their_schema() {
    let rates = Rates {
        hops: vec![Rate {
            hop: Hop::from(&row(Outcome::RedirectPeer, None)),
            packets_per_second: 0.7,
            bytes_per_second: 28.0,
        }],
        seconds: 3.0,
        version: Hops::VERSION,
    };
    conforms(STATS, &value(&rates));
}

#[test]
fn sums_are_of_their_schema() {
    let rows = [
        row(Outcome::Punt, Some(Reason::Punt(PuntReason::Arp))),
        HopRow {
            egress: Some("np-demo02".into()),
            ..row(Outcome::RedirectPeer, None)
        },
    ];
    let counters = Counters {
        endpoints: [(("node03".into(), "np-demo01".into()), "demo01".into())].into(),
        ..Counters::default()
    };
    for by in [GroupBy::Interface, GroupBy::Endpoint, GroupBy::Reason] {
        let groups = counters.groups(&rows, by);
        assert!(!groups.is_empty(), "{by:?}");
        conforms(STATS, &value(&Groups::new(by, &groups, None)));
        conforms(STATS, &value(&Groups::new(by, &groups, Some(1.5))));
    }
    let groups = counters.groups(&rows, GroupBy::Endpoint);
    assert_eq!(
        serde_json::to_string(&Groups::new(GroupBy::Endpoint, &groups, None)).expect("serializes"),
        r#"{"by":"endpoint","groups":[{"node":"node03","name":"demo01","outcome":null,"reason":null,"from":{"packets":4,"bytes":168},"redirected":2,"punted":2,"dropped":0,"to":{"packets":0,"bytes":0}}],"seconds":null,"version":1}"#
    );
}

#[test]
fn connections_are_of_their_schema() {
    let end = |address: &str, port, endpoint: Option<&str>| flows::End {
        address: address.parse().expect("valid"),
        port,
        endpoint: endpoint.map(str::to_owned),
    };
    let seconds = std::time::Duration::from_secs;
    let tcp = flows::Flow {
        node: "node03".into(),
        side: flows::Side::Kernel,
        protocol: 6,
        source: end("10.0.1.2", Some(40_000), Some("demo01")),
        destination: end("10.0.3.2", Some(80), None),
        identifier: None,
        ingress: Some("np-demo01".into()),
        age: seconds(61),
        idle: seconds(2),
    };
    let echo = flows::Flow {
        side: flows::Side::Fast,
        protocol: 58,
        source: end("fd00:1::2", None, None),
        destination: end("fd00:3::2", None, None),
        identifier: Some(77),
        ingress: None,
        ..tcp.clone()
    };
    let unnamed = flows::Flow {
        protocol: 253,
        identifier: None,
        ..echo.clone()
    };
    let tables = Family::ALL.map(|family| flows::FlowTable {
        node: "node03".into(),
        family,
        entries: 2,
        room: 65_536,
        entered: 5,
        evicted: 3,
    });
    let found = flows::Flows {
        flows: vec![tcp, echo, unnamed],
        tables: tables.into(),
        ..flows::Flows::default()
    };
    let document = value(&Flows::from(&found));
    conforms(FLOWS, &document);
    let expected = json!({
        "node": "node03", "side": "kernel", "protocol": "tcp", "protocol_number": 6,
        "source": {"address": "10.0.1.2", "port": 40_000, "endpoint": "demo01"},
        "destination": {"address": "10.0.3.2", "port": 80, "endpoint": null},
        "identifier": null, "ingress": "np-demo01", "age": 61, "idle": 2
    });
    assert_eq!(document["flows"][0], expected);
    assert_eq!(document["flows"][2]["protocol"], "253");
    let table = json!({
        "node": "node03", "family": "ipv6", "entries": 2, "room": 65_536, "entered": 5, "evicted": 3
    });
    assert_eq!(document["tables"][1], table);
}

#[test]
fn traces_are_of_their_schema() {
    let step = |what, outcome, rewritten: Option<[&str; 2]>| TraceStep {
        nanoseconds: 1_200,
        processor: 1,
        place: "node03".into(),
        interface: Some("vethhost01".into()),
        what,
        outcome,
        egress: outcome.map(|_| "enp2s0".into()),
        reason: None,
        function: (what == "dropped").then(|| "nf_hook_slow".into()),
        callers: vec!["ip_forward".into()],
        rewritten: rewritten.map(|ends| ends.map(str::to_owned)),
        ttl: Some(63),
        mark: 0,
        copy: 0,
    };
    let dropped = TracedPacket {
        direction: "there",
        protocol: "icmp".into(),
        protocol_number: 1,
        source: "10.0.1.2".into(),
        destination: "10.0.2.2".into(),
        source_port: None,
        destination_port: None,
        icmp_type: Some(8),
        icmp_code: Some(0),
        ttl: 64,
        length: 84,
        outcome: "dropped",
        place: "node03".into(),
        interface: Some("vethhost01".into()),
        why: Some("the packet filter dropped it in FORWARD".into()),
        cure: Some("accept it".into()),
        nanoseconds: 1_200,
        steps: vec![
            step("received", None, None),
            step("decided", Some("redirect_neigh"), None),
            step("dropped", None, Some(["10.0.1.2", "10.0.2.3"])),
        ],
        version: Trace::VERSION,
    };
    let arrived = TracedPacket {
        protocol: "udp".into(),
        protocol_number: 17,
        source_port: Some(40_000),
        destination_port: Some(53),
        icmp_type: None,
        icmp_code: None,
        outcome: "arrived",
        why: None,
        cure: None,
        interface: None,
        ..dropped.clone()
    };
    let document = value(&Trace {
        packets: vec![dropped, arrived],
        refused: vec!["probe 1: Network is unreachable".into()],
        notes: vec!["this kernel has no tracepoint consume_skb".into()],
        lost: 3,
        version: Trace::VERSION,
    });
    conforms(TRACE, &document);
}

fn drift() -> finding::Finding {
    reconcile::Drift::InterfaceDown("np-demo01".into())
        .finding(Object::Endpoint.told("demo01", "node03"))
}

#[test]
fn status_is_of_its_schema() {
    let interface = |fast_path| InterfaceStatus {
        kernel: vec!["shaped"],
        dev: "np-demo01".into(),
        ifindex: Ifindex(3),
        mac: "02:00:00:00:00:0a".into(),
        mtu: Some(1500),
        fast_path,
    };
    let node = NodeStatus {
        name: "node03".into(),
        netns: "host".into(),
        directory: "/sys/fs/bpf/netpath/node03".into(),
        attach_mode: "tcx",
        fast_path: FastPath::Partly,
        uplinks: [Some("lan".to_owned()), None]
            .map(|wire| UplinkStatus {
                interface: interface(FastPath::On),
                addresses: vec!["100.100.198.250/24".parse().expect("valid")],
                wire,
                made: true,
                drift: Vec::new(),
            })
            .into(),
        routes: vec![RouteStatus {
            kernel: Vec::new(),
            dst: "10.0.3.0/24".parse().expect("valid"),
            via: Some("fd00:198::253".parse().expect("valid")),
            dev: None,
            next_hops: vec![
                NextHopStatus {
                    via: Some("fd00:198::9".parse().expect("valid")),
                    dev: Some("up0".into()),
                },
                NextHopStatus {
                    via: None,
                    dev: None,
                },
            ],
            made: false,
        }],
        endpoints: vec![EndpointStatus {
            name: "demo01".into(),
            origin: "cni",
            netns: "/proc/7/ns/net".into(),
            id: EndpointId(7),
            dev: "eth0".into(),
            mac: "02:00:00:00:00:02".into(),
            interface: interface(FastPath::Off),
            addresses: vec!["fd00:1::2/64".parse().expect("valid")],
            prefixes: vec!["10.9.0.0/28".parse().expect("valid")],
            drift: vec![drift()],
        }],
        drift: Vec::new(),
    };
    let unreadable = NodeStatus {
        netns: String::new(),
        fast_path: FastPath::Unknown,
        uplinks: Vec::new(),
        routes: Vec::new(),
        endpoints: Vec::new(),
        drift: vec![drift()],
        ..node.clone()
    };
    conforms(SHOW, &value(&Status::from(&[unreadable][..])));
    let document = value(&Status::from(&[node][..]));
    conforms(SHOW, &document);
    let uplink = |wire: Value| {
        json!({
            "dev": "np-demo01", "ifindex": 3, "mac": "02:00:00:00:00:0a", "mtu": 1500, "fast_path": "on",
            "kernel": ["shaped"], "addresses": ["100.100.198.250/24"], "wire": wire, "made": true, "drift": []
        })
    };
    let expected = json!({
        "nodes": [{
            "name": "node03",
            "netns": "host",
            "directory": "/sys/fs/bpf/netpath/node03",
            "attach_mode": "tcx",
            "fast_path": "partly",
            "uplinks": [uplink(json!("lan")), uplink(Value::Null)],
            "routes": [{
                "dst": "10.0.3.0/24", "via": "fd00:198::253", "dev": null,
                "next_hops": [{"via": "fd00:198::9", "dev": "up0"}, {"via": null, "dev": null}],
                "made": false, "kernel": []
            }],
            "endpoints": [{
                "name": "demo01", "origin": "cni", "netns": "/proc/7/ns/net", "id": 7, "dev": "eth0", "mac": "02:00:00:00:00:02",
                "host": {
                    "dev": "np-demo01", "ifindex": 3, "mac": "02:00:00:00:00:0a", "mtu": 1500, "fast_path": "off",
                    "kernel": ["shaped"]
                },
                "addresses": ["fd00:1::2/64"],
                "prefixes": ["10.9.0.0/28"],
                "drift": [{
                    "id": "interface_down", "object": "endpoint demo01 on node03",
                    "problem": "interface np-demo01 is down", "cure": "`netpath up` mends it"
                }]
            }],
            "drift": []
        }],
        "version": 2
    });
    assert_eq!(document, expected);
}

#[test]
fn a_diagnosis_is_of_its_schema() {
    let mut seen = doctor::Seen {
        machine: doctor::Machine {
            release: "6.18.0".into(),
            attach_mode: Some("tcx"),
            jit: Some(0),
            jit_harden: Some(2),
            ..doctor::Machine::default()
        },
        ..doctor::Seen::default()
    };
    seen.unseen.insert(doctor::Part::Nodes, "lacks".into());
    let fixed = provision::Change {
        action: Action::Update,
        object: Object::Node,
        node: "node03".into(),
        name: "node03".into(),
        detail: String::new(),
    };
    let document = value(&Diagnosis::new(&doctor::judge(&seen), &[fixed]));
    conforms(DOCTOR, &document);
    assert_eq!(document["healthy"], json!(false));
    assert_eq!(document["kernel"], json!("Linux 6.18.0, tcx"));
    let states: Vec<&Value> = document["checks"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|check| &check["state"])
        .collect();
    assert_eq!(states[..3], [&json!("ok"), &json!("fault"), &json!("ok")]);
    assert!(states.contains(&&json!("unseen")));
    assert_eq!(
        document["checks"][1]["found"][1],
        json!({
            "id": "jit_hardened", "level": "note", "object": "this machine",
            "problem": "net.core.bpf_jit_harden is 2: programs are slower",
            "why": "The kernel hides the constants of all BPF programs, root's too (`bpf_jit_harden`): each packet costs more.",
            "cure": "leave it where it is meant so; `sysctl -w net.core.bpf_jit_harden=1` hides only those of users without rights",
            "fixable": false
        })
    );
}

#[test]
fn changes_are_of_their_schema() {
    let objects = [
        Object::Node,
        Object::Uplink,
        Object::Route,
        Object::Endpoint,
        Object::FastPath,
    ];
    let actions = [Action::Create, Action::Update, Action::Remove];
    let changes: Vec<provision::Change> = objects
        .into_iter()
        .zip(actions.into_iter().cycle())
        .map(|(object, action)| provision::Change {
            action,
            object,
            node: "node03".into(),
            name: "demo01".into(),
            detail: String::new(),
        })
        .collect();
    let document = value(&Changes::new(&changes, false));
    conforms(UP, &document);
    conforms(UP, &value(&Changes::new(&changes, true)));
    let words = |key: &str| -> Vec<&str> {
        let changes = document["changes"].as_array().expect("a list");
        changes
            .iter()
            .filter_map(|change| change[key].as_str())
            .collect()
    };
    assert_eq!(
        words("object"),
        ["node", "uplink", "route", "endpoint", "fast_path"]
    );
    assert_eq!(words("action")[..3], ["create", "update", "remove"]);
    assert_eq!((words("node")[0], words("name")[0]), ("node03", "demo01"));
}

/// A way with something in every place.
fn explained() -> explain::Explanation {
    let packet = kernel_way::Packet {
        source: "10.0.1.2".parse().expect("an address"),
        destination: "10.0.3.2".parse().expect("an address"),
        transport: kernel_way::Transport::Udp {
            source_port: 7,
            destination_port: 9,
        },
        ttl: 64,
        tos: 0,
        length: 28,
        dont_fragment: false,
        mark: 0,
        flow_label: 0,
    };
    let hop = explain::Hop {
        kind: explain::PlaceKind::Node,
        name: "node03".to_owned(),
        netns: Some("/run/netns/node03".into()),
        ingress: Some("vethhost01".to_owned()),
        by: explain::By::FastPath,
        steps: vec![explain::Step {
            what: "source".to_owned(),
            text: "10.0.1.2 is demo01's, by its address".to_owned(),
            effect: explain::Effect::Passes,
        }],
        outcome: "redirected out of enp2s0 to 100.100.198.253".to_owned(),
        egress: Some("enp2s0".to_owned()),
        packet: packet.clone(),
        kernel: Some(explain::Comparison {
            agrees: true,
            text: "leaves by enp2s0".to_owned(),
        }),
    };
    let way = |end| explain::Way {
        packet: packet.clone(),
        hops: vec![hop.clone()],
        end,
        arrives: explain::Arrives::May,
        unknown: vec![kernel_way::Unknown {
            what: "limit".to_owned(),
            rule: None,
        }],
    };
    explain::Explanation {
        there: way(explain::WayEnd::Delivered {
            place: "demo03".to_owned(),
            packet: packet.clone(),
            is_wanted: true,
        }),
        back: Some(way(explain::WayEnd::Leaves {
            place: "node03".to_owned(),
            dev: "enp2s0".to_owned(),
            next_hop: Some("100.100.198.253".parse().expect("an address")),
            mac: None,
            packet: packet.clone(),
        })),
        arrives: explain::Arrives::May,
        verdict: "the packet may arrive".to_owned(),
        finding: Some(
            explain::Obstacle::NoRoute
                .kind()
                .found("node02", "no route", "add it"),
        ),
        unread: vec!["node07: unreadable".to_owned()],
    }
}

#[test]
fn explanations() {
    let document = value(&Explanation::from(&explained()));
    conforms(EXPLAIN, &document);
    let alone = explain::Explanation {
        back: None,
        finding: None,
        arrives: explain::Arrives::Yes,
        ..explained()
    };
    let document = value(&Explanation::from(&alone));
    conforms(EXPLAIN, &document);
    assert_eq!(document["arrives"], "yes");
    assert_eq!(document["back"], Value::Null);
}

#[test]
fn what_is_audited_conforms() {
    use crate::{
        audit::{Act, Compared, Comparison, Group, Item, ItemKind, Met, Spared},
        model::NodePlace,
        netfilter,
        provision::{AuditedNode, FastPathMode},
    };
    let item = |kind, group, count: Option<netfilter::Count>| Item {
        kind,
        group,
        place: "ip filter FORWARD".to_owned(),
        handle: count.map(|_| 7),
        text: "-j DROP".to_owned(),
        acts: vec![Act::Drop, Act::Log],
        why: String::new(),
        count,
        reason: Some(netpath_common::PuntReason::Rules),
        may_drop: false,
    };
    let count = netfilter::Count {
        packets: 3,
        bytes: 252,
    };
    let node = AuditedNode {
        name: "n".to_owned(),
        place: NodePlace::Host,
        fast_path: Some(FastPathMode::Shadow),
        has_shadow: false,
        items: vec![
            item(ItemKind::Rule, Group::Changes, Some(count)),
            item(ItemKind::Unread, Group::Unknown, None),
        ],
    };
    let mut document = Audit::new(std::slice::from_ref(&node));
    conforms(AUDIT, &serde_json::to_value(&document).expect("JSON"));
    let compared = Comparison {
        hops: vec![Compared {
            ingress: None,
            egress: "up0".to_owned(),
            would: 3,
            happened: 2,
        }],
        spared: vec![Spared {
            ingress: "va1".to_owned(),
            reason: "shadow_spoofed",
            packets: 1,
        }],
        met: vec![Met {
            rule: "ip filter FORWARD: policy DROP".to_owned(),
            acts: vec![Act::Drop],
            packets: 1,
        }],
    };
    document.nodes[0].shadow = Some(AuditedShadow::new(&compared, 2.5));
    conforms(AUDIT, &serde_json::to_value(&document).expect("JSON"));
    assert!(document.nodes[0].changes_behaviour);
    let shadow = document.nodes[0].shadow.as_ref().expect("compared");
    assert!(!shadow.agrees && !shadow.hops[0].agrees);
}
