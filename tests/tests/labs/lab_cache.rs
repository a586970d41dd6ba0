//! The decision cache on the wire, under as many packets as a sender can make: how long an old way is taken after a change, and
//! that every packet is counted.

use std::{
    env,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsFd as _,
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
    thread,
    time::Duration,
};

use netpath::{netns::Netns, probe::measure::batch::Batch};
use netpath_common::{HopKey, Verdict};
use netpath_tests::{
    connections::forget_connections,
    lab::{Deadline, Lab},
};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::time::TimeSpec,
    time::{ClockId, clock_getres, clock_gettime},
    unistd::Pid,
};

/// Node A with three endpoints, and node B.
const NODES: &str = r#"
[[node]]
name = "@A"
uplink = [{ dev = "up0", addresses = ["10.9.1.1/24", "fd00:91::1/64"], wire = "@w" }]
route = [{ dst = "10.2.0.0/16", via = "10.9.1.2" }, { dst = "fd00:2::/32", via = "fd00:91::2" }]
endpoint = [
    { name = "@a1", addresses = ["10.1.1.2/24", "fd00:1:1::2/64"], host_dev = "va1" },
    { name = "@a2", addresses = ["10.1.2.2/24", "fd00:1:2::2/64"], host_dev = "va2", prefixes = ["10.7.2.0/24"] },
    { name = "@a3", addresses = ["10.1.3.2/24", "fd00:1:3::2/64"], host_dev = "va3", prefixes = ["10.7.3.0/24"] },
]

[[node]]
name = "@B"
uplink = [{ dev = "up0", addresses = ["10.9.1.2/24", "fd00:91::2/64"], wire = "@w" }]
route = [{ dst = "10.1.0.0/16", via = "10.9.1.1" }, { dst = "fd00:1::/32", via = "fd00:91::1" }]
endpoint = [{ name = "@b1", addresses = ["10.2.1.2/24", "fd00:2:1::2/64"], host_dev = "vb1" }]
"#;

/// Where everybody listens.
const PORT: u16 = 7001;

/// Packets for each system call.
const AT_ONCE: usize = 64;

/// How often each change is made.
const ROUNDS: usize = 4;

/// For how long packets are watched after a change, in nanoseconds: many ticks.
const WATCHED: u64 = 60_000_000;

/// Nanoseconds of the clock that senders write into their packets.
fn now() -> u64 {
    nanoseconds(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every kernel has this clock"))
}

/// How long two ticks of the kernel's clock take: its coarse clock goes by them.
fn two_ticks() -> u64 {
    2 * nanoseconds(clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).expect("every kernel has it"))
}

fn nanoseconds(time: TimeSpec) -> u64 {
    u64::try_from(Duration::from(time).as_nanos()).expect("centuries")
}

/// Packets of one flow, from endpoint a1.
#[derive(Default)]
struct Flood {
    is_over: AtomicBool,
    sent: AtomicU64,
}

/// Ends a flood when its test does, also by a panic.
struct End<'a>(&'a Flood);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Relaxed);
    }
}

impl Flood {
    /// Sends without a pause until it is over.
    fn send(&self, from: &Netns, to: IpAddr) {
        inside(from, || {
            let any: IpAddr = match to {
                IpAddr::V4(_) => [0; 4].into(),
                IpAddr::V6(_) => [0; 16].into(),
            };
            let socket = UdpSocket::bind((any, 0)).expect("a port");
            let target = [SocketAddr::new(to, PORT).into()];
            while !self.is_over.load(Relaxed) {
                let mut batch = Batch::new(AT_ONCE, &now().to_ne_bytes());
                batch.aim(&target, 0);
                let sent = batch.send(socket.as_fd());
                let sent = sent.expect("an endpoint has a default route");
                self.sent.fetch_add(sent as u64, Relaxed);
            }
        });
    }
}

fn inside<T: Send>(netns: &Netns, work: impl FnOnce() -> T + Send) -> T {
    netns.run(work).expect("it is there")
}

/// When the latest packet was sent of those that have arrived somewhere.
#[derive(Default)]
struct Latest(AtomicU64);

impl Latest {
    /// Receives in an endpoint until a flood is over.
    fn receive(&self, endpoint: &Netns, at: IpAddr, flood: &Flood) {
        inside(endpoint, || {
            let socket = UdpSocket::bind((at, PORT)).expect("a port");
            let limit = Some(Duration::from_millis(50));
            socket.set_read_timeout(limit).expect("a time limit");
            let mut bytes = [0; 8];
            while !flood.is_over.load(Relaxed) {
                // Nothing comes where nothing is to come.
                if socket.recv(&mut bytes).is_ok() {
                    self.0.fetch_max(u64::from_ne_bytes(bytes), Relaxed);
                }
            }
        });
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Waits until something arrives that was sent after a moment.
    fn wait_for_later_than(&self, moment: u64) {
        let deadline = Deadline::new();
        while self.get() <= moment {
            deadline.check(|| "nothing arrives any more".to_owned());
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Under a flood from a1 to an address, which the endpoints named have on their loopback device, too: whoever gets a packet shows
/// when it was sent.
fn under_flood<const N: usize>(
    lab: &mut Lab,
    to: IpAddr,
    endpoints: [&str; N],
    test: impl FnOnce(&mut Lab, &[Latest; N]),
) {
    let length = if to.is_ipv4() { "/32" } else { "/128 nodad" };
    for endpoint in endpoints {
        lab.ip(endpoint, &format!("addr replace {to}{length} dev lo"));
    }
    let (sender, receivers) = (
        lab.netns("a1"),
        endpoints.map(|endpoint| lab.netns(endpoint)),
    );
    let flood = Flood::default();
    let latest = [(); N].map(|()| Latest::default());
    thread::scope(|scope| {
        let _end = End(&flood);
        for (endpoint, latest) in receivers.iter().zip(&latest) {
            let flood = &flood;
            scope.spawn(move || latest.receive(endpoint, to, flood));
        }
        let begun = now();
        scope.spawn(|| flood.send(&sender, to));
        test(lab, &latest);
        let rate = flood.sent.load(Relaxed) as f64 * 1e9 / (now() - begun) as f64;
        println!("{to}: {rate:.0} packets a second");
    });
}

/// An address and a prefix go from a2 to a3 and back. None that is sent once `netpath up` has returned arrives where it was.
#[test]
fn nothing_goes_to_who_no_longer_has_the_address() {
    let mut lab = Lab::up(NODES);
    let addresses = ["\"fd00:1:2::2/64\"", "\"fd00:1:3::2/64\""];
    let prefixes = ["\"10.7.2.0/24\"", "\"10.7.3.0/24\""];
    for (to, moving, [of_a2, of_a3]) in [
        ("10.6.0.9", "10.6.0.9/32", addresses),
        ("fd00:6::9", "fd00:6::9/128", addresses),
        ("10.7.9.9", "10.7.9.0/24", prefixes),
        ("fd00:7:9::9", "fd00:7:9::/64", prefixes),
    ] {
        let with = |whose: &str| format!("{whose}, \"{moving}\"");
        lab.edit(of_a2, &with(of_a2));
        lab.converge();
        let address = to.parse().expect("an address");
        under_flood(&mut lab, address, ["a2", "a3"], |lab, latest| {
            let moves = [(of_a2, of_a3, 0, 1), (of_a3, of_a2, 1, 0)];
            for (from, onto, old, new) in moves.into_iter().cycle().take(ROUNDS) {
                latest[old].wait_for_later_than(now());
                lab.edit(&with(from), from);
                lab.edit(onto, &with(onto));
                lab.converge();
                let moved = now();
                latest[new].wait_for_later_than(moved + WATCHED);
                let last = latest[old].get();
                assert!(last <= moved, "{to}: old way, {} ns later", last - moved);
            }
        });
        lab.edit(&with(of_a2), of_a2);
        lab.converge();
    }
    lab.down();
}

/// Off, for one endpoint or for all: nothing is redirected once `fastpath off` has returned, and the kernel delivers it.
#[test]
fn nothing_is_redirected_once_the_fast_path_is_off() {
    let mut lab = Lab::up(NODES);
    for to in ["10.1.2.2", "fd00:1:2::2"] {
        let address = to.parse().expect("an address");
        under_flood(&mut lab, address, ["a2"], |lab, [latest]| {
            let redirected = |lab: &Lab| lab.traffic_now("A").row("va1 > va2 redirect_peer").0;
            for endpoint in [Some("a2"), Some("a1"), None, Some("a2")] {
                let before = redirected(lab);
                let deadline = Deadline::new();
                while redirected(lab) < before + 100 {
                    deadline.check(|| "nothing is redirected".to_owned());
                    // The flow was the kernel's as long as it was off, and would stay so.
                    forget_connections(&lab.name("A"));
                    thread::sleep(Duration::from_millis(5));
                }
                lab.fast_path(false, "A", endpoint);
                let off = now();
                // What was under way is delivered by now.
                latest.wait_for_later_than(off + 1_000_000);
                let before = redirected(lab);
                latest.wait_for_later_than(off + WATCHED);
                assert_eq!(redirected(lab), before, "{to}, {endpoint:?}");
                lab.fast_path(true, "A", endpoint);
            }
        });
    }
    lab.down();
}

/// What is changed in the kernel is heeded two ticks later at the latest: a route, and a neighbour's MAC.
#[test]
fn the_kernels_old_way_is_not_taken_for_more_than_two_ticks() {
    let mut lab = Lab::up(NODES);
    for (to, family, prefix, gateway) in [
        ("10.2.1.2", "-4", "10.2.1.0/24", "10.9.1.2"),
        ("fd00:2:1::2", "-6", "fd00:2:1::/64", "fd00:91::2"),
    ] {
        let address = to.parse().expect("an address");
        let right = lab.mac("B", "up0");
        let changes = [
            (
                format!("{family} route add blackhole {prefix}"),
                format!("{family} route del blackhole {prefix}"),
            ),
            (
                format!("neigh replace {gateway} dev up0 nud permanent lladdr 02:00:00:77:77:77"),
                format!("neigh replace {gateway} dev up0 nud permanent lladdr {right}"),
            ),
        ];
        under_flood(&mut lab, address, ["b1"], |lab, [latest]| {
            for (change, back) in changes.iter().cycle().take(ROUNDS) {
                latest.wait_for_later_than(now());
                lab.ip("A", change);
                let until = now() + two_ticks();
                while now() < until + WATCHED {
                    thread::sleep(Duration::from_millis(1));
                }
                let last = latest.get();
                assert!(
                    last <= until,
                    "{change}: old way, {} ns later",
                    last - until
                );
                lab.ip("A", back);
            }
            latest.wait_for_later_than(now());
        });
        lab.ip("A", &format!("neigh del {gateway} dev up0"));
    }
    lab.down();
}

/// Packets by each of two processors; others by `NETPATH_FLOOD`, where a processor is emulated.
fn packets_of_each() -> u64 {
    let given = env::var("NETPATH_FLOOD");
    given.map_or(500_000, |it| it.parse().expect("a number"))
}

/// Packets by two processors, whose counters are read a hundred times a second: no counter is ever ahead of what was sent, or
/// goes back, and in the end all are there.
#[test]
fn every_packet_is_counted_whenever_it_is_read() {
    for (to, from, header) in [("10.1.2.2", "0.0.0.0", 20), ("fd00:1:2::2", "::", 40)] {
        let any = from.parse().expect("an address");
        is_counted_whenever_it_is_read(to.parse().expect("an address"), any, header);
    }
}

/// To an address, from any of its family, whose header has so many bytes.
fn is_counted_whenever_it_is_read(to: IpAddr, any: IpAddr, header: u64) {
    let each = packets_of_each();
    let lab = Lab::up(NODES);
    let ends = ["a1", "a3"].map(|endpoint| {
        let ifindex = |endpoint| lab.record("A", endpoint).host_ifindex;
        let hop = HopKey::new(ifindex(endpoint), ifindex("a2"), Verdict::RedirectPeer);
        (lab.netns(endpoint), hop, AtomicU64::new(0))
    });
    let _listener = lab.inside("a2", || UdpSocket::bind((to, PORT)).expect("a port"));
    let send = |(netns, _, begun): &(Netns, HopKey, AtomicU64), cpu| {
        inside(netns, || {
            on_cpu(cpu);
            let socket = UdpSocket::bind((any, 0)).expect("a port");
            for _ in 0..each {
                begun.fetch_add(1, SeqCst);
                let sent = socket.send_to(&[0x77; 18], (to, PORT));
                sent.expect("an endpoint has a default route");
            }
        });
    };
    let datapath = lab.datapath("A");
    let mut reads = 0;
    thread::scope(|scope| {
        let senders: Vec<_> = (0..)
            .zip(&ends)
            .map(|(cpu, end)| scope.spawn(move || send(end, cpu)))
            .collect();
        let mut last = [0; 2];
        let deadline = Deadline::within(Duration::from_secs(120));
        loop {
            let are_done = senders.iter().all(|sender| sender.is_finished());
            let hops = datapath.maps.hops().expect("the counters");
            for ((_, hop, begun), last) in ends.iter().zip(&mut last) {
                let counted = hops.get(hop).map_or(0, |row| row.packets);
                assert!(counted >= *last, "{counted} after {last}");
                assert!(counted <= begun.load(SeqCst), "more than were sent");
                *last = counted;
            }
            reads += 1;
            if are_done && last == [each; 2] {
                break;
            }
            deadline.check(|| format!("{last:?} of {each} each were counted"));
            thread::sleep(Duration::from_millis(10));
        }
    });
    println!("{reads} reads");
    // 18 bytes of payload, UDP, IP, Ethernet.
    let hops = datapath.maps.hops().expect("the counters");
    for (_, hop, _) in &ends {
        assert_eq!(hops[hop].bytes, each * (18 + 8 + header + 14));
    }
    let cached = datapath.maps.hop_hits.all().expect("the rows of hits");
    let cached: u64 = cached.values().map(|row| row.packets).sum();
    assert!(cached > each, "the decision cache decided of {cached} only");
    lab.down();
}

/// Keeps the calling thread on a CPU, the last where there are not so many.
fn on_cpu(number: usize) {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).expect("sched_getaffinity");
    let mut cpus = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let cpu = cpus.clone().nth(number).or_else(|| cpus.next_back());
    let mut one = CpuSet::new();
    one.set(cpu.expect("this thread runs somewhere"))
        .expect("it exists");
    sched_setaffinity(this, &one).expect("sched_setaffinity");
}
