//! Every input: mutated packets for the loaded programs, and generated tables against an oracle.
//!
//! `cargo xtask fuzz` goes on for as long as it is told, and runs one input again.

use netpath_tests::{
    fuzz::{self, Limit, Plan},
    oracle,
};

/// Where all inputs ended in one way, the invariants of the others would not have been tried.
const LEAST_SHARE: u64 = 20;

#[test]
fn mutated_packets() {
    let plan = Plan {
        seed: fuzz::SEED,
        first: 0,
        limit: Limit::Inputs(200_000),
    };
    let tally = fuzz::run(plan);
    for share in [tally.redirected, tally.left, tally.dropped] {
        assert!(share > tally.inputs / LEAST_SHARE, "{tally:?}");
    }
}

#[test]
#[ignore = "as long as it is told: cargo xtask fuzz"]
fn mutated_packets_as_told() {
    fuzz::run(Plan::from_environment());
}

#[test]
fn generated_tables() {
    oracle::compare(fuzz::SEED, 100_000);
}

#[test]
#[ignore = "with the seed that NETPATH_FUZZ_SEED tells"]
fn generated_tables_as_told() {
    oracle::compare(Plan::from_environment().seed, 100_000);
}
