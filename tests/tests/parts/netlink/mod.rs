//! What netpath reads from the kernel and writes to it by netlink, against what `ip` did or shows.

mod attached;
mod links;
mod routes;
mod xfrm;

use std::{ffi::OsStr, net::IpAddr, process::Command, thread};

use ipnet::IpNet;
use netpath::{
    netlink::{Netlink, Route},
    netns::Inside,
};
use netpath_common::Ifindex;
use nix::sched::{CloneFlags, unshare};

/// Runs something in a namespace that nothing else uses and that ends with it.
fn alone<T: Send>(work: impl FnOnce(&Inside<'_>, Netlink) -> T + Send) -> T {
    let run = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root");
        let inside = Inside::current();
        let netlink = Netlink::open(&inside).expect("socket");
        work(&inside, netlink)
    };
    thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn ip(arguments: &str) -> String {
    run("ip", arguments.split_whitespace())
}

fn tc(arguments: &str) -> String {
    run("tc", arguments.split_whitespace())
}

fn run(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    let output = command.output().expect("it is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    String::from_utf8(output.stdout).expect("text")
}

/// Two veth pairs, `a0`-`a1` with 10.0.0.1/24 and fd00::1/64, and `b0`-`b1` with 10.0.1.1/24. Returns the indices of a0
/// and b0.
fn two_links(netlink: &Netlink) -> [Ifindex; 2] {
    for line in [
        "link set lo up",
        "link add a0 mtu 1400 type veth peer name a1",
        "link add b0 type veth peer name b1",
        "link set a1 up",
        "link set b1 up",
        "link set a0 up",
        "link set b0 up",
        "addr add 10.0.0.1/24 dev a0",
        "addr add fd00::1/64 dev a0 nodad",
        "addr add 10.0.1.1/24 dev b0",
    ] {
        ip(line);
    }
    netlink.await_operational("a0").expect("a0");
    netlink.await_operational("b0").expect("b0");
    ["a0", "b0"].map(|dev| netlink.link(dev).expect(dev).expect(dev).ifindex)
}

fn net(text: &str) -> IpNet {
    text.parse().expect(text)
}

fn addr(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn to(routes: &[Route], dst: &str) -> Vec<Route> {
    let dst = net(dst);
    let found = routes.iter().filter(|route| route.dst == dst);
    found.cloned().collect()
}
