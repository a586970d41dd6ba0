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
        LinkFlags, LinkInfo, LinkMessage,
    },
};
use netpath_common::{Ifindex, Mac};

use super::{
    Netlink, NetlinkError,
    attribute::{Attributes, terminated, text},
    channel::About,
    namespace::NamespaceId,
    raw::Raw,
};

const RTM_NEWLINK: u16 = 16;
/// Size of `struct ifinfomsg` in bytes.
const IFINFOMSG: usize = 16;
// Attributes of linux/if_link.h.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_GROUP: u16 = 27;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
/// `IFF_LOWER_UP` of linux/if.h.
const LOWER_UP: u32 = 1 << 16;
/// `IF_OPER_UP`.
const OPERATIONALLY_UP: u8 = 6;

/// How long the two ends of a veth pair may take to see each other.
const OPERATIONAL: Duration = Duration::from_secs(5);

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

/// One end of a veth pair to be made.
#[derive(Clone, Copy, Debug)]
pub struct VethEnd<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its Ethernet address.
    pub mac: Mac,
}

impl Link {
    /// Whether it is called so, by its name or an alternative one.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.altnames.iter().any(|altname| altname == name)
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

/// Only that attribute is read: whatever else an interface has, its group must be known before one is taken.
fn group(message: &Raw) -> Result<Option<u32>, String> {
    match message.kind {
        RTM_NEWLINK => Attributes::behind(IFINFOMSG, &message.payload)?
            .1
            .u32(IFLA_GROUP),
        _ => Ok(None),
    }
}

fn found(message: &Raw) -> Result<Option<Link>, String> {
    match message.kind {
        RTM_NEWLINK => decode(&message.payload).map(Some),
        _ => Ok(None),
    }
}

/// Reads the few attributes that are needed and leaves the others alone, so that what stands in them (an alias may be
/// any bytes) cannot hide the interface. Only without a whole header it is not known which interface it is.
pub(super) fn decode(payload: &[u8]) -> Result<Link, String> {
    let (header, attributes) = payload
        .split_at_checked(IFINFOMSG)
        .ok_or_else(|| format!("an interface's header of {} bytes", payload.len()))?;
    let word = |offset: usize| u32::from_ne_bytes(std::array::from_fn(|at| header[offset + at]));
    let mut link = Link {
        ifindex: Ifindex(word(4)),
        name: String::new(),
        altnames: Vec::new(),
        mac: None,
        hardware: u16::from_ne_bytes([header[2], header[3]]),
        point_to_point: word(8) & libc::IFF_POINTOPOINT.cast_unsigned() != 0,
        no_arp: word(8) & libc::IFF_NOARP.cast_unsigned() != 0,
        up: word(8) & libc::IFF_UP.cast_unsigned() != 0,
        operational: false,
        carrier: word(8) & LOWER_UP != 0,
        controller: Ifindex(0),
        port_of: None,
        peer: None,
        mtu: 0,
        kind: LinkKind::Unsaid,
        xdp: Vec::new(),
        undecoded: None,
    };
    let mut peer_netns = None;
    let mut problems = Vec::new();
    match Attributes::parse(attributes) {
        Ok(attributes) => {
            for (kind, value) in attributes.iter() {
                if let Err(problem) = take(&mut link, &mut peer_netns, kind, value) {
                    problems.push(problem);
                }
            }
        }
        Err(problem) => problems.push(problem),
    }
    if let Some(peer) = &mut link.peer {
        peer.netns = peer_netns;
    }
    if link.name.is_empty() {
        problems.push("it has no name".to_owned());
    }
    if !problems.is_empty() {
        link.undecoded = Some(problems.join(", "));
    }
    Ok(link)
}

fn take(
    link: &mut Link,
    peer_netns: &mut Option<NamespaceId>,
    kind: u16,
    value: &[u8],
) -> Result<(), String> {
    match kind {
        IFLA_IFNAME => {
            link.name = text(value);
            std::str::from_utf8(terminated(value)).map_err(|_| "its name is not UTF-8")?;
        }
        IFLA_ADDRESS => link.mac = value.try_into().ok().map(Mac),
        IFLA_OPERSTATE => link.operational = value == [OPERATIONALLY_UP],
        IFLA_MASTER => link.controller = Ifindex(number("controller", value)?),
        IFLA_MTU => link.mtu = number("MTU", value)?,
        IFLA_LINK => {
            // Without one it points to nothing, or to itself.
            let index = number("peer", value)?;
            link.peer = (index != 0).then_some(Peer {
                ifindex: Ifindex(index),
                netns: None,
            });
        }
        IFLA_LINK_NETNSID => {
            let id = number("peer's namespace", value)?.cast_signed();
            *peer_netns = NamespaceId::from_number(id);
        }
        IFLA_LINKINFO => {
            let infos = Attributes::parse(value)?;
            link.port_of = infos.text(IFLA_INFO_SLAVE_KIND);
            link.kind = match infos.text(IFLA_INFO_KIND).as_deref() {
                None => LinkKind::Unsaid,
                Some("veth") => LinkKind::Veth,
                Some("bridge") => LinkKind::Bridge,
                Some(other) => LinkKind::Other(other.to_owned()),
            };
        }
        IFLA_PROP_LIST => {
            let properties = Attributes::parse(value)?;
            let names = properties
                .iter()
                .filter(|(kind, _)| *kind == IFLA_ALT_IFNAME);
            link.altnames = names.map(|(_, name)| text(name)).collect();
        }
        IFLA_XDP => link.xdp = xdp(&Attributes::parse(value)?)?,
        _ => {}
    }
    Ok(())
}

fn number(what: &str, value: &[u8]) -> Result<u32, String> {
    let bytes = value.try_into();
    let bytes = bytes.map_err(|_| format!("its {what} has {} bytes", value.len()))?;
    Ok(u32::from_ne_bytes(bytes))
}

/// Each mode has an attribute of its own; the one for the program of the only mode is as old as the list.
fn xdp(attributes: &Attributes<'_>) -> Result<Vec<XdpProgram>, String> {
    let mut programs = Vec::new();
    for (kind, mode) in [
        (5, XdpMode::Native),
        (6, XdpMode::Generic),
        (7, XdpMode::Offload),
    ] {
        if let Some(program) = attributes.u32(kind)? {
            programs.push(XdpProgram { mode, program });
        }
    }
    if !programs.is_empty() {
        return Ok(programs);
    }
    let mode = match attributes.u8(IFLA_XDP_ATTACHED)? {
        None | Some(0) => return Ok(programs),
        Some(1) => XdpMode::Native,
        Some(2) => XdpMode::Generic,
        Some(3) => XdpMode::Offload,
        Some(other) => XdpMode::Other(other),
    };
    let program = attributes.u32(IFLA_XDP_PROG_ID)?;
    let program = program.ok_or("its XDP program has no number")?;
    Ok(vec![XdpProgram { mode, program }])
}
