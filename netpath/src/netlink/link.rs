//! Interfaces.

use std::{
    fmt,
    os::fd::{AsRawFd as _, BorrowedFd},
    time::{Duration, Instant},
};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask,
        LinkFlags, LinkInfo, LinkMessage, State,
    },
};
use netpath_common::{Ifindex, Mac};

use super::{Netlink, NetlinkError, channel::About};

/// How long the two ends of a veth pair may take to see each other.
const OPERATIONAL: Duration = Duration::from_secs(5);

/// One interface, as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub ifindex: Ifindex,
    /// Its name.
    pub name: String,
    /// Its Ethernet address, if it has one of six bytes.
    pub mac: Option<Mac>,
    /// Administratively up.
    pub up: bool,
    /// Able to send: up, and so is the other end.
    pub operational: bool,
    /// Index of the bridge it is a port of, or 0.
    pub controller: Ifindex,
    /// The longest packet that it sends, in bytes, without the Ethernet header.
    pub mtu: u32,
    /// What it is.
    pub kind: LinkKind,
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

/// One end of a veth pair to be made.
#[derive(Clone, Copy, Debug)]
pub struct VethEnd<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its Ethernet address.
    pub mac: Mac,
}

impl Netlink {
    /// Every interface.
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
        let request = RouteNetlinkMessage::GetLink(message);
        self.channel.dump(about, &request, |message| match message {
            RouteNetlinkMessage::NewLink(message) => decode(&message).map(Some),
            _ => Ok(None),
        })
    }

    /// The interface of this name.
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
        let request = RouteNetlinkMessage::GetLink(message);
        match self.channel.ask(about, request, 0) {
            Ok(answer) => answer
                .into_iter()
                .find_map(|message| match message {
                    RouteNetlinkMessage::NewLink(message) => Some(message),
                    _ => None,
                })
                .ok_or_else(|| about.undecoded("it holds no interface"))
                .and_then(|message| decode(&message).map_err(|problem| about.undecoded(problem)))
                .map(Some),
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a veth pair, the second end directly in another namespace. Both are down.
    ///
    /// # Errors
    /// When a name is taken, or the kernel refuses.
    pub fn add_veth(
        &self,
        here: VethEnd<'_>,
        there: VethEnd<'_>,
        netns: BorrowedFd<'_>,
    ) -> Result<(), NetlinkError> {
        let end = |end: VethEnd<'_>| {
            let mut message = LinkMessage::default();
            message.attributes = vec![
                LinkAttribute::IfName(end.name.to_owned()),
                LinkAttribute::Address(end.mac.0.to_vec()),
            ];
            message
        };
        let mut peer = end(there);
        peer.attributes
            .push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
        let mut message = end(here);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.add_link("make veth", here.name, message)
    }

    /// Makes a bridge without spanning tree that floods multicast, like a dumb switch. It is up.
    ///
    /// # Errors
    /// When the name is taken, or the kernel refuses.
    pub fn add_bridge(&self, name: &str) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![
                    InfoBridge::StpState(BridgeStpState::Disabled),
                    InfoBridge::MulticastSnooping(false),
                ])),
            ]),
        ];
        self.add_link("make bridge", name, message)
    }

    fn add_link(
        &self,
        action: &'static str,
        object: &str,
        message: LinkMessage,
    ) -> Result<(), NetlinkError> {
        self.channel.request(
            About { action, object },
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    fn change(
        &self,
        action: &'static str,
        link: &Link,
        change: impl FnOnce(&mut LinkMessage),
    ) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = link.ifindex.0;
        change(&mut message);
        let about = About {
            action,
            object: &link.name,
        };
        let request = RouteNetlinkMessage::SetLink(message);
        self.channel.request(about, request, 0)
    }

    /// Makes an interface a port of a bridge.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_controller(&self, link: &Link, bridge: Ifindex) -> Result<(), NetlinkError> {
        self.change("make a bridge port of", link, |message| {
            let attribute = LinkAttribute::Controller(bridge.0);
            message.attributes.push(attribute);
        })
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_up(&self, link: &Link) -> Result<(), NetlinkError> {
        self.change("set up", link, |message| {
            message.header.flags = LinkFlags::Up;
            message.header.change_mask = LinkFlags::Up;
        })
    }

    /// Sets an interface down. The kernel forgets the routes through it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_down(&self, link: &Link) -> Result<(), NetlinkError> {
        self.change("set down", link, |message| {
            message.header.change_mask = LinkFlags::Up;
        })
    }

    /// Gives an interface another name. One that is up can be renamed since Linux 6.2.
    ///
    /// # Errors
    /// When the name is taken, or the kernel refuses.
    pub fn rename(&self, link: &Link, name: &str) -> Result<(), NetlinkError> {
        self.change("rename", link, |message| {
            let attribute = LinkAttribute::IfName(name.to_owned());
            message.attributes.push(attribute);
        })
    }

    /// Sets the longest packet that an interface sends, in bytes, without the Ethernet header.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_mtu(&self, link: &Link, mtu: u32) -> Result<(), NetlinkError> {
        self.change("set the MTU of", link, |message| {
            message.attributes.push(LinkAttribute::Mtu(mtu));
        })
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

    /// Removes an interface. One that is gone already is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_link(&self, link: &Link) -> Result<(), NetlinkError> {
        let about = About {
            action: "remove interface",
            object: &link.name,
        };
        let mut message = LinkMessage::default();
        message.header.index = link.ifindex.0;
        let request = RouteNetlinkMessage::DelLink(message);
        match self.channel.request(about, request, 0) {
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(()),
            result => result,
        }
    }
}

pub(super) fn decode(message: &LinkMessage) -> Result<Link, String> {
    let mut link = Link {
        ifindex: Ifindex(message.header.index),
        name: String::new(),
        mac: None,
        up: message.header.flags.contains(LinkFlags::Up),
        operational: false,
        controller: Ifindex(0),
        mtu: 0,
        kind: LinkKind::Unsaid,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            LinkAttribute::OperState(state) => link.operational = *state == State::Up,
            LinkAttribute::Controller(index) => link.controller = Ifindex(*index),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        link.kind = match kind {
                            InfoKind::Veth => LinkKind::Veth,
                            InfoKind::Bridge => LinkKind::Bridge,
                            other => LinkKind::Other(other.to_string()),
                        };
                    }
                }
            }
            _ => {}
        }
    }
    if link.name.is_empty() {
        return Err(format!("interface {} has no name", link.ifindex.0));
    }
    Ok(link)
}
