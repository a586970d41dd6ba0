//! Switching what is between the two endpoints, and nothing else.

use netpath::provision::{self, Selection};
use netpath_common::Family;

use super::{
    error::BenchError,
    floor::{self, Floor},
    lab::{Lab, LabNode},
    netfilter,
    results::{Path, Reach},
    rules::RuleSet,
};

/// The lab, and how each of its nodes is switched.
pub(super) struct Switch<'a> {
    lab: &'a Lab,
    states: [State; 2],
}

/// How a node is to be.
#[derive(Clone, Copy)]
struct Wanted {
    fast_path: bool,
    rules: Option<RuleSet>,
    floor: Option<floor::Kind>,
}

/// How it is.
#[derive(Default)]
struct State {
    fast_path: bool,
    rules: Option<RuleSet>,
    floor: Option<Floor>,
}

impl<'a> Switch<'a> {
    /// For a lab that has just been made: the fast path off, no rules.
    pub fn new(lab: &'a Lab) -> Self {
        Self {
            lab,
            states: Default::default(),
        }
    }

    /// Makes the nodes between the endpoints such that traffic takes this path, and no connection is known to
    /// them. A path without a router passes none: they stay as they are.
    pub fn to(&mut self, path: Path, reach: Reach, family: Family) -> Result<(), BenchError> {
        if !path.passes_nodes() {
            return Ok(());
        }
        let wanted = Wanted {
            fast_path: matches!(path, Path::Netpath | Path::Nat),
            rules: RuleSet::of(path, family),
            floor: floor::Kind::of(path),
        };
        let [first, second] = &self.lab.nodes;
        let nodes = [[first, second], [second, first]].into_iter();
        let count = self.lab.between(reach).len();
        for ([node, other], state) in nodes.take(count).zip(&mut self.states) {
            state.become_(wanted, node, other)?;
        }
        Ok(())
    }
}

impl State {
    fn become_(
        &mut self,
        wanted: Wanted,
        node: &LabNode,
        other: &LabNode,
    ) -> Result<(), BenchError> {
        if let Some(floor) = self.floor.take_if(|it| Some(it.kind) != wanted.floor) {
            floor.detach()?;
        }
        if self.rules.is_some() && self.rules != wanted.rules {
            netfilter::flush_tables(&node.netns)?;
            self.rules = None;
        }
        netfilter::flush_connections(&node.netns)?;
        if self.fast_path != wanted.fast_path {
            let selection = Selection {
                node: Some(node.name.clone()),
                endpoint: None,
                ..Selection::default()
            };
            provision::set_fast_path(wanted.fast_path, &selection, &mut |_| {})?;
            self.fast_path = wanted.fast_path;
        }
        if let Some(rules) = wanted.rules
            && self.rules.is_none()
        {
            if let Err(error) = rules.load(node) {
                // iptables-restore commits table by table.
                netfilter::flush_tables(&node.netns)?;
                return Err(error);
            }
            self.rules = Some(rules);
        }
        if let Some(kind) = wanted.floor
            && self.floor.is_none()
        {
            self.floor = Some(Floor::attach(kind, node, other)?);
        }
        Ok(())
    }
}
