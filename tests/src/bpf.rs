//! bpf(2), as far as aya has no entrance to it.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// `BPF_MAP_CREATE`.
const MAP_CREATE: libc::c_int = 0;
/// `BPF_PROG_LOAD`.
const PROG_LOAD: libc::c_int = 5;
/// `BPF_MAP_TYPE_ARRAY`.
const ARRAY: u32 = 2;
/// `BPF_LINK_CREATE`.
const LINK_CREATE: libc::c_int = 28;
/// `BPF_PROG_TYPE_SCHED_CLS`.
pub const SCHED_CLS: u32 = 3;
/// `BPF_PROG_TYPE_XDP`.
pub const XDP: u32 = 6;
/// `BPF_XDP`, of `enum bpf_attach_type`.
const ATTACH_XDP: u32 = 37;

/// What `BPF_MAP_CREATE` takes at least, of `union bpf_attr`.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// What `BPF_PROG_LOAD` takes at least.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
}

/// What `BPF_LINK_CREATE` takes of a program on an interface.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// An array with one element of this many bytes.
pub fn new_array(value_size: usize) -> io::Result<OwnedFd> {
    let attributes = MapCreate {
        map_type: ARRAY,
        key_size: 4,
        value_size: value_size as u32,
        max_entries: 1,
        map_flags: 0,
    };
    // SAFETY: the structure is what the command takes, and holds no pointer.
    unsafe { bpf(MAP_CREATE, &attributes) }
}

/// Loads a program of this type.
pub fn load(prog_type: u32, instructions: &[u64]) -> io::Result<OwnedFd> {
    let mut log = vec![0u8; 1 << 16];
    let attributes = ProgLoad {
        prog_type,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 1,
        log_size: log.len() as u32,
        log_buf: log.as_mut_ptr() as u64,
    };
    // SAFETY: the structure is what the command takes; what it points to outlives the call and has the
    // lengths stated.
    unsafe { bpf(PROG_LOAD, &attributes) }.map_err(|error| {
        let log = String::from_utf8_lossy(&log);
        io::Error::other(format!("{error}: {}", log.trim_end_matches('\0')))
    })
}

/// Attaches an XDP program to an interface of the calling thread's namespace, with `XDP_FLAGS_*` of linux/if_link.h,
/// until what it returns is closed.
pub fn attach_xdp(program: &OwnedFd, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        prog_fd: program.as_raw_fd() as u32,
        target_ifindex: ifindex,
        attach_type: ATTACH_XDP,
        flags,
    };
    // SAFETY: the structure is what the command takes, and holds no pointer.
    unsafe { bpf(LINK_CREATE, &attributes) }
}

/// # Safety
/// `attributes` must be what `command` takes, and the command one that returns a new descriptor.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: as above; the structure outlives the call and has the size stated.
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
    let fd = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just opened it for this caller.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
