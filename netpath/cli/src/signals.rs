//! What SIGHUP, SIGINT and SIGTERM do, from the first moment on.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag, low_level,
};

const SIGNALS: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

/// They end the process with its documented status, for nothing has been begun.
const UNBEGUN: u8 = 0;
/// They end the process as if nobody had cared for them, as for every command that only reads.
const READING: u8 = 1;
/// They are noted, and the command ends by itself.
const NOTED: u8 = 2;

static PHASE: AtomicU8 = AtomicU8::new(UNBEGUN);

/// From here on one of them says that it interrupts, and ends the process with status 1.
pub(super) fn catch() -> io::Result<()> {
    for signal in SIGNALS {
        // SAFETY: the action reads an atomic and makes system calls that may be made in a signal handler, nothing else.
        unsafe { low_level::register(signal, move || act(signal)) }?;
    }
    Ok(())
}

/// From here on one of them does what it does to every process.
pub(super) fn leave() {
    PHASE.store(READING, Ordering::Release);
}

/// From here on one of them only sets this, however often it comes.
pub(super) fn note_in(interrupted: &Arc<AtomicBool>) -> io::Result<()> {
    for signal in SIGNALS {
        flag::register(signal, Arc::clone(interrupted))?;
    }
    PHASE.store(NOTED, Ordering::Release);
    Ok(())
}

fn act(signal: i32) {
    match PHASE.load(Ordering::Acquire) {
        UNBEGUN => {
            // If it cannot be said, the status still tells.
            let _closed =
                nix::unistd::write(io::stderr(), b"netpath: interrupted; nothing was begun\n");
            low_level::exit(1);
        }
        READING => {
            // It fails only for signals that are none of these.
            let _never = low_level::emulate_default_handler(signal);
        }
        _ => {}
    }
}
