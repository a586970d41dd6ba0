//! Lines over two axes, and distributions as such lines.

use super::svg::{Anchor, MARGIN, Svg, width_of};
use super::{Axis, Mark, Scale, Style, axis::Domain};

/// A plot of lines.
#[derive(Clone, Debug)]
pub struct LineChart {
    /// Its heading.
    pub title: String,
    /// The axis to the right.
    pub x: Axis,
    /// The axis upwards.
    pub y: Axis,
    /// The lines, in the legend's order.
    pub series: Vec<Series>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name.
    pub label: String,
    /// Its look.
    pub style: Style,
    /// What it goes through.
    pub points: Points,
}

/// What a line goes through.
#[derive(Clone, Debug)]
pub enum Points {
    /// Measured points, marked with their intervals.
    Measured(Vec<Point>),
    /// A curve through points so near that they are not marked.
    Curve(Vec<(f64, f64)>),
    /// One value, whatever x is: a line all across with its interval as a band.
    Level(Mark),
}

/// A measured point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Where on the x axis.
    pub x: f64,
    /// What was measured there.
    pub y: Mark,
}

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 420.0;
const LEGEND_LINE: f64 = 20.0;

/// Where the lines are.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: Domain,
    y: Domain,
}

impl Frame {
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (
            self.left + self.x.at(x) * (self.right - self.left),
            self.bottom - self.y.at(y) * (self.bottom - self.top),
        )
    }
}

/// Draws `chart`. Points that a logarithmic axis cannot show are left out, and so are series without any.
pub fn lines(chart: &LineChart) -> String {
    let series: Vec<_> = chart
        .series
        .iter()
        .filter_map(|series| shown(chart, series))
        .collect();
    let mut svg = Svg::new(&chart.title, WIDTH);
    let legend_width = series
        .iter()
        .map(|s| width_of(&s.label))
        .fold(0.0, f64::max)
        + 40.0;
    let height = HEIGHT.max(110.0 + series.len() as f64 * LEGEND_LINE);
    let y = Domain::new(
        chart.y.scale,
        series.iter().flat_map(|series| heights(&series.points)),
    );
    let tick_width = y
        .ticks()
        .iter()
        .map(|t| width_of(&chart.y.tick(*t)))
        .fold(0.0, f64::max);
    let frame = Frame {
        left: MARGIN + 20.0 + tick_width,
        right: WIDTH - MARGIN - legend_width - 8.0,
        top: 44.0,
        bottom: height - 52.0,
        x: Domain::new(
            chart.x.scale,
            series.iter().flat_map(|series| places(&series.points)),
        ),
        y,
    };
    axes(&mut svg, chart, &frame);
    for (index, series) in series.iter().enumerate() {
        draw(&mut svg, chart, &frame, series);
        let y = frame.top + 12.0 + index as f64 * LEGEND_LINE;
        let x = frame.right + 16.0;
        let class = format!("line {}", series.style.colour.class());
        let sample = [(x, y - 4.0), (x + 26.0, y - 4.0)];
        svg.polyline(&class, series.style.dash, &sample, &series.label);
        svg.text("", Anchor::Start, (x + 32.0, y), &series.label);
    }
    svg.finish(height)
}

/// Draws the distribution of each of `samples`: the share that is not above x, by nines, as far as the number
/// of values reaches. Up to a few hundred points are drawn of each.
pub fn cdf(title: String, x: Axis, samples: Vec<(String, Style, Vec<u32>)>) -> String {
    let y = Axis {
        label: "share of round trips not slower".into(),
        scale: Scale::Nines,
        format: super::super::format::share,
    };
    let series = samples
        .into_iter()
        .map(|(label, style, values)| Series {
            label,
            style,
            points: Points::Curve(curve(values)),
        })
        .collect();
    lines(&LineChart {
        title,
        x,
        y,
        series,
    })
}

/// Points of the distribution of `values`: at equal steps of nines, by nearest rank.
fn curve(mut values: Vec<u32>) -> Vec<(f64, f64)> {
    const STEPS: u32 = 240;
    values.sort_unstable();
    let count = values.len();
    // The last of n values is the estimate of no further nine than log10(n).
    let nines = (count.max(1) as f64).log10().min(5.0);
    (0..=STEPS)
        .map(|step| 1.0 - 10_f64.powf(-nines * f64::from(step) / f64::from(STEPS)))
        .filter_map(|share| {
            let rank = ((share * count as f64).ceil() as usize).max(1);
            values.get(rank - 1).map(|value| (f64::from(*value), share))
        })
        .collect()
}

/// The part of `series` that both axes can show.
fn shown(chart: &LineChart, series: &Series) -> Option<Series> {
    let fits =
        |axis: &Axis, value: f64| value.is_finite() && (axis.scale != Scale::Log || value > 0.0);
    let points = match &series.points {
        Points::Measured(points) => {
            let mut points = points.clone();
            points
                .retain(|p| p.y.is_drawable() && fits(&chart.x, p.x) && fits(&chart.y, p.y.value));
            points.sort_by(|one, other| one.x.total_cmp(&other.x));
            (!points.is_empty()).then_some(Points::Measured(points))
        }
        Points::Curve(points) => {
            let mut points = points.clone();
            points.retain(|(x, y)| fits(&chart.x, *x) && fits(&chart.y, *y));
            (!points.is_empty()).then_some(Points::Curve(points))
        }
        Points::Level(mark) => {
            (mark.is_drawable() && fits(&chart.y, mark.value)).then_some(Points::Level(*mark))
        }
    };
    points.map(|points| Series {
        points,
        ..series.clone()
    })
}

fn places(points: &Points) -> Vec<f64> {
    match points {
        Points::Measured(points) => points.iter().map(|point| point.x).collect(),
        Points::Curve(points) => points.iter().map(|(x, _)| *x).collect(),
        Points::Level(_) => Vec::new(),
    }
}

fn heights(points: &Points) -> Vec<f64> {
    match points {
        Points::Measured(points) => points
            .iter()
            .flat_map(|p| [p.y.value, p.y.low, p.y.high])
            .collect(),
        Points::Curve(points) => points.iter().map(|(_, y)| *y).collect(),
        Points::Level(mark) => vec![mark.value, mark.low, mark.high],
    }
}

fn axes(svg: &mut Svg, chart: &LineChart, frame: &Frame) {
    let Frame {
        left,
        right,
        top,
        bottom,
        ..
    } = *frame;
    for tick in frame.x.ticks() {
        let x = left + frame.x.at(*tick) * (right - left);
        svg.line("grid", (x, top), (x, bottom));
        svg.text("", Anchor::Middle, (x, bottom + 16.0), &chart.x.tick(*tick));
    }
    for tick in frame.y.ticks() {
        let y = bottom - frame.y.at(*tick) * (bottom - top);
        svg.line("grid", (left, y), (right, y));
        svg.text("", Anchor::End, (left - 6.0, y + 4.0), &chart.y.tick(*tick));
    }
    svg.line("axis", (left, bottom), (right, bottom));
    svg.line("axis", (left, top), (left, bottom));
    svg.text(
        "",
        Anchor::Middle,
        ((left + right) / 2.0, bottom + 38.0),
        &chart.x.label,
    );
    svg.text_upwards((MARGIN, (top + bottom) / 2.0), &chart.y.label);
}

fn draw(svg: &mut Svg, chart: &LineChart, frame: &Frame, series: &Series) {
    let Series {
        label,
        style,
        points,
    } = series;
    let line = format!("line {}", style.colour.class());
    match points {
        Points::Measured(points) => {
            let through: Vec<_> = points.iter().map(|p| frame.at(p.x, p.y.value)).collect();
            svg.polyline(&line, style.dash, &through, label);
            for point in points {
                let (low, high) = (
                    frame.at(point.x, point.y.low),
                    frame.at(point.x, point.y.high),
                );
                svg.line("whisker", low, high);
                let x = (chart.x.format)(point.x);
                let title = format!("{label}, {x}: {}", point.y.say(chart.y.format));
                let class = format!("area {}", style.colour.class());
                svg.dot(&class, frame.at(point.x, point.y.value), &title);
            }
        }
        Points::Curve(points) => {
            let through: Vec<_> = points.iter().map(|(x, y)| frame.at(*x, *y)).collect();
            svg.polyline(&line, style.dash, &through, label);
        }
        Points::Level(mark) => {
            let title = format!("{label}: {}", mark.say(chart.y.format));
            let height = |value| frame.bottom - frame.y.at(value) * (frame.bottom - frame.top);
            let (low, high, y) = (height(mark.low), height(mark.high), height(mark.value));
            let class = format!("area band {}", style.colour.class());
            svg.rect(
                &class,
                (frame.left, high),
                (frame.right - frame.left, low - high),
                &title,
            );
            svg.polyline(
                &line,
                style.dash,
                &[(frame.left, y), (frame.right, y)],
                &title,
            );
        }
    }
}
