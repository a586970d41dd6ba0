//! Interfaces.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::{Ifindex, Mac};

use super::{
    super::{Framing, Link, Op, Place, World, observed::broadcast},
    UNMADE,
    addresses::forget_source,
};

use crate::model::is_forwardable;

/// The MTU of a new veth, in bytes (`ETH_DATA_LEN` in linux/if_ether.h).
const ETHERNET_MTU: u32 = 1500;

impl World {
    /// The other end of a veth pair of netpath's: where it is, its MAC, and its name there if that is recorded.
    pub(super) fn peer(&self, place: &Place, mac: Mac) -> Option<(Place, Mac, String)> {
        let node = self.recorded.as_ref()?;
        let endpoints = node.endpoints.iter().map(|(name, endpoint)| {
            let place = Place::Endpoint(name.clone());
            let dev = endpoint.dev.clone();
            (endpoint.host_mac, place, endpoint.endpoint_mac, dev)
        });
        let uplinks = node.uplinks.values().filter(|uplink| uplink.made);
        let uplinks = uplinks.map(|uplink| {
            let place = Place::Wire(uplink.wire.clone());
            (uplink.mac, place, uplink.port_mac, String::new())
        });
        endpoints
            .chain(uplinks)
            .find_map(|(here, other, there, dev)| {
                if *place == Place::Node && mac == here {
                    Some((other, there, dev))
                } else if *place == other && mac == there {
                    Some((Place::Node, here, String::new()))
                } else {
                    None
                }
            })
    }

    /// Where the other end of a veth is, and its index.
    pub(super) fn other_end(&self, place: &Place, link: &Link) -> Option<(Place, Ifindex)> {
        if *place != Place::Node {
            return Some((Place::Node, link.other_end?));
        }
        let endpoints = self.observed.endpoints.iter();
        let endpoints = endpoints.map(|(name, there)| (Place::Endpoint(name.clone()), there));
        let wires = self.observed.wires.iter();
        let wires = wires.map(|(name, there)| (Place::Wire(name.clone()), there));
        endpoints.chain(wires).find_map(|(place, there)| {
            let is_it = |other: &&Link| other.other_end == Some(link.ifindex);
            let other = there.links.iter().find(is_it)?;
            Some((place, other.ifindex))
        })
    }

    /// Takes away an interface, its peer, and all that the kernel keeps for them.
    pub(super) fn remove_link(&mut self, place: &Place, ifindex: Ifindex) {
        let Some(link) = self.remove_one_link(place, ifindex) else {
            return;
        };
        if let Some((other, index)) = self.other_end(place, &link) {
            self.remove_one_link(&other, index);
            return;
        }
        let Some((other, mac, dev)) = link.mac.and_then(|mac| self.peer(place, mac)) else {
            return;
        };
        // Under its own name it goes whatever MAC somebody has given it.
        let there = self.namespace(&other);
        let peer = there.and_then(|there| there.link_with(mac).or_else(|| there.link(&dev)));
        if let Some(index) = peer.map(|peer| peer.ifindex) {
            self.remove_one_link(&other, index);
        }
    }

    pub(super) fn remove_one_link(&mut self, place: &Place, ifindex: Ifindex) -> Option<Link> {
        let namespace = self.namespace_mut(place);
        let position = namespace
            .links
            .iter()
            .position(|link| link.ifindex == ifindex)?;
        let link = namespace.links.remove(position);
        namespace
            .routes
            .retain(|route| route.ifindex != Some(ifindex));
        namespace
            .neighbours
            .retain(|neighbour| neighbour.ifindex != ifindex);
        let scope = format!("/conf/{}/", link.name);
        namespace.sysctls.retain(|key, _| !key.contains(&scope));
        for address in &link.addresses {
            forget_source(namespace, address.addr());
        }
        if *place == Place::Node {
            self.forget_own(&link.addresses);
            self.observed
                .attached
                .retain(|(index, _)| *index != ifindex);
            self.observed.loose.retain(|(index, _)| *index != ifindex);
            // The kernel takes such an entry out itself (`dev_map_notification`).
            self.observed
                .maps
                .devices
                .retain(|_, index| *index != ifindex);
        }
        Some(link)
    }

    pub(super) fn change_link(&mut self, place: &Place, dev: &str, change: impl FnOnce(&mut Link)) {
        let links = &mut self.namespace_mut(place).links;
        if let Some(link) = links.iter_mut().find(|link| link.name == dev) {
            change(link);
        }
    }

    pub(super) fn new_ifindex(&self, place: &Place) -> Ifindex {
        let links = self.namespace(place).map_or(&[][..], |there| &there.links);
        let largest = links.iter().map(|link| link.ifindex.0).max().unwrap_or(0);
        // Nor one that the maps or records still hold something of: the kernel gives no index twice.
        let maps = &self.observed.maps;
        let known = maps.interfaces.keys().map(|index| index.0);
        let node = self.recorded.iter();
        let uplinks = node.clone().flat_map(|node| node.uplinks.values());
        let endpoints = node.flat_map(|node| node.endpoints.values());
        let recorded = uplinks.map(|it| it.ifindex.0);
        let recorded = recorded.chain(endpoints.map(|it| it.ifindex.0));
        let largest = known.chain(recorded).fold(largest, u32::max);
        Ifindex(largest.max(UNMADE) + 1)
    }

    pub(super) fn add_link(&mut self, place: &Place, name: &str, mac: Option<Mac>) {
        let link = Link {
            ifindex: self.new_ifindex(place),
            name: name.to_owned(),
            mac,
            framing: Framing::Ethernet,
            veth: mac.is_some(),
            up: false,
            carrier: false,
            no_arp: false,
            mtu: ETHERNET_MTU,
            controller: Ifindex(0),
            other_end: None,
            xdp: false,
            addresses: Vec::new(),
            no_sources: Default::default(),
            altnames: Vec::new(),
        };
        let census = &mut self.observed.census;
        if *place == Place::Node
            && let Some(waiting) = census.coming.get(name)
        {
            census.interfaces.insert(link.ifindex, waiting.clone());
        }
        self.namespace_mut(place).links.push(link);
    }

    pub(super) fn apply_to_link(&mut self, op: &Op) {
        match op {
            Op::AddVeth {
                dev,
                mac,
                place,
                peer,
                peer_mac,
            } => {
                self.add_link(&Place::Node, dev, Some(*mac));
                self.add_link(place, peer, Some(*peer_mac));
                let outside = self.observed.node.link(dev).map(|link| link.ifindex);
                self.change_link(place, peer, |link| link.other_end = outside);
            }
            Op::AddBridge { place, dev } => self.add_link(place, dev, None),
            Op::SetController { place, dev, bridge } => {
                let there = self.namespace(place).and_then(|there| there.link(bridge));
                let index = there.map_or(Ifindex(0), |bridge| bridge.ifindex);
                let mut mac = there.and_then(|bridge| bridge.mac);
                self.change_link(place, dev, |link| {
                    link.controller = index;
                    // A bridge has the least of its ports' addresses (`br_stp_recalculate_bridge_id`).
                    mac = [mac, link.mac].into_iter().flatten().min();
                });
                self.change_link(place, bridge, |link| link.mac = mac);
            }
            Op::DeleteLink { place, dev, .. } => self.delete_link(place, dev),
            Op::DeleteVeths(veths) => {
                for (dev, _) in veths {
                    self.delete_link(&Place::Node, dev);
                }
            }
            Op::SetUp { place, dev } => {
                self.change_link(place, dev, |link| link.up = true);
                if *place == Place::Node {
                    self.observed.own.extend(self.broadcasts(dev));
                }
            }
            Op::SetDown { place, dev } => self.set_down(place, dev),
            Op::Rename { place, dev, to, .. } => self.rename(place, dev, to),
            Op::SetMtu { place, dev, mtu } => {
                self.change_link(place, dev, |link| link.mtu = *mtu);
            }
            Op::SetMac { dev, mac } => {
                self.change_link(&Place::Node, dev, |link| link.mac = Some(*mac));
                let ifindex = self.ifindex(dev);
                // `neigh_changeaddr`.
                let neighbours = &mut self.observed.node.neighbours;
                neighbours.retain(|found| found.ifindex != ifindex);
            }
            _ => {}
        }
    }

    /// The broadcast addresses of one of the node's interfaces, which it has while that is up.
    fn broadcasts(&self, dev: &str) -> Vec<IpAddr> {
        let link = self.observed.node.link(dev);
        let addresses = link.into_iter().flat_map(|link| &link.addresses);
        let broadcasts = addresses.filter_map(broadcast);
        broadcasts.filter(|it| is_forwardable(*it)).collect()
    }

    /// With an interface that goes down go its routes, its neighbours and its IPv6 addresses (`fib_disable_ip`,
    /// `neigh_ifdown`, `addrconf_ifdown`).
    pub(super) fn set_down(&mut self, place: &Place, dev: &str) {
        let mut gone: Vec<IpNet> = Vec::new();
        self.change_link(place, dev, |link| {
            link.up = false;
            gone.extend(link.addresses.iter().filter(|net| net.addr().is_ipv6()));
            link.addresses.retain(|net| net.addr().is_ipv4());
            link.no_sources.retain(|net| net.addr().is_ipv4());
        });
        let namespace = self.namespace_mut(place);
        for address in &gone {
            forget_source(namespace, address.addr());
        }
        let Some(ifindex) = namespace.link(dev).map(|link| link.ifindex) else {
            return;
        };
        let routes = &mut namespace.routes;
        routes.retain(|route| route.ifindex != Some(ifindex));
        let neighbours = &mut namespace.neighbours;
        neighbours.retain(|found| found.ifindex != ifindex);
        if *place == Place::Node {
            self.forget_own(&gone);
            for address in self.broadcasts(dev) {
                let mut up = self.observed.node.links.iter().filter(|link| link.up);
                if !up.any(|link| self.broadcasts(&link.name).contains(&address)) {
                    self.observed.own.remove(&address);
                }
            }
        }
    }

    /// Its sysctls are found under the new name from then on; what they were is not asked.
    pub(super) fn rename(&mut self, place: &Place, dev: &str, to: &str) {
        self.change_link(place, dev, |link| to.clone_into(&mut link.name));
        let scope = format!("/conf/{dev}/");
        let sysctls = &mut self.namespace_mut(place).sysctls;
        sysctls.retain(|key, _| !key.contains(&scope));
    }

    pub(super) fn delete_link(&mut self, place: &Place, dev: &str) {
        let link = self.namespace(place).and_then(|there| there.link(dev));
        if let Some(ifindex) = link.map(|link| link.ifindex) {
            self.remove_link(place, ifindex);
        }
    }
}
