//! Comparing the two runs of a case.

use std::{collections::BTreeMap, fmt};

use super::{
    case::{Case, Path},
    explained::{self, Explanation},
    observe::Observation,
    run::Run,
};
use crate::Family;

/// What came of a case.
pub struct Result {
    /// The case's name.
    pub name: String,
    /// Where it comes from.
    pub source: &'static str,
    /// Family.
    pub family: Family,
    /// Path.
    pub path: Path,
    /// With the fast path off.
    pub kernel: Observation,
    /// With the fast path on.
    pub netpath: Observation,
    /// What node A's counters said of the case's packets.
    pub counted: BTreeMap<String, u64>,
    /// What they should have said, where they did not.
    pub miscounted: Option<String>,
    /// The comparison.
    pub outcome: Outcome,
}

/// The comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No difference.
    Same,
    /// A difference with a reason.
    Explained(&'static Explanation),
    /// A difference, or packets that were not counted as they have to be.
    Different,
}

/// Compares.
pub fn judge(case: &Case, kernel: Run, netpath: Run) -> Result {
    let miscounted = miscounted(case, &netpath);
    let outcome = if miscounted.is_some() {
        Outcome::Different
    } else if kernel.observation == netpath.observation {
        Outcome::Same
    } else {
        explained::find(case, &netpath.counted).map_or(Outcome::Different, Outcome::Explained)
    };
    Result {
        name: case.name.clone(),
        source: case.source,
        family: case.family,
        path: case.path,
        kernel: kernel.observation,
        netpath: netpath.observation,
        counted: netpath.counted,
        miscounted,
        outcome,
    }
}

/// As what node A counts what its neighbours say by themselves: it may come at any time.
const UNASKED: [&str; 5] = [
    "punt(arp)",
    "punt(hop_by_hop)",
    "punt(link_local)",
    "punt(multicast)",
    "punt(neighbour_discovery)",
];

/// Every packet is counted once, and as the case says, if it says so.
fn miscounted(case: &Case, run: &Run) -> Option<String> {
    let count = |wanted: &dyn Fn(&str) -> bool| -> u64 {
        let wanted = run.counted.iter().filter(|(outcome, _)| wanted(outcome));
        wanted.map(|(_, packets)| packets).sum()
    };
    let is_unasked = |outcome: &str| UNASKED.contains(&outcome);
    let sent = run.sent?;
    if count(&|_| true) < sent || count(&|outcome| !is_unasked(outcome)) > sent {
        return Some(format!("{sent} packets"));
    }
    let expected = case.counted_as?;
    let others = count(&|outcome| outcome != expected && !is_unasked(outcome));
    (others > 0 || count(&|outcome| outcome == expected) < sent)
        .then(|| format!("{sent} as {expected}"))
}

/// Explanations of differences that no case shows.
pub fn unused_explanations(results: &[Result]) -> Vec<&'static Explanation> {
    explained::EXPLAINED
        .iter()
        .filter(|explanation| {
            !results
                .iter()
                .any(|result| result.outcome == Outcome::Explained(explanation))
        })
        .collect()
}

/// The case, and every frame that only one of the runs has.
impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({:?}, {})", self.name, self.family, self.path)?;
        writeln!(f, "  counted: {:?}", self.counted)?;
        if let Some(expected) = &self.miscounted {
            writeln!(f, "  but have to be: {expected}")?;
        }
        for (who, ours, theirs) in [
            ("kernel ", &self.kernel, &self.netpath),
            ("netpath", &self.netpath, &self.kernel),
        ] {
            let mut left = theirs.arrivals.clone();
            for arrival in &ours.arrivals {
                match left.iter().position(|other| other == arrival) {
                    Some(at) => drop(left.swap_remove(at)),
                    None => writeln!(
                        f,
                        "  only with {who}: {arrival}\n    {}",
                        hex(&arrival.bytes)
                    )?,
                }
            }
            if ours.lines != theirs.lines {
                writeln!(f, "  {who}: {}", ours.lines.join("; "))?;
            }
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 120;
    let mut text: String = bytes
        .iter()
        .take(SHOWN)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if bytes.len() > SHOWN {
        text += &format!("... ({} bytes)", bytes.len());
    }
    text
}
