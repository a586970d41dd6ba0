//! What is done with interfaces, addresses, neighbours, routes and sysctls.

use std::os::fd::AsFd as _;

use netpath_common::Mac;

use super::{
    super::{error::ProvisionError, random},
    Site,
};
use crate::{
    netlink::{self, Link, Netlink, Replace, VethEnd},
    netns::Inside,
    reconcile::{AddressKind, NewRoute, Op, OwnRoute, Place, Refusal, Replaces},
    sysctl,
};

impl Site<'_> {
    pub(super) fn links(
        &mut self,
        inside: &Inside<'_>,
        netlink: &Netlink,
        op: &Op,
    ) -> Result<(), ProvisionError> {
        match op {
            Op::SetSysctl { key, value, .. } => Ok(sysctl::set(inside, key, value)?),
            Op::AddVeth {
                dev,
                mac,
                place,
                peer,
                peer_mac,
            } => self.add_veth(netlink, place, end(dev, *mac), end(peer, *peer_mac)),
            Op::AddBridge { dev, .. } => Ok(netlink.add_bridge(dev)?),
            Op::SetController { dev, bridge, .. } => {
                let bridge = link(netlink, bridge)?;
                Ok(netlink.set_controller(&link(netlink, dev)?, bridge.ifindex)?)
            }
            Op::DeleteLink { place, dev, mac } => self.delete_link(netlink, place, dev, *mac),
            Op::DeleteVeths(veths) => self.delete_veths(netlink, veths),
            Op::SetUp { dev, .. } => Ok(netlink.set_up(&link(netlink, dev)?)?),
            Op::SetDown { dev, .. } => Ok(netlink.set_down(&link(netlink, dev)?)?),
            Op::Rename {
                place,
                dev,
                mac,
                to,
            } => self.rename(netlink, place, (dev, *mac), to),
            Op::SetMtu { dev, mtu, .. } => Ok(netlink.set_mtu(&link(netlink, dev)?, *mtu)?),
            Op::SetMac { dev, mac } => Ok(netlink.set_mac(&link(netlink, dev)?, *mac)?),
            Op::AwaitOperational { dev, .. } => Ok(netlink.await_operational(dev)?),
            Op::AddAddress {
                dev, address, kind, ..
            } => {
                let link = link(netlink, dev)?;
                match kind {
                    AddressKind::OnLink => netlink.add_address(&link, *address, true)?,
                    AddressKind::Alone => netlink.add_address(&link, *address, false)?,
                    AddressKind::NoSource => netlink.add_host_address(&link, *address)?,
                }
                Ok(())
            }
            Op::RemoveAddress { dev, address, .. } => {
                Ok(netlink.delete_address(&link(netlink, dev)?, *address)?)
            }
            Op::AddNeighbour {
                dev,
                address,
                mac,
                is_router,
                ..
            } => {
                let link = link(netlink, dev)?;
                Ok(netlink.add_neighbour(&link, (*address, *mac), *is_router)?)
            }
            Op::RemoveNeighbour { dev, address, .. } => {
                Ok(netlink.delete_neighbour(&link(netlink, dev)?, *address)?)
            }
            Op::AddRoute(_, route) => add_route(netlink, route),
            Op::RemoveRoute(_, old) => Ok(netlink.delete_route(&own_route(old))?),
            op => Err(ProvisionError::NoSuchPlace(format!("{op:?}"))),
        }
    }

    fn add_veth(
        &mut self,
        netlink: &Netlink,
        place: &Place,
        here: VethEnd<'_>,
        there: VethEnd<'_>,
    ) -> Result<(), ProvisionError> {
        let netns = self.open(place)?;
        match netlink.add_veth(here, there, netns.as_fd()) {
            Err(error) if error.errno() == Some(libc::EEXIST) => {
                let taken = if netlink.link(here.name)?.is_some() {
                    here.name
                } else {
                    there.name
                };
                Err(self.made_meanwhile(place, taken))
            }
            result => Ok(result?),
        }
    }

    /// One that has become somebody else's since it was looked at is left alone.
    fn delete_link(
        &self,
        netlink: &Netlink,
        place: &Place,
        dev: &str,
        mac: Mac,
    ) -> Result<(), ProvisionError> {
        match netlink.link(dev)? {
            Some(link) if link.mac == Some(mac) => Ok(netlink.delete_link(&link)?),
            Some(_) => Err(self.made_meanwhile(place, dev)),
            None => Ok(()),
        }
    }

    /// One that has become somebody else's since it was looked at is left alone, and so is one that has the new name.
    fn rename(
        &self,
        netlink: &Netlink,
        place: &Place,
        (dev, mac): (&str, Mac),
        to: &str,
    ) -> Result<(), ProvisionError> {
        let link = link(netlink, dev)?;
        if link.mac != Some(mac) {
            return Err(self.made_meanwhile(place, dev));
        }
        match netlink.rename(&link, to) {
            Err(error) if error.errno() == Some(libc::EEXIST) => {
                Err(self.made_meanwhile(place, to))
            }
            result => Ok(result?),
        }
    }

    /// As [`Self::delete_link`], for many of the node's.
    fn delete_veths(
        &self,
        netlink: &Netlink,
        veths: &[(String, Mac)],
    ) -> Result<(), ProvisionError> {
        let links = netlink.links()?;
        let mut ours = Vec::new();
        for (dev, mac) in veths {
            match links.iter().find(|link| link.name == *dev) {
                Some(link) if link.mac == Some(*mac) => ours.push(link),
                Some(_) => return Err(self.made_meanwhile(&Place::Node, dev)),
                None => {}
            }
        }
        match ours.as_slice() {
            [] => Ok(()),
            [link] => Ok(netlink.delete_link(link)?),
            links => Ok(netlink.delete_links(links, random()? as u32)?),
        }
    }

    fn made_meanwhile(&self, place: &Place, dev: &str) -> ProvisionError {
        let refused = Refusal::MadeMeanwhile(dev.to_owned()).of(self.told(place));
        ProvisionError::from(refused)
    }
}

fn end(name: &str, mac: Mac) -> VethEnd<'_> {
    VethEnd { name, mac }
}

/// The interface of this name.
pub(super) fn link(netlink: &Netlink, dev: &str) -> Result<Link, ProvisionError> {
    netlink.link(dev)?.ok_or_else(|| ProvisionError::NotUp {
        object: "interface",
        name: dev.to_owned(),
    })
}

fn add_route(netlink: &Netlink, route: &NewRoute) -> Result<(), ProvisionError> {
    let ifindex = match &route.dev {
        Some(dev) => Some(link(netlink, dev)?.ifindex),
        None => None,
    };
    let to = netlink::NewRoute {
        dst: route.dst,
        via: route.via,
        ifindex,
        onlink: route.onlink,
        source: route.source,
    };
    match &route.replaces {
        Replaces::Any => Ok(netlink.add_route(&to, Replace::Any)?),
        Replaces::These(old) => {
            let old: Vec<netlink::NewRoute> = old.iter().map(own_route).collect();
            Ok(netlink.exchange_routes(&old, &to)?)
        }
    }
}

fn own_route(old: &OwnRoute) -> netlink::NewRoute {
    netlink::NewRoute {
        dst: old.dst,
        via: old.via,
        ifindex: old.ifindex,
        onlink: false,
        source: old.source,
    }
}
