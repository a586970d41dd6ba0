//! What a socket of the namespace sends, and what comes back by the loopback device.

use netpath_common::Family;

use super::{Going, Walk, routes::Why, table};
use crate::{
    kernel_way::{Cause, End, Outcome, Place, Tuple, kernel::LOOPBACK},
    netfilter::nft::Hook,
    netlink::{NoWay, Resolved, RouteKind},
};

impl Walk<'_> {
    pub(super) fn sent(&mut self) -> Going<End> {
        if !self.state.has(self.packet.source) && !self.packet.source.is_loopback() {
            return self.drop(Place::Route, Cause::SourceNotHere);
        }
        let route = self.route_out(Place::Route, Why::Sent)?;
        self.note(Place::Route, Outcome::Passes, self.way_out(&route));
        self.oif = Some(route.ifindex);
        self.route = Some(route);
        self.taken_from_socket(&route)?;
        self.hook(Hook::Output)?;
        let route = self.route.unwrap_or(route);
        self.output(route, false)
    }

    /// A socket whose packets may not be cut refuses one that its route does not take (`ip_append_data`, `ip6_append_data`), before
    /// rules of OUTPUT lead it elsewhere.
    fn taken_from_socket(&mut self, route: &Resolved) -> Going<()> {
        if !self.packet.dont_fragment {
            return Ok(());
        }
        let (mtu, kind, code) = match self.family() {
            Family::V4 => (self.mtu_v4(route, false)?, 3, 4),
            Family::V6 => (self.mtu_v6(route, &self.state.dev(route.ifindex))?, 2, 0),
        };
        if self.packet.longest() <= mtu {
            return Ok(());
        }
        self.answer(Place::Mtu, Cause::TooBig { mtu }, kind, code)
    }

    fn way_out(&self, route: &Resolved) -> String {
        let dev = self.state.dev(route.ifindex);
        match (route.kind, route.via) {
            (RouteKind::Local, _) => "to this host itself".to_owned(),
            (_, Some(via)) => format!("{}: via {via} by {dev}", table(route.table)),
            (_, None) => format!("{}: on the link by {dev}", table(route.table)),
        }
    }

    /// The route of what is sent here; refused, the socket is told.
    fn route_out(&mut self, place: Place, why: Why) -> Going<Resolved> {
        let refused = match self.resolve(why)? {
            Ok(route) => return Ok(route),
            Err(refused) => refused,
        };
        let of = |kind| Cause::Route { kind };
        let cause = match refused {
            NoWay::Dropped => of(RouteKind::Blackhole),
            NoWay::Unreachable => of(RouteKind::Unreachable),
            NoWay::Prohibited => of(RouteKind::Prohibit),
            NoWay::NoRoute => Cause::NoRoute,
        };
        self.drop(place, cause)
    }

    /// Behind what changed at OUTPUT what routes go by (`ip_route_me_harder`).
    pub(super) fn reroute(&mut self) -> Going<()> {
        let route = self.route_out(Place::Reroute, Why::Changed)?;
        self.note(Place::Reroute, Outcome::Changes, self.way_out(&route));
        self.route = Some(route);
        Ok(())
    }

    /// Back in by the loopback device, with its connection: nothing is translated anew.
    pub(super) fn looped(&mut self) -> Going<End> {
        self.note(Place::Loopback, Outcome::Passes, "it comes in again by lo");
        (self.iif, self.oif) = (Some(LOOPBACK), None);
        self.is_sent = false;
        self.hook(Hook::Ingress)?;
        let before = (self.packet.destination, self.packet.mark);
        self.hook(Hook::Prerouting)?;
        // It has its route already, unless IPv6 looks for it anew.
        if self.family() == Family::V6 && before != (self.packet.destination, self.packet.mark) {
            self.note(Place::Route, Outcome::Passes, "for this host");
        }
        self.delivered()
    }

    /// What routes go by of a packet that was sent.
    pub(super) fn routed_by(&self) -> (Tuple, u32, u8, u8) {
        // IPv4 does not look at the TTL.
        let ttl = match self.family() {
            Family::V4 => 0,
            Family::V6 => self.packet.ttl,
        };
        let ends = Tuple {
            source_port: 0,
            destination_port: 0,
            ..self.packet.tuple()
        };
        (ends, self.packet.mark, self.packet.tos, ttl)
    }
}
