//! How figures are written: three significant digits and the unit that suits them.

use crate::stats::Estimate;

/// Nanoseconds, as ns, µs, ms or s.
pub fn ns(value: f64) -> String {
    let (scale, unit) = match value.abs() {
        size if size < 999.5 => (1.0, "ns"),
        size if size < 999.5e3 => (1e3, "µs"),
        size if size < 999.5e6 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    format!("{} {unit}", digits(value / scale))
}

/// A number with k, M or G for thousands, millions and thousands of millions.
pub fn count(value: f64) -> String {
    let (scale, unit) = match value.abs() {
        size if size < 9999.5 => return format!("{value:.0}"),
        size if size < 999.5e3 => (1e3, " k"),
        size if size < 999.5e6 => (1e6, " M"),
        _ => (1e9, " G"),
    };
    format!("{}{unit}", digits(value / scale))
}

/// Bytes, as B, kB, MB or GB of 1000 each: the ticks of a logarithmic axis are then round.
pub fn bytes(value: f64) -> String {
    let (scale, unit) = match value.abs() {
        size if size < 999.5 => return format!("{value:.0} B"),
        size if size < 999.5e3 => (1e3, "kB"),
        size if size < 999.5e6 => (1e6, "MB"),
        _ => (1e9, "GB"),
    };
    format!("{} {unit}", digits(value / scale))
}

/// Bytes per second as Gbit/s.
pub fn gbit(bytes_per_second: f64) -> String {
    format!("{} Gbit/s", digits(bytes_per_second * 8.0 / 1e9))
}

/// A share as a percentage, with every nine that it has.
pub fn share(value: f64) -> String {
    let text = format!("{:.3}", value * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A ratio.
pub fn ratio(value: f64) -> String {
    match value.abs() {
        size if size.is_infinite() => "∞".into(),
        size if size < 0.1 => format!("{value:.4}"),
        size if size < 10.0 => format!("{value:.3}"),
        _ => digits(value),
    }
}

/// A ratio in a sentence.
pub fn times(value: f64) -> String {
    if value.is_infinite() {
        return "∞".into();
    }
    format!("{value:.2}")
}

/// An estimate, and its interval with the unit once where both ends have the same.
pub fn estimate(estimate: &Estimate, format: fn(f64) -> String) -> (String, String) {
    let (low, high) = (format(estimate.low), format(estimate.high));
    let low = match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => number,
        _ => &low,
    };
    (format(estimate.median), format!("{low} to {high}"))
}

/// Three significant digits.
fn digits(value: f64) -> String {
    let places = match value.abs() {
        size if size >= 99.95 || size == 0.0 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        size if size >= 0.09995 => 3,
        _ => 4,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_names_its_unit_once() {
        let of = |low, high| {
            estimate(
                &Estimate {
                    low,
                    high,
                    ..ESTIMATE
                },
                ns,
            )
        };
        assert_eq!(of(900.0, 950.0), ("925 ns".into(), "900 to 950 ns".into()));
        assert_eq!(of(900.0, 1200.0).1, "900 ns to 1.20 µs");
        assert_eq!(
            estimate(
                &Estimate {
                    high: f64::INFINITY,
                    ..ESTIMATE
                },
                ratio
            )
            .1,
            "900 to ∞"
        );
    }

    const ESTIMATE: Estimate = Estimate {
        median: 925.0,
        low: 900.0,
        high: 950.0,
        coverage: 0.97,
        rounds: 10,
    };

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        assert_eq!(ns(0.0), "0 ns");
        assert_eq!(ns(912.4), "912 ns");
        assert_eq!(ns(999.9), "1.00 µs");
        assert_eq!(ns(13_370.0), "13.4 µs");
        assert_eq!(ns(-42.26), "-42.3 ns");
        assert_eq!(ns(2.5e9), "2.50 s");
        assert_eq!(ns(0.1234), "0.123 ns");
        assert_eq!(count(1000.0), "1000");
        assert_eq!(count(1_234_000.0), "1.23 M");
        assert_eq!(count(10_000.0), "10.0 k");
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(bytes(-3.25e6), "-3.25 MB");
        assert_eq!(gbit(1.25e9), "10.0 Gbit/s");
        assert_eq!(share(0.999), "99.9 %");
        assert_eq!(share(0.0), "0 %");
        assert_eq!(ratio(1.0834), "1.083");
        assert_eq!(ratio(0.04), "0.0400");
        assert_eq!(ratio(28.4567), "28.5");
        assert_eq!(ratio(f64::INFINITY), "∞");
    }
}
