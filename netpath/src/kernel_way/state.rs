//! What a namespace's ways depend on, read once.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use netpath_common::{Family, Hook, Ifindex};

use super::KernelWayError;
use crate::{
    netfilter::{
        self,
        conntrack::{self, Translated},
        nft::{Chain, ChainId, Elements, Ruleset},
    },
    netlink::{
        InterfaceAddress, Link, Neighbour, Netlink, QdiscParent, Resolved, Route, RouteKind, Rule,
        Scope, Table, Xfrm,
    },
    netns::Inside,
};

/// Behind the name of a legacy table, which may have that of one of nf_tables.
pub const LEGACY: &str = " (legacy)";

/// A namespace's interfaces, neighbours and rules.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Its interfaces.
    pub links: Vec<Link>,
    /// Their addresses, in the order in which each interface has them.
    pub addresses: Vec<(Ifindex, InterfaceAddress)>,
    /// Its neighbours.
    pub neighbours: Vec<Neighbour>,
    /// Every route, for what the kernel does not tell: what is an address here, and which routes drop.
    pub routes: Vec<Route>,
    /// The rules that choose a routing table.
    pub routing: Vec<Rule>,
    /// Its nf_tables, and with them its legacy tables.
    pub rules: Ruleset,
    /// The connections that are translated, whose ends no other one may have. Only read where there are rules that translate.
    pub translated: HashSet<Translated>,
    /// Legacy tables that could not be read, by family: they are not followed.
    pub legacy: Vec<(Family, String)>,
    /// Its IPsec policies: what they do is not followed.
    pub xfrm: Xfrm,
    /// Programs at interfaces, which are not followed. The caller takes out what it follows itself, and adds what only it
    /// can see.
    pub programs: Vec<Program>,
}

/// A program that sees what an interface receives or sends: XDP, a filter of tc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Which interface.
    pub ifindex: Ifindex,
    /// Where.
    pub hook: Hook,
    /// The kernel's number for a BPF program.
    pub id: Option<u32>,
    /// What it is, in words.
    pub text: String,
}

/// A legacy chain, as it is called beside those of nf_tables.
fn beside((id, chain): (ChainId, Chain)) -> (ChainId, Chain) {
    let table = id.table + LEGACY;
    (ChainId { table, ..id }, chain)
}

impl State {
    /// Reads the calling thread's namespace.
    ///
    /// # Errors
    /// When a part of it cannot be read, all of it.
    pub fn read(inside: &Inside<'_>) -> Result<Self, KernelWayError> {
        let netlink = Netlink::open(inside)?;
        let links = netlink.links()?;
        let programs = programs(&netlink, &links)?;
        let mut rules = Ruleset::read(inside, Elements::OfAll)?;
        let mut legacy = Vec::new();
        for family in Family::ALL {
            let tables = netfilter::legacy_tables(inside, family)?;
            if tables.is_empty() {
                continue;
            }
            match netfilter::legacy_rules(inside, family) {
                Ok(found) => rules.chains.extend(found.chains.into_iter().map(beside)),
                Err(error) if error.is_not_installed() => {
                    legacy.extend(tables.into_iter().map(|table| (family, table)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let mut chains = rules.chains.values();
        let translates = |chain: &Chain| {
            let base = chain.base.as_ref();
            base.is_some_and(|base| base.kind == "nat") && !chain.rules.is_empty()
        };
        let translated = match chains.any(translates) {
            true => conntrack::translated(inside)?,
            false => HashSet::new(),
        };
        Ok(Self {
            links,
            addresses: netlink.all_addresses()?,
            neighbours: netlink.neighbours()?,
            routes: netlink.routes(Table::All)?,
            routing: netlink.rules()?,
            rules,
            translated,
            legacy,
            xfrm: Xfrm::read(inside)?,
            programs,
        })
    }

    /// The interface with this index.
    pub fn link(&self, ifindex: Ifindex) -> Option<&Link> {
        self.links.iter().find(|link| link.ifindex == ifindex)
    }

    /// Its name, or its number where it is gone.
    pub fn dev(&self, ifindex: Ifindex) -> String {
        let link = self.link(ifindex);
        link.map_or_else(|| ifindex.0.to_string(), |link| link.name.clone())
    }

    /// Whether an interface of this namespace has this address.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|(_, found)| found.address.addr() == address)
    }

    /// What the tables of local addresses say of an address; `None` where they say nothing.
    pub fn local(&self, address: IpAddr) -> Option<RouteKind> {
        match address {
            IpAddr::V4(v4) if v4.octets()[0] == 0 || v4 == Ipv4Addr::BROADCAST => {
                return Some(RouteKind::Broadcast);
            }
            _ if address.is_multicast() => return Some(RouteKind::Multicast),
            _ => {}
        }
        let local = self.routes.iter().filter(|route| Table::Local.has(route));
        let covering = local.filter(|route| route.dst.contains(&address));
        let longest = covering.max_by_key(|route| route.dst.prefix_len())?;
        Some(longest.kind)
    }

    /// A route anywhere that drops or refuses packets to an address, and is of this kind.
    pub fn has_route(&self, kind: RouteKind, destination: IpAddr) -> bool {
        let mut of_kind = self.routes.iter().filter(|route| route.kind == kind);
        of_kind.any(|route| route.dst.contains(&destination))
    }

    /// The multipath route by which a way leads.
    pub fn multipath(&self, way: &Resolved, destination: IpAddr) -> Option<&Route> {
        let found = self.routes.iter().filter(|route| {
            route.table == way.table
                && route.next_hops.len() > 1
                && route.dst.contains(&destination)
                && route
                    .next_hops
                    .iter()
                    .any(|hop| hop.ifindex == Some(way.ifindex))
        });
        found.max_by_key(|route| route.dst.prefix_len())
    }

    /// Whether a rule of routing looks at protocols or ports.
    pub fn routes_by_ports(&self, family: Family) -> bool {
        let looks = |selector: &String| {
            let words = ["ipproto ", "sport ", "dport "];
            words.iter().any(|word| selector.starts_with(word))
        };
        let mut rules = self.routing.iter();
        rules.any(|rule| rule.ipv6 == (family == Family::V6) && rule.selectors.iter().any(looks))
    }

    /// The first address of an interface that may be used, in the kernel's order: one for the link only comes behind others.
    pub fn first_address(&self, ifindex: Ifindex, family: Family) -> Option<IpAddr> {
        let of_link = self.addresses.iter().filter(|(its, _)| *its == ifindex);
        let usable = of_link.filter(|(_, found)| !found.tentative);
        let mut found = usable.map(|(_, found)| found.address.addr());
        found.find(|address| Family::of(*address) == family)
    }

    /// Of an interface's IPv6 addresses for all the world that which has most in common with a destination, by RFC 6724's rules 1,
    /// 6 and 8: the destination itself, of the same label, the longest common prefix within its own; of several the first.
    pub(super) fn closest_v6(&self, ifindex: Ifindex, destination: IpAddr) -> Option<IpAddr> {
        let IpAddr::V6(to) = destination else {
            return None;
        };
        let of_link = self.addresses.iter().filter(|(its, found)| {
            *its == ifindex && found.scope == Scope::Universe && !found.tentative
        });
        let closeness = |net: &IpNet| {
            let IpAddr::V6(own) = net.addr() else {
                return None;
            };
            let common = (u128::from(own) ^ u128::from(to)).leading_zeros();
            let common = common.min(net.prefix_len().into());
            Some((own == to, label(own) == label(to), common))
        };
        let mut best: Option<((bool, bool, u32), IpAddr)> = None;
        for (_, found) in of_link {
            let Some(close) = closeness(&found.address) else {
                continue;
            };
            if best.is_none_or(|(so_far, _)| close > so_far) {
                best = Some((close, found.address.addr()));
            }
        }
        best.map(|(_, address)| address)
    }

    /// The address that IPv4 takes for what it sends by an interface to a next hop (`inet_select_addr`): one whose prefix has
    /// the next hop, before the first; that of another interface where this one has none.
    pub fn selected(&self, ifindex: Ifindex, next_hop: IpAddr) -> Option<IpAddr> {
        let own = self.primary(ifindex);
        let matching = own.iter().find(|net| net.contains(&next_hop));
        let first = || {
            let links = self.links.iter().map(|link| link.ifindex);
            let mut all = [ifindex].into_iter().chain(links);
            all.find_map(|ifindex| self.primary(ifindex).first().copied())
        };
        matching.copied().or_else(first).map(|net| net.addr())
    }

    /// The IPv4 addresses of an interface that are for all the world, without those in the prefix of an earlier one.
    fn primary(&self, ifindex: Ifindex) -> Vec<IpNet> {
        let mut primary: Vec<IpNet> = Vec::new();
        for (its, found) in &self.addresses {
            let net = found.address;
            let is_secondary = primary
                .iter()
                .any(|other| other.prefix_len() == net.prefix_len() && other.contains(&net.addr()));
            let is_global = found.scope == Scope::Universe && net.addr().is_ipv4();
            if *its == ifindex && is_global && !is_secondary {
                primary.push(net);
            }
        }
        primary
    }
}

/// The label of an address in the kernel's own table (`ip6addrlbl_init_table`), of those that an interface has.
fn label(address: Ipv6Addr) -> u8 {
    match address.segments() {
        [first, ..] if first & 0xfe00 == 0xfc00 => 5,
        [0x2001, 0, ..] => 6,
        [0x2001, second, ..] if second & 0xfff0 == 0x10 => 7,
        [0x2002, ..] => 2,
        _ => 1,
    }
}

fn programs(netlink: &Netlink, links: &[Link]) -> Result<Vec<Program>, KernelWayError> {
    let mut programs = Vec::new();
    for link in links {
        programs.extend(link.xdp.iter().map(|xdp| Program {
            ifindex: link.ifindex,
            hook: Hook::Ingress,
            id: Some(xdp.program),
            text: format!("XDP program {}", xdp.program),
        }));
    }
    for qdisc in netlink.qdiscs()? {
        let link = links.iter().find(|link| link.ifindex == qdisc.ifindex);
        let Some(link) = link.filter(|_| qdisc.parent == QdiscParent::Ingress) else {
            continue;
        };
        for hook in [Hook::Ingress, Hook::Egress] {
            for filter in netlink.filters(link, hook)? {
                let name = filter.program_name.as_deref().unwrap_or_default();
                let text = format!("filter {} of tc {name}", filter.kind);
                programs.push(Program {
                    ifindex: link.ifindex,
                    hook,
                    id: filter.program,
                    text: text.trim_end().to_owned(),
                });
            }
        }
    }
    Ok(programs)
}
