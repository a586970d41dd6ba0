//! What the samples of a run say: ratios and hop costs paired by round, with intervals. Pure, and without
//! random numbers: the same document always yields the same figures.
//!
//! Every comparison is made within a round, where both sides saw the same minute of the machine, and only then
//! summed up over the rounds: the median of the rounds' ratios, not the ratio of two medians.

mod goals;
mod noise;
mod order;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use goals::{Bound, Goal, Unit, Verdict, goals};
pub use noise::{LOSS_LIMIT, ROUNDS_MIN, SPREAD_LIMIT, WIDTH_LIMIT, Warning, warnings};
pub use order::{CONFIDENCE, Estimate, Percentile, median, spread};

use super::{Family, Measure, Path, Reach, Results, Sample};

/// What is held equal when paths are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Cell {
    /// Where the endpoints are.
    pub reach: Reach,
    /// Address family.
    pub family: Family,
    /// What is measured.
    pub measure: Measure,
}

/// A figure that one sample yields; less is better in all but [`Figure::Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Figure {
    /// [`Sample::value`], in the unit of the measure.
    Value,
    /// Units per second: of [`Measure::UdpPacket`] packets, of [`Measure::TcpRequest`] requests (at the median
    /// round trip), of [`Measure::TcpConnect`] connections, of [`Measure::TcpBulk`] bytes.
    Rate,
    /// CPU nanoseconds per unit that arrived.
    Cpu,
    /// A percentile of the round trips in nanoseconds.
    RoundTrip(Percentile),
}

/// Two paths, and what of them is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The path that is judged: the numerator.
    pub path: Path,
    /// The path that it is compared with: the denominator.
    pub base: Path,
    /// What both have in common.
    pub cell: Cell,
    /// What is compared.
    pub figure: Figure,
}

impl Cell {
    /// The cell of `sample`.
    pub fn of(sample: &Sample) -> Self {
        Self {
            reach: sample.reach,
            family: sample.family,
            measure: sample.measure,
        }
    }

    /// Every cell that `results` has a sample of, in order.
    pub fn all(results: &Results) -> Vec<Self> {
        let mut cells: Vec<_> = results.samples.iter().map(Self::of).collect();
        cells.sort_unstable();
        cells.dedup();
        cells
    }
}

impl Figure {
    /// The figure of one sample; `None` where it has none: nothing arrived, or no round trips were kept.
    pub fn of(self, sample: &Sample) -> Option<f64> {
        let figure = match self {
            Self::Value => sample.value,
            Self::Rate => 1e9 / sample.value,
            Self::Cpu => sample.cpu_ns as f64 / sample.received as f64,
            Self::RoundTrip(percentile) => f64::from(percentile.of(&sample.round_trips_ns)?),
        };
        figure.is_finite().then_some(figure)
    }
}

/// How many rounds `results` has samples of; fewer than were asked for if the time was up.
pub fn rounds(results: &Results) -> u32 {
    let rounds: BTreeSet<u32> = results.samples.iter().map(|sample| sample.round).collect();
    u32::try_from(rounds.len()).unwrap_or(u32::MAX)
}

/// `figure` of `path` by round. Of several samples of one cell and round the first counts.
pub fn by_round(results: &Results, path: Path, cell: Cell, figure: Figure) -> BTreeMap<u32, f64> {
    let mut rounds = BTreeMap::new();
    for sample in &results.samples {
        if sample.path == path
            && Cell::of(sample) == cell
            && let Some(value) = figure.of(sample)
        {
            rounds.entry(sample.round).or_insert(value);
        }
    }
    rounds
}

/// `figure` of `path` itself, in its own unit. For reading; paths are compared by [`paired`].
pub fn absolute(results: &Results, path: Path, cell: Cell, figure: Figure) -> Option<Estimate> {
    Estimate::new(
        by_round(results, path, cell, figure)
            .into_values()
            .collect(),
    )
}

/// The ratio of a path's figure to its base's, over the rounds that have both.
pub fn paired(results: &Results, of: &Selector) -> Option<Estimate> {
    let path = by_round(results, of.path, of.cell, of.figure);
    let base = by_round(results, of.base, of.cell, of.figure);
    let ratios = pairs(&path, &base)
        .filter(|(_, base)| *base > 0.0)
        .map(|(path, base)| path / base);
    Estimate::new(ratios.collect())
}

/// What the path costs beyond [`Path::Direct`], in the unit of the measure's value (for
/// [`Measure::UdpPacket`] nanoseconds per packet), over the rounds that have both. Negative where noise
/// outweighs the cost.
pub fn hop_cost(results: &Results, path: Path, cell: Cell) -> Option<Estimate> {
    Estimate::new(hop_costs(results, path, cell).into_values().collect())
}

/// The ratio of two paths' hop costs, over the rounds that have both and `direct`.
///
/// A round in which the base costs nothing or less than nothing bounds the ratio from nowhere: it counts as
/// infinite, the worst for the path that is judged. A few such rounds therefore open the interval upwards,
/// and never make a path look better than it is.
pub fn hop_cost_ratio(results: &Results, path: Path, base: Path, cell: Cell) -> Option<Estimate> {
    let path = hop_costs(results, path, cell);
    let base = hop_costs(results, base, cell);
    let ratios = pairs(&path, &base).map(|(path, base)| {
        if base > 0.0 {
            path / base
        } else {
            f64::INFINITY
        }
    });
    Estimate::new(ratios.collect())
}

/// What a path costs beyond another one, in the unit of the measure's value, over the rounds that have both: the difference
/// of their hop costs, in which what `direct` took in that round cancels out.
pub fn cost_above(results: &Results, path: Path, base: Path, cell: Cell) -> Option<Estimate> {
    let path = by_round(results, path, cell, Figure::Value);
    let base = by_round(results, base, cell, Figure::Value);
    Estimate::new(
        pairs(&path, &base)
            .map(|(path, base)| path - base)
            .collect(),
    )
}

/// By how much the ratio of a path's figure to `direct`'s is above that of its base, over the rounds that have all three.
pub fn ratio_above(results: &Results, of: &Selector) -> Option<Estimate> {
    let direct = by_round(results, Path::Direct, of.cell, of.figure);
    let path = by_round(results, of.path, of.cell, of.figure);
    let base = by_round(results, of.base, of.cell, of.figure);
    let above = path.iter().filter_map(|(round, path)| {
        let direct = direct.get(round).filter(|direct| **direct > 0.0)?;
        Some((path - base.get(round)?) / direct)
    });
    Estimate::new(above.collect())
}

/// Share of the units sent that did not arrive, over all rounds; `None` if nothing was sent.
pub fn loss(results: &Results, path: Path, cell: Cell) -> Option<f64> {
    let (mut sent, mut lost) = (0, 0);
    for sample in results
        .samples
        .iter()
        .filter(|s| s.path == path && Cell::of(s) == cell)
    {
        sent += sample.sent;
        lost += sample.sent.saturating_sub(sample.received);
    }
    (sent > 0).then(|| lost as f64 / sent as f64)
}

fn hop_costs(results: &Results, path: Path, cell: Cell) -> BTreeMap<u32, f64> {
    let direct = by_round(results, Path::Direct, cell, Figure::Value);
    by_round(results, path, cell, Figure::Value)
        .into_iter()
        .filter_map(|(round, value)| Some((round, value - direct.get(&round)?)))
        .collect()
}

fn pairs(path: &BTreeMap<u32, f64>, base: &BTreeMap<u32, f64>) -> impl Iterator<Item = (f64, f64)> {
    path.iter()
        .filter_map(|(round, path)| Some((*path, *base.get(round)?)))
}

#[cfg(test)]
mod tests;
