//! The packet that is asked about.

use std::{fmt, net::IpAddr};

use netpath_common::{Family, Ifindex, Mac};

/// A packet, as far as the kernel's way of it depends on it. Integers are in the host's byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its source address.
    pub source: IpAddr,
    /// Its destination, of the same family.
    pub destination: IpAddr,
    /// What it carries.
    pub transport: Transport,
    /// TTL or hop limit.
    pub ttl: u8,
    /// The TOS or traffic class byte: DSCP in the upper 6 bits, ECN in the lower 2.
    pub tos: u8,
    /// Bytes of the whole IP packet, from its IP header on. It is not one that is split later (GSO).
    pub length: u32,
    /// IPv4's DF; of IPv6, which is never fragmented on the way, that its sender does not do so either.
    pub dont_fragment: bool,
    /// The firewall mark.
    pub mark: u32,
    /// IPv6's flow label, 20 bits.
    pub flow_label: u32,
    /// It comes in pieces, the longest of which has so many bytes; `None`: as a whole.
    pub fragments: Option<u32>,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// CWR to FIN, FIN in bit 0.
        flags: u8,
    },
    /// UDP.
    Udp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Identifier of an echo.
        id: u16,
    },
    /// Another protocol, by its number.
    Other(u8),
}

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// In by an interface, sent to its Ethernet address.
    By {
        /// Which.
        ifindex: Ifindex,
        /// Whose Ethernet address it carries as its source, if that is known.
        source_mac: Option<Mac>,
    },
    /// From a socket of this namespace, bound to its source address.
    Sent,
}

/// What connection tracking knows of the packet's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Nothing: it is the first packet of it.
    New,
    /// This.
    Known(Tracked),
}

/// The ends of one direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// From.
    pub source: IpAddr,
    /// To.
    pub destination: IpAddr,
    /// Port or, of an echo, identifier; 0 of what has none.
    pub source_port: u16,
    /// Port; 0 of what has none.
    pub destination_port: u16,
}

/// A connection as connection tracking has it: what its first packet looked like before anything was translated, and what
/// the answers to it look like when they come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// IP protocol number.
    pub protocol: u8,
    /// As the first packet came in, or was sent.
    pub original: Tuple,
    /// As answers come in.
    pub reply: Tuple,
    /// Answers were seen, before the packet that is asked about.
    pub answered: bool,
    /// The connection's own mark.
    pub mark: u32,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The packet, as it comes in or is sent.
    pub packet: Packet,
    /// Where from.
    pub entry: Entry,
    /// What is known of its connection in this namespace.
    pub connection: Connection,
}

impl Packet {
    /// Its family.
    pub fn family(&self) -> Family {
        Family::of(self.destination)
    }

    /// Its IP protocol number.
    pub fn protocol(&self) -> u8 {
        match (self.transport, self.family()) {
            (Transport::Tcp { .. }, _) => 6,
            (Transport::Udp { .. }, _) => 17,
            (Transport::Icmp { .. }, Family::V4) => 1,
            (Transport::Icmp { .. }, Family::V6) => 58,
            (Transport::Other(number), _) => number,
        }
    }

    /// Its ends.
    pub fn tuple(&self) -> Tuple {
        let (source_port, destination_port) = match self.transport {
            Transport::Tcp {
                source_port,
                destination_port,
                ..
            }
            | Transport::Udp {
                source_port,
                destination_port,
            } => (source_port, destination_port),
            Transport::Icmp { id, .. } => (id, 0),
            Transport::Other(_) => (0, 0),
        };
        Tuple {
            source: self.source,
            destination: self.destination,
            source_port,
            destination_port,
        }
    }

    /// Bytes of the longest piece that it comes in.
    pub fn longest(&self) -> u32 {
        self.fragments.unwrap_or(self.length)
    }

    /// Gives it other ends.
    pub(super) fn readdress(&mut self, ends: Tuple) {
        self.source = ends.source;
        self.destination = ends.destination;
        match &mut self.transport {
            Transport::Tcp {
                source_port,
                destination_port,
                ..
            }
            | Transport::Udp {
                source_port,
                destination_port,
            } => {
                *source_port = ends.source_port;
                *destination_port = ends.destination_port;
            }
            Transport::Icmp { id, .. } => *id = ends.source_port,
            Transport::Other(_) => {}
        }
    }
}

impl Tuple {
    /// The other way round. An echo's identifier stays where it is.
    #[must_use]
    pub fn reversed(self, protocol: u8) -> Self {
        let is_echo = matches!(protocol, 1 | 58);
        let (source_port, destination_port) = match is_echo {
            true => (self.source_port, self.destination_port),
            false => (self.destination_port, self.source_port),
        };
        Self {
            source: self.destination,
            destination: self.source,
            source_port,
            destination_port,
        }
    }
}

impl Tracked {
    /// A connection that nothing translates.
    pub fn untranslated(protocol: u8, original: Tuple) -> Self {
        Self {
            protocol,
            original,
            reply: original.reversed(protocol),
            answered: false,
            mark: 0,
        }
    }

    /// Whether its destination is translated.
    pub fn is_destination_translated(&self) -> bool {
        let sent_on = self.reply.reversed(self.protocol);
        (sent_on.destination, sent_on.destination_port)
            != (self.original.destination, self.original.destination_port)
    }

    /// Whether its source is translated.
    pub fn is_source_translated(&self) -> bool {
        let sent_on = self.reply.reversed(self.protocol);
        (sent_on.source, sent_on.source_port) != (self.original.source, self.original.source_port)
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = self.tuple();
        match self.transport {
            Transport::Tcp { .. } | Transport::Udp { .. } => {
                let name = match self.transport {
                    Transport::Tcp { .. } => "TCP",
                    _ => "UDP",
                };
                write!(
                    f,
                    "{name} {} -> {}",
                    std::net::SocketAddr::new(ends.source, ends.source_port),
                    std::net::SocketAddr::new(ends.destination, ends.destination_port)
                )?;
            }
            Transport::Icmp { kind, code, .. } => {
                write!(
                    f,
                    "ICMP {kind}/{code} {} -> {}",
                    ends.source, ends.destination
                )?;
            }
            Transport::Other(number) => {
                write!(
                    f,
                    "protocol {number} {} -> {}",
                    ends.source, ends.destination
                )?;
            }
        }
        write!(f, ", TTL {}", self.ttl)?;
        if self.mark != 0 {
            write!(f, ", mark {:#x}", self.mark)?;
        }
        Ok(())
    }
}
