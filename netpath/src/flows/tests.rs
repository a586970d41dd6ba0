use netpath_common::{ConnectionEntry, ConnectionKey, Ifindex};

use super::{
    Flow,
    read::{filled, flow, identified},
};

const NOW: u64 = 100_000_000_000;

fn entry(from_high: bool) -> ConnectionEntry {
    ConnectionEntry {
        entered: 40_000_000_000,
        seen: 98_000_000_000,
        ingress: Ifindex(7),
        from_high: from_high.into(),
        translated: 0,
    }
}

fn of(source: ([u8; 4], u16), destination: ([u8; 4], u16), protocol: u8) -> Option<Flow> {
    let (key, from_high) = ConnectionKey::of(source, destination, protocol);
    flow("node03", &key, &entry(from_high), NOW)
}

#[test]
fn a_connection_goes_the_way_of_its_first_packet() {
    let (client, server) = (([10, 0, 2, 2], 40_000), ([10, 0, 1, 2], 80));
    for (from, to) in [(client, server), (server, client)] {
        let flow = of(from, to, 6).expect("listed");
        assert_eq!(
            (flow.source.address, flow.source.port),
            (from.0.into(), Some(from.1))
        );
        assert_eq!(
            (flow.destination.address, flow.destination.port),
            (to.0.into(), Some(to.1))
        );
        assert_eq!((flow.age.as_secs(), flow.idle.as_secs()), (60, 2));
        assert_eq!(flow.identifier, None);
    }
}

#[test]
fn what_only_fragments_are_found_by_is_not_listed() {
    let (a, b) = ([10, 0, 1, 2], [10, 0, 2, 2]);
    for protocol in [6, 17, 33, 132, 136] {
        assert_eq!(of((a, 0), (b, 0), protocol), None, "{protocol}");
        assert!(of((a, 0), (b, 1), protocol).is_some(), "{protocol}");
    }
    // Of what has no ports there is no other.
    let gre = of((a, 0), (b, 0), 47).expect("listed");
    assert_eq!((gre.source.port, gre.identifier), (None, None));
    // What no program enters.
    let (mut key, _) = ConnectionKey::of((a, 1), (b, 2), 6);
    key.protocol = 256;
    assert_eq!(flow("node03", &key, &entry(false), NOW), None);
}

#[test]
fn an_echo_has_an_identifier_and_no_ports() {
    let echo = of(([10, 0, 1, 2], 77), ([10, 0, 2, 2], 77), 1).expect("listed");
    assert_eq!((echo.source.port, echo.destination.port), (None, None));
    assert_eq!(echo.identifier, Some(77));
    // Its fragments' entry is that of messages without one, too.
    let keys = [(77, 1), (0, 1), (0, 47)].map(|(identifier, protocol)| {
        let ends = [[10, 0, 1, 2], [10, 0, 2, 2]].map(|end| (end, identifier));
        ConnectionKey::of(ends[0], ends[1], protocol).0
    });
    assert_eq!(Vec::from_iter(identified(keys.iter())), [keys[1]]);
    assert!(identified(keys[1..].iter()).is_empty());
}

#[test]
fn a_clock_that_is_behind_makes_nothing_older() {
    let (key, _) = ConnectionKey::of(([10, 0, 1, 2], 1), ([10, 0, 2, 2], 2), 17);
    let flow = flow("node03", &key, &entry(false), 0).expect("listed");
    assert_eq!((flow.age.as_secs(), flow.idle.as_secs()), (0, 0));
}

#[test]
fn rows_are_in_the_order_of_endpoints_and_addresses() {
    let mut flows: Vec<Flow> = [(3, 1), (2, 9), (1, 4)]
        .into_iter()
        .map(|(from, to)| of(([10, 0, 0, from], 1), ([10, 0, 0, to], 2), 17).expect("listed"))
        .collect();
    flows[0].destination.endpoint = Some("a".into());
    flows[1].source.endpoint = Some("b".into());
    flows.reverse();
    flows.sort_by(|a, b| a.order().cmp(&b.order()));
    let order: Vec<u8> = flows
        .iter()
        .map(|flow| match flow.source.address {
            std::net::IpAddr::V4(v4) => v4.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        })
        .collect();
    assert_eq!(order, [3, 2, 1], "who has no endpoint is last");
}

#[test]
fn what_was_read_from_the_kernel_is_not_taken_for_what_the_programs_made() {
    let ends = |port| ConnectionKey::of(([10, 0, 1, 2], port), ([10, 0, 2, 2], 80), 6).0;
    let read = ConnectionEntry {
        ingress: Ifindex(0),
        ..entry(false)
    };
    let entries = [(1, entry(false)), (2, read), (3, read)];
    let entries = entries.map(|(port, entry)| (ends(port), entry)).into();
    assert_eq!(filled(&entries), (3, 1));
}
