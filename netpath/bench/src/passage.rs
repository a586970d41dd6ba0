//! Which way the packets of a cell really took: counters along the path, before and after. Traffic that did not
//! take the path it claims says nothing about it.

use netpath::{counters, netns::Netns, proc_net};
use netpath_common::Outcome;

use super::{
    error::BenchError,
    lab::{Lab, LabNode, UPLINK},
    netfilter,
    plan::Visit,
    results::Path,
    rules::RuleSet,
    traffic::Packets,
};

/// Packets that come in by an interface without anybody of ours having sent them: ARP, neighbour discovery,
/// multicast listener reports.
const NOISE: u64 = 64;

/// What one node has counted, in packets; in all, or during a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct NodeCounts {
    /// Received by its interfaces, as the kernel counts.
    entered: u64,
    /// Redirected by the fast path.
    redirected: u64,
    /// Seen by the fast path and left to the kernel.
    punted: u64,
    /// Forwarded by the kernel, of the family in question.
    forwarded: u64,
    /// Accepted by the FORWARD rules of the path; none where it has none.
    accepted: u64,
    /// Connections that are tracked at the end; none are at the beginning of a cell.
    connections: u64,
}

/// The counters along a path at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    nodes: Vec<NodeCounts>,
    /// Received on each way that has interfaces of its own.
    ways: Vec<(Path, u64)>,
}

impl Counts {
    /// Reads them.
    pub fn read(lab: &Lab, visit: Visit) -> Result<Self, BenchError> {
        let nodes = lab.between(visit.reach).iter();
        Ok(Self {
            nodes: nodes
                .map(|node| node_counts(node, visit))
                .collect::<Result<_, _>>()?,
            ways: lab.received(visit.reach)?,
        })
    }

    /// What has moved since an earlier reading.
    pub fn since(&self, before: &Self) -> Moved {
        let nodes = self.nodes.iter().zip(&before.nodes);
        Moved {
            nodes: nodes.map(|(now, before)| now.since(*before)).collect(),
            ways: self
                .ways
                .iter()
                .zip(&before.ways)
                .map(|((path, now), (_, before))| (*path, now.saturating_sub(*before)))
                .collect(),
        }
    }
}

/// What the path has done during a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    nodes: Vec<NodeCounts>,
    ways: Vec<(Path, u64)>,
}

impl Moved {
    /// Why the traffic cannot have taken the path, with both figures; nothing where it has.
    ///
    /// # Errors
    /// When it has not.
    pub fn check(&self, path: Path, packets: Packets) -> Result<(), String> {
        for (way, received) in &self.ways {
            let expected = (*way == path).then_some(packets);
            let what = format!("received by the interfaces of {way}");
            expect_noisy(&what, *received, expected)?;
        }
        if path.has_way() && self.ways.iter().all(|(way, _)| *way != path) {
            return Err(format!("the lab has no {path}"));
        }
        for (node, number) in self.nodes.iter().zip(1u8..) {
            node.check(path, number, packets)
                .map_err(|reason| format!("node {number}: {reason}"))?;
        }
        Ok(())
    }
}

impl NodeCounts {
    fn since(self, before: Self) -> Self {
        Self {
            entered: self.entered.saturating_sub(before.entered),
            redirected: self.redirected.saturating_sub(before.redirected),
            punted: self.punted.saturating_sub(before.punted),
            forwarded: self.forwarded.saturating_sub(before.forwarded),
            accepted: self.accepted.saturating_sub(before.accepted),
            connections: self.connections,
        }
    }

    /// `number` is 1 for the node that traffic passes first.
    fn check(&self, path: Path, number: u8, packets: Packets) -> Result<(), String> {
        const REDIRECTED: &str = "redirected by the fast path";
        const FORWARDED: &str = "forwarded by the kernel";
        const ENTERED: &str = "received by the node's interfaces";
        const ACCEPTED: &str = "accepted by FORWARD rules";
        const PUNTED: &str = "punted by the fast path";
        let tracked = self.connections > 0;
        match path {
            Path::Direct | Path::Bridge | Path::Macvlan | Path::Ipvlan => {
                expect_noisy(ENTERED, self.entered, None)?;
                expect(REDIRECTED, self.redirected, None)?;
                expect(FORWARDED, self.forwarded, None)
            }
            // Nothing counts what it redirects: what came in and went nowhere else has arrived.
            Path::Floor | Path::FloorRemote => {
                expect_noisy(ENTERED, self.entered, Some(packets))?;
                expect(REDIRECTED, self.redirected, None)?;
                expect(FORWARDED, self.forwarded, None)?;
                expect(PUNTED, self.punted, None)?;
                expect_tracking(tracked, false)
            }
            // The first node translates: behind it the packets are any others of its fast path.
            Path::Nat if number == 1 => {
                expect(FORWARDED, self.forwarded, Some(packets))?;
                expect(REDIRECTED, self.redirected, None)?;
                let forwarded = Packets::Exactly(self.forwarded);
                expect_noisy(PUNTED, self.punted, Some(forwarded))?;
                expect(ACCEPTED, self.accepted, Some(forwarded))?;
                self.expect_all_entered(FORWARDED, self.forwarded)?;
                expect_tracking(tracked, true)
            }
            Path::Netpath | Path::Nat => {
                expect(REDIRECTED, self.redirected, Some(packets))?;
                expect(FORWARDED, self.forwarded, None)?;
                self.expect_all_entered(REDIRECTED, self.redirected)?;
                expect_tracking(tracked, false)
            }
            Path::Kernel => {
                expect(FORWARDED, self.forwarded, Some(packets))?;
                expect(REDIRECTED, self.redirected, None)?;
                self.expect_all_entered(FORWARDED, self.forwarded)?;
                expect_tracking(tracked, false)
            }
            Path::Iptables | Path::IptablesRules(_) | Path::NftRules(_) | Path::NftSet(_) => {
                expect(FORWARDED, self.forwarded, Some(packets))?;
                expect(REDIRECTED, self.redirected, None)?;
                self.expect_all_entered(FORWARDED, self.forwarded)?;
                expect(
                    ACCEPTED,
                    self.accepted,
                    Some(Packets::Exactly(self.forwarded)),
                )?;
                expect_tracking(tracked, true)
            }
            // What is wrapped comes in by the uplink: with segments that are put together on the way, in other numbers.
            Path::Vxlan | Path::Ipip => {
                expect(FORWARDED, self.forwarded, Some(packets))?;
                expect(REDIRECTED, self.redirected, None)?;
                expect(PUNTED, self.punted, None)?;
                expect_tracking(tracked, false)
            }
            Path::NftFlowtable => {
                expect_noisy(ENTERED, self.entered, Some(packets))?;
                expect(REDIRECTED, self.redirected, None)?;
                // The first packets of each flow go through the chain, the others pass it by.
                if self.accepted > self.entered / 2 {
                    return Err(format!(
                        "{} of {} packets passed the FORWARD chain instead of the flowtable",
                        self.accepted, self.entered
                    ));
                }
                expect_tracking(tracked, true)
            }
        }
    }

    /// What came in and what was passed on are the same, but for noise.
    fn expect_all_entered(&self, what: &str, passed: u64) -> Result<(), String> {
        if self.entered.abs_diff(passed) <= NOISE {
            return Ok(());
        }
        Err(format!(
            "{} packets came in, {passed} were {what}",
            self.entered
        ))
    }
}

fn expect_tracking(tracked: bool, wanted: bool) -> Result<(), String> {
    match (tracked, wanted) {
        (true, false) => Err("connections are tracked, and none should be".to_owned()),
        (false, true) => Err("no connection is tracked".to_owned()),
        _ => Ok(()),
    }
}

/// `None` expects nothing at all.
fn expect(what: &str, found: u64, expected: Option<Packets>) -> Result<(), String> {
    let (fits, expected) = match expected {
        None => (found == 0, "none".to_owned()),
        Some(Packets::Exactly(count)) => (found == count, count.to_string()),
        Some(Packets::AtLeast(count)) => (found >= count, format!("at least {count}")),
    };
    if fits {
        return Ok(());
    }
    Err(format!("{found} packets were {what}, expected {expected}"))
}

/// The same for a counter that also counts what an interface receives by itself.
fn expect_noisy(what: &str, found: u64, expected: Option<Packets>) -> Result<(), String> {
    let exact = match expected {
        None => 0,
        Some(Packets::Exactly(count)) => count,
        Some(Packets::AtLeast(_)) => return expect(what, found, expected),
    };
    if (exact..=exact + NOISE).contains(&found) {
        return Ok(());
    }
    Err(format!(
        "{found} packets were {what}, expected {exact} and at most {NOISE} more"
    ))
}

fn node_counts(node: &LabNode, visit: Visit) -> Result<NodeCounts, BenchError> {
    let [one, other] = node.endpoint_devs;
    let hops = counters::read(&node.name)?;
    let count = |of: fn(Outcome) -> bool| {
        let counted = hops.iter().filter(|hop| of(hop.outcome));
        counted.map(|hop| hop.packets).sum()
    };
    Ok(NodeCounts {
        entered: received(&node.netns, &[one, other, UPLINK])?,
        redirected: count(|of| matches!(of, Outcome::RedirectPeer | Outcome::RedirectNeigh)),
        punted: count(|of| of == Outcome::Punt),
        forwarded: proc_net::forwarded(&node.netns, visit.family)?,
        accepted: match RuleSet::of(visit.path, visit.family) {
            Some(rules) => rules.accepted(node)?,
            None => 0,
        },
        connections: netfilter::connections(&node.netns)?,
    })
}

/// Packets that some interfaces of a namespace have received.
pub(super) fn received(netns: &Netns, devs: &[&str]) -> Result<u64, BenchError> {
    let received = proc_net::received(netns)?;
    let of = |dev: &&str| {
        received.get(*dev).ok_or_else(|| BenchError::Unreadable {
            path: format!("/proc/net/dev of {}", netns.name()),
            line: format!("no interface {dev}"),
        })
    };
    devs.iter().map(of).sum()
}

#[cfg(test)]
mod tests;
