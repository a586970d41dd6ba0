//! From samples to what is printed: medians of paired figures with their intervals.

use super::results::{
    ChangeKind, HopSample, PacketKind, ProgramSample, Reaction, ScaleResults, Size,
};
use crate::bench::{Family, Path, Reach};

/// A median with a 95 % confidence interval by order statistics, which asks nothing of the distribution; with fewer
/// than six samples it is the whole range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Median {
    /// The median.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The median of some figures; `None` of none.
pub fn median(figures: impl IntoIterator<Item = f64>) -> Option<Median> {
    let mut sorted: Vec<f64> = figures.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    let middle = count / 2;
    let value = match count {
        0 => return None,
        _ if count % 2 == 0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    };
    // The normal approximation of the binomial: ranks count/2 -+ 0.98 sqrt(count).
    let half = 0.98 * (count as f64).sqrt();
    let low = (count as f64 / 2.0 - half).floor().max(0.0) as usize;
    let high = ((count as f64 / 2.0 + half).ceil() as usize).min(count - 1);
    Some(Median {
        value,
        low: sorted[low],
        high: sorted[high],
    })
}

/// One line of what the programs cost.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramCost {
    /// The packet.
    pub packet: PacketKind,
    /// Address family.
    pub family: Family,
    /// The node's tables.
    pub size: Size,
    /// One packet again and again, nanoseconds above the empty program.
    pub same: Median,
    /// One run for each of many destinations, likewise.
    pub spread: Median,
}

/// One line of what a hop costs.
#[derive(Clone, Debug, PartialEq)]
pub struct HopCost {
    /// The path.
    pub path: Path,
    /// Where to.
    pub reach: Reach,
    /// Address family.
    pub family: Family,
    /// The node's tables.
    pub size: Size,
    /// Destinations.
    pub destinations: u32,
    /// Nanoseconds per packet, of the median batch.
    pub packet: Median,
    /// Nanoseconds per packet above the direct path, pair by pair.
    pub hop: Median,
    /// That over the smallest tables' of the same round, where the path is netpath's.
    pub growth: Option<Median>,
}

/// One line of how soon a change takes effect.
#[derive(Clone, Debug, PartialEq)]
pub struct ReactionTime {
    /// Who forwards.
    pub path: Path,
    /// What changed.
    pub change: ChangeKind,
    /// Address family.
    pub family: Family,
    /// Microseconds until the request was answered.
    pub request: Median,
    /// Microseconds until the first packet.
    pub first_packet: Median,
    /// Microseconds between packets.
    pub interval: Median,
}

/// The cost inside the programs, in the order of packet, family and size.
pub fn programs(results: &ScaleResults) -> Vec<ProgramCost> {
    let mut keys: Vec<_> = results
        .programs
        .iter()
        .map(|sample| (sample.packet, sample.family, sample.size))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .filter_map(|(packet, family, size)| {
            let of = |spread: bool| {
                let samples = results.programs.iter().filter(|sample: &&ProgramSample| {
                    (sample.packet, sample.family, sample.size) == (packet, family, size)
                        && sample.spread == spread
                });
                median(samples.map(|sample| (sample.run_ps as f64 - sample.empty_ps as f64) / 1e3))
            };
            Some(ProgramCost {
                packet,
                family,
                size,
                same: of(false)?,
                spread: of(true)?,
            })
        })
        .collect()
}

/// The cost on the wire, in the order of path, reach, family, destinations and size.
pub fn hops(results: &ScaleResults) -> Vec<HopCost> {
    let key = |sample: &HopSample| {
        (
            sample.path,
            sample.reach,
            sample.family,
            sample.spread,
            sample.size,
        )
    };
    let cost = |sample: &HopSample| sample.batch_ns - sample.direct_batch_ns;
    let mut keys: Vec<_> = results.hops.iter().map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    let least = results.tables.iter().map(|table| table.size).min();
    keys.into_iter()
        .filter_map(|wanted| {
            let (path, reach, family, spread, size) = wanted;
            let samples: Vec<_> = results
                .hops
                .iter()
                .filter(|sample| key(sample) == wanted)
                .collect();
            let growth = samples.iter().filter_map(|sample| {
                let least = (path, reach, family, spread, least?);
                let base = results
                    .hops
                    .iter()
                    .find(|base| key(base) == least && base.round == sample.round)?;
                Some(cost(sample) / cost(base))
            });
            Some(HopCost {
                path,
                reach,
                family,
                size,
                destinations: samples.first()?.destinations,
                packet: median(samples.iter().map(|sample| sample.batch_ns))?,
                hop: median(samples.iter().map(|sample| cost(sample)))?,
                growth: median(growth).filter(|_| path == Path::Netpath),
            })
        })
        .collect()
}

/// How soon changes took effect.
pub fn reactions(results: &ScaleResults) -> Vec<ReactionTime> {
    let key = |reaction: &Reaction| (reaction.change, reaction.path, reaction.family);
    let mut keys: Vec<_> = results.reactions.iter().map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .filter_map(|wanted| {
            let of = |figure: fn(&Reaction) -> u64| {
                let found = results.reactions.iter().filter(|it| key(it) == wanted);
                median(found.map(|reaction| figure(reaction) as f64 / 1e3))
            };
            Some(ReactionTime {
                change: wanted.0,
                path: wanted.1,
                family: wanted.2,
                request: of(|reaction| reaction.request_ns)?,
                first_packet: of(|reaction| reaction.first_packet_ns)?,
                interval: of(|reaction| reaction.interval_ns)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_their_intervals() {
        assert_eq!(median([]), None);
        let of = |figures: &[f64]| median(figures.iter().copied()).expect("figures");
        let one = of(&[4.0]);
        assert_eq!((one.value, one.low, one.high), (4.0, 4.0, 4.0));
        let even = of(&[1.0, 4.0, 3.0, 2.0]);
        assert_eq!((even.value, even.low, even.high), (2.5, 1.0, 4.0));
        // The exact interval of 15, by the binomial, is from the fourth to the twelfth; this one is a rank wider.
        let many = of(&(0..15).map(f64::from).collect::<Vec<_>>());
        assert_eq!((many.value, many.low, many.high), (7.0, 3.0, 12.0));
    }
}
