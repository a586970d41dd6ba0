//! A node's counters, beside those of the kernel.

use std::{collections::BTreeMap, fmt, thread, time::Duration};

use netpath::{model::NodePlace, proc_net};
use netpath_common::{DropReason, HopCounter, Ifindex, Outcome, PuntReason, text};

use super::{Deadline, Lab};

/// How many bytes a row must have counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// Exactly these.
    Exactly(u64),
    /// Not judged.
    Any,
}

impl Bytes {
    fn allows(self, bytes: u64) -> bool {
        match self {
            Self::Exactly(exactly) => bytes == exactly,
            Self::Any => true,
        }
    }
}

/// A node's counters: netpath's own, and beside them what the kernel's interfaces say.
#[derive(Clone, PartialEq, Eq)]
pub struct Traffic {
    /// `<ingress> > <egress> <outcome> [<reason>]`, `-` for none.
    hops: BTreeMap<String, HopCounter>,
    /// Packets that came in, by interface.
    received: BTreeMap<String, u64>,
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hops = self.hops.iter().map(|(row, c)| (row, (c.packets, c.bytes)));
        f.debug_map().entries(hops).entries(&self.received).finish()
    }
}

impl Traffic {
    /// The rows that have changed. No counter ever goes back.
    pub fn since(&self, before: &Self) -> Self {
        let less = |now: u64, then: u64, what: &str| {
            now.checked_sub(then)
                .unwrap_or_else(|| panic!("{what} went back"))
        };
        for row in before.hops.keys() {
            assert!(self.hops.contains_key(row), "{row} was forgotten");
        }
        let hops = self.hops.iter().map(|(row, now)| {
            let then = before.hops.get(row).copied().unwrap_or_default();
            let counter = HopCounter {
                packets: less(now.packets, then.packets, row),
                bytes: less(now.bytes, then.bytes, row),
            };
            (row.clone(), counter)
        });
        let received = self.received.iter().map(|(dev, now)| {
            let then = before.received.get(dev).copied().unwrap_or_default();
            (dev.clone(), less(*now, then, dev))
        });
        Self {
            hops: hops.filter(|(_, counter)| counter.packets != 0).collect(),
            received: received.collect(),
        }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.hops.len()
    }

    /// A row's packets and bytes.
    pub fn row(&self, row: &str) -> (u64, u64) {
        let counter = self.hops.get(row).copied().unwrap_or_default();
        (counter.packets, counter.bytes)
    }

    /// Packets that came in by an interface since it is there: as netpath counted them, and as the kernel did.
    pub fn packets_in(&self, dev: &str) -> (u64, u64) {
        let received = self.received.get(dev).copied().unwrap_or_default();
        (self.counted_in(dev), received)
    }

    fn counted_in(&self, dev: &str) -> u64 {
        let of_dev = self
            .hops
            .iter()
            .filter(|(row, _)| row.starts_with(&format!("{dev} > ")) && !row.ends_with(" deliver"));
        of_dev.map(|(_, counter)| counter.packets).sum()
    }

    /// All rows but those of what hosts tell their own link when they please: ARP, neighbour discovery,
    /// multicast listener reports, from endpoints, from other nodes, and from the node itself.
    pub fn without_chatter(&self) -> impl Iterator<Item = (&str, HopCounter)> {
        const CHATTER: [&str; 5] = [
            "arp",
            "neighbour_discovery",
            "multicast",
            "hop_by_hop",
            "not_to_this_host",
        ];
        self.hops.iter().filter_map(|(row, counter)| {
            let is_chatter = CHATTER
                .iter()
                .any(|reason| row.ends_with(&format!(" punt {reason}")))
                // What a new interface's kernel says of itself comes before all is ready.
                || row.ends_with(" drop not_ready");
            let is_own = row.starts_with("- > ");
            (!is_chatter && !is_own).then_some((row.as_str(), *counter))
        })
    }

    /// Whether for each interface *packets in = redirected + punted + dropped*.
    pub fn obeys_the_law(&self) -> bool {
        let mut received = self.received.iter();
        received.all(|(dev, &received)| self.counted_in(dev) == received)
    }
}

fn verdict(outcome: u8, reason: u16) -> String {
    let outcome = Outcome::from_number(outcome).unwrap_or_else(|| panic!("outcome {outcome}"));
    let punt = PuntReason::from_number(reason).map(PuntReason::name);
    let drop = DropReason::from_number(reason).map(DropReason::name);
    match (outcome, punt, drop) {
        (Outcome::Punt, Some(reason), None) | (Outcome::Drop, None, Some(reason)) => {
            format!("{} {reason}", outcome.name())
        }
        (Outcome::RedirectPeer | Outcome::RedirectNeigh | Outcome::Deliver, None, None) => {
            assert_eq!(reason, 0, "of {}", outcome.name());
            outcome.name().to_owned()
        }
        _ => panic!("outcome {} with reason {reason}", outcome.name()),
    }
}

impl Lab {
    /// The counters of a node at a moment when nothing passes.
    pub fn traffic(&self, node: &str) -> Traffic {
        let mut last = self.look(node);
        let deadline = Deadline::new();
        loop {
            thread::sleep(Duration::from_millis(2));
            let now = self.look(node);
            if now == last {
                return now;
            }
            deadline.check(|| format!("the traffic of {node} does not come to rest: {now:?}"));
            last = now;
        }
    }

    /// The counters of a node while packets pass.
    pub fn traffic_now(&self, node: &str) -> Traffic {
        self.look(node)
    }

    fn look(&self, node: &str) -> Traffic {
        let maps = &self.datapath(node).maps;
        let names = maps.interfaces.all().expect("interfaces");
        let name = |index: Ifindex| match names.get(&index) {
            _ if index == Ifindex(0) => "-".to_owned(),
            Some(interface) => text(&interface.name).unwrap_or("?").to_owned(),
            None => format!("if{}", index.0),
        };
        let mut hops = BTreeMap::new();
        for (key, counter) in maps.hops().expect("hops") {
            let verdict = verdict(key.outcome, key.reason);
            let row = format!("{} > {} {verdict}", name(key.ingress), name(key.egress));
            assert_eq!(hops.insert(row.clone(), counter), None, "{row} twice");
        }
        assert_eq!(maps.hop_overflow.all().expect("overflow"), BTreeMap::new());
        // The count is the kernel's own, whoever reads it: it judges netpath's all the same.
        let mut received = proc_net::received(&self.netns(node)).expect("/proc/net/dev");
        received.retain(|dev, _| dev != "lo" && !self.talkative.contains(dev.as_str()));
        // On a machine others have interfaces too, and what is told there is nobody's here.
        let full = self.name(node);
        let mut nodes = self.topology().nodes.iter();
        if nodes.any(|it| it.name.to_string() == full && it.place == NodePlace::Host) {
            received.retain(|dev, _| {
                names
                    .values()
                    .any(|it| text(&it.name) == Some(dev.as_str()))
            });
        }
        Traffic { hops, received }
    }

    /// Waits for a node's counters to differ from `before` by exactly these rows; what hosts tell their own
    /// link is left out. Then the law must hold too.
    pub fn assert_counted(&self, node: &str, before: &Traffic, expected: &[(&str, u64, Bytes)]) {
        let expected: BTreeMap<&str, (u64, Bytes)> = expected
            .iter()
            .map(|&(row, packets, bytes)| (row, (packets, bytes)))
            .collect();
        let deadline = Deadline::within(Duration::from_secs(3));
        loop {
            let difference = self.traffic(node).since(before);
            let counted: BTreeMap<&str, HopCounter> = difference.without_chatter().collect();
            let equal = counted.len() == expected.len()
                && counted.iter().all(|(row, counter)| {
                    expected.get(row).is_some_and(|(packets, bytes)| {
                        counter.packets == *packets && bytes.allows(counter.bytes)
                    })
                });
            if equal && difference.obeys_the_law() {
                return;
            }
            deadline.check(|| {
                format!("{node}: counted {difference:#?}\nexpected {expected:#?}, and the law")
            });
        }
    }
}
