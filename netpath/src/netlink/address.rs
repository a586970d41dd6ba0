//! Addresses of interfaces.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    thread,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
};
use netpath_common::Ifindex;

use super::{
    FAMILIES, Link, Netlink, NetlinkError, Scope, attribute::Attributes, channel::About, family,
    raw::Raw,
};

const RTM_NEWADDR: u16 = 20;
/// Size of `struct ifaddrmsg` in bytes.
const IFADDRMSG: usize = 8;
// Attributes of linux/if_addr.h.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;

/// How long the kernel may take to receive what is sent to a new IPv6 address.
const USABLE: Duration = Duration::from_secs(5);

/// An address of an interface, as found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address with the length of its prefix.
    pub address: IpNet,
    /// The other end's address, on an IPv4 point-to-point interface.
    pub peer: Option<IpAddr>,
    /// How far it is known.
    pub scope: Scope,
    /// Has no lifetime.
    pub permanent: bool,
    /// Not usable yet, or never: duplicate address detection has not ended, or has found a duplicate.
    pub tentative: bool,
    /// Somebody else on the link has it: duplicate address detection has found that.
    pub duplicate: bool,
}

impl Netlink {
    /// The addresses of an interface, without those that the kernel gave it itself (IPv6 link-local ones); none where it
    /// is gone.
    ///
    /// # Errors
    /// When they cannot be listed, all of them.
    pub fn addresses(&self, ifindex: Ifindex) -> Result<Vec<IpNet>, NetlinkError> {
        let found = self.dump_addresses("addresses", ifindex)?;
        Ok(found
            .into_iter()
            .map(|(_, found)| found.address)
            .filter(|found| !matches!(found.addr(), IpAddr::V6(v6) if v6.is_unicast_link_local()))
            .collect())
    }

    /// Every address of every interface, link-local ones too.
    ///
    /// # Errors
    /// When they cannot be listed, all of them.
    pub fn all_addresses(&self) -> Result<Vec<(Ifindex, InterfaceAddress)>, NetlinkError> {
        self.dump_addresses("addresses of all interfaces", Ifindex(0))
    }

    /// Those of one interface, or of all for 0.
    fn dump_addresses(
        &self,
        object: &'static str,
        ifindex: Ifindex,
    ) -> Result<Vec<(Ifindex, InterfaceAddress)>, NetlinkError> {
        let about = About {
            action: "list",
            object,
        };
        let mut addresses = Vec::new();
        for family in FAMILIES {
            let mut message = AddressMessage::default();
            message.header.family = family;
            message.header.index = ifindex.0;
            let request = Raw::of(&RouteNetlinkMessage::GetAddress(message));
            let found = self.channel.dump(about, &request, |message: Raw| {
                let found = match message.kind {
                    RTM_NEWADDR => decode(&message.payload)?,
                    _ => return Ok(None),
                };
                let is_asked = ifindex == Ifindex(0) || found.0 == ifindex;
                let is_it = found.1.address.addr().is_ipv4() == (family == FAMILIES[0]);
                Ok(Some(found).filter(|_| is_asked && is_it))
            });
            match found {
                Ok(found) => addresses.extend(found),
                // What is gone has none.
                Err(error) if error.errno() == Some(libc::ENODEV) && ifindex != Ifindex(0) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(addresses)
    }

    /// Gives an interface an address, usable at once. `prefix_route` says whether the rest of the prefix
    /// is on the link too. One that is there already is made so.
    ///
    /// # Errors
    /// When the kernel refuses, or an address of an interface that is up is not usable after five seconds.
    pub fn add_address(
        &self,
        link: &Link,
        address: IpNet,
        prefix_route: bool,
    ) -> Result<(), NetlinkError> {
        let scope = match address {
            IpNet::V4(v4) if v4.addr().is_link_local() => AddressScope::Link,
            _ => AddressScope::Universe,
        };
        self.put_address(link, address, prefix_route, scope)
    }

    /// As [`Self::add_address`], with the rest of the prefix on the link. Of IPv4 the kernel chooses no such address as a
    /// source (`inet_select_addr`), unless `route_localnet` is on.
    ///
    /// # Errors
    /// As for [`Self::add_address`].
    pub fn add_host_address(&self, link: &Link, address: IpNet) -> Result<(), NetlinkError> {
        self.put_address(link, address, true, AddressScope::Host)
    }

    fn put_address(
        &self,
        link: &Link,
        address: IpNet,
        prefix_route: bool,
        scope: AddressScope,
    ) -> Result<(), NetlinkError> {
        let mut message = message(link, address);
        message.header.scope = scope;
        let mut flags = AddressFlags::Permanent;
        match address {
            IpNet::V4(v4) => {
                if v4.prefix_len() < 31 {
                    let broadcast = Ipv4Addr::from(u32::from(v4.addr()) | u32::from(v4.hostmask()));
                    message
                        .attributes
                        .push(AddressAttribute::Broadcast(broadcast));
                }
            }
            IpNet::V6(_) => {
                flags |= AddressFlags::Nodad;
                message.header.flags |= AddressHeaderFlags::Nodad;
            }
        }
        if !prefix_route {
            flags |= AddressFlags::Noprefixroute;
        }
        message.attributes.push(AddressAttribute::Flags(flags));
        let about = About {
            action: "add address",
            object: &format!("{address} on {}", link.name),
        };
        let request = RouteNetlinkMessage::NewAddress(message);
        self.channel
            .request(about, request, NLM_F_CREATE | NLM_F_REPLACE)?;
        match address {
            IpNet::V6(v6) if link.up => self.await_local(link, v6.addr()),
            // What is down receives nothing anyway, and an IPv4 address's local route comes with it.
            _ => Ok(()),
        }
    }

    /// Waits until what is sent to an IPv6 address comes in here. An address without duplicate address detection is
    /// listed as usable at once, but its local route is made by a kernel worker (`addrconf_dad_work`), which took 88 ms
    /// on a busy machine: until then what is sent to it goes the way of the default route.
    fn await_local(&self, link: &Link, address: Ipv6Addr) -> Result<(), NetlinkError> {
        let deadline = Instant::now() + USABLE;
        while !self.is_local(link, address)? {
            if Instant::now() >= deadline {
                return Err(NetlinkError::NotLocal {
                    address: address.into(),
                    name: link.name.clone(),
                    limit: USABLE,
                });
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Whether the kernel would keep what is sent to an address of this interface.
    fn is_local(&self, link: &Link, address: Ipv6Addr) -> Result<bool, NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(address.into());
        message.header.destination_prefix_length = 128;
        message.attributes = vec![
            RouteAttribute::Destination(RouteAddress::Inet6(address)),
            RouteAttribute::Oif(link.ifindex.0),
        ];
        let about = About {
            action: "look up the route to",
            object: &format!("{address} on {}", link.name),
        };
        match self.channel.ask(about, RouteNetlinkMessage::GetRoute(message), 0) {
            Ok(answer) => Ok(answer.iter().any(|message| {
                matches!(message, RouteNetlinkMessage::NewRoute(found) if found.header.kind == RouteType::Local)
            })),
            Err(error) if error.errno() == Some(libc::ENETUNREACH) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes an address from an interface. One that is gone already is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_address(&self, link: &Link, address: IpNet) -> Result<(), NetlinkError> {
        let about = About {
            action: "remove address",
            object: &format!("{address} on {}", link.name),
        };
        let request = RouteNetlinkMessage::DelAddress(message(link, address));
        match self.channel.request(about, request, 0) {
            Err(error) if error.errno() == Some(libc::EADDRNOTAVAIL) => Ok(()),
            result => result,
        }
    }
}

fn message(link: &Link, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr());
    message.header.index = link.ifindex.0;
    message.header.prefix_len = address.prefix_len();
    message.attributes = vec![
        AddressAttribute::Local(address.addr()),
        AddressAttribute::Address(address.addr()),
    ];
    message
}

/// Reads what is needed and leaves the rest alone: a label, which is an interface's name, may be any bytes.
///
/// IPv4 tells the interface's own address in `IFA_LOCAL`, and in `IFA_ADDRESS` the other end's. IPv6 tells its own in
/// `IFA_ADDRESS`, unless it tells two.
pub(super) fn decode(payload: &[u8]) -> Result<(Ifindex, InterfaceAddress), String> {
    let (header, attributes) = Attributes::behind(IFADDRMSG, payload)?;
    let [_, length, flags, scope, ..] = *header else {
        return Err(format!("an address's header of {} bytes", header.len()));
    };
    let index = u32::from_ne_bytes(std::array::from_fn(|at| header[4 + at]));
    let address = |kind| attributes.get(kind).map(ip).transpose();
    let (local, other) = (address(IFA_LOCAL)?, address(IFA_ADDRESS)?);
    let own = local
        .or(other)
        .ok_or_else(|| format!("an address of interface {index} is missing"))?;
    let address =
        IpNet::new(own, length).map_err(|_| format!("{own} has a prefix of {length} bits"))?;
    let flags = attributes.u32(IFA_FLAGS)?.unwrap_or(flags.into());
    let flags = AddressFlags::from_bits_retain(flags);
    let found = InterfaceAddress {
        address,
        peer: other.filter(|other| *other != own),
        scope: Scope::from(scope),
        permanent: flags.contains(AddressFlags::Permanent),
        tentative: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
        duplicate: flags.contains(AddressFlags::Dadfailed),
    };
    Ok((Ifindex(index), found))
}

fn ip(bytes: &[u8]) -> Result<IpAddr, String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| v6())
        .map_err(|_| format!("an address of {} bytes", bytes.len()))
}
