//! Per-hop counters and the kernel's interface counters of both nodes, at one moment.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use netpath::{
    counters::{self, HopRow},
    model::Node,
    netns::Netns,
    proc_net,
};
use netpath_common::Family;

use super::{
    cast::Cast,
    error::DemoError,
    report::{CountedHop, CountedInterface},
};

/// Between two looks: longer than a packet takes from one counter to the other.
const APART: Duration = Duration::from_millis(5);
/// A node always has some traffic of its own (neighbour discovery), but not for so long.
const PATIENCE: Duration = Duration::from_millis(500);

/// The counters of both nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    hops: Vec<HopRow>,
    /// By node and interface.
    received: BTreeMap<(String, String), u64>,
}

impl Snapshot {
    /// Looks until nothing moves: the two kinds of counters cannot be read at once.
    pub fn take(cast: &Cast<'_>) -> Result<Self, DemoError> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = Self::look(cast)?;
        loop {
            thread::sleep(APART);
            let after = Self::look(cast)?;
            if after == before || Instant::now() >= deadline {
                return Ok(after);
            }
            before = after;
        }
    }

    fn look(cast: &Cast<'_>) -> Result<Self, DemoError> {
        let mut hops = Vec::new();
        let mut received = BTreeMap::new();
        for node in cast.nodes() {
            let name = node.name.as_ref();
            hops.extend(counters::read(name)?);
            let mut packets = proc_net::received(&Netns::named(name)?)?;
            received.extend(devices(node).filter_map(|dev| {
                let (dev, packets) = packets.remove_entry(dev)?;
                Some(((name.to_owned(), dev), packets))
            }));
        }
        Ok(Self { hops, received })
    }

    /// The rows that moved since.
    pub fn hops_since(&self, before: &Self, family: Family) -> Vec<CountedHop> {
        counters::difference(&before.hops, &self.hops)
            .into_iter()
            .map(|hop| CountedHop { family, hop })
            .collect()
    }

    /// What came in by each interface since, as netpath and as the kernel counted it.
    pub fn interfaces_since(&self, before: &Self) -> Vec<CountedInterface> {
        let totals = counters::totals(&counters::difference(&before.hops, &self.hops));
        self.received
            .iter()
            .map(|((node, interface), &packets)| {
                let before = before.received.get(&(node.clone(), interface.clone()));
                let counted = totals
                    .iter()
                    .find(|total| total.node == *node && total.interface == *interface);
                CountedInterface {
                    node: node.clone(),
                    interface: interface.clone(),
                    kernel_rx_packets: packets - before.copied().unwrap_or_default().min(packets),
                    redirected: counted.map_or(0, |total| total.redirected),
                    punted: counted.map_or(0, |total| total.punted),
                    dropped: counted.map_or(0, |total| total.dropped),
                }
            })
            .collect()
    }
}

fn devices(node: &Node) -> impl Iterator<Item = &str> {
    let uplinks = node.uplinks.iter().map(|uplink| uplink.dev.as_ref());
    let endpoints = node.endpoints.iter();
    uplinks.chain(endpoints.map(|endpoint| endpoint.host_dev.as_ref()))
}
