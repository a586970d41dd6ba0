//! The system call bpf(2), for what aya does not offer.

use std::{
    ffi::{CStr, CString},
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

/// Commands of `enum bpf_cmd` in `linux/bpf.h`.
pub(super) mod command {
    pub const MAP_LOOKUP_ELEM: libc::c_int = 1;
    pub const MAP_UPDATE_ELEM: libc::c_int = 2;
    pub const MAP_DELETE_ELEM: libc::c_int = 3;
    pub const MAP_GET_NEXT_KEY: libc::c_int = 4;
    pub const OBJ_PIN: libc::c_int = 6;
    pub const OBJ_GET: libc::c_int = 7;
    pub const PROG_QUERY: libc::c_int = 16;
    pub const MAP_LOOKUP_BATCH: libc::c_int = 24;
    pub const MAP_UPDATE_BATCH: libc::c_int = 26;
    pub const MAP_DELETE_BATCH: libc::c_int = 27;
    pub const LINK_GET_FD_BY_ID: libc::c_int = 30;
    pub const LINK_DETACH: libc::c_int = 34;
    pub const PROG_BIND_MAP: libc::c_int = 35;
}

/// `union bpf_attr` as the commands about one entry use it.
#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value_or_next_key: u64,
    flags: u64,
}

/// The same for the batch commands (hash maps since Linux 5.6, tries since 5.13).
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The same for `BPF_PROG_BIND_MAP`.
#[repr(C)]
struct Binding {
    program_fd: u32,
    map_fd: u32,
    flags: u32,
}

/// The same for `BPF_OBJ_GET`.
#[repr(C)]
struct Pinned {
    path: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Opens what is pinned at a path, whatever it is.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut pinned = Pinned {
        path: path.as_ptr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    // SAFETY: the layout is the kernel's; the path ends with a zero and outlives the call.
    let file = unsafe { bpf(command::OBJ_GET, &mut pinned) }?;
    let file = i32::try_from(file).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given it to this process.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}

/// Has a program hold a map, whether or not it reads it. One that it holds already is no error.
pub(super) fn bind_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<()> {
    let mut binding = Binding {
        program_fd: program.as_raw_fd().cast_unsigned(),
        map_fd: map.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    // SAFETY: the layout is the kernel's, and there is no pointer in it.
    unsafe { bpf(command::PROG_BIND_MAP, &mut binding) }.map(drop)
}

/// The same for `BPF_PROG_QUERY` of an interface's TCX hook (Linux 6.6).
#[repr(C)]
#[derive(Default)]
struct Query {
    ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

/// Most programs on one hook (`BPF_MPROG_MAX` of linux/bpf_mprog.h).
const HOOK_MAX: usize = 64;

/// What runs at a TCX hook, in order: programs by id, each with the id of its link, 0 where it has none. The interface is
/// one of the calling thread's namespace.
pub(super) fn query_tcx(ifindex: u32, attach_type: u32) -> io::Result<Vec<(u32, u32)>> {
    let mut programs = [0u32; HOOK_MAX];
    let mut links = [0u32; HOOK_MAX];
    let mut query = Query {
        ifindex,
        attach_type,
        programs: programs.as_mut_ptr() as u64,
        count: HOOK_MAX as u32,
        links: links.as_mut_ptr() as u64,
        ..Query::default()
    };
    // SAFETY: the layout is the kernel's, and both arrays have room for as many numbers as the count says.
    unsafe { bpf(command::PROG_QUERY, &mut query) }?;
    let found = programs.into_iter().zip(links);
    Ok(found.take(query.count as usize).collect())
}

/// The same for `BPF_LINK_GET_FD_BY_ID`.
#[repr(C)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Opens a link by its id. One that is on its way out is not found.
pub(super) fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut by_id = ById {
        id,
        next_id: 0,
        open_flags: 0,
    };
    // SAFETY: the layout is the kernel's, and there is no pointer in it.
    let fd = unsafe { bpf(command::LINK_GET_FD_BY_ID, &mut by_id) }?;
    let fd = i32::try_from(fd).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the kernel has just made this descriptor for this call, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The same for `BPF_LINK_DETACH`.
#[repr(C)]
struct OfLink {
    link_fd: u32,
}

/// Takes a link's program off its hook, whoever holds the link.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut of_link = OfLink {
        link_fd: link.as_raw_fd().cast_unsigned(),
    };
    // SAFETY: the layout is the kernel's, and there is no pointer in it.
    unsafe { bpf(command::LINK_DETACH, &mut of_link) }.map(drop)
}

/// The same for `BPF_OBJ_PIN`.
#[repr(C)]
struct Pin {
    path: u64,
    fd: u32,
    file_flags: u32,
}

/// Pins an object.
pub(super) fn pin(object: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let mut pin = Pin {
        path: path.as_ptr() as u64,
        fd: object.as_raw_fd().cast_unsigned(),
        file_flags: 0,
    };
    // SAFETY: the layout is the kernel's, and the path outlives the call.
    unsafe { bpf(command::OBJ_PIN, &mut pin) }.map(drop)
}

/// Calls bpf(2) with a part of `union bpf_attr`; returns its result.
///
/// # Safety
/// `attribute` must have the kernel's layout for this command, and every pointer and length in it must hold for
/// the duration of the call.
pub(super) unsafe fn bpf<T>(command: libc::c_int, attribute: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the structure is borrowed for the call and has the size stated; the rest is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attribute),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// One of the commands about one entry.
///
/// # Safety
/// `key` and `value` must point to as much as the command reads or writes of this map, or be null where it takes null.
pub(super) unsafe fn element(
    command: libc::c_int,
    map: BorrowedFd<'_>,
    key: *const u8,
    value: *mut u8,
) -> io::Result<()> {
    // SAFETY: as of this function.
    unsafe { element_with(command, map, key, value, 0) }
}

/// As [`element`], with flags (`BPF_NOEXIST` and others of linux/bpf.h).
///
/// # Safety
/// As for [`element`].
pub(super) unsafe fn element_with(
    command: libc::c_int,
    map: BorrowedFd<'_>,
    key: *const u8,
    value: *mut u8,
    flags: u64,
) -> io::Result<()> {
    let mut element = Element {
        map_fd: map.as_raw_fd().cast_unsigned(),
        key: key as u64,
        value_or_next_key: value as u64,
        flags,
        ..Element::default()
    };
    // SAFETY: the layout is the kernel's; the pointers are the caller's promise.
    unsafe { bpf(command, &mut element) }.map(drop)
}

/// Where a batch begins and where it ended, for lookups; nothing of it is read by the other commands.
#[derive(Clone, Copy, Default)]
pub(super) struct Cursor {
    pub from: u64,
    pub to: u64,
}

/// One of the batch commands. Returns how many entries it has gone through, and why no further.
///
/// # Safety
/// `keys` and `values` must point to `count` keys and values of this map's sizes (values null for deletions), and the
/// cursor to a key, or a word where that is larger.
pub(super) unsafe fn batch(
    command: libc::c_int,
    map: BorrowedFd<'_>,
    cursor: Cursor,
    keys: *mut u8,
    values: *mut u8,
    count: usize,
) -> (usize, io::Result<()>) {
    let Ok(count) = u32::try_from(count) else {
        return (0, Err(io::ErrorKind::InvalidInput.into()));
    };
    let mut batch = Batch {
        in_batch: cursor.from,
        out_batch: cursor.to,
        keys: keys as u64,
        values: values as u64,
        count,
        map_fd: map.as_raw_fd().cast_unsigned(),
        ..Batch::default()
    };
    // SAFETY: the layout is the kernel's; the pointers are the caller's promise.
    let result = unsafe { bpf(command, &mut batch) }.map(drop);
    (batch.count as usize, result)
}
