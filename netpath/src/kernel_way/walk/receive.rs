//! What comes in by an interface, up to where it is known whether it stays here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netpath_common::{Family, Ifindex, Mac};

use super::{Going, Walk, routes::Why, stop};
use crate::{
    kernel_way::{Cause, End, KernelWayError, Outcome, Place, Unknown, kernel::LOOPBACK},
    netfilter::nft::Hook,
    netlink::{Lookup, NoWay, Resolved, RouteKind, XfrmDirection},
};

/// ICMP "destination unreachable" of either family.
const UNREACHABLE_V4: u8 = 3;
const UNREACHABLE_V6: u8 = 1;

impl Walk<'_> {
    pub(super) fn received(&mut self, ifindex: Ifindex, source_mac: Option<Mac>) -> Going<End> {
        let link = self.state.link(ifindex);
        let link = link.ok_or(KernelWayError::NoInterface { index: ifindex.0 })?;
        let dev = link.name.clone();
        if !link.up {
            return self.drop(Place::Programs, Cause::LinkDown { dev });
        }
        (self.iif, self.source_mac) = (Some(ifindex), source_mac);
        self.programs(ifindex, netpath_common::Hook::Ingress)?;
        self.hook(Hook::Ingress)?;
        self.member(&dev, ifindex)?;
        if self.family() == Family::V6 {
            self.admit_v6(&dev)?;
        }
        self.hook(Hook::Prerouting)?;
        let route = self.route_in(ifindex, &dev)?;
        self.arrived(route, &dev)
    }

    /// Behind PREROUTING, with a way.
    fn arrived(&mut self, route: Resolved, dev: &str) -> Going<End> {
        self.route = Some(route);
        match route.kind {
            RouteKind::Local | RouteKind::Broadcast | RouteKind::Anycast => {
                self.note(
                    Place::Route,
                    Outcome::Passes,
                    format!("{}: for this host", route.kind),
                );
                self.delivered()
            }
            RouteKind::Multicast => {
                let what = "multicast".to_owned();
                let so = ["somebody listens".to_owned(), "nobody listens".to_owned()];
                match self.suppose(Unknown { what, rule: None }, &so) {
                    0 => self.delivered(),
                    _ => self.drop(Place::Route, Cause::NoRoute),
                }
            }
            _ => self.forwarded(route, dev),
        }
    }

    pub(super) fn delivered(&mut self) -> Going<End> {
        self.hook(Hook::Input)?;
        self.ipsec(XfrmDirection::In)?;
        stop(End::Delivered {
            packet: self.packet.clone(),
        })
    }

    /// Programs that are not followed may do anything; that they drop stands for it.
    pub(super) fn programs(&mut self, ifindex: Ifindex, hook: netpath_common::Hook) -> Going<()> {
        let state = self.state;
        for program in &state.programs {
            if (program.ifindex, program.hook) != (ifindex, hook) {
                continue;
            }
            let what = format!("{} on {}", program.text, state.dev(ifindex));
            let so = [
                "it lets it pass".to_owned(),
                "it drops or takes it".to_owned(),
            ];
            let rule = None;
            if self.suppose(Unknown { what, rule }, &so) == 1 {
                let name = program.text.clone();
                return self.drop(Place::Programs, Cause::Program { name });
            }
        }
        Ok(())
    }

    /// A port of a bridge or a VRF: what comes in by it is taken in by another interface.
    fn member(&mut self, dev: &str, ifindex: Ifindex) -> Going<()> {
        let link = self.state.link(ifindex);
        let Some(kind) = link.and_then(|link| link.port_of.clone()) else {
            return Ok(());
        };
        let what = format!("{dev} is a port of a {kind}");
        let so = [
            "it makes no difference".to_owned(),
            "it goes another way".to_owned(),
        ];
        let rule = None;
        if self.suppose(Unknown { what, rule }, &so) == 1 {
            return self.drop(Place::Programs, Cause::Program { name: kind });
        }
        Ok(())
    }

    /// What IPv6 drops before its hooks (`ip6_rcv_core`).
    fn admit_v6(&mut self, dev: &str) -> Going<()> {
        if self.is_on(&format!("ipv6/conf/{dev}/disable_ipv6"))? {
            let dev = dev.to_owned();
            return self.drop(Place::Forwarding, Cause::Ipv6Off { dev });
        }
        let (source, destination) = (self.packet.source, self.packet.destination);
        let text = if source.is_multicast() {
            format!("its source {source} is a group")
        } else if source.is_loopback() && self.iif != Some(LOOPBACK) {
            format!("its source {source} is the loopback address")
        } else if destination.is_loopback() && self.iif != Some(LOOPBACK) {
            format!("its destination {destination} is the loopback address")
        } else {
            return Ok(());
        };
        self.drop(Place::Martian, Cause::Martian { text })
    }

    fn route_in(&mut self, ifindex: Ifindex, dev: &str) -> Going<Resolved> {
        let found = self.resolve(Why::CameBy(ifindex))?;
        let refused = match found {
            Ok(route) if self.family() == Family::V4 || !is_unroutable(route.kind) => {
                return Ok(route);
            }
            Ok(_) => NoWay::Dropped,
            Err(refused) => refused,
        };
        match self.family() {
            Family::V4 => self.refused_v4(refused, dev),
            Family::V6 => self.refused_v6(refused),
        }
    }

    /// `ip_error`.
    fn refused_v4(&mut self, refused: NoWay, dev: &str) -> Going<Resolved> {
        if refused == NoWay::Dropped {
            return self.dropped_v4(dev);
        }
        let key = format!("ipv4/conf/{dev}/forwarding");
        if !self.is_on(&key)? {
            return self.drop(Place::Forwarding, Cause::ForwardingOff { key });
        }
        let (cause, code) = match refused {
            NoWay::Unreachable => (
                Cause::Route {
                    kind: RouteKind::Unreachable,
                },
                1,
            ),
            NoWay::Prohibited => (
                Cause::Route {
                    kind: RouteKind::Prohibit,
                },
                13,
            ),
            NoWay::NoRoute | NoWay::Dropped => (Cause::NoRoute, 0),
        };
        self.answer(Place::Route, cause, UNREACHABLE_V4, code)
    }

    /// The kernel says no more than that the packet is dropped.
    fn dropped_v4(&mut self, dev: &str) -> Going<Resolved> {
        if let Some(text) = self.martian_v4(dev)? {
            return self.drop(Place::Martian, Cause::Martian { text });
        }
        let (of, mode) = self.reverse_path(dev)?;
        let kind = RouteKind::Blackhole;
        let is_blackhole = self.state.has_route(kind, self.packet.destination);
        let dev = of;
        match (mode, is_blackhole) {
            // The filter is only asked about what has a way (`ip_route_input_slow`).
            _ if is_blackhole && self.leads_nowhere()? => {
                self.drop(Place::Route, Cause::Route { kind })
            }
            (0, _) => self.drop(Place::Route, Cause::Route { kind }),
            (mode, false) => self.drop(Place::ReversePath, Cause::ReversePath { dev, mode }),
            (mode, true) => {
                let cause = Cause::ReversePathOrRoute { dev, mode, kind };
                self.drop(Place::ReversePath, cause)
            }
        }
    }

    /// Whether the kernel would drop whatever is sent there, wherever it came from.
    fn leads_nowhere(&self) -> Result<bool, KernelWayError> {
        let found = self.kernel.resolve(&Lookup {
            iif: None,
            oif: None,
            source: None,
            destination: self.packet.destination,
            tos: self.packet.tos & 0xfc,
            mark: self.packet.mark,
            protocol: None,
            ports: None,
            flow_label: self.packet.flow_label,
        })?;
        Ok(matches!(found, Err(NoWay::Dropped)))
    }

    /// Whose setting applies, and what it is.
    fn reverse_path(&self, dev: &str) -> Result<(String, u8), KernelWayError> {
        let of = |dev: &str| {
            let found = self.kernel.setting(&format!("ipv4/conf/{dev}/rp_filter"))?;
            Ok::<_, KernelWayError>(u8::try_from(found.unwrap_or(0)).unwrap_or(0))
        };
        let (all, own) = (of("all")?, of(dev)?);
        Ok(match all > own {
            true => ("all".to_owned(), all),
            false => (dev.to_owned(), own),
        })
    }

    /// What is wrong with an address, in the order of `ip_route_input_slow`.
    fn martian_v4(&self, dev: &str) -> Result<Option<String>, KernelWayError> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) =
            (self.packet.source, self.packet.destination)
        else {
            return Ok(None);
        };
        let is_zero = |address: Ipv4Addr| address.octets()[0] == 0;
        let is_local = self.is_on_any("ipv4", dev, "route_localnet")?;
        let accepts = self.is_on_any("ipv4", dev, "accept_local")?;
        let text = if source.is_multicast() || source == Ipv4Addr::BROADCAST || is_zero(source) {
            format!("its source {source} is no host's")
        } else if is_zero(destination) {
            format!("its destination {destination} is no host's")
        } else if !is_local && source.is_loopback() {
            format!("its source {source} is a loopback address")
        } else if !is_local && destination.is_loopback() {
            format!("its destination {destination} is a loopback address")
        } else if !accepts && self.state.local(source.into()) == Some(RouteKind::Local) {
            format!("its source {source} is this host's own")
        } else {
            return Ok(None);
        };
        Ok(Some(text))
    }

    /// `ip6_pkt_discard`, `ip6_pkt_prohibit`, `dst_discard`.
    fn refused_v6(&mut self, refused: NoWay) -> Going<Resolved> {
        if self.packet.destination == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            return self.drop(Place::Route, Cause::NoRoute);
        }
        let of = |kind| Cause::Route { kind };
        match refused {
            NoWay::Dropped => self.drop(Place::Route, of(RouteKind::Blackhole)),
            NoWay::Prohibited => {
                self.answer(Place::Route, of(RouteKind::Prohibit), UNREACHABLE_V6, 1)
            }
            NoWay::Unreachable => {
                self.answer(Place::Route, of(RouteKind::Unreachable), UNREACHABLE_V6, 0)
            }
            NoWay::NoRoute => self.answer(Place::Route, Cause::NoRoute, UNREACHABLE_V6, 0),
        }
    }
}

/// IPv6 tells of such a route as of any other.
fn is_unroutable(kind: RouteKind) -> bool {
    matches!(
        kind,
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw
    )
}
