//! The routes of a table, to look up many.

use std::collections::HashMap;

use ipnet::IpNet;

use super::{NewRoute, Route};

/// Where a route stands in its table: no two of IPv4 that differ in this are in each other's way, and NLM_F_REPLACE
/// takes the place of what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    dst: IpNet,
    from: Option<IpNet>,
    tos: u8,
    metric: u32,
}

/// The routes of table main, as they were when they were listed.
#[derive(Clone, Debug, Default)]
pub struct KnownRoutes(HashMap<Place, Vec<Route>>);

impl KnownRoutes {
    /// Of what [`Netlink::routes`](crate::netlink::Netlink::routes) found. Routes of other tables are left out.
    pub fn of(routes: impl IntoIterator<Item = Route>) -> Self {
        let mut places: HashMap<Place, Vec<Route>> = HashMap::new();
        for route in routes {
            if route.table != MAIN {
                continue;
            }
            let place = Place {
                dst: route.dst,
                from: route.from,
                tos: route.tos,
                metric: route.metric,
            };
            places.entry(place).or_default().push(route);
        }
        Self(places)
    }

    /// What is where a new route is to be put.
    pub(super) fn in_place_of(&self, new: &NewRoute) -> &[Route] {
        let place = Place {
            dst: new.dst,
            from: None,
            tos: 0,
            metric: default_metric(new.dst),
        };
        self.0.get(&place).map_or(&[], Vec::as_slice)
    }
}

/// `RT_TABLE_MAIN` of linux/rtnetlink.h.
const MAIN: u32 = 254;

/// The metric that the kernel gives to a route that comes without: `IP6_RT_PRIO_USER` of linux/ipv6_route.h for IPv6.
pub(super) fn default_metric(dst: IpNet) -> u32 {
    match dst {
        IpNet::V4(_) => 0,
        IpNet::V6(_) => 1024,
    }
}
