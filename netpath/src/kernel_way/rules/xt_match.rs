//! Matches of xtables, as `iptables-nft` writes them (linux/netfilter/xt_*.h). Numbers are in the host's byte order unless
//! said otherwise.

use std::net::IpAddr;

use netpath_common::{Family, Ifindex};

use super::fib::number;
use crate::kernel_way::{
    KernelWayError, Transport, Tuple,
    walk::{Phase, Walk},
};

/// A match's own structure.
struct Info<'a>(&'a [u8]);

impl Info<'_> {
    fn u8(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        let bytes = self.0.get(at..at + 2)?;
        Some(u16::from_ne_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.0.get(at..at + 4)?;
        Some(u32::from_ne_bytes(std::array::from_fn(|at| bytes[at])))
    }

    /// `union nf_inet_addr`.
    fn address(&self, at: usize, family: Family) -> Option<u128> {
        let bytes = self.0.get(at..at + 16)?;
        Some(match family {
            Family::V4 => u32::from_be_bytes(std::array::from_fn(|at| bytes[at])).into(),
            Family::V6 => u128::from_be_bytes(std::array::from_fn(|at| bytes[at])),
        })
    }
}

fn value(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// Which bit of flags says that a test is inverted, and whether it is.
fn turned(holds: bool, flags: u32, bit: u32) -> bool {
    holds ^ (flags & bit != 0)
}

impl Walk<'_> {
    /// Whether a match holds; `None` where that is not known.
    pub(super) fn xt_match(
        &self,
        name: &str,
        revision: u32,
        data: &[u8],
    ) -> Result<Option<bool>, KernelWayError> {
        let info = Info(data);
        Ok(match (name, revision) {
            ("comment", _) => Some(true),
            ("tcp", 0) => self.tcp(&info),
            ("udp", 0) => self.udp(&info),
            ("icmp" | "icmp6", 0) => self.icmp(&info),
            ("conntrack", 1..=3) => self.conntrack_match(&info, revision),
            ("state", 0) => info.u32(0).map(|mask| mask & self.phase_bit() != 0),
            ("mark", 1) => masked(&info, Some(self.packet.mark)),
            ("connmark", 1) => masked(
                &info,
                self.track.connection.map(|connection| connection.mark),
            ),
            ("multiport", 0 | 1) => self.multiport(&info, revision),
            ("addrtype", 0 | 1) => self.addrtype(&info, revision)?,
            ("length", 0) => self.length(&info),
            ("ttl" | "hl", 0) => self.ttl(&info),
            ("dscp", 0) => info
                .u8(0)
                .zip(info.u8(1))
                .map(|(dscp, invert)| (self.packet.tos >> 2 == dscp) ^ (invert != 0)),
            ("tos", 1) => self.tos(&info),
            ("mac", 0) => self.mac(&info),
            ("iprange", 1) => self.iprange(&info),
            ("owner", 1) if !self.is_sent => {
                const WHAT: usize = 16;
                info.u8(WHAT)
                    .zip(info.u8(WHAT + 1))
                    .map(|(what, invert)| what ^ invert == 0)
            }
            _ => None,
        })
    }

    fn ports(&self) -> Option<(u16, u16)> {
        match self.packet.transport {
            Transport::Tcp { .. } | Transport::Udp { .. } => {
                let ends = self.packet.tuple();
                Some((ends.source_port, ends.destination_port))
            }
            Transport::Icmp { .. } | Transport::Other(_) => None,
        }
    }

    /// The two ranges that `struct xt_tcp` and `struct xt_udp` begin with, with the flags that invert them.
    fn in_ranges(&self, info: &Info<'_>, invert: u8) -> Option<bool> {
        let (source, destination) = self.ports()?;
        let within = |at: usize, port: u16| {
            let (least, greatest) = (info.u16(at)?, info.u16(at + 2)?);
            Some((least..=greatest).contains(&port))
        };
        let invert = u32::from(invert);
        let source = turned(within(0, source)?, invert, 1);
        Some(source && turned(within(4, destination)?, invert, 2))
    }

    fn tcp(&self, info: &Info<'_>) -> Option<bool> {
        let Transport::Tcp { flags, .. } = self.packet.transport else {
            return Some(false);
        };
        let (option, mask, compare, invert) =
            (info.u8(8)?, info.u8(9)?, info.u8(10)?, info.u8(11)?);
        let has_flags = turned(flags & mask == compare, invert.into(), 4);
        let holds = self.in_ranges(info, invert)? && has_flags;
        // Nothing is known of options.
        match holds && option != 0 {
            true => None,
            false => Some(holds),
        }
    }

    fn udp(&self, info: &Info<'_>) -> Option<bool> {
        match self.packet.transport {
            Transport::Udp { .. } => self.in_ranges(info, info.u8(8)?),
            _ => Some(false),
        }
    }

    fn icmp(&self, info: &Info<'_>) -> Option<bool> {
        const ANY: u8 = 0xff;
        let Transport::Icmp { kind, code, .. } = self.packet.transport else {
            return Some(false);
        };
        let codes = info.u8(1)?..=info.u8(2)?;
        let of = info.u8(0)?;
        let is_any = of == ANY && self.family() == Family::V4;
        let holds = is_any || of == kind && codes.contains(&code);
        Some(turned(holds, info.u8(3)?.into(), 1))
    }

    /// `XT_CONNTRACK_STATE_*`.
    fn phase_bit(&self) -> u32 {
        const UNTRACKED: u32 = 1 << 8;
        match self.track.phase {
            Phase::Untracked => UNTRACKED,
            _ => self.phase(),
        }
    }

    fn conntrack_match(&self, info: &Info<'_>, revision: u32) -> Option<bool> {
        const FLAGS: usize = 146;
        const STATE: u32 = 1;
        const PROTOCOL: u32 = 1 << 1;
        const STATUS: u32 = 1 << 6;
        const EXPIRES: u32 = 1 << 7;
        const DIRECTION: u32 = 1 << 12;
        const SNAT: u32 = 1 << 6;
        const DNAT: u32 = 1 << 7;
        const SOURCE_IS_TRANSLATED: u32 = 1 << 4;
        const DESTINATION_IS_TRANSLATED: u32 = 1 << 5;
        let asks = u32::from(info.u16(FLAGS)?);
        let inverts = u32::from(info.u16(FLAGS + 2)?);
        let (state, status) = match revision {
            1 => (info.u8(150)?.into(), info.u8(151)?.into()),
            _ => (u32::from(info.u16(150)?), u32::from(info.u16(152)?)),
        };
        let has = self.track.status();
        if asks & STATE != 0 {
            let translated = has.unwrap_or(0);
            let mut bit = self.phase_bit();
            if translated & SOURCE_IS_TRANSLATED != 0 {
                bit |= SNAT;
            }
            if translated & DESTINATION_IS_TRANSLATED != 0 {
                bit |= DNAT;
            }
            if !turned(state & bit != 0, inverts, STATE) {
                return Some(false);
            }
        }
        let (Some(connection), Some(has)) = (self.track.connection, has) else {
            return match self.track.phase {
                Phase::Related if asks & !STATE != 0 => None,
                _ => Some(asks & STATE != 0),
            };
        };
        let is_original = !self.track.is_reply;
        if asks & DIRECTION != 0 && !turned(is_original, inverts, DIRECTION) {
            return Some(false);
        }
        if !self.conntrack_ends(info, revision, (connection.original, connection.reply))? {
            return Some(false);
        }
        if asks & PROTOCOL != 0 {
            let is_it = info.u16(136)? == u16::from(connection.protocol);
            if !turned(is_it, inverts, PROTOCOL) {
                return Some(false);
            }
        }
        if asks & STATUS != 0 && !turned(status & has != 0, inverts, STATUS) {
            return Some(false);
        }
        match asks & EXPIRES {
            0 => Some(true),
            _ => None,
        }
    }

    /// The addresses and ports of both directions.
    fn conntrack_ends(
        &self,
        info: &Info<'_>,
        revision: u32,
        (original, reply): (Tuple, Tuple),
    ) -> Option<bool> {
        let asks = u32::from(info.u16(146)?);
        let inverts = u32::from(info.u16(148)?);
        let addresses = [
            original.source,
            original.destination,
            reply.source,
            reply.destination,
        ];
        for (index, address) in addresses.into_iter().enumerate() {
            let bit = 1 << (2 + index);
            let wanted = info.address(32 * index, self.family())?;
            let mask = info.address(32 * index + 16, self.family())?;
            let holds = (value(address) ^ wanted) & mask == 0;
            if asks & bit != 0 && !turned(holds, inverts, bit) {
                return Some(false);
            }
        }
        let ports = [
            original.source_port,
            original.destination_port,
            reply.source_port,
            reply.destination_port,
        ];
        for (index, port) in ports.into_iter().enumerate() {
            let bit = 1 << (8 + index);
            let least = info.u16(138 + 2 * index)?;
            let (least, greatest) = match revision {
                3 => (least, info.u16(154 + 2 * index)?),
                _ => (u16::from_be(least), u16::from_be(least)),
            };
            let holds = (least..=greatest).contains(&port);
            if asks & bit != 0 && !turned(holds, inverts, bit) {
                return Some(false);
            }
        }
        Some(true)
    }

    fn multiport(&self, info: &Info<'_>, revision: u32) -> Option<bool> {
        const PORTS: usize = 15;
        let Some((source, destination)) = self.ports() else {
            return Some(false);
        };
        let which = info.u8(0)?;
        let count = usize::from(info.u8(1)?).min(PORTS);
        let mut holds = false;
        let mut at = 0;
        while at < count {
            let least = info.u16(2 + 2 * at)?;
            let is_range = revision == 1 && info.u8(32 + at)? != 0;
            at += usize::from(is_range);
            let greatest = info.u16(2 + 2 * at)?;
            let within = |port: u16| (least..=greatest).contains(&port);
            holds |= match which {
                0 => within(source),
                1 => within(destination),
                _ => within(source) || within(destination),
            };
            at += 1;
        }
        let inverts = revision == 1 && info.u8(47)? != 0;
        Some(holds ^ inverts)
    }

    fn addrtype(&self, info: &Info<'_>, revision: u32) -> Result<Option<bool>, KernelWayError> {
        let read = || {
            let (source, destination) = (info.u16(0)?, info.u16(2)?);
            let flags = match revision {
                1 => info.u32(4)?,
                _ => u32::from(info.u32(4)? != 0) | u32::from(info.u32(8)? != 0) << 1,
            };
            Some((source, destination, flags))
        };
        let Some((source, destination, flags)) = read() else {
            return Ok(None);
        };
        let on = match flags >> 2 & 3 {
            0 => None,
            1 => self.iif,
            _ => self.oif,
        };
        let sides = [
            (source, self.packet.source, 1),
            (destination, self.packet.destination, 2),
        ];
        for (mask, address, invert) in sides {
            if mask == 0 {
                continue;
            }
            let is_it = match self.family() {
                Family::V4 => self.has_type(address, on, mask.into())?,
                Family::V6 => self.has_type_v6(address, on, mask.into())?,
            };
            let Some(is_it) = is_it else {
                return Ok(None);
            };
            if !turned(is_it, flags, invert) {
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }

    /// `match_type`.
    fn has_type(
        &self,
        address: IpAddr,
        on: Option<Ifindex>,
        mask: u32,
    ) -> Result<Option<bool>, KernelWayError> {
        let kind = self.kind_of(address, on)?;
        Ok(kind.map(|kind| mask & 1 << number(kind) != 0))
    }

    /// `match_type6`: types of addresses must all be so, and one of the types of routes.
    fn has_type_v6(
        &self,
        address: IpAddr,
        on: Option<Ifindex>,
        mask: u32,
    ) -> Result<Option<bool>, KernelWayError> {
        const UNSPECIFIED: u32 = 1;
        const UNICAST: u32 = 1 << 1;
        const MULTICAST: u32 = 1 << 5;
        const ROUTES: u32 = 1 << 2 | 1 << 4 | 1 << 7;
        let is_unicast = !address.is_multicast() && !address.is_unspecified();
        let fails = mask & MULTICAST != 0 && !address.is_multicast()
            || mask & UNICAST != 0 && !is_unicast
            || mask & UNSPECIFIED != 0 && !address.is_unspecified();
        match mask & ROUTES {
            _ if fails => Ok(Some(false)),
            0 => Ok(Some(true)),
            routes => self.has_type(address, on, routes),
        }
    }

    fn length(&self, info: &Info<'_>) -> Option<bool> {
        let lengths = u32::from(info.u16(0)?)..=u32::from(info.u16(2)?);
        Some(lengths.contains(&self.packet.length) ^ (info.u8(4)? != 0))
    }

    fn ttl(&self, info: &Info<'_>) -> Option<bool> {
        let (mode, wanted) = (info.u8(0)?, info.u8(1)?);
        let ttl = self.packet.ttl;
        match mode {
            0 => Some(ttl == wanted),
            1 => Some(ttl != wanted),
            2 => Some(ttl < wanted),
            3 => Some(ttl > wanted),
            _ => None,
        }
    }

    fn tos(&self, info: &Info<'_>) -> Option<bool> {
        let (mask, wanted) = (info.u8(0)?, info.u8(1)?);
        Some((self.packet.tos & mask == wanted) ^ (info.u8(2)? != 0))
    }

    fn mac(&self, info: &Info<'_>) -> Option<bool> {
        if self.is_sent {
            return Some(false);
        }
        let wanted = info.0.get(..6)?;
        let inverts = info.u32(8)? != 0;
        Some((self.source_mac?.0.as_slice() == wanted) ^ inverts)
    }

    fn iprange(&self, info: &Info<'_>) -> Option<bool> {
        let flags = u32::from(info.u8(64)?);
        let within = |at: usize, address: IpAddr| {
            let least = info.address(at, self.family())?;
            let greatest = info.address(at + 16, self.family())?;
            Some((least..=greatest).contains(&value(address)))
        };
        let source = turned(within(0, self.packet.source)?, flags, 1 << 4);
        let destination = turned(within(32, self.packet.destination)?, flags, 1 << 5);
        Some((flags & 1 == 0 || source) && (flags & 2 == 0 || destination))
    }
}

/// `struct xt_mark_mtinfo1`, and that of connmark.
fn masked(info: &Info<'_>, mark: Option<u32>) -> Option<bool> {
    let (wanted, mask) = (info.u32(0)?, info.u32(4)?);
    let Some(mark) = mark else {
        return Some(false);
    };
    Some((mark & mask == wanted) ^ (info.u8(8)? != 0))
}
