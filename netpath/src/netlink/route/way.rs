//! What the kernel would do with a packet, asked of it: rules, all tables, and whatever else it goes by.

use std::net::IpAddr;

use netlink_packet_route::{
    RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage},
};
use netpath_common::Ifindex;

use super::{Route, decode};
use crate::netlink::{Netlink, NetlinkError, channel::About, family};

/// A packet that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// It comes in by this interface.
    pub iif: Ifindex,
    /// From here. The kernel's check of sources applies.
    pub source: IpAddr,
    /// To there.
    pub destination: IpAddr,
    /// Its type of service.
    pub tos: u8,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes by this route, whole with all its next hops.
    Route(Box<Route>),
    /// Nowhere.
    Refused(NoWay),
}

/// Why a packet goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWay {
    /// A route or a rule drops it; or the check of its source does.
    Dropped,
    /// A route refuses it with "unreachable"; or the interface does not forward.
    Unreachable,
    /// A route or a rule refuses it with "prohibited".
    Prohibited,
    /// There is no route; or a rule refuses it with "unreachable".
    NoRoute,
}

impl NoWay {
    pub(super) fn of(errno: Option<i32>) -> Option<Self> {
        match errno? {
            libc::EINVAL | libc::EXDEV => Some(Self::Dropped),
            libc::EHOSTUNREACH => Some(Self::Unreachable),
            libc::EACCES => Some(Self::Prohibited),
            libc::ENETUNREACH | libc::EAGAIN => Some(Self::NoRoute),
            _ => None,
        }
    }
}

impl Netlink {
    /// What becomes of a packet that comes in by an interface.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn fate(&self, asked: &Asked) -> Result<Fate, NetlinkError> {
        let about = About {
            action: "ask for the route of a packet to",
            object: &asked.destination.to_string(),
        };
        let request = RouteNetlinkMessage::GetRoute(message(asked));
        let answer = match self.channel.ask(about, request, 0) {
            Ok(answer) => answer,
            Err(error) => {
                let refused = NoWay::of(error.errno()).map(Fate::Refused);
                return refused.ok_or(error);
            }
        };
        let route = answer.iter().find_map(|message| match message {
            RouteNetlinkMessage::NewRoute(message) => decode::decode(message).transpose(),
            _ => None,
        });
        match route {
            Some(Ok(route)) => Ok(Fate::Route(Box::new(route))),
            Some(Err(problem)) => Err(about.undecoded(problem)),
            None => Err(about.undecoded("it holds no route")),
        }
    }
}

/// As `ip route get fibmatch` asks. IPv6 always tells the table.
fn message(asked: &Asked) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (length, flags) = match asked.destination {
        IpAddr::V4(_) => (32, RouteFlags::FibMatch | RouteFlags::LookupTable),
        IpAddr::V6(_) => (128, RouteFlags::FibMatch),
    };
    message.header.address_family = family(asked.destination);
    message.header.destination_prefix_length = length;
    message.header.source_prefix_length = length;
    message.header.tos = asked.tos;
    message.header.flags = flags;
    message.attributes = vec![
        RouteAttribute::Destination(RouteAddress::from(asked.destination)),
        RouteAttribute::Source(RouteAddress::from(asked.source)),
        RouteAttribute::Iif(asked.iif.0),
    ];
    message
}
