//! What acts on packets by their addresses: IPsec's policies, and rules of nf_tables.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netpath_common::PuntReason;

use super::{Routed, device, overlap};
use crate::{
    netfilter::nft::{
        Base, ChainId, Device, EffectKind, Effects, Hook, Meeting, Packets, Ruleset, TableFamily,
    },
    netlink::{Link, Xfrm, XfrmAction, XfrmDirection, XfrmPolicy},
    reconcile::Matter,
};

/// The priority of filter FORWARD (`NF_IP_PRI_FILTER`), which the fast path is there to pass by. What is called before it
/// at the same hook is something else: `mangle`.
pub(super) const FILTER: i32 = 0;

/// The table of iptables that marks packets for security modules. It stands behind filter FORWARD, and is none of it; other
/// chains there are taken for more of it: firewalls put theirs there.
pub(super) const SECURITY: &str = "security";

/// What changes nothing of a packet.
const HARMLESS: [&str; 14] = [
    "log", "LOG", "NFLOG", "ULOG", "nflog", "trace", "TRACE", "counter", "limit", "quota",
    "comment", "CT", "notrack", "NOTRACK",
];

/// All addresses of each family.
const EVERYTHING: [IpNet; 2] = [
    IpNet::V4(match Ipv4Net::new(Ipv4Addr::UNSPECIFIED, 0) {
        Ok(net) => net,
        Err(_) => panic!("0 is a length"),
    }),
    IpNet::V6(match Ipv6Net::new(Ipv6Addr::UNSPECIFIED, 0) {
        Ok(net) => net,
        Err(_) => panic!("0 is a length"),
    }),
];

/// IPsec: policies that forwarded packets are held to.
pub(super) fn of_policies(xfrm: &Xfrm, routed: &Routed<'_>) -> Vec<Matter> {
    let acting = xfrm.policies.iter().filter(|policy| acts(policy));
    let mut matters: Vec<Matter> = acting
        .map(|policy| match &policy.selector {
            Some(selector) => Matter {
                reason: PuntReason::Ipsec,
                sources: overlapping(routed, selector.source),
                destinations: overlapping(routed, selector.destination),
            },
            None => all(routed),
        })
        .collect();
    if xfrm.defaults.block_forward || xfrm.defaults.block_out {
        matters.push(all(routed));
    }
    matters
}

/// One that lets packets pass as they are only keeps others from acting, which are counted anyway.
fn acts(policy: &XfrmPolicy) -> bool {
    let is_forwarded = !matches!(policy.direction, XfrmDirection::In);
    is_forwarded && (policy.templates != 0 || policy.action != XfrmAction::Allow)
}

fn all(routed: &Routed<'_>) -> Matter {
    let nets: BTreeSet<IpNet> = routed.keys().copied().collect();
    Matter {
        reason: PuntReason::Ipsec,
        sources: nets.clone(),
        destinations: nets,
    }
}

fn overlapping(routed: &Routed<'_>, with: IpNet) -> BTreeSet<IpNet> {
    let overlaps = |net: &&IpNet| overlap(**net, with);
    routed.keys().filter(overlaps).copied().collect()
}

/// Rules outside of filter FORWARD that drop, mark or redirect, or of which it is not known what they do.
/// `devices` are the interfaces that programs are attached to, or will be.
pub(super) fn of_rules(
    ruleset: &Ruleset,
    routed: &Routed<'_>,
    links: &[Link],
    devices: &[&str],
) -> Vec<Matter> {
    let devices: Vec<Device<'_>> = devices.iter().map(|dev| device(links, dev)).collect();
    let mut matters = Vec::new();
    for (id, _, base) in ruleset.base_chains() {
        if is_passed_by(id, base) {
            let effects = Effects::of(ruleset, id, base);
            matters.extend(of_chain(&effects, routed, links, &devices));
        }
    }
    matters
}

/// Whether a forwarded packet meets this chain, and one that is redirected does not. Translation of addresses is kept by
/// connections, not by packets, and not looked at here.
fn is_passed_by(id: &ChainId, base: &Base) -> bool {
    let is_met = match base.hook {
        Hook::Prerouting | Hook::Postrouting => true,
        Hook::Forward => base.priority < FILTER || id.table == SECURITY,
        _ => false,
    };
    is_routed(id) && is_met && base.kind != "nat"
}

/// Whether a chain's table is of IPv4, IPv6 or both.
pub(super) fn is_routed(id: &ChainId) -> bool {
    matches!(
        id.family,
        TableFamily::Ip | TableFamily::Ip6 | TableFamily::Inet
    )
}

fn matters(kind: &EffectKind) -> bool {
    match kind {
        EffectKind::Drop | EffectKind::Mark | EffectKind::Redirect(_) | EffectKind::Queue => true,
        EffectKind::Notrack => false,
        EffectKind::Other(name) => !HARMLESS.contains(&name.as_str()),
    }
}

fn of_chain(
    effects: &Effects,
    routed: &Routed<'_>,
    links: &[Link],
    devices: &[Device<'_>],
) -> Vec<Matter> {
    let of_effect = |effect: &crate::netfilter::nft::Effect| {
        matters(&effect.kind).then(|| Matter {
            reason: PuntReason::Rules,
            sources: BTreeSet::new(),
            destinations: BTreeSet::new(),
        })
    };
    let mut found: Vec<Option<Matter>> = effects.iter().map(of_effect).collect();
    let meets = |packets: &Packets<'_>| -> Vec<bool> {
        let meetings = effects.meetings(packets).into_iter();
        meetings
            .map(|(_, meeting)| meeting != Meeting::No)
            .collect()
    };
    // What is asked of other interfaces than the node's concerns nothing that is redirected.
    let mut by_ours = vec![false; found.len()];
    for device in devices.iter().copied() {
        for all in EVERYTHING {
            let met = meets(&Packets {
                source: all,
                destination: all,
                iif: Some(device),
                oif: None,
            });
            by_ours
                .iter_mut()
                .zip(met)
                .for_each(|(ours, met)| *ours |= met);
        }
    }
    for (matter, ours) in found.iter_mut().zip(by_ours) {
        matter.take_if(|_| !ours);
    }
    if found.iter().all(Option::is_none) {
        return Vec::new();
    }
    for (&net, dev) in routed {
        let any = match net {
            IpNet::V4(_) => EVERYTHING[0],
            IpNet::V6(_) => EVERYTHING[1],
        };
        let device = dev.map(|dev| device(links, dev));
        let from = Packets {
            source: net,
            destination: any,
            iif: device,
            oif: None,
        };
        let to = Packets {
            source: any,
            destination: net,
            iif: None,
            oif: device,
        };
        for (matter, met) in found.iter_mut().zip(meets(&from)) {
            if let (Some(matter), true) = (matter, met) {
                matter.sources.insert(net);
            }
        }
        for (matter, met) in found.iter_mut().zip(meets(&to)) {
            if let (Some(matter), true) = (matter, met) {
                matter.destinations.insert(net);
            }
        }
    }
    let found = found.into_iter().flatten();
    found
        .filter(|matter| !matter.sources.is_empty() && !matter.destinations.is_empty())
        .collect()
}
