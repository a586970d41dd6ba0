//! Routes towards other nodes: in the kernel's table, and as remote in netpath's.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::Ifindex;

use super::{
    super::{
        Action, AddressPunts, Drift, Namespace, NewRoute, Object, Op, Owner, Place, RecordedRoute,
        Replaces, Route, World, wanted::WantedRoute,
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
        let Some(via) = wanted.via else {
            self.kernels_route(wanted.dst);
            return;
        };
        let dst = wanted.dst;
        let node = self.world.recorded.as_ref();
        let before = node.and_then(|node| node.routes.get(&dst)).cloned();
        let is_same = |record: &RecordedRoute| record.via == wanted.via && record.dev == wanted.dev;
        let is_it = |world: &World, route: &Route| {
            (route.dst, route.via) == (dst, wanted.via)
                && route.for_all
                && is_by(&world.observed.node, route, wanted.dev.as_deref())
        };
        let found = |ours: bool| {
            let mut routes = self.world.observed.node.routes.iter();
            routes.any(|route| route.ours == ours && is_it(&self.world, route))
        };
        let foreign = found(false);
        let kept = before
            .clone()
            .filter(|before| is_same(before) && self.is_led_elsewhere(dst));
        let there = foreign
            || found(true)
            || kept.is_some()
            || self.leads_into_a_vrf(via, wanted.dev.as_deref());
        let record = kept.unwrap_or(RecordedRoute {
            via: wanted.via,
            dev: wanted.dev.clone(),
            // One that netpath made stays its own, though somebody may have added the same since.
            made: !foreign || found(true) && before.as_ref().is_some_and(|record| record.made),
        });
        let mut draft = Draft::default();
        if before.as_ref() != Some(&record) {
            self.act(&mut draft, Op::RecordRoute(dst, record));
        }
        if !there {
            // Gone, or gone with an address that an earlier step took away.
            let mut initially = self.initial.observed.node.routes.iter();
            let was_there = initially.any(|route| is_it(self.initial, route));
            if let (Some(before), false) = (&before, was_there) {
                let other = self.initial.observed.node.route_to(&dst);
                draft.note(match other.filter(|_| is_same(before)) {
                    Some(other) => Drift::RouteElsewhere {
                        dst,
                        told: other.told.clone(),
                    },
                    None => Drift::RouteGone(dst),
                });
            }
            let new = NewRoute {
                dst,
                via: wanted.via,
                dev: wanted.dev.clone(),
                onlink: wanted
                    .dev
                    .as_ref()
                    .is_some_and(|dev| self.is_only_onlink(via, dev)),
                source: None,
                replaces: self.replaces(dst),
            };
            self.act(&mut draft, Op::AddRoute(Place::Node, new));
        }
        let (owner, punts) = self.of_route(dst);
        self.prefix_entry(&mut draft, before.is_some(), dst, &owner, punts);
        let (action, detail) = match before {
            None => (Action::Create, None),
            Some(before) if !is_same(&before) => (Action::Update, None),
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
        let by = wanted.dev.as_ref().map(|dev| format!(" dev {dev}"));
        let detail = detail.unwrap_or_else(|| format!("via {via}{}", by.unwrap_or_default()));
        self.step(action, Object::Route, &dst.to_string(), Some(detail), draft);
    }

    /// A prefix of which the kernel's own routes say where it leads: netpath makes none for it, and takes away only one that it
    /// made before.
    fn kernels_route(&mut self, dst: IpNet) {
        let node = self.world.recorded.as_ref();
        let before = node.and_then(|node| node.routes.get(&dst)).cloned();
        let record = RecordedRoute {
            via: None,
            dev: None,
            made: false,
        };
        let mut draft = Draft::default();
        if let Some(before) = before.as_ref().filter(|before| before.made) {
            self.remove_own_routes(&mut draft, dst);
            self.remove_own_hop(&mut draft, dst, before);
        }
        if before.as_ref() != Some(&record) {
            self.act(&mut draft, Op::RecordRoute(dst, record.clone()));
        }
        let (owner, punts) = self.of_route(dst);
        self.prefix_entry(&mut draft, before.is_some(), dst, &owner, punts);
        let of_the_kernel = || Some("by the kernel's routes".to_owned());
        let (action, detail) = match before {
            None => (Action::Create, of_the_kernel()),
            Some(before) if before != record => (Action::Update, of_the_kernel()),
            Some(_) => {
                draft.silent = draft.drift.is_empty();
                (Action::Update, None)
            }
        };
        self.step(action, Object::Route, &dst.to_string(), detail, draft);
    }

    /// Whether a next hop is on an interface's link only because the file says so: none of its addresses does.
    fn is_only_onlink(&self, via: IpAddr, dev: &str) -> bool {
        let is_link_local = matches!(via, IpAddr::V6(via) if via.is_unicast_link_local());
        let link = self.world.observed.node.link(dev);
        let mut addresses = link.iter().flat_map(|link| &link.addresses);
        !is_link_local && !addresses.any(|net| net.contains(&via))
    }

    /// Whose a destination of the topology is: not another node's where the machine takes it in itself.
    pub(super) fn of_route(&self, dst: IpNet) -> (Owner, AddressPunts) {
        match self.takes_in(dst) {
            true => (Owner::Machine, AddressPunts::default()),
            false => {
                let node = self.world.recorded.as_ref();
                let is_on = node.is_none_or(|node| node.fast_path.attaches());
                let punts = self.address_punts(Ifindex(0), dst, is_on);
                (Owner::Node, punts)
            }
        }
    }

    /// Whether a next hop is on the link of an uplink that is in a VRF.
    fn leads_into_a_vrf(&self, via: IpAddr, dev: Option<&str>) -> bool {
        let on_link = |address: &IpNet| address.contains(&via);
        let uplinks = self.wanted.uplinks.iter();
        let mut by = uplinks.filter(|uplink| match dev {
            Some(dev) => uplink.dev == dev,
            None => uplink.addresses.iter().any(on_link),
        });
        by.any(|uplink| self.is_in_vrf(&uplink.dev))
    }
}

/// Whether a route leads by an interface, if one is said.
pub(super) fn is_by(node: &Namespace, route: &Route, dev: Option<&str>) -> bool {
    dev.is_none_or(|dev| {
        let link = node.link(dev);
        link.is_some_and(|link| route.ifindex == Some(link.ifindex))
    })
}
