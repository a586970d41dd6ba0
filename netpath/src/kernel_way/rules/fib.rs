//! What the routes say of an address, to rules that ask.

use std::net::IpAddr;

use netpath_common::{Family, Ifindex};

use super::load::{IFNAMSIZ, Loaded, bytes, name, unknown};
use crate::{
    kernel_way::{KernelWayError, kernel::LOOPBACK, walk::Walk},
    netlink::{Lookup, RouteKind},
};

impl Walk<'_> {
    /// `NFT_FIB_RESULT_*`: of types of addresses, and for IPv6 of the interface that a route leads out by. IPv4 is not asked
    /// for the route back from an address that is not its own, and so is not followed.
    pub(super) fn fib(&self, result: u32, flags: u32) -> Result<Loaded, KernelWayError> {
        const TYPE: u32 = 3;
        const SOURCE: u32 = 1;
        const IIF: u32 = 8;
        const OIF: u32 = 16;
        let (address, other) = match flags & SOURCE {
            0 => (self.packet.destination, self.packet.source),
            _ => (self.packet.source, self.packet.destination),
        };
        let on = match (flags & IIF, flags & OIF) {
            (0, 0) => None,
            (0, _) => self.oif,
            _ => self.iif,
        };
        if result != TYPE {
            return match self.family() {
                Family::V4 => Ok(unknown(IFNAMSIZ)),
                Family::V6 => self.fib_device((address, other), on, result, flags),
            };
        }
        Ok(match self.kind_of(address, on)? {
            Some(kind) => bytes(&number(kind).to_ne_bytes()),
            None => unknown(4),
        })
    }

    /// `nft_fib6_eval`: nothing where the route is none, or leads out by another interface than the one that is asked about.
    fn fib_device(
        &self,
        (to, from): (IpAddr, IpAddr),
        on: Option<Ifindex>,
        result: u32,
        flags: u32,
    ) -> Result<Loaded, KernelWayError> {
        const BY_NAME: u32 = 2;
        const MARK: u32 = 4;
        const PRESENT: u32 = 32;
        let is_local = matches!(to, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let found = self.kernel.resolve(&Lookup {
            iif: None,
            oif: on.filter(|_| is_local),
            source: Some(from),
            destination: to,
            tos: self.packet.tos & 0xfc,
            mark: if flags & MARK == 0 {
                0
            } else {
                self.packet.mark
            },
            protocol: Some(self.packet.protocol()),
            ports: None,
            flow_label: 0,
        })?;
        let device = match found {
            _ if self.iif == Some(LOOPBACK) => self.iif,
            Ok(route) if route.kind == RouteKind::Unicast => Some(route.ifindex),
            _ => None,
        };
        let device = device.filter(|device| on.is_none_or(|on| on == *device));
        Ok(match (flags & PRESENT, result, device) {
            (0, BY_NAME, Some(device)) => name(&self.state.dev(device)),
            (0, BY_NAME, None) => name(""),
            (0, _, device) => bytes(&device.map_or(0, |device| device.0).to_ne_bytes()),
            (_, _, device) => bytes(&[u8::from(device.is_some())]),
        })
    }

    /// What kind of address one is to this host, or on one of its interfaces; `None` where that is not known.
    pub(super) fn kind_of(
        &self,
        address: IpAddr,
        on: Option<Ifindex>,
    ) -> Result<Option<RouteKind>, KernelWayError> {
        let local = self.state.local(address);
        if let (Some(RouteKind::Local), Some(on)) = (local, on) {
            let mut addresses = self.state.addresses.iter();
            let is_there =
                addresses.any(|(ifindex, found)| *ifindex == on && found.address.addr() == address);
            return Ok(is_there.then_some(RouteKind::Local));
        }
        Ok(match (local, address) {
            (Some(kind), _) => Some(kind),
            (None, IpAddr::V4(_)) => Some(RouteKind::Unicast),
            (None, IpAddr::V6(_)) => self.kind_v6(address)?,
        })
    }

    /// IPv6 goes by all its routes.
    fn kind_v6(&self, address: IpAddr) -> Result<Option<RouteKind>, KernelWayError> {
        let lookup = Lookup {
            iif: None,
            oif: None,
            source: None,
            destination: address,
            tos: 0,
            mark: 0,
            protocol: None,
            ports: None,
            flow_label: 0,
        };
        Ok(match self.kernel.resolve(&lookup)? {
            Ok(route) => Some(route.kind),
            Err(_) => Some(RouteKind::Unreachable),
        })
    }
}

/// `RTN_*` of linux/rtnetlink.h.
pub(super) fn number(kind: RouteKind) -> u32 {
    match kind {
        RouteKind::Unicast => 1,
        RouteKind::Local => 2,
        RouteKind::Broadcast => 3,
        RouteKind::Anycast => 4,
        RouteKind::Multicast => 5,
        RouteKind::Blackhole => 6,
        RouteKind::Unreachable => 7,
        RouteKind::Prohibit => 8,
        RouteKind::Throw => 9,
        RouteKind::Other(other) => other.into(),
    }
}
