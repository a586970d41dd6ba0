//! The machine, whatever is up on it.

use std::{fs, io, path::Path};

use super::super::{Fault, Machine, Part, Seen};
use crate::{
    capabilities::{self, Work},
    datapath::{self, Datapath, DatapathError, attach_mode},
    descriptors::{self, DescriptorsError},
    lock,
    mounts::{self, MountsError},
    netns::Netns,
};

pub(super) fn read(seen: &mut Seen) {
    seen.machine.release = text("/proc/sys/kernel/osrelease").unwrap_or_default();
    seen.machine.btf = Path::new("/sys/kernel/btf/vmlinux").exists();
    let lacking = capabilities::lacking(Work::Nodes).unwrap_or_default();
    seen.machine.lacking = lacking.iter().map(ToString::to_string).collect();
    kernel(seen);
    jit(seen);
    memory(&mut seen.machine);
    open_files(&mut seen.machine);
    mounts(seen);
    files(seen);
}

fn kernel(seen: &mut Seen) {
    match Datapath::check_kernel() {
        Ok(()) => {}
        Err(error @ DatapathError::KernelLacks { .. }) => {
            seen.machine.lacks = Some(error.to_string());
        }
        Err(error) => {
            seen.unseen.insert(Part::Kernel, error.to_string());
            return;
        }
    }
    match attach_mode() {
        Ok(mode) => seen.machine.attach_mode = Some(mode.name()),
        Err(error) => {
            seen.unseen.insert(Part::Kernel, error.to_string());
        }
    }
}

/// These settings are there in the machine's own network namespace alone.
fn jit(seen: &mut Seen) {
    let read = |key: &str| -> io::Result<Option<u32>> {
        match fs::read_to_string(Path::new("/proc/sys/net/core").join(key)) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    };
    let both = || Ok::<_, io::Error>((read("bpf_jit_enable")?, read("bpf_jit_harden")?));
    let machines = Netns::at(Path::new("/proc/1/ns/net")).map_err(|error| error.to_string());
    let found = machines
        .and_then(|netns| netns.run(both).map_err(|error| error.to_string()))
        .and_then(|found| found.map_err(|error| error.to_string()));
    match found {
        Ok((jit, harden)) => (seen.machine.jit, seen.machine.jit_harden) = (jit, harden),
        Err(error) => drop(seen.unseen.insert(Part::Jit, error)),
    }
}

/// Before Linux 5.11 maps were counted as locked memory.
fn memory(machine: &mut Machine) {
    if is_since(&machine.release, (5, 11)) {
        return;
    }
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure outlives the call.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    if got == 0 && limit.rlim_max != libc::RLIM_INFINITY {
        machine.memlock = Some(limit.rlim_max);
    }
}

/// Whether a kernel is this version or newer. One that calls itself otherwise is new.
pub(super) fn is_since(release: &str, version: (u32, u32)) -> bool {
    let mut numbers = release.split(['.', '-', '+']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= version,
        _ => true,
    }
}

fn open_files(machine: &mut Machine) {
    if let Err(DescriptorsError::TooFew { needed, limit }) =
        descriptors::require(super::node_count().max(1) + 1)
    {
        machine.faults.push(Fault::OpenFilesLow { needed, limit });
    }
}

fn mounts(seen: &mut Seen) {
    let found = [
        mounts::require_visible("doctor"),
        mounts::require_writable(),
        mounts::require_lasting("doctor"),
        mounts::require_shared_namespaces("doctor"),
    ];
    let mut faults: Vec<Fault> = Vec::new();
    for error in found.into_iter().filter_map(Result::err) {
        let fault = match error {
            MountsError::Hidden { remedy } => Fault::BpffsHidden(remedy),
            MountsError::Fleeting { remedy } | MountsError::Namespaces { remedy } => {
                Fault::MountNamespace(remedy)
            }
            MountsError::ReadOnly { bind } => Fault::BpffsReadOnly { bind },
            MountsError::Covered => Fault::BpffsCovered,
            MountsError::Unknown { .. } => {
                seen.unseen.insert(Part::Mounts, error.to_string());
                continue;
            }
        };
        let is_told = |told: &Fault| told.kind().id == fault.kind().id;
        if !faults.iter().any(is_told) {
            faults.push(fault);
        }
    }
    seen.machine.faults.extend(faults);
}

fn files(seen: &mut Seen) {
    if let Err(error) = lock::check() {
        match error {
            lock::LockError::Foreign { .. } => {
                let fault = Fault::LockUntrusted(error.to_string());
                seen.machine.faults.push(fault);
            }
            error => drop(seen.unseen.insert(Part::Files, error.to_string())),
        }
    }
    seen.machine.at_work = lock::at_work();
    match datapath::unfinished() {
        Ok(unfinished) => seen.machine.unfinished = unfinished,
        Err(error) => drop(seen.unseen.insert(Part::Files, error.to_string())),
    }
}

fn text(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for (release, expected) in [
            ("5.10.0-28-amd64", false),
            ("5.11-rc1", true),
            ("4.19.0", false),
            ("6.1.0", true),
            ("10.0+", true),
            ("next", true),
        ] {
            assert_eq!(is_since(release, (5, 11)), expected, "{release}");
        }
    }
}
