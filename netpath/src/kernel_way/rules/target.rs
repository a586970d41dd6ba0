//! Targets of xtables, and what they share with expressions of nf_tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netpath_common::Family;

use super::{Here, Next, icmp};
use crate::{
    kernel_way::{
        IcmpError, KernelWayError, Packet, Transport,
        kernel::LOOPBACK,
        walk::{At, Going, Range, Walk, in_net},
    },
    netfilter::nft::{Hook, Refusal, Translation, Verdict},
    netlink::{Lookup, Scope},
};

/// What is sent in the place of a packet that a rule refuses; `None`: nothing.
pub(super) fn refusal(packet: &Packet, refusal: Refusal) -> Option<IcmpError> {
    const RST: u8 = 4;
    let family = packet.family();
    Some(match (refusal, family) {
        (Refusal::TcpReset, _) => match packet.transport {
            Transport::Tcp { flags, .. } if flags & RST == 0 => IcmpError::TcpReset,
            _ => return None,
        },
        (Refusal::Icmp(code), Family::V4) => icmp(3, code),
        (Refusal::Icmp(code), Family::V6) => icmp(1, code),
        (Refusal::Icmpx(code), Family::V4) => icmp(3, *[0, 3, 1, 13].get(usize::from(code))?),
        (Refusal::Icmpx(code), Family::V6) => icmp(1, *[0, 4, 3, 1].get(usize::from(code))?),
    })
}

/// What `REJECT` does by its number: `enum ipt_reject_with`, `enum ip6t_reject_with`. `None` for what is not known.
fn reject(data: &[u8], family: Family) -> Option<Refusal> {
    const RESET_V4: u32 = 7;
    const RESET_V6: u32 = 6;
    const CODES_V4: [u8; 9] = [0, 1, 2, 3, 0, 9, 10, 0, 13];
    const CODES_V6: [u8; 9] = [0, 1, 2, 3, 4, 0, 0, 5, 6];
    let with = word(data, 0)?;
    let (reset, codes) = match family {
        Family::V4 => (RESET_V4, CODES_V4),
        Family::V6 => (RESET_V6, CODES_V6),
    };
    match with {
        with if with == reset => Some(Refusal::TcpReset),
        with => Some(Refusal::Icmp(*codes.get(with as usize)?)),
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at + 4)?;
    Some(u32::from_ne_bytes(std::array::from_fn(|at| bytes[at])))
}

fn port(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

impl Walk<'_> {
    pub(super) fn target(
        &mut self,
        at: &At<'_>,
        here: &mut Here<'_>,
        (name, revision): (&str, u32),
        data: &[u8],
    ) -> Going<Next> {
        if is_idle(name, data) {
            return Ok(Next::On);
        }
        if !self.matches(here) {
            return Ok(Next::Miss);
        }
        match name {
            "REJECT" => match reject(data, self.family()) {
                Some(refusal) => self.refused(at, here, refusal),
                None => self.unclear(at, here, name),
            },
            "NFQUEUE" | "TPROXY" | "SYNPROXY" => self.taken(at, here, name),
            "CT" if data.is_empty() => self.unclear(at, here, name),
            "NOTRACK" | "CT" => {
                self.untrack(at, here);
                Ok(Next::On)
            }
            "MARK" | "CONNMARK" | "TOS" | "DSCP" | "TTL" | "HL" => {
                let before = (self.packet.clone(), self.track.connection);
                match self.marked(name, revision, data) {
                    None => return self.unclear(at, here, name),
                    Some(()) if (self.packet.clone(), self.track.connection) != before => {
                        self.changed(at, here);
                    }
                    Some(()) => {}
                }
                Ok(Next::On)
            }
            "DNAT" | "SNAT" | "NETMAP" | "REDIRECT" | "MASQUERADE" => {
                let Some(given) = self.range(revision, data) else {
                    return self.unclear(at, here, name);
                };
                let Some((end, range)) = self.nat_target(at, name, given)? else {
                    return self.dropped(at, here);
                };
                self.map(at, end, range, here.at())?;
                Ok(Next::Decides(Verdict::Accept))
            }
            _ => self.unclear(at, here, name),
        }
    }

    fn unclear(&mut self, at: &At<'_>, here: &Here<'_>, name: &str) -> Going<Next> {
        match self.either(here, format!("target {name}")) {
            true => self.dropped(at, here),
            false => Ok(Next::On),
        }
    }

    fn marked(&mut self, name: &str, revision: u32, data: &[u8]) -> Option<()> {
        let byte = |at: usize| data.get(at).copied();
        match (name, revision) {
            ("MARK", 2) => {
                let (mark, mask) = (word(data, 0)?, word(data, 4)?);
                self.packet.mark = self.packet.mark & !mask ^ mark;
            }
            ("CONNMARK", 1 | 2) => self.connmark(revision, data)?,
            ("DSCP", 0) => self.packet.tos = self.packet.tos & 3 | byte(0)? << 2,
            ("TOS", 1 | 0) => {
                let (value, mask) = (byte(0)?, byte(1)?);
                self.packet.tos = self.packet.tos & !mask ^ value;
            }
            ("TTL" | "HL", 0 | 1) => {
                let (mode, by) = (byte(0)?, byte(1)?);
                self.packet.ttl = match mode {
                    0 => by,
                    1 => self.packet.ttl.saturating_add(by),
                    2 => self.packet.ttl.saturating_sub(by),
                    _ => return None,
                };
            }
            _ => return None,
        }
        Some(())
    }

    /// `struct xt_connmark_tginfo1` and that of revision 2.
    fn connmark(&mut self, revision: u32, data: &[u8]) -> Option<()> {
        let (mark, mask, packets) = (word(data, 0)?, word(data, 4)?, word(data, 8)?);
        let shifts = revision == 2 && data.get(13) != Some(&0);
        let mode = data.get(if revision < 2 { 12 } else { 14 })?;
        let Some(connection) = &mut self.track.connection else {
            return Some(());
        };
        if shifts {
            return None;
        }
        match mode {
            0 => connection.mark = connection.mark & !mask ^ mark,
            1 => connection.mark = connection.mark & !mask ^ (self.packet.mark & packets),
            2 => self.packet.mark = self.packet.mark & !packets ^ (connection.mark & mask),
            _ => return None,
        }
        Some(())
    }

    /// `struct nf_nat_ipv4_multi_range_compat`, `struct nf_nat_range`, `struct nf_nat_range2`. Revision 0 is the first for
    /// IPv4 and the second for IPv6.
    fn range(&self, revision: u32, data: &[u8]) -> Option<Range> {
        const ADDRESSES: u32 = 1;
        const PORTS: u32 = 2;
        let is_compat = revision == 0 && self.family() == Family::V4;
        let (flags, least, greatest, ports) = match is_compat {
            true => (word(data, 4)?, 8, 12, 16),
            false => (word(data, 0)?, 4, 20, 36),
        };
        let address = |at: usize| {
            Some(match self.family() {
                Family::V4 => IpAddr::from(<[u8; 4]>::try_from(data.get(at..at + 4)?).ok()?),
                Family::V6 => IpAddr::from(<[u8; 16]>::try_from(data.get(at..at + 16)?).ok()?),
            })
        };
        Some(Range {
            addresses: match flags & ADDRESSES {
                0 => None,
                _ => Some((address(least)?, address(greatest)?)),
            },
            ports: match flags & PORTS {
                0 => None,
                _ => Some((port(data, ports)?, port(data, ports + 2)?)),
            },
            flags,
        })
    }

    /// What a target translates; `None`: there is no address for it.
    fn nat_target(
        &self,
        at: &At<'_>,
        name: &str,
        given: Range,
    ) -> Result<Option<(Translation, Range)>, KernelWayError> {
        let end = match at.hook {
            Hook::Prerouting | Hook::Output => Translation::Destination,
            _ => Translation::Source,
        };
        Ok(match name {
            "MASQUERADE" => {
                let range = self.masqueraded(given.ports, given.flags)?;
                range.map(|range| (Translation::Source, range))
            }
            "REDIRECT" => {
                let range = self.redirected(at, given.ports, given.flags);
                range.map(|range| (Translation::Destination, range))
            }
            "NETMAP" => {
                let address = match end {
                    Translation::Source => self.packet.source,
                    Translation::Destination => self.packet.destination,
                };
                let mapped = given.addresses.map(|net| in_net(address, net));
                mapped.map(|mapped| {
                    let addresses = Some((mapped, mapped));
                    (end, Range { addresses, ..given })
                })
            }
            _ => Some((end, given)),
        })
    }

    /// The address that the interface has for where the packet goes.
    pub(super) fn masqueraded(
        &self,
        ports: Option<(u16, u16)>,
        flags: u32,
    ) -> Result<Option<Range>, KernelWayError> {
        let Some(route) = self.route else {
            return Ok(None);
        };
        let next_hop = route.via.unwrap_or(self.packet.destination);
        let address = match self.family() {
            Family::V4 => self.state.selected(route.ifindex, next_hop),
            Family::V6 => self.selected_v6()?,
        };
        Ok(address.map(|address| Range {
            addresses: Some((address, address)),
            ports,
            flags,
        }))
    }

    /// `ipv6_dev_get_saddr`: an address of the interface, if it has one, before others. Where it has several the kernel is
    /// asked, which tells with a route; but it tells what that route prefers, which does not count here.
    fn selected_v6(&self) -> Result<Option<IpAddr>, KernelWayError> {
        // By the loopback device any address of the host may be sent from.
        let oif = self
            .route
            .map(|route| route.ifindex)
            .filter(|oif| *oif != LOOPBACK);
        let mut own = self.state.addresses.iter().filter(|(ifindex, found)| {
            Some(*ifindex) == oif
                && found.scope == Scope::Universe
                && found.address.addr().is_ipv6()
                && !found.tentative
        });
        if let (Some((_, only)), None) = (own.next(), own.next()) {
            return Ok(Some(only.address.addr()));
        }
        let found = self.kernel.resolve(&Lookup {
            iif: None,
            oif,
            source: None,
            destination: self.packet.destination,
            tos: 0,
            mark: self.packet.mark,
            protocol: None,
            ports: None,
            flow_label: 0,
        })?;
        let told = found.ok().and_then(|route| route.source);
        let preferred = self.state.routes.iter().any(|route| {
            route.source.is_some()
                && route.source == told
                && route.dst.contains(&self.packet.destination)
        });
        Ok(match (preferred, oif) {
            (true, Some(oif)) => self.state.closest_v6(oif, self.packet.destination),
            _ => told,
        })
    }

    /// This machine, as of the interface that the packet came in by.
    pub(super) fn redirected(
        &self,
        at: &At<'_>,
        ports: Option<(u16, u16)>,
        flags: u32,
    ) -> Option<Range> {
        let address = match (at.hook, self.family()) {
            (Hook::Output, Family::V4) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            (Hook::Output, Family::V6) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            (_, family) => self.state.first_address(self.iif?, family)?,
        };
        Some(Range {
            addresses: Some((address, address)),
            ports,
            flags,
        })
    }
}

/// Whether the packet's way does not depend on a target.
fn is_idle(name: &str, data: &[u8]) -> bool {
    /// `XT_CT_NOTRACK`, of the flags that `struct xt_ct_target_info` begins with.
    const NOTRACK: u8 = 1;
    match name {
        "LOG" | "NFLOG" | "TRACE" | "AUDIT" | "CHECKSUM" | "CLASSIFY" | "CONNSECMARK"
        | "SECMARK" | "TCPMSS" | "TCPOPTSTRIP" | "TEE" | "IDLETIMER" | "RATEEST" | "LED" => true,
        // Helpers and timeouts. A zone is another thing.
        "CT" => {
            let zone = data.get(2..4);
            data.first().is_some_and(|flags| flags & NOTRACK == 0) && zone == Some(&[0, 0])
        }
        _ => false,
    }
}
