//! Reading the maps.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
    time::Duration,
};

use netpath_common::{
    ConnectionEntry, ConnectionFamily, ConnectionKey, Family, Ifindex, has_ports, text,
};

use super::{End, Flow, FlowTable, FlowsError, Side, ends::Endpoints};
use crate::datapath::{self, Datapath, DatapathError, Maps, coarse_now};

/// The connections of several nodes.
#[derive(Debug, Default)]
pub struct Flows {
    /// In the order of nodes, endpoints and addresses.
    pub flows: Vec<Flow>,
    /// For each node and family.
    pub tables: Vec<FlowTable>,
    /// Endpoints that there are.
    pub endpoints: BTreeSet<String>,
    /// Nodes that cannot be read: damaged ones, those of another version, and of which the kernel refuses to tell.
    pub unread: Vec<FlowsError>,
}

impl Flows {
    /// Keeps the connections of which an endpoint is an end.
    pub fn retain_endpoint(&mut self, name: &str) {
        let has = |end: &End| end.endpoint.as_deref() == Some(name);
        self.flows
            .retain(|flow| has(&flow.source) || has(&flow.destination));
    }
}

/// Reads the connections of every node that is up, or of one.
///
/// # Errors
/// When the one node is not up or cannot be read, or netpath's directory cannot be.
pub fn read_all(only: Option<&str>) -> Result<Flows, FlowsError> {
    let mut all = Flows::default();
    match only {
        Some(node) => read(node, &mut all)?,
        None => {
            for node in datapath::nodes()? {
                match read(&node, &mut all) {
                    // The second was taken down since it was listed.
                    Ok(()) | Err(FlowsError::NotUp { .. }) => {}
                    // One node's trouble is not the others'.
                    Err(error) => all.unread.push(error),
                }
            }
        }
    }
    all.flows.sort_by(|a, b| a.order().cmp(&b.order()));
    Ok(all)
}

fn read(node: &str, all: &mut Flows) -> Result<(), FlowsError> {
    tracing::info!("reading the connections of node {node}");
    let datapath = Datapath::open(node)?.ok_or_else(|| FlowsError::NotUp {
        node: node.to_owned(),
    })?;
    let maps = &datapath.maps;
    // Before the tables: what is entered meanwhile was not evicted.
    let counts = maps.connection_counts.all()?;
    let (v4, v6) = (maps.connections_v4.all()?, maps.connections_v6.all()?);
    let reading = Reading {
        node,
        now: coarse_now(),
        endpoints: Endpoints::of(maps)?,
        interfaces: interfaces(maps)?,
    };
    let mut flows = reading.flows(&v4)?;
    flows.extend(reading.flows(&v6)?);
    let tables = [
        (Family::V4, filled(&v4), maps.connections_v4.max_entries()),
        (Family::V6, filled(&v6), maps.connections_v6.max_entries()),
    ];
    let tables = tables.map(|(family, (entries, of_programs), room)| {
        let version = match family {
            Family::V4 => 4,
            Family::V6 => 6,
        };
        let count = counts.get(&ConnectionFamily { version });
        let entered = count.map_or(0, |count| count.entered);
        FlowTable {
            node: node.to_owned(),
            family,
            entries,
            room: room.into(),
            entered,
            evicted: entered.saturating_sub(of_programs),
        }
    });
    all.endpoints.extend(reading.endpoints.names().cloned());
    all.flows.extend(flows);
    all.tables.extend(tables);
    Ok(())
}

/// How many entries a table has, and how many of these the programs have made: what was read from the kernel's table came in by
/// no interface.
pub(super) fn filled<const N: usize>(
    entries: &BTreeMap<ConnectionKey<N>, ConnectionEntry>,
) -> (u64, u64) {
    let of_programs = entries.values().filter(|it| it.ingress != Ifindex(0));
    (entries.len() as u64, of_programs.count() as u64)
}

/// The names of the interfaces that netpath knows.
fn interfaces(maps: &Maps) -> Result<BTreeMap<Ifindex, String>, DatapathError> {
    let interfaces = maps.interfaces.all()?.into_iter();
    let names = interfaces.filter_map(|(ifindex, entry)| {
        let name = text(&entry.name).filter(|name| !name.is_empty())?;
        Some((ifindex, name.to_owned()))
    });
    Ok(names.collect())
}

/// What is looked at beside the connections of a node.
struct Reading<'a> {
    node: &'a str,
    now: u64,
    endpoints: Endpoints<'a>,
    interfaces: BTreeMap<Ifindex, String>,
}

impl Reading<'_> {
    fn flows<const N: usize>(
        &self,
        entries: &BTreeMap<ConnectionKey<N>, ConnectionEntry>,
    ) -> Result<Vec<Flow>, DatapathError>
    where
        IpAddr: From<[u8; N]>,
    {
        let mut flows = Vec::with_capacity(entries.len());
        let identified = identified(entries.keys());
        for (key, entry) in entries {
            if identified.contains(key) {
                continue;
            }
            let Some(flow) = flow(self.node, key, entry, self.now) else {
                continue;
            };
            let Flow {
                source,
                destination,
                ..
            } = &flow;
            let [from, to] = [source, destination].map(|end| self.endpoints.at(end.address));
            let ingress = (entry.ingress != Ifindex(0)).then(|| self.interface(entry.ingress));
            flows.push(Flow {
                ingress,
                source: End {
                    endpoint: from?,
                    ..flow.source
                },
                destination: End {
                    endpoint: to?,
                    ..flow.destination
                },
                ..flow
            });
        }
        Ok(flows)
    }

    fn interface(&self, ifindex: Ifindex) -> String {
        let known = self.interfaces.get(&ifindex).cloned();
        known.unwrap_or_else(|| format!("if{}", ifindex.0))
    }
}

/// The keys by which fragments of ICMP echoes are found that have an entry of their own: else they would be listed twice.
pub(super) fn identified<'k, const N: usize>(
    keys: impl Iterator<Item = &'k ConnectionKey<N>>,
) -> HashSet<ConnectionKey<N>> {
    let is_icmp = |key: &&ConnectionKey<N>| {
        let number = key.protocol as i32;
        [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6].contains(&number) && key.low_port != 0
    };
    keys.filter(is_icmp)
        .map(ConnectionKey::without_ports)
        .collect()
}

/// What an entry says of a connection by itself; `None` of one that only fragments are found by, and of what no program enters.
pub(super) fn flow<const N: usize>(
    node: &str,
    key: &ConnectionKey<N>,
    entry: &ConnectionEntry,
    now: u64,
) -> Option<Flow>
where
    IpAddr: From<[u8; N]>,
{
    let protocol = u8::try_from(key.protocol).ok()?;
    let is_numbered = (key.low_port, key.high_port) != (0, 0);
    let with_ports = has_ports(protocol);
    if with_ports && !is_numbered {
        return None;
    }
    let end = |address: [u8; N], port| End {
        address: address.into(),
        port: with_ports.then_some(port),
        endpoint: None,
    };
    let low = end(key.low, key.low_port);
    let high = end(key.high, key.high_port);
    let (source, destination) = match entry.from_high {
        0 => (low, high),
        _ => (high, low),
    };
    let since = |then| Duration::from_nanos(now.saturating_sub(then));
    Some(Flow {
        node: node.to_owned(),
        side: Side::Kernel,
        protocol,
        source,
        destination,
        identifier: (is_numbered && !with_ports).then_some(key.low_port),
        ingress: None,
        age: since(entry.entered),
        idle: since(entry.seen),
    })
}
