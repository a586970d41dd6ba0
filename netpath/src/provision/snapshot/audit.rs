//! What the fast path bypasses on a node: read here, judged in [`audit`].

use std::collections::BTreeMap;

use netpath_common::{Bypass, Family, Hook, Ifindex, ProgramKind};

use super::{
    Snapshot, Subject,
    census::{self, device, kernel_name},
    place,
};
use crate::{
    audit::{self, End, Group, Item, ItemKind, Rules, Setting, Shapers},
    netfilter::{
        add_texts, legacy_rules, legacy_tables,
        nft::{Elements, Ruleset, TableFamily},
    },
    netlink::{Link, Netlink, QdiscParent},
    netns::Inside,
    provision::error::ProvisionError,
    reconcile::Wanted,
    sysctl::{self, Tree},
};

/// All that the packets would have met that go between what is routed on a node, or will be. None where the node's namespace is
/// not there.
pub fn audit(
    name: &str,
    snapshot: &Snapshot,
    wanted: Option<&Wanted>,
    bypass: Bypass,
) -> Result<Vec<Item>, ProvisionError> {
    let recorded = snapshot.world.recorded.as_ref();
    let subject = Subject {
        name,
        place: place(recorded, wanted),
        recorded,
        wanted,
        is_left: false,
        only: None,
    };
    let Some(netns) = &snapshot.netns else {
        return Ok(Vec::new());
    };
    netns.enter(|inside| read(&subject, snapshot, bypass, inside))?
}

fn read(
    subject: &Subject<'_>,
    snapshot: &Snapshot,
    bypass: Bypass,
    inside: &Inside<'_>,
) -> Result<Vec<Item>, ProvisionError> {
    let netlink = Netlink::open(inside)?;
    let links = netlink.links()?;
    let mut ruleset = Ruleset::read(inside, Elements::OfVerdicts)?;
    add_texts(inside, &mut ruleset);
    let ends = ends(subject, &links);
    let about = audit::Subject {
        ends: &ends,
        census: &snapshot.world.observed.census,
        bypass,
    };
    let name = |ifindex: Ifindex| {
        let link = links.iter().find(|link| link.ifindex == ifindex);
        link.map_or_else(|| format!("if{}", ifindex.0), |link| link.name.clone())
    };
    let rules = Rules {
        is_legacy: false,
        ruleset: &ruleset,
    };
    let mut items = audit::of_rules(&about, rules);
    for family in Family::ALL {
        items.extend(legacy(&about, inside, family)?);
    }
    let settings = settings(subject, &links, inside)?;
    let shapers = shapers(subject, &netlink, &links)?;
    items.extend(audit::of_interfaces(&about, &name, &shapers, &settings));
    Ok(items)
}

/// What is routed: addresses and prefixes of endpoints by their veths, other nodes' prefixes by the uplink that they are behind,
/// or by each where that is not known.
fn ends<'a>(subject: &'a Subject<'a>, links: &'a [Link]) -> Vec<End<'a>> {
    let uplinks = subject.uplinks();
    let behind = census::uplinks(subject);
    let mut ends = Vec::new();
    for (net, dev) in census::routed(subject) {
        let by: Vec<Option<&str>> = match (dev, behind.get(&net)) {
            (Some(dev), _) => vec![Some(dev)],
            (None, Some(dev)) => vec![Some(*dev)],
            (None, None) if uplinks.is_empty() => vec![None],
            (None, None) => uplinks.iter().copied().map(Some).collect(),
        };
        ends.extend(by.into_iter().map(|by| End {
            net,
            dev: by.map(|by| device(links, by)),
        }));
    }
    ends
}

/// The rules of legacy xtables, which only its own programs list.
fn legacy(
    about: &audit::Subject<'_>,
    inside: &Inside<'_>,
    family: Family,
) -> Result<Vec<Item>, ProvisionError> {
    let tables = legacy_tables(inside, family)?;
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    match legacy_rules(inside, family) {
        Ok(ruleset) => Ok(audit::of_rules(
            about,
            Rules {
                is_legacy: true,
                ruleset: &ruleset,
            },
        )),
        // Not all machines with such tables have the program: then it is not known what is in them.
        Err(why) => Ok(vec![Item {
            kind: ItemKind::Unread,
            group: Group::Unknown,
            place: format!("legacy {}", TableFamily::from(family)),
            handle: None,
            text: format!("tables {}", tables.join(", ")),
            acts: Vec::new(),
            why: why.to_string(),
            count: None,
            reason: None,
            may_drop: false,
        }]),
    }
}

/// What tc has at the node's interfaces that neither the kernel nor netpath put there.
fn shapers(
    subject: &Subject<'_>,
    netlink: &Netlink,
    links: &[Link],
) -> Result<Shapers, ProvisionError> {
    let own = ProgramKind::ALL.map(ProgramKind::name);
    let qdiscs = netlink.qdiscs()?;
    let mut shapers = Shapers::new();
    let devs = subject.host_devs().into_iter().chain(subject.uplinks());
    for link in devs.filter_map(|dev| links.iter().find(|link| link.is_called(dev))) {
        let mut add = |direction, what| {
            let listed = shapers.entry((link.ifindex, direction)).or_default();
            listed.push(what);
        };
        for qdisc in qdiscs.iter().filter(|qdisc| qdisc.ifindex == link.ifindex) {
            if qdisc.parent != QdiscParent::Ingress && !qdisc.is_default() {
                add(
                    "egress",
                    format!("qdisc {} {:x}:", qdisc.kind, qdisc.handle >> 16),
                );
            }
        }
        for (hook, direction) in [(Hook::Ingress, "ingress"), (Hook::Egress, "egress")] {
            for filter in netlink.filters(link, hook)? {
                let program = filter.program_name.as_deref().unwrap_or_default();
                if !own.contains(&program) {
                    add(
                        direction,
                        format!("filter {} pref {}", filter.kind, filter.priority),
                    );
                }
            }
        }
    }
    Ok(shapers)
}

/// The reverse-path filters of the node's interfaces that are there: the larger of its own and that of all.
fn settings(
    subject: &Subject<'_>,
    links: &[Link],
    inside: &Inside<'_>,
) -> Result<Vec<Setting>, ProvisionError> {
    const RP_FILTER: &str = "rp_filter";
    let mut modes = BTreeMap::new();
    let veths = subject.host_devs().into_iter().map(|dev| (dev, false));
    let uplinks = subject.uplinks().into_iter().map(|dev| (dev, true));
    for (dev, is_uplink) in veths.chain(uplinks) {
        let mut mode = 0;
        for of in [kernel_name(links, dev), "all"] {
            match sysctl::get(inside, &sysctl::of_interface(Tree::Ipv4, of, RP_FILTER)) {
                Ok(value) => mode = mode.max(value.parse().unwrap_or(1)),
                // It is yet to be made.
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error.into()),
            }
        }
        modes.insert(dev, (mode, is_uplink));
    }
    let setting = |(dev, (rp_filter, is_uplink)): (&str, (u32, bool))| Setting {
        dev: dev.to_owned(),
        rp_filter,
        is_uplink,
    };
    Ok(modes.into_iter().map(setting).collect())
}
