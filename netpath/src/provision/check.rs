//! Everything that can be refused before anything is touched.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;
use netpath_common::{Ifindex, Mac};
use nix::unistd::Uid;
use rtnetlink::packet_route::route::{RouteHeader, RouteType};

use super::{
    endpoint::own_netns,
    error::ProvisionError,
    iptables,
    netlink::{Link, Netlink, Route},
    node::{Found, Node, find, foreign_namespace, key, text},
    route, sysctl, uplink,
};
use crate::{
    datapath::Datapath,
    model::{self, ForwardPolicy, NodePlace, Topology},
    mounts,
    netns::{NameState, Netns, name_state},
};

/// Fails unless run by root.
pub fn root() -> Result<(), ProvisionError> {
    if Uid::effective().is_root() {
        Ok(())
    } else {
        Err(ProvisionError::NotRoot)
    }
}

/// Refuses what cannot be made; reports everything that is wrong, not only the first.
pub fn topology(wanted: &Topology) -> Result<(), ProvisionError> {
    root()?;
    mounts::require_lasting("up")?;
    // A lab is a namespace, and so is an endpoint.
    if wanted
        .nodes
        .iter()
        .any(|node| node.place == NodePlace::Lab || !node.endpoints.is_empty())
    {
        mounts::require_shared_namespaces("up")?;
    }
    Datapath::check_kernel()?;
    let mut errors = Vec::new();
    if wanted
        .nodes
        .iter()
        .any(|node| node.forward_policy == ForwardPolicy::Drop)
    {
        errors.extend(iptables::require().err());
    }
    for node in &wanted.nodes {
        if let Err(error) = self::node(node, &mut errors) {
            errors.push(error);
        }
    }
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => Err(ProvisionError::Several(errors)),
    }
}

fn node(wanted: &model::Node, errors: &mut Vec<ProvisionError>) -> Result<(), ProvisionError> {
    let name = wanted.name.as_ref();
    let lab = wanted.place == NodePlace::Lab;
    let found = match find(name)? {
        Found::Absent => {
            if lab && name_state(name)? != NameState::Free {
                return Err(foreign_namespace(name));
            }
            None
        }
        Found::Remains(datapath) => {
            endpoint_names(wanted, Some(&datapath), errors)?;
            return Ok(());
        }
        Found::Up(node) => Some(node),
    };
    if let Some(node) = &found
        && node.lab != lab
    {
        return Err(ProvisionError::Unmet {
            problem: format!("node {name} is up, but not in the place that the file says"),
            remedy: "run `netpath down` with the file that it was made from, first".into(),
        });
    }
    endpoint_names(
        wanted,
        found.as_ref().map(Node::datapath).as_deref(),
        errors,
    )?;
    for wire in wanted
        .uplinks
        .iter()
        .filter_map(|uplink| uplink.wire.as_ref())
    {
        errors.extend(uplink::check_wire(wire).err());
    }
    match (&found, lab) {
        (Some(node), _) => interfaces(wanted, &node.netns, Some(&node.datapath()), errors)?,
        (None, true) => {}
        (None, false) => interfaces(wanted, &Netns::current()?, None, errors)?,
    }
    if !lab {
        machine(wanted, errors)?;
    }
    Ok(())
}

/// No endpoint's name may be a namespace that is not netpath's.
fn endpoint_names(
    wanted: &model::Node,
    datapath: Option<&Datapath>,
    errors: &mut Vec<ProvisionError>,
) -> Result<(), ProvisionError> {
    let records = match datapath {
        Some(datapath) => datapath.maps.endpoint_records()?,
        None => Default::default(),
    };
    for endpoint in &wanted.endpoints {
        let name = endpoint.name.as_ref();
        let ours = match (name_state(name)?, records.get(&key(name)?)) {
            (NameState::Free, _) => true,
            (NameState::EmptyFile, Some(record)) => record.netns_cookie != 0,
            (NameState::Namespace, Some(record)) => own_netns(name, record)?.is_some(),
            _ => false,
        };
        if !ours {
            errors.push(foreign_namespace(name));
        }
    }
    Ok(())
}

/// No host-side device may be an interface that is not netpath's.
fn interfaces(
    wanted: &model::Node,
    netns: &Netns,
    datapath: Option<&Datapath>,
    errors: &mut Vec<ProvisionError>,
) -> Result<(), ProvisionError> {
    let records = match datapath {
        Some(datapath) => datapath.maps.endpoint_records()?,
        None => Default::default(),
    };
    netns.run(|| {
        let netlink = Netlink::open()?;
        let links = netlink.links()?;
        let links: HashMap<&str, &Link> = links
            .iter()
            .map(|link| (link.name.as_str(), link))
            .collect();
        let made: HashSet<(String, Option<Mac>)> = records
            .values()
            .map(|record| (text(&record.host_dev), Some(record.host_mac)))
            .collect();
        for endpoint in &wanted.endpoints {
            let dev = endpoint.host_dev.as_ref();
            let Some(link) = links.get(dev) else {
                continue;
            };
            // Its random MAC says whose it is.
            if !made.contains(&(dev.to_owned(), link.mac)) {
                errors.push(ProvisionError::NotOurs {
                    object: "interface",
                    name: dev.to_owned(),
                    netns: None,
                    remedy: "set host_dev in the topology file to another name",
                });
            }
        }
        Ok(())
    })?
}

/// A node on the machine itself: what netpath needs there and does not change.
fn machine(wanted: &model::Node, errors: &mut Vec<ProvisionError>) -> Result<(), ProvisionError> {
    let netlink = Netlink::open()?;
    let links = netlink.links()?;
    for uplink in &wanted.uplinks {
        let dev = uplink.dev.as_ref();
        let Some(link) = links.iter().find(|link| link.name == dev) else {
            errors.push(uplink::no_such_uplink(dev));
            continue;
        };
        let present = netlink.addresses(link.ifindex)?;
        for &address in uplink
            .addresses
            .iter()
            .filter(|address| !present.contains(address))
        {
            errors.push(ProvisionError::NoAddress {
                dev: dev.to_owned(),
                address,
            });
        }
        must_forward(&format!("ipv4/conf/{dev}/forwarding"), errors)?;
    }
    let has_v6 = wanted
        .endpoints
        .iter()
        .flat_map(|endpoint| &endpoint.addresses)
        .any(|address| address.addr().is_ipv6());
    if has_v6 {
        // IPv6 forwards between interfaces only where the whole namespace does.
        must_forward("ipv6/conf/all/forwarding", errors)?;
    }
    let machine = Machine {
        links: &links,
        addresses: netlink.all_addresses()?,
        local: netlink.routes_of(libc::RT_TABLE_LOCAL)?,
        // Of whatever type: each decides what becomes of packets to its destination.
        foreign: {
            let mut routes = netlink.routes_of(RouteHeader::RT_TABLE_MAIN)?;
            routes.retain(|route| !route.ours);
            routes
        },
    };
    for endpoint in &wanted.endpoints {
        machine.check_addresses(&endpoint.addresses, errors);
        machine.check_prefixes(&endpoint.prefixes, errors);
    }
    for wanted in &wanted.routes {
        let foreign = machine.foreign.iter().find(|found| {
            let same = found.kind == RouteType::Unicast && found.via == Some(wanted.via);
            found.dst == wanted.dst && !same
        });
        errors.extend(foreign.map(route::foreign_route));
    }
    Ok(())
}

/// What the machine has of its own.
struct Machine<'a> {
    links: &'a [Link],
    addresses: Vec<(Ifindex, IpNet)>,
    /// Its `local` table: what it takes for itself.
    local: Vec<Route>,
    /// Routes of the main table that are not netpath's.
    foreign: Vec<Route>,
}

impl Machine<'_> {
    /// An endpoint's address is nobody's yet: neither the machine's own, nor the destination of a route of somebody's.
    fn check_addresses(&self, addresses: &[IpNet], errors: &mut Vec<ProvisionError>) {
        for address in addresses.iter().map(IpNet::addr) {
            if let Some((ifindex, _)) = self.addresses.iter().find(|(_, its)| its.addr() == address)
            {
                errors.push(ProvisionError::Unmet {
                    problem: format!(
                        "{address} is this machine's own address, on {}",
                        self.link_name(*ifindex)
                    ),
                    remedy: "give the endpoint an address that nobody has".into(),
                });
            } else if let Some(found) = self.local.iter().find(|its| its.dst.contains(&address)) {
                errors.push(route::foreign_to_address(address, found));
            }
            let whole = IpNet::from(address);
            let foreign = self.foreign.iter().find(|found| found.dst == whole);
            errors.extend(foreign.map(|found| route::foreign_to_address(address, found)));
        }
    }

    /// All of a prefix is the endpoint's: nothing of it may be the machine's own, or be routed elsewhere.
    fn check_prefixes(&self, prefixes: &[IpNet], errors: &mut Vec<ProvisionError>) {
        for prefix in prefixes {
            let own = self
                .addresses
                .iter()
                .find(|(_, its)| prefix.contains(&its.addr()));
            if let Some((ifindex, address)) = own {
                errors.push(ProvisionError::Unmet {
                    problem: format!(
                        "{} of {prefix} is this machine's own address, on {}",
                        address.addr(),
                        self.link_name(*ifindex)
                    ),
                    remedy: "route only prefixes to an endpoint that are wholly its own".into(),
                });
            }
            let foreign = self
                .foreign
                .iter()
                .find(|found| prefix.contains(&found.dst));
            errors.extend(foreign.map(|found| route::foreign_prefix(*prefix, found)));
        }
    }

    fn link_name(&self, ifindex: Ifindex) -> String {
        let link = self.links.iter().find(|link| link.ifindex == ifindex);
        link.map_or_else(
            || format!("interface {}", ifindex.0),
            |link| link.name.clone(),
        )
    }
}

fn must_forward(key: &str, errors: &mut Vec<ProvisionError>) -> Result<(), ProvisionError> {
    if sysctl::get(key)? != "1" {
        let name = format!("net.{}", key.replace('/', "."));
        errors.push(ProvisionError::Unmet {
            problem: format!("this machine does not forward: {name} is 0"),
            remedy: format!(
                "set it with `sysctl -w {name}=1` (netpath changes no setting of the machine's)"
            ),
        });
    }
    Ok(())
}
