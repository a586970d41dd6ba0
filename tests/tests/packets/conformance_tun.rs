//! The conformance cases that are about packets, fast path off and on, where the nodes are joined by other devices than a wire:
//! without Ethernet headers by a tun each; and some cases by tunnels.

use netpath_tests::{
    conformance::{Case, Lab, Outcome, Result, Runner, all_by_uplink, judge, some_by_uplink},
    lab::UplinkKind,
};

/// What came of the cases, none of which may differ. Not only what is left to the kernel is the same.
fn assert_alike(kind: &UplinkKind, cases: fn(&Lab) -> Vec<Case>) {
    let mut runner = Runner::by(kind);
    let cases = cases(runner.lab());
    let kernel: Vec<_> = cases.iter().map(|case| runner.run(case)).collect();
    runner.set_fast_path(true);
    let results = cases
        .iter()
        .zip(kernel)
        .map(|(case, kernel)| judge(case, kernel, runner.run(case)));
    let results: Vec<_> = results.collect();
    let different = results.iter().filter(|it| it.outcome == Outcome::Different);
    let different: Vec<String> = different.map(ToString::to_string).collect();
    assert!(
        different.is_empty(),
        "{}: {} of {} cases differ:\n{}",
        kind.name,
        different.len(),
        results.len(),
        different.join("\n")
    );
    println!("{}: {} cases", kind.name, results.len());
    for outcome in ["redirect_peer", "redirect_neigh"] {
        let counts = |result: &Result| result.counted.contains_key(outcome);
        assert!(results.iter().any(counts), "{}: {outcome}", kind.name);
    }
}

fn assert_some_alike(kind: &UplinkKind) {
    if kind.needs.is_none_or(|feature| feature.is_there()) {
        assert_alike(kind, some_by_uplink);
    }
}

#[test]
fn by_a_tun_netpath_forwards_like_the_kernel() {
    assert_alike(&UplinkKind::TUN, all_by_uplink);
}

#[test]
fn some_by_ipip() {
    assert_some_alike(&UplinkKind::IPIP);
}

#[test]
fn some_by_vxlan() {
    assert_some_alike(&UplinkKind::VXLAN);
}

#[test]
fn some_by_wireguard() {
    assert_some_alike(&UplinkKind::WIREGUARD);
}
