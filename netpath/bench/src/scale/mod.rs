//! How cost grows: with endpoints and routes in netpath's tables, and with FORWARD rules for comparison. Also the time
//! and memory that it takes to install them, and how soon a change takes effect.
//!
//! | file | question |
//! |---|---|
//! | `fill` | how long does it take to fill the tables, and what memory do they take? |
//! | `programs` | what does a packet cost inside the programs? |
//! | `hops` | what does it cost on the wire? |
//! | `reaction` | how soon is a change seen by a packet? |
//! | `endpoints` | how long do real endpoints take? |
//! | `memory` | what do maps take? |

mod endpoints;
mod error;
mod fill;
mod flow;
mod goals;
mod hops;
mod lab;
mod memory;
mod names;
mod population;
mod programs;
mod reaction;
mod results;
pub mod summary;

pub use self::{error::ScaleError, goals::goals, results::*};

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use netpath::random::SplitMix64;

use self::{
    fill::Filled,
    lab::{Node, NodeOptions},
};
use super::{Path, cpu::Processors, orphans};

/// How to measure.
#[derive(Clone, Debug)]
pub struct ScaleOptions {
    /// How full the tables are to be: one node for each.
    pub sizes: Vec<Size>,
    /// Numbers of FORWARD rules: one node for each.
    pub rules: Vec<u32>,
    /// Rounds of every measurement.
    pub rounds: u32,
    /// Duration of one measurement on the wire in milliseconds.
    pub cell_ms: u32,
    /// UDP payload in bytes.
    pub udp_payload: u32,
    /// Most destinations that a measurement cycles over.
    pub destinations_max: u32,
    /// Real endpoints to make and remove.
    pub real_endpoints: u32,
    /// Seed of addresses and of the order.
    pub seed: u64,
    /// Whether it is a `--quick` run; only noted.
    pub quick: bool,
    /// Set from outside (a signal handler) to make the run stop and leave nothing behind.
    pub interrupted: Arc<AtomicBool>,
}

impl ScaleOptions {
    /// The full run.
    pub fn full() -> Self {
        let size = |endpoints, routes| Size { endpoints, routes };
        Self {
            sizes: vec![
                size(10, 10),
                size(100, 1_000),
                size(1_000, 10_000),
                size(10_000, 100_000),
                size(100_000, 1_000_000),
            ],
            rules: vec![10, 100, 1_000, 5_000],
            rounds: 15,
            cell_ms: 40,
            udp_payload: 64,
            destinations_max: 65_536,
            real_endpoints: 1_000,
            seed: 1,
            quick: false,
            interrupted: Arc::default(),
        }
    }

    /// Small sizes, to see that all works.
    pub fn quick() -> Self {
        let size = |endpoints, routes| Size { endpoints, routes };
        Self {
            sizes: vec![size(10, 10), size(1_000, 10_000)],
            rules: vec![10, 100],
            rounds: 2,
            cell_ms: 10,
            destinations_max: 256,
            real_endpoints: 10,
            quick: true,
            ..Self::full()
        }
    }

    /// Room in every node's maps, the same for all of them so that only the contents differ: the largest size,
    /// the real endpoints, and what the reactions add.
    fn capacity(&self) -> (u32, u32) {
        let most = |of: fn(&Size) -> u32| self.sizes.iter().map(of).max().unwrap_or(0) + 64;
        (most(|size| size.endpoints), most(|size| size.routes))
    }

    /// Steps of the whole run, as [`Progress`] counts them.
    fn steps(&self) -> u32 {
        let (sizes, rules) = (self.sizes.len() as u32, self.rules.len() as u32 + 1);
        let nodes = sizes + rules + 1;
        let programs = self.rounds * sizes * 2 * 5;
        let hops = self.rounds * 2 * (sizes * 4 + rules);
        let reactions = self.rounds * 2 * 4;
        2 + nodes + programs + hops + reactions
    }
}

/// What a run is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Steps begun, from 1.
    pub step: u32,
    /// Steps in all.
    pub of: u32,
    /// Which part of the run.
    pub part: &'static str,
    /// What exactly.
    pub detail: String,
}

/// A run on its way.
struct Run<'a> {
    options: &'a ScaleOptions,
    random: SplitMix64,
    progress: &'a mut dyn FnMut(Progress),
    step: u32,
    names: String,
    /// What is timed stays on it.
    processor: usize,
}

impl Run<'_> {
    /// Begins a step, unless a signal came.
    fn step(
        &mut self,
        part: &'static str,
        detail: impl FnOnce() -> String,
    ) -> Result<(), ScaleError> {
        if self.options.interrupted.load(Ordering::Relaxed) {
            return Err(ScaleError::Interrupted);
        }
        self.step += 1;
        (self.progress)(Progress {
            step: self.step,
            of: self.options.steps(),
            part,
            detail: detail(),
        });
        Ok(())
    }

    /// The name of a node of this run.
    fn name(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.names)
    }
}

/// Builds the nodes, measures everything, and removes them; also after a failure.
///
/// # Errors
/// When the lab cannot be made, or a signal came.
pub fn run(
    options: &ScaleOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<ScaleResults, ScaleError> {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let run_on = Processors::choose()?.first();
    for left in orphans::sweep()? {
        tracing::warn!("{left}");
    }
    let mut run = Run {
        options,
        processor: run_on,
        random: SplitMix64::new(options.seed),
        progress,
        step: 0,
        names: orphans::scale_name(RUNS.fetch_add(1, Ordering::Relaxed)),
    };
    let machine = super::machine::machine()?;
    // First, while the machine's memory is at rest.
    let endpoints = endpoints::measure(&mut run)?;
    let (filled, tables) = fill_all(&mut run)?;
    let mut ruled = rule_all(&mut run)?;
    let programs = programs::measure(&mut run, &filled)?;
    let (hops, rejected) = hops::measure(&mut run, &filled, &ruled)?;
    let mut fast = node(&mut run, "r", true, true)?;
    let reactions = match ruled.first_mut() {
        Some((kernel, _)) => reaction::measure(&mut run, &mut fast, kernel)?,
        None => Vec::new(),
    };
    let nodes = filled.into_iter().map(|filled| filled.node);
    for node in nodes
        .chain(ruled.into_iter().map(|(node, _)| node))
        .chain([fast])
    {
        node.down()?;
    }
    let (max_endpoints, max_routes) = options.capacity();
    Ok(ScaleResults {
        schema: SCALE_SCHEMA,
        machine,
        settings: ScaleSettings {
            rounds: options.rounds,
            seed: options.seed,
            cell_ms: options.cell_ms,
            udp_payload: options.udp_payload,
            destinations_max: options.destinations_max,
            max_endpoints,
            max_routes,
            processor: run_on as u32,
            quick: options.quick,
        },
        tables,
        programs,
        hops,
        rejected,
        reactions,
        endpoints,
    })
}

fn node(
    run: &mut Run<'_>,
    suffix: &str,
    fast_path: bool,
    forward_drop: bool,
) -> Result<Node, ScaleError> {
    run.step("nodes", || format!("node {suffix}"))?;
    let (max_endpoints, max_routes) = run.options.capacity();
    Node::up(
        &run.name(suffix),
        &NodeOptions {
            fast_path,
            forward_drop,
            max_endpoints,
            max_routes,
        },
    )
}

/// A node for each size of the tables.
fn fill_all(run: &mut Run<'_>) -> Result<(Vec<Filled>, Vec<Table>), ScaleError> {
    let (mut nodes, mut tables) = (Vec::new(), Vec::new());
    for (number, size) in run.options.sizes.iter().enumerate() {
        let node = node(run, &format!("t{number}"), true, true)?;
        let (filled, table) = fill::fill(run, node, *size)?;
        nodes.push(filled);
        tables.push(table);
    }
    Ok((nodes, tables))
}

/// A node without rules, and one for each number of rules; their fast path is off.
fn rule_all(run: &mut Run<'_>) -> Result<Vec<(Node, Path)>, ScaleError> {
    let mut nodes = vec![(node(run, "k", false, false)?, Path::Kernel)];
    for &rules in &run.options.rules {
        // With FORWARD at DROP, what arrives has passed all the rules.
        let node = node(run, &format!("i{rules}"), false, true)?;
        hops::add_rules(&node, rules)?;
        nodes.push((node, Path::IptablesRules(rules)));
    }
    Ok(nodes)
}
