//! What a program logged of a packet, in words.

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Mutex, sync::PoisonError};

use netpath_common::{Ifindex, InterfaceEntry, Outcome};

use super::{HopRow, Reason, names::Names};
use crate::datapath::{Datapath, DatapathError, LoggedPacket};

/// One packet: a row of counters that counts it alone, and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketRow {
    /// The row.
    pub hop: HopRow,
    /// Its source and its destination, where it is a plain IP packet.
    pub addresses: Option<[IpAddr; 2]>,
}

/// `node03: va1 > va2 redirect_peer, 98 bytes, 10.0.1.2 > 10.0.2.2, endpoint demo01`.
impl fmt::Display for PacketRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hop = &self.hop;
        write!(f, "{}: {}", hop.node, hop.ingress)?;
        if let Some(egress) = &hop.egress {
            write!(f, " > {egress}")?;
        }
        write!(f, " {}", hop.outcome.name())?;
        if let Some(reason) = &hop.reason {
            write!(f, " {reason}")?;
        }
        write!(f, ", {} bytes", hop.bytes)?;
        if let Some([source, destination]) = self.addresses {
            write!(f, ", {source} > {destination}")?;
        }
        match &hop.endpoint {
            Some(endpoint) => write!(f, ", endpoint {endpoint}"),
            None => Ok(()),
        }
    }
}

/// The names of a node's interfaces and endpoints, read again when a packet passes one that is not known.
#[derive(Debug)]
pub struct PacketNames {
    datapath: Datapath,
    interfaces: Mutex<BTreeMap<Ifindex, InterfaceEntry>>,
}

impl PacketNames {
    /// Of a node that is up.
    ///
    /// # Errors
    /// When its maps cannot be read.
    pub fn of(datapath: Datapath) -> Result<Self, DatapathError> {
        let interfaces = Mutex::new(datapath.maps.interfaces.all()?);
        Ok(Self {
            datapath,
            interfaces,
        })
    }

    /// In words. `None` for an outcome that this version does not know.
    ///
    /// # Errors
    /// When the maps cannot be read any more.
    pub fn row(&self, packet: &LoggedPacket) -> Result<Option<PacketRow>, DatapathError> {
        let key = &packet.hop;
        let Some(outcome) = Outcome::from_number(key.outcome) else {
            return Ok(None);
        };
        let mut interfaces = self
            .interfaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_known = |ifindex: &Ifindex| ifindex.0 == 0 || interfaces.contains_key(ifindex);
        if ![key.ingress, key.egress].iter().all(is_known) {
            *interfaces = self.datapath.maps.interfaces.all()?;
        }
        let mut names = Names::new(&interfaces);
        names.ask_kernel(&self.datapath, std::iter::once(key))?;
        let hop = names.hop(key, outcome);
        Ok(Some(PacketRow {
            hop: HopRow {
                node: self.datapath.name().to_owned(),
                ingress: hop.ingress,
                egress: hop.egress,
                endpoint: hop.endpoint,
                outcome,
                reason: Reason::of(outcome, key.reason),
                packets: 1,
                bytes: u64::from(packet.length),
            },
            addresses: packet.addresses,
        }))
    }
}
