//! Tables for people.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Width, presets};

/// The last cell of a row about something that is not as it should be.
pub(super) const DRIFT: &str = "drift";

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Columns for people: a heading, and rows of text.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Debug)]
struct Column {
    heading: String,
    is_number: bool,
    is_wide: bool,
}

impl Table {
    /// Without rows. A heading that starts with `#` is that of a column of numbers; one with a `+` before it is left out
    /// where there is not room for everything.
    pub fn new<T: AsRef<str>>(headings: impl IntoIterator<Item = T>) -> Self {
        let columns = headings
            .into_iter()
            .map(|heading| {
                let heading = heading.as_ref();
                let (heading, is_wide) = match heading.strip_prefix('+') {
                    Some(heading) => (heading, true),
                    None => (heading, false),
                };
                Column {
                    heading: heading.trim_start_matches('#').to_uppercase(),
                    is_number: heading.starts_with('#'),
                    is_wide,
                }
            })
            .collect();
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row. An empty cell is shown as a dash.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|cell| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell
            }
        });
        self.rows.push(cells.collect());
    }

    /// Whether it has no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All columns, as lines, each with its newline.
    pub(super) fn render(&self, colour: bool) -> String {
        self.render_within(colour, None)
    }

    /// The lines. With a width the columns that need not be there are left out, they stand closer to one another where words would
    /// not have room, and what is still too wide goes on in the line below.
    pub(super) fn render_within(&self, colour: bool, width: Option<u16>) -> String {
        let is_shown = |column: &Column| width.is_none() || !column.is_wide;
        let columns = self.columns.iter().enumerate();
        let shown: Vec<(usize, &Column)> = columns.filter(|(_, it)| is_shown(it)).collect();
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(shown.iter().map(|(_, column)| column.heading.as_str()));
        table.add_rows(
            self.rows
                .iter()
                .map(|row| shown.iter().filter_map(|(index, _)| row.get(*index))),
        );
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
        }
        let gap = self.gap(&shown, width);
        for (place, (index, column)) in shown.iter().enumerate() {
            if let Some(rendered) = table.column_mut(place) {
                let is_last = place + 1 == shown.len();
                let padding = if is_last { 0 } else { gap };
                rendered.set_padding((0, padding));
                if column.is_number {
                    rendered.set_cell_alignment(CellAlignment::Right);
                    rendered.set_constraint(ColumnConstraint::ContentWidth);
                } else if width.is_some() {
                    let longest = u16::try_from(self.longest_word(*index)).unwrap_or(u16::MAX);
                    let least = Width::Fixed(longest.saturating_add(padding));
                    rendered.set_constraint(ColumnConstraint::LowerBoundary(least));
                }
            }
        }
        let tells_state = shown.last().is_some_and(|(_, it)| it.heading == "STATE");
        let mut text = String::new();
        for (index, line) in table.lines().enumerate() {
            let line = line.trim_end();
            match line.strip_suffix(DRIFT) {
                _ if !colour => text.push_str(line),
                _ if index == 0 => text.push_str(&format!("{BOLD}{line}{PLAIN}")),
                Some(before) if tells_state => {
                    text.push_str(&format!("{before}{RED}{DRIFT}{PLAIN}"));
                }
                _ => text.push_str(line),
            }
            text.push('\n');
        }
        text
    }
}

impl Table {
    /// How far columns are apart: two, or one where the table's words and numbers would not have room otherwise.
    fn gap(&self, shown: &[(usize, &Column)], width: Option<u16>) -> u16 {
        let needed = shown.iter().map(|(index, column)| match column.is_number {
            true => self.longest(*index, |text| vec![text]),
            false => self.longest_word(*index),
        });
        let apart = 2 * shown.len().saturating_sub(1);
        let needed = needed.sum::<usize>() + apart;
        match width {
            Some(width) if needed > usize::from(width) => 1,
            _ => 2,
        }
    }

    /// The longest word of a column's heading and cells, in characters: no word is broken, where that makes a table wider than
    /// it should be, too.
    fn longest_word(&self, column: usize) -> usize {
        self.longest(column, |text| text.split_whitespace().collect())
    }

    /// The longest part of a column's heading and cells, in characters.
    fn longest(&self, column: usize, parts: fn(&str) -> Vec<&str>) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let texts = cells.chain([&self.columns[column].heading]);
        let parts = texts.flat_map(|text| parts(text));
        parts.map(|part| part.chars().count()).max().unwrap_or(0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// With a number, and a cell that is empty.
    pub(crate) fn table() -> Table {
        let mut table = Table::new(["node", "#packets", "reason"]);
        table.row(["node03".into(), "5".into(), "no_route".into()]);
        table.row(["n".into(), "12345678901".into(), String::new()]);
        table
    }

    fn states() -> Table {
        let mut table = Table::new(["endpoint", "+mac", "addresses", "#ifindex", "state"]);
        for (name, state) in [("demo01", "ok"), ("drift", DRIFT)] {
            let addresses = "10.0.1.2/24, 2001:db8:1234:5678:9abc:def0:1234:5678/128";
            let cells = [name, "02:00:00:00:00:01", addresses, "31", state];
            table.row(cells.map(str::to_owned));
        }
        table
    }

    #[test]
    fn no_word_is_broken_however_many_columns_there_are() {
        // Numbers take the room that they need first, and leave none to words.
        let numbers = (0..8).map(|number| format!("#to direct {number}"));
        let headings = ["endpoints", "family", "path"].map(str::to_owned);
        let mut table = Table::new(headings.into_iter().chain(numbers));
        let cells = ["same node", "ipv4", "netpath"].map(str::to_owned);
        let numbers = std::iter::repeat_n("1.241 (1.241-1.241)".to_owned(), 8);
        table.row(cells.into_iter().chain(numbers));
        let text = table.render_within(false, Some(80));
        for word in [
            "ENDPOINTS",
            "FAMILY",
            "PATH",
            "same",
            "node",
            "ipv4",
            "netpath",
        ] {
            let mut words = text.split_whitespace();
            assert!(words.any(|it| it == word), "no {word} in {text}");
        }
    }

    /// What `stats` has of the built-in lab.
    #[test]
    fn columns_stand_closer_where_words_have_no_room() {
        let mut table = Table::new(["node", "ingress", "egress", "outcome", "reason", "#packets"]);
        for cells in [
            [
                "node02",
                "vethhost03",
                "enp2s0",
                "redirect_neigh",
                "",
                "1048576",
            ],
            [
                "node02",
                "enp2s0",
                "vethhost03",
                "punt",
                "neighbour_discovery",
                "3",
            ],
        ] {
            table.row(cells.map(str::to_owned));
        }
        let lines = |width| {
            let text = table.render_within(false, Some(width));
            text.lines().map(str::len).collect::<Vec<_>>()
        };
        assert_eq!(lines(76), [76; 3]);
        assert_eq!(lines(75), [71; 3]);
    }

    #[test]
    fn tables_are_plain_and_aligned() {
        let expected = "NODE        PACKETS  REASON\n\
                        node03            5  no_route\n\
                        n       12345678901  -\n";
        assert_eq!(table().render(false), expected);
    }

    #[test]
    fn colour_is_for_the_heading_only() {
        let text = table().render(true);
        let (first, rest) = text.split_once('\n').expect("lines");
        assert_eq!(first, "\x1b[1mNODE        PACKETS  REASON\x1b[0m");
        assert!(!rest.contains('\x1b'));
    }

    #[test]
    fn a_narrow_table_fits_and_loses_no_word() {
        let text = states().render_within(false, Some(75));
        assert!(text.lines().all(|line| line.len() <= 75), "{text}");
        let narrow = text.replace(char::is_whitespace, "");
        assert!(
            !narrow.contains("MAC") && !narrow.contains("02:00"),
            "{text}"
        );
        for word in ["10.0.1.2/24,", "31", "ok"] {
            assert!(text.contains(word), "no {word} in {text}");
        }
        assert_eq!(states().render_within(false, None).lines().count(), 3);
        assert!(states().render(false).contains("MAC"));
        // What fits is not touched.
        assert_eq!(
            table().render_within(false, Some(80)),
            table().render(false)
        );
    }

    #[test]
    fn drift_is_red_where_it_is_a_state() {
        let text = states().render(true);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].ends_with("  \x1b[31mdrift\x1b[0m"), "{text:?}");
        assert!(
            !lines[1].contains('\x1b') && lines[2].matches('\x1b').count() == 2,
            "{text:?}"
        );
        let mut other = Table::new(["name", "made by"]);
        other.row(["demo01".to_owned(), DRIFT.to_owned()]);
        assert!(!other.render(true).contains("\x1b[31m"));
    }
}
