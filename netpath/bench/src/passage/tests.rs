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
    Moved {
        nodes: nodes.into(),
        direct,
    }
}

/// Every path, and what the counters say of it.
fn truths() -> Vec<(Path, Moved)> {
    vec![
        (Path::Direct, moved([idle()], PACKETS + 3)),
        (Path::Netpath, moved([fast()], 0)),
        (Path::Kernel, moved([kernel()], 0)),
        (Path::Iptables, moved([filtered()], 0)),
        (Path::IptablesRules(9), moved([filtered()], 0)),
        (Path::NftRules(9), moved([filtered()], 0)),
        (Path::NftSet(9), moved([filtered()], 0)),
        (Path::NftFlowtable, moved([flowed()], 0)),
    ]
}

fn same_way(one: Path, other: Path) -> bool {
    let filters = |path| {
        matches!(
            path,
            Path::Iptables | Path::IptablesRules(_) | Path::NftRules(_) | Path::NftSet(_)
        )
    };
    one == other || (filters(one) && filters(other))
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
