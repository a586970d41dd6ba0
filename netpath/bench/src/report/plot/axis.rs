//! Scales and their ticks.

/// How values become lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// In proportion, from zero.
    Linear,
    /// By factors; values must be above zero.
    Log,
    /// Shares by the number of nines: 0.9, 0.99 and 0.999 are equally far apart, as tails of latency need it.
    Nines,
}

/// One axis of a plot.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with the unit where the ticks do not say it.
    pub label: String,
    /// How values become lengths.
    pub scale: Scale,
    /// How a value is written.
    pub format: fn(f64) -> String,
}

impl Axis {
    /// `value` at a tick: without the zeros that fill up the digits of measured values.
    pub fn tick(&self, value: f64) -> String {
        let text = (self.format)(value);
        let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
        let number = match number.contains('.') {
            true => number.trim_end_matches('0').trim_end_matches('.'),
            false => number,
        };
        if unit.is_empty() {
            number.to_owned()
        } else {
            format!("{number} {unit}")
        }
    }
}

/// A scale with its ends.
#[derive(Clone, Debug)]
pub struct Domain {
    scale: Scale,
    min: f64,
    max: f64,
    ticks: Vec<f64>,
}

impl Domain {
    /// The domain that holds all of `values` and ends on ticks. What is not finite, or not above zero on a
    /// logarithmic scale, is not considered.
    pub fn new(scale: Scale, values: impl IntoIterator<Item = f64>) -> Self {
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        let fits = |value: &f64| value.is_finite() && (scale != Scale::Log || *value > 0.0);
        for value in values.into_iter().filter(fits) {
            min = min.min(value);
            max = max.max(value);
        }
        if min > max {
            (min, max) = (1.0, 1.0);
        }
        match scale {
            Scale::Linear => Self::linear(min.min(0.0), max.max(0.0)),
            Scale::Log => Self::log(min, max),
            Scale::Nines => Self::nines(max),
        }
    }

    /// Where `value` lies: 0 at the lower end, 1 at the upper; what is outside lies at the end.
    pub fn at(&self, value: f64) -> f64 {
        let (value, min, max) = (
            self.unfold(value),
            self.unfold(self.min),
            self.unfold(self.max),
        );
        ((value - min) / (max - min)).clamp(0.0, 1.0)
    }

    /// Whether `value` is beyond the upper end.
    pub fn is_beyond(&self, value: f64) -> bool {
        value > self.max
    }

    /// Where the ticks are, ascending.
    pub fn ticks(&self) -> &[f64] {
        &self.ticks
    }

    fn linear(min: f64, max: f64) -> Self {
        let step = round_step((max - min).max(f64::MIN_POSITIVE.sqrt()) / 6.0);
        let (first, last) = ((min / step).floor(), (max / step).ceil().max(1.0));
        let count = (last - first) as usize;
        let ticks: Vec<_> = (0..=count)
            .map(|index| (first + index as f64) * step)
            .collect();
        Self {
            scale: Scale::Linear,
            min: first * step,
            max: last * step,
            ticks,
        }
    }

    fn log(min: f64, max: f64) -> Self {
        let decades = (max / min).log10();
        let steps: &[f64] = if decades > 3.0 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let first = min.log10().floor() as i32;
        let last = max.log10().ceil() as i32 + 1;
        let all: Vec<f64> = (first..=last)
            .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)))
            .collect();
        // From the last tick that is not above the least value to the first that is above the greatest;
        // powers of ten are not exact, hence the tolerance.
        let from = all
            .iter()
            .rposition(|tick| *tick <= min * (1.0 + 1e-9))
            .unwrap_or(0);
        let to = all
            .iter()
            .position(|tick| *tick >= max * (1.0 - 1e-9))
            .unwrap_or(all.len() - 1);
        let ticks = all[from..=to.max(from + 1)].to_vec();
        Self {
            scale: Scale::Log,
            min: ticks[0],
            max: ticks[ticks.len() - 1],
            ticks,
        }
    }

    fn nines(max: f64) -> Self {
        let nines = (1..=5).map(|count| 1.0 - 10_f64.powi(-count));
        let mut ticks: Vec<f64> = [0.0, 0.5].into_iter().chain(nines).collect();
        let last = ticks
            .iter()
            .position(|tick| *tick >= max)
            .unwrap_or(ticks.len() - 1)
            .max(2);
        ticks.truncate(last + 1);
        Self {
            scale: Scale::Nines,
            min: 0.0,
            max: ticks[last],
            ticks,
        }
    }

    fn unfold(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(self.min).log10(),
            Scale::Nines => -(1.0 - value.min(self.max)).log10(),
        }
    }
}

/// The step of 1, 2 or 5 times a power of ten that is next above `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= step)
        .unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_starts_at_zero_and_ends_on_a_tick() {
        let domain = Domain::new(Scale::Linear, [300.0, 1130.0]);
        assert_eq!(
            domain.ticks(),
            [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0, 1200.0]
        );
        assert_eq!(domain.at(0.0), 0.0);
        assert_eq!(domain.at(600.0), 0.5);
        assert!(domain.is_beyond(1201.0));
        assert_eq!(domain.at(f64::INFINITY), 1.0);
        let below = Domain::new(Scale::Linear, [-3.0, 10.0]);
        assert_eq!((below.ticks()[0], below.at(-5.0)), (-5.0, 0.0));
    }

    #[test]
    fn log_puts_factors_at_equal_distances() {
        let domain = Domain::new(Scale::Log, [1.0, 100.0, 10_000.0, f64::INFINITY, 0.0]);
        assert_eq!(domain.ticks(), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        assert!((domain.at(10.0) - 0.25).abs() < 1e-12);
        assert_eq!(
            Domain::new(Scale::Log, [30.0, 400.0]).ticks(),
            [20.0, 50.0, 100.0, 200.0, 500.0]
        );
        assert_eq!(Domain::new(Scale::Log, [1000.0]).ticks(), [1000.0, 2000.0]);
    }

    #[test]
    fn nines_are_equally_far_apart() {
        let domain = Domain::new(Scale::Nines, [0.0, 0.9995]);
        assert_eq!(domain.ticks().len(), 6);
        assert!((domain.at(0.9) - 0.25).abs() < 1e-9);
        assert!((domain.at(0.999) - 0.75).abs() < 1e-9);
        assert_eq!(domain.at(1.0), 1.0);
    }

    #[test]
    fn ticks_are_written_without_filling_zeros() {
        let axis = |format| Axis {
            label: String::new(),
            scale: Scale::Linear,
            format,
        };
        assert_eq!(axis(|value| format!("{value:.2} µs")).tick(1.5), "1.5 µs");
        assert_eq!(axis(|value| format!("{value:.2}")).tick(2.0), "2");
        assert_eq!(axis(|value| format!("{value:.0} ns")).tick(100.0), "100 ns");
    }

    #[test]
    fn nothing_to_show_is_still_a_domain() {
        for scale in [Scale::Linear, Scale::Log, Scale::Nines] {
            for values in [vec![], vec![0.0], vec![f64::NAN]] {
                let domain = Domain::new(scale, values);
                assert!(domain.ticks().len() >= 2);
                assert!(
                    domain
                        .ticks()
                        .iter()
                        .all(|tick| domain.at(*tick).is_finite())
                );
            }
        }
    }
}
