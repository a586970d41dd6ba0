//! Netlink requests, one at a time and in words of networking, in the calling thread's namespace.

mod filters;

use std::{
    net::IpAddr,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
};

use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _};
use ipnet::IpNet;
use netpath_common::{Ifindex, Mac};
use rtnetlink::{
    Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        address::{
            AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
        },
        link::{BridgeStpState, InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkMessage, State},
        neighbour::NeighbourState,
        route::{
            RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
            RouteType,
        },
    },
};

use super::error::ProvisionError;

/// The protocol number that netpath's routes carry: the letter `n`, unassigned in iproute2's `rt_protos`.
pub const ROUTE_PROTOCOL: u8 = 110;

/// A netlink socket in the namespace of the thread that made it.
pub struct Netlink {
    runtime: tokio::runtime::Runtime,
    handle: Handle,
}

/// One interface, as found.
#[derive(Clone, Debug)]
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
}

/// One end of a veth pair to be made.
#[derive(Clone, Copy, Debug)]
pub struct VethEnd<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// A route, as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What it does with packets.
    pub kind: RouteType,
    /// Destination.
    pub dst: IpNet,
    /// Next hop; `None` on the link.
    pub via: Option<IpAddr>,
    /// Egress interface.
    pub ifindex: Option<Ifindex>,
    /// Whether it carries netpath's protocol number.
    pub ours: bool,
}

/// A route to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewRoute {
    /// Destination.
    pub dst: IpNet,
    /// Next hop; `None` on the link.
    pub via: Option<IpAddr>,
    /// Egress interface; `None` to let the kernel find it by the next hop.
    pub ifindex: Option<Ifindex>,
    /// The next hop is on the link whatever the addresses say.
    pub onlink: bool,
    /// Source address that the node itself uses.
    pub source: Option<IpAddr>,
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    pub fn open() -> Result<Self, ProvisionError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(ProvisionError::Socket)?;
        let handle = {
            let _guard = runtime.enter();
            let (connection, handle, _messages) =
                rtnetlink::new_connection().map_err(ProvisionError::Socket)?;
            runtime.spawn(connection);
            handle
        };
        Ok(Self { runtime, handle })
    }

    fn wait<T>(
        &self,
        action: &'static str,
        object: impl Into<String>,
        request: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, ProvisionError> {
        self.runtime
            .block_on(request)
            .map_err(|source| ProvisionError::Netlink {
                action,
                object: object.into(),
                source,
            })
    }

    /// Reads a whole dump; one that fails half-way is an error, never a shorter answer.
    fn dump<T>(
        &self,
        object: &'static str,
        stream: impl Stream<Item = Result<T, rtnetlink::Error>>,
    ) -> Result<Vec<T>, ProvisionError> {
        self.wait("list", object, async {
            let mut stream = std::pin::pin!(stream);
            let mut messages = Vec::new();
            while let Some(message) = stream.next().await {
                messages.push(message?);
            }
            Ok(messages)
        })
    }

    /// Every interface.
    pub fn links(&self) -> Result<Vec<Link>, ProvisionError> {
        let messages = self.dump("interfaces", self.handle.link().get().execute())?;
        Ok(messages.iter().map(link).collect())
    }

    /// The interface of this name.
    pub fn link(&self, name: &str) -> Result<Option<Link>, ProvisionError> {
        let stream = self.handle.link().get().match_name(name).execute();
        match self.dump("interface", stream) {
            Ok(messages) => Ok(messages.first().map(link)),
            Err(ProvisionError::Netlink { source, .. }) if is(&source, libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a veth pair, the second end directly in another namespace. Both are down.
    pub fn add_veth(
        &self,
        here: VethEnd<'_>,
        there: VethEnd<'_>,
        netns: BorrowedFd<'_>,
    ) -> Result<(), ProvisionError> {
        let peer = LinkUnspec::new_with_name(there.name)
            .address(there.mac.0.to_vec())
            .setns_by_fd(netns.as_fd().as_raw_fd())
            .build();
        let message = LinkVeth::new(here.name, there.name)
            .address(here.mac.0.to_vec())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        self.wait(
            "make veth",
            here.name,
            self.handle.link().add(message).execute(),
        )
    }

    /// Makes a bridge without spanning tree that floods multicast, like a dumb switch.
    pub fn add_bridge(&self, name: &str) -> Result<(), ProvisionError> {
        let message = LinkBridge::new(name)
            .stp_state(BridgeStpState::Disabled)
            .mcast_snooping(false)
            .build();
        self.wait(
            "make bridge",
            name,
            self.handle.link().add(message).execute(),
        )
    }

    /// Makes an interface a port of a bridge.
    pub fn set_controller(&self, link: &Link, bridge: Ifindex) -> Result<(), ProvisionError> {
        let message = LinkUnspec::new_with_index(link.ifindex.0)
            .controller(bridge.0)
            .build();
        self.wait(
            "make a bridge port of",
            &link.name,
            self.handle.link().set(message).execute(),
        )
    }

    /// Sets an interface up.
    pub fn set_up(&self, link: &Link) -> Result<(), ProvisionError> {
        let message = LinkUnspec::new_with_index(link.ifindex.0).up().build();
        self.wait(
            "set up",
            &link.name,
            self.handle.link().set(message).execute(),
        )
    }

    /// Waits until an interface whose two ends are up can send. The end that was set up first drops what it
    /// is given until the kernel has noticed; asking for one interface makes it notice at once (Linux 6.8,
    /// facd15dfd691), or within a second before that.
    pub fn await_operational(&self, name: &str) -> Result<(), ProvisionError> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match self.link(name)? {
                Some(link) if link.operational => return Ok(()),
                Some(_) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                _ => {
                    return Err(ProvisionError::NotUp {
                        object: "interface",
                        name: name.to_owned(),
                    });
                }
            }
        }
    }

    /// Removes an interface. One that is gone already is no error.
    pub fn delete_link(&self, link: &Link) -> Result<(), ProvisionError> {
        let request = self.handle.link().del(link.ifindex.0).execute();
        match self.wait("remove interface", &link.name, request) {
            Err(ProvisionError::Netlink { source, .. }) if is(&source, libc::ENODEV) => Ok(()),
            result => result,
        }
    }

    /// The addresses of an interface, without those that the kernel gave it itself (IPv6 link-local ones).
    pub fn addresses(&self, ifindex: Ifindex) -> Result<Vec<IpNet>, ProvisionError> {
        let request = self.handle.address().get().set_link_index_filter(ifindex.0);
        let messages = self.dump("addresses", request.execute())?;
        Ok(messages
            .iter()
            .filter(|message| message.header.index == ifindex.0)
            .filter_map(address)
            .filter(|found| !matches!(found.addr(), IpAddr::V6(v6) if v6.is_unicast_link_local()))
            .collect())
    }

    /// The addresses of every interface.
    pub fn all_addresses(&self) -> Result<Vec<(Ifindex, IpNet)>, ProvisionError> {
        let messages = self.dump("addresses", self.handle.address().get().execute())?;
        let found = messages.iter().filter_map(|message| {
            let ifindex = Ifindex(message.header.index);
            address(message).map(|address| (ifindex, address))
        });
        Ok(found.collect())
    }

    /// Gives an interface an address, usable at once. `prefix_route` says whether the rest of the prefix
    /// is on the link too.
    pub fn add_address(
        &self,
        link: &Link,
        address: IpNet,
        prefix_route: bool,
    ) -> Result<(), ProvisionError> {
        let mut request =
            self.handle
                .address()
                .add(link.ifindex.0, address.addr(), address.prefix_len());
        let message = request.message_mut();
        let mut flags = AddressFlags::Permanent;
        if address.addr().is_ipv6() {
            flags |= AddressFlags::Nodad;
            message.header.flags |= AddressHeaderFlags::Nodad;
        }
        if !prefix_route {
            flags |= AddressFlags::Noprefixroute;
        }
        if matches!(address.addr(), IpAddr::V4(v4) if v4.is_link_local()) {
            message.header.scope = AddressScope::Link;
        }
        message.attributes.push(AddressAttribute::Flags(flags));
        self.wait(
            "add address",
            format!("{address} on {}", link.name),
            request.replace().execute(),
        )
    }

    /// Takes an address from an interface. One that is gone already is no error.
    pub fn delete_address(&self, link: &Link, address: IpNet) -> Result<(), ProvisionError> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr());
        message.header.index = link.ifindex.0;
        message.header.prefix_len = address.prefix_len();
        message
            .attributes
            .push(AddressAttribute::Local(address.addr()));
        message
            .attributes
            .push(AddressAttribute::Address(address.addr()));
        let request = self.handle.address().del(message).execute();
        match self.wait(
            "remove address",
            format!("{address} on {}", link.name),
            request,
        ) {
            Err(ProvisionError::Netlink { source, .. }) if is(&source, libc::EADDRNOTAVAIL) => {
                Ok(())
            }
            result => result,
        }
    }

    /// The unicast routes of the main table, both families.
    pub fn routes(&self) -> Result<Vec<Route>, ProvisionError> {
        let mut routes = self.routes_of(RouteHeader::RT_TABLE_MAIN)?;
        routes.retain(|route| route.kind == RouteType::Unicast);
        Ok(routes)
    }

    /// The routes of a table, of every type, both families.
    pub fn routes_of(&self, table: u8) -> Result<Vec<Route>, ProvisionError> {
        let v4 = RouteMessageBuilder::<std::net::Ipv4Addr>::new().build();
        let v6 = RouteMessageBuilder::<std::net::Ipv6Addr>::new().build();
        let mut messages = self.dump("routes", self.handle.route().get(v4).execute())?;
        messages.extend(self.dump("routes", self.handle.route().get(v6).execute())?);
        Ok(messages
            .iter()
            .filter(|message| message.header.table == table)
            .filter_map(route)
            .collect())
    }

    /// Puts a route into the main table, in the place of one of netpath's to the same destination.
    pub fn add_route(&self, new: &NewRoute) -> Result<(), ProvisionError> {
        let message = route_message(new);
        self.wait(
            "add route",
            new.dst.to_string(),
            self.handle.route().add(message).replace().execute(),
        )
    }

    /// Takes a route of netpath's out of the main table. One that is gone already is no error.
    pub fn delete_route(&self, old: &NewRoute) -> Result<(), ProvisionError> {
        let request = self.handle.route().del(route_message(old)).execute();
        match self.wait("remove route", old.dst.to_string(), request) {
            Err(ProvisionError::Netlink { source, .. }) if is(&source, libc::ESRCH) => Ok(()),
            result => result,
        }
    }

    /// Takes netpath's route to a prefix through an interface out of the main table, whatever its next hop. One that
    /// is gone already is no error.
    pub fn delete_route_through(&self, link: &Link, dst: IpNet) -> Result<(), ProvisionError> {
        let mut message = route_message(&NewRoute {
            dst,
            via: None,
            ifindex: Some(link.ifindex),
            onlink: false,
            source: None,
        });
        // Any: with a next hop it is another one than without.
        message.header.scope = RouteScope::NoWhere;
        let request = self.handle.route().del(message).execute();
        match self.wait("remove route", dst.to_string(), request) {
            Err(ProvisionError::Netlink { source, .. }) if is(&source, libc::ESRCH) => Ok(()),
            result => result,
        }
    }

    /// Makes a neighbour known for good.
    pub fn add_neighbour(
        &self,
        link: &Link,
        address: IpAddr,
        mac: Mac,
    ) -> Result<(), ProvisionError> {
        let request = self
            .handle
            .neighbours()
            .add(link.ifindex.0, address)
            .link_layer_address(&mac.0)
            .state(NeighbourState::Permanent)
            .replace()
            .execute();
        self.wait(
            "add neighbour",
            format!("{address} on {}", link.name),
            request,
        )
    }
}

/// Whether a request failed with this error number.
fn is(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -errno)
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        ifindex: Ifindex(message.header.index),
        name: String::new(),
        mac: None,
        up: message.header.flags.contains(LinkFlags::Up),
        operational: false,
        controller: Ifindex(0),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            LinkAttribute::OperState(state) => link.operational = *state == State::Up,
            LinkAttribute::Controller(index) => link.controller = Ifindex(*index),
            _ => {}
        }
    }
    link
}

/// IPv4 tells the address in `IFA_LOCAL`, IPv6 in `IFA_ADDRESS`.
fn address(message: &AddressMessage) -> Option<IpNet> {
    let mut local = None;
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(found) => local = Some(*found),
            AddressAttribute::Address(found) => address = Some(*found),
            _ => {}
        }
    }
    IpNet::new(local.or(address)?, message.header.prefix_len).ok()
}

fn route(message: &RouteMessage) -> Option<Route> {
    let unspecified = match message.header.address_family {
        AddressFamily::Inet => IpAddr::from([0; 4]),
        AddressFamily::Inet6 => IpAddr::from([0; 16]),
        _ => return None,
    };
    let mut route = Route {
        kind: message.header.kind,
        dst: IpNet::new(unspecified, 0).ok()?,
        via: None,
        ifindex: None,
        ours: message.header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL),
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                let length = message.header.destination_prefix_length;
                route.dst = IpNet::new(ip(address)?, length).ok()?;
            }
            RouteAttribute::Gateway(address) => route.via = ip(address),
            RouteAttribute::Oif(index) => route.ifindex = Some(Ifindex(*index)),
            _ => {}
        }
    }
    Some(route)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    }
}

fn route_message(new: &NewRoute) -> RouteMessage {
    let mut message = RouteMessageBuilder::<std::net::Ipv4Addr>::new()
        .protocol(RouteProtocol::Other(ROUTE_PROTOCOL))
        .build();
    message.header.address_family = family(new.dst.addr());
    message.header.destination_prefix_length = new.dst.prefix_len();
    message.header.scope = match new.via {
        Some(_) => RouteScope::Universe,
        None if new.dst.addr().is_ipv4() => RouteScope::Link,
        None => RouteScope::Universe,
    };
    if new.dst.prefix_len() != 0 {
        let attribute = RouteAttribute::Destination(route_address(new.dst.addr()));
        message.attributes.push(attribute);
    }
    if let Some(via) = new.via {
        message
            .attributes
            .push(RouteAttribute::Gateway(route_address(via)));
    }
    if let Some(ifindex) = new.ifindex {
        message.attributes.push(RouteAttribute::Oif(ifindex.0));
    }
    if let Some(source) = new.source {
        message
            .attributes
            .push(RouteAttribute::PrefSource(route_address(source)));
    }
    if new.onlink {
        message.header.flags |= rtnetlink::packet_route::route::RouteFlags::Onlink;
    }
    message
}
