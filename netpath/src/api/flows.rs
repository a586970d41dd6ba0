//! Connections.

use std::time::Duration;

use serde::Serialize;

use crate::flows;

/// `netpath flows -j`. Schema: docs/schema/flows.json.
#[derive(Clone, Debug, Serialize)]
pub struct Flows {
    /// A row for each connection.
    pub flows: Vec<Flow>,
    /// A row for each node and family.
    pub tables: Vec<FlowTable>,
    /// [`Flows::VERSION`].
    pub version: u32,
}

impl Flows {
    /// Of the document.
    pub const VERSION: u32 = 1;
}

impl From<&flows::Flows> for Flows {
    fn from(found: &flows::Flows) -> Self {
        Self {
            flows: found.flows.iter().map(Flow::from).collect(),
            tables: found.tables.iter().map(FlowTable::from).collect(),
            version: Self::VERSION,
        }
    }
}

/// One connection, in the direction of its first packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// The node.
    pub node: String,
    /// Who forwards its packets, in both directions: `kernel` or `fast`.
    pub side: &'static str,
    /// Name of its layer-4 protocol; its number where that has none here.
    pub protocol: String,
    /// The number (IANA).
    pub protocol_number: u8,
    /// The end that its first packet came from.
    pub source: FlowEnd,
    /// The end that it went to.
    pub destination: FlowEnd,
    /// The identifier of an ICMP echo; else null.
    pub identifier: Option<u16>,
    /// The interface that its first packet came in by; `if<index>` where that is gone; null where the connection was read from
    /// the kernel's connection tracking.
    pub ingress: Option<String>,
    /// How long it is known, in whole seconds.
    pub age: u64,
    /// How long ago one of its packets was noted, in whole seconds; that happens at most once a second.
    pub idle: u64,
}

/// An end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowEnd {
    /// Its address.
    pub address: String,
    /// Its port; null of a protocol without ports.
    pub port: Option<u16>,
    /// The endpoint of this node that has the address; null where none has.
    pub endpoint: Option<String>,
}

impl From<&flows::Flow> for Flow {
    fn from(flow: &flows::Flow) -> Self {
        let name = flows::protocol_name(flow.protocol);
        Self {
            node: flow.node.clone(),
            side: flow.side.name(),
            protocol: name.map_or_else(|| flow.protocol.to_string(), str::to_owned),
            protocol_number: flow.protocol,
            source: FlowEnd::from(&flow.source),
            destination: FlowEnd::from(&flow.destination),
            identifier: flow.identifier,
            ingress: flow.ingress.clone(),
            age: Duration::as_secs(&flow.age),
            idle: Duration::as_secs(&flow.idle),
        }
    }
}

impl From<&flows::End> for FlowEnd {
    fn from(end: &flows::End) -> Self {
        Self {
            address: end.address.to_string(),
            port: end.port,
            endpoint: end.endpoint.clone(),
        }
    }
}

/// How full a node's table of connections is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowTable {
    /// The node.
    pub node: String,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// Entries that there are: one for each connection, and one more for the fragments between its ends.
    pub entries: u64,
    /// Entries that there is room for: `max_connections` of the node.
    pub room: u64,
    /// Entries that the programs have made since the node is up.
    pub entered: u64,
    /// How many of these at least had to make room for others.
    pub evicted: u64,
}

impl From<&flows::FlowTable> for FlowTable {
    fn from(table: &flows::FlowTable) -> Self {
        Self {
            node: table.node.clone(),
            family: table.family.to_string(),
            entries: table.entries,
            room: table.room,
            entered: table.entered,
            evicted: table.evicted,
        }
    }
}
