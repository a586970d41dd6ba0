//! What is read of a node that is up for the doctor alone.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use netpath_common::{DropReason, Family, Outcome};

use super::{
    super::{Beyond, Build, Fill},
    probe, rules,
};
use crate::{
    command::{self, CommandError},
    counters::{self, CountersError, Reason},
    datapath::{Datapath, DatapathError, ObjectKind},
    flows::{self, FlowsError},
    model::NodePlace,
    netfilter::{
        NetfilterError,
        nft::{Elements, Ruleset},
    },
    netlink::{NeighbourState, Netlink, NetlinkError},
    netns::{Inside, Netns, NetnsError},
    probe::ProbeError,
    reconcile::{Recorded, World},
    sysctl,
};

/// The settings that are judged: keys below `/proc/sys/net`.
const SYSCTLS: [&str; 7] = [
    "ipv4/fib_multipath_hash_policy",
    "ipv6/fib_multipath_hash_policy",
    "ipv4/neigh/default/gc_thresh3",
    "ipv6/neigh/default/gc_thresh3",
    "netfilter/nf_conntrack_tcp_loose",
    "netfilter/nf_conntrack_count",
    "netfilter/nf_conntrack_max",
];

/// Something could not be read. The check that needs it says so.
#[derive(Debug, thiserror::Error)]
pub(super) enum BeyondError {
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Netfilter(#[from] NetfilterError),
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    #[error(transparent)]
    Counters(#[from] CountersError),
    #[error(transparent)]
    Flows(#[from] FlowsError),
    #[error(transparent)]
    Sysctl(#[from] sysctl::SysctlError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
}

pub(super) fn read(name: &str, world: &World, asks: bool) -> Result<Beyond, BeyondError> {
    let mut beyond = Beyond::default();
    let Some(recorded) = &world.recorded else {
        return Ok(beyond);
    };
    let netns = match recorded.place {
        NodePlace::Lab => Netns::named(name)?,
        NodePlace::Host => Netns::current()?,
    };
    netns.enter(|inside| namespace(inside, world, &mut beyond))??;
    if asks {
        beyond.answered = netns.enter(|_| probe::ask(recorded, world))??;
    }
    if let Some(datapath) = Datapath::open(name)? {
        beyond.fills = fills(&datapath)?;
        beyond.build = build(&datapath)?;
    }
    let flows = flows::read_all(Some(name))?;
    let tables = flows.tables.iter();
    beyond.connections = tables
        .map(|table| (table.family, table.entries, table.room, table.evicted))
        .collect();
    count(name, recorded, &mut beyond)?;
    Ok(beyond)
}

fn namespace(inside: &Inside<'_>, world: &World, beyond: &mut Beyond) -> Result<(), BeyondError> {
    for key in SYSCTLS {
        match sysctl::get(inside, key) {
            Ok(value) => beyond
                .sysctls
                .extend(value.parse().ok().map(|value| (key, value))),
            // Without IPv6, or before anybody has asked for connection tracking.
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let netlink = Netlink::open(inside)?;
    let neighbours = netlink.neighbours()?;
    for family in Family::ALL {
        let counted = neighbours.iter().filter(|it| {
            // Of these the kernel keeps any number (`NTF_EXT_LEARNED`, `NUD_PERMANENT` in neigh_alloc).
            let is_kept = matches!(it.state, NeighbourState::Permanent | NeighbourState::NoArp);
            it.address.is_ipv4() == (family == Family::V4) && !is_kept
        });
        beyond.neighbours.push((family, counted.count() as u64));
    }
    let node = &world.observed.node;
    let uplinks = world.recorded.iter().flat_map(|it| it.uplinks.keys());
    let uplinks: Vec<_> = uplinks.filter_map(|dev| node.link(dev)).collect();
    for (ifindex, address) in netlink.all_addresses()? {
        let uplink = uplinks.iter().find(|link| link.ifindex == ifindex);
        if let (Some(uplink), true) = (uplink, address.duplicate) {
            let found = (uplink.name.clone(), address.address.addr());
            beyond.duplicates.push(found);
        }
    }
    // Nothing else needs another program.
    match learnt() {
        Ok(learnt) => beyond.learnt = learnt,
        Err(error) => beyond.unlearnt = Some(error.to_string()),
    }
    let ruleset = Ruleset::read(inside, Elements::OfVerdicts)?;
    beyond.drops_by_state = rules::drops_by_state(&ruleset);
    if let Some(recorded) = &world.recorded {
        beyond.one_way = rules::untracked_one_way(&ruleset, recorded, node);
    }
    Ok(())
}

/// Destinations of which the kernel has learnt how long their packets may be.
fn learnt() -> Result<Vec<(IpNet, u32)>, CommandError> {
    let mut learnt = Vec::new();
    for family in ["-4", "-6"] {
        let text = command::run("ip", &["-o", family, "route", "show", "cache"], "")?;
        learnt.extend(text.lines().filter_map(exception));
    }
    Ok(learnt)
}

/// A line such as `10.0.3.2 via 10.0.0.1 dev up0 \    cache expires 590sec mtu 1400`; `None` without an MTU.
fn exception(line: &str) -> Option<(IpNet, u32)> {
    let mut words = line.split_whitespace().skip_while(|word| *word == "local");
    let destination = words.next()?;
    let address = destination.parse::<IpAddr>().map(IpNet::from);
    let dst = address.ok().or_else(|| destination.parse().ok())?;
    let mut words = words.skip_while(|word| *word != "mtu").skip(1);
    // An MTU that is locked has the word before it.
    let mtu = words.find(|word| *word != "lock")?.parse().ok()?;
    Some((dst, mtu))
}

fn fills(datapath: &Datapath) -> Result<Vec<Fill>, DatapathError> {
    let maps = &datapath.maps;
    let (endpoints, routes) = (maps.endpoints()?, maps.routes()?);
    let [v4, v6] = [true, false].map(|is_v4| {
        let endpoints = endpoints.keys().filter(|it| it.is_ipv4() == is_v4);
        let routes = routes.keys().filter(|it| it.addr().is_ipv4() == is_v4);
        (endpoints.count() as u64, routes.count() as u64)
    });
    let fill = |map, key, entries, room: u32| Fill {
        map,
        key,
        entries,
        room: room.into(),
    };
    let (addresses, prefixes) = ("max_endpoints", "max_routes");
    Ok(vec![
        fill(
            "endpoints_v4",
            addresses,
            v4.0,
            maps.endpoints_v4.max_entries(),
        ),
        fill(
            "endpoints_v6",
            addresses,
            v6.0,
            maps.endpoints_v6.max_entries(),
        ),
        fill("routes_v4", prefixes, v4.1, maps.routes_v4.max_entries()),
        fill("routes_v6", prefixes, v6.1, maps.routes_v6.max_entries()),
    ])
}

fn build(datapath: &Datapath) -> Result<Build, DatapathError> {
    Ok(match datapath.has_object(ObjectKind::Plain)? {
        true => Build::Own,
        false if datapath.has_object(ObjectKind::Logging)? => Build::Logging,
        false => Build::Other,
    })
}

/// What was lost to the counters, and what endpoints have sent that was not theirs.
fn count(name: &str, recorded: &Recorded, beyond: &mut Beyond) -> Result<(), CountersError> {
    let mut spoofed: BTreeMap<String, u64> = BTreeMap::new();
    for row in counters::read(name)? {
        if row.is_overflow() {
            beyond.overflowed += row.packets;
        }
        let is_spoofed =
            row.outcome == Outcome::Drop && row.reason == Some(Reason::Drop(DropReason::Spoofed));
        let mut endpoints = recorded.endpoints.iter();
        let endpoint = endpoints.find(|(_, it)| is_spoofed && it.host_dev == row.ingress);
        if let Some((endpoint, _)) = endpoint {
            *spoofed.entry(endpoint.clone()).or_default() += row.packets;
        }
    }
    beyond.spoofed = spoofed;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_is_read() {
        for (line, expected) in [
            (
                "10.0.3.2 via 100.100.198.253 dev up0 \\    cache expires 590sec mtu 1400 ",
                Some(("10.0.3.2/32", 1400)),
            ),
            (
                "fd00:3::2 via fd00:198::253 dev up0 metric 1024 expires 596sec mtu lock 1300 pref medium",
                Some(("fd00:3::2/128", 1300)),
            ),
            ("10.0.3.2 dev up0 \\    cache ", None),
            ("", None),
        ] {
            let expected = expected.map(|(dst, mtu)| (dst.parse().expect("a prefix"), mtu));
            assert_eq!(exception(line), expected, "{line}");
        }
    }
}
