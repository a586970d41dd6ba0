//! The conformance cases that are about packets, fast path off and on, where the nodes are joined by a tun device each, and so
//! without Ethernet headers.

use netpath_tests::conformance::{Outcome, Runner, all_by_tun, judge};

#[test]
fn by_a_tun_netpath_forwards_like_the_kernel() {
    let mut runner = Runner::by_tun();
    let cases = all_by_tun(runner.lab());
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
        "{} of {} cases differ:\n{}",
        different.len(),
        results.len(),
        different.join("\n")
    );
    // Not only what is left to the kernel is the same.
    for outcome in ["redirect_peer", "redirect_neigh"] {
        let mut counted = results.iter().map(|result| &result.counted);
        assert!(
            counted.any(|counted| counted.contains_key(outcome)),
            "{outcome}"
        );
    }
}
