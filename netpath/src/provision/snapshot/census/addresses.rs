//! What acts on packets by their addresses: IPsec's policies, and rules of nf_tables and of legacy xtables.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netpath_common::{Family, PuntReason};

use super::{Routed, device, overlap};
use crate::{
    audit,
    netfilter::nft::{Device, Effects, Meeting, Packets, Ruleset},
    netlink::{Link, Xfrm, XfrmAction, XfrmDirection, XfrmPolicy},
    reconcile::Matter,
};

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
            None => all(PuntReason::Ipsec, routed.keys()),
        })
        .collect();
    if xfrm.defaults.block_forward || xfrm.defaults.block_out {
        matters.push(all(PuntReason::Ipsec, routed.keys()));
    }
    matters
}

/// One that lets packets pass as they are only keeps others from acting, which are counted anyway.
fn acts(policy: &XfrmPolicy) -> bool {
    let is_forwarded = !matches!(policy.direction, XfrmDirection::In);
    is_forwarded && (policy.templates != 0 || policy.action != XfrmAction::Allow)
}

/// Rules of a family that nobody here can read.
pub(super) fn of_what_is_not_known(routed: &Routed<'_>, family: Family) -> Matter {
    let is_v4 = family == Family::V4;
    let of_family = routed.keys().filter(|net| net.addr().is_ipv4() == is_v4);
    all(PuntReason::Rules, of_family)
}

fn all<'a>(reason: PuntReason, nets: impl Iterator<Item = &'a IpNet>) -> Matter {
    let nets: BTreeSet<IpNet> = nets.copied().collect();
    Matter {
        reason,
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
        if audit::treated(id, base) == Some(audit::Treated::Heeded) {
            let effects = Effects::of(ruleset, id, base);
            matters.extend(of_chain(&effects, routed, links, &devices));
        }
    }
    matters
}

fn of_chain(
    effects: &Effects,
    routed: &Routed<'_>,
    links: &[Link],
    devices: &[Device<'_>],
) -> Vec<Matter> {
    let of_effect = |effect: &crate::netfilter::nft::Effect| {
        audit::is_heeded(&effect.kind).then(|| Matter {
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
