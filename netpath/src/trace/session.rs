//! A trace, from beginning to end.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use netpath_common::{Family, trace::TracePoint};

use super::{
    Filter, TraceError,
    fate::{Fate, Target, fate},
    kernel::Kernel,
    packet::{Follower, Packet, Step, Summary, What},
    places::{Place, Places, Role},
};
use crate::{
    datapath::{Observer, Untold, monotonic_now},
    probe::shot::{Kind, Shooter, ShotOptions},
};

/// How long to wait for events at a time.
const STEP: Duration = Duration::from_millis(20);
/// What is so old is in order: processors do not tell at the same time.
const SETTLED: Duration = Duration::from_millis(50);
/// The decision cache forgets within a tick of the kernel's clock, which takes no longer.
const TICK: Duration = Duration::from_millis(20);
/// How long answers may take to a packet that has arrived.
const ANSWER: Duration = Duration::from_millis(250);
/// After so long nothing comes behind what looks like a packet's last step.
const AFTERWARDS: Duration = Duration::from_millis(200);
/// After so long nothing more comes: a neighbour that does not answer is given up by then.
const IDLE: Duration = Duration::from_secs(5);
/// Most packets that are put together at a time.
const MOST: usize = 4096;
/// Most packets of live traffic that each processor begins to follow in a quarter of a second.
const RATE: u32 = 250;

/// What a packet is to the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A probe, or what the endpoint sends.
    There,
    /// What goes back, or what the endpoint is sent.
    Back,
    /// An ICMP error about it.
    Error,
}

impl Direction {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Back => "back",
            Self::Error => "error",
        }
    }
}

/// A packet, what it is, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// The packet.
    pub packet: Packet,
    /// What it is.
    pub direction: Direction,
    /// What became of it.
    pub fate: Fate,
}

/// Probes to be sent and followed.
#[derive(Clone, Debug)]
pub struct ProbeRequest {
    /// Name of the endpoint or node that sends.
    pub from: String,
    /// Name of an endpoint or node, or an address.
    pub to: String,
    /// The family, where both have several.
    pub family: Option<Family>,
    /// How many.
    pub count: u16,
    /// From one to the next.
    pub interval: Duration,
    /// How long to wait for what becomes of them.
    pub timeout: Duration,
    /// What they are.
    pub shot: ShotOptions,
}

/// Live traffic to be followed.
#[derive(Clone, Debug)]
pub struct LiveRequest {
    /// Name of the endpoint.
    pub endpoint: String,
    /// What of its traffic.
    pub filter: Filter,
    /// Of so many packets one.
    pub sample: u32,
}

/// Everything that a trace has found.
#[derive(Debug)]
pub struct Found {
    /// In the order in which they were first seen.
    pub packets: Vec<Traced>,
    /// Probes that the sender's own kernel refused, and why.
    pub refused: Vec<String>,
    /// What was not told.
    pub untold: Untold,
}

/// A trace that has begun.
pub struct Session {
    /// What namespaces and interfaces are called.
    pub places: Places,
    /// What this kernel's names are.
    pub kernel: Kernel,
    /// What the trace cannot see, a sentence each.
    pub notes: Vec<String>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Looks at the machine; nothing is traced yet.
    ///
    /// # Errors
    /// When the kernel does not say where it has what is looked at.
    pub fn new() -> Result<Self, TraceError> {
        let (places, kernel) = (Places::now()?, Kernel::of_machine()?);
        let notes = places.unread.iter().chain(&kernel.lacks).cloned().collect();
        Ok(Self {
            places,
            kernel,
            notes,
        })
    }

    fn observe(&mut self, filter: &Filter, sample: u32, rate: u32) -> Result<Observer, TraceError> {
        let mut offsets = self.kernel.offsets;
        (offsets.sample, offsets.rate) = (sample, rate);
        let filter = filter.compiled().ok_or_else(|| {
            TraceError::Refused(
                "the filter is too long together with the endpoint's addresses".to_owned(),
            )
        })?;
        let mut observer = Observer::start(&offsets, &filter)?;
        for point in observer.missing() {
            let told = match point {
                TracePoint::Received | TracePoint::Sent => "on their way",
                TracePoint::Dropped => "that are dropped",
                TracePoint::Consumed => "that are taken in",
            };
            let name = point.tracepoint();
            self.notes.push(format!(
                "this kernel has no tracepoint {name}: packets {told} are not seen there"
            ));
        }
        for node in &self.places.nodes {
            // One node's trouble is not the others'.
            let problem = match observer.ask(node) {
                Ok(true) => continue,
                Ok(false) => {
                    "its programs are of another build: `netpath up` exchanges them".to_owned()
                }
                // It was taken down since it was listed.
                Err(_) if !node.directory().exists() => continue,
                Err(error) => error.to_string(),
            };
            self.notes.push(format!(
                "what node {} decides is not told: {problem}",
                node.name()
            ));
        }
        // What was remembered before is decided again.
        thread::sleep(TICK);
        Ok(observer)
    }

    /// Sends probes, and follows each.
    ///
    /// # Errors
    /// When there is no such endpoint, node or address, or the trace cannot begin.
    pub fn probe(
        &mut self,
        request: &ProbeRequest,
        interrupted: &AtomicBool,
    ) -> Result<Found, TraceError> {
        let ends = self.ends(request)?;
        let shot = ShotOptions {
            src: ends.source,
            ..request.shot.clone()
        };
        let protocol = shot.kind.protocol(ends.destination.is_ipv4());
        let filter = ends.filter(protocol);
        let mut observer = self.observe(&filter, 1, u32::MAX)?;
        let (_, place) = self.named(&request.from)?;
        let from = place.netns();
        let mut shooter = Shooter::new(from, ends.destination, shot.clone())?;
        let mut follower = Follower::new(self.places.behind_veths());
        let mut refused = Vec::new();
        let (mut sent, mut due) = (0, Instant::now());
        let mut over: Option<Instant> = None;
        while !interrupted.load(Ordering::Relaxed) {
            if sent < request.count && Instant::now() >= due {
                sent += 1;
                due = Instant::now() + request.interval;
                if let Err(errno) = shooter.shoot(from)? {
                    refused.push(format!("probe {sent}: {}", errno.desc()));
                }
                over = Some(Instant::now() + request.timeout);
            }
            observer.read(STEP, |it| follower.take(it))?;
            follower.sort_until(u64::MAX, &self.kernel);
            if sent < request.count {
                continue;
            }
            if over.is_some_and(|over| Instant::now() >= over) {
                break;
            }
            let own = |packet: &&Packet| {
                ends.direction(packet, &shooter, &shot) == Some(Direction::There)
            };
            let probes: Vec<&Packet> = follower.packets().filter(own).collect();
            let expected =
                usize::from(request.count) - refused.len().min(usize::from(request.count));
            let are_final = probes.len() >= expected
                && probes
                    .iter()
                    .all(|it| self.fate(it, ends.target).is_final());
            if are_final && is_quiet(&follower) {
                break;
            }
        }
        let untold = observer.untold()?;
        drop(observer);
        let found = follower.packets();
        let found = found.filter_map(|it| Some((ends.direction(it, &shooter, &shot)?, it)));
        let found: Vec<(Direction, &Packet)> = found.collect();
        // Other labs have the same addresses: what answers a probe begins where one has been.
        let probes = found.iter().filter(|(it, _)| *it == Direction::There);
        let been: BTreeSet<u32> = probes
            .flat_map(|(_, probe)| probe.steps.iter().map(|step| step.netns))
            .collect();
        let is_answer = |packet: &Packet| {
            let first = packet.steps.first();
            first.is_some_and(|step| been.contains(&step.netns))
        };
        let packets = found.into_iter().filter_map(|(direction, packet)| {
            if direction != Direction::There && !is_answer(packet) {
                return None;
            }
            let target = match direction {
                Direction::There => ends.target,
                Direction::Back | Direction::Error => Some(ends.origin),
            };
            Some(Traced {
                packet: packet.clone(),
                direction,
                fate: self.fate(packet, target),
            })
        });
        Ok(Found {
            packets: packets.collect(),
            refused,
            untold,
        })
    }

    /// Follows the traffic of an endpoint until a signal comes, `sink` has enough, or the time is over.
    ///
    /// # Errors
    /// When there is no such endpoint, or the trace cannot begin.
    pub fn live(
        &mut self,
        request: &LiveRequest,
        interrupted: &AtomicBool,
        until: Option<Instant>,
        mut sink: impl FnMut(&Self, Traced) -> bool,
    ) -> Result<Untold, TraceError> {
        let (number, place) = self.named(&request.endpoint)?;
        let target = Target::of(number, place);
        let Role::Endpoint { addresses, .. } = &place.role else {
            return Err(TraceError::Refused(format!(
                "{} is a node: name one of its endpoints",
                request.endpoint
            )));
        };
        let addresses = addresses.clone();
        let own = addresses.iter().map(|it| Filter::at(IpNet::from(*it)));
        let own = own.reduce(Filter::or).unwrap_or_else(Filter::any);
        let filter = own.and(request.filter.clone());
        let mut observer = self.observe(&filter, request.sample.max(1), RATE)?;
        let mut follower = Follower::new(self.places.behind_veths());
        let mut is_enough = false;
        while !is_enough {
            let is_over = until.is_some_and(|until| Instant::now() >= until);
            let ends = is_over || interrupted.load(Ordering::Relaxed);
            observer.read(STEP, |it| follower.take(it))?;
            let now = monotonic_now();
            let settled = match ends {
                true => u64::MAX,
                false => now.saturating_sub(nanoseconds(SETTLED)),
            };
            follower.sort_until(settled, &self.kernel);
            let is_last = |step: &Step| {
                let patience = match self.looks_last(step) {
                    true => AFTERWARDS,
                    false => IDLE,
                };
                ends || now.saturating_sub(step.time) > nanoseconds(patience)
            };
            for packet in follower.retire(is_last, MOST) {
                let traced = self.of_endpoint(packet, target, &addresses);
                is_enough |= traced.is_some_and(|traced| sink(self, traced));
                if is_enough {
                    break;
                }
            }
            is_enough |= ends;
        }
        Ok(observer.untold()?)
    }

    /// What became of a packet that was to come to somebody, as far as that is known: a rule may lead it to somebody else, and
    /// what has no name here has arrived where its address is.
    fn fate(&self, packet: &Packet, wanted: Option<Target>) -> Fate {
        let last = packet.steps.iter().rev();
        let last = last.filter_map(|step| Summary::of(&step.bytes)).next();
        let to = last.map_or(packet.summary.destination, |last| last.destination);
        if wanted.is_some() && to == packet.summary.destination {
            return fate(packet, wanted);
        }
        // Where it was last, else an endpoint: of those in several labs one that it has come near.
        let last = packet.steps.last().map(|step| step.netns);
        let last = last.filter(|netns| self.places.is_own(*netns, to));
        let last = last.and_then(|netns| Some((netns, self.places.get(netns)?)));
        let is_near = |number: u32| {
            let mut steps = packet.steps.iter();
            steps.any(|step| self.places.is_node_of(step.netns, number))
        };
        let found = last.or_else(|| self.places.with_address_where(to, is_near));
        let target = found.map(|(number, place)| Target::of(number, place));
        fate(packet, target.or(wanted))
    }

    /// Whether mostly nothing comes behind a step. Where a node has it, it may wait for a neighbour.
    fn looks_last(&self, step: &Step) -> bool {
        match step.what {
            What::Dropped(_) | What::Consumed(_) | What::Sent => true,
            What::Received | What::Decided(_) => {
                let place = self.places.get(step.netns);
                place.is_none_or(|place| place.role != Role::Node)
            }
        }
    }

    /// A packet of live traffic, if it is the endpoint's and not one of somebody with the same addresses: another lab, or a namespace
    /// of which nothing is known here.
    fn of_endpoint(&self, packet: Packet, own: Target, addresses: &[IpAddr]) -> Option<Traced> {
        let is_near =
            |step: &Step| step.netns == own.netns || self.places.is_node_of(step.netns, own.netns);
        let is_ambiguous = addresses.iter().any(|it| self.places.is_ambiguous(*it));
        let is_known = |step: &Step| self.places.get(step.netns).is_some();
        let is_its = match is_ambiguous {
            true => packet.steps.iter().any(is_near),
            false => packet.steps.iter().any(is_known),
        };
        if !is_its {
            return None;
        }
        let direction = match addresses.contains(&packet.summary.source) {
            true => Direction::There,
            false => Direction::Back,
        };
        let target = match direction {
            Direction::There => {
                let to = self.places.with_address(packet.summary.destination);
                to.map(|(number, place)| Target::of(number, place))
            }
            Direction::Back | Direction::Error => Some(own),
        };
        let fate = self.fate(&packet, target);
        Some(Traced {
            packet,
            direction,
            fate,
        })
    }

    fn named(&self, name: &str) -> Result<(u32, &Place), TraceError> {
        self.places.named(name).ok_or_else(|| TraceError::Unknown {
            name: name.to_owned(),
        })
    }

    fn ends(&self, request: &ProbeRequest) -> Result<Ends, TraceError> {
        let (number, from) = self.named(&request.from)?;
        let origin = Target::of(number, from);
        let refused = |text: String| Err(TraceError::Refused(text));
        let (destination, target) = match request.to.parse::<IpAddr>() {
            Ok(address) => {
                let found = self.places.with_address(address);
                (
                    address,
                    found.map(|(number, place)| Target::of(number, place)),
                )
            }
            Err(_) => {
                let (number, to) = self.named(&request.to)?;
                let families = request
                    .family
                    .map_or_else(|| Family::ALL.to_vec(), |it| vec![it]);
                let address = families.into_iter().find_map(|family| {
                    let has_both = from.address(family).is_some() || from.role == Role::Node;
                    to.reached_at(family).filter(|_| has_both)
                });
                let Some(address) = address else {
                    return refused(format!(
                        "{} and {} have no address of one family",
                        request.from, request.to
                    ));
                };
                (address, Some(Target::of(number, to)))
            }
        };
        let family = Family::of(destination);
        if request.family.is_some_and(|wanted| wanted != family) {
            return refused(format!(
                "{destination} is no {} address",
                request.family.map_or("", Family::title)
            ));
        }
        let source = match request.shot.src {
            Some(source) if Family::of(source) != family => {
                return refused(format!(
                    "{source} is no {} address, and {destination} is one: nothing goes from one to the other",
                    family.title()
                ));
            }
            Some(source) => Some(source),
            None => from.address(family),
        };
        if source.is_none() && from.role != Role::Node {
            return refused(format!(
                "{} has no {} address",
                request.from,
                family.title()
            ));
        }
        Ok(Ends {
            origin,
            source,
            destination,
            target,
        })
    }
}

/// Between whom probes go.
struct Ends {
    origin: Target,
    /// `None` where the kernel chooses it.
    source: Option<IpAddr>,
    destination: IpAddr,
    target: Option<Target>,
}

impl Ends {
    /// What is looked for: the probes, what answers them, and errors to their sender.
    fn filter(&self, protocol: u8) -> Filter {
        let to = Filter::to(IpNet::from(self.destination));
        let back = Filter::from(IpNet::from(self.destination));
        let (to, back, errors) = match self.source {
            Some(source) => (
                to.and(Filter::from(IpNet::from(source))),
                back.and(Filter::to(IpNet::from(source))),
                Filter::errors().and(Filter::to(IpNet::from(source))),
            ),
            None => (to, back, Filter::errors()),
        };
        to.or(back).and(Filter::protocol(protocol)).or(errors)
    }

    /// What a packet is to these probes; `None` where it is something else.
    fn direction(
        &self,
        packet: &Packet,
        shooter: &Shooter,
        shot: &ShotOptions,
    ) -> Option<Direction> {
        let summary = &packet.summary;
        if let Some((from, to)) = summary.about {
            let is_ours = to == self.destination && self.source.is_none_or(|it| it == from);
            return is_ours.then_some(Direction::Error);
        }
        if summary.protocol != shot.kind.protocol(self.destination.is_ipv4()) {
            return None;
        }
        let from_origin = packet
            .steps
            .first()
            .is_some_and(|step| step.netns == self.origin.netns);
        let is_there = summary.destination == self.destination && from_origin;
        let carries_sign = match (shot.kind, summary.icmp, summary.ports) {
            (Kind::Icmp, Some((_, _, rest)), _) => {
                u16::from_be_bytes([rest[0], rest[1]]) == shooter.echo_id()
            }
            (Kind::Udp | Kind::Tcp, _, Some((from, to))) => {
                let own = shooter.source_ports();
                own.contains(&from) && to == shot.destination_port
                    || own.contains(&to) && from == shot.destination_port
            }
            // A later fragment has neither.
            _ => is_there || summary.source == self.destination,
        };
        if !carries_sign {
            return None;
        }
        let is_request = match (shot.kind, summary.icmp, summary.ports) {
            (Kind::Icmp, Some((kind, _, _)), _) => [8, 128].contains(&kind),
            (_, _, Some((from, _))) => shooter.source_ports().contains(&from),
            _ => is_there,
        };
        match is_request {
            true => from_origin.then_some(Direction::There),
            false => Some(Direction::Back),
        }
    }
}

/// Whether nothing was seen for as long as an answer may take.
fn is_quiet(follower: &Follower) -> bool {
    let last = follower.packets().flat_map(|packet| packet.steps.last());
    let last = last.map(|step| step.time).max().unwrap_or(0);
    monotonic_now().saturating_sub(last) >= nanoseconds(ANSWER)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
