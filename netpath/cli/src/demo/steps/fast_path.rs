//! Step 3: the rules go, the fast path comes, and FORWARD has nothing to count.

use netpath::netfilter::{Chain, Count};
use netpath::{
    datapath::{Datapath, ProgramKind},
    model::Node,
    netns::Netns,
    provision::{self, Selection},
};
use netpath_common::Family;

use super::{
    super::{DemoError, firewall::Edit, measure::Path, report::Check},
    rules,
    story::{PINGS, Story},
};

pub fn tell(story: &mut Story<'_>) -> Result<(), DemoError> {
    for family in Family::ALL {
        rules::edit(story, family, Edit::Delete)?;
    }
    switch_on(story)?;
    let before = chains(story)?;
    for family in Family::ALL {
        story.check_replies("reachable", story.cast.neighbour, family, PINGS)?;
    }
    story.measure(Path::FastPath)?;
    for ((family, before), (_, after)) in before.into_iter().zip(chains(story)?) {
        stands_still(story, family, &before, &after);
    }
    story.tell_measurements();
    Ok(())
}

/// Node by node: others on this machine are not ours to switch.
fn switch_on(story: &mut Story<'_>) -> Result<(), DemoError> {
    let nodes = story.cast.nodes().map(|node| node.name.to_string());
    for node in &nodes {
        story.command(&format!("netpath fastpath on --node {node}"));
        let selection = Selection {
            node: Some(node.clone()),
            endpoint: None,
            ..Selection::default()
        };
        provision::set_fast_path(true, &selection, &mut |_| {})?;
    }
    let mut on = 0;
    for node in story.cast.nodes() {
        on += usize::from(is_on(node)?);
    }
    let what = "nodes with the fast path on every interface";
    story.check(Check::same("fast_path_on", None, what, nodes.len(), on));
    Ok(())
}

/// Whether every interface of a node has its programs.
fn is_on(node: &Node) -> Result<bool, DemoError> {
    let Some(datapath) = Datapath::open(node.name.as_ref())? else {
        return Ok(false);
    };
    let uplinks = node.uplinks.iter().map(|uplink| &uplink.dev);
    let endpoints = node.endpoints.iter().map(|endpoint| &endpoint.host_dev);
    let to_endpoints = endpoints.clone();
    let to_uplinks = uplinks.clone();
    let hooks: Vec<_> = uplinks
        .map(|dev| (ProgramKind::FromUplink, dev))
        .chain(to_uplinks.map(|dev| (ProgramKind::ToUplink, dev)))
        .chain(endpoints.map(|dev| (ProgramKind::FromEndpoint, dev)))
        .chain(to_endpoints.map(|dev| (ProgramKind::ToEndpoint, dev)))
        .collect();
    Netns::named(node.name.as_ref())?.enter(|inside| {
        for (program, dev) in hooks {
            if !datapath.is_attached(inside, program, dev.as_ref())? {
                return Ok(false);
            }
        }
        Ok(true)
    })?
}

fn chains(story: &Story<'_>) -> Result<Vec<(Family, Chain)>, DemoError> {
    Family::ALL
        .into_iter()
        .map(|family| Ok((family, story.near_chain(family)?)))
        .collect()
}

fn stands_still(story: &mut Story<'_>, family: Family, before: &Chain, after: &Chain) {
    let node = &story.cast.near.name;
    let counted = format!("counted by FORWARD on {node} during all this");
    story.check_forward_drops(family, after);
    let seen = after.total().since(before.total());
    let still = Count::default();
    story.check(Check::same(
        "forward_stands_still",
        family,
        counted,
        still,
        seen,
    ));
}
