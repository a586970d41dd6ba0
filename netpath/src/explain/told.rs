//! The kernel's steps in words. Pure.

use std::net::IpAddr;

use super::way::{Effect, Step};
use crate::kernel_way::{self, Cause, NextHopState, Outcome, Place, RuleAt};

/// A step of the kernel's.
pub(super) fn step(step: &kernel_way::Step) -> Step {
    let mut text = step.text.clone();
    if let Some(rule) = &step.rule
        && let Some(handle) = rule.handle
    {
        text += &format!(" [{} rule {}, handle {handle}", rule.chain, rule.number);
        if let Some(count) = rule.count {
            text += &format!(", {} packets", count.packets);
        }
        text.push(']');
    }
    let effect = match step.outcome {
        Outcome::Passes => Effect::Passes,
        Outcome::Changes => Effect::Changes,
        Outcome::Ends => Effect::Ends,
    };
    Step::of(&place(&step.place), text, effect)
}

fn place(place: &Place) -> String {
    match place {
        Place::Hook {
            family,
            table,
            chain,
            ..
        } => format!("{family} {table} {chain}"),
        Place::Programs => "programs".to_owned(),
        Place::Conntrack => "conntrack".to_owned(),
        Place::Martian => "addresses".to_owned(),
        Place::ReversePath => "reverse path".to_owned(),
        Place::Route => "route".to_owned(),
        Place::Reroute => "new route".to_owned(),
        Place::Forwarding => "forwarding".to_owned(),
        Place::Ttl => "ttl".to_owned(),
        Place::Mtu => "mtu".to_owned(),
        Place::Redirect => "redirect".to_owned(),
        Place::Neighbour => "neighbour".to_owned(),
        Place::Loopback => "loopback".to_owned(),
    }
}

/// Why a packet goes no further.
pub(super) fn cause(cause: &Cause) -> String {
    match cause {
        Cause::Rule(rule) => self::rule(rule),
        other => other.to_string(),
    }
}

/// A rule, or a policy.
pub(super) fn rule(rule: &RuleAt) -> String {
    let (chain, table) = (&rule.chain, &rule.table);
    let family = rule.family;
    match rule.handle {
        None => format!("{chain} (table {family} {table}) has policy DROP and no rule accepts it"),
        Some(_) => format!(
            "rule {} of {chain} (table {family} {table}): {}",
            rule.number, rule.text
        ),
    }
}

/// The neighbour that a packet is sent to.
pub(super) fn neighbour(next_hop: Option<IpAddr>, state: NextHopState) -> Step {
    let whom = next_hop.map_or_else(|| "the other end".to_owned(), |it| it.to_string());
    let text = match state {
        NextHopState::Unneeded => format!("{whom} needs no Ethernet address"),
        NextHopState::Known { mac, state } => format!("{whom} has {mac} ({state})"),
        NextHopState::Asked { state: None } => format!("{whom} is not known yet, and asked first"),
        NextHopState::Asked { state: Some(state) } => {
            format!("{whom} is asked first ({state})")
        }
    };
    Step::passes("neighbour", text)
}
