//! Step 4: from one node's endpoint to the other's, source address intact.

use std::{collections::BTreeSet, fmt::Display, net::SocketAddr};

use netpath::netfilter::Count;
use netpath::{
    netns::Netns,
    probe::stream::{StreamOptions, StreamReport, udp_stream},
};
use netpath_common::Family;

use super::{
    super::{
        DemoError, cast::address, firewall, measure::PAYLOAD, report::Check, snapshot::Snapshot,
    },
    story::{PINGS, Story},
};

/// Datagrams of each family.
const DATAGRAMS: u64 = 1_000;
/// The same where each packet is logged.
const LOGGED_DATAGRAMS: u64 = 5;
/// Sent with 64, less one at each node.
const TTL: u8 = 62;
const INITIAL_TTL: u8 = 64;

pub fn tell(story: &mut Story<'_>) -> Result<(), DemoError> {
    for family in Family::ALL {
        // It also lets the nodes resolve each other, so that nothing waits for that later.
        story.check_replies("reachable", story.cast.remote, family, PINGS)?;
    }
    for family in Family::ALL {
        let forwarded = forwarded(story, family)?;
        let before = Snapshot::take(&story.cast)?;
        let report = stream(story, family)?;
        let after = Snapshot::take(&story.cast)?;
        check(story, family, &report)?;
        let seen = self::forwarded(story, family)?.since(forwarded);
        let what = "counted by FORWARD on both nodes during this";
        let still = Count::default();
        story.check(Check::same(
            "forward_stands_still",
            family,
            what,
            still,
            seen,
        ));
        story.counted.push((family, before, after));
    }
    Ok(())
}

/// How many datagrams are sent in each family.
pub fn datagrams(story: &Story<'_>) -> u64 {
    if story.is_logging() {
        LOGGED_DATAGRAMS
    } else {
        DATAGRAMS
    }
}

fn stream(story: &mut Story<'_>, family: Family) -> Result<StreamReport, DemoError> {
    story.pause()?;
    let (sender, remote) = (story.cast.sender, story.cast.remote);
    let packets = datagrams(story);
    let options = StreamOptions {
        packets,
        payload_len: PAYLOAD,
        ttl: Some(INITIAL_TTL),
        ..StreamOptions::new(address(sender, family)?, address(remote, family)?)
    };
    story.say(&format!(
        "{packets} UDP datagrams of {PAYLOAD} bytes over {family}, {} to {}:",
        sender.name, remote.name
    ));
    let from = Netns::named(sender.name.as_ref())?;
    let to = Netns::named(remote.name.as_ref())?;
    Ok(udp_stream(&from, &to, &options)?)
}

fn check(story: &mut Story<'_>, family: Family, report: &StreamReport) -> Result<(), DemoError> {
    let (sender, remote) = (story.cast.sender, story.cast.remote);
    let packets = datagrams(story);
    let arrived = format!("datagrams that arrived at {}, intact and once", remote.name);
    let expected = packets.to_string();
    let seen = if report.is_exact(packets) {
        expected.clone()
    } else {
        format!(
            "{} of {} sent, {} twice, {} corrupted, {} foreign, {} lost by the socket",
            report.distinct,
            report.sent,
            report.received.saturating_sub(report.distinct),
            report.corrupted,
            report.foreign,
            report.socket_drops
        )
    };
    story.check(Check::same("all_arrived", family, arrived, expected, seen));
    let source = format!("source address that {} saw", remote.name);
    let expected = address(sender, family)?.to_string();
    let seen = list(&report.sources.iter().map(SocketAddr::ip).collect());
    story.check(Check::same("source_intact", family, source, expected, seen));
    let what = match family {
        Family::V4 => "TTL on arrival, two less than sent",
        Family::V6 => "hop limit on arrival, two less than sent",
    };
    let seen = list(&report.ttls);
    story.check(Check::same("ttl", family, what, TTL.to_string(), seen));
    Ok(())
}

/// What FORWARD has seen on both nodes.
fn forwarded(story: &Story<'_>, family: Family) -> Result<Count, DemoError> {
    let mut sum = Count::default();
    for node in story.cast.nodes() {
        let seen = firewall::forward(&Netns::named(node.name.as_ref())?, family)?.total();
        sum.packets += seen.packets;
        sum.bytes += seen.bytes;
    }
    Ok(sum)
}

fn list<T: Display>(items: &BTreeSet<T>) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}
