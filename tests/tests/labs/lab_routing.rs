//! Machines whose routes come from the daemons that people run, with the configurations of docs/multi-node.md, of which none
//! knows of netpath: pods reach each other by the fast path, whatever comes, goes or moves. Those that are ignored are run by
//! `cargo xtask routing`.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use netpath::probe::stream::{StreamOptions, udp_stream};
use netpath_tests::{
    Family,
    lab::Traffic,
    routing::{Daemon, Machine, Network, batch, pod},
};

use Daemon::{Bird, Frr};

/// The wire's uplink, and those of a leaf.
const ONE: &[&str] = &["up0"];
const TWO: &[&str] = &["up0", "up1"];

/// The number of the pod that moves from machine 3 to machine 2.
const MOVING: u8 = 9;

/// Datagrams of one stream of many.
const STREAM: u64 = 500;

/// Every pod reaches every other, and nobody has anything to say.
fn converged(network: &Network) {
    for family in Family::ALL {
        for from in network.machines() {
            for to in network.machines().filter(|to| to.number() != from.number()) {
                from.await_reaches(to.number(), family);
            }
        }
    }
    network.machines().for_each(Machine::await_content);
    for family in Family::ALL {
        for from in network.machines() {
            for to in network.machines().filter(|to| to.number() != from.number()) {
                from.assert_fast(to.number(), family);
            }
        }
    }
}

/// Sends streams of both families from pod 1 to pod 2 all the time while something is done: not one datagram may be lost.
/// All of them go by the fast path.
fn nothing_is_lost(network: &Network, work: impl FnOnce()) {
    let [one, two] = [1, 2].map(|number| network.machine(number));
    let before: [Traffic; 2] = [one.traffic(), two.traffic()];
    let done = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                for family in Family::ALL {
                    let options = StreamOptions {
                        packets: STREAM,
                        deadline: Duration::from_secs(60),
                        quiet: Duration::from_secs(3),
                        ..StreamOptions::new(pod(1, family), pod(2, family))
                    };
                    let report = udp_stream(&one.pod(), &two.pod(), &options).expect("a stream");
                    assert!(report.is_exact(STREAM), "after {sent}: {report:?}");
                    sent += STREAM;
                    if sent % (20 * STREAM) == 0 {
                        println!("sent {sent}");
                    }
                }
            }
            sent
        });
        // Also where the work fails.
        let _done = Done(&done);
        work();
        drop(_done);
        sender
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    assert!(sent > 0);
    let [out, back] = [one, two].map(|machine| {
        let traffic = machine
            .traffic()
            .since(&before[usize::from(machine.number()) - 1]);
        machine.redirected(&traffic)
    });
    assert!(
        out.0 >= sent && back.1 >= sent,
        "{sent} sent, {out:?}, {back:?}"
    );
}

struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A machine dies and returns, and a pod's prefix moves from one machine to another.
fn comes_and_goes(network: &Network, uplinks: &[&str]) {
    let [one, two, three] = [1, 2, 3].map(|number| network.machine(number));
    nothing_is_lost(network, || {
        println!("machine 3 dies");
        three.die(uplinks);
        for family in Family::ALL {
            one.await_loses(3, family);
        }
        println!("it is gone");
        // It is gone for the others, and they have nothing to say of it; what it says itself is so.
        one.await_content();
        two.await_content();
        // With its link an uplink has lost its IPv6 addresses. The programs know of none of the link's.
        let told = three.told();
        let of = |id: &str| told.iter().filter(|it| **it == id).count();
        let [down, addressless] = ["uplink_down", "own_address_gone"].map(of);
        assert_eq!(down, uplinks.len(), "{told:?}");
        assert_eq!(addressless > 0, uplinks == ONE, "{told:?}");
        assert_eq!(told.len(), down + addressless, "{told:?}");
        println!("it returns");
        three.come_back(uplinks);
        for family in Family::ALL {
            one.await_reaches(3, family);
            three.await_reaches(2, family);
        }
        for machine in network.machines() {
            machine.await_content();
        }
        for family in Family::ALL {
            one.assert_fast(3, family);
            three.assert_fast(2, family);
        }
    });
    nothing_is_lost(network, || {
        println!("a pod comes to machine 3");
        three.set_pod(MOVING, true);
        three.announce(MOVING, true);
        for family in Family::ALL {
            one.await_reaches(MOVING, family);
            one.assert_fast(MOVING, family);
        }
        println!("it moves to machine 2");
        three.announce(MOVING, false);
        three.set_pod(MOVING, false);
        two.set_pod(MOVING, true);
        two.announce(MOVING, true);
        for family in Family::ALL {
            one.await_reaches(MOVING, family);
            one.assert_fast(MOVING, family);
        }
        println!("it goes");
        two.announce(MOVING, false);
        two.set_pod(MOVING, false);
        network.machines().for_each(Machine::await_content);
    });
}

/// A thousand routes to other prefixes of the same aggregate come or go each second.
fn flaps(network: &Network) {
    const PREFIXES: u8 = 100;
    const ROUNDS: usize = 15;
    const A_SECOND: usize = 1_000;
    const TRIES: usize = 3;
    let mut lines = Vec::new();
    for round in 0..ROUNDS {
        for verb in ["add", "del"] {
            for number in 100..100 + PREFIXES {
                let prefix = match round % 2 {
                    0 => format!("10.20.{number}.0/24"),
                    _ => format!("fd20:{number}::/64"),
                };
                lines.push(format!("route {verb} blackhole {prefix}"));
            }
        }
    }
    let [one, two] = [1, 2].map(|number| network.machine(number));
    let flap = |machine: &Machine| {
        let rate = machine.inside(|_| batch(&lines, A_SECOND));
        println!("machine {}: {rate:.0} a second", machine.number());
        rate
    };
    // Where the machine has other work to do they may come slower.
    let is_fast = (0..TRIES).any(|_| {
        println!("routes flap");
        let mut rates = [0.0; 2];
        nothing_is_lost(network, || {
            rates = thread::scope(|scope| {
                [one, two]
                    .map(|machine| scope.spawn(move || flap(machine)))
                    .map(|thread| thread.join().expect("routes flap"))
            });
        });
        rates.iter().all(|rate| *rate >= 0.9 * A_SECOND as f64)
    });
    assert!(is_fast, "never so many a second in {TRIES} tries");
    network.machines().for_each(Machine::await_content);
}

fn on_a_wire(daemons: [Daemon; 3]) {
    println!("{daemons:?}");
    let network = Network::on_a_wire(daemons, None);
    converged(&network);
    comes_and_goes(&network, ONE);
    flaps(&network);
    converged(&network);
}

#[test]
fn bird_on_a_wire() {
    on_a_wire([Bird; 3]);
}

#[test]
#[ignore = "cargo xtask routing"]
fn frr_on_a_wire() {
    on_a_wire([Frr; 3]);
}

#[test]
#[ignore = "cargo xtask routing"]
fn one_of_each_on_a_wire() {
    on_a_wire([Bird, Frr, Bird]);
    on_a_wire([Frr, Bird, Frr]);
}

#[test]
#[ignore = "cargo xtask routing"]
fn a_route_reflector() {
    for (daemons, reflector) in [([Bird; 3], Bird), ([Frr; 3], Frr), ([Bird, Frr, Bird], Frr)] {
        let network = Network::on_a_wire(daemons, Some(reflector));
        converged(&network);
        comes_and_goes(&network, ONE);
    }
}

/// What `ip route` calls the ways by either spine.
const BY_SPINE: [[&str; 2]; 2] = [["dev up0", "fe80::101"], ["dev up1", "fe80::102"]];

/// Each machine's kernel has the routes to all others' pods by these spines, and by no other.
fn await_spines(network: &Network, are_there: [bool; 2]) {
    let words = |wanted: bool| {
        let spines = are_there.iter().zip(BY_SPINE);
        let spines = spines.filter(move |(is_there, _)| **is_there == wanted);
        spines.flat_map(|(_, words)| words).collect::<Vec<_>>()
    };
    let (there, gone) = (words(true), words(false));
    for from in network.machines() {
        for to in network.machines().map(Machine::number) {
            if to != from.number() {
                from.await_route("-4", &format!("10.20.{to}.0/24"), &there, &gone);
                from.await_route("-6", &format!("fd20:{to}::/64"), &there, &gone);
            }
        }
    }
}

/// Ports tell flows apart: each spine that is there has some, all by the fast path and none lost.
fn assert_spread(network: &Network, are_there: [bool; 2]) {
    let [one, two] = [1, 2].map(|number| network.machine(number));
    for family in Family::ALL {
        let before = one.traffic();
        for _ in 0..32 {
            let options = StreamOptions {
                packets: 10,
                ..StreamOptions::new(pod(1, family), pod(2, family))
            };
            let report = udp_stream(&one.pod(), &two.pod(), &options).expect("a stream");
            assert!(report.is_exact(10), "{report:?}");
        }
        let traffic = one.traffic().since(&before);
        let by = ["up0", "up1"].map(|dev| traffic.row(&format!("vp1 > {dev} redirect_neigh")).0);
        assert_eq!(by[0] + by[1], 320, "{traffic:?}");
        assert_eq!(by.map(|packets| packets > 0), are_there, "{traffic:?}");
    }
}

/// One of two spines dies and returns. Until its neighbours have noticed, what goes by it is lost.
fn a_spine_comes_and_goes(network: &mut Network) {
    println!("spine 2 dies");
    let told: &[&str] = match network.spine_dies(2) {
        true => &["no_carrier"],
        false => &[],
    };
    await_spines(network, [true, false]);
    assert_spread(network, [true, false]);
    for machine in network.machines() {
        assert_eq!(machine.told(), told);
    }
    println!("it returns");
    network.spine_returns(2);
    await_spines(network, [true, true]);
    converged(network);
    assert_spread(network, [true, true]);
}

/// ECMP over two spines by links without addresses: IPv4 over IPv6 link-local next hops, with FRR in nexthop objects.
fn behind_spines(kind: Daemon) {
    let mut network = Network::behind_spines(kind);
    converged(&network);
    await_spines(&network, [true, true]);
    if kind == Frr {
        let one = network.machine(1);
        one.await_route("-4", "10.20.2.0/24", &["nhid"], &[]);
        one.await_route("-6", "fd20:2::/64", &["nhid"], &[]);
    }
    assert_spread(&network, [true, true]);
    a_spine_comes_and_goes(&mut network);
    comes_and_goes(&network, TWO);
    flaps(&network);
    converged(&network);
}

#[test]
#[ignore = "cargo xtask routing"]
fn bird_behind_two_spines() {
    behind_spines(Bird);
}

#[test]
fn frr_behind_two_spines() {
    behind_spines(Frr);
}
