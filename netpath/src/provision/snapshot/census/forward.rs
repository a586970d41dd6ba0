//! What filter FORWARD would drop of what is routed. The fast path passes it by, so it matters where packets are left to the
//! kernel.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use netpath_common::{Family, FastPathMode};

use super::{Routed, Subject, device, legacy::Legacy};
use crate::{
    audit::{FILTER, SECURITY, is_routed},
    netfilter::nft::{EffectKind, Effects, Hook, Meeting, Packets, Ruleset},
    netlink::Link,
    reconcile::{Census, ForwardDrop},
};

/// Whether something that is routed is left to the kernel, or may be.
pub(super) fn matters(subject: &Subject<'_>, census: &Census) -> bool {
    let recorded = subject.recorded.is_some_and(|node| {
        let mut endpoints = node.endpoints.values();
        let is_left = |mode| mode != FastPathMode::On;
        is_left(node.fast_path) || endpoints.any(|it| is_left(it.fast_path.wants(node.fast_path)))
    });
    let wanted = subject
        .wanted
        .is_some_and(|node| node.fast_path.is_some_and(|mode| mode != FastPathMode::On));
    let acted_on = !census.interfaces.is_empty() || !census.coming.is_empty();
    subject.is_left || recorded || wanted || acted_on || !census.matters.is_empty()
}

/// The chains that drop something there, or may.
pub(super) struct Chains<'a> {
    /// By name.
    read: Vec<(&'a str, Effects)>,
    /// Families of which legacy tables cannot be read.
    unread: Vec<Family>,
}

/// As legacy xtables calls it.
const LEGACY: &str = "FORWARD";

impl<'a> Chains<'a> {
    pub(super) fn of(ruleset: &'a Ruleset, legacy: &'a [Legacy]) -> Self {
        let mut chains = Self {
            read: of_filter(ruleset).collect(),
            unread: Vec::new(),
        };
        for found in legacy {
            match found {
                Legacy::Rules(rules) => chains.read.extend(of_filter(rules)),
                Legacy::Unread(family) => chains.unread.push(*family),
            }
        }
        chains
    }

    /// What is dropped: of each address of an endpoint, to the next endpoint's, and to and from another node's; and from one
    /// uplink to another.
    pub(super) fn drops(
        &self,
        subject: &Subject<'_>,
        routed: &Routed<'_>,
        links: &[Link],
    ) -> Vec<ForwardDrop> {
        if self.read.is_empty() && self.unread.is_empty() {
            return Vec::new();
        }
        let drops = pairs(&sides(subject, routed)).into_iter();
        let drops = drops.filter_map(|(source, destination)| {
            let (chain, certain) = self.dropped_by(links, &source, &destination)?;
            // A connection that may be begun from the other side is one that may be meant: its answers are accepted by its
            // state.
            if !certain && self.dropped_by(links, &destination, &source).is_none() {
                return None;
            }
            Some(ForwardDrop {
                iif: source.dev.map(str::to_owned),
                source: source.net,
                destination: destination.net,
                chain: chain.to_owned(),
                certain,
            })
        });
        drops.collect()
    }

    /// The chain that drops packets from there to there, and whether for certain.
    fn dropped_by(
        &self,
        links: &[Link],
        source: &Side<'_>,
        destination: &Side<'_>,
    ) -> Option<(&'a str, bool)> {
        let packets = Packets {
            source: source.net,
            destination: destination.net,
            iif: source.dev.map(|dev| device(links, dev)),
            oif: destination.dev.map(|dev| device(links, dev)),
        };
        let dropped = self.read.iter().filter_map(|(name, effects)| {
            let meeting = strongest(effects, &packets)?;
            Some((*name, meeting == Meeting::Yes))
        });
        let unread = self.unread.iter();
        let unread = unread.filter(|family| **family == Family::of(source.net.addr()));
        // One for certain first.
        dropped
            .chain(unread.map(|_| (LEGACY, false)))
            .min_by_key(|(_, certain)| !certain)
    }
}

/// Those of filter FORWARD that drop something.
fn of_filter(ruleset: &Ruleset) -> impl Iterator<Item = (&str, Effects)> {
    let chains = ruleset.base_chains().filter(|(id, _, base)| {
        let is_filter = base.priority >= FILTER && id.table != SECURITY;
        is_routed(id) && base.hook == Hook::Forward && is_filter
    });
    chains
        .map(|(id, _, base)| (id.name.as_str(), Effects::of(ruleset, id, base)))
        .filter(|(_, effects)| effects.iter().any(|effect| effect.kind == EffectKind::Drop))
}

/// Whether a chain drops packets, or whether all of them are dropped that nothing accepts which is not understood. What is
/// dropped itself only if something not understood is so (a connection's state is invalid) does not count.
fn strongest(effects: &Effects, packets: &Packets<'_>) -> Option<Meeting> {
    let are_known = packets.iif.is_some() && packets.oif.is_some();
    let meetings = effects.meetings(packets).into_iter();
    let drops = meetings.filter(|(effect, _)| effect.kind == EffectKind::Drop);
    let drops = drops.filter_map(|(effect, meeting)| match meeting {
        Meeting::Yes => Some(meeting),
        Meeting::Perhaps if are_known && effect.conditions.exact() => Some(meeting),
        Meeting::Perhaps | Meeting::No => None,
    });
    drops.min_by_key(|meeting| *meeting != Meeting::Yes)
}

/// An address or a prefix, and what packets from it come in by.
#[derive(Clone, Copy)]
struct Side<'a> {
    net: IpNet,
    /// Its veth, or its uplink if that is known.
    dev: Option<&'a str>,
    is_remote: bool,
}

fn sides<'a>(subject: &Subject<'a>, routed: &Routed<'a>) -> Vec<Side<'a>> {
    let uplinks = uplinks(subject);
    let sides = routed.iter().map(|(&net, &dev)| Side {
        net,
        dev: dev.or_else(|| uplinks.get(&net).copied()),
        is_remote: dev.is_none(),
    });
    sides.collect()
}

/// The uplink that each route leads by, as far as its next hop says.
pub fn uplinks<'a>(subject: &Subject<'a>) -> BTreeMap<IpNet, &'a str> {
    let is_by =
        |dev: &str, addresses: &[IpNet], route: (Option<&String>, Option<IpAddr>)| match route {
            (Some(by), _) => by == dev,
            (None, Some(via)) => addresses.iter().any(|net| net.contains(&via)),
            (None, None) => false,
        };
    let mut found = BTreeMap::new();
    if let Some(node) = subject.recorded {
        for (dst, route) in &node.routes {
            let next_hop = (route.dev.as_ref(), route.via);
            let mut uplinks = node.uplinks.iter();
            let by = uplinks.find(|(dev, uplink)| is_by(dev, &uplink.addresses, next_hop));
            found.extend(by.map(|(dev, _)| (*dst, dev.as_str())));
        }
    }
    if let Some(node) = subject.wanted {
        for route in &node.routes {
            let next_hop = (route.dev.as_ref(), route.via);
            let mut uplinks = node.uplinks.iter();
            let by = uplinks.find(|uplink| is_by(&uplink.dev, &uplink.addresses, next_hop));
            found.extend(by.map(|uplink| (route.dst, uplink.dev.as_str())));
        }
    }
    found
}

fn pairs<'a>(sides: &[Side<'a>]) -> Vec<(Side<'a>, Side<'a>)> {
    let mut pairs = Vec::new();
    for is_v4 in [true, false] {
        let of_family = sides
            .iter()
            .filter(|side| side.net.addr().is_ipv4() == is_v4);
        let (remote, here): (Vec<Side<'a>>, Vec<Side<'a>>) =
            of_family.copied().partition(|side| side.is_remote);
        // One of each interface is enough.
        let [here, remote] = [here, remote].map(|sides| {
            let sides = sides.into_iter().rev();
            let by_dev: BTreeMap<Option<&str>, Side<'a>> =
                sides.map(|side| (side.dev, side)).collect();
            by_dev.into_values().collect::<Vec<_>>()
        });
        for (index, &source) in here.iter().enumerate() {
            let next = here[(index + 1) % here.len()];
            let next = Some(next).filter(|next| next.dev != source.dev);
            let to = next.into_iter().chain(remote.first().copied());
            pairs.extend(to.map(|to| (source, to)));
            pairs.extend(remote.iter().map(|&from| (from, source)));
        }
        for &from in &remote {
            let others = remote
                .iter()
                .filter(|to| to.dev != from.dev && to.dev.is_some());
            pairs.extend(others.filter(|_| from.dev.is_some()).map(|&to| (from, to)));
        }
    }
    pairs
}
