//! What the steps have in common: telling, checking, pausing.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use netpath::netfilter::{Chain, Policy};
use netpath::{
    datapath::ObjectKind,
    model::{Endpoint, Topology},
    netns::Netns,
    probe::ping::{PingOptions, PingReport, ping},
};
use netpath_common::Family;

use super::super::{
    DemoError, DemoOptions,
    cast::{Cast, address, header},
    firewall,
    lab::Lab,
    measure::{Path, measure},
    packet_log::PacketLog,
    report::{Check, DemoReport, Event, Narrator, StepReport},
    snapshot::Snapshot,
};
use super::ACTS;

/// What happens in a step.
pub type Act = fn(&mut Story<'_>) -> Result<(), DemoError>;

/// Echo requests of one ping.
pub const PINGS: u16 = 5;
/// Their payload, in bytes.
const PING_PAYLOAD: u64 = 56;
/// The header of an echo request, in bytes (RFC 792, RFC 4443).
const ECHO_HEADER: u64 = 8;
/// Far longer than a reply takes in one machine.
const PING_TIMEOUT: Duration = Duration::from_millis(250);

/// The story so far.
pub struct Story<'a> {
    pub options: &'a DemoOptions,
    pub topology: &'a Topology,
    pub cast: Cast<'a>,
    pub report: DemoReport,
    /// Counters before and after the traffic of step 4.
    pub counted: Vec<(Family, Snapshot, Snapshot)>,
    /// Dropped before the lab is.
    pub log: Option<PacketLog>,
    pub lab: Option<Lab>,
    narrator: &'a mut dyn Narrator,
    began: Instant,
}

impl<'a> Story<'a> {
    pub fn new(
        options: &'a DemoOptions,
        topology: &'a Topology,
        cast: Cast<'a>,
        narrator: &'a mut dyn Narrator,
    ) -> Self {
        Self {
            options,
            topology,
            cast,
            report: DemoReport::default(),
            counted: Vec::new(),
            log: None,
            lab: None,
            narrator,
            began: Instant::now(),
        }
    }

    /// Tells a step.
    pub fn step<T>(
        &mut self,
        title: &'static str,
        act: impl FnOnce(&mut Self) -> Result<T, DemoError>,
    ) -> Result<T, DemoError> {
        self.pause()?;
        self.last_step(title, act)
    }

    /// Tells a step that not even a signal prevents.
    pub fn last_step<T>(
        &mut self,
        title: &'static str,
        act: impl FnOnce(&mut Self) -> Result<T, DemoError>,
    ) -> Result<T, DemoError> {
        let began = Instant::now();
        let last = self.report.steps.last().map_or(0, |step| step.number);
        let of = ACTS.len() + 1;
        // The removal keeps its number when steps before it were left out.
        let number = if self.passed() { last + 1 } else { of };
        self.report.steps.push(StepReport {
            number,
            title,
            seconds: 0.0,
            checks: Vec::new(),
        });
        self.tell(Event::Step { number, of, title });
        let result = act(self);
        if let Some(step) = self.report.steps.last_mut() {
            step.seconds = seconds(began);
        }
        result
    }

    /// Whether every check was true so far.
    pub fn passed(&self) -> bool {
        self.report.steps.iter().all(StepReport::passed)
    }

    /// The whole, at its end.
    pub fn into_report(mut self) -> DemoReport {
        self.report.passed = self.passed() && self.report.steps.len() == ACTS.len() + 1;
        self.report.seconds = seconds(self.began);
        self.report
    }

    /// Where the story may be interrupted.
    pub fn pause(&self) -> Result<(), DemoError> {
        if self.is_interrupted() {
            return Err(DemoError::Interrupted);
        }
        Ok(())
    }

    pub fn is_interrupted(&self) -> bool {
        self.options.interrupted.load(Ordering::Relaxed)
    }

    /// Whether the programs log every packet.
    pub fn is_logging(&self) -> bool {
        self.options.object == ObjectKind::Logging
    }

    pub fn tell(&mut self, event: Event<'_>) {
        self.narrator.tell(event);
    }

    pub fn say(&mut self, text: &str) {
        self.tell(Event::Say(text));
    }

    pub fn command(&mut self, command: &str) {
        self.tell(Event::Command(command));
    }

    /// Tells a check and notes it.
    pub fn check(&mut self, check: Check) {
        self.narrator.tell(Event::Check(&check));
        if let Some(step) = self.report.steps.last_mut() {
            step.checks.push(check);
        }
    }

    /// The near node's FORWARD chain.
    pub fn near_chain(&self, family: Family) -> Result<Chain, DemoError> {
        firewall::forward(&Netns::named(self.cast.near.name.as_ref())?, family)
    }

    /// Pings from the sender, and checks how many replies come.
    pub fn check_replies(
        &mut self,
        id: &'static str,
        to: &Endpoint,
        family: Family,
        expected: u16,
    ) -> Result<PingReport, DemoError> {
        let report = self.ping(to, family)?;
        let from = &self.cast.sender.name;
        let what = format!("replies to {PINGS} pings from {from} to {}", to.name);
        self.check(Check::same(id, family, what, expected, report.received));
        Ok(report)
    }

    /// Checks that the near node's FORWARD chain drops, and has no rules.
    pub fn check_forward_drops(&mut self, family: Family, chain: &Chain) {
        let node = &self.cast.near.name;
        let policy = format!("policy of FORWARD on {node}");
        let rules = format!("rules in FORWARD on {node}");
        let (id, drop) = ("policy_is_drop", Policy::Drop);
        self.check(Check::same(id, family, policy, drop, chain.policy));
        let id = "no_rules";
        self.check(Check::same(id, family, rules, 0, chain.rules.len()));
    }

    /// Pings from the sender.
    fn ping(&mut self, to: &Endpoint, family: Family) -> Result<PingReport, DemoError> {
        self.pause()?;
        let from = self.cast.sender;
        let dst = address(to, family)?;
        self.command(&format!(
            "ip netns exec {} ping -c {PINGS} {dst}",
            from.name
        ));
        let options = PingOptions {
            src: Some(address(from, family)?),
            count: PINGS,
            payload_len: PING_PAYLOAD as usize,
            timeout: PING_TIMEOUT,
            ..PingOptions::default()
        };
        Ok(ping(&Netns::named(from.name.as_ref())?, dst, &options)?)
    }

    /// Measures the way between the two endpoints of the near node, unless every packet is logged.
    pub fn measure(&mut self, path: Path) -> Result<(), DemoError> {
        if self.is_logging() {
            self.say("Nothing is measured: to log a packet takes longer than to forward it.");
            return Ok(());
        }
        for family in Family::ALL {
            let measured = measure(&self.cast, path, family, &|| self.pause())?;
            self.report.measurements.push(measured);
        }
        Ok(())
    }

    /// Tells what was measured so far.
    pub fn tell_measurements(&mut self) {
        self.narrator
            .tell(Event::Measured(&self.report.measurements));
    }
}

/// Length of an echo request or reply from the IP header on, in bytes.
pub fn ping_length(family: Family) -> u64 {
    header(family) + ECHO_HEADER + PING_PAYLOAD
}

/// To a millisecond.
fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0
}
