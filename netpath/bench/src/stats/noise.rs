//! When a run cannot say what it was made to say.

use serde::Serialize;

use super::{Cell, Estimate, Figure, Selector, by_round, loss, paired, rounds, spread};
use crate::{Path, Results};

/// Spread of `direct` (interquartile range over median) above which the machine was too noisy. The largest
/// effect that the goals tell apart is 10 %: where the middle half of the base's own rounds differs by more, a
/// ratio says more about the minute than about the path.
pub const SPREAD_LIMIT: f64 = 0.10;

/// Width of a ratio's interval above which, if the interval includes 1, it says nothing: neither that the path
/// costs more, nor that it costs the same to within a tenth.
pub const WIDTH_LIMIT: f64 = 0.10;

/// Share of units lost above which cost per unit is not that of the path alone: it holds the work that was
/// done for what never arrived.
pub const LOSS_LIMIT: f64 = 0.01;

/// Rounds below which no interval reaches [`super::CONFIDENCE`]: `1 - 2 / 2^n`.
pub const ROUNDS_MIN: u32 = 6;

/// A reason to doubt a run, or part of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Warning {
    /// Too few rounds for intervals of 95 %.
    FewRounds {
        /// Rounds that were measured.
        rounds: u32,
    },
    /// The base itself moved by more than [`SPREAD_LIMIT`], and to compare within rounds did not make up for it: netpath's
    /// ratio to it has an interval wider than [`WIDTH_LIMIT`], or none.
    Spread {
        /// Where.
        cell: Cell,
        /// Interquartile range over median of [`Path::Direct`]'s values.
        spread: f64,
    },
    /// The ratio to [`Path::Direct`] may lie on either side of 1, and the interval is wider than
    /// [`WIDTH_LIMIT`].
    Wide {
        /// The path.
        path: Path,
        /// Where.
        cell: Cell,
        /// The ratio of the values.
        ratio: Estimate,
    },
    /// More than [`LOSS_LIMIT`] was lost.
    Loss {
        /// The path.
        path: Path,
        /// Where.
        cell: Cell,
        /// Share of the units sent.
        lost: f64,
    },
    /// Cells were thrown away.
    Rejected {
        /// How many.
        cells: usize,
    },
}

impl Warning {
    /// Whether the machine was too noisy to compare one of some paths with another in a cell: no goal can be decided then.
    pub fn is_noise(&self, paths: &[Path], cell: Cell) -> bool {
        match self {
            Self::Spread { cell: noisy, .. } => *noisy == cell,
            Self::Wide {
                path, cell: noisy, ..
            } => *noisy == cell && paths.contains(path),
            Self::FewRounds { .. } | Self::Loss { .. } | Self::Rejected { .. } => false,
        }
    }
}

/// Every reason to doubt `results`, the general ones first; none means that the machine was quiet enough.
pub fn warnings(results: &Results) -> Vec<Warning> {
    let mut found = Vec::new();
    let rounds = rounds(results);
    if rounds < ROUNDS_MIN {
        found.push(Warning::FewRounds { rounds });
    }
    if !results.rejected.is_empty() {
        found.push(Warning::Rejected {
            cells: results.rejected.len(),
        });
    }
    for cell in Cell::all(results) {
        let direct: Vec<_> = by_round(results, Path::Direct, cell, Figure::Value)
            .into_values()
            .collect();
        let is_narrow = to_direct(results, Path::Netpath, cell)
            .is_some_and(|ratio| ratio.width() <= WIDTH_LIMIT);
        let spread = spread(&direct).filter(|spread| *spread > SPREAD_LIMIT && !is_narrow);
        found.extend(spread.map(|spread| Warning::Spread { cell, spread }));
        for path in results.paths.iter().map(|state| state.path) {
            found.extend(of_path(results, path, cell));
        }
    }
    found
}

fn of_path(results: &Results, path: Path, cell: Cell) -> impl Iterator<Item = Warning> {
    let wide = to_direct(results, path, cell)
        .filter(|ratio| ratio.contains(1.0) && ratio.width() > WIDTH_LIMIT)
        .map(|ratio| Warning::Wide { path, cell, ratio });
    let loss = loss(results, path, cell)
        .filter(|lost| *lost > LOSS_LIMIT)
        .map(|lost| Warning::Loss { path, cell, lost });
    wide.into_iter().chain(loss)
}

fn to_direct(results: &Results, path: Path, cell: Cell) -> Option<Estimate> {
    let selector = Selector {
        path,
        base: Path::Direct,
        cell,
        figure: Figure::Value,
    };
    paired(results, &selector)
}
