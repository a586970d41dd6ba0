//! Nodes, and what changes about them: `show` and `up`.

use netpath_common::{EndpointId, Ifindex};
use serde_json::{Value, json};

use super::{SHOW, UP, conforms, value};
use crate::{
    api::{Changes, Status},
    finding,
    provision::{
        self, Action, EndpointStatus, FastPath, InterfaceStatus, NextHopStatus, NodeStatus, Object,
        RouteStatus, UplinkStatus,
    },
    reconcile,
};

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
