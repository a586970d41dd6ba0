//! Entering the connections that the kernel has translated: the programs leave them to it in both directions.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use netpath_common::{ConnectionEntry, ConnectionKey};

use super::{super::error::ProvisionError, Site};
use crate::{
    datapath::{DatapathError, Maps, coarse_now},
    netfilter::conntrack::{self, Translated, Tuple},
    netns::Inside,
};

impl Site<'_> {
    /// What is entered already stays as it is: one of its packets has been seen.
    pub(super) fn enter_connections(
        &self,
        inside: &Inside<'_>,
        to_come: &[IpNet],
    ) -> Result<(), ProvisionError> {
        let translated = conntrack::translated(inside)?;
        let writer = self.writer()?;
        let maps = writer.reader;
        let entries = Entries::of(&translated, &mut Ends::new(maps, to_come))?;
        self.tell_no_room("IPv4", entries.v4.len(), maps.connections_v4.max_entries());
        self.tell_no_room("IPv6", entries.v6.len(), maps.connections_v6.max_entries());
        for (key, entry) in &entries.v4 {
            writer.connections_v4.add(key, entry)?;
        }
        for (key, entry) in &entries.v6 {
            writer.connections_v6.add(key, entry)?;
        }
        tracing::debug!(
            "{}: of {} connections that the kernel translates, {} entries are for the fast path",
            self.name,
            translated.len(),
            entries.v4.len() + entries.v6.len()
        );
        Ok(())
    }

    /// What finds no room is on neither side: its server's packets go untranslated until its client speaks.
    fn tell_no_room(&self, family: &str, entries: usize, room: u32) {
        if entries <= room as usize {
            return;
        }
        tracing::warn!(
            "node {}: its {family} connections that the kernel has translated take {entries} entries, and there is room for \
             {room}: the others break where their server speaks before their client does; write a larger max_connections into \
             the topology file, run `netpath up`, and switch the fast path off and on",
            self.name
        );
    }
}

/// Which ends are routed.
struct Ends<'a> {
    maps: &'a Maps,
    to_come: BTreeSet<IpNet>,
    /// The lengths of the prefixes among those.
    lengths: BTreeSet<u8>,
    asked: BTreeMap<IpAddr, bool>,
}

impl<'a> Ends<'a> {
    fn new(maps: &'a Maps, to_come: &[IpNet]) -> Self {
        Self {
            maps,
            to_come: to_come.iter().map(IpNet::trunc).collect(),
            lengths: to_come.iter().map(IpNet::prefix_len).collect(),
            asked: BTreeMap::new(),
        }
    }

    /// As the programs judge it, or will when all is made.
    fn has(&mut self, address: IpAddr) -> Result<bool, DatapathError> {
        if let Some(&known) = self.asked.get(&address) {
            return Ok(known);
        }
        let is_end = self.comes(address, address_length(address))
            || match self.maps.endpoint(address)? {
                Some(entry) => !entry.is_node(),
                None => {
                    let mut lengths = self.lengths.iter();
                    lengths.any(|length| self.comes(address, *length))
                        || self.maps.route(address.into())?.is_some()
                }
            };
        self.asked.insert(address, is_end);
        Ok(is_end)
    }

    fn comes(&self, address: IpAddr, length: u8) -> bool {
        let prefix = IpNet::new(address, length);
        prefix.is_ok_and(|prefix| self.to_come.contains(&prefix.trunc()))
    }
}

fn address_length(address: IpAddr) -> u8 {
    IpNet::from(address).prefix_len()
}

/// What is to be entered.
#[derive(Default)]
struct Entries {
    now: u64,
    v4: BTreeMap<ConnectionKey<4>, ConnectionEntry>,
    v6: BTreeMap<ConnectionKey<16>, ConnectionEntry>,
}

impl Entries {
    /// Each connection as its packets look before it is translated and after, where both ends are routed.
    fn of<'t>(
        translated: impl IntoIterator<Item = &'t Translated>,
        ends: &mut Ends<'_>,
    ) -> Result<Self, DatapathError> {
        let mut entries = Self {
            now: coarse_now(),
            ..Self::default()
        };
        for connection in translated {
            // Both from the end that began it.
            let (before, after) = (connection.original, connection.reply.inverse());
            let to = |tuple: &Tuple| (tuple.destination, tuple.destination_port);
            let is_translated = to(&before) != to(&after);
            for (tuple, is_translated) in [(before, false), (after, is_translated)] {
                if ends.has(tuple.source)? && ends.has(tuple.destination)? {
                    entries.add(&tuple, is_translated);
                }
            }
        }
        Ok(entries)
    }

    /// As its packets look; whether they were for somebody else before.
    fn add(&mut self, tuple: &Tuple, is_translated: bool) {
        let entry = ConnectionEntry {
            entered: self.now,
            seen: self.now,
            translated: is_translated.into(),
            ..ConnectionEntry::default()
        };
        let protocol = tuple.protocol;
        let ports = (tuple.source_port, tuple.destination_port);
        match (tuple.source, tuple.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let ends = [source, destination].map(|it: Ipv4Addr| it.octets());
                add(&mut self.v4, ends, ports, protocol, entry);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let ends = [source, destination].map(|it: Ipv6Addr| it.octets());
                add(&mut self.v6, ends, ports, protocol, entry);
            }
            // Of two families: the programs know no such packet.
            _ => {}
        }
    }
}

/// The connection, and what its fragments are found by.
fn add<const N: usize>(
    entries: &mut BTreeMap<ConnectionKey<N>, ConnectionEntry>,
    [source, destination]: [[u8; N]; 2],
    (source_port, destination_port): (u16, u16),
    protocol: u8,
    entry: ConnectionEntry,
) {
    let (source, destination) = ((source, source_port), (destination, destination_port));
    let (key, from_high) = ConnectionKey::of(source, destination, protocol);
    let entry = ConnectionEntry {
        from_high: from_high.into(),
        ..entry
    };
    entries.entry(key).or_insert(entry);
    // Of all connections between the two: it tells nothing of one.
    let of_pieces = ConnectionEntry {
        translated: 0,
        ..entry
    };
    entries.entry(key.without_ports()).or_insert(of_pieces);
}
