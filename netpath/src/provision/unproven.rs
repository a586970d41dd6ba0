//! What is left of a node whose records were lost with the pins of their maps.

use std::fmt;

use netpath_common::InterfaceKind;

use crate::{
    datapath::Missing,
    model::NodePlace,
    netlink::ROUTE_PROTOCOL,
    netns::{NameState, name_state},
    reconcile::World,
};

/// What was most likely made for a node, and which no record proves netpath's any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unproven {
    /// The node.
    pub node: String,
    /// The maps that are lost.
    pub lost: Vec<&'static str>,
    /// Commands that remove it, for somebody who knows better.
    pub commands: Vec<String>,
}

impl Unproven {
    /// Of a node before it is removed; `None` where no record was lost.
    pub(super) fn of(node: &str, missing: &Missing, world: &World) -> Option<Self> {
        let is_record = |name: &&&str| name.ends_with("_records");
        let lost: Vec<&'static str> = missing.lost.iter().filter(is_record).copied().collect();
        if lost.is_empty() {
            return None;
        }
        let mut commands = Vec::new();
        let is_machine = world
            .recorded
            .as_ref()
            .is_some_and(|node| node.place == NodePlace::Host);
        if lost.contains(&"endpoint_records") {
            commands.extend(endpoints(world, is_machine));
        }
        if lost.contains(&"uplink_records") && !is_machine {
            commands
                .push("ip netns del netpath-wire-..., where no other node is on the wire".into());
        }
        if lost.contains(&"route_records") && is_machine {
            commands.push(format!(
                "ip route flush proto {ROUTE_PROTOCOL}; ip -6 route flush proto {ROUTE_PROTOCOL}"
            ));
        }
        Some(Self {
            node: node.to_owned(),
            lost,
            commands,
        })
    }
}

/// The endpoints that the programs knew.
fn endpoints(world: &World, is_machine: bool) -> Vec<String> {
    let interfaces = world.observed.maps.interfaces.values();
    let endpoints = interfaces.filter(|interface| interface.kind == Some(InterfaceKind::Endpoint));
    let mut commands = Vec::new();
    for endpoint in endpoints {
        if is_machine && world.observed.node.link(&endpoint.dev).is_some() {
            commands.push(format!("ip link del {}", endpoint.dev));
        }
        // What cannot be looked at is named too.
        if !matches!(name_state(&endpoint.endpoint), Ok(NameState::Free)) {
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
            commands,
        } = self;
        let lost = lost.join(", ");
        write!(
            f,
            "node {node} had lost its {lost}: what they proved netpath's was left alone"
        )?;
        match commands.is_empty() {
            true => Ok(()),
            false => write!(f, "; to remove it: {}", commands.join("; ")),
        }
    }
}
