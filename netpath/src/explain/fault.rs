//! From where a packet ends to what is wrong, and to the command that cures it.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::DropReason;

use super::{
    ExplainError,
    obstacle::Obstacle,
    places::{At, PlaceId, Places},
    told,
    walk::{Fault, Taken, Trace, Why},
};
use crate::{
    finding::Finding,
    kernel_way::{Cause, RuleAt},
    netfilter::nft::TableFamily,
    netlink::{Route, RouteKind, Table},
    provision::RouteStatus,
};

/// What is wrong with a way that does not arrive; `before` is the way of what it answers.
pub(super) fn finding(
    places: &Places,
    trace: &Trace,
    before: Option<&Trace>,
) -> Result<Option<Finding>, ExplainError> {
    let Some(fault) = &trace.fault else {
        return Ok(None);
    };
    let doctor = Doctor { places, fault };
    if doctor.is_of_routing() {
        let translated = trace.translated.iter();
        let mut translated = translated.chain(before.into_iter().flat_map(|it| &it.translated));
        if let Some((place, rule)) = translated.next() {
            return Ok(Some(doctor.translated(*place, rule)));
        }
    }
    if !matches!(fault.why, Why::Kernel(Cause::Rule(_)) | Why::Fast(_))
        && let Some(found) = doctor.led_elsewhere(&trace.taken)?
    {
        return Ok(Some(found));
    }
    doctor.own().map(Some)
}

/// What is wrong where a packet arrives elsewhere than it was to.
pub(super) fn elsewhere(
    places: &Places,
    trace: &Trace,
    wanted: PlaceId,
) -> Result<Option<Finding>, ExplainError> {
    let Some(delivered) = &trace.delivered else {
        return Ok(None);
    };
    let fault = Fault::at(delivered, Why::Loop);
    let doctor = Doctor {
        places,
        fault: &fault,
    };
    if let Some((place, rule)) = trace.translated.first() {
        return Ok(Some(doctor.translated(*place, rule)));
    }
    if let Some(found) = doctor.led_elsewhere(&trace.taken)? {
        return Ok(Some(found));
    }
    let (here, there) = (doctor.name(delivered.place), doctor.name(wanted));
    let problem = format!(
        "{} is delivered in {here}, and not in {there}",
        delivered.packet.destination
    );
    Ok(Some(Obstacle::Elsewhere.kind().found(
        here,
        problem,
        Obstacle::Elsewhere.kind().cure,
    )))
}

struct Doctor<'a> {
    places: &'a Places,
    fault: &'a Fault,
}

/// A command between backticks.
fn command(entry: &str, line: impl AsRef<str>) -> String {
    format!("`{entry}{}`", line.as_ref())
}

/// `ip`, with the option of an address's family.
fn ip(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "ip",
        IpAddr::V6(_) => "ip -6",
    }
}

impl Doctor<'_> {
    fn name(&self, place: PlaceId) -> &str {
        &self.places.place(place).name
    }

    fn entry(&self, place: PlaceId) -> String {
        self.places.place(place).entry()
    }

    fn dev(&self, at: Option<At>) -> Result<Option<String>, ExplainError> {
        at.map(|at| self.places.dev(at)).transpose()
    }

    fn found(&self, kind: Obstacle, problem: String, cure: String) -> Finding {
        let object = self.name(self.fault.place);
        kind.kind().found(object, problem, cure)
    }

    /// Whether it ended for want of a way, which another address may have.
    fn is_of_routing(&self) -> bool {
        match &self.fault.why {
            Why::Kernel(cause) => matches!(cause, Cause::NoRoute | Cause::Route { .. }),
            Why::Silent(_) | Why::Loop | Why::Nobody(..) => true,
            Why::Fast(_) | Why::Down(_) | Why::Narrow(_) | Why::Mute(_) => false,
        }
    }

    fn own(&self) -> Result<Finding, ExplainError> {
        let here = self.name(self.fault.place).to_owned();
        Ok(match &self.fault.why {
            Why::Kernel(cause) => return self.kernel(cause),
            Why::Fast(reason) => return self.fast(*reason),
            Why::Down(at) => self.down(*at)?,
            Why::Narrow(at) => self.narrow(*at)?,
            Why::Mute(at) => {
                let dev = self.places.dev(*at)?;
                let line = format!("ip link set dev {dev} arp on");
                let line = command(&self.entry(at.place), line);
                let problem = format!("{here} answers nobody by {dev}: ARP and neighbour discovery are off there");
                self.found(Obstacle::Silent, problem, format!("switch it on: {line}"))
            }
            Why::Silent(next_hop) => {
                let dev = self.dev(self.fault.egress)?.unwrap_or_default();
                let problem = format!(
                    "the next hop {next_hop} on {dev} does not answer, and no known node there has the address"
                );
                let cure = format!(
                    "see why {next_hop} does not answer, or lead {} to a router that does",
                    self.fault.packet.destination
                );
                self.found(Obstacle::Silent, problem, cure)
            }
            Why::Nobody(next_hop, mac) => {
                let dev = self.dev(self.fault.egress)?.unwrap_or_default();
                let whom = next_hop.map_or_else(|| "the other end".to_owned(), |it| it.to_string());
                let problem = format!(
                    "{here} sends what is for {whom} on {dev} to the Ethernet address {mac}, which nobody there has"
                );
                let cure = match next_hop {
                    Some(next_hop) => {
                        let line = format!("{} neigh del {next_hop} dev {dev}", ip(*next_hop));
                        let line = command(&self.entry(self.fault.place), line);
                        format!("have the kernel forget the neighbour: {line}")
                    }
                    None => Obstacle::WrongMac.kind().cure.to_owned(),
                };
                self.found(Obstacle::WrongMac, problem, cure)
            }
            Why::Loop => {
                let problem = format!(
                    "what is for {} comes back to {here}: its routes lead round in circles",
                    self.fault.packet.destination
                );
                let cure = Obstacle::Loop.kind().cure.to_owned();
                self.found(Obstacle::Loop, problem, cure)
            }
        })
    }

    fn down(&self, at: At) -> Result<Finding, ExplainError> {
        let dev = self.places.dev(at)?;
        let name = self.name(at.place);
        let line = command(&self.entry(at.place), format!("ip link set {dev} up"));
        Ok(Obstacle::LinkDown.kind().found(
            name,
            format!("interface {dev} of {name} is down"),
            format!("set it up: {line}"),
        ))
    }

    fn narrow(&self, at: At) -> Result<Finding, ExplainError> {
        let (dev, length) = (self.places.dev(at)?, self.fault.packet.length);
        let mtu = self.places.link(at)?.map_or(0, |link| link.mtu);
        let name = self.name(at.place);
        let line = command(&self.entry(at.place), format!("ip link set dev {dev} mtu {length}"));
        Ok(Obstacle::TooBig.kind().found(
            name,
            format!("interface {dev} of {name} has an MTU of {mtu}, and the packet has {length} bytes"),
            format!("raise it: {line}"),
        ))
    }

    fn kernel(&self, cause: &Cause) -> Result<Finding, ExplainError> {
        let here = self.name(self.fault.place).to_owned();
        let entry = self.entry(self.fault.place);
        let destination = self.fault.packet.destination;
        Ok(match cause {
            Cause::Rule(rule) => self.rule(rule)?,
            Cause::Program { .. } => self.found(
                Obstacle::Program,
                format!("in {here}: {cause}"),
                Obstacle::Program.kind().cure.to_owned(),
            ),
            Cause::Martian { text } => self.found(
                Obstacle::Martian,
                text.clone(),
                Obstacle::Martian.kind().cure.to_owned(),
            ),
            Cause::ReversePath { dev, mode } | Cause::ReversePathOrRoute { dev, mode, .. } => {
                let problem = format!(
                    "{here} does not send to {} by the interface that the packet came in by, and its reverse-path filter \
                     (net.ipv4.conf.{dev}.rp_filter is {mode}) drops it",
                    self.fault.packet.source
                );
                let line = command(&entry, format!("sysctl -w net/ipv4/conf/{dev}/rp_filter=2"));
                self.found(
                    Obstacle::ReversePath,
                    problem,
                    format!("put the way back right, or have the filter be loose: {line}"),
                )
            }
            Cause::NoRoute => self.no_route()?,
            Cause::Route { kind } => self.refused(*kind)?,
            Cause::SourceNotHere => self.found(
                Obstacle::Spoofed,
                format!("{here} has not the address {}", self.fault.packet.source),
                format!("send from an address of {here}"),
            ),
            Cause::ForwardingOff { key } => self.found(
                Obstacle::ForwardingOff,
                format!("{here} does not forward: net/{key} is 0"),
                format!("switch it on: {}", command(&entry, format!("sysctl -w net/{key}=1"))),
            ),
            Cause::Ttl => self.found(
                Obstacle::Ttl,
                format!("the TTL of the packet is used up in {here}"),
                "send it with a larger one (`--ttl`)".to_owned(),
            ),
            Cause::TooBig { mtu } => self.too_big(*mtu)?,
            Cause::Ipv6Off { dev } => self.found(
                Obstacle::Ipv6Off,
                format!("IPv6 is off on {dev} of {here}"),
                format!(
                    "switch it on: {}",
                    command(&entry, format!("sysctl -w net/ipv6/conf/{dev}/disable_ipv6=0"))
                ),
            ),
            Cause::LinkDown { dev } => self.found(
                Obstacle::LinkDown,
                format!("interface {dev} of {here}, by which {destination} is reached, is down"),
                format!("set it up: {}", command(&entry, format!("ip link set {dev} up"))),
            ),
        })
    }

    fn fast(&self, reason: DropReason) -> Result<Finding, ExplainError> {
        let packet = &self.fault.packet;
        let here = self.name(self.fault.place).to_owned();
        let sender = match self.fault.ingress {
            Some(at) => self.places.behind(at)?,
            None => None,
        };
        let Some(sender) = sender else {
            let (kind, problem) = match reason {
                DropReason::Spoofed => (
                    Obstacle::Spoofed,
                    format!(
                        "{} is an address of {here} or of an endpoint there, and nobody outside may send from it",
                        packet.source
                    ),
                ),
                other => (Obstacle::Dropped, format!("the fast path drops it: {}", other.means())),
            };
            return Ok(self.found(kind, problem, kind.kind().cure.to_owned()));
        };
        let name = self.name(sender.place);
        let (kind, problem, cure) = match reason {
            DropReason::Spoofed | DropReason::MartianSource => {
                let own = self.places.addresses(sender.place);
                let own: Vec<String> = own
                    .iter()
                    .filter(|it| it.is_ipv4() == packet.source.is_ipv4())
                    .map(ToString::to_string)
                    .collect();
                let problem = format!(
                    "{name} sends from {}, which is none of its addresses ({})",
                    packet.source,
                    own.join(", ")
                );
                (Obstacle::Spoofed, problem, self.unspoof(sender, &own)?)
            }
            DropReason::NotReady => (
                Obstacle::NotReady,
                format!("the interface of {name} is not ready: netpath lets nothing in by it"),
                Obstacle::NotReady.kind().cure.to_owned(),
            ),
            DropReason::PacketTooBig => {
                let problem = format!(
                    "the packet has {} bytes, and the path to {} takes fewer",
                    packet.length, packet.destination
                );
                (Obstacle::TooBig, problem, "send smaller packets (`--size`)".to_owned())
            }
            other => (
                Obstacle::Dropped,
                format!("the fast path drops it: {}", other.means()),
                Obstacle::Dropped.kind().cure.to_owned(),
            ),
        };
        Ok(self.found(kind, problem, cure))
    }

    /// The endpoint has an address that nobody gave it by netpath: without it the kernel there takes one of its own.
    fn unspoof(&self, sender: At, own: &[String]) -> Result<String, ExplainError> {
        let (name, source) = (self.name(sender.place), self.fault.packet.source);
        let state = self.places.state(sender.place)?;
        let mut routes = state.routes.iter().filter(|route| !Table::Local.has(route));
        if let (Some(route), Some(own)) = (routes.find(|it| it.source == Some(source)), own.first()) {
            let line = command(&self.entry(sender.place), self.with_source(sender, route, own)?);
            return Ok(format!(
                "have {name}'s route prefer an address of its own: {line}; or give {source} to {name} in its topology file"
            ));
        }
        let mut addresses = state.addresses.iter();
        let found = addresses.find(|(_, it)| it.address.addr() == source);
        Ok(match found {
            Some((ifindex, it)) => {
                let line = format!("ip addr del {} dev {}", it.address, state.dev(*ifindex));
                let line = command(&self.entry(sender.place), line);
                format!(
                    "take the address away, so that {name} sends from its own: {line}; or give it to {name} in its topology file"
                )
            }
            None => format!("send from {}", own.join(" or ")),
        })
    }

    /// A route, with another source that is preferred.
    fn with_source(&self, sender: At, route: &Route, source: &str) -> Result<String, ExplainError> {
        let mut line = format!("{} route replace {}", ip(route.dst.addr()), route.dst);
        if let [hop] = route.next_hops.as_slice() {
            line += &hop.via.map(|via| format!(" via {via}")).unwrap_or_default();
            if let Some(ifindex) = hop.ifindex {
                let dev = self.places.state(sender.place)?.dev(ifindex);
                line += &format!(" dev {dev}");
            }
            line += if hop.onlink { " onlink" } else { "" };
        }
        let (protocol, table, metric) = (route.protocol, route.table, route.metric);
        Ok(format!("{line} proto {protocol} table {table} metric {metric} src {source}"))
    }

    fn rule(&self, rule: &RuleAt) -> Result<Finding, ExplainError> {
        let here = self.name(self.fault.place).to_owned();
        let node = &self.places.node(self.fault.place).name;
        let [from, to] = [self.dev(self.fault.ingress)?, self.egress()?];
        let ends = match (&from, &to) {
            (Some(from), Some(to)) => format!("{from} -> {to}"),
            (Some(dev), None) | (None, Some(dev)) => dev.clone(),
            (None, None) => self.fault.packet.to_string(),
        };
        let (kind, problem, own) = match rule.handle {
            None => (
                Obstacle::Policy,
                format!("{} of {here} has policy DROP and no rule accepts {ends}", rule.chain),
                format!("accept it: {}", self.accept(rule, from.as_deref(), to.as_deref())),
            ),
            Some(handle) => {
                let counted = rule.count.map(|count| format!(" ({} packets so far)", count.packets));
                (
                    Obstacle::Rule,
                    format!(
                        "rule {} of {} in {here} drops {ends}: {}{}",
                        rule.number,
                        rule.chain,
                        rule.text,
                        counted.unwrap_or_default()
                    ),
                    format!("remove the rule: {}", self.remove(self.fault.place, rule, handle)),
                )
            }
        };
        let cure = match self.fault.is_off {
            true => format!("switch the fast path on: `netpath fastpath on --node {node}`; or {own}"),
            false => own,
        };
        Ok(self.found(kind, problem, cure))
    }

    /// The interface that the packet would have left by.
    fn egress(&self) -> Result<Option<String>, ExplainError> {
        if self.fault.egress.is_some() {
            return self.dev(self.fault.egress);
        }
        let state = self.places.state(self.fault.place)?;
        let destination = self.fault.packet.destination;
        let routes = state.routes.iter().filter(|route| Table::Main.has(route));
        let holding = routes.filter(|route| route.dst.contains(&destination));
        let longest = holding.max_by_key(|route| route.dst.prefix_len());
        let hop = longest.and_then(|route| route.next_hops.first()?.ifindex);
        Ok(hop.map(|ifindex| state.dev(ifindex)))
    }

    fn accept(&self, rule: &RuleAt, from: Option<&str>, to: Option<&str>) -> String {
        let entry = self.entry(self.fault.place);
        let chain = &rule.chain;
        let line = match iptables(rule) {
            Some(program) => {
                let from = from.map(|dev| format!(" -i {dev}")).unwrap_or_default();
                let to = to.map(|dev| format!(" -o {dev}")).unwrap_or_default();
                format!("{program} -w -t {} -I {chain}{from}{to} -j ACCEPT", rule.table)
            }
            None => {
                let from = from.map(|dev| format!(" iifname {dev}")).unwrap_or_default();
                let to = to.map(|dev| format!(" oifname {dev}")).unwrap_or_default();
                let family = told::family(rule.family);
                format!("nft insert rule {family} {} {chain}{from}{to} accept", rule.table)
            }
        };
        command(&entry, line)
    }

    fn remove(&self, place: PlaceId, rule: &RuleAt, handle: u64) -> String {
        let line = match iptables(rule) {
            Some(program) => {
                format!("{program} -w -t {} -D {} {}", rule.table, rule.chain, rule.number)
            }
            None => format!(
                "nft delete rule {} {} {} handle {handle}",
                told::family(rule.family),
                rule.table,
                rule.chain
            ),
        };
        command(&self.entry(place), line)
    }

    fn translated(&self, place: PlaceId, rule: &RuleAt) -> Finding {
        let name = self.name(place);
        let problem = format!(
            "rule {} of {} in {name} translates the packet: {}; and so it does not arrive",
            rule.number, rule.chain, rule.text
        );
        let cure = match rule.handle {
            Some(handle) => format!("remove the rule: {}", self.remove(place, rule, handle)),
            None => Obstacle::Translated.kind().cure.to_owned(),
        };
        Obstacle::Translated.kind().found(name, problem, cure)
    }

    /// The first next hop of the way that is not the one which is recorded.
    fn led_elsewhere(&self, taken: &[Taken]) -> Result<Option<Finding>, ExplainError> {
        for step in taken {
            let place = step.from.place;
            let Some((route, via)) = recorded(self.places, place, step.destination) else {
                continue;
            };
            if step.next_hop.is_none_or(|next_hop| next_hop == via) {
                continue;
            }
            let (name, dst) = (self.name(place), route.dst);
            let found = step.next_hop.map_or_else(|| "elsewhere".to_owned(), |it| it.to_string());
            let problem = format!(
                "{name} leads {dst} to {found} by {}, and it is to be {via}: behind it the packet gets no further",
                self.places.dev(step.from)?
            );
            let cure = format!(
                "put the route right: {}",
                command(&self.entry(place), replace(route, via))
            );
            return Ok(Some(Obstacle::LedElsewhere.kind().found(name, problem, cure)));
        }
        Ok(None)
    }

    fn no_route(&self) -> Result<Finding, ExplainError> {
        let place = self.fault.place;
        let (here, destination) = (self.name(place).to_owned(), self.fault.packet.destination);
        let problem = format!("{here} has no route to {destination}");
        if self.places.endpoint(place).is_some() {
            let cure = "`netpath up` makes its routes".to_owned();
            return Ok(self.found(Obstacle::NoRoute, problem, cure));
        }
        let line = match recorded(self.places, place, destination) {
            Some((route, via)) => Some(replace(route, via)),
            None => self.way_to(destination)?,
        };
        let cure = match line {
            Some(line) => format!("add it: {}", command(&self.entry(place), line)),
            None => format!("give {here} a route to {destination}"),
        };
        Ok(self.found(Obstacle::NoRoute, problem, cure))
    }

    /// The route to the node that has a destination, where both are on one wire.
    fn way_to(&self, destination: IpAddr) -> Result<Option<String>, ExplainError> {
        let connected = self.places.connected(self.fault.place);
        let owners = self.places.owners(destination, Some(&connected))?;
        let Some(&owner) = owners.first() else {
            return Ok(None);
        };
        let here = self.places.node(self.fault.place);
        let there = self.places.node(owner);
        let nets = here.uplinks.iter().flat_map(|uplink| &uplink.addresses);
        let nets: Vec<&IpNet> = nets.collect();
        let others = there.uplinks.iter().flat_map(|uplink| &uplink.addresses);
        let mut vias = others.map(IpNet::addr).filter(|via| {
            via.is_ipv4() == destination.is_ipv4() && nets.iter().any(|net| net.contains(via))
        });
        let Some(via) = vias.next() else {
            return Ok(None);
        };
        let prefix = self.places.endpoint(owner).and_then(|endpoint| {
            let mut nets = endpoint.addresses.iter().chain(&endpoint.prefixes);
            nets.find(|net| net.contains(&destination)).map(IpNet::trunc)
        });
        let prefix = prefix.unwrap_or_else(|| IpNet::from(destination));
        Ok(Some(format!("{} route add {prefix} via {via}", ip(destination))))
    }

    fn refused(&self, kind: RouteKind) -> Result<Finding, ExplainError> {
        let place = self.fault.place;
        let (here, destination) = (self.name(place).to_owned(), self.fault.packet.destination);
        let problem = format!("{here} has a route of kind {kind} to {destination}");
        let entry = self.entry(place);
        let line = match recorded(self.places, place, destination) {
            Some((route, via)) => Some(replace(route, via)),
            None => {
                let routes = &self.places.state(place)?.routes;
                let of_kind = routes.iter().filter(|route| route.kind == kind);
                let holding = of_kind.filter(|route| route.dst.contains(&destination));
                let longest = holding.max_by_key(|route| route.dst.prefix_len());
                longest.map(|route| {
                    format!("{} route del {kind} {} table {}", ip(destination), route.dst, route.table)
                })
            }
        };
        let cure = match line {
            Some(line) => format!("put it right: {}", command(&entry, line)),
            None => Obstacle::RouteRefuses.kind().cure.to_owned(),
        };
        Ok(self.found(Obstacle::RouteRefuses, problem, cure))
    }

    fn too_big(&self, mtu: u32) -> Result<Finding, ExplainError> {
        let place = self.fault.place;
        let (here, length) = (self.name(place).to_owned(), self.fault.packet.length);
        let dev = self.egress()?;
        let state = self.places.state(place)?;
        let links = state.links.iter().filter(|link| Some(&link.name) == dev.as_ref());
        let is_devices = links.clone().any(|link| link.mtu == mtu);
        let dev = dev.unwrap_or_default();
        let problem = format!(
            "the packet has {length} bytes, and {dev} of {here} takes {mtu}: its sender is told, unless it may be cut"
        );
        let cure = match is_devices {
            true => {
                let line = format!("ip link set dev {dev} mtu {length}");
                format!(
                    "raise the MTU of {dev}, as far as what is behind it takes that: {}; or send smaller packets (`--size`)",
                    command(&self.entry(place), line)
                )
            }
            false => format!("the route or the path there has this MTU: send at most {mtu} bytes (`--size`)"),
        };
        Ok(self.found(Obstacle::TooBig, problem, cure))
    }
}

/// The route of the file that is for a destination, with its next hop.
fn recorded(
    places: &Places,
    place: PlaceId,
    destination: IpAddr,
) -> Option<(&RouteStatus, IpAddr)> {
    if places.endpoint(place).is_some() {
        return None;
    }
    let routes = places.node(place).routes.iter();
    let holding = routes.filter(|route| route.dst.contains(&destination));
    let longest = holding.max_by_key(|route| route.dst.prefix_len())?;
    Some((longest, longest.via?))
}

fn replace(route: &RouteStatus, via: IpAddr) -> String {
    let dev = route.dev.as_ref().map(|dev| format!(" dev {dev}"));
    let dev = dev.unwrap_or_default();
    format!("{} route replace {} via {via}{dev}", ip(via), route.dst)
}

/// The program of iptables whose rule or chain it is, as far as it looks like one.
fn iptables(rule: &RuleAt) -> Option<&'static str> {
    let is_its = ["filter", "nat", "mangle", "raw"].contains(&rule.table.as_str())
        && rule.chain.chars().all(|c| !c.is_ascii_lowercase());
    match rule.family {
        TableFamily::Ip if is_its => Some("iptables"),
        TableFamily::Ip6 if is_its => Some("ip6tables"),
        _ => None,
    }
}
