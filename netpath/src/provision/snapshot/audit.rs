//! What the fast path bypasses on a node: read here, judged in [`audit`].

use std::collections::BTreeMap;

use netpath_common::{Bypass, Family, Hook, Ifindex, ProgramKind};

use super::{
    Snapshot, Subject,
    census::{self, device, kernel_name},
    place,
};
use crate::{
    audit::{self, End, Group, Item, ItemKind, Rules, Setting, Shapers, Texts},
    command,
    netfilter::{
        legacy_tables,
        nft::{ChainId, Ruleset, TableFamily},
        save::{self, Saved},
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
    let ruleset = Ruleset::read(inside)?;
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
        texts: &texts(&ruleset),
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
    let (program, told) = match family {
        Family::V4 => ("iptables-legacy-save", "ip"),
        Family::V6 => ("ip6tables-legacy-save", "ip6"),
    };
    let saved = match command::run(program, &["-c"], "") {
        Ok(text) => save::parse(&text)
            .ok_or_else(|| format!("`{program} -c` prints what is not understood")),
        Err(error) => Err(error.to_string()),
    };
    let saved = match saved {
        Ok(saved) => saved,
        // Not all machines with such tables have the program: then it is not known what is in them.
        Err(why) => {
            return Ok(vec![Item {
                kind: ItemKind::Unread,
                group: Group::Unknown,
                place: format!("legacy {told}"),
                handle: None,
                text: format!("tables {}", tables.join(", ")),
                acts: Vec::new(),
                why,
                count: None,
                reason: None,
                may_drop: false,
            }]);
        }
    };
    let ruleset = save::as_ruleset(&saved, family);
    let rules = Rules {
        is_legacy: true,
        ruleset: &ruleset,
        texts: &saved_texts(&saved, &ruleset, family),
    };
    Ok(audit::of_rules(about, rules))
}

/// How programs print the rules of nf_tables: those of iptables as `iptables-save` does, others as `nft` does. Where there is no
/// such program, or a chain has changed meanwhile, there is no text.
fn texts(ruleset: &Ruleset) -> Texts {
    let mut texts = Texts::new();
    if ruleset.chains.values().all(|chain| chain.rules.is_empty()) {
        return texts;
    }
    if let Ok(text) = command::run("nft", &["-a", "list", "ruleset"], "") {
        texts.extend(printed(&text));
    }
    for (family, program) in [
        (Family::V4, "iptables-nft-save"),
        (Family::V6, "ip6tables-nft-save"),
    ] {
        if let Ok(text) = command::run(program, &[], "")
            && let Some(saved) = save::parse(&text)
        {
            texts.extend(saved_texts(&saved, ruleset, family));
        }
    }
    texts
}

/// The texts of rules that are saved, by the numbers that the same places of the chains have.
fn saved_texts(saved: &Saved, ruleset: &Ruleset, family: Family) -> Texts {
    let of_family = match family {
        Family::V4 => TableFamily::Ip,
        Family::V6 => TableFamily::Ip6,
    };
    let mut texts = Texts::new();
    for ((table, name), printed) in saved {
        let id = ChainId {
            family: of_family,
            table: table.clone(),
            name: name.clone(),
        };
        let chain = ruleset.chains.get(&id);
        let chain = chain.filter(|chain| chain.rules.len() == printed.rules.len());
        for (rule, printed) in chain.iter().flat_map(|it| &it.rules).zip(&printed.rules) {
            texts.insert((id.clone(), rule.handle), printed.text.clone());
        }
    }
    texts
}

/// What `nft -a list ruleset` prints: each rule with its number behind it.
fn printed(text: &str) -> Texts {
    let mut texts = Texts::new();
    let mut table: Option<(TableFamily, String)> = None;
    let mut chain: Option<ChainId> = None;
    for line in text.lines() {
        let (line, handle) = match line.rsplit_once(" # handle ") {
            Some((line, handle)) => (line.trim(), handle.trim().parse::<u64>().ok()),
            None => (line.trim(), None),
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["table", family, name, "{"] => {
                let family = match *family {
                    "ip" => TableFamily::Ip,
                    "ip6" => TableFamily::Ip6,
                    "inet" => TableFamily::Inet,
                    _ => TableFamily::Netdev,
                };
                table = Some((family, (*name).to_owned()));
            }
            ["chain", name, "{"] => {
                chain = table.as_ref().map(|(family, table)| ChainId {
                    family: *family,
                    table: table.clone(),
                    name: (*name).to_owned(),
                });
            }
            _ => {
                if let (Some(chain), Some(handle)) = (&chain, handle) {
                    texts.insert((chain.clone(), handle), line.to_owned());
                }
            }
        }
    }
    texts
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_found_by_their_numbers() {
        let text = "table inet t { # handle 7\n\tset s { # handle 2\n\t\ttype ipv4_addr\n\t}\n\n\tchain c { # handle 1\n\
            \t\ttype filter hook forward priority filter; policy accept;\n\t\tip saddr @s log prefix \"a # b\" drop # handle 5\n\
            \t}\n}\n";
        let found = printed(text);
        let chain = ChainId {
            family: TableFamily::Inet,
            table: "t".to_owned(),
            name: "c".to_owned(),
        };
        let rule = "ip saddr @s log prefix \"a # b\" drop".to_owned();
        assert_eq!(found, Texts::from([((chain, 5), rule)]));
    }
}
