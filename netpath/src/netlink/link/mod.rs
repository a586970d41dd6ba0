//! Interfaces.

mod change;
mod decode;

use std::{
    fmt,
    time::{Duration, Instant},
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkExtentMask, LinkMessage},
};
use netpath_common::{Ifindex, Mac};

pub use self::change::VethEnd;
#[cfg(test)]
pub(super) use self::decode::decode;
use self::decode::found;
use super::{Netlink, NetlinkError, channel::About, namespace::NamespaceId, raw::Raw};

/// How long the two ends of a veth pair may take to see each other.
const OPERATIONAL: Duration = Duration::from_secs(5);

/// `ARPHRD_ETHER` of linux/if_arp.h: what has Ethernet addresses.
const ETHERNET: u16 = 1;

/// One interface, as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub ifindex: Ifindex,
    /// Its name. Bytes that are not UTF-8 are shown with escapes.
    pub name: String,
    /// Its alternative names (`ip link property add altname`), which the kernel takes for it as well.
    pub altnames: Vec<String>,
    /// Its Ethernet address, if it has one of six bytes.
    pub mac: Option<Mac>,
    /// What it is to the kernel, and so what header its packets have: `ARPHRD_*` of linux/if_arp.h.
    pub hardware: u16,
    /// There is one other end, and all that it sends goes there (`IFF_POINTOPOINT`).
    pub point_to_point: bool,
    /// Nobody is asked for an Ethernet address by it, and nobody who asks is answered (`IFF_NOARP`).
    pub no_arp: bool,
    /// Administratively up.
    pub up: bool,
    /// Able to send: up, and so is the other end.
    pub operational: bool,
    /// Something is at its other end (`IFF_LOWER_UP`). One that is down has none.
    pub carrier: bool,
    /// Index of the bridge, bond, VRF, ... that it is a port of, or 0.
    pub controller: Ifindex,
    /// What kind its controller is, as `ip link add type` takes it. `None` also where the kernel does not say.
    pub port_of: Option<String>,
    /// The interface at its other end (veth) or below it (VLAN, macvlan), where there is one.
    pub peer: Option<Peer>,
    /// The longest packet that it sends, in bytes, without the Ethernet header.
    pub mtu: u32,
    /// What it is.
    pub kind: LinkKind,
    /// The XDP programs that see what it receives.
    pub xdp: Vec<XdpProgram>,
    /// What of it the kernel told in a form that is not known. The rest holds; what this is about is as if unsaid.
    pub undecoded: Option<String>,
}

/// An interface that another one leads to: an index is unique in its namespace only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its index there.
    pub ifindex: Ifindex,
    /// Its namespace, as that of the interface knows it; `None` for the same one.
    pub netns: Option<NamespaceId>,
}

/// An XDP program of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpProgram {
    /// Where it runs.
    pub mode: XdpMode,
    /// The kernel's number for it.
    pub program: u32,
}

/// Where an XDP program runs: `XDP_ATTACHED_*` of linux/if_link.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver. On a veth it sees only what comes by the other end.
    Native,
    /// In the network stack, before TC.
    Generic,
    /// In the hardware.
    Offload,
    /// Any other number.
    Other(u8),
}

/// What an interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// One end of a veth pair.
    Veth,
    /// A bridge.
    Bridge,
    /// Of another driver that makes virtual interfaces; its name, as `ip link add type` takes it.
    Other(String),
    /// Not said, as by hardware and by the loopback device.
    Unsaid,
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Veth => "veth",
            Self::Bridge => "bridge",
            Self::Other(name) => name,
            Self::Unsaid => "device",
        })
    }
}

impl Link {
    /// Whether it is called so, by its name or an alternative one.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.altnames.iter().any(|altname| altname == name)
    }

    /// Whether its neighbours have Ethernet addresses.
    pub fn is_ethernet(&self) -> bool {
        self.hardware == ETHERNET
    }

    /// Where neighbours are not asked for their Ethernet addresses (`arp off`), the kernel takes the interface's own for that of
    /// whom it does not know (`arp_constructor`, `ndisc_constructor`).
    pub fn unasked(&self) -> Option<Mac> {
        self.mac.filter(|_| self.is_ethernet() && self.no_arp)
    }
}

impl Netlink {
    /// Every interface. One that the kernel tells of in an unknown form is among them, and says so
    /// ([`Link::undecoded`]).
    ///
    /// # Errors
    /// When they cannot be listed, all of them.
    pub fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let about = About {
            action: "list",
            object: "interfaces",
        };
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let request = Raw::of(&RouteNetlinkMessage::GetLink(message));
        self.channel
            .dump(about, &request, |message: Raw| found(&message))
    }

    /// The interface of this name, or alternative name.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that there is none.
    pub fn link(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let about = About {
            action: "find interface",
            object: name,
        };
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        let request = Raw::of(&RouteNetlinkMessage::GetLink(message));
        match self.channel.ask(about, request, 0) {
            Ok(answer) => answer
                .iter()
                .find_map(|message| found(message).transpose())
                .unwrap_or_else(|| Err("it holds no interface".to_owned()))
                .map(Some)
                .map_err(|problem| about.undecoded(problem)),
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether there is an interface with this index.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that there is none.
    pub fn has_index(&self, ifindex: Ifindex) -> Result<bool, NetlinkError> {
        // The kernel takes 0 for a question without an index.
        if ifindex == Ifindex(0) {
            return Ok(false);
        }
        let about = About {
            action: "find interface with index",
            object: &ifindex.0.to_string(),
        };
        let mut message = LinkMessage::default();
        message.header.index = ifindex.0;
        let request = Raw::of(&RouteNetlinkMessage::GetLink(message));
        match self.channel.ask(about, request, 0) {
            Ok(_) => Ok(true),
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until an interface whose two ends are up can send. The end that was set up first drops what it
    /// is given until the kernel has noticed; asking for one interface makes it notice at once (Linux 6.8,
    /// facd15dfd691), or within a second before that.
    ///
    /// # Errors
    /// When it cannot after five seconds, or is not there.
    pub fn await_operational(&self, name: &str) -> Result<(), NetlinkError> {
        let deadline = Instant::now() + OPERATIONAL;
        loop {
            match self.link(name)? {
                Some(link) if link.operational => return Ok(()),
                Some(_) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                _ => {
                    return Err(NetlinkError::NotOperational {
                        name: name.to_owned(),
                        limit: OPERATIONAL,
                    });
                }
            }
        }
    }
}
