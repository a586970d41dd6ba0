//! What the kernel is asked about the packet's way, and where its answer is not what it does.

use netpath_common::{Family, Ifindex};

use super::{Going, Walk};
use crate::{
    kernel_way::{KernelWayError, Transport, Unknown},
    netlink::{Lookup, NextHop, NoWay, Resolved},
};

/// Why a way is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The packet came in by this interface.
    CameBy(Ifindex),
    /// It is sent.
    Sent,
    /// It was marked or translated after it had a way.
    Changed,
}

impl Walk<'_> {
    /// Asks for the packet's way.
    pub(super) fn resolve(&mut self, why: Why) -> Going<Result<Resolved, NoWay>> {
        let family = self.family();
        let ends = self.packet.tuple();
        // `ip_route_me_harder` knows no ports, unless the rules look at them.
        let looks = why != Why::Changed || self.state.routes_by_ports(family);
        let ports = match self.packet.transport {
            Transport::Tcp { .. } | Transport::Udp { .. } if looks => {
                Some((ends.source_port, ends.destination_port))
            }
            _ => None,
        };
        let found = self.kernel.resolve(&Lookup {
            iif: match why {
                Why::CameBy(ifindex) => Some(ifindex),
                Why::Sent | Why::Changed => None,
            },
            oif: None,
            source: Some(self.packet.source),
            destination: self.packet.destination,
            tos: self.packet.tos & 0xfc,
            mark: self.packet.mark,
            protocol: looks.then(|| self.packet.protocol()),
            ports,
            flow_label: self.packet.flow_label,
        })?;
        Ok(match found {
            Ok(way) => Ok(self.spread(way, why)?),
            refused => refused,
        })
    }

    /// Among several next hops the kernel chooses by a hash. What it is told in a question is all that counts, but for hash
    /// policies that look into the packet, and for IPv4's way of what was changed, which no question is alike.
    fn spread(&mut self, way: Resolved, why: Why) -> Result<Resolved, KernelWayError> {
        let state = self.state;
        let Some(route) = state.multipath(&way, self.packet.destination) else {
            return Ok(way);
        };
        let tree = match self.family() {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        let key = format!("{tree}/fib_multipath_hash_policy");
        let is_told = match self.kernel.setting(&key)?.unwrap_or(0) {
            0 => true,
            1 => why != Why::Changed || self.family() == Family::V6,
            _ => false,
        };
        if is_told {
            return Ok(way);
        }
        let possible: Vec<&NextHop> = route
            .next_hops
            .iter()
            .filter(|hop| !hop.dead && hop.ifindex.is_some())
            .collect();
        let so: Vec<String> = possible
            .iter()
            .map(|hop| match hop.via {
                Some(via) => via.to_string(),
                None => "on the link".to_owned(),
            })
            .collect();
        if so.is_empty() {
            return Ok(way);
        }
        let what = format!("which next hop to {}", route.dst);
        let chosen = possible[self.suppose(Unknown { what, rule: None }, &so)];
        Ok(Resolved {
            via: chosen.via,
            ifindex: chosen.ifindex.unwrap_or(way.ifindex),
            ..way
        })
    }
}
