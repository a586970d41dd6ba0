//! Horizontal bars with intervals: a row for each thing compared, a bar in it for each series.

use super::svg::{Anchor, MARGIN, Svg, width_of};
use super::{Axis, Mark, axis::Domain, svg::Colour};

/// A plot of bars.
#[derive(Clone, Debug)]
pub struct BarChart {
    /// Its heading.
    pub title: String,
    /// The axis of values; bars want [`super::Scale::Linear`].
    pub axis: Axis,
    /// Name and colour of each series.
    pub series: Vec<(String, Colour)>,
    /// The rows from above.
    pub rows: Vec<Row>,
    /// Where the axis ends at the latest. A longer bar is cut, marked as such, and its value written.
    pub limit: Option<f64>,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub label: String,
    /// A value for each series; `None` where there is none.
    pub bars: Vec<Option<Mark>>,
}

const WIDTH: f64 = 800.0;
const BAR: f64 = 12.0;
const GAP: f64 = 10.0;

/// Where the bars are.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    domain: Domain,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        self.left + self.domain.at(value) * (self.right - self.left)
    }
}

/// Draws `chart`. Rows and series without any value are left out.
pub fn bars(chart: &BarChart) -> String {
    let rows: Vec<_> = chart
        .rows
        .iter()
        .filter(|row| drawable(row).next().is_some())
        .collect();
    let series: Vec<_> = (0..chart.series.len())
        .filter(|index| {
            rows.iter()
                .any(|row| drawable(row).any(|(found, _)| found == *index))
        })
        .collect();
    let mut svg = Svg::new(&chart.title, WIDTH);
    let top = legend(&mut svg, chart, &series) + 8.0;
    let row_height = series.len() as f64 * BAR + GAP;
    let label_width = rows
        .iter()
        .map(|row| width_of(&row.label))
        .fold(0.0, f64::max);
    let frame = Frame {
        left: MARGIN + label_width + 8.0,
        // Room for the value behind the longest bar.
        right: WIDTH - MARGIN - 64.0,
        top,
        bottom: top + rows.len() as f64 * row_height,
        domain: domain(chart, &rows),
    };
    axis(&mut svg, chart, &frame);
    for (index, row) in rows.iter().enumerate() {
        let y = top + index as f64 * row_height + GAP / 2.0;
        let centre = y + series.len() as f64 * BAR / 2.0;
        svg.text(
            "",
            Anchor::End,
            (frame.left - 8.0, centre + 4.0),
            &row.label,
        );
        for (found, mark) in drawable(row) {
            let place = series
                .iter()
                .position(|index| *index == found)
                .unwrap_or_default();
            bar(
                &mut svg,
                chart,
                &frame,
                (row, found),
                y + place as f64 * BAR,
                mark,
            );
        }
    }
    svg.line("axis", (frame.x(0.0), top), (frame.x(0.0), frame.bottom));
    svg.finish(frame.bottom + 48.0)
}

fn drawable(row: &Row) -> impl Iterator<Item = (usize, Mark)> {
    row.bars
        .iter()
        .enumerate()
        .filter_map(|(index, mark)| Some((index, (*mark).filter(Mark::is_drawable)?)))
}

fn domain(chart: &BarChart, rows: &[&Row]) -> Domain {
    let limit = chart.limit.unwrap_or(f64::INFINITY);
    let values = rows.iter().flat_map(|row| drawable(row));
    let ends = values.flat_map(|(_, mark)| [mark.value, mark.low, mark.high]);
    Domain::new(chart.axis.scale, ends.map(|value| value.min(limit)))
}

/// Names the series above the bars; returns where they end.
fn legend(svg: &mut Svg, chart: &BarChart, series: &[usize]) -> f64 {
    let (mut x, mut y) = (MARGIN, 46.0);
    for (name, colour) in series.iter().map(|index| &chart.series[*index]) {
        let width = width_of(name) + 34.0;
        if x + width > WIDTH - MARGIN {
            (x, y) = (MARGIN, y + 18.0);
        }
        svg.rect(
            &format!("area {}", colour.class()),
            (x, y - 10.0),
            (12.0, 12.0),
            name,
        );
        svg.text("", Anchor::Start, (x + 18.0, y), name);
        x += width;
    }
    y
}

fn axis(svg: &mut Svg, chart: &BarChart, frame: &Frame) {
    for tick in frame.domain.ticks() {
        let x = frame.x(*tick);
        svg.line("grid", (x, frame.top), (x, frame.bottom));
        svg.text(
            "",
            Anchor::Middle,
            (x, frame.bottom + 16.0),
            &chart.axis.tick(*tick),
        );
    }
    let middle = (frame.left + frame.right) / 2.0;
    svg.text(
        "",
        Anchor::Middle,
        (middle, frame.bottom + 36.0),
        &chart.axis.label,
    );
}

fn bar(svg: &mut Svg, chart: &BarChart, frame: &Frame, of: (&Row, usize), y: f64, mark: Mark) {
    let (row, series) = of;
    let (name, colour) = &chart.series[series];
    let format = chart.axis.format;
    let (zero, end) = (frame.x(0.0), frame.x(mark.value));
    let title = format!("{}, {name}: {}", row.label, mark.say(format));
    let class = format!("area {}", colour.class());
    svg.rect(
        &class,
        (zero.min(end), y),
        ((end - zero).abs(), BAR - 1.5),
        &title,
    );
    let middle = y + (BAR - 1.5) / 2.0;
    let behind = if frame.domain.is_beyond(mark.value) {
        for x in [end - 14.0, end - 8.0] {
            svg.line("break", (x - 3.0, y + BAR), (x + 3.0, y - 1.5));
        }
        end
    } else {
        let (low, high) = (frame.x(mark.low), frame.x(mark.high));
        svg.line("whisker", (low, middle), (high, middle));
        for x in [low, high] {
            svg.line("whisker", (x, middle - 3.0), (x, middle + 3.0));
        }
        high.max(zero)
    };
    svg.text(
        "small",
        Anchor::Start,
        (behind + 4.0, middle + 3.5),
        &format(mark.value),
    );
}
