//! Plots as SVG, written here rather than by a library: they follow the reader's light or dark screen, say
//! every value when pointed at, and need no fonts to be measured.

mod axis;
mod bars;
mod lines;
mod svg;

pub use axis::{Axis, Scale};
pub use bars::{BarChart, Row, bars};
pub use lines::{LineChart, Point, Points, Series, cdf, lines};
pub use svg::{Colour, MARK, escaped};

use crate::stats::Estimate;

/// A value with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// The value.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl From<Estimate> for Mark {
    fn from(estimate: Estimate) -> Self {
        Self {
            value: estimate.median,
            low: estimate.low,
            high: estimate.high,
        }
    }
}

impl Mark {
    /// A value that is known exactly.
    pub fn exact(value: f64) -> Self {
        Self {
            value,
            low: value,
            high: value,
        }
    }

    fn is_drawable(&self) -> bool {
        self.value.is_finite() && !self.low.is_nan() && !self.high.is_nan()
    }

    /// The value and, where it has one, its interval as text.
    pub fn say(&self, format: fn(f64) -> String) -> String {
        if self.low == self.high {
            format(self.value)
        } else {
            format!(
                "{} ({} to {})",
                format(self.value),
                format(self.low),
                format(self.high)
            )
        }
    }
}

/// How a series is told from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Its colour.
    pub colour: Colour,
    /// Lengths of its dashes and gaps in pixels as SVG's `stroke-dasharray`; empty for a solid line.
    pub dash: &'static str,
}
