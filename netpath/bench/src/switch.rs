//! Switching what is between the two endpoints, and nothing else.

use netpath::provision::{self, Selection};
use netpath_common::Family;

use super::{
    error::BenchError,
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

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct State {
    fast_path: bool,
    rules: Option<RuleSet>,
}

impl<'a> Switch<'a> {
    /// For a lab that has just been made: the fast path off, no rules.
    pub fn new(lab: &'a Lab) -> Self {
        Self {
            lab,
            states: [State::default(); 2],
        }
    }

    /// Makes the nodes between the endpoints such that traffic takes this path, and no connection is known to
    /// them. The path without a router passes none: they stay as they are.
    pub fn to(&mut self, path: Path, reach: Reach, family: Family) -> Result<(), BenchError> {
        if path == Path::Direct {
            return Ok(());
        }
        let wanted = State {
            fast_path: path == Path::Netpath,
            rules: RuleSet::of(path, family),
        };
        for (node, state) in self.lab.between(reach).iter().zip(&mut self.states) {
            state.become_(wanted, node)?;
        }
        Ok(())
    }
}

impl State {
    fn become_(&mut self, wanted: Self, node: &LabNode) -> Result<(), BenchError> {
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
        Ok(())
    }
}
