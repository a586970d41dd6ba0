//! The machine, whatever is up on it.

use super::{
    super::{Fault, Found, Seen},
    found,
};

const MACHINE: &str = "this machine";
const PROCESS: &str = "this process";

pub(in super::super) fn kernel(seen: &Seen) -> Vec<Found> {
    let lacks = seen.machine.lacks.iter();
    lacks
        .map(|what| found(Fault::KernelLacks(what.clone()), MACHINE))
        .collect()
}

pub(in super::super) fn jit(seen: &Seen) -> Vec<Found> {
    let off = (seen.machine.jit == Some(0)).then_some(Fault::JitOff);
    let hardened = (seen.machine.jit_harden == Some(2)).then_some(Fault::JitHardened);
    let faults = off.into_iter().chain(hardened);
    faults.map(|fault| found(fault, MACHINE)).collect()
}

pub(in super::super) fn limits(seen: &Seen) -> Vec<Found> {
    let limit = seen.machine.memlock;
    let memory = limit.map(|limit| found(Fault::MemlockLow { limit }, PROCESS));
    let files = of_process(seen, |fault| matches!(fault, Fault::OpenFilesLow { .. }));
    memory.into_iter().chain(files).collect()
}

pub(in super::super) fn mounts(seen: &Seen) -> Vec<Found> {
    of_process(seen, |fault| {
        matches!(
            fault,
            Fault::BpffsHidden(_)
                | Fault::BpffsReadOnly { .. }
                | Fault::BpffsCovered
                | Fault::MountNamespace(_)
        )
    })
}

pub(in super::super) fn others(seen: &Seen) -> Vec<Found> {
    let mut all = of_process(seen, |fault| matches!(fault, Fault::LockUntrusted(_)));
    match seen.machine.at_work {
        Some(process) => all.push(found(Fault::AtWork { process }, "another netpath")),
        // What it is at work on is not left by anybody.
        None => {
            let left = seen.machine.unfinished.iter();
            all.extend(left.map(|node| {
                let object = format!("node {node}");
                found(Fault::LeftUnfinished(node.clone()), object)
            }));
        }
    }
    all
}

fn of_process(seen: &Seen, is_one: impl Fn(&Fault) -> bool) -> Vec<Found> {
    let faults = seen.machine.faults.iter().filter(|fault| is_one(fault));
    faults.map(|fault| found(fault.clone(), PROCESS)).collect()
}
