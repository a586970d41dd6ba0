//! Setting up namespaces with iproute2 and sysctls.

use std::fs;

use netpath::{command, netns::Netns};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
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
