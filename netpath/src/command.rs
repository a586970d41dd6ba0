//! Programs that netpath calls: `ip`, `iptables`, `nft`.

use std::{
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    process::{Command, Output, Stdio},
};

use crate::{Ending, Ends};

/// A program could not do what it was called for.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started or talked to.
    #[error("cannot run `{command}`: {source}: is it installed?")]
    Start {
        /// With its arguments.
        command: String,
        /// Why not.
        source: io::Error,
    },
    /// It failed.
    #[error("`{command}` failed: {message}")]
    Failed {
        /// With its arguments.
        command: String,
        /// What it said.
        message: String,
    },
}

impl Ends for CommandError {
    fn ending(&self) -> Ending {
        match self {
            Self::Start { .. } | Self::Failed { .. } => Ending::Failed,
        }
    }
}

/// Runs a program in the calling thread's namespace, gives it its input, and returns what it printed. It speaks English,
/// and is in a process group of its own: a Ctrl-C on the terminal is netpath's to answer.
///
/// # Errors
/// When it does not start, or fails; then the error holds what it said.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, CommandError> {
    let command = || line(program, arguments);
    let output = talk(program, arguments, input).map_err(|source| CommandError::Start {
        command: command(),
        source,
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(CommandError::Failed {
        command: command(),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// A program and its arguments, as one types them.
pub fn line(program: &str, arguments: &[&str]) -> String {
    let mut line = program.to_owned();
    for argument in arguments {
        line.push(' ');
        line.push_str(argument);
    }
    line
}

fn talk(program: &str, arguments: &[&str], input: &str) -> io::Result<Output> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    // A program that refuses its input may not read all of it: what it says is the better reason.
    if output.status.success() {
        written?;
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_prints_is_returned() {
        assert_eq!(run("cat", &[], "a\nb\n").expect("it runs"), "a\nb\n");
    }

    #[test]
    fn what_it_says_is_why_it_failed() {
        // More than a pipe holds, of which it reads nothing.
        let input = "x".repeat(1 << 20);
        let error = run("sh", &["-c", "echo no such rule >&2; exit 3"], &input);
        assert_eq!(
            error.expect_err("it fails").to_string(),
            "`sh -c echo no such rule >&2; exit 3` failed: no such rule"
        );
        let error = run("/nonexistent/iptables", &["-w"], "").expect_err("nothing to start");
        assert!(
            error
                .to_string()
                .starts_with("cannot run `/nonexistent/iptables -w`: "),
            "{error}"
        );
    }
}
