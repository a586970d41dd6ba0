//! Where the kernel leads what is for the node's routes and endpoints, where that need not be as its main table says: it is
//! asked, as if a packet came in by an endpoint's veth or an uplink.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use netpath_common::Ifindex;

use super::census::routing::{Routing, Unusual};
use crate::{
    netlink::{self, Asked, Fate, Netlink, NoWay, RouteKind},
    provision::error::ProvisionError,
    reconcile::{Recorded, RecordedRoute, Way, WayHop},
};

// Numbers of tables, of linux/rtnetlink.h.
const MAIN: u32 = 254;
const LOCAL: u32 = 255;
/// `RTPROT_KERNEL` of linux/rtnetlink.h.
const RTPROT_KERNEL: u8 = 2;

/// By what packets come in, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin<'a> {
    dev: &'a str,
    iif: Ifindex,
    source: IpAddr,
    /// It is a port of something: of a VRF, by whose table its packets go.
    is_port: bool,
    is_uplink: bool,
}

/// Something that packets are for.
struct Target<'a> {
    net: IpNet,
    /// The veth that it is behind, if it is an endpoint's.
    dev: Option<&'a str>,
    /// Where it leads the kernel's own routes alone say: there is nothing to compare them with.
    is_the_kernels: bool,
}

/// A part of it that may be led by itself: a longer prefix, or a type of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    net: IpNet,
    tos: u8,
}

/// What is asked about, and what may lead it elsewhere.
struct Asking<'a> {
    netlink: &'a Netlink,
    routing: &'a Routing<'a>,
    rules: Vec<Unusual<'a>>,
    /// The routes that somebody made, by destination.
    routes: BTreeMap<IpNet, Vec<&'a netlink::Route>>,
    indexes: BTreeMap<&'a str, Ifindex>,
    names: BTreeMap<Ifindex, &'a str>,
    origins: Vec<Origin<'a>>,
    /// All that is asked for: what is within something else is asked for by itself.
    targets: BTreeSet<IpNet>,
}

/// Asks for all that a node has recorded.
pub(super) fn ask(
    node: &Recorded,
    netlink: &Netlink,
    routing: &Routing<'_>,
) -> Result<Vec<Way>, ProvisionError> {
    let links = routing.links.iter();
    // What the machine itself has there is for itself.
    let is_somebodys =
        |route: &&netlink::Route| route.protocol != RTPROT_KERNEL && route.table != LOCAL;
    let mut routes: BTreeMap<IpNet, Vec<&netlink::Route>> = BTreeMap::new();
    for route in routing.routes.iter().filter(is_somebodys) {
        routes.entry(route.dst.trunc()).or_default().push(route);
    }
    let asking = Asking {
        netlink,
        routing,
        rules: routing.unusual(),
        routes,
        indexes: links
            .clone()
            .map(|it| (it.name.as_str(), it.ifindex))
            .collect(),
        names: links.map(|it| (it.ifindex, it.name.as_str())).collect(),
        origins: origins(node, routing.links, routing.routes),
        targets: targets(node).map(|target| target.net).collect(),
    };
    let mut ways = Vec::new();
    for target in targets(node).filter(|target| !target.is_the_kernels) {
        asking.target(&target, &mut ways)?;
    }
    Ok(ways)
}

/// The endpoints with an address of each family; and the uplinks, from where the first route by them leads to.
fn origins<'a>(
    node: &'a Recorded,
    links: &[netlink::Link],
    routes: &[netlink::Route],
) -> Vec<Origin<'a>> {
    let origin = |dev: &'a str, source, is_uplink| {
        let link = links.iter().find(|link| link.name == dev)?;
        Some(Origin {
            dev,
            iif: link.ifindex,
            source,
            is_port: link.controller != Ifindex(0),
            is_uplink,
        })
    };
    let endpoints = node.endpoints.values().flat_map(|endpoint| {
        let addresses = endpoint.addresses.iter().map(IpNet::addr);
        addresses.map(|address| (endpoint.host_dev.as_str(), address))
    });
    let uplinks = node.uplinks.iter().flat_map(|(dev, uplink)| {
        let ifindex = links.iter().find(|link| link.name == *dev);
        let ifindex = ifindex.map(|link| link.ifindex);
        let is_by_it = |record: &RecordedRoute| match &record.dev {
            Some(by) => by == dev,
            None => record
                .via
                .is_some_and(|via| uplink.addresses.iter().any(|net| net.contains(&via))),
        };
        let first = move |is_v4: bool| {
            let of_file = node.routes.iter().filter(|(_, record)| is_by_it(record));
            // What the kernel's own routes lead there.
            let led = routes.iter().filter(|route| {
                let is_it = |hop: &netlink::NextHop| ifindex.is_some() && hop.ifindex == ifindex;
                route.table == MAIN && route.next_hops.iter().any(is_it)
            });
            let led = led.map(|route| &route.dst).filter(|dst| {
                let mut kernels = node
                    .routes
                    .iter()
                    .filter(|(_, record)| record.via.is_none());
                kernels.any(|(of, _)| of.contains(*dst))
            });
            let mut all = of_file.map(|(dst, _)| dst).chain(led);
            let dst = all.find(|dst| dst.addr().is_ipv4() == is_v4)?;
            Some((dev.as_str(), address_of_none(*dst, &[])?))
        };
        [first(true), first(false)].into_iter().flatten()
    });
    let endpoints = endpoints.filter_map(|(dev, source)| origin(dev, source, false));
    endpoints
        .chain(uplinks.filter_map(|(dev, source)| origin(dev, source, true)))
        .collect()
}

fn targets(node: &Recorded) -> impl Iterator<Item = Target<'_>> {
    let routes = node.routes.iter().map(|(dst, record)| Target {
        net: *dst,
        dev: None,
        is_the_kernels: record.via.is_none(),
    });
    let endpoints = node.endpoints.values().flat_map(|endpoint| {
        let addresses = endpoint.addresses.iter().map(|net| net.addr().into());
        let nets = addresses.chain(endpoint.prefixes.iter().copied());
        nets.map(|net| Target {
            net,
            dev: Some(&endpoint.host_dev),
            is_the_kernels: false,
        })
    });
    routes.chain(endpoints)
}

impl<'a> Asking<'a> {
    fn target(&self, target: &Target<'_>, ways: &mut Vec<Way>) -> Result<(), ProvisionError> {
        let parts = self.parts(target);
        let nets: Vec<IpNet> = parts.iter().map(|part| part.net).collect();
        for part in &parts {
            let Some(destination) = address_of_none(part.net, &nets) else {
                continue;
            };
            for origin in self.origins(target) {
                ways.extend(self.way(target, *part, destination, origin)?);
            }
        }
        Ok(())
    }

    fn device(&self, target: &Target<'_>) -> Option<Ifindex> {
        self.indexes.get(target.dev?).copied()
    }

    fn rules(&self, target: &Target<'_>) -> impl Iterator<Item = &Unusual<'a>> {
        let (net, device) = (target.net, self.device(target));
        self.rules
            .iter()
            .filter(move |rule| rule.concerns(net, device))
    }

    /// The parts of a destination that somebody's routes may lead elsewhere than its own route in table main, itself among
    /// them where a rule may do so.
    fn parts(&self, target: &Target<'_>) -> BTreeSet<Part> {
        let whole = Part {
            net: target.net,
            tos: 0,
        };
        let device = self.device(target);
        let is_its = |route: &netlink::Route| match target.dev {
            Some(_) => device.is_some_and(|device| route.is_only_through(device)),
            None => true,
        };
        let last = IpNet::from(target.net.broadcast());
        let mut parts = BTreeSet::new();
        for (&net, routes) in self.routes.range(target.net..=last) {
            for route in routes {
                let part = Part {
                    net,
                    tos: route.tos,
                };
                let is_within = target.net.contains(&net)
                    && (net == target.net || !self.targets.contains(&net));
                if is_within && (part != whole || !is_its(route)) {
                    parts.insert(part);
                }
            }
        }
        if !parts.is_empty() || self.rules(target).next().is_some() {
            parts.insert(whole);
        }
        parts
    }

    /// From where to ask: an endpoint in no VRF if there is one, and somebody of each that a rule asks for.
    fn origins(&self, target: &Target<'_>) -> Vec<&Origin<'a>> {
        let is_possible = |origin: &&Origin<'_>| {
            // What goes from other nodes to other nodes is none of the file's.
            let is_meant = !origin.is_uplink || target.dev.is_some();
            let is_v4 = target.net.addr().is_ipv4();
            origin.source.is_ipv4() == is_v4 && Some(origin.dev) != target.dev && is_meant
        };
        let possible = || self.origins.iter().filter(is_possible);
        let free = possible().find(|origin| !origin.is_port);
        let mut asking: Vec<&Origin<'a>> = free.or(possible().next()).into_iter().collect();
        for rule in self.rules(target) {
            let met = possible().find(|origin| rule.may_be_of(origin.source, origin.dev));
            if let Some(met) = met
                && !asking.contains(&met)
            {
                asking.push(met);
            }
        }
        asking
    }

    fn way(
        &self,
        target: &Target<'_>,
        part: Part,
        destination: IpAddr,
        origin: &Origin<'_>,
    ) -> Result<Option<Way>, ProvisionError> {
        let fate = self.netlink.fate(&Asked {
            iif: origin.iif,
            source: origin.source,
            destination,
            tos: part.tos,
        })?;
        let (hops, told) = match &fate {
            Fate::Route(route) => {
                let told = match route.table {
                    MAIN => format!("{} {}", route.dst, route.way()),
                    table => format!("{} {} in table {table}", route.dst, route.way()),
                };
                // Of a nexthop object the kernel need not tell the next hops (`nexthop_compat_mode`).
                if route.kind == RouteKind::Unicast && route.next_hops.is_empty() {
                    return Ok(None);
                }
                (self.hops(route), told)
            }
            Fate::Refused(why) => match self.refusal(*why, destination, origin) {
                Some(told) => (Vec::new(), told),
                // The check of the source, or that the interface does not forward: of that others tell.
                None => return Ok(None),
            },
        };
        Ok(Some(Way {
            dev: origin.dev.to_owned(),
            source: origin.source,
            of: target.net,
            dst: part.net,
            destination,
            veth: target.dev.map(str::to_owned),
            tos: part.tos,
            hops,
            told,
        }))
    }

    /// What refuses a packet, if it is a route or a rule, or that there is no route.
    fn refusal(&self, why: NoWay, destination: IpAddr, origin: &Origin<'_>) -> Option<String> {
        let does = match why {
            NoWay::Dropped => "drops them (blackhole)",
            NoWay::Unreachable | NoWay::NoRoute => "refuses them (unreachable)",
            NoWay::Prohibited => "refuses them (prohibit)",
        };
        let is_it = |it: &&Unusual<'_>| it.refuses(destination, origin.source, origin.dev, why);
        let rules = self.rules.iter().filter(is_it).map(Unusual::name);
        // One that asks for nothing else is certainly met by what comes to it.
        let rule = rules.min_by_key(|(priority, asks_more)| (*asks_more, *priority));
        Some(match (rule, self.routing.refuses(destination, why)) {
            (Some((priority, false)), false) => format!("rule {priority}, which {does}"),
            (Some((priority, _)), true) => format!("a route, or rule {priority}, which {does}"),
            (Some((priority, true)), false) if why == NoWay::NoRoute => {
                format!("no route for them, or rule {priority}, which {does}")
            }
            (Some((priority, true)), false) => format!("perhaps rule {priority}, which {does}"),
            (None, true) => format!("a route that {does}"),
            (None, false) if why == NoWay::NoRoute => "no route for them".to_owned(),
            (None, false) => return None,
        })
    }

    fn hops(&self, route: &netlink::Route) -> Vec<WayHop> {
        let name = |ifindex| self.names.get(&ifindex).map(|&name| name.to_owned());
        match route.kind {
            RouteKind::Unicast => {
                let hops = route.next_hops.iter().map(|hop| WayHop {
                    via: hop.via,
                    dev: hop.ifindex.and_then(name),
                });
                hops.collect()
            }
            _ => Vec::new(),
        }
    }
}

/// An address of a prefix that is in none of the longer ones, if there is one that is easily found.
fn address_of_none(net: IpNet, others: &[IpNet]) -> Option<IpAddr> {
    let is_longer = |other: &&IpNet| other.prefix_len() > net.prefix_len();
    let longer: Vec<&IpNet> = others.iter().filter(is_longer).collect();
    let hosts = match net {
        IpNet::V4(net) => net.hosts().take(PROBED).map(IpAddr::from).collect(),
        IpNet::V6(net) => net.hosts().skip(1).take(PROBED).map(IpAddr::from).collect(),
    };
    let hosts: Vec<IpAddr> = hosts;
    let behind = longer.iter().filter_map(|other| next(other.broadcast()));
    let mut candidates = hosts.into_iter().chain([net.addr()]).chain(behind);
    candidates.find(|address| {
        net.contains(address) && !longer.iter().any(|other| other.contains(address))
    })
}

/// So many of a prefix's first addresses are tried.
const PROBED: usize = 4;

fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address
            .to_bits()
            .checked_add(1)
            .map(|it| IpAddr::V4(it.into())),
        IpAddr::V6(address) => address
            .to_bits()
            .checked_add(1)
            .map(|it| IpAddr::V6(it.into())),
    }
}
