//! What filter FORWARD would drop of what is routed. The fast path passes it by, so it matters where packets are left to the
//! kernel.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{
    Routed, Subject,
    addresses::{FILTER, SECURITY, is_routed},
    device,
};
use crate::{
    netfilter::nft::{EffectKind, Effects, Hook, Meeting, Packets, Ruleset},
    netlink::Link,
    reconcile::{Census, ForwardDrop},
};

/// Whether something that is routed is left to the kernel as a whole, or may be.
pub(super) fn matters(subject: &Subject<'_>, census: &Census) -> bool {
    let recorded = subject.recorded.is_some_and(|node| {
        let mut endpoints = node.endpoints.values();
        endpoints.any(|endpoint| !endpoint.fast_path.wants(node.fast_path))
    });
    let wanted = subject
        .wanted
        .is_some_and(|node| node.fast_path == Some(false));
    let acted_on = !census.interfaces.is_empty() || !census.coming.is_empty();
    recorded || wanted || acted_on || !census.matters.is_empty()
}

/// What is dropped for certain: of each address of an endpoint, to the next endpoint's and to another node's.
pub(super) fn drops(ruleset: &Ruleset, routed: &Routed<'_>, links: &[Link]) -> Vec<ForwardDrop> {
    let chains = ruleset.base_chains().filter(|(id, _, base)| {
        let is_filter = base.priority >= FILTER && id.table != SECURITY;
        is_routed(id) && base.hook == Hook::Forward && is_filter
    });
    let chains: Vec<(&str, Effects)> = chains
        .map(|(id, _, base)| (id.name.as_str(), Effects::of(ruleset, id, base)))
        .filter(|(_, effects)| effects.iter().any(|effect| effect.kind == EffectKind::Drop))
        .collect();
    if chains.is_empty() {
        return Vec::new();
    }
    let dropped_by = |source: Side<'_>, destination: Side<'_>| {
        let packets = Packets {
            source: source.0,
            destination: destination.0,
            iif: source.1.map(|dev| device(links, dev)),
            oif: destination.1.map(|dev| device(links, dev)),
        };
        let mut chains = chains.iter();
        chains.find_map(|(name, effects)| {
            let meetings = effects.meetings(&packets);
            let mut drops = meetings
                .iter()
                .filter(|(effect, _)| effect.kind == EffectKind::Drop);
            drops
                .any(|(_, meeting)| *meeting == Meeting::Yes)
                .then_some(*name)
        })
    };
    let pairs = pairs(routed).into_iter();
    let drops = pairs.filter_map(|(source, destination)| {
        Some(ForwardDrop {
            source: source.0,
            destination: destination.0,
            chain: dropped_by(source, destination)?.to_owned(),
        })
    });
    drops.collect()
}

/// An address or a prefix, and the veth that it is behind if it is an endpoint's.
type Side<'a> = (IpNet, Option<&'a str>);

fn pairs<'a>(routed: &Routed<'a>) -> Vec<(Side<'a>, Side<'a>)> {
    let mut pairs = Vec::new();
    for is_v4 in [true, false] {
        let of_family = routed
            .iter()
            .filter(|(net, _)| net.addr().is_ipv4() == is_v4);
        let sides: Vec<Side<'a>> = of_family.map(|(net, dev)| (*net, *dev)).collect();
        let (here, remote): (Vec<Side<'a>>, Vec<Side<'a>>) =
            sides.into_iter().partition(|(_, dev)| dev.is_some());
        // One address of each endpoint is enough.
        let by_dev: BTreeMap<Option<&str>, Side<'a>> =
            here.into_iter().rev().map(|side| (side.1, side)).collect();
        let here: Vec<Side<'a>> = by_dev.into_values().collect();
        for (index, &source) in here.iter().enumerate() {
            let next = here[(index + 1) % here.len()];
            let next = Some(next).filter(|next| next.1 != source.1);
            pairs.extend(
                next.into_iter()
                    .chain(remote.first().copied())
                    .map(|to| (source, to)),
            );
        }
    }
    pairs
}
