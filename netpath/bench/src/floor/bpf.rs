//! bpf(2), as far as the floor's programs need it: they are loaded, linked to TCX hooks, and taken away.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

/// Commands, the program type and the attach type of `linux/bpf.h`.
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const LINK_DETACH: libc::c_int = 34;
const SCHED_CLS: u32 = 3;
const TCX_INGRESS: u32 = 46;

/// `union bpf_attr` as `BPF_PROG_LOAD` uses it, as far as it is needed here.
#[repr(C)]
struct Load {
    kind: u32,
    instructions_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The same for `BPF_LINK_CREATE` with a place on the hook that nobody asked for.
#[repr(C)]
struct Create {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// The same for `BPF_LINK_DETACH`.
#[repr(C)]
struct Detach {
    link: u32,
}

/// Loads a classifier. What the verifier has against it is in the error.
pub(super) fn load(name: &str, instructions: &[u64]) -> io::Result<OwnedFd> {
    let mut log = vec![0u8; 1 << 16];
    let mut attributes = Load {
        kind: SCHED_CLS,
        instructions_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 1,
        log_size: log.len() as u32,
        log: log.as_mut_ptr() as u64,
        kernel_version: 0,
        flags: 0,
        name: [0; 16],
    };
    attributes.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the layout is the kernel's; what it points to outlives the call and has the lengths stated.
    unsafe { bpf(PROG_LOAD, &attributes) }
        .map(|fd| {
            // SAFETY: the kernel has just opened it for this call, and nobody else has it.
            unsafe { OwnedFd::from_raw_fd(fd) }
        })
        .map_err(|error| {
            let log = String::from_utf8_lossy(&log);
            io::Error::new(
                error.kind(),
                format!("{error}: {}", log.trim_end_matches('\0').trim_end()),
            )
        })
}

/// Has a program run on what an interface of the calling thread's namespace receives, until the link is detached or
/// closed.
pub(super) fn attach(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    let attributes = Create {
        program: program.as_raw_fd().cast_unsigned(),
        ifindex,
        attach_type: TCX_INGRESS,
        flags: 0,
    };
    // SAFETY: the layout is the kernel's, and there is no pointer in it.
    let fd = unsafe { bpf(LINK_CREATE, &attributes) }?;
    // SAFETY: the kernel has just opened it for this call, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes the program of a link off its hook. To close the link does that too, but on some kernels later.
pub(super) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = Detach {
        link: link.as_raw_fd().cast_unsigned(),
    };
    // SAFETY: the layout is the kernel's, and there is no pointer in it.
    unsafe { bpf(LINK_DETACH, &attributes) }.map(drop)
}

/// # Safety
/// `attributes` must have the kernel's layout for this command, and every pointer and length in it must hold for the
/// duration of the call.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: the structure outlives the call and has the size stated; the rest is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(result).map_err(io::Error::other)
}
