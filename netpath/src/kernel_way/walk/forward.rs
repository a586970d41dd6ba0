//! Forwarding (`ip_forward`, `ip6_forward`).

use std::net::IpAddr;

use netpath_common::Family;

use super::{Going, Walk, table};
use crate::{
    kernel_way::{Cause, End, KernelWayError, Outcome, Place},
    netfilter::nft::Hook,
    netlink::{Resolved, XfrmDirection},
};

/// The least that an IPv6 link carries, in bytes.
const IPV6_MIN_MTU: u32 = 1280;

impl Walk<'_> {
    pub(super) fn forwarded(&mut self, route: Resolved, dev: &str) -> Going<End> {
        let out = self.state.dev(route.ifindex);
        let way = match route.via {
            Some(via) => format!("{}: via {via} by {out}", table(route.table)),
            None => format!("{}: on the link by {out}", table(route.table)),
        };
        self.note(Place::Route, Outcome::Passes, way);
        self.oif = Some(route.ifindex);
        self.ipsec(XfrmDirection::Forward)?;
        match self.family() {
            Family::V4 => self.checks_v4(&route, &out)?,
            Family::V6 => self.checks_v6(&route, dev, &out)?,
        }
        self.packet.ttl -= 1;
        let text = format!("one less: {}", self.packet.ttl);
        self.note(Place::Ttl, Outcome::Changes, text);
        if self.iif == self.oif {
            let text =
                "it goes back by the interface that it came by: its sender may be redirected";
            self.note(Place::Redirect, Outcome::Passes, text);
        }
        self.hook(Hook::Forward)?;
        self.output(route, true)
    }

    fn checks_v4(&mut self, route: &Resolved, out: &str) -> Going<()> {
        if self.packet.ttl <= 1 {
            return self.answer(Place::Ttl, Cause::Ttl, 11, 0);
        }
        let mtu = self.mtu_v4(route, true)?;
        if self.packet.longest() > mtu && self.packet.dont_fragment {
            return self.answer(Place::Mtu, Cause::TooBig { mtu }, 3, 4);
        }
        self.fits(mtu, out);
        Ok(())
    }

    fn checks_v6(&mut self, route: &Resolved, dev: &str, out: &str) -> Going<()> {
        let key = "ipv6/conf/all/forwarding";
        let forced = format!("ipv6/conf/{dev}/force_forwarding");
        if !self.is_on(key)? && !self.is_on(&forced)? {
            let key = key.to_owned();
            return self.drop(Place::Forwarding, Cause::ForwardingOff { key });
        }
        if self.packet.ttl <= 1 {
            return self.answer(Place::Ttl, Cause::Ttl, 3, 0);
        }
        let source = self.packet.source;
        if let IpAddr::V6(v6) = source
            && self.iif != Some(route.ifindex)
        {
            let text = format!("its source {source} is not forwarded");
            if v6.is_unicast_link_local() {
                return self.answer(Place::Martian, Cause::Martian { text }, 1, 2);
            }
            if v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() {
                return self.drop(Place::Martian, Cause::Martian { text });
            }
        }
        let locked = route.mtu.filter(|_| route.mtu_locked);
        let mtu = match locked {
            Some(mtu) => mtu,
            None => self.interface_mtu_v6(out)?,
        };
        let mtu = mtu.max(IPV6_MIN_MTU);
        if self.packet.longest() > mtu {
            return self.answer(Place::Mtu, Cause::TooBig { mtu }, 2, 0);
        }
        self.fits(mtu, out);
        Ok(())
    }

    fn fits(&mut self, mtu: u32, out: &str) {
        let length = self.packet.longest();
        let text = match length > mtu {
            true => format!("{length} bytes are more than {mtu} of {out}: it is fragmented"),
            false => format!("{length} bytes, and {mtu} fit into {out}"),
        };
        self.note(Place::Mtu, Outcome::Passes, text);
    }

    /// `ip_dst_mtu_maybe_forward`: what was learnt of the path counts for what is sent here, or where it is locked or a
    /// setting says so.
    pub(super) fn mtu_v4(&self, route: &Resolved, forwarded: bool) -> Result<u32, KernelWayError> {
        let of_device = self
            .state
            .link(route.ifindex)
            .map_or(u32::MAX, |link| link.mtu);
        let counts = !forwarded || route.mtu_locked || self.is_on("ipv4/ip_forward_use_pmtu")?;
        Ok(match route.mtu {
            Some(mtu) if !route.learnt || counts => mtu,
            _ => of_device,
        })
    }

    /// What was learnt of the path, or what the route has, or else its interface.
    pub(super) fn mtu_v6(&self, route: &Resolved, out: &str) -> Result<u32, KernelWayError> {
        match route.mtu {
            Some(mtu) => Ok(mtu),
            None => self.interface_mtu_v6(out),
        }
    }

    /// `net/ipv6/conf/<dev>/mtu`.
    pub(super) fn interface_mtu_v6(&self, out: &str) -> Result<u32, KernelWayError> {
        let found = self.kernel.setting(&format!("ipv6/conf/{out}/mtu"))?;
        Ok(found
            .and_then(|mtu| u32::try_from(mtu).ok())
            .unwrap_or(IPV6_MIN_MTU))
    }
}
