//! What is wrong where something is refused.

use std::fmt;

use netpath_common::Origin;

use super::{FILTER_PREFERENCE, Refusal, sysctl_name};
use crate::reconcile::is_address;

/// How many of many rules are told one by one.
const TOLD: usize = 4;

/// What is wrong.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignNamespace(name) => {
                write!(f, "network namespace {name} exists and is not netpath's")
            }
            Self::OnAnotherNode { name, node } => {
                write!(
                    f,
                    "namespace {name} is an endpoint's that is up on node {node}"
                )
            }
            Self::NodesNamespace { name, node } => {
                write!(f, "node {node} is in network namespace {name}")
            }
            Self::PerhapsOnAnotherNode { what, node } => {
                write!(f, "{what} may be node {node}'s, which cannot be read")
            }
            Self::NamespaceReplaced(name) => write!(
                f,
                "network namespace {name} is not the one that netpath made: somebody has removed that, and made another one of \
                 its name"
            ),
            Self::EmptyFile(name) => write!(
                f,
                "/run/netns/{name} is an empty file and no namespace: what is left of one that was made where nobody saw it, or never \
                 finished"
            ),
            Self::OfAnotherNode { what, node } => write!(
                f,
                "{what} is node {node}'s, which is in this network namespace too"
            ),
            Self::LeftInterface(dev) => write!(
                f,
                "interface {dev} was most likely made for an endpoint by a netpath whose records are gone, and nothing \
                 proves that"
            ),
            Self::Advertised(devs) => write!(
                f,
                "the machine has its IPv6 default route by router advertisements on {}, and would lose it when an \
                 endpoint's interface is made to forward",
                devs.join(", ")
            ),
            Self::Unproven { name, dev } => write!(
                f,
                "namespace {name} and interface {dev} were most likely made for it, and no record proves that any more"
            ),
            Self::SharedUplink { dev, node } => write!(
                f,
                "uplink {dev} is node {node}'s already, and before Linux 6.6 (without TCX) an interface has one place for the \
                 filters of a node"
            ),
            Self::FilterInPlace { dev, hook } => write!(
                f,
                "somebody's tc filter stands in the place of netpath's on {dev}, at the {} with preference \
                 {FILTER_PREFERENCE}",
                hook.name()
            ),
            Self::UplinkDown(dev) => write!(f, "uplink {dev} is down"),
            Self::UnknownFraming { dev, hardware } => write!(
                f,
                "what uplink {dev} receives has a header that netpath does not know (its hardware type is {hardware})"
            ),
            Self::ForeignInterface { dev, netns, .. } => {
                write!(f, "interface {dev} exists")?;
                if let Some(netns) = netns {
                    write!(f, " in namespace {netns}")?;
                }
                write!(f, " and is not netpath's")
            }
            Self::MadeMeanwhile(dev) => write!(
                f,
                "interface {dev} exists and is not netpath's: somebody made it while netpath was at work"
            ),
            Self::OtherMac { dev, mac } => {
                write!(
                    f,
                    "interface {dev} has another MAC than netpath gave it, {mac}"
                )
            }
            Self::OtherPlace => write!(f, "is up, but not in the place that the file says"),
            Self::NamespaceDead => write!(f, "the network namespace that it was made in is gone"),
            Self::OtherNamespace { .. } => write!(f, "is up in another network namespace"),
            Self::NoNamespace(path) => write!(f, "there is no network namespace at {path}"),
            Self::NamespaceTaken { path, whose } => {
                write!(f, "the network namespace at {path} is {whose}")
            }
            Self::DefaultRouteThere { path, told } => {
                write!(
                    f,
                    "the network namespace at {path} has a default route of somebody's, {told}"
                )
            }
            Self::NameTaken { what, by, .. } => write!(f, "{what} is there already: it is {by}"),
            Self::AddressTaken { net, by } => match is_address(net) {
                true => write!(f, "{} overlaps {by}", net.addr()),
                false => write!(f, "{net} overlaps {by}"),
            },
            Self::OtherOrigin(origin) => write!(f, "is there for {}", asker(*origin)),
            Self::NodeHalfMade => write!(f, "was begun and not finished"),
            Self::UplinkRenamed { dev, to } => write!(f, "uplink {dev} is called {to} now"),
            Self::SameInterface { dev, other } => {
                write!(f, "{dev} and {other} are names of one interface")
            }
            Self::NoUplink(dev) => write!(f, "there is no interface {dev} to be an uplink"),
            Self::NoAddress { dev, address } => write!(f, "uplink {dev} has no address {address}"),
            Self::NotForwarding { key, found, .. } => {
                let found = found.as_deref().unwrap_or("not there");
                let name = sysctl_name(key);
                write!(f, "this machine does not forward: {name} is {found}")
            }
            Self::OwnAddress { net, address, dev } => {
                write!(f, "{address}")?;
                if !is_address(net) {
                    write!(f, " of {net}")?;
                }
                write!(f, " is this machine's own address, on {dev}")
            }
            Self::InSubnet { net, subnet, dev } => {
                match is_address(net) {
                    true => write!(f, "{}", net.addr())?,
                    false => write!(f, "{net}")?,
                }
                write!(
                    f,
                    " lies in {subnet}, the subnet of this machine's interface {dev}, which is no uplink"
                )
            }
            Self::RoutedElsewhere { net, told, .. } => {
                write!(f, "the machine already has a route to {told}, and ")?;
                match is_address(net) {
                    true => write!(f, "{}", net.addr())?,
                    false => write!(f, "{net}")?,
                }
                write!(f, " is to be an endpoint's")
            }
            Self::ForeignRoute { told, .. } => {
                write!(f, "the machine already has a route to {told}")
            }
            Self::TooManyAddresses {
                family,
                count,
                room,
                ..
            } => write!(
                f,
                "its endpoints, its uplinks and its other interfaces have {count} {family} addresses, and its maps have \
                 room for {room}"
            ),
            Self::TooManyPrefixes {
                family,
                count,
                room,
            } => write!(
                f,
                "its routes, its endpoints and its namespace have {count} {family} prefixes, and its maps have room for {room}"
            ),
            Self::Bypasses(rules) => {
                let (few, others) = rules.split_at(rules.len().min(TOLD));
                write!(
                    f,
                    "the fast path would change what becomes of packets: {}",
                    few.join("; ")
                )?;
                match others.len() {
                    0 => Ok(()),
                    more => write!(f, "; and {more} more"),
                }
            }
            Self::NoIpv6 => write!(f, "the kernel has no IPv6, and the topology file does"),
            Self::CapabilitiesMissing(told) => write!(f, "lacks {}", told.join(", ")),
            Self::NoIptables(program) => {
                write!(
                    f,
                    "forward_policy = \"drop\" needs {program}, which is not there"
                )
            }
            Self::LostMaps(maps) => write!(
                f,
                "has lost what its maps held whose pins are gone: {}",
                maps.join(", ")
            ),
            Self::DamagedRecords(records) => {
                write!(f, "has records that cannot be read: {}", records.join(", "))
            }
            Self::NameTooLong => write!(f, "is too long for a record"),
        }
    }
}

fn asker(origin: Origin) -> &'static str {
    match origin {
        Origin::File => "a topology file",
        Origin::Command => "`netpath endpoint add`",
        Origin::Cni => "a container runtime",
    }
}
