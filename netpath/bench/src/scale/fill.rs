//! Filling a node's tables, timed.
//!
//! The synthetic endpoints have no namespace of their own, which no machine has the memory for by the hundred
//! thousand: they are further addresses of the receiving endpoint, entered as `netpath up` enters any address.

use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use netpath::datapath::Writer;

use super::{
    Run, ScaleError,
    flow::pin,
    lab::{self, Node},
    population,
    results::{ByFamily, Size, Table},
};
use crate::Family;

/// Prefixes that are written one system call each, for comparison: as many as the goal on installing them asks for.
const SINGLE: usize = 100_000;

/// A node with tables of a size, and what is in them.
pub struct Filled {
    pub node: Node,
    pub size: Size,
    pub v4: Contents,
    pub v6: Contents,
}

/// What was entered for one family.
pub struct Contents {
    pub endpoints: Vec<IpAddr>,
    pub routes: Vec<IpNet>,
}

impl Filled {
    pub fn contents(&self, family: Family) -> &Contents {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

/// Fills a node's tables.
pub fn fill(run: &Run<'_>, node: Node, size: Size) -> Result<(Filled, Table), ScaleError> {
    let seed = run.options.seed;
    let contents = |family| Contents {
        endpoints: population::endpoints(family, size.endpoints as usize, seed),
        routes: population::prefixes(family, size.routes as usize, seed),
    };
    let (v4, v6) = (contents(Family::V4), contents(Family::V6));
    let before = node.memory()?;
    let single = v4.routes.len().min(SINGLE);
    let mut table = Table {
        size,
        endpoints_ns: ByFamily::default(),
        routes_ns: ByFamily::default(),
        single_ns: ByFamily::default(),
        single: single as u32,
        maps_before: Vec::new(),
        maps_after: Vec::new(),
    };
    let processor = run.processor;
    thread::scope(|scope| {
        scope
            .spawn(|| -> Result<(), ScaleError> {
                pin(processor)?;
                for (family, contents) in [(Family::V4, &v4), (Family::V6, &v6)] {
                    write(&node, family, contents, &mut table)?;
                }
                Ok(())
            })
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let after = node.memory()?;
    let counts_entries = after.growth_since(&before).is_some();
    table.maps_before = before.maps(counts_entries);
    table.maps_after = after.maps(counts_entries);
    Ok((Filled { node, size, v4, v6 }, table))
}

/// Writes a family's entries.
fn write(
    node: &Node,
    family: Family,
    contents: &Contents,
    table: &mut Table,
) -> Result<(), ScaleError> {
    let entry = node.entry(lab::receiver(family))?;
    let lock = lab::hold()?;
    let writer = node.datapath.writer(&lock);
    let single = &contents.routes[..table.single as usize];
    let took = timed(|| one_by_one(&writer, single))?;
    table.single_ns.set(family, took);
    for prefix in single {
        writer.remove_route(*prefix)?;
    }
    let took = timed(|| Ok(writer.set_endpoints(&contents.endpoints, &entry)?))?;
    table.endpoints_ns.set(family, took);
    let took = timed(|| Ok(writer.set_remote_routes(&contents.routes)?))?;
    table.routes_ns.set(family, took);
    Ok(())
}

fn one_by_one(writer: &Writer<'_>, prefixes: &[IpNet]) -> Result<(), ScaleError> {
    for prefix in prefixes {
        writer.set_route(*prefix, &netpath_common::RouteEntry::REMOTE)?;
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<(), ScaleError>) -> Result<Duration, ScaleError> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

impl ByFamily {
    /// The figure of a family.
    pub fn of(&self, family: Family) -> u64 {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Sets the figure of a family, in nanoseconds.
    fn set(&mut self, family: Family, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        match family {
            Family::V4 => self.v4 = nanoseconds,
            Family::V6 => self.v6 = nanoseconds,
        }
    }
}
