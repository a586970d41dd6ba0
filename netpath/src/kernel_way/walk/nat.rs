//! Network address translation (`nf_nat_inet_fn`, `nf_nat_setup_info`, `get_unique_tuple`).
//!
//! Of other connections those are known that are translated: where one has the same ends already, the kernel takes another
//! port, or drops the packet where the rule leaves no choice.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{At, Going, Walk, track::Phase};
use crate::{
    kernel_way::{Cause, Outcome, Place, RuleAt, Tracked, Transport, Tuple, Unknown},
    netfilter::{
        conntrack,
        nft::{Base, Chain, ChainId, Hook, Translation},
    },
};

/// `NF_NAT_RANGE_*` of linux/netfilter/nf_nat.h.
const RANDOM: u32 = 1 << 2 | 1 << 4;
const OFFSET: u32 = 1 << 5;
const NETMAP: u32 = 1 << 6;
/// So many addresses of a range are followed.
const ADDRESSES: u128 = 8;

/// What a rule translates to.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Range {
    /// The least and the greatest address.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// The least and the greatest port.
    pub ports: Option<(u16, u16)>,
    pub flags: u32,
}

impl Range {
    /// The hosts of one net to those of another.
    pub fn is_netmap(flags: u32) -> bool {
        flags & NETMAP != 0
    }
}

impl Walk<'_> {
    pub(super) fn nat(&mut self, hook: Hook, chains: &[(&ChainId, &Chain, &Base)]) -> Going<()> {
        let end = match hook {
            Hook::Prerouting | Hook::Output => Translation::Destination,
            _ => Translation::Source,
        };
        if self.track.connection.is_none() {
            return Ok(());
        }
        let is_new = matches!(self.track.phase, Phase::New | Phase::Related);
        if is_new && !self.is_done(end) {
            for (id, chain, base) in chains {
                self.base_chain(hook, id, chain, base)?;
                if self.is_done(end) {
                    break;
                }
            }
            self.set_done(end);
        }
        self.translate(end, hook)
    }

    fn is_done(&self, end: Translation) -> bool {
        match end {
            Translation::Source => self.track.source_done,
            Translation::Destination => self.track.destination_done,
        }
    }

    fn set_done(&mut self, end: Translation) {
        match end {
            Translation::Source => self.track.source_done = true,
            Translation::Destination => self.track.destination_done = true,
        }
    }

    /// Gives the packet the end that its connection says it has behind this hook.
    fn translate(&mut self, end: Translation, hook: Hook) -> Going<()> {
        let Some(connection) = self.track.connection else {
            return Ok(());
        };
        let becomes = match self.track.is_reply {
            false => connection.reply.reversed(connection.protocol),
            true => connection.original.reversed(connection.protocol),
        };
        let before = self.packet.tuple();
        let after = match end {
            Translation::Source => Tuple {
                source: becomes.source,
                source_port: becomes.source_port,
                ..before
            },
            Translation::Destination => Tuple {
                destination: becomes.destination,
                destination_port: becomes.destination_port,
                ..before
            },
        };
        if after == before {
            return Ok(());
        }
        self.packet.readdress(after);
        let text = format!("translated: {}", self.packet);
        self.note(Place::Conntrack, Outcome::Changes, text);
        if hook == Hook::Output && after.destination != before.destination {
            self.reroute()?;
        }
        Ok(())
    }

    /// A rule says how an end of the packet's connection is translated.
    pub(in super::super) fn map(
        &mut self,
        at: &At<'_>,
        end: Translation,
        range: Range,
        rule: RuleAt,
    ) -> Going<()> {
        let Some(connection) = self.track.connection else {
            return Ok(());
        };
        let ends = connection.reply.reversed(connection.protocol);
        let (address, port) = match end {
            Translation::Source => (ends.source, ends.source_port),
            Translation::Destination => (ends.destination, ends.destination_port),
        };
        // A source that fits already is kept.
        let fits = end == Translation::Source && range.flags & RANDOM == 0;
        let address = match range.addresses {
            None => address,
            Some((least, greatest)) if fits && (least..=greatest).contains(&address) => address,
            Some((least, greatest)) => self.address(least, greatest, &rule),
        };
        let port = self.port(end, port, range, &rule);
        let becomes = match end {
            Translation::Source => Tuple {
                source: address,
                source_port: port,
                ..ends
            },
            Translation::Destination => Tuple {
                destination: address,
                destination_port: port,
                ..ends
            },
        };
        let mut reply = becomes.reversed(connection.protocol);
        if self.is_taken(connection.protocol, reply) {
            match (range.ports, end) {
                (None, Translation::Source) => {
                    self.any_port(&rule);
                    reply.destination_port = 0;
                }
                _ => self.clash(at, &rule)?,
            }
        }
        self.track.connection = Some(Tracked {
            reply,
            ..connection
        });
        self.set_done(end);
        let what = match end {
            Translation::Source => "source",
            Translation::Destination => "destination",
        };
        let text = format!("{what} translated to {address} port {port}: {}", rule.text);
        self.note_rule(at.place(), Outcome::Changes, text, Some(rule));
        Ok(())
    }

    /// Of several addresses the kernel takes one by a hash.
    fn address(&mut self, least: IpAddr, greatest: IpAddr, rule: &RuleAt) -> IpAddr {
        let (first, last) = (number(least), number(greatest));
        if first >= last {
            return least;
        }
        let count = (last - first + 1).min(ADDRESSES);
        let possible: Vec<IpAddr> = (0..count).map(|at| shifted(least, at)).collect();
        let so: Vec<String> = possible.iter().map(IpAddr::to_string).collect();
        let unknown = Unknown {
            what: format!("which address of {least} to {greatest}"),
            rule: Some(rule.clone()),
        };
        possible[self.suppose(unknown, &so)]
    }

    fn port(&mut self, end: Translation, port: u16, range: Range, rule: &RuleAt) -> u16 {
        let has_ports = matches!(
            self.packet.transport,
            Transport::Tcp { .. } | Transport::Udp { .. }
        );
        if !has_ports {
            return port;
        }
        let is_random = range.flags & (RANDOM | OFFSET) != 0;
        match (range.ports, end) {
            (None, Translation::Destination) => return port,
            (None, Translation::Source) if !is_random => return port,
            (Some((least, greatest)), _) if !is_random && (least..=greatest).contains(&port) => {
                return port;
            }
            (Some((least, _)), Translation::Destination) if !is_random => return least,
            (Some((least, greatest)), _) if least == greatest => return least,
            _ => {}
        }
        self.any_port(rule);
        0
    }

    fn any_port(&mut self, rule: &RuleAt) {
        let unknown = Unknown {
            what: "which port".to_owned(),
            rule: Some(rule.clone()),
        };
        self.leave_open(unknown, "any: it is shown as 0");
    }

    /// Whether another connection's packets look so.
    fn is_taken(&self, protocol: u8, ends: Tuple) -> bool {
        let is_it = |other: &conntrack::Tuple| {
            other.protocol == protocol
                && (other.source, other.source_port) == (ends.source, ends.source_port)
                && (other.destination, other.destination_port)
                    == (ends.destination, ends.destination_port)
        };
        let mut others = self.state.translated.iter();
        others.any(|other| is_it(&other.reply) || is_it(&other.original))
    }

    fn clash(&mut self, at: &At<'_>, rule: &RuleAt) -> Going<()> {
        let unknown = Unknown {
            what: "another connection has these ends already".to_owned(),
            rule: Some(rule.clone()),
        };
        let so = [
            "it is gone by then".to_owned(),
            "the packet is dropped".to_owned(),
        ];
        match self.suppose(unknown, &so) {
            0 => Ok(()),
            _ => self.drop(at.place(), Cause::Rule(rule.clone())),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn shifted(address: IpAddr, by: u128) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4).wrapping_add(by as u32)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6).wrapping_add(by)).into(),
    }
}

/// The same host in the other net: `least` and `greatest` are the ends of that net.
pub(in super::super) fn in_net(address: IpAddr, (least, greatest): (IpAddr, IpAddr)) -> IpAddr {
    match (address, least, greatest) {
        (IpAddr::V4(address), IpAddr::V4(least), IpAddr::V4(greatest)) => {
            let hosts = u32::from(least) ^ u32::from(greatest);
            let host = u32::from(address) & hosts;
            Ipv4Addr::from(u32::from(least) & !hosts | host).into()
        }
        (IpAddr::V6(address), IpAddr::V6(least), IpAddr::V6(greatest)) => {
            let hosts = u128::from(least) ^ u128::from(greatest);
            let host = u128::from(address) & hosts;
            Ipv6Addr::from(u128::from(least) & !hosts | host).into()
        }
        _ => least,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_stays_and_the_net_is_another() {
        let ip = |text: &str| text.parse::<IpAddr>().expect(text);
        let net = (ip("10.9.0.0"), ip("10.9.0.255"));
        assert_eq!(in_net(ip("192.168.7.12"), net), ip("10.9.0.12"));
        let net = (ip("fd00:9::"), ip("fd00:9::ffff"));
        assert_eq!(in_net(ip("fd00:1::12"), net), ip("fd00:9::12"));
    }
}
