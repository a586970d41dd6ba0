//! Whether the cases show every reason that `netpath stats` can give.

use std::collections::BTreeSet;

use netpath_common::{DropReason, Outcome, PuntReason};

use super::verdict::Result;

/// Of what somebody else has the kernel do.
const SOMEBODYS: &str = "somebody else would have to have put it there, and it would act in every case: `lab_guest` and the \
                         tests of the programs show it";
/// Of those of shadow mode.
const SHADOW: &str = "each packet would be the kernel's: `lab_shadow` shows it";

/// Reasons that no packet through a lab has, and why.
pub const NOT_IN_A_LAB: &[(&str, &str)] = &[
    (
        "punt(no_memory)",
        "the kernel would have to be out of memory while it moves or cuts a packet's bytes",
    ),
    (
        "punt(endpoint_gone)",
        "an endpoint's veth would have to be deleted, and the lab with it: `lab_reuse` shows it",
    ),
    ("punt(ipsec)", SOMEBODYS),
    ("punt(vrf)", SOMEBODYS),
    ("punt(shaped)", SOMEBODYS),
    ("punt(netdev_hook)", SOMEBODYS),
    ("punt(xdp)", SOMEBODYS),
    ("punt(rules)", SOMEBODYS),
    ("punt(bridge_port)", SOMEBODYS),
    (
        "punt(ipv6_forwarding_disabled)",
        "nothing of IPv6 would be forwarded on the whole node: `lab_truth_forwarding` shows it",
    ),
    (
        "punt(not_an_uplink)",
        "the lab's only way to another node is its uplink: the tests of the programs show it",
    ),
    (
        "punt(padded_gso)",
        "no socket sends it: the tests of the programs show it",
    ),
    (
        "punt(fast_path_off)",
        "the fast path of one endpoint would have to be off in every case: `lab_connections` shows it",
    ),
    ("punt(shadow)", SHADOW),
    ("punt(shadow_malformed)", SHADOW),
    ("punt(shadow_bad_checksum)", SHADOW),
    ("punt(shadow_spoofed)", SHADOW),
    ("punt(shadow_martian_source)", SHADOW),
    (
        "drop(not_ready)",
        "an interface is not ready only for the moment between its program's attachment and its last map entry",
    ),
    (
        "drop(rewrite_failed)",
        "parse has read what is rewritten, and nothing in between makes it unreadable",
    ),
];

/// What is wrong with the reasons that the cases show: those that none shows, and those that one shows although
/// it is said that none can.
pub fn reason_faults(results: &[Result]) -> Vec<String> {
    let shown: BTreeSet<&str> = results
        .iter()
        .flat_map(|result| result.counted.keys().map(String::as_str))
        .collect();
    let mut faults = Vec::new();
    for reason in all() {
        let excused = NOT_IN_A_LAB.iter().any(|(name, _)| *name == reason);
        match (shown.contains(reason.as_str()), excused) {
            (false, false) => faults.push(format!("no case shows {reason}")),
            (true, true) => faults.push(format!("a case shows {reason}: it is not excused")),
            _ => {}
        }
    }
    faults
}

/// How many cases show each reason.
pub fn counts(results: &[Result]) -> Vec<(String, usize)> {
    let shows = |result: &&Result, reason: &String| result.counted.contains_key(reason);
    all()
        .map(|reason| {
            let cases = results.iter().filter(|result| shows(result, &reason));
            let count = cases.count();
            (reason, count)
        })
        .collect()
}

/// As [`Run::counted`](super::run::Run::counted) names them.
fn all() -> impl Iterator<Item = String> {
    let named = |outcome: Outcome, reason: &str| format!("{}({reason})", outcome.name());
    let punts = PuntReason::ALL.iter();
    let drops = DropReason::ALL.iter();
    punts
        .map(move |reason| named(Outcome::Punt, reason.name()))
        .chain(drops.map(move |reason| named(Outcome::Drop, reason.name())))
}
