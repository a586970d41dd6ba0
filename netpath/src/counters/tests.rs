//! Naming, comparing, summing.

use std::collections::BTreeMap;

use netpath_common::{
    DropReason, EndpointId, HopCounter, HopKey, Ifindex, InterfaceEntry, InterfaceKind,
    InterfaceState, Outcome, PuntReason, Verdict, fixed,
};

use super::{names::Names, read::rows, *};

const VETH1: Ifindex = Ifindex(3);
const VETH2: Ifindex = Ifindex(4);
const UPLINK: Ifindex = Ifindex(2);
const GONE: Ifindex = Ifindex(9);

fn interfaces() -> BTreeMap<Ifindex, InterfaceEntry> {
    let entry = |kind: InterfaceKind, id, name: &str, endpoint: &str| InterfaceEntry {
        kind: kind as u32,
        state: InterfaceState::Ready as u32,
        endpoint_id: EndpointId(id),
        rp_filter: 0,
        punt_ingress: 0,
        punt_egress: 0,
        name: fixed(name).expect("fits"),
        endpoint: fixed(endpoint).expect("fits"),
    };
    BTreeMap::from([
        (UPLINK, entry(InterfaceKind::Uplink, 0, "enp2s0", "")),
        (
            VETH1,
            entry(InterfaceKind::Endpoint, 1, "np-demo01", "demo01"),
        ),
        (
            VETH2,
            entry(InterfaceKind::Endpoint, 2, "np-demo02", "demo02"),
        ),
    ])
}

fn named(keys: &[HopKey], overflow: &[HopKey]) -> Vec<HopRow> {
    let count = |keys: &[HopKey]| {
        keys.iter()
            .map(|&key| {
                let counter = HopCounter {
                    packets: 2,
                    bytes: 196,
                };
                (key, counter)
            })
            .collect()
    };
    let interfaces = interfaces();
    let names = Names::new(&interfaces);
    rows("node03", &names, &count(keys), &count(overflow)).expect("known outcomes")
}

fn one(ingress: Ifindex, egress: Ifindex, verdict: Verdict) -> (String, String, String) {
    let rows = named(&[HopKey::new(ingress, egress, verdict)], &[]);
    let [row] = rows.try_into().expect("one row");
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    (row.ingress, or_dash(row.egress), or_dash(row.endpoint))
}

fn expect(ingress: &str, egress: &str, endpoint: &str) -> (String, String, String) {
    (ingress.into(), egress.into(), endpoint.into())
}

#[test]
fn a_row_names_the_endpoint_that_the_packet_belongs_to() {
    let punt = Verdict::Punt(PuntReason::Arp);
    assert_eq!(
        one(VETH1, VETH2, Verdict::RedirectPeer),
        expect("np-demo01", "np-demo02", "demo01")
    );
    assert_eq!(
        one(VETH1, UPLINK, Verdict::RedirectNeigh),
        expect("np-demo01", "enp2s0", "demo01")
    );
    assert_eq!(
        one(VETH1, Ifindex(0), punt),
        expect("np-demo01", "-", "demo01")
    );
    assert_eq!(
        one(UPLINK, VETH2, Verdict::RedirectPeer),
        expect("enp2s0", "np-demo02", "demo02")
    );
    assert_eq!(one(UPLINK, Ifindex(0), punt), expect("enp2s0", "-", "-"));
    assert_eq!(
        one(VETH1, VETH2, Verdict::Deliver),
        expect("np-demo01", "np-demo02", "demo02")
    );
    assert_eq!(
        one(Ifindex(0), VETH2, Verdict::Deliver),
        expect("local", "np-demo02", "demo02")
    );
    assert_eq!(
        one(GONE, VETH2, Verdict::Deliver),
        expect("if9", "np-demo02", "demo02")
    );
    assert_eq!(one(GONE, Ifindex(0), punt), expect("if9", "-", "-"));
}

#[test]
fn rows_serialize_as_the_contract_says() {
    let keys = [
        HopKey::new(VETH1, VETH2, Verdict::RedirectPeer),
        HopKey::new(VETH1, Ifindex(0), Verdict::Drop(DropReason::Spoofed)),
    ];
    let json = serde_json::to_string(&named(&keys, &[])).expect("serializes");
    assert_eq!(
        json,
        r#"[{"node":"node03","ingress":"np-demo01","egress":null,"endpoint":"demo01","outcome":"drop","reason":"spoofed","packets":2,"bytes":196},"#
            .to_owned()
            + r#"{"node":"node03","ingress":"np-demo01","egress":"np-demo02","endpoint":"demo01","outcome":"redirect_peer","reason":null,"packets":2,"bytes":196}]"#
    );
}

#[test]
fn overflow_is_told_apart() {
    let key = HopKey::new(Ifindex(0), Ifindex(0), Verdict::Punt(PuntReason::NoRoute));
    let rows = named(&[HopKey::new(VETH1, VETH2, Verdict::RedirectPeer)], &[key]);
    let overflow: Vec<_> = rows.iter().filter(|row| row.is_overflow()).collect();
    assert_eq!(overflow.len(), 1);
    assert_eq!(overflow[0].reason, Some(Reason::Punt(PuntReason::NoRoute)));
    assert_eq!(overflow[0].ingress, "(overflow)");
}

#[test]
fn numbers_of_a_newer_version() {
    assert_eq!(
        Reason::of(Outcome::Punt, 199),
        Some(Reason::Unknown(199)),
        "a new reason is shown by its number"
    );
    assert_eq!(Reason::Unknown(199).to_string(), "reason_199");
    let key = HopKey {
        outcome: 77,
        ..HopKey::default()
    };
    let hops = BTreeMap::from([(key, HopCounter::default())]);
    let interfaces = interfaces();
    let error = rows("n", &Names::new(&interfaces), &hops, &BTreeMap::new());
    assert!(matches!(
        error,
        Err(CountersError::UnknownOutcome { number: 77, .. })
    ));
}

#[test]
fn a_difference_has_exactly_what_moved() {
    let keys = [
        HopKey::new(VETH1, VETH2, Verdict::RedirectPeer),
        HopKey::new(VETH2, VETH1, Verdict::RedirectPeer),
    ];
    let before = named(&keys[..1], &[]);
    let mut after = named(&keys, &[]);
    assert_eq!(difference(&after, &after), []);

    let moved = difference(&before, &after);
    assert_eq!(moved.len(), 1);
    assert_eq!(moved[0].ingress, "np-demo02");
    assert_eq!((moved[0].packets, moved[0].bytes), (2, 196));

    after[0].packets = 5;
    after[0].bytes = 500;
    let moved = difference(&before, &after);
    assert_eq!((moved[0].packets, moved[0].bytes), (3, 304));

    after[0].packets = 1;
    after[0].bytes = 98;
    let moved = difference(&before, &after);
    assert_eq!((moved[0].packets, moved[0].bytes), (1, 98), "began again");
    assert_eq!(difference(&after, &[]), [], "forgotten");
}

#[test]
fn totals_follow_the_law_and_leave_out_deliveries() {
    let rows = named(
        &[
            HopKey::new(VETH1, VETH2, Verdict::RedirectPeer),
            HopKey::new(VETH1, UPLINK, Verdict::RedirectNeigh),
            HopKey::new(VETH1, Ifindex(0), Verdict::Punt(PuntReason::Arp)),
            HopKey::new(VETH1, Ifindex(0), Verdict::Drop(DropReason::Spoofed)),
            HopKey::new(VETH1, VETH2, Verdict::Deliver),
            HopKey::new(Ifindex(0), VETH2, Verdict::Deliver),
        ],
        &[],
    );
    let totals = totals(&rows);
    assert_eq!(
        totals,
        [InterfaceTotals {
            node: "node03".to_owned(),
            interface: "np-demo01".to_owned(),
            packets_in: 8,
            redirected: 4,
            punted: 2,
            dropped: 2,
        }]
    );
    assert_eq!(totals[0].check(8), Ok(()));
    let error = totals[0].check(9).expect_err("one is missing");
    assert_eq!(
        error.to_string(),
        "np-demo01 on node03: 9 packets came in, and 8 are counted (4 redirected, 2 punted, 2 dropped)"
    );
}

/// Demo01 sends to demo02, out of the uplink and what is punted and dropped; both get from the uplink, and from the kernel.
fn counters() -> Counters {
    let rows = named(
        &[
            HopKey::new(VETH1, VETH2, Verdict::RedirectPeer),
            HopKey::new(VETH1, UPLINK, Verdict::RedirectNeigh),
            HopKey::new(VETH1, Ifindex(0), Verdict::Punt(PuntReason::Arp)),
            HopKey::new(VETH1, Ifindex(0), Verdict::Drop(DropReason::Spoofed)),
            HopKey::new(UPLINK, VETH2, Verdict::RedirectPeer),
            HopKey::new(UPLINK, Ifindex(0), Verdict::Punt(PuntReason::Arp)),
            HopKey::new(Ifindex(0), VETH1, Verdict::Deliver),
        ],
        &[],
    );
    let endpoints = ["1", "2"].map(|number| {
        let dev = format!("np-demo0{number}");
        (("node03".to_owned(), dev), format!("demo0{number}"))
    });
    Counters {
        rows,
        endpoints: endpoints.into(),
        unread: Vec::new(),
    }
}

/// Each row is of two packets: name, sent, redirected, punted, dropped, got.
fn groups(by: GroupBy) -> Vec<(String, [u64; 5])> {
    let counters = counters();
    let groups = counters.groups(&counters.rows, by).into_iter();
    let words = |group: &Group| {
        let reason = group.reason.map(|reason| reason.to_string());
        let outcome = group.outcome.map(|outcome| outcome.name().to_owned());
        [group.name.clone(), outcome, reason]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ")
    };
    groups
        .map(|group| {
            assert_eq!(group.from.bytes, 98 * group.from.packets);
            assert_eq!(group.to.bytes, 98 * group.to.packets);
            let Group {
                redirected,
                punted,
                dropped,
                ..
            } = group;
            let counts = [
                group.from.packets,
                redirected,
                punted,
                dropped,
                group.to.packets,
            ];
            (words(&group), counts)
        })
        .collect()
}

#[test]
fn hops_sum_up_by_interface_endpoint_and_reason() {
    let expected = [
        ("enp2s0", [4, 2, 2, 0, 2]),
        ("np-demo01", [8, 4, 2, 2, 2]),
        ("np-demo02", [0, 0, 0, 0, 4]),
    ];
    assert_eq!(
        groups(GroupBy::Interface),
        expected.map(|(name, counts)| (name.to_owned(), counts))
    );
    let expected = [("demo01", [8, 4, 2, 2, 2]), ("demo02", [0, 0, 0, 0, 4])];
    assert_eq!(
        groups(GroupBy::Endpoint),
        expected.map(|(name, counts)| (name.to_owned(), counts))
    );
    let expected = [
        ("redirect_peer", [4, 4, 0, 0, 0]),
        ("redirect_neigh", [2, 2, 0, 0, 0]),
        ("punt arp", [4, 0, 4, 0, 0]),
        ("drop spoofed", [2, 0, 0, 2, 0]),
        ("deliver", [2, 0, 0, 0, 0]),
    ];
    assert_eq!(
        groups(GroupBy::Reason),
        expected.map(|(name, counts)| (name.to_owned(), counts))
    );
}

#[test]
fn an_endpoints_rows_are_what_it_sent_and_got() {
    let mut counters = counters();
    assert!(counters.knows_endpoint("demo02") && !counters.knows_endpoint("demo03"));
    counters.retain_endpoint("demo02");
    let left: Vec<_> = counters
        .rows
        .iter()
        .map(|row| (&*row.ingress, row.outcome))
        .collect();
    assert_eq!(
        left,
        [
            ("enp2s0", Outcome::RedirectPeer),
            ("np-demo01", Outcome::RedirectPeer)
        ]
    );
}
