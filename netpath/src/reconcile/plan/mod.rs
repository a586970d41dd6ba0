//! From what is wanted and what is there to the steps in between.

mod clsact;
mod connections;
mod draft;
mod endpoint;
mod entries;
mod held;
mod names;
mod node;
mod one;
mod own;
mod proof;
mod refuse;
mod remove;
mod room;
mod route;
mod shared;
mod subnets;
mod switch;
mod sysctls;
mod tell;
mod uplink;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use netpath_common::{Ifindex, Mac, ProgramKind};

use self::draft::Draft;
pub use self::{
    own::own,
    proof::{left_routes, prove_routes},
    refuse::unproven,
    remove::down,
    switch::{Wishes, switch},
    sysctls::{
        Ipv6, endpoint_sysctls, forwards_v4, forwards_v6, inside_sysctls, node_sysctls,
        reverse_path_sysctls, uplink_sysctls, veth_sysctls, wire_sysctls,
    },
    tell::told,
};
use super::{
    Action, Change, NamespaceState, Object, Op, Place, Plan, Refusal, Refused, Scope, Step, Wanted,
    World,
};
use crate::{model::NodePlace, random::SplitMix64};

/// The gateway of every endpoint. Link-local (RFC 3927), so it takes nobody's address.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::from_octets(netpath_common::GATEWAY_V4);
/// The same for IPv6.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::from_octets(netpath_common::GATEWAY_V6);

/// The bridge of a wire, in the wire's namespace.
pub const BRIDGE: &str = "br0";

/// MACs that nobody has: they prove later whose an interface is.
#[derive(Clone, Debug)]
pub struct Fresh(SplitMix64);

impl Fresh {
    /// From a random number.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    /// A locally administered unicast address (IEEE 802, the two lowest bits of the first byte).
    fn mac(&mut self) -> Mac {
        let [a, b, c, d, e, f, ..] = self.0.next().to_le_bytes();
        Mac([(a & 0xfc) | 0x02, b, c, d, e, f])
    }
}

/// A plan in the making.
struct Planner<'a> {
    wanted: &'a Wanted,
    /// What was there when planning began.
    initial: &'a World,
    /// What will be there after the steps so far.
    world: World,
    fresh: &'a mut Fresh,
    plan: Plan,
    /// All programs of the node are planned for, whosever the endpoints are.
    is_switching: bool,
    /// What the kernel has translated is entered already.
    are_connections_entered: bool,
    /// The same for what became an end while programs ran, before any was to be attached.
    are_ends_entered: bool,
    /// Programs that are attached before it is their interface's turn.
    ahead: BTreeSet<(Ifindex, ProgramKind)>,
}

impl<'a> Planner<'a> {
    fn new(wanted: &'a Wanted, world: &'a World, fresh: &'a mut Fresh) -> Self {
        Self {
            wanted,
            initial: world,
            world: world.clone(),
            fresh,
            plan: Plan::default(),
            is_switching: false,
            are_connections_entered: false,
            are_ends_entered: false,
            ahead: BTreeSet::new(),
        }
    }
}

/// What makes one node as it is wanted: nothing if it is.
#[must_use]
pub fn plan(wanted: &Wanted, world: &World, fresh: &mut Fresh) -> Plan {
    let mut planner = Planner::new(wanted, world, fresh);
    if let Scope::Endpoint(_) = wanted.scope {
        planner.one();
        return planner.plan;
    }
    planner.refuse();
    planner.node();
    planner.tell();
    planner.plan
}

/// Why what is there under the node's name is not it, if it is not.
#[must_use]
pub fn elsewhere(wanted: &Wanted, world: &World) -> Option<Refused> {
    let mut fresh = Fresh::new(0);
    let mut planner = Planner::new(wanted, world, &mut fresh);
    planner.refuse_node();
    planner.plan.refusals.pop()
}

impl Planner<'_> {
    /// What goes lets go first of all that others are to have. What cannot be made again as it was goes last.
    fn node(&mut self) {
        if self.is_elsewhere() {
            return;
        }
        let is_remains = self.wanted.place == NodePlace::Lab
            && matches!(
                self.world.observed.node.state,
                NamespaceState::Absent | NamespaceState::EmptyFile
            );
        if self.world.recorded.is_some() && is_remains {
            self.remains();
        }
        if self.world.recorded.is_none() {
            self.make_node();
        } else {
            self.settings();
        }
        self.surplus();
        self.retire();
        self.own_addresses();
        self.free_names();
        self.switch_wanted();
        for uplink in &self.wanted.uplinks {
            self.uplink(uplink);
        }
        self.routes();
        for endpoint in &self.wanted.endpoints {
            self.endpoint(endpoint);
        }
        self.surplus_entries();
        self.removals();
    }

    /// Adds the step of a draft, if it has anything to say or to do.
    fn step(
        &mut self,
        action: Action,
        object: Object,
        name: &str,
        detail: Option<String>,
        draft: Draft,
    ) {
        if draft.is_empty() {
            return;
        }
        let detail = detail.unwrap_or_else(|| draft.detail());
        let change = (!draft.silent).then(|| Change {
            action,
            object,
            node: self.wanted.name.clone(),
            name: name.to_owned(),
            detail,
        });
        self.plan.steps.push(Step {
            change,
            object: (object, name.to_owned()),
            drift: draft.drift,
            ops: draft.ops,
        });
    }

    /// Adds an operation to a draft, and goes on from the world after it.
    fn act(&mut self, draft: &mut Draft, op: Op) {
        self.world.apply(&op);
        draft.ops.push(op);
    }

    fn refuse_with(&mut self, object: Object, name: &str, refusal: Refusal) {
        let object = object.told(name, &self.wanted.name);
        let entry = self.initial.observed.entry.as_str();
        self.plan
            .refusals
            .push(refusal.of(object).on(&self.wanted.name).entered_by(entry));
    }

    /// What there is of IPv6 on something with these addresses and prefixes.
    fn ipv6_of(&self, used: bool) -> Ipv6 {
        match (self.initial.observed.ipv6_absent, used) {
            (true, _) => Ipv6::Absent,
            (false, true) => Ipv6::Used,
            (false, false) => Ipv6::Unused,
        }
    }

    /// What there is of IPv6 on the node, with its uplinks and all endpoints that it has or is to have.
    fn ipv6_of_node(&self) -> Ipv6 {
        let recorded = self.world.recorded.iter().flat_map(|node| &node.endpoints);
        let mut recorded = recorded.flat_map(|(_, endpoint)| &endpoint.addresses);
        self.ipv6_of(self.wanted.uses_ipv6() || recorded.any(is_ipv6))
    }

    /// The value of a sysctl in the world as planned so far.
    fn sysctl(&self, place: &Place, key: &str) -> Option<&str> {
        let namespace = self.world.namespace(place)?;
        namespace.sysctls.get(key).map(String::as_str)
    }
}

/// The gateway and the default route of each family that the endpoint has.
fn gateways(addresses: &[IpNet]) -> impl Iterator<Item = (IpAddr, IpNet)> {
    let has = |is: fn(&IpAddr) -> bool| addresses.iter().any(|address| is(&address.addr()));
    let default = |address: IpAddr| IpNet::new(address, 0).ok();
    let v4 = has(IpAddr::is_ipv4).then(|| {
        Some((
            IpAddr::from(GATEWAY_V4),
            default(Ipv4Addr::UNSPECIFIED.into())?,
        ))
    });
    let v6 = has(IpAddr::is_ipv6).then(|| {
        Some((
            IpAddr::from(GATEWAY_V6),
            default(Ipv6Addr::UNSPECIFIED.into())?,
        ))
    });
    [v4.flatten(), v6.flatten()].into_iter().flatten()
}

fn is_ipv6(net: &IpNet) -> bool {
    net.addr().is_ipv6()
}

/// The first address that is of the same family as another.
fn first_of_family(addresses: &[IpNet], other: IpAddr) -> Option<IpAddr> {
    addresses
        .iter()
        .map(IpNet::addr)
        .find(|address| address.is_ipv4() == other.is_ipv4())
}
