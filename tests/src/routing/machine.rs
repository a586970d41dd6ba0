//! One machine: a namespace that plays it, its routing daemon, its node of netpath.

use std::{
    env,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use netpath::{netns::Netns, probe::ping::PingOptions};

use super::{Daemon, Role, config, daemon::Running, forwards};
use crate::{
    Family,
    lab::{Deadline, Lab, Traffic, run},
};

/// How long routes take to come or go: daemons notice after three seconds that one is dead, on an idle machine.
const SOON: Duration = Duration::from_secs(60);

/// Where a daemon of a namespace has its files.
pub(super) fn directory(namespace: &str) -> PathBuf {
    env::temp_dir().join(format!("{namespace}-routing"))
}

/// One machine.
#[derive(Debug)]
pub struct Machine {
    number: u8,
    kind: Daemon,
    config: String,
    netns: Netns,
    /// Dropped inside.
    lab: Option<Mutex<Lab>>,
    daemon: Mutex<Option<Running>>,
}

/// The address of a pod of this number: its machine's, or one that moves.
pub fn pod(number: u8, family: Family) -> IpAddr {
    let text = match family {
        Family::V4 => format!("10.20.{number}.2"),
        Family::V6 => format!("fd20:{number}::2"),
    };
    text.parse().expect("an address")
}

impl Machine {
    pub(super) fn new(number: u8, kind: Daemon, role: Role) -> Self {
        let mut lab = Lab::prepare(&config::node(number));
        let netns = lab.foreign_namespace(&format!("m{number}"));
        let machine = Self {
            number,
            kind,
            config: config::daemon(kind, role, number),
            netns,
            lab: Some(Mutex::new(lab)),
            daemon: Mutex::new(None),
        };
        let namespace = machine.namespace();
        forwards(&namespace);
        run(&format!("ip -n {namespace} link set lo up"));
        machine
            .netns
            .run(|| {
                // As on machines with containers: what the fast path leaves to the kernel is lost.
                for command in ["iptables", "ip6tables"] {
                    run(&format!("{command} -w -P FORWARD DROP"));
                }
            })
            .expect("entered");
        machine
    }

    /// Its number.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Its namespace.
    pub fn namespace(&self) -> String {
        self.name(&format!("m{}", self.number))
    }

    /// A name that no other test has.
    pub fn name(&self, short: &str) -> String {
        self.with(|lab| lab.name(short))
    }

    /// A namespace that goes with this machine. Its whole name.
    pub(super) fn foreign_namespace(&self, short: &str) -> String {
        self.with(|lab| drop(lab.foreign_namespace(short)));
        self.name(short)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Lab) -> T) -> T {
        let lab = self.lab.as_ref().expect("until it is dropped");
        work(&mut lab.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does something there, with the lab of its node.
    pub fn inside<T: Send>(&self, work: impl FnOnce(&mut Lab) -> T + Send) -> T {
        let lab = self.lab.as_ref().expect("until it is dropped");
        let work = || {
            let mut lab = lab.lock().unwrap_or_else(PoisonError::into_inner);
            catch_unwind(AssertUnwindSafe(|| work(&mut lab)))
        };
        match self.netns.run(work).expect("entered") {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// A command there; it must succeed.
    pub fn run(&self, line: &str) -> String {
        self.netns.run(|| run(line)).expect("entered")
    }

    pub(super) fn second_uplink(&self) {
        self.with(|lab| {
            lab.edit(
                "dev = \"up0\"\n",
                "dev = \"up0\"\n[[node.uplink]]\ndev = \"up1\"\n",
            )
        });
    }

    pub(super) fn begin(&self) {
        // What comes in to an IPv6 address is taken in a moment after it was given.
        let deadline = Deadline::within(SOON);
        let is_there = || {
            let addresses = self.run("ip -6 -o addr show dev up0");
            let local = self.run("ip -6 route show table local dev up0");
            let mut words = addresses
                .split_whitespace()
                .filter_map(|word| word.split_once('/'));
            words.all(|(address, _)| local.contains(&format!("local {address} ")))
                && self.run("ip -o link show dev up0").contains("state UP")
        };
        while !is_there() {
            deadline.check(|| format!("machine {} does not come up", self.number));
            thread::sleep(Duration::from_millis(20));
        }
        self.start_daemon();
        self.inside(|lab| lab.converge());
    }

    /// Starts its daemon.
    pub fn start_daemon(&self) {
        let directory = directory(&self.namespace());
        let start = || Running::start(self.kind, &directory, &self.config);
        let running = self.netns.run(start).expect("entered");
        *self.daemon() = Some(running);
    }

    fn daemon(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It dies: its daemon says nothing any more, and its links are down.
    pub fn die(&self, uplinks: &[&str]) {
        if let Some(daemon) = self.daemon().take() {
            daemon.kill();
        }
        for dev in uplinks {
            self.run(&format!("ip link set {dev} down"));
        }
    }

    /// It returns.
    pub fn come_back(&self, uplinks: &[&str]) {
        for dev in uplinks {
            self.run(&format!("ip link set {dev} up"));
        }
        // With a link IPv6 addresses go, and those that were given by hand do not come back by themselves.
        for dev in uplinks {
            self.run(&format!(
                "ip -6 addr replace {} dev {dev} nodad",
                self.address(uplinks)
            ));
        }
        self.start_daemon();
    }

    fn address(&self, uplinks: &[&str]) -> String {
        match uplinks {
            [_] => format!("fd00:100::{}/64", self.number),
            _ => format!("fe80::{}/64", self.number),
        }
    }

    /// Has its daemon tell of the prefixes of a pod that moves, or no longer.
    pub fn announce(&self, pod: u8, is_told: bool) {
        let daemon = self.daemon();
        let daemon = daemon.as_ref().expect("it runs");
        daemon.announce(&self.config, pod, is_told);
    }

    /// Adds a pod, or takes it away.
    pub fn set_pod(&self, pod: u8, is_there: bool) {
        let endpoint = format!(
            "\n[[node.endpoint]]\nname = \"@p{pod}\"\naddresses = [\"10.20.{pod}.2/24\", \"fd20:{pod}::2/64\"]\n\
             host_dev = \"vp{pod}\"\n"
        );
        self.inside(|lab| {
            let endpoint = endpoint.replace('@', lab.prefix());
            let text = match is_there {
                true => format!("{}{endpoint}", lab.text()),
                false => lab.text().replace(&endpoint, ""),
            };
            lab.rewrite(&text);
            lab.converge();
        });
    }

    /// The counters of its node while packets pass.
    pub fn traffic(&self) -> Traffic {
        let node = format!("m{}", self.number);
        self.inside(|lab| lab.traffic_now(&node))
    }

    /// The namespace of its pod.
    pub fn pod(&self) -> Netns {
        Netns::named(&self.name(&format!("p{}", self.number))).expect("a pod")
    }

    /// What `show` tells of its node.
    pub fn told(&self) -> Vec<&'static str> {
        let node = format!("m{}", self.number);
        self.inside(|lab| lab.told(&node))
    }

    /// Waits until `show` has nothing to tell.
    pub fn await_content(&self) {
        let deadline = Deadline::within(SOON);
        while !self.told().is_empty() {
            deadline.check(|| format!("machine {}: {:?}", self.number, self.told()));
            thread::sleep(Duration::from_millis(200));
        }
        let plan = self.inside(|lab| lab.plan());
        assert_eq!(plan, Vec::<String>::new(), "machine {}", self.number);
    }

    /// Waits until its kernel's route to a prefix says all of this, and nothing of that.
    pub fn await_route(&self, option: &str, prefix: &str, words: &[&str], not: &[&str]) {
        let deadline = Deadline::within(SOON);
        loop {
            let route = self.run(&format!("ip {option} route show {prefix}"));
            let is_there = |word: &&str| route.contains(word);
            if words.iter().all(is_there) && !not.iter().any(is_there) {
                return;
            }
            deadline.check(|| {
                let known = self.daemon().as_ref().map(Running::routes);
                let known = known.unwrap_or_default();
                format!("{words:?}, and not {not:?}, have to be in {route:?}:\n{known}")
            });
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until its pod reaches another.
    pub fn await_reaches(&self, other: u8, family: Family) {
        self.await_fate(other, family, true);
    }

    /// Waits until its pod does not reach another.
    pub fn await_loses(&self, other: u8, family: Family) {
        self.await_fate(other, family, false);
    }

    fn await_fate(&self, other: u8, family: Family, reaches: bool) {
        let pod = format!("p{}", self.number);
        let options = PingOptions {
            timeout: Duration::from_millis(500),
            ..PingOptions::default()
        };
        let deadline = Deadline::within(SOON);
        loop {
            let report = self.with(|lab| lab.ping(&pod, self::pod(other, family), &options));
            if (report.received == 1) == reaches {
                return;
            }
            deadline.check(|| {
                let told = self.daemon().as_ref().map(Running::told);
                let routes = ["-4", "-6"].map(|family| self.run(&format!("ip {family} route")));
                format!(
                    "p{} to p{other}, {family:?}, has to {}: {routes:?}\n{}",
                    self.number,
                    if reaches { "arrive" } else { "be lost" },
                    told.unwrap_or_default()
                )
            });
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Fails unless each of a few pings has its one reply, and the fast path took them all both ways, here, and whatever else passed.
    pub fn assert_fast(&self, other: u8, family: Family) {
        let before = self.traffic();
        let (pod, address) = (format!("p{}", self.number), pod(other, family));
        let ttl = self.ttl();
        self.with(|lab| lab.assert_reaches(&pod, address, ttl));
        let passed = self.traffic().since(&before);
        let (out, back) = self.redirected(&passed);
        assert!(out >= 3 && back >= 3, "machine {}: {passed:?}", self.number);
        self.assert_all_redirected(&passed);
    }

    /// With which TTL packets of other machines arrive: each machine on the way takes one, and so does a spine.
    fn ttl(&self) -> u8 {
        match self.with(|lab| lab.text().contains("up1")) {
            true => 61,
            false => 62,
        }
    }

    /// What its pod sent to other machines, and what it got from there, by the fast path.
    pub fn redirected(&self, traffic: &Traffic) -> (u64, u64) {
        let veth = format!("vp{}", self.number);
        let sum = |is_it: &dyn Fn(&str) -> bool| {
            let rows = traffic.without_chatter().filter(|(row, _)| is_it(row));
            rows.map(|(_, counter)| counter.packets).sum()
        };
        let out =
            sum(&|row| row.starts_with(&format!("{veth} > up")) && row.ends_with("redirect_neigh"));
        let back =
            sum(&|row| row.starts_with("up") && row.ends_with(&format!("> {veth} redirect_peer")));
        (out, back)
    }

    /// Fails if anything that its pod sent was not redirected, or anything that it got was the kernel's to deliver.
    pub fn assert_all_redirected(&self, traffic: &Traffic) {
        let veth = format!("vp{}", self.number);
        for (row, counter) in traffic.without_chatter() {
            let is_sent = row.starts_with(&format!("{veth} > "));
            let is_right = row.ends_with("redirect_neigh") || row.ends_with("redirect_peer");
            assert!(!is_sent || is_right, "{row}: {}", counter.packets);
            assert!(
                !row.ends_with(&format!("> {veth} deliver")),
                "{row}: {}",
                counter.packets
            );
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.daemon().take());
        let lab = self.lab.take();
        let dropped = self
            .netns
            .run(move || catch_unwind(AssertUnwindSafe(|| drop(lab))));
        match dropped {
            Ok(Err(panic)) if !thread::panicking() => resume_unwind(panic),
            Ok(_) => {}
            Err(error) => eprintln!("{error}"),
        }
    }
}
