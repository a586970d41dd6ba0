//! What is left of a node whose records were lost with the pins of their maps, or cannot be read.

use std::{collections::BTreeSet, fmt};

use netpath_common::InterfaceKind;

use super::snapshot::Snapshot;
use crate::{
    datapath::Missing,
    model::NodePlace,
    netns::{NameState, name_state},
    reconcile::{self, World},
};

/// What was most likely made for a node, and which no record proves netpath's any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unproven {
    /// The node.
    pub node: String,
    /// The maps that are lost, or of which an entry is.
    pub lost: Vec<&'static str>,
    /// Single records that could not be read, in words.
    pub damaged: Vec<String>,
    /// Commands that remove it, for somebody who knows better.
    pub commands: Vec<String>,
}

impl Unproven {
    /// Of a node before it is removed; `None` where no record was lost or damaged.
    /// `others` are the endpoints of other nodes.
    pub(super) fn of(
        node: &str,
        missing: &Missing,
        snapshot: &Snapshot,
        others: &BTreeSet<String>,
    ) -> Option<Self> {
        let Snapshot { world, damaged, .. } = snapshot;
        let is_record = |name: &&&str| name.ends_with("_records");
        let mut lost: Vec<&'static str> = missing.lost.iter().filter(is_record).copied().collect();
        let unproven = reconcile::unproven(world);
        if !lost.contains(&"endpoint_records") && !unproven.is_empty() {
            lost.push("endpoint_records");
        }
        if lost.is_empty() && damaged.is_empty() {
            return None;
        }
        let concerns =
            |map| lost.contains(&map) || damaged.iter().any(|damaged| damaged.map == map);
        let mut commands = Vec::new();
        let is_machine = world
            .recorded
            .as_ref()
            .is_some_and(|node| node.place == NodePlace::Host);
        if concerns("endpoint_records") {
            let is_unproven = |name: &str| unproven.contains_key(name);
            commands.extend(endpoints(world, others, is_machine, is_unproven));
        }
        if concerns("uplink_records") && !is_machine {
            commands
                .push("ip netns del netpath-wire-..., where no other node is on the wire".into());
        }
        if concerns("route_records") && is_machine {
            // Never all that carry the number: other nodes' do, too.
            let left = reconcile::left_routes(world).into_iter();
            let entry = &world.observed.entry;
            commands.extend(left.map(|route| format!("{entry}ip route del {}", route.text)));
        }
        Some(Self {
            node: node.to_owned(),
            lost,
            damaged: damaged.iter().map(ToString::to_string).collect(),
            commands,
        })
    }
}

/// The endpoints that the programs knew, and of which there is no record, or one that proves nothing.
fn endpoints(
    world: &World,
    others: &BTreeSet<String>,
    is_machine: bool,
    is_unproven: impl Fn(&str) -> bool,
) -> Vec<String> {
    let interfaces = world.observed.maps.interfaces.values();
    let recorded = world.recorded.as_ref();
    let endpoints = interfaces.filter(|interface| {
        let name = &interface.endpoint;
        let is_recorded = recorded.is_some_and(|node| node.endpoints.contains_key(name));
        interface.kind == Some(InterfaceKind::Endpoint) && (!is_recorded || is_unproven(name))
    });
    let mut commands = Vec::new();
    for endpoint in endpoints {
        if is_machine && world.observed.node.link(&endpoint.dev).is_some() {
            let entry = &world.observed.entry;
            commands.push(format!("{entry}ip link del dev {}", endpoint.dev));
        }
        // What cannot be looked at is named too.
        let is_free = matches!(name_state(&endpoint.endpoint), Ok(NameState::Free));
        if !is_free && !others.contains(&endpoint.endpoint) {
            commands.push(format!("ip netns del {}", endpoint.endpoint));
        }
    }
    commands
}

impl fmt::Display for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            node,
            lost,
            damaged,
            commands,
        } = self;
        write!(f, "node {node} had ")?;
        if !lost.is_empty() {
            write!(f, "lost of its {}", lost.join(", "))?;
        }
        if !damaged.is_empty() {
            let and = if lost.is_empty() { "" } else { ", and " };
            write!(f, "{and}damaged records: {}", damaged.join(", "))?;
        }
        write!(f, ": what they proved netpath's was left alone")?;
        match commands.is_empty() {
            true => Ok(()),
            false => write!(f, "; to remove it: {}", commands.join("; ")),
        }
    }
}
