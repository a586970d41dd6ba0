//! Rules that tell a connection's two directions apart.

use ipnet::IpNet;

use crate::{
    netfilter::nft::{Device, EffectKind, Effects, Hook, Meeting, Packets, Ruleset},
    reconcile::{Namespace, Recorded},
};

/// So many of a node's addresses and prefixes are looked at, each with all others: rules are for whole subnets.
const ENDS: usize = 32;

/// A chain of forwarded packets that drops some by the state of their connection.
pub(super) fn drops_by_state(ruleset: &Ruleset) -> Option<String> {
    let forward = ruleset
        .base_chains()
        .filter(|(_, _, base)| [Hook::Forward, Hook::Prerouting].contains(&base.hook));
    for (id, _, base) in forward {
        let effects = Effects::of(ruleset, id, base);
        let is_it = |name: &String| {
            name.contains("conntrack") || name == "match state" || name.starts_with("ct ")
        };
        let drop = effects.iter().find(|effect| {
            effect.kind == EffectKind::Drop && effect.conditions.others.iter().any(is_it)
        });
        if let Some(drop) = drop {
            return Some(drop.chain.clone());
        }
    }
    None
}

/// A chain that leaves packets from one of a node's addresses or prefixes to another untracked, and not those the other way.
pub(super) fn untracked_one_way(
    ruleset: &Ruleset,
    recorded: &Recorded,
    node: &Namespace,
) -> Option<(String, IpNet, IpNet)> {
    let chains = ruleset
        .base_chains()
        .filter(|(_, _, base)| base.hook == Hook::Prerouting)
        .map(|(id, _, base)| Effects::of(ruleset, id, base));
    let chains: Vec<Effects> = chains
        .filter(|effects| effects.iter().any(|it| it.kind == EffectKind::Notrack))
        .collect();
    if chains.is_empty() {
        return None;
    }
    let ends = ends(recorded, node);
    let is_v4 = |end: &End<'_>| end.0.addr().is_ipv4();
    for (index, one) in ends.iter().enumerate() {
        for other in ends[index + 1..]
            .iter()
            .filter(|it| is_v4(it) == is_v4(one))
        {
            for (from, to) in [(one, other), (other, one)] {
                let there = untracked_by(&chains, from, to, Meeting::Yes);
                let back = untracked_by(&chains, to, from, Meeting::Perhaps);
                if let (Some(chain), None) = (there, back) {
                    return Some((chain, from.0, to.0));
                }
            }
        }
    }
    None
}

/// An address or a prefix, and what its packets come in by, if that is an endpoint's.
type End<'a> = (IpNet, Option<Device<'a>>);

fn ends<'a>(recorded: &'a Recorded, node: &'a Namespace) -> Vec<End<'a>> {
    let mut ends: Vec<End<'_>> = Vec::new();
    for endpoint in recorded.endpoints.values().take(ENDS) {
        let device = node.link(&endpoint.host_dev).map(|link| Device {
            ifindex: link.ifindex,
            name: &link.name,
        });
        let addresses = endpoint.addresses.iter().map(|net| net.addr().into());
        let nets = addresses.chain(endpoint.prefixes.iter().copied());
        ends.extend(nets.map(|net: IpNet| (net, device)));
    }
    ends.extend(recorded.routes.keys().take(ENDS).map(|dst| (*dst, None)));
    ends
}

/// The chain by which packets are untracked, at least so certainly.
fn untracked_by(
    chains: &[Effects],
    from: &End<'_>,
    to: &End<'_>,
    least: Meeting,
) -> Option<String> {
    let packets = Packets {
        source: from.0,
        destination: to.0,
        iif: from.1,
        oif: None,
    };
    let is_met = |meeting: Meeting| meeting == Meeting::Yes || meeting == least;
    let mut met = chains.iter().flat_map(|effects| effects.meetings(&packets));
    let found =
        met.find(|(effect, meeting)| effect.kind == EffectKind::Notrack && is_met(*meeting));
    found.map(|(effect, _)| effect.chain.clone())
}
