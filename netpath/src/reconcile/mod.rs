//! What is wanted, what is recorded, what is observed, and the steps from one to the other. Pure: no I/O.
//!
//! A [`World`] is what is there of one node: what its maps record ([`Recorded`]) and what the kernel has
//! ([`Observed`]), taken once. [`plan`] compares it with a [`Wanted`] node and returns a [`Plan`]: the steps that make
//! the node true, each with the drift that it cures, or the refusals for which it must not be begun. Carrying the steps
//! out decides nothing any more.
//!
//! What one step does has consequences for the next: with an address the kernel takes away the routes that prefer
//! it, with one end of a veth pair the other. So each operation is applied to a copy of the world as it is planned
//! ([`World::apply`]), and what comes later is planned against what will be there then. That is why one pass is enough.

mod apply;
mod bypass;
mod drift;
mod observed;
mod op;
mod plan;
mod recorded;
mod refusal;
mod step;
#[cfg(test)]
mod tests;
mod wanted;
mod way_back;
mod words;

pub use self::{
    bypass::{Census, ForwardDrop, InterfaceCensus, Matter, Way, WayHop},
    drift::Drift,
    observed::{
        AddressPunts, Clsact, Framing, Hop, Interface, InterfacePunts, Link, Maps, Namespace,
        NamespaceOwner, NamespaceState, Neighbour, Observed, Route, Sysctls, WireClaim,
    },
    op::{AddressKind, NewInterface, NewRoute, Op, OwnRoute, Owner, Place, Replaces},
    plan::{
        BRIDGE, Fresh, GATEWAY_V4, GATEWAY_V6, Ipv6, Wishes, down, elsewhere, endpoint_sysctls,
        forwards_v4, forwards_v6, inside_sysctls, left_routes, node_sysctls, own, plan,
        prove_routes, reverse_path_sysctls, switch, told, unproven, uplink_sysctls, veth_sysctls,
        wire_sysctls,
    },
    recorded::{Home, Recorded, RecordedEndpoint, RecordedRoute, RecordedUplink},
    refusal::{Commands, Refusal, Refused},
    step::{Action, Change, Object, Plan, Step, Told},
    wanted::{DamagedRecord, Scope, Wanted, WantedEndpoint, WantedRoute, WantedUplink, WantedWire},
    way_back::missing_ways_back,
    words::{Destination, is_address},
};

/// What is there of one node: its record, if it has one, and what the kernel has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// What the node's maps say that netpath made; `None` where there is no such node.
    pub recorded: Option<Recorded>,
    /// What the kernel has.
    pub observed: Observed,
}
