//! Results on stdout as a table, JSON or YAML; notes on stderr.

use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
};

use clap::ColorChoice;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, presets};
use serde::Serialize;

/// Columns of a terminal that all tables fit, unless all is asked for.
const WIDTH: u16 = 80;

/// The last cell of a row about something that is not as it should be.
pub(super) const DRIFT: &str = "drift";

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people, 80 columns wide
    Table,
    /// For people, with all columns, however wide
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// Why a result could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum StdoutError {
    /// Nobody reads any more, as with `netpath stats | head`.
    #[error("stdout is closed")]
    Closed,
    /// Another failure.
    #[error("writing to stdout: {0}")]
    Write(io::Error),
    /// The result has no JSON.
    #[error("writing JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The result has no YAML.
    #[error("writing YAML: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
}

impl From<io::Error> for StdoutError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::Closed
        } else {
            Self::Write(error)
        }
    }
}

/// Standard output in the format that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The format.
    pub format: Format,
    is_terminal: bool,
    colour: bool,
}

impl Output {
    /// To standard output, plain unless colours are wanted there.
    pub fn new(format: Format, colour: ColorChoice) -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self {
            format,
            is_terminal,
            colour: wants_colour(colour, is_terminal),
        }
    }

    /// Whether it has colours.
    pub fn is_coloured(&self) -> bool {
        self.colour
    }

    /// Whether the output is for people rather than for programs.
    pub fn is_table(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// How wide tables may be.
    fn width(&self) -> Option<u16> {
        (self.format != Format::Wide).then_some(WIDTH)
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// When stdout cannot be written, as for every method here.
    pub fn raw(&self, bytes: &[u8]) -> Result<(), StdoutError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }

    /// Prints a line for people.
    ///
    /// # Errors
    /// As for every method here.
    pub fn line(&self, line: impl Display) -> Result<(), StdoutError> {
        self.raw(format!("{line}\n").as_bytes())
    }

    /// Prints a result: a document for programs, or tables for people. Tables without rows are left out.
    ///
    /// # Errors
    /// As for every method here.
    pub fn show<T: Serialize>(
        &self,
        document: &T,
        tables: impl FnOnce() -> Vec<Table>,
    ) -> Result<(), StdoutError> {
        self.raw(
            match self.format {
                Format::Table | Format::Wide => self.render(&tables()).into_bytes(),
                Format::Json => serde_json::to_vec_pretty(document).map(newline)?,
                Format::Yaml => yaml(document)?.into_bytes(),
            }
            .as_slice(),
        )
    }

    /// Prints one of many results: a line of JSON, a YAML document of a stream, or a table, which on a
    /// terminal takes the place of the one before. It has its heading even without rows.
    ///
    /// # Errors
    /// As for every method here.
    pub fn show_next<T: Serialize>(
        &self,
        document: &T,
        table: impl FnOnce() -> Table,
    ) -> Result<(), StdoutError> {
        self.raw(
            match self.format {
                // Cursor home, erase the display: one write, so that nothing flickers.
                Format::Table | Format::Wide if self.can_redraw() => {
                    let text = table().render_within(self.colour, self.width());
                    format!("\x1b[H\x1b[2J{text}").into_bytes()
                }
                Format::Table | Format::Wide => {
                    let text = table().render_within(self.colour, self.width());
                    format!("{text}\n").into_bytes()
                }
                Format::Json => serde_json::to_vec(document).map(newline)?,
                Format::Yaml => format!("---\n{}", yaml(document)?).into_bytes(),
            }
            .as_slice(),
        )
    }

    fn can_redraw(&self) -> bool {
        self.is_terminal && !is_dumb()
    }

    fn render(&self, tables: &[Table]) -> String {
        tables
            .iter()
            .filter(|table| !table.rows.is_empty())
            .map(|table| table.render_within(self.colour, self.width()))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn newline(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(b'\n');
    bytes
}

/// YAML whose strings are strings to readers of YAML 1.1 too, such as PyYAML, which take a plain `on` for
/// a boolean and a plain `12:34:56` for a number to the base 60. No text in a result has several lines.
fn yaml<T: Serialize>(document: &T) -> Result<String, serde_yaml_ng::Error> {
    const BOOLEANS: [&str; 6] = ["on", "off", "yes", "no", "y", "n"];
    let text = serde_yaml_ng::to_string(document)?;
    let mut quoted = String::with_capacity(text.len());
    for line in text.lines() {
        let start = [": ", "- "]
            .into_iter()
            .filter_map(|sign| line.rfind(sign).map(|at| at + sign.len()))
            .max()
            .unwrap_or(line.len());
        let (before, scalar) = line.split_at(start);
        let is_boolean = BOOLEANS
            .iter()
            .any(|word| scalar.eq_ignore_ascii_case(word));
        let is_base_60 = scalar.contains(':')
            && scalar
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b':');
        quoted.push_str(before);
        if is_boolean || is_base_60 {
            quoted.push_str(&format!("'{scalar}'"));
        } else {
            quoted.push_str(scalar);
        }
        quoted.push('\n');
    }
    Ok(quoted)
}

/// Says something that is no result, on stderr.
pub fn note(text: impl Display) {
    // Without a stderr there is nobody to tell.
    let _closed = writeln!(io::stderr().lock(), "netpath: {text}");
}

/// Whether a stream is to have colours. Where nobody has chosen: see <https://no-color.org>.
pub(super) fn wants_colour(choice: ColorChoice, is_terminal: bool) -> bool {
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => is_terminal && !no_color && !is_dumb(),
    }
}

fn is_dumb() -> bool {
    env::var_os("TERM").is_some_and(|term| term == "dumb")
}

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

    /// All columns, as lines, each with its newline.
    pub(super) fn render(&self, colour: bool) -> String {
        self.render_within(colour, None)
    }

    /// The lines. With a width the columns that need not be there are left out, and what is still too wide goes on in the
    /// line below.
    pub(super) fn render_within(&self, colour: bool, width: Option<u16>) -> String {
        let is_shown = |column: &Column| width.is_none() || !column.is_wide;
        let shown: Vec<&Column> = self.columns.iter().filter(|it| is_shown(it)).collect();
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(shown.iter().map(|column| column.heading.as_str()));
        table.add_rows(self.rows.iter().map(|row| {
            let cells = self.columns.iter().zip(row);
            cells
                .filter(|(column, _)| is_shown(column))
                .map(|(_, cell)| cell)
        }));
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
        }
        for (index, column) in shown.iter().enumerate() {
            if let Some(rendered) = table.column_mut(index) {
                let is_last = index + 1 == shown.len();
                rendered.set_padding((0, if is_last { 0 } else { 2 }));
                if column.is_number {
                    rendered.set_cell_alignment(CellAlignment::Right);
                    rendered.set_constraint(ColumnConstraint::ContentWidth);
                }
            }
        }
        let tells_state = shown.last().is_some_and(|column| column.heading == "STATE");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["node", "#packets", "reason"]);
        table.row(["node03".into(), "5".into(), "no_route".into()]);
        table.row(["n".into(), "12345678901".into(), String::new()]);
        table
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
    fn a_narrow_table_fits_and_loses_no_word() {
        let text = states().render_within(false, Some(40));
        assert!(text.lines().all(|line| line.len() <= 40), "{text}");
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

    #[test]
    fn colours_are_as_chosen() {
        assert!(wants_colour(ColorChoice::Always, false));
        assert!(!wants_colour(ColorChoice::Never, true));
        assert!(!wants_colour(ColorChoice::Auto, false));
    }

    #[test]
    fn empty_tables_are_left_out() {
        let output = Output {
            format: Format::Table,
            is_terminal: false,
            colour: false,
        };
        let empty = Table::new(["uplink"]);
        let text = output.render(&[table(), empty, table()]);
        assert_eq!(text.lines().filter(|line| line.is_empty()).count(), 1);
        assert!(!text.contains("UPLINK"));
    }

    #[test]
    fn yaml_is_safe_for_readers_of_yaml_1_1() {
        #[derive(Serialize)]
        struct Document {
            fast_path: &'static str,
            made: bool,
            macs: [&'static str; 2],
            name: &'static str,
        }
        let document = Document {
            fast_path: "on",
            made: true,
            macs: ["12:34:56:12:34:56", "12:34:56:12:34:5a"],
            name: "uplink: off",
        };
        let expected = "\
fast_path: 'on'
made: true
macs:
- '12:34:56:12:34:56'
- 12:34:56:12:34:5a
name: 'uplink: off'
";
        assert_eq!(yaml(&document).expect("serializes"), expected);
    }

    #[test]
    fn a_broken_pipe_is_told_apart() {
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(StdoutError::from(broken), StdoutError::Closed));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(StdoutError::from(full), StdoutError::Write(_)));
    }
}
