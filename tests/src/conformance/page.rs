//! docs/conformance.md.

use std::fmt::Write as _;

use super::{
    explained::EXPLAINED,
    reasons::{self, NOT_IN_A_LAB},
    verdict::{Outcome, Result},
};
use crate::Family;

const INTRODUCTION: &str = "\
# Conformance

With the fast path on, every packet that is delivered and every ICMP error is the same as with it off. Each case
below was sent twice through the same lab, and every frame that then entered an endpoint or the other node's uplink
was compared byte for byte: MAC addresses, all of the IP packet with its checksums, ICMP errors with what they quote.
Only what differs between any two runs of the kernel itself is left out: ARP, neighbour discovery and multicast
listener reports that are no part of the case, and the identification of ICMP messages that the kernel makes itself.

Each frame of TCP or UDP is sent four times in a row, so that the stages decide of the first two and the decision cache, where it
may, of the others; but where the kernel limits how often it says the same.

Nor is it said here which of several next hops a local socket's packets take under hash policy 1: the kernel decides
that by a random number of the socket (`skb->l4_hash`), netpath by addresses and ports. Both keep a socket on one path
(`tests/tests/labs/lab_ecmp.rs`).

Those of the cases that are about packets, and not about frames or neighbours, are also sent between nodes that are joined
by a tun device each, and so without Ethernet headers, and some of them by ipip, VXLAN and WireGuard, where the kernel has these
(`tests/tests/packets/conformance_tun.rs`; `cargo xtask kernels` runs the latter in kernels that have all).

Whole connections that the kernel translates are cases here where node A does it for its Service. NodePorts, a hostPort, Docker's
published ports, a pod that reaches itself, rules by connections' states, and ten thousand connections of all these at once, fast
path off and on, are in `tests/tests/labs/lab_connections`.

`cargo xtask conformance` runs the cases and writes this page. Do not edit it: the cases and the explanations are in
`tests/src/conformance/`. `cargo xtask stages` leaves out each stage of the programs in turn, and every check that a
stage consists of: without any one of them at least one case fails.

";

/// The page's text.
pub fn page(results: &[Result]) -> String {
    let mut page = INTRODUCTION.to_owned();
    let count = |wanted: fn(&Outcome) -> bool| {
        results
            .iter()
            .filter(|result| wanted(&result.outcome))
            .count()
    };
    let _ = writeln!(
        page,
        "{} cases: {} the same, {} explained differences, {} unexplained.\n",
        results.len(),
        count(|outcome| matches!(outcome, Outcome::Same)),
        count(|outcome| matches!(outcome, Outcome::Explained(_))),
        count(|outcome| matches!(outcome, Outcome::Different)),
    );
    page += "## Explained differences\n\n";
    for (number, explanation) in (1..).zip(EXPLAINED) {
        let _ = writeln!(page, "{number}. {}", explanation.reason);
    }
    page += &reasons_table(results);
    page += "\n## Cases\n\n\
        \"Counted\" is what `netpath stats` said of the case's packets at the interface that they came in by: each\n\
        packet once.\n\n\
        | case | family | path | from | kernel | netpath | counted |\n\
        |---|---|---|---|---|---|---|\n";
    for result in results {
        let family = match result.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        let netpath = match result.outcome {
            Outcome::Same => "the same".to_owned(),
            Outcome::Explained(explanation) => {
                let number = EXPLAINED.iter().position(|other| other == explanation);
                let number = number.map_or(0, |at| at + 1);
                format!("{} (explained: {number})", result.netpath)
            }
            Outcome::Different => format!("**{}**", result.netpath),
        };
        let counted: Vec<String> = result
            .counted
            .iter()
            .map(|(what, packets)| match packets {
                // How many packets a socket's bytes become differs from run to run.
                _ if !result.kernel.lines.is_empty() => what.clone(),
                1 => what.clone(),
                _ => format!("{what} ×{packets}"),
            })
            .collect();
        let _ = writeln!(
            page,
            "| {} | {family} | {} | {} | {} | {} | {} |",
            cell(&result.name),
            result.path,
            cell(result.source),
            cell(&result.kernel.to_string()),
            cell(&netpath),
            cell(&counted.join(", ")),
        );
    }
    page
}

fn reasons_table(results: &[Result]) -> String {
    let mut table = "\n## Reasons\n\n| counted as | in cases |\n|---|---|\n".to_owned();
    for (reason, cases) in reasons::counts(results) {
        let excuse = NOT_IN_A_LAB.iter().find(|(name, _)| *name == reason);
        let _ = match excuse {
            Some((_, why)) => writeln!(table, "| `{reason}` | none: {why} |"),
            None => writeln!(table, "| `{reason}` | {cases} |"),
        };
    }
    table
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
