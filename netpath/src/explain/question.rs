//! What is asked: a packet from one end to another, and the answer to it. Pure.

use std::{fmt, net::IpAddr, str::FromStr};

use netpath_common::Family;

use super::ExplainError;
use crate::{
    kernel_way::{Packet, Transport, Tuple},
    model::Name,
};

/// TTL or hop limit of what is sent, unless it is said (`net.ipv4.ip_default_ttl`, `net.ipv6.conf.all.hop_limit`).
const TTL: u8 = 64;
/// A port that is nobody's in particular: the first dynamic one (RFC 6335).
const SOURCE_PORT: u16 = 49_152;
/// Ports of a service, unless they are said: HTTP's, and the first of traceroute's.
const TCP_PORT: u16 = 80;
const UDP_PORT: u16 = 33_434;
/// TCP's flags: a connection begins, and is answered.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// Types of ICMP's and ICMPv6's echo and its answer (RFC 792, RFC 4443).
const ECHO: (u8, u8) = (8, 0);
const ECHO_V6: (u8, u8) = (128, 129);
/// The identifier of the echo that is asked about.
const IDENTIFIER: u16 = 1;
/// What `ping` sends behind the header of its echo, in bytes.
const PING: u32 = 56;

/// An end: what has a name, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An endpoint or a node.
    Name(Name),
    /// Whose it is has to be found.
    Address(IpAddr),
}

/// An address, or the name of an endpoint or a node.
impl FromStr for Target {
    type Err = <Name as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(address) => Ok(Self::Address(address)),
            Err(_) => text.parse().map(Self::Name),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// What the packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The first packet of a TCP connection.
    Tcp,
    /// A UDP datagram.
    Udp,
    /// An echo, as `ping` sends it.
    Icmp,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// From.
    pub source: Target,
    /// To.
    pub destination: Target,
    /// What it carries.
    pub protocol: Protocol,
    /// Its source port.
    pub source_port: Option<u16>,
    /// Its destination port.
    pub destination_port: Option<u16>,
    /// Its TTL or hop limit.
    pub ttl: Option<u8>,
    /// Bytes of the IP packet, header included.
    pub size: Option<u32>,
    /// IPv4's DF; of IPv6, that its sender does not cut it either.
    pub dont_fragment: bool,
    /// The mark that its sender gives it.
    pub mark: u32,
    /// Its DSCP.
    pub dscp: u8,
    /// Whether the way back is asked about too; `None`: where both ends have a name.
    pub reply: Option<bool>,
    /// The node that what is from outside comes to; or where the source is looked for.
    pub node: Option<Name>,
    /// Whether the kernel is asked, too, where the fast path decides.
    pub diff: bool,
}

impl Question {
    /// Whether the way back is asked about.
    pub fn wants_reply(&self) -> bool {
        let is_name = |end: &Target| matches!(end, Target::Name(_));
        self.reply
            .unwrap_or_else(|| is_name(&self.source) && is_name(&self.destination))
    }

    /// Refuses a size that no such packet has.
    pub(super) fn check(&self, packet: &Packet) -> Result<(), ExplainError> {
        let least = headers(packet);
        match (least..=65_535).contains(&packet.length) {
            true => Ok(()),
            false => Err(ExplainError::Size {
                size: packet.length,
                least,
            }),
        }
    }

    /// The packet, as it is sent.
    pub fn packet(&self, source: IpAddr, destination: IpAddr) -> Packet {
        let family = Family::of(destination);
        let source_port = self.source_port.unwrap_or(SOURCE_PORT);
        let transport = match self.protocol {
            Protocol::Tcp => Transport::Tcp {
                source_port,
                destination_port: self.destination_port.unwrap_or(TCP_PORT),
                flags: SYN,
            },
            Protocol::Udp => Transport::Udp {
                source_port,
                destination_port: self.destination_port.unwrap_or(UDP_PORT),
            },
            Protocol::Icmp => Transport::Icmp {
                kind: echo(family).0,
                code: 0,
                id: IDENTIFIER,
            },
        };
        let packet = Packet {
            source,
            destination,
            transport,
            ttl: self.ttl.unwrap_or(TTL),
            tos: self.dscp << 2,
            length: 0,
            dont_fragment: self.dont_fragment,
            mark: self.mark,
            flow_label: 0,
            fragments: None,
        };
        let length = self.size.unwrap_or_else(|| usual(&packet));
        Packet { length, ..packet }
    }

    /// The answer of whoever has got it: as long, but what answers the beginning of a TCP connection.
    pub fn answer(&self, received: &Packet) -> Packet {
        let Tuple {
            source,
            destination,
            source_port,
            destination_port,
        } = received.tuple();
        let transport = match received.transport {
            Transport::Tcp { .. } => Transport::Tcp {
                source_port: destination_port,
                destination_port: source_port,
                flags: SYN | ACK,
            },
            Transport::Udp { .. } => Transport::Udp {
                source_port: destination_port,
                destination_port: source_port,
            },
            Transport::Icmp { id, .. } => Transport::Icmp {
                kind: echo(received.family()).1,
                code: 0,
                id,
            },
            other @ Transport::Other(_) => other,
        };
        let family = received.family();
        // An echo's answer is cut where it has to be, and has the DSCP of what it answers (`icmp_reply`, `icmpv6_echo_reply`); of
        // others the socket decides, which by default has none. TCP never has its segments cut.
        let (tos, dont_fragment) = match received.transport {
            Transport::Icmp { .. } => (received.tos, false),
            Transport::Tcp { .. } => (0, family == Family::V4),
            Transport::Udp { .. } | Transport::Other(_) => (0, received.dont_fragment),
        };
        let answer = Packet {
            source: destination,
            destination: source,
            transport,
            ttl: TTL,
            tos,
            dont_fragment,
            mark: 0,
            fragments: None,
            ..received.clone()
        };
        let length = match transport {
            Transport::Tcp { .. } => usual(&answer),
            _ => received.length,
        };
        Packet { length, ..answer }
    }
}

fn echo(family: Family) -> (u8, u8) {
    match family {
        Family::V4 => ECHO,
        Family::V6 => ECHO_V6,
    }
}

/// Length of the headers alone, and of an echo as `ping` sends it: the least that `--size` may be but for its payload.
fn usual(packet: &Packet) -> u32 {
    match packet.transport {
        Transport::Icmp { .. } => headers(packet) + PING,
        _ => headers(packet),
    }
}

/// Bytes of a packet's headers.
pub(super) fn headers(packet: &Packet) -> u32 {
    let network = match packet.family() {
        Family::V4 => 20,
        Family::V6 => 40,
    };
    network
        + match packet.transport {
            Transport::Tcp { .. } => 20,
            Transport::Udp { .. } | Transport::Icmp { .. } => 8,
            Transport::Other(_) => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(protocol: Protocol) -> Question {
        Question {
            source: "demo01".parse().expect("a name"),
            destination: "10.0.3.2".parse().expect("an address"),
            protocol,
            source_port: None,
            destination_port: None,
            ttl: None,
            size: None,
            dont_fragment: true,
            mark: 7,
            dscp: 46,
            reply: None,
            node: None,
            diff: false,
        }
    }

    fn packets(protocol: Protocol, ends: [&str; 2]) -> (Packet, Packet) {
        let [source, destination] = ends.map(|end| end.parse().expect("an address"));
        let question = question(protocol);
        let packet = question.packet(source, destination);
        let answer = question.answer(&packet);
        (packet, answer)
    }

    #[test]
    fn an_end_is_an_address_or_a_name() {
        let address = |text: &str| Target::Address(text.parse().expect(text));
        assert_eq!("10.0.1.2".parse(), Ok(address("10.0.1.2")));
        assert_eq!("fd00:1::2".parse(), Ok(address("fd00:1::2")));
        assert!(matches!("demo01".parse(), Ok(Target::Name(_))));
        assert!("../demo01".parse::<Target>().is_err());
    }

    #[test]
    fn the_answer_goes_back_by_default_between_names_only() {
        let mut asked = question(Protocol::Icmp);
        assert!(!asked.wants_reply());
        asked.destination = "demo02".parse().expect("a name");
        assert!(asked.wants_reply());
        asked.reply = Some(false);
        assert!(!asked.wants_reply());
    }

    #[test]
    fn packets_are_what_ping_and_connect_send() {
        let v4 = ["10.0.1.2", "10.0.3.2"];
        let v6 = ["fd00:1::2", "fd00:3::2"];
        let (echo, back) = packets(Protocol::Icmp, v4);
        assert_eq!(
            (echo.length, echo.tos, echo.mark, echo.ttl),
            (84, 184, 7, 64)
        );
        assert!(echo.dont_fragment);
        let kind = |packet: &Packet| match packet.transport {
            Transport::Icmp { kind, id, .. } => (kind, id),
            other => panic!("{other:?}"),
        };
        assert_eq!((kind(&echo), kind(&back)), ((8, 1), (0, 1)));
        assert_eq!(
            (back.source, back.mark, back.length),
            (echo.destination, 0, 84)
        );
        let (echo, back) = packets(Protocol::Icmp, v6);
        assert_eq!((kind(&echo), kind(&back)), ((128, 1), (129, 1)));
        assert_eq!((echo.length, echo.dont_fragment), (104, true));
        // Echoes are answered with their own DSCP, and the answer may be cut; a server's socket has no DSCP.
        assert_eq!((back.tos, back.dont_fragment), (184, false));
        let (_, back) = packets(Protocol::Udp, v4);
        assert_eq!((back.tos, back.dont_fragment), (0, true));
        let (_, back) = packets(Protocol::Tcp, v6);
        assert_eq!((back.tos, back.dont_fragment), (0, false));
        let (syn, back) = packets(Protocol::Tcp, v4);
        let ports = (back.tuple().source_port, back.tuple().destination_port);
        assert_eq!((syn.length, ports), (40, (80, 49_152)));
        let Transport::Tcp { flags, .. } = back.transport else {
            panic!("{back:?}");
        };
        assert_eq!(flags, 0x12);
        assert_eq!(packets(Protocol::Udp, v6).0.length, 48);
    }
}
