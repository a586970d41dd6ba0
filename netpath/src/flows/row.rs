//! A connection, and a table of them.

use std::{net::IpAddr, time::Duration};

use netpath_common::Family;

/// Who forwards a connection's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The kernel, in both directions.
    Kernel,
    /// The fast path.
    Fast,
}

impl Side {
    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Fast => "fast",
        }
    }
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// Its address.
    pub address: IpAddr,
    /// Its port; `None` of a protocol without ports.
    pub port: Option<u16>,
    /// The endpoint of this node that has the address, or that its prefix is routed to.
    pub endpoint: Option<String>,
}

/// One connection, in the direction of its first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The node.
    pub node: String,
    /// Who forwards it.
    pub side: Side,
    /// Number of its layer-4 protocol (IANA).
    pub protocol: u8,
    /// The end that its first packet came from.
    pub source: End,
    /// The end that it went to.
    pub destination: End,
    /// The identifier of an ICMP echo.
    pub identifier: Option<u16>,
    /// The interface that its first packet came in by; `if<index>` where that is gone; `None` where the connection was read from
    /// the kernel's connection tracking.
    pub ingress: Option<String>,
    /// How long it is known.
    pub age: Duration,
    /// How long ago one of its packets was noted, to about a second.
    pub idle: Duration,
}

impl Flow {
    /// What rows are in the order of: node, endpoint, addresses.
    pub(super) fn order(&self) -> impl Ord {
        let endpoints = [&self.source.endpoint, &self.destination.endpoint];
        let endpoint = endpoints.into_iter().flatten().next();
        (
            &self.node,
            endpoint.is_none(),
            endpoint,
            &self.source,
            &self.destination,
            self.protocol,
            self.identifier,
        )
    }
}

/// How full a node's table of connections is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowTable {
    /// The node.
    pub node: String,
    /// Of which family.
    pub family: Family,
    /// Entries that there are: of connections, and of those that fragments are found by.
    pub entries: u64,
    /// Entries that there is room for.
    pub room: u64,
    /// Entries that the programs have made since the node is up.
    pub entered: u64,
    /// How many of these are not there any more at least: the oldest make room for others.
    pub evicted: u64,
}

/// The name of a layer-4 protocol (IANA, in lower case), if it is one that routers often see.
#[must_use]
pub fn protocol_name(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        1 => "icmp",
        2 => "igmp",
        4 => "ipip",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        41 => "ipv6",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "icmpv6",
        89 => "ospf",
        103 => "pim",
        112 => "vrrp",
        115 => "l2tp",
        132 => "sctp",
        136 => "udplite",
        _ => return None,
    })
}
