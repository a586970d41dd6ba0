//! From samples to what is printed: medians of paired figures with their intervals.

use super::results::{
    ChangeKind, HopSample, PacketKind, ProgramSample, Reaction, ScaleResults, Size,
};
use crate::{Family, Path, Reach, stats::Estimate};

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
    pub same: Estimate,
    /// One run for each of many destinations, likewise.
    pub spread: Estimate,
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
    pub packet: Estimate,
    /// Nanoseconds per packet above the direct path, pair by pair.
    pub hop: Estimate,
    /// That over the smallest tables' of the same round, where the path is netpath's.
    pub growth: Option<Estimate>,
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
    pub request: Estimate,
    /// Microseconds until the first packet.
    pub first_packet: Estimate,
    /// Microseconds between packets.
    pub interval: Estimate,
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
                estimate(
                    samples.map(|sample| (sample.run_ps as f64 - sample.empty_ps as f64) / 1e3),
                )
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
    let least = results.tables.iter().map(|table| table.size).min();
    hop_costs(&results.hops, least)
}

/// The same; growth is against tables of the size `least`.
fn hop_costs(all: &[HopSample], least: Option<Size>) -> Vec<HopCost> {
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
    let mut keys: Vec<_> = all.iter().map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .filter_map(|wanted| {
            let (path, reach, family, spread, size) = wanted;
            let samples: Vec<_> = all.iter().filter(|sample| key(sample) == wanted).collect();
            let growth = samples.iter().filter_map(|sample| {
                let least = (path, reach, family, spread, least?);
                let base = all
                    .iter()
                    .find(|base| key(base) == least && base.round == sample.round)?;
                // A base that costs nothing bounds nothing: the worst for what is judged, as in `hop_cost_ratio`.
                Some(if cost(base) > 0.0 {
                    cost(sample) / cost(base)
                } else {
                    f64::INFINITY
                })
            });
            Some(HopCost {
                path,
                reach,
                family,
                size,
                destinations: samples.first()?.destinations,
                packet: estimate(samples.iter().map(|sample| sample.batch_ns))?,
                hop: estimate(samples.iter().map(|sample| cost(sample)))?,
                growth: estimate(growth).filter(|_| path == Path::Netpath),
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
                estimate(found.map(|reaction| figure(reaction) as f64 / 1e3))
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

fn estimate(figures: impl Iterator<Item = f64>) -> Option<Estimate> {
    Estimate::new(figures.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(round: u32, size: Size, cost: f64) -> HopSample {
        HopSample {
            round,
            path: Path::Netpath,
            size,
            reach: Reach::SameNode,
            family: Family::V4,
            spread: false,
            destinations: 1,
            ns: 100.0 + cost,
            direct_ns: 100.0,
            batch_ns: 100.0 + cost,
            direct_batch_ns: 100.0,
            sent: 64,
            received: 64,
            direct_sent: 64,
            direct_received: 64,
        }
    }

    #[test]
    fn intervals_are_the_exact_ones_and_growth_is_paired_by_round() {
        let [small, large] = [10, 1000].map(|endpoints| Size {
            endpoints,
            routes: 10,
        });
        // The machine gets slower on the way; the growth stays, but for one round whose base costs nothing.
        let mut samples: Vec<HopSample> = (0..15)
            .flat_map(|round| {
                let cost = f64::from(round + 1);
                [hop(round, large, 1.5 * cost), hop(round, small, cost)]
            })
            .collect();
        samples.push(hop(15, small, 0.0));
        samples.push(hop(15, large, 1.0));
        let lines = hop_costs(&samples, Some(small));
        assert_eq!([lines[0].size, lines[1].size], [small, large]);
        // Of 16 by the binomial: from the fourth to the thirteenth.
        let hop = lines[0].hop;
        assert_eq!((hop.median, hop.low, hop.high), (7.5, 3.0, 12.0));
        assert_eq!((hop.rounds, hop.is_confident()), (16, true));
        let growth = lines[1].growth.expect("netpath's");
        assert_eq!((growth.median, growth.low, growth.high), (1.5, 1.5, 1.5));
        let one = hop_costs(&samples[30..], Some(small))[1].growth;
        assert_eq!(one.expect("netpath's").median, f64::INFINITY);
    }
}
