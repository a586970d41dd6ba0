//! From one namespace into the next: who gets a frame that leaves by an interface.

use std::net::IpAddr;

use netpath_common::Mac;

use super::{
    ExplainError,
    places::{At, Places},
    walk::{Fault, Position, Why},
    way::WayEnd,
};
use crate::{
    kernel_way::{Entry, NextHopState, Packet},
    netlink::{Link, LinkKind, NeighbourState},
};

/// What a veth takes beyond its MTU: room for a VLAN tag (`is_skb_forwardable` in net/core/dev.c).
const VLAN_TAG: u32 = 4;

/// A packet that leaves.
#[derive(Clone, Debug)]
pub(super) struct Crossing {
    pub from: At,
    /// To this next hop; without one there is but the other end.
    pub next_hop: Option<IpAddr>,
    pub neighbour: NextHopState,
    /// The kernel sends it, so that the other end of a veth measures it.
    pub by_kernel: bool,
}

/// Where it gets.
pub(super) enum Beyond {
    /// Into this namespace.
    On(Position),
    /// Out of sight.
    Outside(WayEnd),
    /// Nowhere.
    Lost(Box<Fault>, String),
}

/// What a namespace knows of a next hop.
pub(super) fn neighbour(
    places: &Places,
    from: At,
    next_hop: Option<IpAddr>,
) -> Result<NextHopState, ExplainError> {
    let state = places.state(from.place)?;
    let Some(next_hop) = next_hop else {
        return Ok(NextHopState::Unneeded);
    };
    let link = state.link(from.ifindex);
    if link.is_some_and(|link| !link.is_ethernet()) {
        return Ok(NextHopState::Unneeded);
    }
    let mut known = state.neighbours.iter();
    let found = known.find(|it| it.ifindex == from.ifindex && it.address == next_hop);
    use NeighbourState::{Delay, NoArp, Permanent, Probe, Reachable, Stale};
    Ok(match found.map(|it| (it.state, it.mac)) {
        Some((state @ (Reachable | Stale | Delay | Probe | Permanent | NoArp), Some(mac))) => {
            NextHopState::Known { mac, state }
        }
        found => match link.and_then(Link::unasked) {
            Some(mac) => NextHopState::Known { mac, state: NoArp },
            None => NextHopState::Asked {
                state: found.map(|(state, _)| state),
            },
        },
    })
}

impl Crossing {
    /// Who gets it.
    pub(super) fn go(&self, places: &Places, packet: Packet) -> Result<Beyond, ExplainError> {
        // A mark is its namespace's: veths take it off between two (`skb_scrub_packet`).
        let packet = Packet { mark: 0, ..packet };
        if let Some(target) = self.other_end(places)? {
            return match self.neighbour {
                NextHopState::Known { mac, .. } if !has_mac(places, target, mac)? => {
                    Ok(self.lost(packet, Why::Nobody(self.next_hop, mac)))
                }
                _ => self.arrive(places, target, packet),
            };
        }
        let beside = places.beside(self.from)?;
        match self.neighbour {
            NextHopState::Known { mac, .. } => match places.with_mac(&beside, mac)? {
                Some(target) => self.arrive(places, target, packet),
                // To itself, or to nobody of those that there are.
                None if has_mac(places, self.from, mac)? || places.is_closed(self.from)? => {
                    Ok(self.lost(packet, Why::Nobody(self.next_hop, mac)))
                }
                None => self.outside(places, packet, Some(mac)),
            },
            NextHopState::Asked { state } => {
                let Some(next_hop) = self.next_hop else {
                    return self.outside(places, packet, None);
                };
                match places.with_address(&beside, next_hop)? {
                    Some(target)
                        if places
                            .link(target)?
                            .is_some_and(|link| link.no_arp && link.up) =>
                    {
                        let fault = Fault {
                            place: target.place,
                            ingress: Some(target),
                            egress: None,
                            why: Why::Mute(target),
                            packet,
                            is_off: false,
                        };
                        let text = format!("nobody answers for {next_hop}");
                        Ok(Beyond::Lost(Box::new(fault), text))
                    }
                    Some(target) => match self.misled(places, target, &packet)? {
                        Some((asker, mac)) => {
                            let fault = Fault {
                                place: target.place,
                                ingress: None,
                                egress: Some(target),
                                why: Why::Nobody(Some(asker), mac),
                                packet,
                                is_off: false,
                            };
                            let text = format!("nobody answers for {next_hop}");
                            Ok(Beyond::Lost(Box::new(fault), text))
                        }
                        None => self.arrive(places, target, packet),
                    },
                    None if state == Some(NeighbourState::Failed)
                        || places.is_closed(self.from)? =>
                    {
                        Ok(self.lost(packet, Why::Silent(next_hop)))
                    }
                    None => self.outside(places, packet, None),
                }
            }
            NextHopState::Unneeded => self.outside(places, packet, None),
        }
    }

    /// Whether who is asked for its Ethernet address answers to a wrong one. An ARP reply goes to whom the request came from; in
    /// IPv6 the answer is a packet like others, for which what is known of its destination counts.
    fn misled(
        &self,
        places: &Places,
        target: At,
        packet: &Packet,
    ) -> Result<Option<(IpAddr, Mac)>, ExplainError> {
        let own = places.link(self.from)?.and_then(|link| link.mac);
        let Some(asker) = self.asker(places, packet.source)? else {
            return Ok(None);
        };
        let mut known = places.state(target.place)?.neighbours.iter();
        // What may change is put right by the question itself.
        let fixed = known.find(|it| {
            (it.ifindex, it.address) == (target.ifindex, asker)
                && it.state == NeighbourState::Permanent
        });
        let mac = fixed.and_then(|it| it.mac).filter(|mac| Some(*mac) != own);
        Ok(mac.map(|mac| (asker, mac)))
    }

    /// The address that IPv6 asks from: the packet's source if it is one of the interface, else that on the link
    /// (`ndisc_solicit`, `ndisc_send_ns`).
    fn asker(&self, places: &Places, source: IpAddr) -> Result<Option<IpAddr>, ExplainError> {
        if source.is_ipv4() {
            return Ok(None);
        }
        let addresses = places.state(self.from.place)?.addresses.iter();
        let own = addresses.filter(|(ifindex, _)| *ifindex == self.from.ifindex);
        let mut own = own.map(|(_, found)| found.address.addr());
        let is_link_local =
            |it: &IpAddr| matches!(it, IpAddr::V6(v6) if v6.is_unicast_link_local());
        Ok(match own.clone().any(|it| it == source) {
            true => Some(source),
            false => own.find(is_link_local),
        })
    }

    /// The other end of an endpoint's veth.
    fn other_end(&self, places: &Places) -> Result<Option<At>, ExplainError> {
        Ok(match places.behind(self.from)? {
            Some(at) => Some(at),
            None => places.in_front(self.from)?,
        })
    }

    fn arrive(&self, places: &Places, target: At, packet: Packet) -> Result<Beyond, ExplainError> {
        let (own, link) = (places.link(self.from)?, places.link(target)?);
        let source_mac = own.and_then(|link| link.mac);
        let next = Position {
            place: target.place,
            entry: Entry::By {
                ifindex: target.ifindex,
                source_mac,
            },
            packet,
        };
        let Some(link) = link else {
            return Ok(Beyond::Lost(
                Box::new(Fault::at(&next, Why::Down(target))),
                "the interface is gone".to_owned(),
            ));
        };
        if !link.up {
            let text = format!("{} is down", link.name);
            return Ok(Beyond::Lost(
                Box::new(Fault::at(&next, Why::Down(target))),
                text,
            ));
        }
        // Whoever sends into a veth measures by its other end, but for the fast path, which goes past that. Into an uplink of a lab's
        // the wire's bridge sends.
        let is_measured = self.by_kernel && self.other_end(places)?.is_some();
        let is_of_wire = places.uplink(target).is_some_and(|it| it.wire.is_some());
        let is_veth = link.kind == LinkKind::Veth && (is_measured || is_of_wire);
        if is_veth && next.packet.longest() > link.mtu + VLAN_TAG {
            let text = format!("{} takes no more than {} bytes", link.name, link.mtu);
            return Ok(Beyond::Lost(
                Box::new(Fault::at(&next, Why::Narrow(target))),
                text,
            ));
        }
        Ok(Beyond::On(next))
    }

    fn outside(
        &self,
        places: &Places,
        packet: Packet,
        mac: Option<Mac>,
    ) -> Result<Beyond, ExplainError> {
        Ok(Beyond::Outside(WayEnd::Leaves {
            place: places.place(self.from.place).name.clone(),
            dev: places.dev(self.from)?,
            next_hop: self.next_hop,
            mac,
            packet,
        }))
    }

    fn lost(&self, packet: Packet, why: Why) -> Beyond {
        let text = match &why {
            Why::Silent(next_hop) => format!("nobody answers for {next_hop}"),
            Why::Nobody(_, mac) => format!("nobody there has the Ethernet address {mac}"),
            _ => "it does not get across".to_owned(),
        };
        let fault = Fault {
            place: self.from.place,
            ingress: None,
            egress: Some(self.from),
            why,
            packet,
            is_off: false,
        };
        Beyond::Lost(Box::new(fault), text)
    }
}

fn has_mac(places: &Places, at: At, mac: Mac) -> Result<bool, ExplainError> {
    Ok(places.link(at)?.and_then(|link| link.mac) == Some(mac))
}
