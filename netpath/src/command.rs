//! Programs that netpath calls: `ip`, `iptables`, `nft`.

use std::{
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{Ending, Ends};

/// How long a program may take: iptables waits for whoever has its lock.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a program may go on after a signal.
const STEP: Duration = Duration::from_millis(50);

/// Says that a signal came.
static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on a program that runs when this is set is ended. One that is started later, as what undoes what was begun, is not.
/// Signals are the process's, and so the first to call this decides.
pub fn end_when(interrupted: &Arc<AtomicBool>) {
    let _it_is_said = INTERRUPTED.set(Arc::clone(interrupted));
}

fn is_interrupted() -> bool {
    let flag = INTERRUPTED.get();
    flag.is_some_and(|flag| flag.load(Ordering::Relaxed))
}

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
    /// It was ended for a signal. Whether it did what it was called for is not known.
    #[error("interrupted: `{command}` was waited for, and was ended")]
    Interrupted {
        /// With its arguments.
        command: String,
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
            Self::Start { .. }
            | Self::Hung { .. }
            | Self::Interrupted { .. }
            | Self::Failed { .. } => Ending::Failed,
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
    let (output, end) = talk(limit, program, arguments, input).map_err(start)?;
    match end {
        End::Own => {}
        End::Hung => {
            return Err(CommandError::Hung {
                command: command(),
                limit,
            });
        }
        End::Interrupted => return Err(CommandError::Interrupted { command: command() }),
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

/// Why a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By itself.
    Own,
    /// It was killed, for it did not end.
    Hung,
    /// It was killed, for a signal came.
    Interrupted,
}

/// What it said, and why it ended.
fn talk(
    limit: Duration,
    program: &str,
    arguments: &[&str],
    input: &str,
) -> io::Result<(Output, End)> {
    // Before it runs: a signal that comes from now on is meant for it.
    let ends_at_signal = !is_interrupted();
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
        let watch = scope.spawn(|| watch(&process, limit, ends_at_signal));
        let written = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output()?;
        let end = watch
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        // A program that refuses its input may not read all of it: what it says is the better reason.
        if output.status.success() {
            written?;
        }
        Ok((output, end))
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

/// Kills a process that has not ended by then, or until a signal comes.
fn watch(process: &OwnedFd, limit: Duration, ends_at_signal: bool) -> io::Result<End> {
    let deadline = Instant::now() + limit;
    let end = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left.min(STEP)).unwrap_or(PollTimeout::MAX);
        let mut ended = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ended, timeout) {
            Ok(0) if left.is_zero() => break End::Hung,
            // Waiting ends a little early where the rest is less than a millisecond.
            Ok(0) | Err(nix::Error::EINTR) => {}
            Ok(_) => return Ok(End::Own),
            Err(errno) => return Err(errno.into()),
        }
        if ends_at_signal && is_interrupted() {
            break End::Interrupted;
        }
    };
    kill_group(process).map(|()| end)
}

/// Kills a process and those that it has started, which may have what it prints to; before Linux 6.9 it alone.
fn kill_group(process: &OwnedFd) -> io::Result<()> {
    /// `PIDFD_SIGNAL_PROCESS_GROUP` of linux/pidfd.h: the process leads a group of its own.
    const GROUP: u32 = 1 << 2;
    let sent = send_kill(process, GROUP);
    match sent {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => send_kill(process, 0),
        sent => sent,
    }
}

fn send_kill(process: &OwnedFd, flags: u32) -> io::Result<()> {
    let (file, no_info) = (process.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: the file is open, and without information about the signal none is read (pidfd_send_signal(2)).
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            file,
            libc::SIGKILL,
            no_info,
            flags,
        )
    };
    match sent {
        0 => Ok(()),
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
        // What it has started has its output, too.
        let script = ["-c", "sleep 100; true"];
        run_within(limit, "sh", &script, "").expect_err("it hangs");
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
