//! The numbers that netpath sets out to reach, judged by a run.

use serde::Serialize;

use super::{
    Cell, Estimate, Figure, Percentile, Selector, Warning, cost_above, hop_cost_ratio, paired,
    ratio_above, warnings,
};
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
    /// The machine was too noisy for what is compared: nothing is said, wherever the interval lies.
    TooNoisy,
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
#[derive(Clone, Copy)]
enum Compared {
    /// A figure of netpath to that of direct.
    ToDirect(Figure),
    /// The hop cost of netpath to that of a path.
    HopTo(Path),
    /// The hop cost of netpath minus that of a path.
    HopAbove(Path),
    /// A figure of netpath to that of direct, minus the same of a path.
    ToDirectAbove(Path, Figure),
}

/// One of the numbers to reach, for either family.
#[derive(Clone, Copy)]
struct Wanted {
    number: u8,
    text: &'static str,
    bound: Bound,
    reach: Reach,
    measure: Measure,
    compared: Compared,
}

impl Compared {
    /// The path that netpath is compared with.
    fn base(self) -> Path {
        match self {
            Self::ToDirect(_) => Path::Direct,
            Self::HopTo(base) | Self::HopAbove(base) | Self::ToDirectAbove(base, _) => base,
        }
    }

    fn unit(self) -> Unit {
        match self {
            Self::ToDirect(_) | Self::HopTo(_) | Self::ToDirectAbove(..) => Unit::Ratio,
            Self::HopAbove(_) => Unit::Nanoseconds,
        }
    }

    fn measure(self, results: &Results, cell: Cell) -> Option<Estimate> {
        let of = |base, figure| Selector {
            path: Path::Netpath,
            base,
            cell,
            figure,
        };
        match self {
            Self::ToDirect(figure) => paired(results, &of(Path::Direct, figure)),
            Self::HopTo(base) => hop_cost_ratio(results, Path::Netpath, base, cell),
            Self::HopAbove(base) => cost_above(results, Path::Netpath, base, cell),
            Self::ToDirectAbove(base, figure) => ratio_above(results, &of(base, figure)),
        }
    }
}

impl Wanted {
    fn judge(self, results: &Results, doubts: &[Warning], family: Family) -> Goal {
        let cell = Cell {
            reach: self.reach,
            family,
            measure: self.measure,
        };
        let measured = self.compared.measure(results, cell);
        let paths = [Path::Netpath, self.compared.base()];
        let is_noisy = doubts.iter().any(|doubt| doubt.is_noise(&paths, cell));
        let verdict = match self.bound.judge(measured.as_ref()) {
            Verdict::Met | Verdict::Missed | Verdict::Undecided if is_noisy => Verdict::TooNoisy,
            verdict => verdict,
        };
        Goal {
            number: self.number,
            text: self.text.to_owned(),
            family: Some(family),
            wanted: self.bound,
            unit: self.compared.unit(),
            measured,
            verdict,
        }
    }
}

/// The goals that a run of `netpath bench` can judge, those of IPv4 first. The goals 5, 6 and 8 are judged by `netpath bench
/// scale`: [`crate::scale::goals()`].
pub fn goals(results: &Results) -> Vec<Goal> {
    let doubts = warnings(results);
    let of = |family| WANTED.map(|wanted| wanted.judge(results, &doubts, family));
    Family::ALL.into_iter().flat_map(of).collect()
}

const P50: Figure = Figure::RoundTrip(Percentile::P50);

/// On one node, by UDP packets, unless it says otherwise.
const PACKETS: Wanted = Wanted {
    number: 1,
    text: "",
    bound: Bound::Stated,
    reach: Reach::SameNode,
    measure: Measure::UdpPacket,
    compared: Compared::ToDirect(Figure::Value),
};

const WANTED: [Wanted; 7] = [
    Wanted {
        text: "ns per packet, to direct",
        bound: Bound::AtMost(1.06),
        ..PACKETS
    },
    Wanted {
        text: "hop cost above floor's",
        bound: Bound::AtMost(40.0),
        compared: Compared::HopAbove(Path::Floor),
        ..PACKETS
    },
    Wanted {
        number: 2,
        text: "hop cost, to iptables'",
        bound: Bound::AtMost(0.12),
        compared: Compared::HopTo(Path::Iptables),
        ..PACKETS
    },
    Wanted {
        number: 3,
        text: "two nodes: hop cost, to the kernel's",
        bound: Bound::AtMost(0.63),
        reach: Reach::TwoNodes,
        compared: Compared::HopTo(Path::Kernel),
        ..PACKETS
    },
    Wanted {
        number: 3,
        text: "two nodes: hop cost above floor-remote's",
        bound: Bound::AtMost(60.0),
        reach: Reach::TwoNodes,
        compared: Compared::HopAbove(Path::FloorRemote),
        ..PACKETS
    },
    Wanted {
        number: 4,
        text: "TCP round trip p50 to direct, above floor's",
        bound: Bound::AtMost(0.015),
        measure: Measure::TcpRequest,
        compared: Compared::ToDirectAbove(Path::Floor, P50),
        ..PACKETS
    },
    Wanted {
        number: 7,
        text: "TCP connections/s, to direct",
        bound: Bound::AtLeast(0.95),
        measure: Measure::TcpConnect,
        compared: Compared::ToDirect(Figure::Rate),
        ..PACKETS
    },
];
