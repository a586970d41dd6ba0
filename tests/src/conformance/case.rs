//! What a case is.

use std::{fmt, net::IpAddr};

use netpath::probe::frame::FrameBuilder;
use netpath_common::Mac;

use super::{
    lab::Lab,
    place::{Place, UPLINK_TO_C},
};
use crate::{Family, between, tc_program::Behaviour};

/// Which way through node A a case's packets take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// From a1 to a2.
    SameNode,
    /// From a1 to b1.
    ToRemote,
    /// From node B's uplink, as if from b1, to a1.
    FromUplink,
    /// From node B's uplink, as if from b1, to c1.
    Transit,
}

impl Path {
    /// All.
    pub const ALL: [Self; 4] = [
        Self::SameNode,
        Self::ToRemote,
        Self::FromUplink,
        Self::Transit,
    ];

    /// Whether the packets come from an endpoint of node A.
    pub fn is_from_endpoint(self) -> bool {
        matches!(self, Self::SameNode | Self::ToRemote)
    }

    /// Whether the packets are for an endpoint of node A.
    pub fn is_to_endpoint(self) -> bool {
        matches!(self, Self::SameNode | Self::FromUplink)
    }

    /// The node that the packets leave for.
    pub fn next_node(self) -> Option<Place> {
        match self {
            Self::SameNode | Self::FromUplink => None,
            Self::ToRemote => Some(Place::NodeB),
            Self::Transit => Some(Place::NodeC),
        }
    }

    /// The wire that they leave by.
    ///
    /// # Panics
    /// Where they do not leave.
    pub fn way_out(self) -> Place {
        match self.next_node() {
            Some(Place::NodeB) => Place::Wire,
            Some(_) => Place::WireC,
            None => panic!("{self} leads into an endpoint"),
        }
    }

    /// Where the frames are put on.
    pub fn injected_at(self) -> Place {
        match self {
            Self::SameNode | Self::ToRemote => Place::A1,
            Self::FromUplink | Self::Transit => Place::NodeB,
        }
    }

    /// Whose address the source is.
    pub fn sender(self) -> Place {
        match self {
            Self::SameNode | Self::ToRemote => Place::A1,
            Self::FromUplink | Self::Transit => Place::B1,
        }
    }

    /// Whose address the destination is.
    pub fn receiver(self) -> Place {
        match self {
            Self::SameNode => Place::A2,
            Self::ToRemote => Place::B1,
            Self::FromUplink => Place::A1,
            Self::Transit => Place::C1,
        }
    }

    /// Node A's interface that the packets come in by.
    pub fn ingress(self) -> &'static str {
        match self {
            Self::SameNode | Self::ToRemote => Place::A1.host_dev(),
            Self::FromUplink | Self::Transit => Place::NodeA.dev(),
        }
    }

    /// Node A's interface that they leave by.
    pub fn egress(self) -> &'static str {
        match self {
            Self::SameNode => Place::A2.host_dev(),
            Self::ToRemote => Place::NodeA.dev(),
            Self::FromUplink => Place::A1.host_dev(),
            Self::Transit => UPLINK_TO_C,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SameNode => "same node",
            Self::ToRemote => "to another node",
            Self::FromUplink => "from another node",
            Self::Transit => "from one other node to another",
        })
    }
}

/// One way and family, with the addresses that belong to it.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// The family.
    pub family: Family,
    /// The way.
    pub path: Path,
    /// The sender's MAC.
    pub source_mac: Mac,
    /// Node A's MAC on the ingress interface.
    pub destination_mac: Mac,
    /// The sender's address.
    pub source: IpAddr,
    /// The receiver's address.
    pub destination: IpAddr,
    /// Its frames are sent once only, as [`Case::once`].
    pub once: bool,
}

impl Flow {
    /// Of a lab.
    pub fn new(lab: &Lab, family: Family, path: Path) -> Self {
        let at = path.injected_at();
        Self {
            family,
            path,
            source_mac: lab.mac(at),
            destination_mac: match path {
                Path::SameNode | Path::ToRemote => lab.host_mac(at),
                Path::FromUplink | Path::Transit => lab.mac(Place::NodeA),
            },
            source: path.sender().address(family),
            destination: path.receiver().address(family),
            once: false,
        }
    }

    /// A frame of this flow with an IP header and nothing behind it yet.
    pub fn ip(&self) -> FrameBuilder {
        let frame = FrameBuilder::new(self.source_mac, self.destination_mac);
        between(frame, self.source, self.destination).id(0x4e50)
    }

    /// A UDP datagram to a port where nobody listens.
    pub fn udp(&self) -> FrameBuilder {
        self.ip()
            .udp(40_000, 40_001)
            .payload(b"netpath conformance")
    }

    /// The same flow from another address.
    pub fn from(self, source: IpAddr) -> Self {
        Self { source, ..self }
    }

    /// The same flow to another address.
    pub fn to(self, destination: IpAddr) -> Self {
        Self {
            destination,
            ..self
        }
    }

    /// Whether it is IPv4.
    pub fn is_v4(&self) -> bool {
        self.family == Family::V4
    }
}

/// One change to the lab, and how to take it back.
#[derive(Clone, Debug)]
pub enum Step {
    /// `ip` with `change`, later with `undo` unless that is empty.
    Ip {
        /// Where.
        place: Place,
        /// Arguments.
        change: String,
        /// Arguments.
        undo: String,
    },
    /// A sysctl below /proc/sys/net.
    Sysctl {
        /// Where.
        place: Place,
        /// The path.
        key: String,
        /// The value.
        value: String,
    },
    /// Somebody else's program at node A, before netpath's and gone with the case.
    TcProgram {
        /// On ingress of this interface.
        dev: &'static str,
        /// What it does.
        behaviour: Behaviour,
    },
}

impl Step {
    /// Whether it is about a route that has an MTU of its own.
    pub fn gives_a_route_an_mtu(&self) -> bool {
        matches!(self, Self::Ip { change, .. } if change.starts_with("route") && change.contains(" mtu "))
    }

    /// Whether it is about whether an interface forwards.
    pub fn sets_forwarding(&self) -> bool {
        matches!(self, Self::Sysctl { key, .. } if key.ends_with("/forwarding"))
    }

    /// An `ip` command and the one that takes it back.
    pub fn ip(place: Place, change: impl Into<String>, undo: impl Into<String>) -> Self {
        Self::Ip {
            place,
            change: change.into(),
            undo: undo.into(),
        }
    }

    /// `ip <object> add <what>`, later `ip <object> del <what>`.
    pub fn add(place: Place, object: &str, what: &str) -> Self {
        Self::ip(
            place,
            format!("{object} add {what}"),
            format!("{object} del {what}"),
        )
    }

    /// An interface's MTU, later 1500 again.
    pub fn mtu(place: Place, dev: &str, mtu: u32) -> Self {
        let command = |mtu: u32| format!("link set {dev} mtu {mtu}");
        Self::ip(place, command(mtu), command(1500))
    }

    /// Sets the mark of packets of this many bytes, the Ethernet header included, that come in by an interface
    /// of node A.
    pub fn mark(dev: &'static str, length: usize, mark: u32) -> Self {
        Self::TcProgram {
            dev,
            behaviour: Behaviour::mark(mark).only_length(length as u32),
        }
    }

    /// A sysctl below /proc/sys/net, later as it was.
    pub fn sysctl(place: Place, key: &str, value: &str) -> Self {
        Self::Sysctl {
            place,
            key: key.into(),
            value: value.into(),
        }
    }
}

/// What a case does with sockets of its own; it says what came of it.
pub type Work = dyn Fn(&Lab) -> Vec<String>;

/// What a case does.
pub enum Probe {
    /// Sends these frames where the path begins.
    Frames(Vec<Vec<u8>>),
    /// Sends TCP GSO frames (without IP or TCP options), each with its segments' payload.
    Gso(Vec<(Vec<u8>, u16)>),
    /// Does this, and compares what it says.
    Work(Box<Work>),
}

/// One case.
pub struct Case {
    /// Group and what it sends.
    pub name: String,
    /// Which standard, kernel function or kernel test it comes from.
    pub source: &'static str,
    /// Family.
    pub family: Family,
    /// Path.
    pub path: Path,
    /// Changes to the lab for this case only.
    pub steps: Vec<Step>,
    /// What it does.
    pub probe: Probe,
    /// ARP, neighbour discovery and multicast listener reports are part of it, not noise.
    pub with_discovery: bool,
    /// ICMPv6 redirects are part of it.
    pub with_redirects: bool,
    /// Its frames are sent once only: the kernel does not say the same of more of them, or what it does of the first changes what
    /// is counted of the next.
    pub once: bool,
    /// As what node A has to count each of its frames, if that is what the case is about.
    pub counted_as: Option<&'static str>,
}

impl Case {
    /// With these changes to the lab.
    pub fn with(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.steps.extend(steps);
        self
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?}, {})", self.name, self.family, self.path)
    }
}
