//! Judging, of what no test may do to a machine.

use std::collections::BTreeSet;

use netpath_common::Family;

use super::*;
use crate::provision::{FastPath, NodeStatus};

fn node(beyond: Beyond) -> SeenNode {
    SeenNode {
        status: NodeStatus {
            name: "node03".to_owned(),
            netns: "host".to_owned(),
            directory: String::new(),
            attach_mode: "tcx",
            fast_path: FastPath::On,
            uplinks: Vec::new(),
            routes: Vec::new(),
            endpoints: Vec::new(),
            drift: Vec::new(),
        },
        world: None,
        beyond,
    }
}

fn ids(seen: &Seen) -> Vec<&'static str> {
    let report = judge(seen);
    report.found().map(|found| found.finding.id).collect()
}

#[test]
fn checks_are_told_apart() {
    let ids: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(ids.len(), CHECKS.len());
    assert!(ids.contains(checks::REST));
    let told: Vec<&str> = CHECKS
        .iter()
        .flat_map(|check| check.told)
        .copied()
        .collect();
    let known: BTreeSet<&str> = [Drift::KINDS, Refusal::KINDS]
        .into_iter()
        .flatten()
        .map(|kind| kind.id)
        .collect();
    for id in &told {
        assert!(known.contains(id), "{id} is no kind that show tells");
    }
    let once: BTreeSet<&str> = told.iter().copied().collect();
    assert_eq!(once.len(), told.len(), "one of two checks");
}

#[test]
fn nothing_is_wrong_with_nothing() {
    let seen = Seen::default();
    let report = judge(&seen);
    assert!(report.is_healthy());
    assert_eq!(report.checks.len(), CHECKS.len());
    assert!(report.checks.iter().all(|it| it.state == State::Ok));
}

#[test]
fn the_machine_is_judged() {
    let machine = |change: fn(&mut Machine)| {
        let mut seen = Seen::default();
        change(&mut seen.machine);
        ids(&seen)
    };
    assert_eq!(machine(|it| it.jit = Some(0)), ["jit_off"]);
    assert_eq!(machine(|it| it.jit = Some(1)), Vec::<&str>::new());
    assert_eq!(machine(|it| it.jit_harden = Some(1)), Vec::<&str>::new());
    assert_eq!(machine(|it| it.jit_harden = Some(2)), ["jit_hardened"]);
    assert_eq!(machine(|it| it.memlock = Some(65_536)), ["memlock_low"]);
    let lacks = |it: &mut Machine| it.lacks = Some("no helper".to_owned());
    assert_eq!(machine(lacks), ["kernel_lacks"]);
    assert_eq!(machine(|it| it.at_work = Some(7)), ["netpath_at_work"]);
    let left = |it: &mut Machine| it.unfinished = vec!["node03".to_owned()];
    assert_eq!(machine(left), ["left_unfinished"]);
    // It is being made.
    let at_work = |it: &mut Machine| {
        it.unfinished = vec!["node03".to_owned()];
        it.at_work = Some(7);
    };
    assert_eq!(machine(at_work), ["netpath_at_work"]);
    let covered = |it: &mut Machine| it.faults.push(Fault::BpffsCovered);
    assert_eq!(machine(covered), ["bpffs_covered"]);
    let lock = |it: &mut Machine| it.faults.push(Fault::LockUntrusted("x".to_owned()));
    assert_eq!(machine(lock), ["lock_untrusted"]);
}

#[test]
fn a_notice_is_no_fault_and_what_is_not_seen_is_not_healthy() {
    let mut seen = Seen::default();
    seen.machine.jit_harden = Some(2);
    let report = judge(&seen);
    assert!(report.is_healthy());
    assert_eq!(report.checks[1].state, State::Note);
    seen.unseen.insert(Part::Nodes, "no capability".to_owned());
    let report = judge(&seen);
    assert!(!report.is_healthy());
    for checked in &report.checks {
        let needs = checked.check.needs.contains(&Part::Nodes);
        assert_eq!(checked.unseen.is_some(), needs, "{}", checked.check.id);
    }
    seen.machine.jit = Some(0);
    assert_eq!(judge(&seen).checks[1].state, State::Fault);
}

#[test]
fn full_tables_are_told() {
    let sysctls = |count, max| Beyond {
        sysctls: [
            ("netfilter/nf_conntrack_count", count),
            ("netfilter/nf_conntrack_max", max),
        ]
        .into(),
        ..Beyond::default()
    };
    let ids_of = |beyond| {
        let nodes = vec![node(beyond)];
        ids(&Seen {
            nodes,
            ..Seen::default()
        })
    };
    assert_eq!(ids_of(sysctls(89, 100)), Vec::<&str>::new());
    assert_eq!(ids_of(sysctls(90, 100)), ["conntrack_nearly_full"]);
    let connections = |entries, evicted| Beyond {
        connections: vec![(Family::V4, entries, 1024, evicted)],
        ..Beyond::default()
    };
    assert_eq!(ids_of(connections(1024, 0)), Vec::<&str>::new());
    assert_eq!(ids_of(connections(900, 1)), ["connections_evicted"]);
    assert_eq!(ids_of(connections(3, 1)), Vec::<&str>::new());
    let overflowed = Beyond {
        overflowed: 1,
        ..Beyond::default()
    };
    assert_eq!(ids_of(overflowed), ["counters_overflowed"]);
    for (build, expected) in [
        (Build::Own, vec![]),
        (Build::Logging, vec!["programs_log"]),
        (Build::Other, vec!["programs_of_another_version"]),
    ] {
        let beyond = Beyond {
            build,
            ..Beyond::default()
        };
        assert_eq!(ids_of(beyond), expected, "{build:?}");
    }
}

#[test]
fn every_fault_says_why_and_what_to_do() {
    for kind in Fault::KINDS {
        assert_eq!(meaning(kind.id), kind.means.trim());
        assert!(kind.cure.len() > 10, "{}", kind.id);
    }
}
