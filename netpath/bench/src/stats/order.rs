//! Order statistics: all that is said about a handful of rounds, without assuming how noise is distributed.

use serde::Serialize;

/// The confidence that an interval has to reach.
pub const CONFIDENCE: f64 = 0.95;

/// A median and the interval that it lies in.
///
/// The interval runs from the k-th smallest to the k-th largest value. The number of values below the true
/// median follows the binomial distribution (n, 1/2) whatever the distribution of the values, so the interval
/// covers the median with probability `1 - 2 P(B <= k - 1)`; k is the largest that keeps this at
/// [`CONFIDENCE`] or more. Source: W. J. Conover, *Practical Nonparametric Statistics*, 3rd edition, section
/// 3.2; H. A. David and H. N. Nagaraja, *Order Statistics*, 3rd edition, section 7.1. Fewer than 6 values
/// cannot reach 95 %: the interval is then all of them, and `coverage` says how little that is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval; infinite where [`super::hop_cost_ratio`] has no bound.
    pub high: f64,
    /// Probability that the interval covers the median, from 0 (one value) to 1.
    pub coverage: f64,
    /// Number of values: rounds in which everything that was compared is there.
    pub rounds: u32,
}

impl Estimate {
    /// The estimate from `values` in any order; `None` if there are none, or if one is not a number.
    pub fn new(mut values: Vec<f64>) -> Option<Self> {
        if values.is_empty() || values.iter().any(|value| value.is_nan()) {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let (rank, coverage) = interval_rank(count);
        Some(Self {
            median: middle(&values),
            low: values[rank - 1],
            high: values[count - rank],
            coverage,
            rounds: u32::try_from(count).unwrap_or(u32::MAX),
        })
    }

    /// Whether `value` lies within the interval, ends included.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Width of the interval.
    pub fn width(&self) -> f64 {
        self.high - self.low
    }

    /// Whether there were rounds enough for an interval of [`CONFIDENCE`].
    pub fn is_confident(&self) -> bool {
        self.coverage >= CONFIDENCE
    }
}

/// The median of `values` in any order: the middle one, or the mean of the middle two.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty()).then(|| middle(&sorted))
}

/// Interquartile range over median: how far the middle half of `values` is spread, as a share. The quartiles
/// are interpolated between neighbours (definition 7 of Hyndman and Fan, as in R and NumPy).
pub fn spread(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() || middle(&sorted) == 0.0 {
        return None;
    }
    Some((interpolated(&sorted, 0.75) - interpolated(&sorted, 0.25)) / middle(&sorted))
}

/// A percentile in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Percentile(u16);

impl Percentile {
    /// Half are not above it.
    pub const P50: Self = Self(500);
    /// One in a hundred is above it.
    pub const P99: Self = Self(990);
    /// One in a thousand is above it.
    pub const P99_9: Self = Self(999);

    /// The smallest of `values` such that this share of them is not above it (nearest rank); `None` if there
    /// are none.
    pub fn of(self, values: &[u32]) -> Option<u32> {
        let rank = (values.len() * usize::from(self.0)).div_ceil(1000);
        let mut values = values.to_vec();
        (rank > 0).then(|| *values.select_nth_unstable(rank - 1).1)
    }
}

/// The rank k of [`Estimate`]'s interval for `count` values, from 1, and its coverage.
fn interval_rank(count: usize) -> (usize, f64) {
    // Logarithms: 2^-n leaves f64's range at 1075 rounds.
    let mut ln_probability = -(count as f64) * std::f64::consts::LN_2;
    let mut tail = ln_probability.exp();
    let mut best = (1, (1.0 - 2.0 * tail).max(0.0));
    for rank in 2..=count / 2 {
        ln_probability += ((count - rank + 2) as f64 / (rank - 1) as f64).ln();
        tail += ln_probability.exp();
        let coverage = 1.0 - 2.0 * tail;
        if coverage < CONFIDENCE {
            break;
        }
        best = (rank, coverage);
    }
    best
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[half]
    } else {
        (sorted[half - 1] + sorted[half]) / 2.0
    }
}

fn interpolated(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let below = position.floor();
    let low = sorted[below as usize];
    let high = sorted[(below as usize + 1).min(sorted.len() - 1)];
    low + (high - low) * (position - below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_or_the_mean_of_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    /// Conover's table of binomial intervals for the median; coverage is an exact fraction of 2^n.
    #[test]
    fn interval_ranks_are_those_of_the_tables() {
        for (count, rank, coverage) in [
            (1, 1, 0.0),
            (2, 1, 0.5),
            (5, 1, 1.0 - 2.0 / 32.0),
            (6, 1, 1.0 - 2.0 / 64.0),
            (8, 1, 1.0 - 2.0 / 256.0),
            (9, 2, 1.0 - 2.0 * 10.0 / 512.0),
            (10, 2, 1.0 - 2.0 * 11.0 / 1024.0),
            (12, 3, 1.0 - 2.0 * 79.0 / 4096.0),
            (20, 6, 1.0 - 2.0 * 21_700.0 / 1_048_576.0),
        ] {
            let (found, reached) = interval_rank(count);
            assert_eq!(found, rank, "{count} values");
            assert!(
                (reached - coverage).abs() < 1e-12,
                "{count} values: {reached} for {coverage}"
            );
        }
    }

    #[test]
    fn many_rounds_keep_an_interval() {
        let (rank, coverage) = interval_rank(2000);
        // The normal approximation: 1000 - 1.96 * sqrt(500).
        assert!((955..=957).contains(&rank), "{rank}");
        assert!((0.95..0.956).contains(&coverage), "{coverage}");
    }

    #[test]
    fn estimate_takes_the_ranks_from_both_ends() {
        let values = (1..=10).rev().map(f64::from).collect();
        let estimate = Estimate::new(values).unwrap();
        assert_eq!(
            (estimate.low, estimate.median, estimate.high),
            (2.0, 5.5, 9.0)
        );
        assert_eq!(estimate.rounds, 10);
        assert!(estimate.is_confident());
        let few = Estimate::new(vec![1.0, 2.0, 3.0, 4.0, 9.0]).unwrap();
        assert_eq!((few.low, few.median, few.high), (1.0, 3.0, 9.0));
        assert_eq!(few.coverage, 0.9375);
        assert!(!few.is_confident());
        assert_eq!(Estimate::new(vec![1.0, f64::NAN]), None);
    }

    #[test]
    fn an_unbounded_value_only_moves_the_upper_end() {
        let mut values: Vec<f64> = (1..=9).map(f64::from).collect();
        values.push(f64::INFINITY);
        let one = Estimate::new(values.clone()).unwrap();
        assert_eq!((one.low, one.median, one.high), (2.0, 5.5, 9.0));
        values[8] = f64::INFINITY;
        assert_eq!(Estimate::new(values).unwrap().high, f64::INFINITY);
    }

    #[test]
    fn spread_is_of_the_middle_half() {
        assert_eq!(spread(&[9.0, 10.0, 10.0, 10.0, 11.0]), Some(0.0));
        assert_eq!(spread(&[8.0, 9.0, 10.0, 11.0, 12.0]), Some(0.2));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<u32> = (1..=1000).rev().collect();
        assert_eq!(Percentile::P50.of(&values), Some(500));
        assert_eq!(Percentile::P99.of(&values), Some(990));
        assert_eq!(Percentile::P99_9.of(&values), Some(999));
        assert_eq!(Percentile::P99_9.of(&[7]), Some(7));
        assert_eq!(Percentile::P50.of(&[]), None);
    }
}
