//! Two namespaces joined by a veth pair, for the tests of this folder.
#![cfg(test)]

use std::{
    net::IpAddr,
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use netpath_common::Mac;

use crate::{
    command,
    netns::{Netns, NetnsError},
};

/// The interface of either side.
pub(super) const DEV: &str = "eth0";
pub(super) const MAC_A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
pub(super) const MAC_B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

/// Namespaces a (10.1.0.1, fd01::1) and b (10.1.0.2, fd01::2). b forwards, and is a's gateway for all else.
/// Removed when dropped, also by a panic.
pub(super) struct Lab {
    pub(super) a: Netns,
    pub(super) b: Netns,
    _names: Names,
}

struct Names([String; 2]);

impl Lab {
    pub(super) fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("npt-{}-{number}-{side}", process::id());
        // From here on a panic removes whichever exist.
        let names = Names([name("a"), name("b")]);
        let create =
            |name: &str| Netns::create(name, |_| Ok::<(), NetnsError>(())).expect("namespace");
        let lab = Self {
            a: create(&names.0[0]),
            b: create(&names.0[1]),
            _names: names,
        };
        lab.ip_a(&format!(
            "link add {DEV} address {MAC_A} type veth peer name {DEV} address {MAC_B} netns {}",
            lab.b.name()
        ));
        for (netns, host, other, other_mac) in [(&lab.a, 1, 2, MAC_B), (&lab.b, 2, 1, MAC_A)] {
            netns
                .run(|| {
                    for sysctl in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                        std::fs::write(format!("/proc/sys/net/{sysctl}"), "1").expect(sysctl);
                    }
                })
                .expect("enter");
            for command in [
                "link set lo up".to_owned(),
                format!("link set {DEV} up"),
                format!("addr add 10.1.0.{host}/24 dev {DEV}"),
                format!("addr add fd01::{host}/64 dev {DEV} nodad"),
                format!("neigh add 10.1.0.{other} dev {DEV} lladdr {other_mac} nud permanent"),
                format!("neigh add fd01::{other} dev {DEV} lladdr {other_mac} nud permanent"),
            ] {
                ip(netns, &command);
            }
        }
        for netns in [&lab.a, &lab.b] {
            await_carrier(netns);
        }
        lab.ip_a("route add default via 10.1.0.2");
        lab.ip_a("-6 route add default via fd01::2");
        lab
    }

    pub(super) fn ip_a(&self, arguments: &str) {
        ip(&self.a, arguments);
    }

    pub(super) fn ip_b(&self, arguments: &str) {
        ip(&self.b, arguments);
    }

    /// From now on b answers every IPv4 packet with Communication Administratively Prohibited.
    pub(super) fn prohibit_everything(&self) {
        self.ip_b("route add prohibit default table 77");
        self.ip_b(&format!("rule add pref 5 iif {DEV} lookup 77"));
        // The rule for local addresses comes first; put it behind ours.
        self.ip_b("rule add pref 10 lookup local");
        self.ip_b("rule del pref 0");
    }

    /// From now on b ignores all that a sends it: it goes to a MAC address that is nobody's.
    pub(super) fn lose_everything(&self) {
        for other in ["10.1.0.2", "fd01::2"] {
            self.ip_a(&format!(
                "neigh replace {other} dev {DEV} lladdr 02:00:00:00:00:ff nud permanent"
            ));
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        for name in &self.0 {
            if let Err(error) = Netns::remove(name) {
                eprintln!("{error}");
            }
        }
    }
}

/// The addresses of a and b, in IPv4 and in IPv6.
pub(super) fn address_pairs() -> [(IpAddr, IpAddr); 2] {
    [("10.1.0.1", "10.1.0.2"), ("fd01::1", "fd01::2")].map(|(a, b)| (address(a), address(b)))
}

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

/// Waits until the interface really transmits. The end that was set up first had no carrier then, and drops
/// what it is given until the kernel's deferred work has run (net/core/link_watch.c). Asking for the one link
/// does that work at once from Linux 6.8 on (commit facd15dfd691); before, its state tells when it is done.
fn await_carrier(netns: &Netns) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !ip(netns, &format!("-o link show dev {DEV}")).contains("state UP") {
        assert!(Instant::now() < deadline, "no carrier in {}", netns.name());
    }
}

/// Runs `ip` in a namespace and returns what it printed.
fn ip(netns: &Netns, arguments: &str) -> String {
    let arguments: Vec<&str> = ["-n", netns.name()]
        .into_iter()
        .chain(arguments.split(' '))
        .collect();
    command::run("ip", &arguments, "").expect("ip of iproute2")
}
