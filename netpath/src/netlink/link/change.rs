//! Making, changing and removing interfaces.

use std::{
    collections::BTreeSet,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags,
        LinkInfo, LinkMessage,
    },
};
use netpath_common::{Ifindex, Mac};

use super::{Link, decode::group};
use crate::netlink::{Netlink, NetlinkError, channel::About, raw::Raw};

/// One end of a veth pair to be made.
#[derive(Clone, Copy, Debug)]
pub struct VethEnd<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its Ethernet address.
    pub mac: Mac,
}

impl Netlink {
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
        let request = Raw::of(&RouteNetlinkMessage::GetLink(LinkMessage::default()));
        let groups = self
            .channel
            .dump(about, &request, |message: Raw| group(&message))?;
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
