//! Routes towards other nodes: in the kernel's table, and as remote in netpath's.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::Ifindex;

use super::{
    super::{
        Action, AddressPunts, Drift, NewRoute, Object, Op, Owner, Place, RecordedRoute, Replaces,
        wanted::WantedRoute,
    },
    Draft, Planner,
};

use crate::model::NodePlace;

impl Planner<'_> {
    /// Makes the routes true. One that the machine has already, to the same next hop, is used and left alone.
    pub(super) fn routes(&mut self) {
        let wanted = self.wanted;
        for route in &wanted.routes {
            self.route(route);
        }
    }

    /// Whether somebody's route leads to a destination of the machine's: a routing daemon has found a better way. The
    /// kernel's routes say where next hops are, and the file which destinations there are.
    pub(super) fn is_led_elsewhere(&self, dst: IpNet) -> bool {
        let mut routes = self.initial.observed.node.routes.iter();
        self.wanted.place == NodePlace::Host
            && routes.any(|route| route.dst == dst && route.for_all && !route.ours)
    }

    /// Whose place a route of the node's takes.
    pub(super) fn replaces(&self, dst: IpNet) -> Replaces {
        match self.wanted.place {
            NodePlace::Lab => Replaces::Any,
            NodePlace::Host => Replaces::These(self.world.observed.node.own_routes(dst)),
        }
    }

    fn route(&mut self, wanted: &WantedRoute) {
        let WantedRoute { dst, via } = *wanted;
        let node = self.world.recorded.as_ref();
        let before = node.and_then(|node| node.routes.get(&dst)).copied();
        let found = |ours: bool| {
            let routes = &self.world.observed.node.routes;
            routes.iter().any(|route| {
                (route.dst, route.via, route.ours) == (dst, Some(via), ours) && route.for_all
            })
        };
        let foreign = found(false);
        let kept = before.filter(|before| before.via == via && self.is_led_elsewhere(dst));
        let there = foreign || found(true) || kept.is_some() || self.leads_into_a_vrf(via);
        let record = kept.unwrap_or(RecordedRoute {
            via,
            // One that netpath made stays its own, though somebody may have added the same since.
            made: !foreign || found(true) && before.is_some_and(|record| record.made),
        });
        let mut draft = Draft::default();
        if before != Some(record) {
            self.act(&mut draft, Op::RecordRoute(dst, record));
        }
        if !there {
            // Gone, or gone with an address that an earlier step took away.
            let initially = &self.initial.observed.node.routes;
            let was_there = initially
                .iter()
                .any(|route| route.dst == dst && route.via == Some(via) && route.for_all);
            if let (Some(before), false) = (before, was_there) {
                let other = self.initial.observed.node.route_to(&dst);
                draft.note(match other.filter(|_| before.via == via) {
                    Some(other) => Drift::RouteElsewhere {
                        dst,
                        told: other.told.clone(),
                    },
                    None => Drift::RouteGone(dst),
                });
            }
            let new = NewRoute {
                dst,
                via: Some(via),
                dev: None,
                onlink: false,
                source: None,
                replaces: self.replaces(dst),
            };
            self.act(&mut draft, Op::AddRoute(Place::Node, new));
        }
        let (owner, punts) = self.of_route(dst);
        self.prefix_entry(&mut draft, before.is_some(), dst, &owner, punts);
        let (action, detail) = match before {
            None => (Action::Create, None),
            Some(before) if before.via != via => (Action::Update, None),
            Some(_) if draft.drift.is_empty() => {
                draft.silent = true;
                (Action::Update, None)
            }
            // The route itself is told by its next hop, as it always was.
            Some(_)
                if matches!(
                    draft.drift[..],
                    [Drift::RouteGone(_) | Drift::RouteElsewhere { .. }]
                ) =>
            {
                (Action::Update, None)
            }
            Some(_) => (Action::Update, Some(draft.detail())),
        };
        let detail = detail.unwrap_or_else(|| format!("via {via}"));
        self.step(action, Object::Route, &dst.to_string(), Some(detail), draft);
    }

    /// Whose a destination of the topology is: not another node's where the machine takes it in itself.
    pub(super) fn of_route(&self, dst: IpNet) -> (Owner, AddressPunts) {
        match self.takes_in(dst) {
            true => (Owner::Machine, AddressPunts::default()),
            false => (Owner::Node, self.address_punts(Ifindex(0), dst)),
        }
    }

    /// Whether a next hop is on the link of an uplink that is in a VRF.
    fn leads_into_a_vrf(&self, via: IpAddr) -> bool {
        let on_link = |address: &IpNet| address.contains(&via);
        let uplinks = self.wanted.uplinks.iter();
        let mut by = uplinks.filter(|uplink| uplink.addresses.iter().any(on_link));
        by.any(|uplink| self.is_in_vrf(&uplink.dev))
    }
}
