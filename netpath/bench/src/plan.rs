//! Which cells a run has, and in which order.

use netpath::random::SplitMix64;
use netpath_common::Family;

use super::results::{Measure, Path, Reach};

/// One cell of a round: what to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The path.
    pub path: Path,
    /// Where the endpoints are.
    pub reach: Reach,
    /// Address family.
    pub family: Family,
    /// What is measured.
    pub measure: Measure,
}

/// What is measured of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The paths.
    pub paths: Vec<Path>,
    /// The measures.
    pub measures: Vec<Measure>,
    /// The families.
    pub families: Vec<Family>,
    /// Where the endpoints are.
    pub reaches: Vec<Reach>,
    /// Of the paths with a number of rules and of the flowtable, only what shows the cost of a rule: UDP
    /// packets and TCP requests, on one node.
    pub sparse: bool,
}

impl Scope {
    /// Whether the run has this cell.
    fn has(&self, cell: Visit) -> bool {
        match cell.path {
            Path::Direct | Path::Netpath | Path::Kernel | Path::Iptables => true,
            Path::IptablesRules(_) | Path::NftRules(_) | Path::NftSet(_) | Path::NftFlowtable => {
                !self.sparse
                    || (cell.reach == Reach::SameNode
                        && matches!(cell.measure, Measure::UdpPacket | Measure::TcpRequest))
            }
        }
    }

    /// The cells of a round. For each reach and family all paths follow one another, in an order that depends on
    /// the seed and the round: a disturbance of the machine meets all of them alike, and none always comes after
    /// the same other. A path takes all its measures in one visit: to switch takes as long as a cell.
    pub fn round(&self, seed: u64, round: u32) -> Vec<Visit> {
        let mut random = SplitMix64::new(seed ^ (u64::from(round) << 32));
        let mut cells = Vec::new();
        for &reach in &self.reaches {
            for &family in &self.families {
                let mut paths = self.paths.clone();
                random.shuffle(&mut paths);
                let measures = |path| {
                    self.measures.iter().map(move |&measure| Visit {
                        path,
                        reach,
                        family,
                        measure,
                    })
                };
                let all = paths.into_iter().flat_map(measures);
                cells.extend(all.filter(|&cell| self.has(cell)));
            }
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope {
            paths: vec![
                Path::Direct,
                Path::Netpath,
                Path::Kernel,
                Path::Iptables,
                Path::IptablesRules(100),
            ],
            measures: Measure::ALL.to_vec(),
            families: Family::ALL.to_vec(),
            reaches: Reach::ALL.to_vec(),
            sparse: true,
        }
    }

    #[test]
    fn every_cell_comes_once() {
        let cells = scope().round(1, 0);
        // Four paths everywhere, and one with two measures in both families of one reach.
        assert_eq!(cells.len(), 4 * 4 * 2 * 2 + 2 * 2);
        for (index, cell) in cells.iter().enumerate() {
            assert!(!cells[..index].contains(cell), "{cell:?}");
        }
        let all = Scope {
            sparse: false,
            ..scope()
        };
        assert_eq!(all.round(1, 0).len(), 5 * 4 * 2 * 2);
    }

    #[test]
    fn paths_follow_one_another() {
        let cells = scope().round(1, 0);
        let changes = |key: fn(&Visit) -> (Reach, Family, Option<Path>)| {
            let pairs = cells.windows(2);
            pairs.filter(|pair| key(&pair[0]) != key(&pair[1])).count()
        };
        assert_eq!(changes(|cell| (cell.reach, cell.family, None)), 2 * 2 - 1);
        // Five paths in both families of one reach, four of the other.
        let visits = changes(|cell| (cell.reach, cell.family, Some(cell.path))) + 1;
        assert_eq!(visits, 2 * 5 + 2 * 4);
    }

    #[test]
    fn the_order_depends_on_seed_and_round_only() {
        let scope = scope();
        assert_eq!(scope.round(7, 3), scope.round(7, 3));
        assert_ne!(scope.round(7, 3), scope.round(7, 4));
        assert_ne!(scope.round(7, 3), scope.round(8, 3));
        // The first of a group is not always the same.
        let firsts = (0..20).map(|round| scope.round(7, round)[0].path);
        let mut firsts: Vec<_> = firsts.collect();
        firsts.sort();
        firsts.dedup();
        assert_eq!(firsts.len(), 5);
    }
}
