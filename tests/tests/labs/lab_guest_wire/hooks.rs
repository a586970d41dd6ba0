//! Hooks of nf_tables at interfaces.

use netpath_tests::lab::Watch;

use super::{COUNT, FROM_A, TO_A1, counted, lab, pairs, sent_and_seen};

/// The kernel passes the egress hook by with what a TC program redirects.
#[test]
fn a_hook_at_an_uplink_sees_what_leaves() {
    let lab = lab();
    let mut watch = Watch::new(&lab, [FROM_A]);
    for ends in pairs("a1", "b1") {
        let before = lab.traffic("A");
        assert_eq!(sent_and_seen(&lab, &mut watch, ("a1", ends), 1), COUNT);
        lab.assert_counted("A", &before, &[counted("va1 > up0 redirect_neigh")]);
    }
    lab.run("A", "nft add table netdev t");
    let hook = "{ type filter hook egress device up0 priority 0 ; }";
    lab.run("A", &format!("nft add chain netdev t out {hook}"));
    assert_eq!(lab.plan(), Vec::<String>::new());
    lab.run("A", "nft add rule netdev t out udp dport 7002 drop");
    assert!(lab.told("A").iter().all(|id| *id == "bypassed"));
    let plan = lab.plan();
    assert!(
        !plan.is_empty() && plan.iter().all(|line| line.contains("(netdev_hook)")),
        "{plan:?}"
    );
    assert_eq!(lab.converge(), plan);
    for ends in pairs("a1", "b1") {
        let before = lab.traffic("A");
        assert_eq!(sent_and_seen(&lab, &mut watch, ("a1", ends), 1), 0);
        lab.assert_counted("A", &before, &[counted("va1 > - punt netdev_hook")]);
    }
    // What comes in does not meet it.
    let mut inside = Watch::new(&lab, [TO_A1]);
    for ends in pairs("b1", "a1") {
        let before = lab.traffic("A");
        assert_eq!(sent_and_seen(&lab, &mut inside, ("b1", ends), 2), COUNT);
        lab.assert_counted("A", &before, &[counted("up0 > va1 redirect_peer")]);
    }
    lab.run("A", "nft delete table netdev t");
    lab.converge();
    for ends in pairs("a1", "b1") {
        assert_eq!(sent_and_seen(&lab, &mut watch, ("a1", ends), 1), COUNT);
    }
}
