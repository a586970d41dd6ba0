//! Routes that refuse, rules, next hops of all kinds, and many at once.

mod multipath;
mod next_hops;
mod redirects;
mod refusing;
mod reverse_path;
mod rules;

use std::net::IpAddr;

use super::List;
use crate::{
    Family,
    conformance::{
        case::{Path, Step},
        place::Place,
    },
};

/// MACs of next hops that exist only as permanent neighbours of node A's uplink.
const NEXT_HOPS: [(u8, &str); 3] = [
    (11, "02:00:00:00:08:11"),
    (12, "02:00:00:00:08:12"),
    (13, "02:00:00:00:08:13"),
];

pub(super) fn add(list: &mut List<'_>) {
    for flow in list.flows() {
        refusing::add(list, &flow);
        rules::add_local(list, &flow);
        rules::add_mark_delivered(list, &flow);
        if flow.path == Path::ToRemote {
            rules::add(list, &flow);
            rules::add_marked(list, &flow);
            next_hops::add(list, &flow);
            multipath::add(list, &flow);
        }
        redirects::add(list, &flow);
        reverse_path::add(list, &flow);
    }
}

/// A prefix inside what the topology routes to node B, with a host in it.
fn remote(family: Family) -> (&'static str, IpAddr) {
    let (prefix, host) = match family {
        Family::V4 => ("10.2.9.0/24", "10.2.9.9"),
        Family::V6 => ("fd00:2:9::/48", "fd00:2:9::9"),
    };
    (prefix, host.parse().expect(host))
}

fn hop(family: Family, number: u8) -> String {
    match family {
        Family::V4 => format!("10.8.0.{number}"),
        Family::V6 => format!("fd00:8::{number}"),
    }
}

/// The next hops as neighbours.
fn neighbours(family: Family) -> impl Iterator<Item = Step> {
    NEXT_HOPS.into_iter().map(move |(number, mac)| {
        let hop = hop(family, number);
        Step::ip(
            Place::NodeA,
            format!("neigh replace {hop} dev up0 lladdr {mac} nud permanent"),
            format!("neigh del {hop} dev up0"),
        )
    })
}

fn option(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4 ",
        Family::V6 => "-6 ",
    }
}
