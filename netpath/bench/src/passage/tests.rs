//! What is taken for a path, and what is not.

use super::*;

const PACKETS: u64 = 1_000;
const EXACTLY: Packets = Packets::Exactly(PACKETS);

/// As a node counts that has passed them on in one way.
fn kernel() -> NodeCounts {
    NodeCounts {
        entered: PACKETS + 3,
        forwarded: PACKETS,
        ..NodeCounts::default()
    }
}

fn fast() -> NodeCounts {
    NodeCounts {
        entered: PACKETS + 3,
        redirected: PACKETS,
        ..NodeCounts::default()
    }
}

fn filtered() -> NodeCounts {
    NodeCounts {
        accepted: PACKETS,
        connections: 1,
        ..kernel()
    }
}

/// What the floor's programs pass on is counted by nobody but the interface that it came in by.
fn floored() -> NodeCounts {
    NodeCounts {
        entered: PACKETS + 3,
        ..NodeCounts::default()
    }
}

fn translated() -> NodeCounts {
    NodeCounts {
        punted: PACKETS + 2,
        ..filtered()
    }
}

fn flowed() -> NodeCounts {
    NodeCounts {
        entered: PACKETS,
        forwarded: 2,
        accepted: 2,
        connections: 1,
        ..NodeCounts::default()
    }
}

fn idle() -> NodeCounts {
    NodeCounts {
        entered: 4,
        ..NodeCounts::default()
    }
}

fn moved(nodes: impl Into<Vec<NodeCounts>>, direct: u64) -> Moved {
    by_ways(nodes, Path::Direct, direct)
}

/// So many packets on one way, and noise on all others.
fn by_ways(nodes: impl Into<Vec<NodeCounts>>, path: Path, packets: u64) -> Moved {
    let ways = [
        Path::Direct,
        Path::Bridge,
        Path::Macvlan,
        Path::Ipvlan,
        Path::Vxlan,
    ];
    Moved {
        nodes: nodes.into(),
        ways: ways
            .map(|way| (way, if way == path { packets } else { 1 }))
            .to_vec(),
    }
}

/// Every path, and what the counters say of it.
fn truths() -> Vec<(Path, Moved)> {
    let mut truths = vec![
        (Path::Netpath, moved([fast()], 0)),
        (Path::Kernel, moved([kernel()], 0)),
        (Path::Iptables, moved([filtered()], 0)),
        (Path::IptablesRules(9), moved([filtered()], 0)),
        (Path::NftRules(9), moved([filtered()], 0)),
        (Path::NftSet(9), moved([filtered()], 0)),
        (Path::NftFlowtable, moved([flowed()], 0)),
        (Path::Floor, moved([floored()], 0)),
        (Path::FloorRemote, moved([floored()], 0)),
        (Path::Nat, moved([translated()], 0)),
        (Path::Vxlan, by_ways([kernel()], Path::Vxlan, PACKETS)),
    ];
    for path in [Path::Direct, Path::Bridge, Path::Macvlan, Path::Ipvlan] {
        truths.push((path, by_ways([idle()], path, PACKETS + 3)));
    }
    truths
}

/// What cannot be told apart by counters: rules that accept the same packets, and the floor of one node and of two, which
/// are never between the same endpoints. The rules of `nat` are those of `iptables`, and its punts are no others' matter.
fn same_way(claimed: Path, taken: Path) -> bool {
    let filters = |path| {
        matches!(
            path,
            Path::Iptables | Path::IptablesRules(_) | Path::NftRules(_) | Path::NftSet(_)
        )
    };
    let floors = |path| matches!(path, Path::Floor | Path::FloorRemote);
    claimed == taken
        || (filters(claimed) && (filters(taken) || taken == Path::Nat))
        || (floors(claimed) && floors(taken))
}

#[test]
fn a_path_is_taken_for_itself_and_for_no_other() {
    for (claimed, _) in truths() {
        for (taken, moved) in truths() {
            for packets in [EXACTLY, Packets::AtLeast(PACKETS)] {
                let result = moved.check(claimed, packets);
                assert_eq!(
                    result.is_ok(),
                    same_way(claimed, taken),
                    "{taken} claimed to be {claimed}: {result:?}"
                );
            }
        }
    }
}

#[test]
fn only_the_first_node_translates() {
    let taken = moved([translated(), fast()], 0);
    assert_eq!(taken.check(Path::Nat, EXACTLY), Ok(()));
    let reason = moved([translated(), translated()], 0).check(Path::Nat, EXACTLY);
    let expected = "node 2: 0 packets were redirected by the fast path, expected 1000";
    assert_eq!(reason, Err(expected.to_owned()));
    // The fast path is off, or redirects what belongs to the kernel.
    let reason = moved([filtered()], 0).check(Path::Nat, EXACTLY);
    let expected =
        "node 1: 0 packets were punted by the fast path, expected 1000 and at most 64 more";
    assert_eq!(reason, Err(expected.to_owned()));
}

#[test]
fn a_way_that_the_lab_does_not_have_is_not_taken() {
    let reason = by_ways([kernel()], Path::Ipip, 0).check(Path::Ipip, EXACTLY);
    assert_eq!(reason, Err("the lab has no ipip".to_owned()));
    let reason = by_ways([kernel()], Path::Vxlan, PACKETS - 1).check(Path::Vxlan, EXACTLY);
    let expected =
        "999 packets were received by the interfaces of vxlan, expected 1000 and at most 64 more";
    assert_eq!(reason, Err(expected.to_owned()));
}

#[test]
fn the_second_node_counts_too() {
    assert_eq!(
        moved([fast(), fast()], 0).check(Path::Netpath, EXACTLY),
        Ok(())
    );
    let reason = moved([fast(), kernel()], 0).check(Path::Netpath, EXACTLY);
    let expected = "node 2: 0 packets were redirected by the fast path, expected 1000";
    assert_eq!(reason, Err(expected.to_owned()));
}

#[test]
fn one_packet_too_few_or_on_another_way_is_seen() {
    let punted = NodeCounts {
        forwarded: 1,
        ..fast()
    };
    let reason = moved([punted], 0).check(Path::Netpath, Packets::AtLeast(10));
    let expected = "node 1: 1 packets were forwarded by the kernel, expected none";
    assert_eq!(reason, Err(expected.to_owned()));

    let fewer = Packets::Exactly(PACKETS + 1);
    assert!(moved([fast()], 0).check(Path::Netpath, fewer).is_err());
    assert!(moved([kernel()], 0).check(Path::Kernel, fewer).is_err());
    assert!(moved([idle()], PACKETS).check(Path::Direct, fewer).is_err());

    let past_the_rules = NodeCounts {
        accepted: PACKETS - 1,
        ..filtered()
    };
    assert!(
        moved([past_the_rules], 0)
            .check(Path::Iptables, EXACTLY)
            .is_err()
    );
}

#[test]
fn what_came_in_and_did_not_go_on_is_seen() {
    let swallowed = NodeCounts {
        entered: PACKETS + NOISE + 1,
        ..fast()
    };
    let reason = moved([swallowed], 0).check(Path::Netpath, EXACTLY);
    let expected = "node 1: 1065 packets came in, 1000 were redirected by the fast path";
    assert_eq!(reason, Err(expected.to_owned()));
    // Not through the node at all, but past it.
    assert!(
        moved([fast()], PACKETS)
            .check(Path::Netpath, EXACTLY)
            .is_err()
    );
}
