//! What each difference is, in words.

use std::fmt;

use super::Drift;
use crate::reconcile::words::{Destination, List};

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HalfMade => write!(f, "was left half-made"),
            Self::Forwarding => write!(f, "forwarding"),
            Self::ForwardPolicy { drop } => {
                write!(
                    f,
                    "FORWARD policy {}",
                    if *drop { "DROP" } else { "ACCEPT" }
                )
            }
            Self::Programs => write!(f, "programs of this version"),
            Self::Room(room) => write!(
                f,
                "room for {} endpoint addresses, {} prefixes and {} connections",
                room.endpoints, room.routes, room.connections
            ),
            Self::FastPath { mode } => write!(f, "{}", mode.name()),
            Self::NamespaceGone(name) => write!(f, "namespace {name} is gone"),
            Self::GivenGone(path) => {
                write!(f, "the namespace that was given is no longer at {path}")
            }
            Self::InterfaceGone(dev) => write!(f, "interface {dev} is gone"),
            Self::InterfaceRenamed { dev, to } => write!(f, "interface {dev} was renamed to {to}"),
            Self::InterfaceRemade(dev) => write!(f, "interface {dev} was made anew"),
            Self::InterfaceDown(dev) => write!(f, "interface {dev} is down"),
            Self::OtherMac(dev) => write!(f, "interface {dev} has another MAC"),
            Self::MtuOther { dev, mtu, wanted } => {
                write!(f, "the MTU of interface {dev} is {mtu}, not {wanted}")
            }
            Self::MtuTooSmall { dev, mtu } => {
                write!(f, "the MTU of interface {dev} is {mtu}, too small for IPv6")
            }
            Self::MtuDiffers { larger, smaller } => write!(
                f,
                "the MTU of interface {} is {}, and that of its other end, {}, is {}",
                larger.0, larger.1, smaller.0, smaller.1
            ),
            Self::Sysctl { key, found } => match found {
                Some(found) => write!(f, "sysctl net/{key} is {found}"),
                None => write!(f, "sysctl net/{key} is gone"),
            },
            Self::AddressGone(address) => write!(f, "address {address} is gone"),
            Self::GatewayGone(address) => write!(f, "the gateway {address} is gone"),
            Self::GatewayScope {
                gateway,
                is_source: true,
            } => write!(f, "the node's own packets come from the gateway {gateway}"),
            Self::GatewayScope { gateway, .. } => write!(
                f,
                "nothing of the node's own can come from the gateway {gateway}, and it has no uplink to send from"
            ),
            Self::NodeRouteGone(dst) => {
                write!(f, "the node's route to {} is gone", Destination(*dst))
            }
            Self::NodeRouteSource(dst) => write!(
                f,
                "the node's route to {} prefers a source, and would go with that address",
                Destination(*dst)
            ),
            Self::RouteGone(dst) => write!(f, "the kernel's route to {dst} is gone"),
            Self::RouteElsewhere { dst, told } => {
                write!(f, "the kernel's route to {dst} is another one: {told}")
            }
            Self::RouteRefuses { dst, told } => {
                let dst = Destination(*dst);
                write!(f, "packets to {dst} go nowhere: the kernel has {told}")
            }
            Self::LedElsewhere(way) => {
                write!(f, "packets to {}", Destination(way.dst))?;
                if way.tos != 0 {
                    write!(f, " with type of service {:#x}", way.tos)?;
                }
                write!(f, " are led elsewhere than the file says: by {}", way.told)
            }
            Self::NextHopSilent { via, dev, routes } => write!(
                f,
                "the next hop {via} on {dev} of {routes} route{} did not answer when it was asked last: what is sent to it is lost until it does",
                if *routes == 1 { "" } else { "s" }
            ),
            Self::NoCarrier(dev) => {
                write!(f, "uplink {dev} has no carrier: what is sent by it is lost")
            }
            Self::NoArp(dev) => write!(
                f,
                "uplink {dev} has ARP off: what is sent by it to whom no Ethernet address is set for is lost, and nobody is answered \
                 who asks for this node"
            ),
            Self::NoWayBack {
                via,
                other,
                address,
            } => write!(
                f,
                "what is sent to the next hop {via} is not answered: node {other} has no route back to {address}"
            ),
            Self::ForwardDrops {
                source,
                destination,
                chain,
            } => write!(
                f,
                "what the kernel is to forward from {} to {} is dropped by chain {chain}",
                Destination(*source),
                Destination(*destination)
            ),
            Self::ForwardMayDrop {
                through,
                source,
                destination,
                chain,
            } => {
                let (source, destination) = (Destination(*source), Destination(*destination));
                match through {
                    true => write!(
                        f,
                        "what other nodes may send through this one from {source} to {destination} is dropped by chain {chain}"
                    ),
                    false => write!(
                        f,
                        "what the kernel is to forward from {source} to {destination} may be dropped by chain {chain}, whose rules \
                         ask for what cannot be told here (connections' states, sets, marks)"
                    ),
                }
            }
            Self::DefaultRouteGone(via) => write!(f, "the default route via {via} is gone"),
            Self::NeighbourGone(address) => {
                write!(f, "the neighbour entry of {address} is gone or changed")
            }
            Self::OffTheWire(port) => write!(f, "its port {port} is not on the wire's bridge"),
            Self::ReversePath { found, recorded } => write!(
                f,
                "the kernel's rp_filter is {found}, and the fast path goes by {recorded}"
            ),
            Self::OwnAddress(address) => write!(
                f,
                "the node has the address {address}, and the fast path takes it for anybody's"
            ),
            Self::HeldAddress { net, node } => write!(
                f,
                "{} is an endpoint's of node {node}, and the fast path takes it for anybody's",
                Destination(*net)
            ),
            Self::OwnAddressGone(address) => write!(
                f,
                "the node no longer has the address {address}, and the fast path takes it for its own"
            ),
            Self::OwnPrefix(prefix) => write!(
                f,
                "the node takes {prefix} for its own, and the fast path takes it for anybody's"
            ),
            Self::OwnPrefixGone(prefix) => write!(
                f,
                "the node takes {prefix} for its own no more, and the fast path does"
            ),
            Self::Bypass(names) if names.is_empty() => write!(f, "bypass nothing"),
            Self::Bypass(names) => write!(f, "bypass {}", List(names)),
            Self::Punts {
                of,
                found,
                recorded,
            } => match (found, recorded) {
                (Some(found), _) => write!(
                    f,
                    "{of} is the kernel's ({found}), and the fast path passes it by"
                ),
                (None, recorded) => write!(
                    f,
                    "{of} is left to the kernel ({}), where it need not be",
                    recorded.unwrap_or("no reason")
                ),
            },
            Self::ProgramMissing { program, dev } => {
                write!(f, "program {} is not attached to {dev}", program.name())
            }
            Self::ProgramSurplus { program, dev } => write!(
                f,
                "program {} is attached to {dev}, where it is to be off",
                program.name()
            ),
            Self::LinkUnpinned { program, dev } => write!(
                f,
                "program {} runs on {dev}, and no pin of netpath's holds it there",
                program.name()
            ),
            Self::FilterBeside(dev) => write!(
                f,
                "a tc filter of netpath's runs on {dev}, beside the program that is attached by a link: NETPATH_ATTACH was \
                 clsact then"
            ),
            Self::LinkSurplus { program, dev } => write!(
                f,
                "the pinned link of program {} to {dev} is nobody's",
                program.name()
            ),
            Self::EntryGone { map, key } => write!(f, "the entry of {key} in map {map} is gone"),
            Self::EntryAltered { map, key } => {
                write!(f, "the entry of {key} in map {map} was altered")
            }
            Self::EntrySurplus { map, key } => {
                write!(f, "the entry of {key} in map {map} is nobody's")
            }
            Self::ShadowMode { dev, wanted: true } => {
                write!(
                    f,
                    "the programs of {dev} take packets, and are to count only (shadow mode)"
                )
            }
            Self::ShadowMode { dev, wanted: false } => {
                write!(
                    f,
                    "the programs of {dev} count only (shadow mode), and are to take packets"
                )
            }
            Self::NotReady(dev) => {
                write!(f, "interface {dev} is not ready: its packets are dropped")
            }
            Self::Addresses(addresses) => write!(f, "addresses {}", List(addresses)),
            Self::Prefixes(prefixes) if prefixes.is_empty() => write!(f, "no prefixes"),
            Self::Prefixes(prefixes) => write!(f, "prefixes {}", List(prefixes)),
            Self::Mtu(Some(mtu)) => write!(f, "MTU {mtu}"),
            Self::Mtu(None) => write!(f, "the MTU of its uplinks"),
            Self::Dev(dev) => write!(f, "interface {dev}"),
            Self::HostDev(dev) => write!(f, "host interface {dev}"),
            Self::Wire(wire) => write!(f, "wire {wire}"),
            Self::Via(via) => write!(f, "via {via}"),
            Self::Home(path) => write!(f, "namespace {path}"),
        }
    }
}
