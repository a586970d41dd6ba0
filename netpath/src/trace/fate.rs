//! What became of a packet in the end.

use netpath_common::{Family, Outcome, PuntReason};

use super::{
    packet::{Packet, Step, Summary, What},
    places::{Place, Places, Role},
    reason::{is_arrival, meaning},
};
use crate::netfilter::{Iptables, Policy};

/// Where packets are to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The namespace.
    pub netns: u32,
    /// The node's end of the endpoint's veth, where it is one.
    pub host_ifindex: Option<u32>,
}

impl Target {
    /// A node or an endpoint.
    pub fn of(number: u32, place: &Place) -> Self {
        let host_ifindex = match &place.role {
            Role::Endpoint { host_ifindex, .. } => Some(*host_ifindex),
            Role::Node | Role::Other => None,
        };
        Self {
            netns: number,
            host_ifindex,
        }
    }
}

/// What became of a packet. Each names the step that shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has come where it was to come.
    Arrived(usize),
    /// It has left this machine, or its interfaces that are looked at.
    Left(usize),
    /// It was dropped.
    Dropped(usize),
    /// It was last seen there.
    Lost(usize),
}

impl Fate {
    /// Whether nothing better is to come.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Arrived(_) | Self::Dropped(_))
    }

    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arrived(_) => "arrived",
            Self::Left(_) => "left",
            Self::Dropped(_) => "dropped",
            Self::Lost(_) => "lost",
        }
    }

    /// The step that shows it.
    pub fn step(self) -> usize {
        match self {
            Self::Arrived(at) | Self::Left(at) | Self::Dropped(at) | Self::Lost(at) => at,
        }
    }
}

/// What became of a packet, as far as was seen.
pub fn fate(packet: &Packet, target: Option<Target>) -> Fate {
    let steps = &packet.steps;
    let arrived = target.and_then(|target| arrival(steps, target));
    let drops = || steps.iter().enumerate().filter(|(_, step)| is_drop(step));
    if let Some((at, copy)) = arrived {
        // What has arrived may still be dropped there, and a copy of it elsewhere is no matter.
        let dropped = drops().find(|(of, step)| *of > at && step.copy == copy);
        return match dropped {
            Some((of, _)) => Fate::Dropped(of),
            None => Fate::Arrived(at),
        };
    }
    // A bridge gives copies to those whom they do not concern.
    let concerns = |step: &Step| match &step.what {
        What::Dropped(drop) => drop.reason != "OTHERHOST",
        _ => true,
    };
    let last = steps.len().saturating_sub(1);
    // netpath's own word comes before the kernel's, which carries it out.
    let decided = drops().find(|(_, step)| matches!(step.what, What::Decided(_)));
    if let Some((at, _)) = decided.or_else(|| drops().rfind(|(_, step)| concerns(step))) {
        return Fate::Dropped(at);
    }
    // Where it is taken in: somewhere, as nobody knows where that should be, or where a rule has led it.
    let is_here = target.is_none() || is_translated(packet);
    match steps.last().map(|step| &step.what) {
        Some(What::Sent) => Fate::Left(last),
        Some(What::Consumed(_)) if is_here => Fate::Arrived(last),
        Some(What::Dropped(drop)) if is_here && is_arrival(&drop.reason) => Fate::Arrived(last),
        _ => Fate::Lost(last),
    }
}

/// Whether somebody has given a packet another destination.
fn is_translated(packet: &Packet) -> bool {
    let last = packet
        .steps
        .iter()
        .rev()
        .find_map(|step| Summary::of(&step.bytes));
    last.is_some_and(|last| last.destination != packet.summary.destination)
}

/// The step that shows that a packet has come to a place, and which copy of it.
fn arrival(steps: &[Step], target: Target) -> Option<(usize, usize)> {
    let is_there = |step: &Step| match &step.what {
        What::Received | What::Consumed(_) => step.netns == target.netns,
        What::Dropped(drop) => step.netns == target.netns && is_arrival(&drop.reason),
        // Into the namespace, without a word of the kernel's.
        What::Decided(decision) => {
            decision.outcome == Outcome::RedirectPeer
                && Some(decision.egress.0) == target.host_ifindex
        }
        What::Sent => false,
    };
    let found = steps.iter().enumerate().find(|(_, step)| is_there(step));
    found.map(|(at, step)| (at, step.copy))
}

fn is_drop(step: &Step) -> bool {
    match &step.what {
        What::Dropped(drop) => !is_arrival(&drop.reason),
        What::Decided(decision) => decision.outcome == Outcome::Drop,
        What::Received | What::Sent | What::Consumed(_) => false,
    }
}

/// Why a packet was dropped, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// In words.
    pub text: String,
    /// What to do, where that is known.
    pub cure: Option<String>,
}

/// Why a packet was dropped at a step.
pub fn why(packet: &Packet, at: usize, places: &Places) -> Why {
    let Some(step) = packet.steps.get(at) else {
        return Why {
            text: "nothing was seen of it".to_owned(),
            cure: None,
        };
    };
    match &step.what {
        What::Dropped(drop) => {
            let meaning = meaning(drop);
            let cure = match (meaning.chain, &*drop.reason) {
                (Some(chain), _) => Some(of_filter(packet, step, chain, places)),
                (None, _) if meaning.text.contains("the neighbour does not answer") => {
                    Some(of_neighbour(step, places))
                }
                (None, _) if meaning.text.contains("no route") => {
                    Some(of_route(packet, step, places))
                }
                (None, _) => None,
            };
            Why {
                text: meaning.text,
                cure,
            }
        }
        What::Decided(decision) => Why {
            text: format!(
                "netpath dropped it: {}",
                decision.reason.unwrap_or("it does not say why")
            ),
            cure: decision.means.map(str::to_owned),
        },
        What::Received | What::Sent | What::Consumed(_) => Why {
            text: "nothing more was seen of it".to_owned(),
            cure: None,
        },
    }
}

/// How to type a command that acts in the namespace of a step.
fn inside(step: &Step, places: &Places) -> String {
    match places.get(step.netns) {
        Some(place)
            if place.netns().name() == "/proc/1/ns/net" || place.netns().name() == "current" =>
        {
            String::new()
        }
        Some(place) if place.netns().name().contains('/') => {
            format!("nsenter --net={} ", place.netns().name())
        }
        Some(place) => format!("ip netns exec {} ", place.netns().name()),
        None => String::new(),
    }
}

fn of_filter(packet: &Packet, step: &Step, chain: &str, places: &Places) -> String {
    let family = Family::of(packet.summary.source);
    let iptables = Iptables::new(family);
    let program = iptables.program();
    let inside = inside(step, places);
    let shown =
        format!("`{inside}{program} -nvL {chain}` and `{inside}nft list ruleset` show the rules");
    if chain != "FORWARD" {
        let table = match chain {
            "PREROUTING" => "-t raw ",
            "POSTROUTING" => "-t mangle ",
            _ => "",
        };
        return format!(
            "`{inside}{program} {table}-nvL {chain}` and `{inside}nft list ruleset` show the rules"
        );
    }
    let place = places.get(step.netns);
    let found = place.and_then(|place| place.netns().run(|| iptables.chain(chain)).ok()?.ok());
    let name = places.name(step.netns);
    let device = places.device(step.netns, step.ifindex);
    let fast = match left_to_the_kernel(packet, step) {
        Some(reason) => format!(" (netpath leaves it to the kernel: {reason})"),
        None => ", or have it take the fast path with `netpath fastpath on`".to_owned(),
    };
    match found.map(|chain| chain.policy) {
        Some(Policy::Drop) => format!(
            "FORWARD of {name} has policy DROP, and no rule accepts it: accept it with \
             `{inside}{program} -A FORWARD -i {device} -j ACCEPT`{fast}"
        ),
        Some(Policy::Accept) | None => shown,
    }
}

/// Why the fast path of a step's namespace has left a packet to the kernel, where it would again if it were switched on.
fn left_to_the_kernel(packet: &Packet, step: &Step) -> Option<&'static str> {
    let there = packet.steps.iter().filter(|it| it.netns == step.netns);
    let mut reasons = there.rev().filter_map(|it| match &it.what {
        What::Decided(decision) if decision.outcome == Outcome::Punt => decision.reason,
        _ => None,
    });
    reasons
        .next()
        .filter(|reason| *reason != PuntReason::Shadow.name())
}

fn of_neighbour(step: &Step, places: &Places) -> String {
    let inside = inside(step, places);
    format!("`{inside}ip neigh show` shows it: is the next hop up, and its address right?")
}

fn of_route(packet: &Packet, step: &Step, places: &Places) -> String {
    let inside = inside(step, places);
    let to = packet.summary.destination;
    format!(
        "`{inside}ip route get {to}` says what the kernel would do; a route to {to} is missing, or is one that refuses it (blackhole, \
         unreachable, prohibit)"
    )
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use netpath_common::Ifindex;

    use super::*;
    use crate::trace::packet::{Decision, Drop};

    const TARGET: Target = Target {
        netns: 9,
        host_ifindex: Some(5),
    };

    fn step(netns: u32, copy: usize, what: What) -> Step {
        Step {
            time: 0,
            cpu: 0,
            netns,
            ifindex: 2,
            what,
            length: 84,
            mark: 0,
            copy,
            bytes: Vec::new(),
        }
    }

    fn dropped(reason: &str) -> What {
        What::Dropped(Drop {
            reason: reason.to_owned(),
            ..Drop::default()
        })
    }

    fn decided(outcome: Outcome, egress: u32) -> What {
        What::Decided(Decision {
            outcome,
            reason: None,
            means: None,
            ingress: Ifindex(2),
            egress: Ifindex(egress),
        })
    }

    fn became(steps: Vec<Step>) -> Fate {
        let address = [10, 0, 1, 2].into();
        let summary = Summary {
            source: address,
            destination: address,
            protocol: 1,
            ports: None,
            icmp: None,
            flags: None,
            ttl: 64,
            length: 84,
            about: None,
        };
        fate(&Packet { summary, steps }, Some(TARGET))
    }

    #[test]
    fn the_last_word_counts() {
        let (sent, received) = (What::Sent, What::Received);
        let s = |netns, what: &What| step(netns, 0, what.clone());
        for (steps, expected) in [
            (
                vec![s(1, &sent), s(2, &received), s(9, &received)],
                Fate::Arrived(2),
            ),
            (
                vec![
                    s(1, &sent),
                    s(2, &received),
                    s(2, &dropped("NETFILTER_DROP")),
                ],
                Fate::Dropped(2),
            ),
            // Dropped where it was to come.
            (
                vec![s(9, &received), s(9, &dropped("IP_RPFILTER"))],
                Fate::Dropped(1),
            ),
            // Nobody listens, but it is there.
            (
                vec![s(2, &received), s(9, &dropped("NO_SOCKET"))],
                Fate::Arrived(1),
            ),
            // netpath redirects into the namespace.
            (
                vec![s(2, &received), s(2, &decided(Outcome::RedirectPeer, 5))],
                Fate::Arrived(1),
            ),
            (
                vec![s(2, &received), s(2, &decided(Outcome::RedirectPeer, 6))],
                Fate::Lost(1),
            ),
            // What netpath decides the kernel carries out.
            (
                vec![
                    s(2, &decided(Outcome::Drop, 0)),
                    s(2, &dropped("TC_INGRESS")),
                ],
                Fate::Dropped(0),
            ),
            (
                vec![s(1, &sent), s(2, &received), s(2, &sent)],
                Fate::Left(2),
            ),
            (vec![s(1, &sent), s(2, &received)], Fate::Lost(1)),
        ] {
            assert_eq!(became(steps.clone()), expected, "{steps:?}");
        }
    }

    #[test]
    fn what_a_rule_leads_on_arrives_where_it_is_taken_in() {
        let address = |last: u8| IpAddr::from([10, 0, 1, last]);
        let header = |to: u8| {
            let mut bytes = vec![0; 28];
            (bytes[0], bytes[3], bytes[8], bytes[9]) = (0x45, 28, 64, 17);
            bytes[12..16].copy_from_slice(&[10, 0, 1, 2]);
            bytes[16..20].copy_from_slice(&[10, 0, 1, to]);
            bytes
        };
        let at = |what: What, to: u8| Step {
            bytes: header(to),
            ..step(7, 0, what)
        };
        let became = |last: What, to: u8, target| {
            let packet = Packet {
                summary: Summary {
                    destination: address(3),
                    ..Summary::of(&header(3)).expect("a packet")
                },
                steps: vec![at(What::Received, 3), at(last, to)],
            };
            fate(&packet, target)
        };
        for last in [dropped("NO_SOCKET"), What::Consumed(None)] {
            // To a service: there is nobody whose it would be.
            assert_eq!(became(last.clone(), 9, None), Fate::Arrived(1));
            assert_eq!(became(last.clone(), 3, None), Fate::Arrived(1));
            // To an endpoint, and a rule leads it to another.
            assert_eq!(became(last.clone(), 9, Some(TARGET)), Fate::Arrived(1));
            assert_eq!(became(last, 3, Some(TARGET)), Fate::Lost(1));
        }
        assert_eq!(became(dropped("NOMEM"), 9, None), Fate::Dropped(1));
    }

    #[test]
    fn a_copy_for_somebody_else_is_no_matter() {
        let copies = |last| {
            vec![
                step(3, 0, What::Received),
                step(4, 1, dropped("OTHERHOST")),
                step(9, 0, last),
                step(4, 2, dropped("OTHERHOST")),
            ]
        };
        assert_eq!(became(copies(What::Received)), Fate::Arrived(2));
        assert_eq!(became(copies(dropped("NOMEM"))), Fate::Dropped(2));
    }
}
