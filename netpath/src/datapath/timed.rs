//! What a program costs: runs on one packet, timed by the kernel, beside an empty program that is run the same way.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    time::Duration,
};

use aya::programs::{ProgramError, SchedClassifier};
use netpath_common::Ifindex;

use super::{Datapath, ProgramKind, ReturnCode, error::DatapathError, sys::bpf};

/// Commands and the program type of `linux/bpf.h`.
const PROG_LOAD: libc::c_int = 5;
const PROG_TEST_RUN: libc::c_int = 10;
const PROG_TYPE_SCHED_CLS: u32 = 3;

/// `mov64 r0, 0` and `exit` of RFC 9669, as `struct bpf_insn`.
const EMPTY: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

/// `sizeof(struct __sk_buff)` and the offset of its `ifindex`, of `linux/bpf.h`.
const CONTEXT: usize = 192;
const IFINDEX: usize = 40;

/// `union bpf_attr` of `linux/bpf.h` as `BPF_PROG_LOAD` uses it, as far as it is needed here.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instructions_count: u32,
    instructions: u64,
    license: u64,
    log: [u32; 4],
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The same for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct Run {
    program: u32,
    answer: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// A program that is kept open to be run many times.
#[derive(Debug)]
pub struct TimedProgram {
    name: &'static str,
    fd: OwnedFd,
}

impl Datapath {
    /// Opens a pinned program for many runs.
    ///
    /// # Errors
    /// When it is not pinned.
    pub fn timed(&self, kind: ProgramKind) -> Result<TimedProgram, DatapathError> {
        let name = kind.name();
        let failed = |source: ProgramError| program_error(name, source);
        let program = SchedClassifier::from_pin(self.pins.program(name)).map_err(failed)?;
        let fd = program.fd().map_err(failed)?;
        let fd = fd
            .as_fd()
            .try_clone_to_owned()
            .map_err(|source| program_error(name, ProgramError::IOError(source)))?;
        Ok(TimedProgram { name, fd })
    }
}

impl TimedProgram {
    /// A program that answers at once: what a run costs without a program.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn empty() -> Result<Self, DatapathError> {
        let name = "empty";
        let mut load = Load {
            kind: PROG_TYPE_SCHED_CLS,
            instructions_count: EMPTY.len() as u32,
            instructions: EMPTY.as_ptr() as u64,
            license: c"Dual MIT/GPL".as_ptr() as u64,
            ..Load::default()
        };
        load.name[..name.len()].copy_from_slice(name.as_bytes());
        // SAFETY: the layout is the kernel's, and instructions and licence are constants.
        let fd = unsafe { bpf(PROG_LOAD, &mut load) }
            .and_then(|fd| RawFd::try_from(fd).map_err(io::Error::other))
            .map_err(|source| program_error(name, ProgramError::IOError(source)))?;
        // SAFETY: the kernel has just given out this descriptor, to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { name, fd })
    }

    /// Runs it `repeat` times on a frame that came in by an interface of the calling thread's namespace, each time
    /// on what the run before left of the frame; a redirected packet loses a hop each time, so that a TTL of 255
    /// allows for no more than 253 runs. Returns the last answer and the mean duration of a run, which the kernel
    /// rounds down to whole nanoseconds.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel does not take the frame.
    pub fn run(
        &self,
        frame: &[u8],
        ifindex: Ifindex,
        repeat: u32,
    ) -> Result<(ReturnCode, Duration), DatapathError> {
        let mut context = [0u8; CONTEXT];
        context[IFINDEX..IFINDEX + 4].copy_from_slice(&ifindex.0.to_ne_bytes());
        let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let mut run = Run {
            program: self.fd.as_raw_fd().cast_unsigned(),
            data_size_in: size(frame.len()),
            data_in: frame.as_ptr() as u64,
            repeat,
            context_size_in: size(context.len()),
            context_in: context.as_ptr() as u64,
            ..Run::default()
        };
        // SAFETY: the layout is the kernel's; frame and context outlive the call, have the sizes stated and are
        // only read; nothing is asked back.
        unsafe { bpf(PROG_TEST_RUN, &mut run) }
            .map_err(|source| program_error(self.name, ProgramError::IOError(source)))?;
        Ok((
            ReturnCode::from_number(run.answer.cast_signed()),
            Duration::from_nanos(run.duration.into()),
        ))
    }
}

fn program_error(program: &'static str, source: ProgramError) -> DatapathError {
    DatapathError::Program {
        program,
        dev: None,
        source,
    }
}
