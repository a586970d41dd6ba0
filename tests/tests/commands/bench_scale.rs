//! `netpath bench scale --quick`: the document is complete and agrees with itself. No time is asserted.

use std::collections::BTreeSet;

use netpath_bench::{
    Family, Path, Reach,
    scale::{ChangeKind, PacketKind, ScaleResults, Size},
};
use netpath_tests::{kernel, netpath};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const SIZES: [Size; 2] = [
    Size {
        endpoints: 10,
        routes: 10,
    },
    Size {
        endpoints: 1_000,
        routes: 10_000,
    },
];

/// All pairs.
fn product<A: Copy + Ord, B: Copy + Ord>(a: &[A], b: &[B]) -> BTreeSet<(A, B)> {
    a.iter()
        .flat_map(|&a| b.iter().map(move |&b| (a, b)))
        .collect()
}

#[test]
fn a_quick_run_is_complete_and_leaves_nothing() {
    let child = netpath(&["bench", "scale", "--quick", "-j", "--seed", "7"])
        .spawn()
        .expect("netpath starts");
    let pid = child.id();
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(!stderr.contains("lives on"), "{stderr}");
    let found: ScaleResults = serde_json::from_slice(&output.stdout).expect("the document");

    assert_eq!((found.schema, found.settings.seed), (1, 7));
    assert!(found.settings.quick);
    let rounds: Vec<u32> = (0..found.settings.rounds).collect();
    assert_eq!(rounds, [0, 1]);
    tables(&found);
    programs(&found, &rounds);
    hops(&found, &rounds);
    reactions(&found, &rounds);

    let endpoints = &found.endpoints;
    assert_eq!((endpoints.count, endpoints.tenths_ns.len()), (10, 10));
    assert!(endpoints.tenths_ns.iter().sum::<u64>() <= endpoints.up_ns);
    assert!(endpoints.down_ns > 0);
    assert!(endpoints.plain_up_ns > Some(0), "{endpoints:?}");
    if kernel::counts_map_entries() {
        assert!(endpoints.maps > Some(0), "{endpoints:?}");
    } else {
        assert_eq!(endpoints.maps, None);
    }

    let ours = format!("npbs-{pid}-");
    for directory in ["/run/netns", "/sys/fs/bpf/netpath"] {
        let names = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let left: Vec<_> = names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.contains(&ours))
            .collect();
        assert_eq!(left, [] as [String; 0], "in {directory}");
    }
}

fn tables(found: &ScaleResults) {
    let sizes: Vec<_> = found.tables.iter().map(|table| table.size).collect();
    assert_eq!(sizes, SIZES);
    for table in &found.tables {
        assert_eq!(table.single, table.size.routes.min(100_000));
        for times in [table.endpoints_ns, table.routes_ns, table.single_ns] {
            assert!(times.v4 > 0 && times.v6 > 0, "{table:?}");
        }
        // Each entry is allocated when it is written, and has a key and a value.
        for (map, entries, least) in [
            ("endpoints_v4", table.size.endpoints, 4 + 20),
            ("endpoints_v6", table.size.endpoints, 16 + 20),
            ("routes_v4", table.size.routes, 8 + 4),
            ("routes_v6", table.size.routes, 20 + 4),
        ] {
            let bytes = |maps: &[netpath_bench::scale::MapMemory]| {
                let named = maps.iter().find(|memory| memory.map == map);
                named.unwrap_or_else(|| panic!("no {map}")).bytes
            };
            let (before, after) = (bytes(&table.maps_before), bytes(&table.maps_after));
            if kernel::counts_map_entries() {
                let grown = before.zip(after).map(|(before, after)| after - before);
                assert!(
                    grown >= Some(u64::from(entries * least)),
                    "{map}: {grown:?}"
                );
            } else {
                assert_eq!((before, after), (None, None), "{map}");
            }
        }
    }
}

fn programs(found: &ScaleResults, rounds: &[u32]) {
    let packets = [
        PacketKind::SameNode,
        PacketKind::Remote,
        PacketKind::Uplink,
        PacketKind::Spoofed,
        PacketKind::NoRoute,
    ];
    let seen: BTreeSet<_> = found
        .programs
        .iter()
        .map(|it| (((it.packet, it.family), (it.size, it.spread)), it.round))
        .collect();
    let kinds: Vec<_> = product(&packets, &FAMILIES).into_iter().collect();
    let points: Vec<_> = product(&SIZES, &[false, true]).into_iter().collect();
    let subjects: Vec<_> = product(&kinds, &points).into_iter().collect();
    assert_eq!(seen, product(&subjects, rounds));
    assert_eq!(found.programs.len(), seen.len());
    for it in &found.programs {
        assert!(it.run_ps > 0 && it.empty_ps > 0, "{it:?}");
        let expected = match (it.spread, it.packet) {
            (false, _) | (true, PacketKind::NoRoute) => 1,
            (true, PacketKind::Remote) => it.size.routes.min(256),
            (true, _) => it.size.endpoints.min(256),
        };
        assert_eq!(it.destinations, expected, "{it:?}");
    }
}

fn hops(found: &ScaleResults, rounds: &[u32]) {
    // A sample stands only if netpath's counters, or the kernel's, say that all its packets went that way.
    assert_eq!(found.rejected, []);
    let none = Size::default();
    let mut lines = BTreeSet::new();
    for size in SIZES {
        for reach in [Reach::SameNode, Reach::TwoNodes] {
            for spread in [false, true] {
                lines.insert((Path::Netpath, (size, (reach, spread))));
            }
        }
    }
    for path in [
        Path::Kernel,
        Path::IptablesRules(10),
        Path::IptablesRules(100),
    ] {
        lines.insert((path, (none, (Reach::SameNode, false))));
    }
    let lines: Vec<_> = lines.into_iter().collect();
    let subjects: Vec<_> = product(&lines, &FAMILIES).into_iter().collect();
    let seen: BTreeSet<_> = found
        .hops
        .iter()
        .map(|it| {
            let line = (it.path, (it.size, (it.reach, it.spread)));
            ((line, it.family), it.round)
        })
        .collect();
    assert_eq!(seen, product(&subjects, rounds));
    assert_eq!(found.hops.len(), seen.len());
    for it in &found.hops {
        assert_eq!((it.received, it.direct_received), (it.sent, it.direct_sent));
        assert!(it.sent >= 64 && it.direct_sent >= 64, "{it:?}");
        assert!(it.ns >= 0.5 * it.batch_ns && it.batch_ns > 0.0, "{it:?}");
        assert!(it.direct_batch_ns > 0.0 && it.direct_ns > 0.0, "{it:?}");
    }
}

fn reactions(found: &ScaleResults, rounds: &[u32]) {
    let lines = [
        (Path::Netpath, ChangeKind::NextHop),
        (Path::Kernel, ChangeKind::NextHop),
        (Path::Netpath, ChangeKind::Prefix),
        (Path::Netpath, ChangeKind::Endpoint),
    ];
    let subjects: Vec<_> = product(&lines, &FAMILIES).into_iter().collect();
    let seen: BTreeSet<_> = found
        .reactions
        .iter()
        .map(|it| (((it.path, it.change), it.family), it.round))
        .collect();
    assert_eq!(seen, product(&subjects, rounds));
    assert_eq!(found.reactions.len(), seen.len());
    for it in &found.reactions {
        // The clock counts nanoseconds. A packet that the node has received, but not yet looked up when its processor is
        // taken away may be older than the request.
        assert!(it.first_packet_ns > 0 || kernel::is_emulated(), "{it:?}");
        assert!(it.request_ns > 0 && it.interval_ns > 0, "{it:?}");
    }
}
