//! Targets of legacy rules.

use std::collections::BTreeSet;

use netpath_common::Family;

use super::rule::{R0, Reader, bytes, mark, range};
use crate::netfilter::nft::{Operation, Refusal, Register, Translation, Verdict};

const R4: Register = Register(4);

impl Reader {
    pub(super) fn target(
        &mut self,
        goes: bool,
        values: &[String],
        rest: &[String],
        own: &BTreeSet<String>,
    ) {
        let name = values.first().map(String::as_str).unwrap_or_default();
        let value = rest.get(1).map(String::as_str).unwrap_or_default();
        let option = rest.first().map(String::as_str).unwrap_or_default();
        let plain = rest.len() <= 2;
        let understood = match name {
            "ACCEPT" => self.decide(Verdict::Accept),
            "DROP" => self.decide(Verdict::Drop),
            "RETURN" => self.decide(Verdict::Return),
            name if own.contains(name) => self.decide(match goes {
                true => Verdict::Goto(name.to_owned()),
                false => Verdict::Jump(name.to_owned()),
            }),
            "CT" if option == "--notrack" => {
                self.operations.push(Operation::Notrack);
                Some(())
            }
            "REJECT" if plain => self.reject(value),
            "MARK" if option == "--set-xmark" => self.set_mark(value),
            "DNAT" if plain => self.translate(Translation::Destination, value),
            "SNAT" if plain => self.translate(Translation::Source, value),
            "MASQUERADE" if rest.is_empty() => {
                let (ports, flags) = (None, 0);
                self.operations.push(Operation::Masquerade { ports, flags });
                Some(())
            }
            "REDIRECT" if option == "--to-ports" && plain => range(value, '-').map(|ports| {
                let ports = Some(self.ports_in(ports));
                self.operations.push(Operation::Redirect { ports });
            }),
            _ => None,
        };
        if understood.is_none() {
            // Those that change nothing about the way are known by their names.
            self.operations.push(Operation::Target {
                name: name.to_owned(),
                revision: u32::MAX,
                data: Vec::new(),
            });
        }
    }

    fn decide(&mut self, verdict: Verdict) -> Option<()> {
        self.operations.push(Operation::Verdict(verdict));
        Some(())
    }

    fn reject(&mut self, with: &str) -> Option<()> {
        let refusal = match (with, self.family) {
            ("tcp-reset", _) => Refusal::TcpReset,
            ("icmp-net-unreachable", _) => Refusal::Icmp(0),
            ("icmp-host-unreachable", _) => Refusal::Icmp(1),
            ("icmp-proto-unreachable", _) => Refusal::Icmp(2),
            ("icmp-port-unreachable" | "", Family::V4) => Refusal::Icmp(3),
            ("icmp-net-prohibited", _) => Refusal::Icmp(9),
            ("icmp-host-prohibited", _) => Refusal::Icmp(10),
            ("icmp-admin-prohibited", _) => Refusal::Icmp(13),
            ("icmp6-no-route", _) => Refusal::Icmp(0),
            ("icmp6-adm-prohibited", _) => Refusal::Icmp(1),
            ("icmp6-addr-unreachable", _) => Refusal::Icmp(3),
            ("icmp6-port-unreachable" | "", Family::V6) => Refusal::Icmp(4),
            _ => return None,
        };
        self.operations.push(Operation::Reject(refusal));
        Some(())
    }

    /// `struct xt_mark_tginfo2`.
    fn set_mark(&mut self, value: &str) -> Option<()> {
        let (mark, mask) = mark(value)?;
        let mut data = mark.to_ne_bytes().to_vec();
        data.extend(mask.to_ne_bytes());
        self.operations.push(Operation::Target {
            name: "MARK".to_owned(),
            revision: 2,
            data,
        });
        Some(())
    }

    /// `address[-address][:port[-port]]`, IPv6 with ports in brackets.
    fn translate(&mut self, translation: Translation, value: &str) -> Option<()> {
        let (addresses, ports) = match (self.family, value.strip_prefix('[')) {
            (Family::V6, Some(rest)) => {
                let (addresses, ports) = rest.split_once(']')?;
                (addresses, ports.strip_prefix(':'))
            }
            (Family::V6, None) => (value, None),
            (Family::V4, _) => match value.split_once(':') {
                Some((addresses, ports)) => (addresses, Some(ports)),
                None => (value, None),
            },
        };
        let (least, greatest) = addresses.split_once('-').unwrap_or((addresses, addresses));
        let ports = match ports {
            Some(ports) => Some(range(ports, '-')?),
            None => None,
        };
        for (address, into) in [(least, R0), (greatest, R4)] {
            let data = bytes(address.parse().ok()?);
            self.operations.push(Operation::Immediate { into, data });
        }
        let ports = ports.map(|ports| self.ports_in(ports));
        self.operations.push(Operation::Nat {
            translation,
            family: match self.family {
                Family::V4 => libc::NFPROTO_IPV4 as u32,
                Family::V6 => libc::NFPROTO_IPV6 as u32,
            },
            addresses: Some((R0, R4)),
            ports,
            flags: 0,
        });
        Some(())
    }

    fn ports_in(&mut self, (least, greatest): (u16, u16)) -> (Register, Register) {
        let into = (Register(8), Register(9));
        for (port, into) in [(least, into.0), (greatest, into.1)] {
            let data = port.to_be_bytes().to_vec();
            self.operations.push(Operation::Immediate { into, data });
        }
        into
    }
}
