//! Addresses and prefixes: from text, and what each may be by itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::fault::{Fault, FaultKind};

/// An interface's address with its prefix length, fit for a host.
pub(super) fn interface_address(text: &str) -> Result<IpNet, Fault> {
    let net = prefix(text)?;
    if net.prefix_len() == 0 {
        let cure = format!(
            "write the subnet's prefix length, such as {}",
            example(net.addr())
        );
        return Err(Fault::new(
            FaultKind::BadPrefixLength,
            format!("{net} has prefix length 0"),
            cure,
        ));
    }
    if let Some(special) = special_prefix(&IpNet::from(net.addr())) {
        return Err(Fault::new(
            FaultKind::NotForwardable,
            format!("{net} is {}", special.what),
            special.cure,
        ));
    }
    if let Some(what) = reserved_in_subnet(net.addr(), &net) {
        let cure = format!("write the address of a host in {}", net.trunc());
        return Err(Fault::new(
            FaultKind::SubnetReserved,
            format!("{net} is {what}"),
            cure,
        ));
    }
    Ok(net)
}

/// A prefix that may stand in a route table: no host bits, not the default route, for which `cure` says what to do.
fn routable(text: &str, cure: &str) -> Result<IpNet, Fault> {
    let net = prefix(text)?;
    if net.prefix_len() == 0 {
        return Err(Fault::new(
            FaultKind::DefaultRoute,
            format!("{net} is the default route"),
            cure,
        ));
    }
    if net != net.trunc() {
        let problem = format!("{net} has host bits set");
        return Err(Fault::new(
            FaultKind::HostBitsSet,
            problem,
            format!("write {}", net.trunc()),
        ));
    }
    Ok(net)
}

/// The destination of a route: no host bits, not the default route, forwardable.
pub(super) fn destination(text: &str) -> Result<IpNet, Fault> {
    let net = routable(
        text,
        "remove it: what leaves the routed prefixes belongs to the kernel and its NAT",
    )?;
    if let Some(special) = special_prefix(&net) {
        return Err(Fault::new(
            FaultKind::NotForwardable,
            format!("{net} is {}", special.what),
            "write a prefix of other nodes' endpoints",
        ));
    }
    Ok(net)
}

/// A prefix that is routed to an endpoint: no host bits, not the default route, and nothing in it that cannot be
/// forwarded, as the endpoint may send from all of it.
pub(super) fn routed_prefix(text: &str) -> Result<IpNet, Fault> {
    let net = routable(
        text,
        "write the prefixes behind the endpoint: the default route is the kernel's",
    )?;
    if let Some(special) = special_prefix(&net) {
        return Err(Fault::new(
            FaultKind::NotForwardable,
            format!("{net} is {}", special.what),
            special.cure,
        ));
    }
    if let Some(special) = SPECIAL.into_iter().find(|s| net.contains(&s.prefix)) {
        let problem = format!("{net} contains {}, which is not forwarded", special.prefix);
        return Err(Fault::new(
            FaultKind::NotForwardable,
            problem,
            "write narrower prefixes",
        ));
    }
    Ok(net)
}

/// The next hop of a route: an address alone, fit for a host.
pub(super) fn next_hop(text: &str) -> Result<IpAddr, Fault> {
    let Ok(address) = text.parse::<IpAddr>() else {
        let (problem, cure) = match prefix(text) {
            Ok(net) => (
                format!("{text:?} has a prefix length"),
                format!(
                    "write the next hop's address alone: {:?}",
                    net.addr().to_string()
                ),
            ),
            Err(_) => (
                format!("{text:?} is not an IP address"),
                "write the other node's address, such as \"192.0.2.1\" or \"2001:db8::1\""
                    .to_owned(),
            ),
        };
        return Err(Fault::new(FaultKind::NotAnAddress, problem, cure));
    };
    match special_prefix(&IpNet::from(address)) {
        Some(special) if !is_link_local(address) => Err(Fault::new(
            FaultKind::NotForwardable,
            format!("{address} is {}", special.what),
            "write the other node's address on the uplink's subnet",
        )),
        _ => Ok(address),
    }
}

/// Whether an address is good on one link only.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Whether a subnet gives an address a meaning of its own: then what it is.
pub(super) fn reserved_in_subnet(address: IpAddr, subnet: &IpNet) -> Option<&'static str> {
    match subnet {
        // RFC 3021: a /31 has neither.
        IpNet::V4(net) if net.prefix_len() >= 31 => None,
        IpNet::V4(net) if address == net.network() => Some("the network's own address"),
        IpNet::V4(net) if address == net.broadcast() => Some("the network's broadcast address"),
        // RFC 4291, section 2.6.1. RFC 6164: a /127 has none.
        IpNet::V6(net) if net.prefix_len() < 127 && address == net.network() => {
            Some("the network's own address (its routers' anycast address)")
        }
        IpNet::V4(_) | IpNet::V6(_) => None,
    }
}

/// "IPv4" or "IPv6".
pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// The prefix length of one address alone: 32 or 128.
pub(super) fn host_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// `address/length` of either family. Stricter than ipnet's own parser about leading zeros.
fn prefix(text: &str) -> Result<IpNet, Fault> {
    let Some((address, length)) = text.split_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => Fault::new(
                FaultKind::NoPrefixLength,
                format!("{text:?} has no prefix length"),
                format!(
                    "write {:?}, or {:?} for this address alone",
                    example(address),
                    format!("{address}/{}", host_length(address))
                ),
            ),
            Err(_) => not_a_prefix(text),
        });
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(not_a_prefix(text));
    };
    let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    length
        .parse::<u8>()
        .ok()
        .filter(|_| digits)
        .and_then(|length| IpNet::new(address, length).ok())
        .ok_or_else(|| {
            let most = host_length(address);
            let problem = format!("{length:?} is not an {} prefix length", family(address));
            Fault::new(
                FaultKind::BadPrefixLength,
                problem,
                format!("write one of 1 to {most}, such as {:?}", example(address)),
            )
        })
}

fn not_a_prefix(text: &str) -> Fault {
    Fault::new(
        FaultKind::NotAPrefix,
        format!("{text:?} is not an IP address with a prefix length"),
        "write one such as \"10.0.1.2/24\" or \"fd00:1::2/64\"",
    )
}

fn example(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 24 } else { 64 })
}

/// Addresses that no host and no route of a topology can have.
#[derive(Clone, Copy)]
struct Special {
    prefix: IpNet,
    what: &'static str,
    cure: &'static str,
}

const UNICAST: &str = "write a unicast address";
const ROUTABLE: &str = "write an address that can be routed, such as one of 10.0.0.0/8";
const GATEWAY: &str = "write another: netpath uses the link-local addresses for the gateway";
const GATEWAY6: &str = "write another, such as one of fd00::/8: netpath uses the link-local addresses \
                        for the gateway";

/// From the IANA special-purpose address registries (RFC 6890), only what cannot be forwarded.
const SPECIAL: [Special; 9] = [
    v4([0, 0, 0, 0], 8, "in 0.0.0.0/8, \"this network\"", ROUTABLE),
    v4([127, 0, 0, 0], 8, "a loopback address", ROUTABLE),
    v4([169, 254, 0, 0], 16, "link-local", GATEWAY),
    v4([224, 0, 0, 0], 4, "a multicast address", UNICAST),
    v4(
        [240, 0, 0, 0],
        4,
        "in 240.0.0.0/4, which is reserved",
        ROUTABLE,
    ),
    // ::/96 holds the unspecified and the loopback address, and the deprecated IPv4-compatible ones.
    v6(
        [0, 0, 0, 0, 0, 0, 0, 0],
        96,
        "unspecified, loopback or IPv4-compatible",
        UNICAST,
    ),
    v6(
        [0, 0, 0, 0, 0, 0xffff, 0, 0],
        96,
        "IPv4-mapped",
        "write the IPv4 address itself",
    ),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local", GATEWAY6),
    v6(
        [0xff00, 0, 0, 0, 0, 0, 0, 0],
        8,
        "a multicast address",
        UNICAST,
    ),
];

const fn v4(octets: [u8; 4], length: u8, what: &'static str, cure: &'static str) -> Special {
    let [a, b, c, d] = octets;
    let prefix = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length));
    Special { prefix, what, cure }
}

const fn v6(segments: [u16; 8], length: u8, what: &'static str, cure: &'static str) -> Special {
    let [a, b, c, d, e, f, g, h] = segments;
    let prefix = IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(a, b, c, d, e, f, g, h),
        length,
    ));
    Special { prefix, what, cure }
}

/// Whether packets to and from this address are forwarded at all.
pub fn is_forwardable(address: IpAddr) -> bool {
    special_prefix(&IpNet::from(address)).is_none()
}

/// The special prefix that contains all of `net`.
fn special_prefix(net: &IpNet) -> Option<Special> {
    SPECIAL
        .into_iter()
        .find(|special| special.prefix.contains(net))
}
