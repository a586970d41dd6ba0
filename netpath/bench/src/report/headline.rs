//! What a run says, in one sentence.

use super::format;
use crate::stats::{
    Cell, Estimate, Figure, ROUNDS_MIN, Selector, hop_cost_ratio, paired, rounds, warnings,
};
use crate::{Family, Measure, Path, Reach, Results};

/// The sentence. Every figure in it is of this run, and of both families where they differ.
pub fn headline(results: &Results) -> String {
    let parts: Vec<_> = [same_node(results), two_nodes(results)]
        .into_iter()
        .flatten()
        .collect();
    if parts.is_empty() {
        return "This run has not measured netpath beside another path: it says nothing of what a hop costs."
            .to_owned();
    }
    let said = parts.join("; ");
    match rounds(results) {
        1 => format!("Of one round only, too few to be sure: {said}."),
        few if few < ROUNDS_MIN => format!("Of {few} rounds only, too few to be sure: {said}."),
        _ if is_noisy(results) => format!("The machine was too noisy to be sure: {said}."),
        _ => format!("{}.", capitalised(&said)),
    }
}

/// Whether a figure of the sentence is one that says nothing.
fn is_noisy(results: &Results) -> bool {
    let doubts = warnings(results);
    let told = [
        (Reach::SameNode, [Path::Netpath, Path::Iptables]),
        (Reach::TwoNodes, [Path::Netpath, Path::Kernel]),
        (Reach::TwoNodes, [Path::Netpath, Path::Vxlan]),
    ];
    told.iter().any(|(reach, paths)| {
        Family::ALL.iter().any(|family| {
            let cell = packets(*reach, *family);
            doubts.iter().any(|doubt| doubt.is_noise(paths, cell))
        })
    })
}

fn same_node(results: &Results) -> Option<String> {
    let reach = Reach::SameNode;
    let slower = times(results, Path::Netpath, Path::Direct, reach);
    let hop = hop(results, Path::Iptables, reach);
    Some(match (slower, hop) {
        (Some(slower), Some(hop)) => format!(
            "on one node a packet takes {slower} times as long through netpath as by a veth pair alone, and the hop costs \
             {hop} of what it costs through iptables"
        ),
        (Some(slower), None) => format!(
            "on one node a packet takes {slower} times as long through netpath as by a veth pair alone"
        ),
        (None, _) => return None,
    })
}

fn two_nodes(results: &Results) -> Option<String> {
    let reach = Reach::TwoNodes;
    let kernel = hop(results, Path::Kernel, reach)
        .map(|hop| format!("netpath's hop costs {hop} of the kernel's"));
    let vxlan = times(results, Path::Vxlan, Path::Netpath, reach)
        .map(|times| format!("a packet takes {times} times as long by VXLAN as through netpath"));
    let both: Vec<_> = [kernel, vxlan].into_iter().flatten().collect();
    (!both.is_empty()).then(|| format!("between two nodes {}", both.join(", and ")))
}

/// Time per packet to another path's.
fn times(results: &Results, path: Path, base: Path, reach: Reach) -> Option<String> {
    families(|family| {
        let of = Selector {
            path,
            base,
            cell: packets(reach, family),
            figure: Figure::Value,
        };
        paired(results, &of)
    })
}

/// netpath's hop cost to another path's.
fn hop(results: &Results, base: Path, reach: Reach) -> Option<String> {
    families(|family| hop_cost_ratio(results, Path::Netpath, base, packets(reach, family)))
}

fn packets(reach: Reach, family: Family) -> Cell {
    Cell {
        reach,
        family,
        measure: Measure::UdpPacket,
    }
}

/// Once where both families have the same, or the one is all that there is.
fn families(of: impl Fn(Family) -> Option<Estimate>) -> Option<String> {
    let [v4, v6] = Family::ALL.map(|family| of(family).map(|found| format::times(found.median)));
    Some(match (v4, v6) {
        (Some(v4), Some(v6)) if v4 == v6 => v4,
        (Some(v4), Some(v6)) => format!("{v4} (IPv6: {v6})"),
        (Some(v4), None) => format!("{v4} (IPv4)"),
        (None, Some(v6)) => format!("{v6} (IPv6)"),
        (None, None) => return None,
    })
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::run;

    /// A run of six rounds in which each of these took so long for a packet.
    fn of(cells: &[(Path, Reach, Family, f64)]) -> Results {
        let mut results = run();
        let model = results.samples.swap_remove(0);
        results.samples.clear();
        for &(path, reach, family, value) in cells {
            results.samples.extend((0..6).map(|round| crate::Sample {
                round,
                path,
                reach,
                family,
                measure: Measure::UdpPacket,
                value,
                ..model.clone()
            }));
        }
        results
    }

    #[test]
    fn one_figure_where_both_families_have_the_same() {
        use {Family::*, Path::*, Reach::*};
        let mut cells = Vec::new();
        for family in [V4, V6] {
            let ways = [(Direct, 100.0), (Netpath, 106.0), (Iptables, 150.0)];
            cells.extend(ways.map(|(path, value)| (path, SameNode, family, value)));
            let slow = if family == V6 { 1.5 } else { 1.0 };
            let ways = [
                (Direct, 100.0),
                (Netpath, 200.0),
                (Kernel, 260.0),
                (Vxlan, 300.0 * slow),
            ];
            cells.extend(ways.map(|(path, value)| (path, TwoNodes, family, value)));
        }
        assert_eq!(
            headline(&of(&cells)),
            "On one node a packet takes 1.06 times as long through netpath as by a veth pair alone, and the hop costs \
             0.12 of what it costs through iptables; between two nodes netpath's hop costs 0.62 of the kernel's, and a \
             packet takes 1.50 (IPv6: 2.25) times as long by VXLAN as through netpath."
        );
    }

    #[test]
    fn figures_of_a_noisy_machine_are_told_as_such() {
        use {Family::*, Path::*, Reach::*};
        let ways = [(Direct, 100.0), (Netpath, 101.0), (Kernel, 150.0)];
        let mut results = of(&ways.map(|(path, value)| (path, SameNode, V4, value)));
        let netpath = |sample: &&mut crate::Sample| sample.path == Netpath;
        for (sample, value) in (results.samples.iter_mut().filter(netpath)).zip([90.0, 95.0, 107.0])
        {
            sample.value = value;
        }
        assert!(
            headline(&results).starts_with("The machine was too noisy to be sure: on one node "),
            "{}",
            headline(&results)
        );
        // The same of a path that the sentence does not speak of.
        for sample in &mut results.samples {
            sample.path = match sample.path {
                Netpath => Kernel,
                Kernel => Netpath,
                other => other,
            };
        }
        assert!(headline(&results).starts_with("On one node "));
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        use {Family::*, Path::*, Reach::*};
        let one = [
            (Direct, SameNode, V6, 100.0),
            (Netpath, SameNode, V6, 110.0),
        ];
        let mut results = of(&one);
        assert_eq!(
            headline(&results),
            "On one node a packet takes 1.10 (IPv6) times as long through netpath as by a veth pair alone."
        );
        results.samples.retain(|sample| sample.round < 5);
        assert!(
            headline(&results).starts_with("Of 5 rounds only, too few to be sure: on one node "),
        );
        assert_eq!(
            headline(&of(&one[..1])),
            "This run has not measured netpath beside another path: it says nothing of what a hop costs."
        );
    }
}
