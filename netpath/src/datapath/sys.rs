//! The system call bpf(2), for the few commands that aya does not offer.

use std::io;

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
