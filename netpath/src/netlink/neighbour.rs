//! Neighbours: who is known at which Ethernet address.

use std::{fmt, net::IpAddr, time::Duration};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage, neighbour as packet,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage},
};
use netpath_common::{Ifindex, Mac};

use super::{FAMILIES, Link, Netlink, NetlinkError, channel::About, family};

/// A neighbour, as found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The interface that it is on.
    pub ifindex: Ifindex,
    /// Its address.
    pub address: IpAddr,
    /// Its Ethernet address, if it is known and has six bytes.
    pub mac: Option<Mac>,
    /// What is known of it.
    pub state: NeighbourState,
    /// How long ago what is known of it changed; `None` where the kernel does not say.
    pub age: Option<Duration>,
    /// It is a router (`NTF_ROUTER`).
    pub is_router: bool,
}

/// What the kernel knows of a neighbour: `NUD_*` of linux/neighbour.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// Nothing yet.
    None,
    /// Being asked for the first time.
    Incomplete,
    /// It has answered lately.
    Reachable,
    /// It answered some time ago.
    Stale,
    /// To be asked soon.
    Delay,
    /// Being asked again.
    Probe,
    /// It did not answer.
    Failed,
    /// Not asked: the interface needs no addresses.
    NoArp,
    /// Told by an administrator or a program, for good.
    Permanent,
    /// Any other number.
    Other(u16),
}

impl fmt::Display for NeighbourState {
    /// As `ip neigh` calls it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Incomplete => "incomplete",
            Self::Reachable => "reachable",
            Self::Stale => "stale",
            Self::Delay => "delay",
            Self::Probe => "probe",
            Self::Failed => "failed",
            Self::NoArp => "noarp",
            Self::Permanent => "permanent",
            Self::Other(number) => return write!(f, "{number}"),
        })
    }
}

/// A tick of the clock that the kernel tells times in (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

impl Netlink {
    /// Every neighbour of every interface, both families.
    ///
    /// # Errors
    /// When they cannot be listed, all of them.
    pub fn neighbours(&self) -> Result<Vec<Neighbour>, NetlinkError> {
        let about = About {
            action: "list",
            object: "neighbours",
        };
        let mut neighbours = Vec::new();
        for family in FAMILIES {
            let mut message = NeighbourMessage::default();
            message.header.family = family;
            let request = RouteNetlinkMessage::GetNeighbour(message);
            neighbours.extend(
                self.channel
                    .dump(about, &request, |message| match message {
                        RouteNetlinkMessage::NewNeighbour(message) => decode(&message).map(Some),
                        _ => Ok(None),
                    })?,
            );
        }
        Ok(neighbours)
    }

    /// Makes a neighbour known for good, in place of what was known of it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_neighbour(
        &self,
        link: &Link,
        (address, mac): (IpAddr, Mac),
        is_router: bool,
    ) -> Result<(), NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(address);
        message.header.ifindex = link.ifindex.0;
        message.header.state = packet::NeighbourState::Permanent;
        if is_router {
            message.header.flags = packet::NeighbourFlags::Router;
        }
        message.attributes = vec![
            NeighbourAttribute::Destination(match address {
                IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
                IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
            }),
            NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
        ];
        let about = About {
            action: "add neighbour",
            object: &format!("{address} on {}", link.name),
        };
        let request = RouteNetlinkMessage::NewNeighbour(message);
        self.channel
            .request(about, request, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Forgets a neighbour. One that is forgotten already is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_neighbour(&self, link: &Link, address: IpAddr) -> Result<(), NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(address);
        message.header.ifindex = link.ifindex.0;
        message.attributes = vec![NeighbourAttribute::Destination(match address {
            IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
            IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
        })];
        let about = About {
            action: "remove neighbour",
            object: &format!("{address} on {}", link.name),
        };
        let request = RouteNetlinkMessage::DelNeighbour(message);
        match self.channel.request(about, request, 0) {
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(()),
            result => result,
        }
    }
}

fn decode(message: &NeighbourMessage) -> Result<Neighbour, String> {
    let (mut address, mut mac, mut age) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                address = Some(IpAddr::V4(*v4));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                address = Some(IpAddr::V6(*v6));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            NeighbourAttribute::CacheInfo(info) => age = Some(TICK * info.updated),
            _ => {}
        }
    }
    let ifindex = message.header.ifindex;
    Ok(Neighbour {
        ifindex: Ifindex(ifindex),
        address: address.ok_or_else(|| format!("a neighbour on {ifindex} has no IP address"))?,
        mac,
        age,
        state: match message.header.state {
            packet::NeighbourState::None => NeighbourState::None,
            packet::NeighbourState::Incomplete => NeighbourState::Incomplete,
            packet::NeighbourState::Reachable => NeighbourState::Reachable,
            packet::NeighbourState::Stale => NeighbourState::Stale,
            packet::NeighbourState::Delay => NeighbourState::Delay,
            packet::NeighbourState::Probe => NeighbourState::Probe,
            packet::NeighbourState::Failed => NeighbourState::Failed,
            packet::NeighbourState::Noarp => NeighbourState::NoArp,
            packet::NeighbourState::Permanent => NeighbourState::Permanent,
            other => NeighbourState::Other(other.into()),
        },
        is_router: message
            .header
            .flags
            .contains(packet::NeighbourFlags::Router),
    })
}
