//! The numbers to reach, as rows for a page or a terminal.

use super::format;
use super::page::{Entry, plain, table};
use super::plot::escaped;
use crate::stats::{Bound, Goal, Unit, Verdict};

/// A goal in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoalRow {
    /// Its number.
    pub number: String,
    /// The family, or both.
    pub family: &'static str,
    /// What is measured.
    pub text: String,
    /// What is wanted.
    pub wanted: String,
    /// The median; a dash where there is none.
    pub measured: String,
    /// Its interval; empty where there is none, or only one figure.
    pub interval: String,
    /// Whether it is reached.
    pub verdict: Verdict,
}

impl GoalRow {
    /// The goal in words.
    pub fn of(goal: &Goal) -> Self {
        let format = match goal.unit {
            Unit::Ratio => format::ratio,
            Unit::Nanoseconds => format::ns,
            Unit::Bytes => format::bytes,
        };
        let Entry(measured, interval) = Entry::of(goal.measured, format);
        let once = goal.measured.is_some_and(|measured| measured.rounds == 1);
        Self {
            number: goal.number.to_string(),
            family: goal.family.map_or("both", |family| family.title()),
            text: goal.text.clone(),
            wanted: match goal.wanted {
                Bound::AtMost(bound) => format!("≤ {}", format(bound)),
                Bound::AtLeast(bound) => format!("≥ {}", format(bound)),
                Bound::Stated => "stated".to_owned(),
            },
            measured,
            interval: if once { String::new() } else { interval },
            verdict: goal.verdict,
        }
    }
}

/// The section of a page; `how` says how they are judged.
pub fn section(goals: &[Goal], how: &str) -> String {
    let head = ["goal", "family", "what", "wanted", "measured", "verdict"].map(str::to_owned);
    let rows = goals.iter().map(|goal| {
        let row = GoalRow::of(goal);
        format!(
            "{}{}<td class=\"text\">{}</td>{}{}<td class=\"{}\">{}</td>",
            plain(&row.number),
            plain(row.family),
            escaped(&row.text),
            plain(&row.wanted),
            Entry(row.measured, row.interval).html(),
            row.verdict.slug(),
            row.verdict,
        )
    });
    format!(
        "<h2>The numbers to reach</h2><p>{}</p>{}",
        escaped(how),
        table("", &head, rows)
    )
}
