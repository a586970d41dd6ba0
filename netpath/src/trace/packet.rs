//! What was seen of packets, put together: which event is of which packet, and in which order.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use netpath_common::{
    DropReason, HopKey, Ifindex, Outcome, PuntReason,
    trace::{NETWORK_BYTES, TraceDecision, TraceEvent, TraceHeaders, TracePoint},
};

use super::kernel::Kernel;
use crate::{
    datapath::Observed,
    hash::fnv1a_64,
    probe::frame::{ParsedIp, Transport},
};

/// Why and where the kernel dropped a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drop {
    /// As the kernel calls it; empty where it tells none.
    pub reason: String,
    /// The function.
    pub function: Option<String>,
    /// Those that called it, the innermost first.
    pub callers: Vec<String>,
}

/// What one of netpath's programs decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What became of the packet.
    pub outcome: Outcome,
    /// Why it was punted or dropped.
    pub reason: Option<&'static str>,
    /// What that means.
    pub means: Option<&'static str>,
    /// The interface that it came in by.
    pub ingress: Ifindex,
    /// The interface that it was sent to; 0 where netpath chose none.
    pub egress: Ifindex,
}

/// What happened to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It came in by an interface.
    Received,
    /// An interface was given it to be sent.
    Sent,
    /// netpath decided of it.
    Decided(Decision),
    /// The kernel dropped it.
    Dropped(Drop),
    /// Somebody was done with it: the function, where the kernel tells it.
    Consumed(Option<String>),
}

/// One thing that happened to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When: nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// On which processor.
    pub cpu: u32,
    /// In which namespace; 0 where that is not known.
    pub netns: u32,
    /// At which interface of it; 0 where that is not known.
    pub ifindex: u32,
    /// What.
    pub what: What,
    /// `skb->len`, in bytes.
    pub length: u32,
    /// `skb->mark`.
    pub mark: u32,
    /// Which of the packet's copies: a bridge makes some.
    pub copy: usize,
    /// The packet as it was then, from its network header on, cut off.
    pub bytes: Vec<u8>,
}

/// What a packet's headers say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Where it is from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// The protocol behind its headers.
    pub protocol: u8,
    /// Source and destination port.
    pub ports: Option<(u16, u16)>,
    /// ICMP type and code, and the other half of the header.
    pub icmp: Option<(u8, u8, [u8; 4])>,
    /// TCP's flags.
    pub flags: Option<u8>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Length as its header has it, in bytes.
    pub length: usize,
    /// Ends of the packet that an ICMP error is about.
    pub about: Option<(IpAddr, IpAddr)>,
}

/// A packet, and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// As it was first seen.
    pub summary: Summary,
    /// In the order in which it happened.
    pub steps: Vec<Step>,
}

impl Summary {
    /// Of a packet from its network header on; `None` of what is none.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let ip = ParsedIp::parse(bytes).ok()?;
        let transport = ip.transport().ok();
        let (mut ports, mut icmp, mut flags, mut about) = (None, None, None, None);
        match transport {
            Some(Transport::Udp {
                source_port,
                destination_port,
                ..
            }) => ports = Some((source_port, destination_port)),
            Some(Transport::Tcp {
                source_port,
                destination_port,
                flags: of,
                ..
            }) => (ports, flags) = (Some((source_port, destination_port)), Some(of)),
            Some(Transport::Icmp {
                kind,
                code,
                rest,
                payload,
            }) => {
                icmp = Some((kind, code, rest));
                if is_error(&ip, kind) {
                    let quoted = ParsedIp::parse(payload).ok();
                    about = quoted.map(|quoted| (quoted.source, quoted.destination));
                }
            }
            Some(Transport::Other(_)) | None => {}
        }
        Some(Self {
            source: ip.source,
            destination: ip.destination,
            protocol: ip.protocol,
            ports,
            icmp,
            flags,
            ttl: ip.ttl,
            length: ip.length,
            about,
        })
    }
}

fn is_error(ip: &ParsedIp<'_>, kind: u8) -> bool {
    match ip.source {
        IpAddr::V4(_) => matches!(kind, 3 | 4 | 5 | 11 | 12),
        IpAddr::V6(_) => kind < 128,
    }
}

/// What a packet has on its way, if nobody rewrites it: the hash of all but TTL and checksums.
fn identity(bytes: &[u8]) -> Option<u64> {
    let ip = ParsedIp::parse(bytes).ok()?;
    let mut same = ip.payload.to_vec();
    let checksum = match ip.protocol {
        1 | 58 => 2,
        6 => 16,
        17 => 6,
        _ => same.len(),
    };
    if let Some(field) = same.get_mut(checksum..checksum + 2) {
        field.fill(0);
    }
    match (ip.source, ip.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => same.extend([from.octets(), to.octets()].concat()),
        (IpAddr::V6(from), IpAddr::V6(to)) => same.extend([from.octets(), to.octets()].concat()),
        _ => {}
    }
    same.extend(signature(bytes)?.to_ne_bytes());
    Some(fnv1a_64(&same))
}

fn signature(bytes: &[u8]) -> Option<u64> {
    let mut network = [0; NETWORK_BYTES];
    let there = bytes.len().min(NETWORK_BYTES);
    network[..there].copy_from_slice(&bytes[..there]);
    (there > 9).then(|| TraceHeaders::signature(&network))
}

/// The namespace that a packet is in after a step.
fn after(step: &Step, behind: &Behind) -> u32 {
    match step.what {
        What::Decided(decision) if decision.outcome == Outcome::RedirectPeer => {
            let peer = behind.get(&(step.netns, decision.egress.0));
            peer.copied().unwrap_or(step.netns)
        }
        _ => step.netns,
    }
}

/// A signature without what a whole packet and its fragments have of their own: the length, and IPv6's next header.
fn without_length(signature: u64) -> u64 {
    match signature >> 48 {
        4 => signature & !(0xffff << 24),
        _ => signature & !0xff_ffff,
    }
}

/// A copy of a packet in the kernel that was not freed yet.
#[derive(Clone, Copy)]
struct Copy {
    packet: u64,
    signature: u64,
    number: usize,
    netns: u32,
}

/// A packet that is followed, and by what it is known again.
struct Followed {
    packet: Packet,
    identity: u64,
    copies: usize,
}

/// The namespace behind a node's end of an endpoint's veth: by the node's namespace and the index there.
pub type Behind = HashMap<(u32, u32), u32>;

/// Puts packets together from what was observed.
#[derive(Default)]
pub struct Follower {
    behind: Behind,
    next: u64,
    packets: BTreeMap<u64, Followed>,
    by_identity: HashMap<u64, u64>,
    copies: HashMap<u64, Copy>,
    /// Not put together yet: what two processors tell need not be in order.
    waiting: Vec<Observed>,
    /// Decisions of packets that were not seen before.
    pub unmatched: u64,
}

impl Follower {
    /// What is redirected to an endpoint is in its namespace without a word of the kernel's.
    pub fn new(behind: Behind) -> Self {
        Self {
            behind,
            ..Self::default()
        }
    }

    /// Takes an event.
    pub fn take(&mut self, observed: Observed) {
        self.waiting.push(observed);
    }

    /// Puts together what was observed until a moment.
    pub fn sort_until(&mut self, moment: u64, kernel: &Kernel) {
        self.waiting.sort_by_key(time);
        let ready = self.waiting.partition_point(|it| time(it) <= moment);
        for observed in self.waiting.drain(..ready).collect::<Vec<_>>() {
            match observed {
                Observed::Packet(event) => self.packet(&event, kernel),
                Observed::Decision(decision) => self.decision(&decision),
            }
        }
    }

    /// The packets so far, in the order in which they were first seen.
    pub fn packets(&self) -> impl Iterator<Item = &Packet> {
        self.packets.values().map(|followed| &followed.packet)
    }

    /// Takes out the packets of whose last step this says that nothing comes behind it, and the oldest of those that are more than
    /// so many.
    pub fn retire(&mut self, is_last: impl Fn(&Step) -> bool, most: usize) -> Vec<Packet> {
        let too_many = self.packets.len().saturating_sub(most);
        let is_over = |(index, (_, followed)): (usize, (&u64, &Followed))| {
            index < too_many || followed.packet.steps.last().is_none_or(&is_last)
        };
        let over: Vec<u64> = self
            .packets
            .iter()
            .enumerate()
            .filter(|it| is_over((it.0, it.1)))
            .map(|(_, (number, _))| *number)
            .collect();
        let mut retired = Vec::new();
        for number in over {
            if let Some(followed) = self.packets.remove(&number) {
                self.by_identity.remove(&followed.identity);
                retired.push(followed.packet);
            }
        }
        let packets = &self.packets;
        self.copies
            .retain(|_, copy| packets.contains_key(&copy.packet));
        retired
    }

    fn packet(&mut self, event: &TraceEvent, kernel: &Kernel) {
        let captured = (event.captured as usize).min(event.bytes.len());
        let bytes = &event.bytes[..captured];
        let (Some(identity), Some(signature)) = (identity(bytes), signature(bytes)) else {
            return;
        };
        let what = match TracePoint::from_number(event.point) {
            Some(TracePoint::Received) => What::Received,
            Some(TracePoint::Sent) => What::Sent,
            Some(TracePoint::Dropped) => match freed(dropped(event, kernel)) {
                Some(what) => what,
                None => return,
            },
            Some(TracePoint::Consumed) => What::Consumed(function(event.location, kernel)),
            None => return,
        };
        let Some((number, copy)) = self.find(event.skb, signature, identity, bytes) else {
            return;
        };
        let is_freed = matches!(what, What::Dropped(_) | What::Consumed(_));
        let Some(followed) = self.packets.get_mut(&number) else {
            return;
        };
        let last = followed.packet.steps.last();
        let last = last.map_or(0, |step| after(step, &self.behind));
        // A socket's queue keeps other things in the place of the interface.
        let netns = match event.netns {
            0 => match self.copies.get(&event.skb) {
                Some(copy) => copy.netns,
                None => last,
            },
            netns => netns,
        };
        followed.packet.steps.push(Step {
            time: event.time,
            cpu: event.cpu,
            netns,
            ifindex: event.ifindex,
            what,
            length: event.length,
            mark: event.mark,
            copy,
            bytes: bytes.to_vec(),
        });
        match is_freed {
            true => _ = self.copies.remove(&event.skb),
            false => {
                let copy = Copy {
                    packet: number,
                    signature,
                    number: copy,
                    netns,
                };
                self.copies.insert(event.skb, copy);
            }
        }
    }

    /// The packet of an event, and which copy of it.
    fn find(
        &mut self,
        skb: u64,
        signature: u64,
        identity: u64,
        bytes: &[u8],
    ) -> Option<(u64, usize)> {
        if let Some(copy) = self.copies.get(&skb)
            && (copy.signature == signature || self.is_whole_of(copy, signature, bytes))
        {
            return Some((copy.packet, copy.number));
        }
        if let Some(number) = self.by_identity.get(&identity)
            && let Some(followed) = self.packets.get_mut(number)
        {
            followed.copies += 1;
            return Some((*number, followed.copies));
        }
        let number = self.next;
        self.next += 1;
        let packet = Packet {
            summary: Summary::of(bytes)?,
            steps: Vec::new(),
        };
        let followed = Followed {
            packet,
            identity,
            copies: 0,
        };
        self.packets.insert(number, followed);
        self.by_identity.insert(identity, number);
        Some((number, 0))
    }

    /// Whether these are the bytes of the whole packet, which is put together in the place of its last fragment.
    fn is_whole_of(&self, copy: &Copy, signature: u64, bytes: &[u8]) -> bool {
        let followed = self.packets.get(&copy.packet);
        let last = followed.and_then(|it| it.packet.steps.iter().rfind(|it| !it.bytes.is_empty()));
        let (Some(fragment), Ok(whole)) = (
            last.and_then(|step| ParsedIp::parse(&step.bytes).ok()),
            ParsedIp::parse(bytes),
        ) else {
            return false;
        };
        let is_fragment = |it: &ParsedIp<'_>| it.more_fragments || it.fragment_offset != 0;
        is_fragment(&fragment)
            && !is_fragment(&whole)
            && (fragment.source, fragment.destination) == (whole.source, whole.destination)
            && without_length(copy.signature) == without_length(signature)
    }

    fn decision(&mut self, decision: &TraceDecision) {
        let copy = self.copies.get(&decision.skb).copied();
        let followed = copy.and_then(|copy| Some((copy, self.packets.get_mut(&copy.packet)?)));
        let (Some((copy, followed)), Some(what)) = (followed, decided(&decision.hop)) else {
            self.unmatched += 1;
            return;
        };
        let ifindex = match what.outcome {
            Outcome::Deliver => what.egress,
            _ => what.ingress,
        };
        let step = Step {
            time: decision.time,
            cpu: decision.cpu,
            netns: copy.netns,
            ifindex: ifindex.0,
            what: What::Decided(what),
            length: decision.length,
            mark: 0,
            copy: copy.number,
            bytes: Vec::new(),
        };
        let moved = Copy {
            netns: after(&step, &self.behind),
            ..copy
        };
        self.copies.insert(decision.skb, moved);
        followed.packet.steps.push(step);
    }
}

fn time(observed: &Observed) -> u64 {
    match observed {
        Observed::Packet(event) => event.time,
        Observed::Decision(decision) => decision.time,
    }
}

fn decided(hop: &HopKey) -> Option<Decision> {
    let outcome = Outcome::from_number(hop.outcome)?;
    let punt = PuntReason::from_number(hop.reason);
    let drop = DropReason::from_number(hop.reason);
    Some(Decision {
        outcome,
        reason: punt.map(PuntReason::name).or(drop.map(DropReason::name)),
        means: punt.map(PuntReason::means).or(drop.map(DropReason::means)),
        ingress: hop.ingress,
        egress: hop.egress,
    })
}

fn function(address: u64, kernel: &Kernel) -> Option<String> {
    (address != 0).then(|| kernel.function(address).map(str::to_owned))?
}

/// How many of the functions that called are told.
const CALLERS: usize = 4;

/// Functions by which every packet comes, and that tell nothing of why it was dropped.
const EVERYBODYS: [&str; 5] = [
    "__netif_receive_skb",
    "netif_receive_skb",
    "process_backlog",
    "napi_",
    "__napi_",
];

fn dropped(event: &TraceEvent, kernel: &Kernel) -> Drop {
    let depth = (event.depth as usize).min(event.stack.len());
    let place = function(event.location, kernel);
    let calls = event.stack[..depth]
        .iter()
        .filter_map(|address| kernel.function(*address))
        .skip_while(|name| is_of_the_tracing(name));
    let mut calls: Vec<String> = calls.map(str::to_owned).collect();
    calls.dedup();
    // What is told already.
    let told = calls.iter().position(|name| Some(name) == place.as_ref());
    let callers = calls.split_off(told.map_or(0, |at| at + 1).min(calls.len()));
    let is_everybodys = |name: &String| EVERYBODYS.iter().any(|it| name.starts_with(it));
    let callers = callers.into_iter().take_while(|name| !is_everybodys(name));
    Drop {
        reason: match event.reason {
            0 => String::new(),
            reason => kernel.reason(reason),
        },
        function: place,
        callers: callers.take(CALLERS).collect(),
    }
}

/// Where a packet is freed that is no packet on a way: one that somebody asks a program about.
const TEST_RUN: &str = "bpf_prog_test_run_skb";

/// Where the fragments are freed that a whole packet was put together of, with that.
pub const OF_A_WHOLE: &str = "skb_release_data";

/// What the kernel calls a drop, as it is: `None` of what is no packet on a way.
fn freed(drop: Drop) -> Option<What> {
    match drop.function.as_deref() {
        Some(TEST_RUN) => None,
        // What became of the whole is told of that.
        Some(OF_A_WHOLE) => Some(What::Consumed(Some(OF_A_WHOLE.to_owned()))),
        _ => Some(What::Dropped(drop)),
    }
}

/// Functions between what drops a packet and the program that is told of it.
fn is_of_the_tracing(name: &str) -> bool {
    const PARTS: [&str; 7] = [
        "bpf_",
        "__bpf_",
        "trace_",
        "__traceiter_",
        "perf_",
        "kfree_skb",
        "sk_skb_reason_drop",
    ];
    PARTS.iter().any(|part| name.starts_with(part))
}
