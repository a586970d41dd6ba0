//! `netpath audit`.

mod shadow;

use std::{path::PathBuf, time::Duration};

use netpath::{
    api::{self, AuditItem, AuditedNode},
    audit::Item,
    model::Name,
    provision,
};

use super::{Context, Exit, Failure, Refusal, completions, file, note, table::Table};

/// Arguments of `netpath audit`.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Show what the fast path bypasses: every rule, policy and filter that packets between what is routed would have met.\n\n\
        Each is in a group: `changes_behaviour` (it would have dropped, rewritten, marked, queued or logged packets), `unknown` (it \
        cannot be told), `accepted` (it changes something, and that was accepted), `heeded` (the fast path leaves its packets to \
        the kernel), `no_effect`. Counters are the kernel's own, of all packets. `up` and `fastpath on` refuse to have a machine's \
        packets take the fast path over what changes behaviour or may drop packets (`unknown`), unless `--accept-bypass` is given or the file has \
        `bypass = [\"forward\"]`. Exit status 3 where something changes behaviour or may drop.\n\n\
        With `--shadow` it compares for a while what the fast path would have done with what happens: packets that it would have \
        taken with those that the kernel delivers or sends, and the rules that act meanwhile. Exit status 3 where the two differ."
)]
pub struct AuditArgs {
    /// Of this topology, before it is up; `-` reads it from stdin [default: what is up]
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,

    /// Only this node [default: all]
    #[arg(long, value_name = "NODE", add = completions::nodes())]
    node: Option<Name>,

    /// Also what has no effect
    #[arg(short, long)]
    all: bool,

    /// Compare for a while what the fast path would have done, in shadow mode, with what happens (`netpath fastpath shadow`)
    #[arg(long, conflicts_with = "file")]
    shadow: bool,

    /// For how long
    #[arg(long, value_name = "SECONDS", requires = "shadow", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
}

/// Shows what is bypassed.
pub fn run(args: &AuditArgs, context: &Context) -> Result<Exit, Failure> {
    let topology = match &args.file {
        Some(_) => Some(file::load(args.file.as_ref())?),
        None => None,
    };
    let only = args.node.as_ref().map(Name::to_string);
    let mut audited = provision::audit(topology.as_ref(), only.as_deref())?;
    let compared = match args.shadow {
        true => {
            audited = in_shadow(audited)?;
            context.catch_signals()?;
            shadow::watch(&mut audited, Duration::from_secs(args.seconds), context)?
        }
        false => Vec::new(),
    };
    let mut document = api::Audit::new(&audited);
    let nodes = document.nodes.iter_mut();
    nodes
        .zip(compared)
        .for_each(|(node, it)| node.shadow = Some(it));
    if args.shadow {
        return compared_nodes(&document, context);
    }
    context
        .output
        .show(&document, || vec![table(&document, args.all)])?;
    let mut exit = Exit::Done;
    for node in &document.nodes {
        let of = |group| node.items.iter().filter(|item| item.group == group).count();
        let hidden = of("no_effect");
        if context.output.is_table() && hidden > 0 && !args.all {
            note(format!(
                "node {}: {hidden} more have no effect; `--all` shows them",
                node.node
            ));
        }
    }
    if audited
        .iter()
        .any(|node| node.items.iter().any(Item::is_unaccepted))
    {
        exit = Exit::Degraded;
    }
    Ok(exit)
}

/// Those that are in shadow mode: the others would seem to agree, as nothing is counted of what would have been done.
fn in_shadow(audited: Vec<provision::AuditedNode>) -> Result<Vec<provision::AuditedNode>, Failure> {
    let (found, others): (Vec<_>, Vec<_>) = audited.into_iter().partition(|it| it.has_shadow);
    let told = |node: &provision::AuditedNode| {
        format!(
            "node {}: nothing of it is in shadow mode: `netpath fastpath shadow --node {}` begins it",
            node.name, node.name
        )
    };
    if found.is_empty() {
        let told: Vec<String> = others.iter().map(told).collect();
        return Err(Refusal(told.join("\n")).into());
    }
    others.iter().for_each(|node| note(told(node)));
    Ok(found)
}

/// Whether all nodes did what the fast path would have done.
fn compared_nodes(document: &api::Audit, context: &Context) -> Result<Exit, Failure> {
    context
        .output
        .show(document, || compared_tables(document))?;
    let mut exit = Exit::Done;
    for node in &document.nodes {
        let agrees = node.shadow.as_ref().is_none_or(|it| it.agrees);
        if !agrees {
            exit = Exit::Degraded;
        } else if context.output.is_table() {
            note(format!(
                "node {}: what the fast path would have done agrees with what happened",
                node.node
            ));
        }
    }
    Ok(exit)
}

/// What matters most comes first.
fn table(document: &api::Audit, all: bool) -> Table {
    const ORDER: [&str; 5] = [
        "changes_behaviour",
        "unknown",
        "accepted",
        "heeded",
        "no_effect",
    ];
    let mut table = Table::new([
        "node", "group", "place", "what", "#packets", "+#bytes", "+why",
    ]);
    for node in &document.nodes {
        for group in ORDER
            .into_iter()
            .filter(|group| all || *group != "no_effect")
        {
            let items = node.items.iter().filter(|item| item.group == group);
            items.for_each(|item| table.row(row(node, item)));
        }
    }
    table
}

/// What would have been done beside what was; what would have been dropped; and the rules that acted.
fn compared_tables(document: &api::Audit) -> Vec<Table> {
    let mut hops = Table::new(["node", "ingress", "egress", "#would", "#happened", "agrees"]);
    let mut dropped = Table::new(["node", "ingress", "would be dropped", "#packets"]);
    let mut rules = Table::new(["node", "rule that acted", "does", "#packets"]);
    for node in &document.nodes {
        let Some(shadow) = &node.shadow else {
            continue;
        };
        for hop in &shadow.hops {
            hops.row([
                node.node.clone(),
                hop.ingress.clone().unwrap_or_else(|| "any".to_owned()),
                hop.egress.clone(),
                hop.would.to_string(),
                hop.happened.to_string(),
                if hop.agrees { "yes" } else { "no" }.to_owned(),
            ]);
        }
        for it in &shadow.would_drop {
            let cells = [&node.node, &it.ingress, it.reason, &it.packets.to_string()];
            dropped.row(cells.map(str::to_owned));
        }
        for rule in &shadow.rules {
            let acts = rule.acts.join(", ");
            let cells = [&node.node, &rule.rule, &acts, &rule.packets.to_string()];
            rules.row(cells.map(|cell| cell.to_owned()));
        }
    }
    vec![hops, dropped, rules]
}

fn row(node: &AuditedNode, item: &AuditItem) -> [String; 7] {
    let number = |count: Option<u64>| count.map_or_else(String::new, |count| count.to_string());
    [
        node.node.clone(),
        match item.group {
            "changes_behaviour" => "changes".to_owned(),
            group => group.replace('_', " "),
        },
        item.place.clone(),
        item.text.clone(),
        number(item.packets),
        number(item.bytes),
        item.why.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_80_columns() {
        let item = |group, text: &str| AuditItem {
            group,
            kind: "rule",
            place: "ip filter DOCKER-USER".to_owned(),
            handle: Some(17),
            text: text.to_owned(),
            acts: vec!["drop"],
            why: "from 10.244.1.2 to 10.244.2.0/24".to_owned(),
            packets: Some(1_234_567_890),
            bytes: Some(98_765_432_100),
            reason: None,
        };
        let text = "-A DOCKER-USER -s 10.244.0.0/16 -p tcp -m comment --comment \"no telnet between pods\" -m tcp --dport 23 -j DROP";
        let document = api::Audit {
            nodes: vec![AuditedNode {
                node: "worker-01".to_owned(),
                fast_path: None,
                changes_behaviour: true,
                items: vec![
                    item("no_effect", "-j RETURN"),
                    item("changes_behaviour", text),
                ],
                shadow: None,
            }],
            version: 1,
        };
        let rendered = table(&document, true).render_within(false, Some(80));
        assert!(
            rendered.lines().all(|line| line.chars().count() <= 80),
            "{rendered}"
        );
        assert!(rendered.contains("DROP") && rendered.contains("1234567890"));
        let lines: Vec<&str> = rendered.lines().collect();
        let last = lines.last().expect("a row");
        assert!(last.contains("no effect"), "{rendered}");
        assert!(!table(&document, false).render(false).contains("no effect"));
    }
}
