//! From the kernel's message to a [`Route`].

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
        RouteNextHop, RouteNextHopFlags, RouteType, RouteVia,
    },
};
use netpath_common::Ifindex;

use super::{NextHop, Route, RouteKind};
use crate::netlink::Scope;

/// `None` for an exception, which is the cached result of a lookup rather than a route.
pub(in super::super) fn decode(message: &RouteMessage) -> Result<Option<Route>, String> {
    let header = &message.header;
    if header.flags.contains(RouteFlags::Cloned) {
        return Ok(None);
    }
    let mut route = Route {
        dst: prefix(header, None, header.destination_prefix_length)?,
        from: None,
        table: u32::from(header.table),
        kind: kind(header.kind),
        protocol: header.protocol.into(),
        metric: 0,
        tos: header.tos,
        scope: Scope::from(u8::from(header.scope)),
        source: None,
        next_hops: Vec::new(),
        nexthop_id: None,
        mtu: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                let length = header.destination_prefix_length;
                route.dst = prefix(header, Some(address), length)?;
            }
            RouteAttribute::Source(address) => {
                route.from = Some(prefix(header, Some(address), header.source_prefix_length)?);
            }
            RouteAttribute::PrefSource(address) => route.source = Some(ip(address)?),
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::NhId(id) => route.nexthop_id = Some(*id),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) if *mtu != 0 => Some(*mtu),
                    _ => None,
                });
            }
            RouteAttribute::MultiPath(hops) => {
                for hop in hops {
                    route.next_hops.push(multipath(hop)?);
                }
            }
            _ => {}
        }
    }
    if route.next_hops.is_empty() {
        route.next_hops.extend(single(message)?);
    }
    Ok(Some(route))
}

fn prefix(
    header: &RouteHeader,
    address: Option<&RouteAddress>,
    length: u8,
) -> Result<IpNet, String> {
    let address = match (address, header.address_family) {
        (Some(address), _) => ip(address)?,
        // A default route has no destination.
        (None, AddressFamily::Inet) => IpAddr::from([0; 4]),
        (None, AddressFamily::Inet6) => IpAddr::from([0; 16]),
        (None, family) => return Err(format!("a route of family {family:?}")),
    };
    IpNet::new(address, length).map_err(|_| format!("a route to {address}/{length}"))
}

fn ip(address: &RouteAddress) -> Result<IpAddr, String> {
    match address {
        RouteAddress::Inet(v4) => Ok(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Ok(IpAddr::V6(*v6)),
        other => Err(format!("{other:?} is no IP address")),
    }
}

/// The next hop of a route that has one; its flags are the route's.
fn single(message: &RouteMessage) -> Result<Option<NextHop>, String> {
    let flags = message.header.flags;
    let hop = NextHop {
        via: None,
        ifindex: None,
        weight: 1,
        dead: flags.contains(RouteFlags::Dead),
        linkdown: flags.contains(RouteFlags::Linkdown),
        onlink: flags.contains(RouteFlags::Onlink),
        encapsulated: false,
    };
    let hop = with_attributes(hop, &message.attributes)?;
    Ok(Some(hop).filter(|hop| hop.via.is_some() || hop.ifindex.is_some()))
}

fn multipath(hop: &RouteNextHop) -> Result<NextHop, String> {
    let next_hop = NextHop {
        via: None,
        ifindex: (hop.interface_index != 0).then_some(Ifindex(hop.interface_index)),
        weight: u16::from(hop.hops) + 1,
        dead: hop.flags.contains(RouteNextHopFlags::Dead),
        linkdown: hop.flags.contains(RouteNextHopFlags::Linkdown),
        onlink: hop.flags.contains(RouteNextHopFlags::Onlink),
        encapsulated: false,
    };
    with_attributes(next_hop, &hop.attributes)
}

fn with_attributes(mut hop: NextHop, attributes: &[RouteAttribute]) -> Result<NextHop, String> {
    for attribute in attributes {
        match attribute {
            RouteAttribute::Gateway(address) => hop.via = Some(ip(address)?),
            RouteAttribute::Via(via) => {
                hop.via = Some(match via {
                    RouteVia::Inet(v4) => IpAddr::V4(*v4),
                    RouteVia::Inet6(v6) => IpAddr::V6(*v6),
                    other => return Err(format!("{other:?} is no IP router")),
                });
            }
            RouteAttribute::Oif(index) => hop.ifindex = Some(Ifindex(*index)),
            RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => hop.encapsulated = true,
            _ => {}
        }
    }
    Ok(hop)
}

pub(super) fn kind(kind: RouteType) -> RouteKind {
    match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local => RouteKind::Local,
        RouteType::Broadcast => RouteKind::Broadcast,
        RouteType::Anycast => RouteKind::Anycast,
        RouteType::Multicast => RouteKind::Multicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        RouteType::Throw => RouteKind::Throw,
        other => RouteKind::Other(other.into()),
    }
}
