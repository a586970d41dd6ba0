//! Running a case.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aya::programs::TcAttachType;
use netpath::{
    counters::{self, HopRow},
    datapath::Datapath,
    probe::{
        capture::{Capture, Injector},
        frame::{
            ETHERTYPE_IPV4, ETHERTYPE_IPV6, FrameBuilder, PROTOCOL_TCP, PROTOCOL_UDP, ParsedFrame,
        },
    },
};
use netpath_common::Outcome;

use super::{
    case::{Case, Flow, Path, Probe, Step},
    lab::Lab,
    observe::{
        Arrival, MARKER, Observation, is_discovery, is_discovery_answer, is_late, is_marker,
        is_redirect,
    },
    place::Place,
};
use crate::{
    Family, GsoInjector, between,
    lab::UplinkKind,
    system::run_on_one_cpu,
    tc_program::{Position, TcProgram},
};

/// A marker takes microseconds; after this long it is lost.
const MARKER_DEADLINE: Duration = Duration::from_secs(5);

/// Where frames are watched.
const OBSERVED: [Place; 7] = [
    Place::A1,
    Place::A2,
    Place::A3,
    Place::B1,
    Place::C1,
    Place::NodeB,
    Place::NodeC,
];

/// How often a frame of TCP or UDP is sent: the stages decide of the first two, the second fills a slot of the decision cache, and
/// that decides of the rest if it may.
const COPIES: usize = 4;

/// As what neighbours' own talk is counted.
const DISCOVERY: [&str; 2] = ["punt(arp)", "punt(neighbour_discovery)"];

/// The same, where it goes from or to a link-local or multicast address.
const ON_THE_LINK: [&str; 3] = ["punt(link_local)", "punt(multicast)", "punt(hop_by_hop)"];

/// The lab with all that looks into it.
pub struct Runner {
    lab: Lab,
    captures: BTreeMap<Place, Capture>,
    injectors: BTreeMap<Place, (Injector, GsoInjector)>,
    marker: u16,
    /// Other programs of the case that runs.
    programs: Vec<TcProgram>,
    /// Counters that the markers alone move, per path.
    markers_only: BTreeMap<Path, Vec<HopRow>>,
    fast_path: bool,
    /// How many packets the decision cache has decided of.
    cached: u64,
}

/// What a run of a case brought.
pub struct Run {
    /// What arrived.
    pub observation: Observation,
    /// Node A's counters of the ingress interface, as "outcome" or "outcome(reason)", with packets.
    pub counted: BTreeMap<String, u64>,
    /// How many packets that has to be; `None` where sockets decide.
    pub sent: Option<u64>,
}

impl Runner {
    /// With a lab of its own, the fast path off.
    pub fn new() -> Self {
        Self::with(Lab::new())
    }

    /// The same where the two nodes are machines, joined by uplinks of this kind: the cases are
    /// [`all_by_uplink`](super::all_by_uplink).
    pub fn by(kind: &UplinkKind) -> Self {
        Self::with(Lab::by(kind))
    }

    fn with(lab: Lab) -> Self {
        run_on_one_cpu();
        let inside = |place: Place| lab.netns(place);
        let captures = OBSERVED
            .into_iter()
            .filter(|place| lab.has(*place))
            .map(|place| {
                let open = || Capture::open(place.dev());
                let capture = inside(place).run(open).expect("the namespace is there");
                (place, capture.unwrap_or_else(|error| panic!("{error}")))
            })
            .collect();
        let injectors = [Place::A1, Place::NodeB]
            .into_iter()
            .map(|place| {
                let open = || {
                    let injector = Injector::open(place.dev()).unwrap_or_else(|e| panic!("{e}"));
                    (injector, GsoInjector::open(place.dev()))
                };
                (
                    place,
                    inside(place).run(open).expect("the namespace is there"),
                )
            })
            .collect();
        Self {
            lab,
            captures,
            injectors,
            marker: 0,
            programs: Vec::new(),
            markers_only: BTreeMap::new(),
            fast_path: false,
            cached: 0,
        }
    }

    /// How many packets of cases the decision cache of node A has decided of.
    pub fn cached(&self) -> u64 {
        self.cached
    }

    /// The lab.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Switches node A's fast path for the cases to come.
    pub fn set_fast_path(&mut self, on: bool) {
        self.lab.forget_fragments();
        self.lab.set_fast_path(on);
        self.fast_path = on;
        self.markers_only.clear();
        if on {
            for path in Path::ALL {
                if !self.lab.has(path.receiver()) {
                    continue;
                }
                let before = self.counters();
                self.mark("no case", path, &[], &mut Vec::new());
                let rows = counters::difference(&before, &self.counters());
                self.markers_only.insert(path, rows);
            }
        }
    }

    /// Runs a case.
    ///
    /// # Panics
    /// When the lab cannot be changed as the case wants, or its end cannot be seen.
    pub fn run(&mut self, case: &Case) -> Run {
        let undo = self.apply(&case.steps);
        // The programs know of the MTUs of routes, and of what does not forward, as it was at the last `fastpath on`.
        let is_remote = case.path.next_node().is_some();
        let mut steps = case.steps.iter();
        let looks_again = self.fast_path
            && steps.any(|step| step.sets_forwarding() || is_remote && step.gives_a_route_an_mtu());
        if looks_again {
            self.lab.set_fast_path(true);
        }
        if self.fast_path {
            self.lab.forget_connections();
        }
        self.discard();
        let before = self.counters();
        let hits = self.hits();
        let mut observation = Observation::default();
        let (injector, gso) = &self.injectors[&case.path.injected_at()];
        let mut sent = Vec::new();
        match &case.probe {
            Probe::Frames(frames) => {
                for frame in frames.iter().flat_map(|frame| case.copies(frame)) {
                    injector
                        .send(self.lab.on_the_way(case.path, frame))
                        .unwrap_or_else(|error| panic!("{case}: {error}"));
                    sent.push(frame.clone());
                }
            }
            Probe::Gso(frames) => {
                for (frame, size) in frames {
                    for frame in case.copies(frame) {
                        gso.send(case.family, frame, *size);
                        sent.push(frame.clone());
                    }
                }
            }
            Probe::Work(work) => observation.lines = work(&self.lab),
        }
        if matches!(case.probe, Probe::Work(_)) {
            self.discard();
        } else {
            self.mark(
                &case.to_string(),
                case.path,
                &sent,
                &mut observation.arrivals,
            );
            observation.arrivals.retain(|arrival| {
                let bytes = &arrival.bytes;
                let belongs = case.with_discovery
                    && (is_discovery_answer(bytes) || sent.iter().any(|frame| frame == bytes))
                    || case.with_redirects && is_redirect(bytes);
                (belongs || !is_discovery(bytes)) && !is_late(bytes, &sent)
            });
            observation.arrivals.sort();
        }
        self.cached += self.hits() - hits;
        let mut counted = self.counted(case.path, &before);
        if !sent.iter().any(|frame| is_discovery(frame)) {
            // Neighbours look for each other when they please.
            counted.retain(|outcome, _| !DISCOVERY.contains(&outcome.as_str()));
        }
        let is_on_the_link = |outcome: &str| ON_THE_LINK.contains(&outcome);
        let others = counted
            .iter()
            .filter(|(outcome, _)| !is_on_the_link(outcome));
        let others: u64 = others.map(|(_, packets)| packets).sum();
        // Sockets of a case talk to none but global addresses; and where all that was sent is counted otherwise, that was
        // somebody's own talk, too.
        if sent.is_empty() || others == sent.len() as u64 {
            counted.retain(|outcome, _| !is_on_the_link(outcome));
        }
        self.programs.clear();
        for step in undo.iter().rev() {
            self.apply(std::slice::from_ref(step));
        }
        if looks_again {
            self.lab.set_fast_path(true);
        }
        Run {
            observation,
            counted,
            sent: (!sent.is_empty()).then_some(sent.len() as u64),
        }
    }

    /// Makes the changes and returns what takes them back, in the order of the changes.
    fn apply(&mut self, steps: &[Step]) -> Vec<Step> {
        let mut undo = Vec::new();
        for step in steps {
            match step {
                Step::Ip {
                    place,
                    change,
                    undo: back,
                } => {
                    self.lab.ip(*place, change);
                    if !back.is_empty() {
                        undo.push(Step::ip(*place, back, ""));
                    }
                }
                Step::Sysctl { place, key, value } => {
                    let before = self.lab.sysctl(*place, key, value);
                    undo.push(Step::sysctl(*place, key, &before));
                    if self.fast_path && key.ends_with("/rp_filter") {
                        // The programs know it as it was at the last `fastpath on`.
                        self.lab.set_fast_path(true);
                    }
                }
                Step::TcProgram { dev, behaviour } => self.programs.push(TcProgram::attach(
                    self.lab.netns(Place::NodeA),
                    dev,
                    TcAttachType::Ingress,
                    Position::Before,
                    *behaviour,
                )),
            }
        }
        undo
    }

    fn counters(&self) -> Vec<HopRow> {
        counters::read(self.lab.name(Place::NodeA)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// How many packets the decision cache of node A has decided of.
    fn hits(&self) -> u64 {
        let datapath = Datapath::open(self.lab.name(Place::NodeA));
        let datapath = datapath.unwrap_or_else(|error| panic!("{error}"));
        let datapath = datapath.expect("node A is up");
        let rows = datapath.maps.hop_hits.all();
        let rows = rows.unwrap_or_else(|error| panic!("{error}"));
        rows.values().map(|row| row.packets).sum()
    }

    /// What the ingress interface counted since `before`, without the markers.
    fn counted(&self, path: Path, before: &[HopRow]) -> BTreeMap<String, u64> {
        let mut counted = BTreeMap::new();
        if !self.fast_path {
            return counted;
        }
        let key = |row: &HopRow| {
            let outcome = row.outcome.name();
            match &row.reason {
                Some(reason) => format!("{outcome}({reason})"),
                None => outcome.to_owned(),
            }
        };
        let ours = |row: &&HopRow| row.ingress == path.ingress() && row.outcome != Outcome::Deliver;
        for row in counters::difference(before, &self.counters())
            .iter()
            .filter(ours)
        {
            *counted.entry(key(row)).or_default() += row.packets;
        }
        for row in self
            .markers_only
            .get(&path)
            .into_iter()
            .flatten()
            .filter(ours)
        {
            if let Some(packets) = counted.get_mut(&key(row)) {
                *packets = packets.saturating_sub(row.packets);
            }
        }
        counted.retain(|_, packets| *packets != 0);
        counted
    }

    fn discard(&mut self) {
        for (place, capture) in &mut self.captures {
            let is_bare = self.lab.is_bare(*place);
            while next(*place, capture, Duration::ZERO, is_bare).is_some() {}
        }
    }

    /// Sends echo requests behind the case's frames and collects what arrives until they are answered.
    ///
    /// They have options, so that the kernel forwards them and they overtake nothing; two rounds, so that
    /// what the case's frames have set off (errors, answers) is over as well: all of it is queued on one
    /// CPU, in order.
    fn mark(&mut self, case: &str, path: Path, sent: &[Vec<u8>], arrivals: &mut Vec<Arrival>) {
        for _ in 0..2 {
            for family in self.lab.families() {
                let receivers: &[Place] = match path {
                    Path::SameNode | Path::ToRemote => &[Place::A2, Place::A3, Place::B1],
                    Path::FromUplink => &[Place::A1, Place::A2],
                    Path::Transit => &[Place::A1, Place::C1],
                };
                for receiver in receivers {
                    self.marker = self.marker.wrapping_add(1);
                    let flow = Flow::new(&self.lab, family, path);
                    let frame = marker(&flow, *receiver, self.marker);
                    let (injector, _) = &self.injectors[&path.injected_at()];
                    let frame = self.lab.on_the_way(path, &frame);
                    injector.send(frame).unwrap_or_else(|e| panic!("{e}"));
                    let seen = self.await_answer(path, self.marker, sent, arrivals);
                    assert!(
                        seen,
                        "{case}: the {family:?} marker to {receiver} behind its frames is lost"
                    );
                }
            }
        }
        for (place, capture) in &mut self.captures {
            let is_bare = self.lab.is_bare(*place);
            while let Some(frame) = next(*place, capture, Duration::ZERO, is_bare) {
                if is_marker(&frame.bytes).is_none() {
                    arrivals.extend(Arrival::new(*place, &frame, sent));
                }
            }
        }
    }

    fn await_answer(
        &mut self,
        path: Path,
        number: u16,
        sent: &[Vec<u8>],
        arrivals: &mut Vec<Arrival>,
    ) -> bool {
        let place = path.sender();
        let is_bare = self.lab.is_bare(place);
        let capture = self.captures.get_mut(&place).expect("it is observed");
        let deadline = Instant::now() + MARKER_DEADLINE;
        while let Some(frame) = next(
            place,
            capture,
            deadline.saturating_duration_since(Instant::now()),
            is_bare,
        ) {
            match is_marker(&frame.bytes) {
                Some(marker) if marker.is_reply && marker.number == number => return true,
                Some(_) => {}
                None => arrivals.extend(Arrival::new(place, &frame, sent)),
            }
        }
        false
    }
}

impl Default for Runner {
    fn default() -> Self {
        Self::new()
    }
}

impl Case {
    /// A frame as often as it is sent.
    fn copies<'f>(&self, frame: &'f Vec<u8>) -> impl Iterator<Item = &'f Vec<u8>> + use<'f> {
        let packet = ParsedFrame::parse(frame).and_then(|frame| frame.ip());
        let has_ports =
            packet.is_ok_and(|packet| matches!(packet.protocol, PROTOCOL_TCP | PROTOCOL_UDP));
        let copies = if has_ports && !self.once { COPIES } else { 1 };
        std::iter::repeat_n(frame, copies)
    }
}

/// The next frame. One without an Ethernet header gets one, so that it is read like the others.
fn next(
    place: Place,
    capture: &mut Capture,
    within: Duration,
    is_bare: bool,
) -> Option<netpath::probe::capture::CapturedFrame> {
    let frame = capture.next(within);
    let mut frame = frame.unwrap_or_else(|error| panic!("{place}: {error}"))?;
    if is_bare {
        let ether_type = match frame.bytes.first().map(|byte| byte >> 4) {
            Some(6) => ETHERTYPE_IPV6,
            _ => ETHERTYPE_IPV4,
        };
        frame.bytes.splice(0..0, ether_type.to_be_bytes());
        frame.bytes.splice(0..0, [0; 12]);
    }
    Some(frame)
}

fn marker(flow: &Flow, receiver: Place, number: u16) -> Vec<u8> {
    /// IPv4's No Operation (RFC 791, section 3.1).
    const NOP: u8 = 1;
    /// IPv6's PadN of 4 bytes (RFC 8200, section 4.2).
    const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];
    let frame = FrameBuilder::new(flow.source_mac, flow.destination_mac);
    let frame = between(frame, flow.source, receiver.address(flow.family));
    let [a, b] = MARKER;
    let [c, d] = number.to_be_bytes();
    let frame = match flow.family {
        Family::V4 => frame.options(&[NOP; 4]).icmp(8, 0, [a, b, c, d]),
        Family::V6 => frame.extension(0, &PADDING).icmp(128, 0, [a, b, c, d]),
    };
    frame.build()
}
