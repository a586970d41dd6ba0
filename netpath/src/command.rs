//! Programs that netpath calls: `ip`, `iptables`, `nft`.

use std::{
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{Ending, Ends};

/// How long a program may take: iptables waits for whoever has its lock.
const PATIENCE: Duration = Duration::from_secs(120);

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
    /// It did not end, and was killed. Whether it did what it was called for is not known.
    #[error(
        "`{command}` did not end within {limit:?}: see what holds it up, such as another process with a lock"
    )]
    Hung {
        /// With its arguments.
        command: String,
        /// How long was waited.
        limit: Duration,
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
            Self::Start { .. } | Self::Hung { .. } | Self::Failed { .. } => Ending::Failed,
        }
    }
}

/// Runs a program in the calling thread's namespace, gives it its input, and returns what it printed. It speaks English,
/// and is in a process group of its own: a Ctrl-C on the terminal is netpath's to answer.
///
/// # Errors
/// When it does not start, fails, or does not end within two minutes; then the error holds what it said.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, CommandError> {
    run_within(PATIENCE, program, arguments, input)
}

fn run_within(
    limit: Duration,
    program: &str,
    arguments: &[&str],
    input: &str,
) -> Result<String, CommandError> {
    let command = || line(program, arguments);
    let start = |source| CommandError::Start {
        command: command(),
        source,
    };
    let (output, hung) = talk(limit, program, arguments, input).map_err(start)?;
    if hung {
        return Err(CommandError::Hung {
            command: command(),
            limit,
        });
    }
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

/// What it said, and whether it had to be killed.
fn talk(
    limit: Duration,
    program: &str,
    arguments: &[&str],
    input: &str,
) -> io::Result<(Output, bool)> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let process = match pidfd(&child) {
        Ok(process) => process,
        Err(error) => {
            child.kill()?;
            child.wait()?;
            return Err(error);
        }
    };
    thread::scope(|scope| {
        let watch = scope.spawn(|| watch(&process, limit));
        let written = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output()?;
        let hung = watch
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        // A program that refuses its input may not read all of it: what it says is the better reason.
        if output.status.success() {
            written?;
        }
        Ok((output, hung))
    })
}

/// A file that stands for a process, whose number may be another's once it was waited for.
fn pidfd(child: &Child) -> io::Result<OwnedFd> {
    // SAFETY: a system call with two numbers (pidfd_open(2)).
    let file = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
    let file = i32::try_from(file).map_err(io::Error::other)?;
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given it to this process.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}

/// Kills a process that has not ended by then. Returns whether it had to.
fn watch(process: &OwnedFd, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut ended = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ended, timeout) {
            Ok(0) if left.is_zero() => break,
            // Waiting ends a little early where the rest is less than a millisecond.
            Ok(0) | Err(nix::Error::EINTR) => {}
            Ok(_) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
    }
    let (file, no_info) = (process.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: the file is open, and without information about the signal none is read (pidfd_send_signal(2)).
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, file, libc::SIGKILL, no_info, 0) };
    match sent {
        0 => Ok(true),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_prints_is_returned() {
        assert_eq!(run("cat", &[], "a\nb\n").expect("it runs"), "a\nb\n");
    }

    #[test]
    fn what_does_not_end_is_killed() {
        let limit = Duration::from_millis(100);
        let begun = Instant::now();
        // It reads nothing of what is more than a pipe holds.
        let error = run_within(limit, "sleep", &["100"], &"x".repeat(1 << 20));
        assert_eq!(
            error.expect_err("it hangs").to_string(),
            "`sleep 100` did not end within 100ms: see what holds it up, such as another process with a lock"
        );
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(run("true", &[], "").expect("it ends"), "");
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
