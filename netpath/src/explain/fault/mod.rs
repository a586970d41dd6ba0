//! From where a packet ends to what is wrong, and to the command that cures it.

mod routes;
mod rules;
mod sender;

use std::net::IpAddr;

use super::{
    ExplainError,
    obstacle::Obstacle,
    places::{At, PlaceId, Places},
    walk::{Fault, Trace, Why},
};
use crate::{finding::Finding, kernel_way::Cause, netlink::Link};

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
                let problem = format!(
                    "{here} answers nobody by {dev}: ARP and neighbour discovery are off there"
                );
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
                let link = match self.fault.egress {
                    Some(at) => self.places.link(at)?,
                    None => None,
                };
                if link.and_then(Link::unasked) == Some(*mac) {
                    let problem = format!(
                        "{here} asks nobody on {dev} for {whom}: ARP and neighbour discovery are off there, and so it sends to {dev} itself"
                    );
                    let line = format!("ip link set dev {dev} arp on");
                    let line = command(&self.entry(self.fault.place), line);
                    return Ok(self.found(
                        Obstacle::WrongMac,
                        problem,
                        format!("switch them on: {line}"),
                    ));
                }
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
        let line = command(
            &self.entry(at.place),
            format!("ip link set dev {dev} mtu {length}"),
        );
        Ok(Obstacle::TooBig.kind().found(
            name,
            format!(
                "interface {dev} of {name} has an MTU of {mtu}, and the packet has {length} bytes"
            ),
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
                format!(
                    "switch it on: {}",
                    command(&entry, format!("sysctl -w net/{key}=1"))
                ),
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
                    command(
                        &entry,
                        format!("sysctl -w net/ipv6/conf/{dev}/disable_ipv6=0")
                    )
                ),
            ),
            Cause::LinkDown { dev } => self.found(
                Obstacle::LinkDown,
                format!("interface {dev} of {here}, by which {destination} is reached, is down"),
                format!(
                    "set it up: {}",
                    command(&entry, format!("ip link set {dev} up"))
                ),
            ),
        })
    }

    fn too_big(&self, mtu: u32) -> Result<Finding, ExplainError> {
        let place = self.fault.place;
        let (here, length) = (self.name(place).to_owned(), self.fault.packet.length);
        let dev = self.egress()?;
        let state = self.places.state(place)?;
        let links = state
            .links
            .iter()
            .filter(|link| Some(&link.name) == dev.as_ref());
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
            false => format!(
                "the route or the path there has this MTU: send at most {mtu} bytes (`--size`)"
            ),
        };
        Ok(self.found(Obstacle::TooBig, problem, cure))
    }
}
