//! The numbers that netpath sets out to reach, judged by a run.

use serde::Serialize;

use super::{Cell, Estimate, Figure, Percentile, Selector, hop_cost_ratio, paired};
use crate::{Family, Measure, Path, Reach, Results};

/// What a number has to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// Anything, as long as it is known.
    Stated,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// One figure over another.
    Ratio,
    /// Time.
    Nanoseconds,
    /// Memory.
    Bytes,
}

/// What a run says of a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The whole interval is within the bound.
    Met,
    /// The whole interval is outside.
    Missed,
    /// The interval straddles the bound, or there were too few rounds for one of 95 %.
    Undecided,
    /// The run has no round with everything that is compared.
    NotMeasured,
}

/// One of the numbers to reach.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Goal {
    /// Its number in docs/performance.md; several goals may share one.
    pub number: u8,
    /// What is measured.
    pub text: String,
    /// Address family; `None` where both take part.
    pub family: Option<Family>,
    /// What is wanted.
    pub wanted: Bound,
    /// Unit of what is wanted and of what was measured.
    pub unit: Unit,
    /// What was measured.
    pub measured: Option<Estimate>,
    /// Whether it is reached.
    pub verdict: Verdict,
}

impl Bound {
    /// What `measured` says of the bound.
    pub fn judge(self, measured: Option<&Estimate>) -> Verdict {
        let Some(measured) = measured else {
            return Verdict::NotMeasured;
        };
        // As "less is better", so that both kinds have one rule.
        let (best, worst, bound) = match self {
            Self::AtMost(bound) => (measured.low, measured.high, bound),
            Self::AtLeast(bound) => (-measured.high, -measured.low, -bound),
            Self::Stated => return Verdict::Met,
        };
        if !measured.is_confident() {
            Verdict::Undecided
        } else if worst <= bound {
            Verdict::Met
        } else if best > bound {
            Verdict::Missed
        } else {
            Verdict::Undecided
        }
    }

    /// What a figure says of the bound that a run measures once: it has no interval, so that the figure itself counts.
    pub fn judge_once(self, measured: Option<f64>) -> Verdict {
        let Some(measured) = measured else {
            return Verdict::NotMeasured;
        };
        let met = match self {
            Self::AtMost(bound) => measured <= bound,
            Self::AtLeast(bound) => measured >= bound,
            Self::Stated => true,
        };
        if met { Verdict::Met } else { Verdict::Missed }
    }
}

/// How a goal is computed.
enum Compared {
    /// netpath to direct.
    Direct(Measure, Figure),
    /// Hop cost of netpath to that of a path, by UDP packets.
    Hop(Path),
}

/// The goals that a run of `netpath bench` can judge, those of IPv4 first. The goals on growth (5 to 7) are
/// judged by `netpath bench scale`: [`crate::scale::goals()`].
pub fn goals(results: &Results) -> Vec<Goal> {
    [Family::V4, Family::V6]
        .into_iter()
        .flat_map(|family| {
            wanted()
                .into_iter()
                .map(move |(number, text, wanted, compared)| {
                    let measured = measure(results, family, &compared);
                    let verdict = wanted.judge(measured.as_ref());
                    Goal {
                        number,
                        text: text.to_owned(),
                        family: Some(family),
                        wanted,
                        unit: Unit::Ratio,
                        measured,
                        verdict,
                    }
                })
        })
        .collect()
}

fn wanted() -> [(u8, &'static str, Bound, Compared); 8] {
    use Bound::{AtLeast, AtMost};
    use Compared::{Direct, Hop};
    let round_trip = |percentile| Direct(Measure::TcpRequest, Figure::RoundTrip(percentile));
    [
        (
            1,
            "ns per packet, to direct",
            AtMost(1.08),
            Direct(Measure::UdpPacket, Figure::Value),
        ),
        (
            2,
            "hop cost, to iptables'",
            AtMost(1.0 / 5.0),
            Hop(Path::Iptables),
        ),
        (
            2,
            "hop cost, to iptables-1000's",
            AtMost(1.0 / 25.0),
            Hop(Path::IptablesRules(1000)),
        ),
        (
            3,
            "TCP round trip p50, to direct",
            AtMost(1.03),
            round_trip(Percentile::P50),
        ),
        (
            3,
            "TCP round trip p99, to direct",
            AtMost(1.10),
            round_trip(Percentile::P99),
        ),
        (
            3,
            "TCP connections/s, to direct",
            AtLeast(0.95),
            Direct(Measure::TcpConnect, Figure::Rate),
        ),
        (
            4,
            "bulk TCP, to direct",
            AtLeast(0.98),
            Direct(Measure::TcpBulk, Figure::Rate),
        ),
        (
            4,
            "CPU per byte, to direct",
            AtMost(1.03),
            Direct(Measure::TcpBulk, Figure::Cpu),
        ),
    ]
}

fn measure(results: &Results, family: Family, compared: &Compared) -> Option<Estimate> {
    let cell = |measure| Cell {
        reach: Reach::SameNode,
        family,
        measure,
    };
    match *compared {
        Compared::Hop(base) => {
            hop_cost_ratio(results, Path::Netpath, base, cell(Measure::UdpPacket))
        }
        Compared::Direct(measure, figure) => paired(
            results,
            &Selector {
                path: Path::Netpath,
                base: Path::Direct,
                cell: cell(measure),
                figure,
            },
        ),
    }
}
