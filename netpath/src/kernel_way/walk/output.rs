//! Behind FORWARD or OUTPUT: POSTROUTING, fragments, the neighbour, the interface.

use std::net::IpAddr;

use netpath_common::{Family, Ifindex};

use super::{Going, Walk, stop};
use crate::{
    kernel_way::{Cause, End, Leaving, NextHopState, Outcome, Place, Transport, kernel::LOOPBACK},
    netfilter::nft::Hook,
    netlink::{NeighbourState, Resolved, XfrmDirection},
};

/// `ARPHRD_ETHER` of linux/if_arp.h: what has Ethernet addresses.
const ETHERNET: u16 = 1;

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
            Family::V6 => self.fragments_v6(&route, &out, forwarded)?,
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
        if self.packet.length <= mtu {
            return Ok(None);
        }
        if self.packet.dont_fragment {
            return self.answer(Place::Mtu, Cause::TooBig { mtu }, 3, 4);
        }
        Ok(Some(mtu))
    }

    /// `ip6_finish_output`: here counts what was learnt of the path, or what the route has, also of what is forwarded. Only who sends a
    /// packet cuts it (`ip6_append_data`); TCP makes none that is too long.
    fn fragments_v6(&mut self, route: &Resolved, out: &str, forwarded: bool) -> Going<Option<u32>> {
        let mtu = match route.mtu {
            Some(mtu) => mtu,
            None => self.interface_mtu_v6(out)?,
        };
        if self.packet.length <= mtu {
            return Ok(None);
        }
        if forwarded || matches!(self.packet.transport, Transport::Tcp { .. }) {
            return self.answer(Place::Mtu, Cause::TooBig { mtu }, 2, 0);
        }
        Ok(Some(mtu))
    }

    fn neighbour(&mut self, ifindex: Ifindex, next_hop: IpAddr) -> NextHopState {
        let state = self.state;
        let link = state.link(ifindex);
        let needs = link.is_some_and(|link| link.hardware == ETHERNET && !link.no_arp);
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
            Some((state, _)) => NextHopState::Asked { state: Some(state) },
            None => NextHopState::Asked { state: None },
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
