//! Setting up namespaces with iproute2 and sysctls.

use std::{fs, time::Duration};

use netpath::{command, netns::Netns};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

/// Runs lines of `ip` commands (`ip -batch`) inside a namespace, with options that hold for all of them.
pub(crate) fn ip(netns: &Netns, options: &[&str], lines: &str) {
    let arguments = [options, &["-batch", "-"]].concat();
    netns
        .run(|| command::run("ip", &arguments, lines))
        .expect("entering the namespace")
        .unwrap_or_else(|error| panic!("in {}: {error}\n{lines}", netns.name()));
}

/// Sets sysctls below /proc/sys/net inside a namespace.
pub(crate) fn sysctl(netns: &Netns, values: &[(&str, u32)]) {
    let work = || {
        for (key, value) in values {
            let path = format!("/proc/sys/net/{key}");
            fs::write(&path, value.to_string())
                .unwrap_or_else(|error| panic!("writing {path}: {error}"));
        }
    };
    netns.run(work).expect("entering the namespace");
}

/// Waits until the kernel's clock has ticked twice: what the decision cache remembers is older than what was changed before.
pub fn wait_for_ticks() {
    // Its coarse clock goes by ticks.
    let coarse =
        || clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).expect("every kernel has this clock");
    for _ in 0..2 {
        let before = coarse();
        while coarse() == before {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Does something while the calling thread stays on the CPU that it is on.
pub fn on_this_cpu<T>(work: impl FnOnce() -> T) -> T {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).expect("sched_getaffinity");
    let mut one = CpuSet::new();
    one.set(sched_getcpu().expect("sched_getcpu"))
        .expect("it exists");
    sched_setaffinity(this, &one).expect("sched_setaffinity");
    let result = work();
    sched_setaffinity(this, &allowed).expect("sched_setaffinity");
    result
}

/// Keeps the calling thread on one CPU. The queue between the ends of a veth pair is the CPU's that sends: with
/// one CPU there is one order.
pub(crate) fn run_on_one_cpu() {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).expect("sched_getaffinity");
    let first = (0..CpuSet::count())
        .find(|cpu| allowed.is_set(*cpu).unwrap_or(false))
        .expect("this thread runs somewhere");
    let mut one = CpuSet::new();
    one.set(first).expect("it exists");
    sched_setaffinity(this, &one).expect("sched_setaffinity");
}
