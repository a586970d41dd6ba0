//! What is counted: `stats` and `flows`.

use netpath_common::{Family, Outcome, PuntReason};
use serde_json::json;

use super::{FLOWS, STATS, conforms, value};
use crate::{
    api::{Flows, Groups, Hop, Hops, Rate, Rates},
    counters::{Counters, GroupBy, HopRow, Reason},
    flows,
};

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
