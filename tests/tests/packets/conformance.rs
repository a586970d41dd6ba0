//! Every conformance case, fast path off and on.

use std::{collections::BTreeSet, env, fs};

use netpath_tests::conformance::{
    Outcome, Runner, all, judge, page, reason_faults, unused_explanations,
};

/// Where to write the page, if anywhere: `cargo xtask conformance` sets it.
const PAGE_VARIABLE: &str = "NETPATH_CONFORMANCE_PAGE";

/// Runs only cases whose name contains this.
const ONLY_VARIABLE: &str = "NETPATH_CONFORMANCE_ONLY";

#[test]
fn netpath_forwards_like_the_kernel() {
    let mut runner = Runner::new();
    let mut cases = all(runner.lab());
    let names: BTreeSet<String> = cases.iter().map(ToString::to_string).collect();
    assert_eq!(names.len(), cases.len(), "two cases have one name");
    let only = env::var(ONLY_VARIABLE).ok();
    if let Some(only) = &only {
        cases.retain(|case| case.to_string().contains(only));
    }

    let kernel: Vec<_> = cases.iter().map(|case| runner.run(case)).collect();
    runner.set_fast_path(true);
    let results: Vec<_> = cases
        .iter()
        .zip(kernel)
        .map(|(case, kernel)| judge(case, kernel, runner.run(case)))
        .collect();

    if let Some(path) = env::var_os(PAGE_VARIABLE) {
        fs::write(&path, page(&results)).expect("writing the page");
    }
    let different: Vec<String> = results
        .iter()
        .filter(|result| result.outcome == Outcome::Different)
        .map(ToString::to_string)
        .collect();
    assert!(
        different.is_empty(),
        "{} of {} cases differ:\n{}",
        different.len(),
        results.len(),
        different.join("\n")
    );
    if only.is_none() {
        // Every packet that can be is sent often enough; some ticks of the kernel's clock fall in between.
        let (cases, cached) = (results.len() as u64, runner.cached());
        assert!(cached > cases, "{cached} packets were decided by the cache");
        let unused = unused_explanations(&results);
        assert!(unused.is_empty(), "explain nothing: {unused:#?}");
        assert_eq!(reason_faults(&results), [""; 0]);
    }
}
