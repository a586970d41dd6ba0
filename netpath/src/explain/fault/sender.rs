//! What the fast path drops for whoever sends it.

use netpath_common::DropReason;

use super::{Doctor, command, ip};
use crate::{
    explain::{ExplainError, obstacle::Obstacle, places::At},
    finding::Finding,
    netlink::{Route, Table},
};

impl Doctor<'_> {
    pub(super) fn fast(&self, reason: DropReason) -> Result<Finding, ExplainError> {
        let packet = &self.fault.packet;
        let here = self.name(self.fault.place).to_owned();
        let sender = match self.fault.ingress {
            Some(at) => self.places.behind(at)?,
            None => None,
        };
        let Some(sender) = sender else {
            let (kind, problem) = match reason {
                DropReason::Spoofed => (
                    Obstacle::Spoofed,
                    format!(
                        "{} is an address of {here} or of an endpoint there, and nobody outside may send from it",
                        packet.source
                    ),
                ),
                other => (
                    Obstacle::Dropped,
                    format!("the fast path drops it: {}", other.means()),
                ),
            };
            return Ok(self.found(kind, problem, kind.kind().cure.to_owned()));
        };
        let name = self.name(sender.place);
        let (kind, problem, cure) = match reason {
            DropReason::Spoofed | DropReason::MartianSource => {
                let own = self.places.addresses(sender.place);
                let own: Vec<String> = own
                    .iter()
                    .filter(|it| it.is_ipv4() == packet.source.is_ipv4())
                    .map(ToString::to_string)
                    .collect();
                let problem = format!(
                    "{name} sends from {}, which is none of its addresses ({})",
                    packet.source,
                    own.join(", ")
                );
                (Obstacle::Spoofed, problem, self.unspoof(sender, &own)?)
            }
            DropReason::NotReady => (
                Obstacle::NotReady,
                format!("the interface of {name} is not ready: netpath lets nothing in by it"),
                Obstacle::NotReady.kind().cure.to_owned(),
            ),
            DropReason::PacketTooBig => {
                let problem = format!(
                    "the packet has {} bytes, and the path to {} takes fewer",
                    packet.length, packet.destination
                );
                (
                    Obstacle::TooBig,
                    problem,
                    "send smaller packets (`--size`)".to_owned(),
                )
            }
            other => (
                Obstacle::Dropped,
                format!("the fast path drops it: {}", other.means()),
                Obstacle::Dropped.kind().cure.to_owned(),
            ),
        };
        Ok(self.found(kind, problem, cure))
    }

    /// The endpoint has an address that nobody gave it by netpath: without it the kernel there takes one of its own.
    pub(super) fn unspoof(&self, sender: At, own: &[String]) -> Result<String, ExplainError> {
        let (name, source) = (self.name(sender.place), self.fault.packet.source);
        let state = self.places.state(sender.place)?;
        let mut routes = state.routes.iter().filter(|route| !Table::Local.has(route));
        if let (Some(route), Some(own)) = (routes.find(|it| it.source == Some(source)), own.first())
        {
            let line = command(
                &self.entry(sender.place),
                self.with_source(sender, route, own)?,
            );
            return Ok(format!(
                "have {name}'s route prefer an address of its own: {line}; or give {source} to {name} in its topology file"
            ));
        }
        let mut addresses = state.addresses.iter();
        let found = addresses.find(|(_, it)| it.address.addr() == source);
        Ok(match found {
            Some((ifindex, it)) => {
                let line = format!("ip addr del {} dev {}", it.address, state.dev(*ifindex));
                let line = command(&self.entry(sender.place), line);
                format!(
                    "take the address away, so that {name} sends from its own: {line}; or give it to {name} in its topology file"
                )
            }
            None => format!("send from {}", own.join(" or ")),
        })
    }

    /// A route, with another source that is preferred.
    pub(super) fn with_source(
        &self,
        sender: At,
        route: &Route,
        source: &str,
    ) -> Result<String, ExplainError> {
        let mut line = format!("{} route replace {}", ip(route.dst.addr()), route.dst);
        if let [hop] = route.next_hops.as_slice() {
            line += &hop.via.map(|via| format!(" via {via}")).unwrap_or_default();
            if let Some(ifindex) = hop.ifindex {
                let dev = self.places.state(sender.place)?.dev(ifindex);
                line += &format!(" dev {dev}");
            }
            line += if hop.onlink { " onlink" } else { "" };
        }
        let (protocol, table, metric) = (route.protocol, route.table, route.metric);
        Ok(format!(
            "{line} proto {protocol} table {table} metric {metric} src {source}"
        ))
    }
}
