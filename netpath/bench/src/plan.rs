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
    /// Of all paths but direct, netpath, kernel and iptables only what shows the cost of a packet: UDP packets and TCP
    /// requests, and of those with a number of rules and of the flowtable only on one node.
    pub sparse: bool,
}

impl Path {
    /// What others would pick instead of a router on the node.
    pub const OF_OTHERS: [Self; 6] = [
        Self::Nat,
        Self::Bridge,
        Self::Macvlan,
        Self::Ipvlan,
        Self::Vxlan,
        Self::Ipip,
    ];

    /// All of them, those with a number of rules with each of these.
    #[must_use]
    pub fn all(rules: &[u32]) -> Vec<Self> {
        let mut all = vec![
            Self::Direct,
            Self::Floor,
            Self::FloorRemote,
            Self::Netpath,
            Self::Kernel,
            Self::Iptables,
        ];
        for kind in [Self::IptablesRules, Self::NftRules, Self::NftSet] {
            all.extend(rules.iter().copied().map(kind));
        }
        all.push(Self::NftFlowtable);
        all.extend(Self::OF_OTHERS);
        all
    }

    /// Whether its packets pass the lab's nodes.
    pub(crate) fn passes_nodes(self) -> bool {
        match self {
            Self::Direct | Self::Bridge | Self::Macvlan | Self::Ipvlan => false,
            Self::Floor
            | Self::FloorRemote
            | Self::Netpath
            | Self::Kernel
            | Self::Iptables
            | Self::IptablesRules(_)
            | Self::NftRules(_)
            | Self::NftSet(_)
            | Self::NftFlowtable
            | Self::Nat
            | Self::Vxlan
            | Self::Ipip => true,
        }
    }

    /// Whether it has interfaces that no other path has.
    pub(crate) fn has_way(self) -> bool {
        !self.passes_nodes() || matches!(self, Self::Vxlan | Self::Ipip)
    }

    /// Whether it joins endpoints that are placed so, in this family.
    pub fn joins(self, reach: Reach, family: Family) -> bool {
        match self {
            Self::Direct
            | Self::Netpath
            | Self::Kernel
            | Self::Iptables
            | Self::IptablesRules(_)
            | Self::NftRules(_)
            | Self::NftSet(_)
            | Self::NftFlowtable
            | Self::Nat => true,
            Self::Floor | Self::Bridge | Self::Macvlan | Self::Ipvlan => reach == Reach::SameNode,
            Self::FloorRemote | Self::Vxlan => reach == Reach::TwoNodes,
            // IPv6 in IPv6 is another device (ip6tnl), which nobody's pod network is made of.
            Self::Ipip => reach == Reach::TwoNodes && family == Family::V4,
        }
    }
}

impl Scope {
    /// Whether the run has this cell.
    fn has(&self, cell: Visit) -> bool {
        let by_packet = matches!(cell.measure, Measure::UdpPacket | Measure::TcpRequest);
        let shows_it = match cell.path {
            Path::Direct | Path::Netpath | Path::Kernel | Path::Iptables => true,
            Path::IptablesRules(_) | Path::NftRules(_) | Path::NftSet(_) | Path::NftFlowtable => {
                cell.reach == Reach::SameNode && by_packet
            }
            Path::Floor
            | Path::FloorRemote
            | Path::Nat
            | Path::Bridge
            | Path::Macvlan
            | Path::Ipvlan
            | Path::Vxlan
            | Path::Ipip => by_packet,
        };
        cell.path.joins(cell.reach, cell.family) && (shows_it || !self.sparse)
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
    fn a_path_has_only_cells_that_it_joins() {
        use Reach::{SameNode, TwoNodes};
        let of = |path, sparse| {
            let scope = Scope {
                paths: vec![path],
                sparse,
                ..scope()
            };
            let mut cells: Vec<_> = scope
                .round(1, 0)
                .iter()
                .map(|cell| (cell.reach, cell.family))
                .collect();
            let all = cells.len();
            cells.sort_unstable();
            cells.dedup();
            (all, cells)
        };
        let both = |reach| Family::ALL.map(|family| (reach, family)).to_vec();
        let everywhere = [both(SameNode), both(TwoNodes)].concat();
        for path in [Path::Floor, Path::Bridge, Path::Macvlan, Path::Ipvlan] {
            assert_eq!(of(path, true), (2 * 2, both(SameNode)), "{path}");
            assert_eq!(of(path, false), (4 * 2, both(SameNode)), "{path}");
        }
        for path in [Path::FloorRemote, Path::Vxlan] {
            assert_eq!(of(path, true), (2 * 2, both(TwoNodes)), "{path}");
        }
        assert_eq!(of(Path::Ipip, true), (2, vec![(TwoNodes, Family::V4)]));
        assert_eq!(of(Path::Nat, true), (2 * 4, everywhere.clone()));
        assert_eq!(of(Path::Netpath, true), (4 * 4, everywhere));
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
