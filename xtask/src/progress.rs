//! What the user sees: one line per step, and a spinner for the long ones on a terminal.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::command;

const TICK: Duration = Duration::from_millis(120);
const LINES_KEPT_FOR_AN_ERROR: usize = 40;

/// Announces a step.
pub fn step(what: &str) {
    eprintln!("==> {what}");
}

/// Adds a line to the current step.
pub fn note(text: &str) {
    eprintln!("    {text}");
}

/// Shows the command that is about to run.
pub fn show(command: &Command) {
    note(&format!("$ {}", command::describe(command)));
}

/// Runs one announced step and says how long it took.
pub fn timed<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    step(what);
    let started = Instant::now();
    let result = work();
    let outcome = if result.is_ok() { "done" } else { "failed" };
    note(&format!(
        "{outcome} after {:.1} s",
        started.elapsed().as_secs_f64()
    ));
    result
}

/// Shows and runs a command that takes long. On a terminal a spinner shows the time and the last line of
/// its output; elsewhere nothing is printed unless it fails.
pub fn run_long(command: &mut Command) -> Result<()> {
    show(command);
    let spinner = if std::io::stderr().is_terminal() {
        spinner()?
    } else {
        ProgressBar::hidden()
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", command::describe(command)))?;
    let stderr = child.stderr.take().context("the command has no stderr")?;
    let mut last = VecDeque::with_capacity(LINES_KEPT_FOR_AN_ERROR);
    for line in BufReader::new(stderr).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
        spinner.set_message(line.trim_start().to_owned());
        if last.len() == LINES_KEPT_FOR_AN_ERROR {
            last.pop_front();
        }
        last.push_back(line);
    }
    let status = child.wait()?;
    spinner.finish_and_clear();
    if !status.success() {
        let tail = Vec::from(last).join("\n");
        bail!("`{}` failed: {status}\n{tail}", command::describe(command));
    }
    Ok(())
}

fn spinner() -> Result<ProgressBar> {
    let spinner = ProgressBar::new_spinner();
    spinner.set_style(ProgressStyle::with_template(
        "    {spinner} {elapsed} {wide_msg}",
    )?);
    spinner.enable_steady_tick(TICK);
    Ok(spinner)
}
