//! The values that expressions load and write.

use std::net::IpAddr;

use netpath_common::{Family, Ifindex};

use super::{
    headers,
    registers::{Bits, Registers, known},
};
use crate::{
    kernel_way::{
        KernelWayError, Tuple,
        walk::{Phase, Walk},
    },
    netfilter::nft::{Header, Register, Value, ct, meta},
    netlink::{Link, LinkKind},
};

/// What a load yields.
pub(super) enum Loaded {
    /// A value.
    Bits(Vec<Bits>),
    /// Nothing: the rule ends (`NFT_BREAK`).
    Break,
}

/// Bytes of a name in a register.
pub(super) const IFNAMSIZ: usize = 16;

/// `IPS_ASSURED`, which is not known.
const ASSURED: u8 = 1 << 2;

/// Whether the packet's way may depend on a value that is written.
pub(super) fn matters(to: &Value) -> bool {
    match to {
        Value::Meta(key) => *key == meta::MARK,
        Value::Connection { key, .. } => matches!(*key, ct::MARK | ct::ZONE),
        // The options of TCP: maxseg.
        Value::Extension { .. } => false,
        _ => true,
    }
}

pub(super) fn unknown(length: usize) -> Loaded {
    Loaded::Bits(vec![Bits::UNKNOWN; length])
}

pub(super) fn bytes(bytes: &[u8]) -> Loaded {
    Loaded::Bits(known(bytes))
}

fn address(address: IpAddr) -> Loaded {
    match address {
        IpAddr::V4(v4) => bytes(&v4.octets()),
        IpAddr::V6(v6) => bytes(&v6.octets()),
    }
}

impl Walk<'_> {
    pub(super) fn load(&self, value: &Value) -> Result<Loaded, KernelWayError> {
        Ok(match value {
            Value::Payload {
                header,
                offset,
                length,
            } => self.payload(*header, *offset as usize, *length as usize),
            Value::Meta(key) => self.meta(*key),
            Value::Connection { key, direction } => self.connection(*key, *direction),
            Value::Fib { result, flags } => self.fib(*result, *flags)?,
            // Extension headers there are none.
            Value::Extension { of: 0, present } => match present {
                true => bytes(&[0]),
                false => Loaded::Break,
            },
            Value::Extension { .. } | Value::Choice { .. } | Value::Other(_) => unknown(IFNAMSIZ),
        })
    }

    fn payload(&self, header: Header, offset: usize, length: usize) -> Loaded {
        let header = match header {
            Header::Link if self.is_sent => return Loaded::Break,
            Header::Link => {
                let link = self.iif.and_then(|ifindex| self.state.link(ifindex));
                headers::link(
                    &self.packet,
                    self.source_mac,
                    link.and_then(|link| link.mac),
                )
            }
            Header::Network => {
                let mut bytes = headers::network(&self.packet);
                bytes.extend(headers::transport(&self.packet));
                bytes
            }
            Header::Transport => headers::transport(&self.packet),
            Header::Other(_) => return unknown(length),
        };
        match header.get(offset..offset + length) {
            Some(bits) => Loaded::Bits(bits.to_vec()),
            None => Loaded::Break,
        }
    }

    fn meta(&self, key: u32) -> Loaded {
        let link = |ifindex: Option<Ifindex>| ifindex.and_then(|found| self.state.link(found));
        let index = |ifindex: Option<Ifindex>| ifindex.map_or(0, |ifindex| ifindex.0);
        match key {
            meta::LEN => bytes(&self.packet.length.to_ne_bytes()),
            meta::PROTOCOL => match self.family() {
                Family::V4 => bytes(&[0x08, 0x00]),
                Family::V6 => bytes(&[0x86, 0xdd]),
            },
            meta::MARK => bytes(&self.packet.mark.to_ne_bytes()),
            meta::IIF => bytes(&index(self.iif).to_ne_bytes()),
            meta::OIF => bytes(&index(self.oif).to_ne_bytes()),
            meta::IIFNAME => name(link(self.iif).map_or("", |link| &link.name)),
            meta::OIFNAME => name(link(self.oif).map_or("", |link| &link.name)),
            meta::IIFTYPE => hardware(link(self.iif)),
            meta::OIFTYPE => hardware(link(self.oif)),
            meta::IIFKIND => kind(link(self.iif)),
            meta::OIFKIND => kind(link(self.oif)),
            // What came in belongs to no socket.
            meta::SKUID | meta::SKGID | meta::CGROUP if !self.is_sent => Loaded::Break,
            meta::NFTRACE => bytes(&[0]),
            meta::SECMARK | meta::PRIORITY => unknown(4),
            meta::NFPROTO => match self.family() {
                Family::V4 => bytes(&[libc::NFPROTO_IPV4 as u8]),
                Family::V6 => bytes(&[libc::NFPROTO_IPV6 as u8]),
            },
            meta::L4PROTO => bytes(&[self.packet.protocol()]),
            meta::PKTTYPE if !self.is_sent => bytes(&[libc::PACKET_HOST]),
            _ => unknown(IFNAMSIZ),
        }
    }

    /// The bit of `ct state`.
    pub(super) fn phase(&self) -> u32 {
        match self.track.phase {
            Phase::Before | Phase::Invalid => 1,
            Phase::Established => 1 << 1,
            Phase::Related => 1 << 2,
            Phase::New => 1 << 3,
            Phase::Untracked => 1 << 6,
        }
    }

    fn connection(&self, key: u32, direction: Option<u8>) -> Loaded {
        if key == ct::STATE {
            return bytes(&self.phase().to_ne_bytes());
        }
        let (Some(connection), Some(status)) = (self.track.connection, self.track.status()) else {
            return match self.track.phase {
                // Its connection is another packet's.
                Phase::Related => unknown(IFNAMSIZ),
                _ => Loaded::Break,
            };
        };
        let ends: Tuple = match direction {
            Some(1) => connection.reply,
            _ => connection.original,
        };
        match key {
            ct::DIRECTION => bytes(&[u8::from(self.track.is_reply)]),
            ct::STATUS => {
                let [first, rest @ ..] = status.to_ne_bytes();
                let mut bits = vec![Bits::but(first, ASSURED)];
                bits.extend(known(&rest));
                Loaded::Bits(bits)
            }
            ct::MARK => bytes(&connection.mark.to_ne_bytes()),
            ct::L3PROTOCOL => self.meta(meta::NFPROTO),
            ct::SRC | ct::SRC_IP | ct::SRC_IP6 => address(ends.source),
            ct::DST | ct::DST_IP | ct::DST_IP6 => address(ends.destination),
            ct::PROTOCOL => bytes(&[connection.protocol]),
            ct::PROTO_SRC => bytes(&ends.source_port.to_be_bytes()),
            ct::PROTO_DST => bytes(&ends.destination_port.to_be_bytes()),
            ct::ZONE => bytes(&[0, 0]),
            _ => unknown(IFNAMSIZ),
        }
    }

    /// Writes a value; `None` where it is not known what that does.
    pub(super) fn store(&mut self, to: &Value, data: &[Bits]) -> Option<()> {
        let word = || {
            let bytes: Option<Vec<u8>> = data.get(..4)?.iter().map(|bits| bits.known()).collect();
            Some(u32::from_ne_bytes(bytes?.try_into().ok()?))
        };
        match to {
            Value::Meta(meta::MARK) => self.packet.mark = word()?,
            Value::Connection { key: ct::MARK, .. } => {
                let mark = word()?;
                if let Some(connection) = &mut self.track.connection {
                    connection.mark = mark;
                }
            }
            Value::Payload {
                header,
                offset,
                length,
            } => {
                let data = data.get(..*length as usize)?;
                let offset = *offset as usize;
                match header {
                    Header::Network => headers::write_network(&mut self.packet, offset, data)?,
                    Header::Transport => {
                        headers::write_transport(&mut self.packet, offset, data)?;
                    }
                    Header::Link | Header::Other(_) => return None,
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// An address of the packet's family in a register.
    pub(super) fn address_in(&self, registers: &Registers, register: Register) -> Option<IpAddr> {
        match self.family() {
            Family::V4 => {
                let octets = <[u8; 4]>::try_from(registers.known(register, 4)?).ok()?;
                Some(IpAddr::from(octets))
            }
            Family::V6 => {
                let octets = <[u8; 16]>::try_from(registers.known(register, 16)?).ok()?;
                Some(IpAddr::from(octets))
            }
        }
    }

    /// Whether an `NFPROTO_*` is the packet's.
    pub(super) fn is_family(&self, number: u32) -> bool {
        match i32::try_from(number) {
            Ok(libc::NFPROTO_IPV4) => self.family() == Family::V4,
            Ok(libc::NFPROTO_IPV6) => self.family() == Family::V6,
            _ => true,
        }
    }
}

pub(super) fn name(name: &str) -> Loaded {
    let mut padded = name.as_bytes().to_vec();
    padded.resize(IFNAMSIZ, 0);
    bytes(&padded)
}

fn hardware(link: Option<&Link>) -> Loaded {
    link.map_or(Loaded::Break, |link| bytes(&link.hardware.to_ne_bytes()))
}

fn kind(link: Option<&Link>) -> Loaded {
    match link {
        Some(link) if link.kind != LinkKind::Unsaid => name(&link.kind.to_string()),
        _ => Loaded::Break,
    }
}
