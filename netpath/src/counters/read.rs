//! Reading the maps.

use std::collections::BTreeMap;

use netpath_common::{HopCounter, HopKey, Outcome, text};

use super::{
    CountersError, HopRow, OVERFLOW, Reason,
    names::{Hop, Names},
};
use crate::datapath::{self, Datapath};

/// Reads one node's counters, in a fixed order.
///
/// # Errors
/// When the node is not up, or its maps cannot be read.
pub fn read(node: &str) -> Result<Vec<HopRow>, CountersError> {
    read_with_endpoints(node).map(|(rows, _)| rows)
}

/// Which endpoint is behind an interface, by the names of its node and of the interface.
type Endpoints = BTreeMap<(String, String), String>;

fn read_with_endpoints(node: &str) -> Result<(Vec<HopRow>, Endpoints), CountersError> {
    tracing::info!("reading the counters of node {node}");
    let datapath = Datapath::open(node)?.ok_or_else(|| CountersError::NotUp {
        node: node.to_owned(),
    })?;
    let interfaces = datapath.maps.interfaces.all()?;
    let hops = datapath.maps.hops()?;
    let overflow = datapath.maps.hop_overflow.all()?;
    let mut names = Names::new(&interfaces);
    names.ask_kernel(&datapath, hops.keys())?;
    let endpoints = interfaces.values().filter_map(|entry| {
        let [dev, endpoint] = [text(&entry.name)?, text(&entry.endpoint)?];
        let key = (node.to_owned(), dev.to_owned());
        (!endpoint.is_empty()).then(|| (key, endpoint.to_owned()))
    });
    let endpoints = endpoints.collect();
    Ok((rows(node, &names, &hops, &overflow)?, endpoints))
}

/// The counters of several nodes.
#[derive(Debug, Default)]
pub struct Counters {
    /// In a fixed order.
    pub rows: Vec<HopRow>,
    /// Which endpoint is behind an interface, by the names of its node and of the interface.
    pub endpoints: BTreeMap<(String, String), String>,
    /// Nodes that cannot be read: damaged ones, those of another version, and of which the kernel refuses to tell.
    pub unread: Vec<CountersError>,
}

/// Reads the counters of every node that is up, or of one.
///
/// # Errors
/// When the one node is not up or cannot be read, or netpath's directory cannot be.
pub fn read_all(only: Option<&str>) -> Result<Counters, CountersError> {
    let mut all = Counters::default();
    if let Some(node) = only {
        (all.rows, all.endpoints) = read_with_endpoints(node)?;
        return Ok(all);
    }
    for node in datapath::nodes()? {
        match read_with_endpoints(&node) {
            Ok((rows, endpoints)) => {
                all.rows.extend(rows);
                all.endpoints.extend(endpoints);
            }
            // Taken down since it was listed.
            Err(CountersError::NotUp { .. }) => {}
            // One node's trouble is not the others'.
            Err(error) => all.unread.push(error),
        }
    }
    Ok(all)
}

pub(super) fn rows(
    node: &str,
    names: &Names<'_>,
    hops: &BTreeMap<HopKey, HopCounter>,
    overflow: &BTreeMap<HopKey, HopCounter>,
) -> Result<Vec<HopRow>, CountersError> {
    let row = |key: &HopKey, counter: &HopCounter, is_overflow: bool| {
        let outcome =
            Outcome::from_number(key.outcome).ok_or_else(|| CountersError::UnknownOutcome {
                node: node.to_owned(),
                number: key.outcome,
            })?;
        let hop = if is_overflow {
            Hop {
                ingress: OVERFLOW.to_owned(),
                egress: None,
                endpoint: None,
            }
        } else {
            names.hop(key, outcome)
        };
        Ok(HopRow {
            node: node.to_owned(),
            ingress: hop.ingress,
            egress: hop.egress,
            endpoint: hop.endpoint,
            outcome,
            reason: Reason::of(outcome, key.reason),
            packets: counter.packets,
            bytes: counter.bytes,
        })
    };
    let hops = hops.iter().map(|(key, counter)| row(key, counter, false));
    let overflow = overflow
        .iter()
        .map(|(key, counter)| row(key, counter, true));
    let mut rows = hops
        .chain(overflow)
        .collect::<Result<Vec<_>, CountersError>>()?;
    rows.sort_by(|a, b| a.identity().cmp(&b.identity()));
    Ok(rows)
}
