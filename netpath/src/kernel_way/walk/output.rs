//! Behind FORWARD or OUTPUT: POSTROUTING, fragments, the neighbour, the interface.

use std::net::IpAddr;

use netpath_common::{Family, Ifindex};

use super::{Going, Walk, stop};
use crate::{
    kernel_way::{Cause, End, Leaving, NextHopState, Outcome, Place, kernel::LOOPBACK},
    netfilter::nft::Hook,
    netlink::{Link, NeighbourState, Resolved, XfrmDirection},
};

/// Of a fragment: IPv4's header, IPv6's with the fragment header (RFC 8200, section 4.5).
const IPV4_HEADER: u32 = 20;
const IPV6_HEADERS: u32 = 40 + 8;
/// Offsets of fragments are in units of so many bytes.
const FRAGMENT_UNIT: u32 = 8;

impl Walk<'_> {
    pub(super) fn output(&mut self, route: Resolved, forwarded: bool) -> Going<End> {
        let out = self.state.dev(route.ifindex);
        self.oif = Some(route.ifindex);
        self.route = Some(route);
        if self.family() == Family::V6 && self.is_on(&format!("ipv6/conf/{out}/disable_ipv6"))? {
            return self.drop(Place::Forwarding, Cause::Ipv6Off { dev: out });
        }
        self.ipsec(XfrmDirection::Out)?;
        self.hook(Hook::Postrouting)?;
        if route.ifindex == LOOPBACK {
            return self.looped();
        }
        let fragments = match self.family() {
            Family::V4 => self.fragments_v4(&route, forwarded)?,
            Family::V6 => self.fragments_v6(&route, forwarded, &out)?,
        };
        let next_hop = route.via.unwrap_or(self.packet.destination);
        let neighbour = self.neighbour(route.ifindex, next_hop);
        self.programs(route.ifindex, netpath_common::Hook::Egress)?;
        self.hook(Hook::Egress)?;
        let can_send = self
            .state
            .link(route.ifindex)
            .is_some_and(|link| link.up && link.carrier);
        if !can_send {
            return self.drop(Place::Neighbour, Cause::LinkDown { dev: out });
        }
        stop(End::Leaves(Box::new(Leaving {
            ifindex: route.ifindex,
            dev: out,
            next_hop,
            neighbour,
            packet: self.packet.clone(),
            fragments,
        })))
    }

    /// What fits into a fragment, if it is cut.
    fn fragments_v4(&mut self, route: &Resolved, forwarded: bool) -> Going<Option<u32>> {
        let mtu = self.mtu_v4(route, forwarded)?;
        if self.packet.longest() <= mtu {
            return Ok(None);
        }
        if self.packet.dont_fragment {
            return self.answer(Place::Mtu, Cause::TooBig { mtu }, 3, 4);
        }
        self.cut(mtu, IPV4_HEADER);
        Ok(Some(mtu))
    }

    /// All pieces but the last have a payload of whole units.
    fn cut(&mut self, mtu: u32, headers: u32) {
        let payload = mtu.saturating_sub(headers) / FRAGMENT_UNIT * FRAGMENT_UNIT;
        self.packet.fragments = Some(headers + payload);
    }

    /// `ip6_finish_output`: here counts what was learnt of the path, or what the route has, also of what is forwarded. Who sends it
    /// cuts it, and nobody else.
    fn fragments_v6(&mut self, route: &Resolved, forwarded: bool, out: &str) -> Going<Option<u32>> {
        let mtu = self.mtu_v6(route, out)?;
        if self.packet.longest() <= mtu {
            return Ok(None);
        }
        if forwarded || self.packet.dont_fragment {
            return self.answer(Place::Mtu, Cause::TooBig { mtu }, 2, 0);
        }
        self.cut(mtu, IPV6_HEADERS);
        Ok(Some(mtu))
    }

    fn neighbour(&mut self, ifindex: Ifindex, next_hop: IpAddr) -> NextHopState {
        let state = self.state;
        let link = state.link(ifindex);
        let needs = link.is_some_and(Link::is_ethernet);
        let found = state
            .neighbours
            .iter()
            .find(|neighbour| (neighbour.ifindex, neighbour.address) == (ifindex, next_hop));
        let known = match found.map(|found| (found.state, found.mac)) {
            _ if !needs => NextHopState::Unneeded,
            Some((
                state @ (NeighbourState::Reachable
                | NeighbourState::Stale
                | NeighbourState::Delay
                | NeighbourState::Probe
                | NeighbourState::NoArp
                | NeighbourState::Permanent),
                Some(mac),
            )) => NextHopState::Known { mac, state },
            found => match link.and_then(Link::unasked) {
                Some(mac) => NextHopState::Known {
                    mac,
                    state: NeighbourState::NoArp,
                },
                None => NextHopState::Asked {
                    state: found.map(|(state, _)| state),
                },
            },
        };
        let text = match known {
            NextHopState::Unneeded => format!("{next_hop}: no Ethernet address is needed"),
            NextHopState::Known { mac, state } => format!("{next_hop} is at {mac} ({state})"),
            NextHopState::Asked { state: None } => format!("{next_hop} is asked first"),
            NextHopState::Asked { state: Some(state) } => {
                format!("{next_hop} is asked again: {state}")
            }
        };
        self.note(Place::Neighbour, Outcome::Passes, text);
        known
    }
}
