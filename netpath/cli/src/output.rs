//! Results on stdout as a table, JSON or YAML; notes on stderr.

use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
};

use clap::ColorChoice;
use serde::Serialize;

use super::{advice, table::Table};

/// Columns of a terminal that all tables fit, unless all is asked for.
pub(super) const WIDTH: u16 = 80;

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
    pub fn width(&self) -> Option<u16> {
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

    /// Prints a sentence for people, as wide as tables, and an empty line.
    ///
    /// # Errors
    /// As for every method here.
    pub fn paragraph(&self, text: &str) -> Result<(), StdoutError> {
        let width = self.width().map_or(usize::MAX, usize::from);
        self.line(format!("{}\n", folded(text, width)))
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

    /// Prints one of many results for programs: a line of JSON, or a YAML document of a stream.
    ///
    /// # Errors
    /// As for every method here.
    pub fn show_line<T: Serialize>(&self, document: &T) -> Result<(), StdoutError> {
        let bytes = match self.format {
            Format::Yaml => format!("---\n{}", yaml(document)?).into_bytes(),
            Format::Table | Format::Wide | Format::Json => {
                serde_json::to_vec(document).map(newline)?
            }
        };
        self.raw(&bytes)
    }

    fn can_redraw(&self) -> bool {
        self.is_terminal && !is_dumb()
    }

    fn render(&self, tables: &[Table]) -> String {
        tables
            .iter()
            .filter(|table| !table.is_empty())
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
    let text = advice::typed(&text.to_string());
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

/// A text in lines, broken between words.
pub(super) fn folded(text: &str, width: usize) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            lines.push('\n');
            column = 0;
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines
}

/// A text behind a mark of so many columns, with its newline; where there is a width, in lines that begin below one another.
pub(super) fn hanging(mark: &str, columns: usize, text: &str, width: Option<u16>) -> String {
    let lines = match width {
        Some(width) => folded(text, usize::from(width) - columns),
        None => text.to_owned(),
    };
    let below = format!("\n{:columns$}", "");
    format!("{mark}{}\n", lines.replace('\n', &below))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::table;

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

    #[test]
    fn a_sentence_is_broken_between_words() {
        let text = "word ".repeat(40) + &"x".repeat(90) + " end";
        let lines = folded(&text, 80);
        assert_eq!(lines.replace('\n', " "), text);
        let widths: Vec<_> = lines.lines().map(str::len).collect();
        assert_eq!(widths, [79, 79, 39, 90, 3]);
        assert_eq!(folded("one two", 7), "one two");
        assert_eq!(folded("one two", 6), "one\ntwo");
    }
}
