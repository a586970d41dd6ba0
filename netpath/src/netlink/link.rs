//! Interfaces.

use std::{
    collections::BTreeSet,
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

use super::{Netlink, NetlinkError, channel::About, namespace::NamespaceId};

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
    /// The other end of a pair, where the kernel tells of one.
    pub peer: Option<Peer>,
}

/// The other end of a pair of interfaces: an index is unique in its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its index there.
    pub ifindex: Ifindex,
    /// Its namespace, as that of the interface knows it; `None` for the same one.
    pub netns: Option<NamespaceId>,
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

    /// Whether there is an interface with this index.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that there is none.
    pub fn has_index(&self, ifindex: Ifindex) -> Result<bool, NetlinkError> {
        let about = About {
            action: "find interface with index",
            object: &ifindex.0.to_string(),
        };
        let mut message = LinkMessage::default();
        message.header.index = ifindex.0;
        match self
            .channel
            .ask(about, RouteNetlinkMessage::GetLink(message), 0)
        {
            Ok(_) => Ok(true),
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives an interface another Ethernet address.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_mac(&self, link: &Link, mac: Mac) -> Result<(), NetlinkError> {
        self.change("set the MAC of", link, |message| {
            let attribute = LinkAttribute::Address(mac.0.to_vec());
            message.attributes.push(attribute);
        })
    }

    /// Removes many interfaces at once. Each removal on its own has the kernel wait for all that may still use the
    /// interface, tens of milliseconds; together they wait once. Those that are gone already are no error.
    ///
    /// They are put into a group of their own, and that is removed. `group` is any number: the next one that no
    /// interface has is taken.
    ///
    /// # Errors
    /// When the kernel refuses: then none of them is removed.
    pub fn delete_links(&self, links: &[&Link], group: u32) -> Result<(), NetlinkError> {
        let groups = self.groups()?;
        let mut group = group;
        // 0 is that of all others.
        while group == 0 || groups.contains(&group) {
            group = group.wrapping_add(1);
        }
        let mut any = false;
        for link in links {
            let grouped = self.change("group", link, |message| {
                message.attributes.push(LinkAttribute::Group(group));
            });
            match grouped {
                Err(error) if error.errno() == Some(libc::ENODEV) => {}
                result => {
                    result?;
                    any = true;
                }
            }
        }
        if !any {
            return Ok(());
        }
        let about = About {
            action: "remove",
            object: &format!("{} interfaces", links.len()),
        };
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(group));
        let request = RouteNetlinkMessage::DelLink(message);
        match self.channel.request(about, request, 0) {
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(()),
            result => result,
        }
    }

    /// The groups of all interfaces.
    fn groups(&self) -> Result<BTreeSet<u32>, NetlinkError> {
        let about = About {
            action: "list",
            object: "groups of interfaces",
        };
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let groups = self
            .channel
            .dump(about, &request, |message| match message {
                RouteNetlinkMessage::NewLink(message) => Ok(group(&message)),
                _ => Ok(None),
            })?;
        Ok(groups.into_iter().collect())
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

fn group(message: &LinkMessage) -> Option<u32> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Group(group) => Some(*group),
            _ => None,
        })
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
        peer: None,
    };
    let mut peer_netns = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            LinkAttribute::OperState(state) => link.operational = *state == State::Up,
            LinkAttribute::Controller(index) => link.controller = Ifindex(*index),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            // Without one it points to nothing, or to itself.
            LinkAttribute::Link(index) if *index != 0 => {
                link.peer = Some(Peer {
                    ifindex: Ifindex(*index),
                    netns: None,
                });
            }
            LinkAttribute::LinkNetNsId(id) => peer_netns = NamespaceId::from_number(*id),
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
    if let Some(peer) = &mut link.peer {
        peer.netns = peer_netns;
    }
    if link.name.is_empty() {
        return Err(format!("interface {} has no name", link.ifindex.0));
    }
    Ok(link)
}
