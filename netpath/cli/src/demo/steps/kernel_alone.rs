//! Step 1: the lab comes up with the kernel's path only, and FORWARD drops what it is given.

use netpath::netfilter::Count;
use netpath::provision::UpOptions;
use netpath_common::Family;

use super::{
    super::{
        DemoError,
        firewall::list_command,
        lab::Lab,
        packet_log::PacketLog,
        report::{Check, Event},
    },
    story::{PINGS, Story, ping_length},
};

pub fn tell(story: &mut Story<'_>) -> Result<(), DemoError> {
    bring_up(story)?;
    for family in Family::ALL {
        unreachable(story, family)?;
    }
    if story.passed() {
        story.say(
            "No answer and no error: FORWARD's policy dropped every one of them, without a word.",
        );
    }
    Ok(())
}

fn bring_up(story: &mut Story<'_>) -> Result<(), DemoError> {
    story.command("netpath up --no-fast-path");
    let options = UpOptions {
        fast_path: Some(false),
        object: story.options.object,
        interrupted: story.options.interrupted.clone(),
        ..UpOptions::default()
    };
    story.lab = Some(Lab::up(story.topology, &options)?);
    story.tell(Event::Lab(story.topology));
    if story.is_logging() {
        let nodes = story.topology.nodes.iter().map(|node| node.name.as_ref());
        story.log = Some(PacketLog::follow(nodes)?);
    }
    Ok(())
}

fn unreachable(story: &mut Story<'_>, family: Family) -> Result<(), DemoError> {
    let (near, sender) = (story.cast.near, story.cast.sender);
    let before = story.near_chain(family)?;
    let report = story.check_replies("unreachable", story.cast.neighbour, family, 0)?;
    let after = story.near_chain(family)?;

    let errors = format!("ICMP errors that told {} why", sender.name);
    story.check(Check::same(
        "no_icmp_error",
        family,
        errors,
        0,
        report.errors.len(),
    ));

    story.command(&list_command(near.name.as_ref(), family));
    story.tell(Event::Output(&after.text));
    story.check_forward_drops(family, &after);
    let dropped = format!("dropped by the policy of FORWARD on {}", near.name);
    let expected = Count {
        packets: PINGS.into(),
        bytes: u64::from(PINGS) * ping_length(family),
    };
    let seen = after.by_policy.since(before.by_policy);
    story.check(Check::same(
        "dropped_by_policy",
        family,
        dropped,
        expected,
        seen,
    ));
    Ok(())
}
