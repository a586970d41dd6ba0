//! The expressions of nf_tables that translate.

use std::net::IpAddr;

use super::{Here, Next};
use crate::{
    kernel_way::walk::{At, Going, Range, Walk, in_net},
    netfilter::nft::{Operation, Register, Translation, Verdict},
};

impl Walk<'_> {
    pub(super) fn translated(
        &mut self,
        at: &At<'_>,
        here: &mut Here<'_>,
        operation: &Operation,
    ) -> Going<Next> {
        if !self.matches(here) {
            return Ok(Next::Miss);
        }
        let port = |register| {
            let bytes = here.registers.known(register, 2)?;
            Some(u16::from_be_bytes([bytes[0], bytes[1]]))
        };
        let ports = |pair: &Option<(Register, Register)>| {
            let (least, greatest) = (*pair)?;
            Some((port(least)?, port(greatest)?))
        };
        let found = match operation {
            Operation::Nat {
                translation,
                family,
                addresses,
                ports: of,
                flags,
            } => {
                if !self.is_family(*family) {
                    return Ok(Next::On);
                }
                let addresses = addresses.and_then(|(least, greatest)| {
                    let of = |register| self.address_in(&here.registers, register);
                    Some((of(least)?, of(greatest)?))
                });
                let range = Range {
                    addresses: self.netmapped(*translation, *flags, addresses),
                    ports: ports(of),
                    flags: *flags,
                };
                Some((*translation, range))
            }
            Operation::Masquerade { ports: of, flags } => self
                .masqueraded(ports(of), *flags)?
                .map(|range| (Translation::Source, range)),
            Operation::Redirect { ports: of } => {
                let range = self.redirected(at, ports(of), 0);
                range.map(|range| (Translation::Destination, range))
            }
            _ => None,
        };
        match found {
            Some((end, range)) => {
                self.map(at, end, range, here.at())?;
                Ok(Next::Decides(Verdict::Accept))
            }
            // There is no address to translate to.
            None => self.dropped(at, here),
        }
    }

    /// The same host in another net, where the rule maps nets.
    fn netmapped(
        &self,
        end: Translation,
        flags: u32,
        addresses: Option<(IpAddr, IpAddr)>,
    ) -> Option<(IpAddr, IpAddr)> {
        let net = addresses?;
        if !Range::is_netmap(flags) {
            return Some(net);
        }
        let address = match end {
            Translation::Source => self.packet.source,
            Translation::Destination => self.packet.destination,
        };
        let mapped = in_net(address, net);
        Some((mapped, mapped))
    }
}
