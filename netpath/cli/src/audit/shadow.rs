//! What the fast path would have done beside what happened: two looks, and the time between.

use std::{
    thread,
    time::{Duration, Instant},
};

use netpath::{
    api::AuditedShadow,
    audit::{Moment, compare},
    counters,
    model::NodePlace,
    netns::{Netns, NetnsError},
    proc_net,
    provision::{self, AuditedNode},
};

use super::super::{Context, Failure};

/// As long as no packet is on its way through the kernel.
const PASSAGE: Duration = Duration::from_millis(50);

/// Watches each node for so long, or until a signal comes, and compares. The nodes are looked at again at the end.
pub fn watch(
    nodes: &mut [AuditedNode],
    duration: Duration,
    context: &Context,
) -> Result<Vec<AuditedShadow>, Failure> {
    let before = nodes
        .iter()
        .map(begin)
        .collect::<Result<Vec<Moment>, Failure>>()?;
    let begun = Instant::now();
    context.wait(duration);
    let mut after = Vec::new();
    for node in nodes.iter_mut() {
        let mut again = provision::audit(None, Some(&node.name))?;
        *node = again.swap_remove(0);
        after.push(end(node)?);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let compared = before
        .iter()
        .zip(&after)
        .map(|(before, after)| compare(before, after));
    Ok(compared
        .map(|it| AuditedShadow::new(&it, seconds))
        .collect())
}

/// What has been delivered is read before what would have been taken, so that nothing seems lost that is on its way.
fn begin(node: &AuditedNode) -> Result<Moment, Failure> {
    let sent = proc_net::sent(&namespace(node)?)?;
    let deliveries = counters::read(&node.name)?;
    let counted = counters::read_all(Some(&node.name))?;
    Ok(moment(node, counted, deliveries, sent))
}

/// The other way round.
fn end(node: &AuditedNode) -> Result<Moment, Failure> {
    let counted = counters::read_all(Some(&node.name))?;
    thread::sleep(PASSAGE);
    let deliveries = counters::read(&node.name)?;
    let sent = proc_net::sent(&namespace(node)?)?;
    Ok(moment(node, counted, deliveries, sent))
}

fn moment(
    node: &AuditedNode,
    counted: counters::Counters,
    deliveries: Vec<counters::HopRow>,
    sent: std::collections::BTreeMap<String, u64>,
) -> Moment {
    let veths = counted.endpoints.into_keys().map(|(_, dev)| dev);
    Moment {
        hops: counted.rows,
        deliveries,
        veths: veths.collect(),
        sent,
        items: node.items.clone(),
    }
}

fn namespace(node: &AuditedNode) -> Result<Netns, NetnsError> {
    match node.place {
        NodePlace::Host => Netns::current(),
        NodePlace::Lab => Netns::named(&node.name),
    }
}
