//! Interfaces of places: the programs on them, and what they lead to.

use std::net::IpAddr;

use netpath_common::{Ifindex, Mac, ProgramKind};

use super::{PlaceId, Places};
use crate::{
    datapath::Datapath,
    explain::{ExplainError, way::PlaceKind},
    kernel_way::State,
    model,
    netlink::Link,
    netns::Netns,
    provision::UplinkStatus,
};

/// An interface of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct At {
    pub place: PlaceId,
    pub ifindex: Ifindex,
}

/// By what a packet is kept from the kernel.
pub(in super::super) struct Hooked<'a> {
    pub datapath: &'a Datapath,
    pub program: ProgramKind,
    /// Whether the program runs there.
    pub is_attached: bool,
}

impl Places {
    /// The program that sees what comes in by an interface.
    pub(in super::super) fn hooked(&self, at: At) -> Result<Option<Hooked<'_>>, ExplainError> {
        if self.kind(at.place) == PlaceKind::Endpoint {
            return Ok(None);
        }
        let mut endpoints = self.node(at.place).endpoints.iter();
        let is_endpoint = endpoints.any(|it| it.interface.ifindex == at.ifindex);
        let program = match (self.uplink(at).is_some(), is_endpoint) {
            (true, _) => ProgramKind::FromUplink,
            (false, true) => ProgramKind::FromEndpoint,
            (false, false) => return Ok(None),
        };
        let Some(datapath) = self.datapath(at.place) else {
            return Ok(None);
        };
        Ok(Some(Hooked {
            datapath,
            program,
            is_attached: self.is_attached(at, program)?,
        }))
    }

    /// Whether what the kernel sends out by an interface is noted there.
    pub(in super::super) fn is_noted(&self, at: At) -> Result<bool, ExplainError> {
        let program = match self.uplink(at).is_some() {
            true => ProgramKind::ToUplink,
            false => ProgramKind::ToEndpoint,
        };
        self.is_attached(at, program)
    }

    fn is_attached(&self, at: At, program: ProgramKind) -> Result<bool, ExplainError> {
        let (Some(datapath), Some(link)) = (self.datapath(at.place), self.link(at)?) else {
            return Ok(false);
        };
        let netns = self.place(at.place).netns()?;
        Ok(netns.enter(|inside| datapath.is_attached(inside, program, &link.name))??)
    }

    pub(in super::super) fn link(&self, at: At) -> Result<Option<&Link>, ExplainError> {
        Ok(self.state(at.place)?.link(at.ifindex))
    }

    /// The name of an interface, or its number where it is gone.
    pub(in super::super) fn dev(&self, at: At) -> Result<String, ExplainError> {
        Ok(self.state(at.place)?.dev(at.ifindex))
    }

    /// The endpoint behind a node's interface, and its own interface there.
    pub(in super::super) fn behind(&self, at: At) -> Result<Option<At>, ExplainError> {
        let node = &self.node(at.place).name;
        let of_node = self.ids().filter(|it| self.node(*it).name == *node);
        for id in of_node {
            let Some(endpoint) = self.endpoint(id) else {
                continue;
            };
            if endpoint.interface.ifindex != at.ifindex {
                continue;
            }
            let links = &self.state(id)?.links;
            let mac = links
                .iter()
                .find(|link| link.mac.map(|mac| mac.to_string()).as_deref() == Some(&endpoint.mac));
            let link = mac.or_else(|| links.iter().find(|link| link.is_called(&endpoint.dev)));
            return Ok(link.map(|link| At {
                place: id,
                ifindex: link.ifindex,
            }));
        }
        Ok(None)
    }

    /// The node's interface that an endpoint's leads to, where it does.
    pub(in super::super) fn in_front(&self, at: At) -> Result<Option<At>, ExplainError> {
        let Some(endpoint) = self.endpoint(at.place) else {
            return Ok(None);
        };
        let node = self.node_of(at.place);
        let host = At {
            place: node,
            ifindex: endpoint.interface.ifindex,
        };
        Ok((self.behind(host)? == Some(at)).then_some(host))
    }

    /// The uplink that an interface of a node is.
    pub(in super::super) fn uplink(&self, at: At) -> Option<&UplinkStatus> {
        let mut uplinks = self.node(at.place).uplinks.iter();
        uplinks.find(|it| it.interface.ifindex == at.ifindex)
    }

    /// Interfaces of other nodes on the same wire; of whom it is not known on which they are, all that are on none.
    pub(in super::super) fn beside(&self, at: At) -> Result<Vec<At>, ExplainError> {
        let wire = self.uplink(at).and_then(|uplink| uplink.wire.as_ref());
        let mut found = Vec::new();
        for place in self.nodes().filter(|it| *it != at.place) {
            let on_wire =
                |uplink: &&UplinkStatus| uplink.wire.is_some() && uplink.wire.as_ref() == wire;
            let uplinks = self.node(place).uplinks.iter().filter(on_wire);
            found.extend(uplinks.map(|uplink| At {
                place,
                ifindex: uplink.interface.ifindex,
            }));
            if wire.is_some() {
                continue;
            }
            // One that has gone meanwhile has none.
            let Ok(state) = self.state(place) else {
                continue;
            };
            let links = state.links.iter().map(|link| At {
                place,
                ifindex: link.ifindex,
            });
            found.extend(
                links.filter(|other| self.uplink(*other).is_none_or(|it| it.wire.is_none())),
            );
        }
        Ok(found)
    }

    /// Whether all that is on an uplink's wire is known: on a lab's, where each port of its bridge is an uplink's.
    pub(in super::super) fn is_closed(&self, at: At) -> Result<bool, ExplainError> {
        let Some(wire) = self.uplink(at).and_then(|uplink| uplink.wire.as_ref()) else {
            return Ok(false);
        };
        let Ok(name) = wire.parse() else {
            return Ok(false);
        };
        let netns = Netns::named(model::wire_namespace(&name).as_ref())?;
        let state = netns.enter(State::read)??;
        let on_wire = self.nodes.iter().flat_map(|node| {
            let its = node
                .uplinks
                .iter()
                .filter(|it| it.wire.as_ref() == Some(wire));
            its.map(|uplink| (node.name.as_str(), uplink.interface.dev.as_str()))
        });
        let known: Vec<String> = on_wire
            .filter_map(|(node, dev)| {
                let port = model::wire_port(&node.parse().ok()?, &dev.parse().ok()?);
                Some(port.to_string())
            })
            .collect();
        let mut ports = state
            .links
            .iter()
            .filter(|link| link.controller != Ifindex(0));
        Ok(ports.all(|port| known.contains(&port.name)))
    }

    /// Who of these has an Ethernet address.
    pub(in super::super) fn with_mac(
        &self,
        among: &[At],
        mac: Mac,
    ) -> Result<Option<At>, ExplainError> {
        for at in among {
            if self.link(*at)?.and_then(|link| link.mac) == Some(mac) {
                return Ok(Some(*at));
            }
        }
        Ok(None)
    }

    /// Who of these has an IP address, on any of its interfaces: the kernel answers for all of them.
    pub(in super::super) fn with_address(
        &self,
        among: &[At],
        address: IpAddr,
    ) -> Result<Option<At>, ExplainError> {
        let mut other = None;
        for at in among {
            let state = self.state(at.place)?;
            let mut own = state.addresses.iter();
            if own.any(|(its, found)| *its == at.ifindex && found.address.addr() == address) {
                return Ok(Some(*at));
            }
            if address.is_ipv4() && state.has(address) && self.uplink(*at).is_some() {
                other = Some(*at);
            }
        }
        Ok(other)
    }
}
