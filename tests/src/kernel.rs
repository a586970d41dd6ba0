//! What the running kernel has, as far as it changes what has to become of a packet.

use std::{env, fs, sync::OnceLock};

/// Whether `bpf_fib_lookup` can be told the mark (`BPF_FIB_LOOKUP_MARK`, Linux 6.10). Elsewhere a marked packet
/// for another node is left to the kernel.
pub fn fib_lookup_takes_marks() -> bool {
    is_at_least((6, 10))
}

/// Whether TC programs can be attached with TCX (Linux 6.6).
pub fn has_tcx() -> bool {
    is_at_least((6, 6))
}

/// Whether the kernel counts what is in a BPF map (`map_mem_usage`, Linux 6.4). Before, it tells a figure of the capacity.
pub fn counts_map_entries() -> bool {
    is_at_least((6, 4))
}

/// Whether a program emulates the processors, as `cargo xtask kernels` says: they take turns, a single one many times as
/// slow as this machine's, so that no time says anything.
pub fn is_emulated() -> bool {
    env::var_os("NETPATH_EMULATED").is_some()
}

fn is_at_least(version: (u32, u32)) -> bool {
    static RUNNING: OnceLock<(u32, u32)> = OnceLock::new();
    let running = RUNNING.get_or_init(|| {
        let release =
            fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release");
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let mut next = || numbers.next().and_then(|number| number.parse().ok());
        next().zip(next()).expect("major.minor")
    });
    *running >= version
}
