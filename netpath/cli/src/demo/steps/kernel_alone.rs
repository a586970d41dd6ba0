//! Step 1: the lab comes up with the kernel's path only, and FORWARD drops what it is given.

use std::time::Duration;

use netpath::{
    api,
    netfilter::Count,
    probe::shot::ShotOptions,
    provision::UpOptions,
    trace::{ProbeRequest, Session, TraceError},
};
use netpath_common::Family;

use super::{
    super::{
        DemoError,
        cast::address,
        firewall::list_command,
        lab::Lab,
        packet_log::PacketLog,
        report::{Check, Event},
    },
    story::{PINGS, Story, ping_length},
};
use crate::trace::show;

pub fn tell(story: &mut Story<'_>) -> Result<(), DemoError> {
    bring_up(story)?;
    for family in Family::ALL {
        unreachable(story, family)?;
    }
    if story.passed() {
        story.say(
            "No answer and no error: FORWARD's policy dropped every one of them, without a word. Where one of them dies:",
        );
    }
    for family in Family::ALL {
        dies(story, family)?;
    }
    Ok(())
}

/// Follows one more ping, and shows where the kernel drops it.
fn dies(story: &mut Story<'_>, family: Family) -> Result<(), DemoError> {
    story.pause()?;
    let (from, to) = (&story.cast.sender.name, story.cast.neighbour);
    let to = address(to, family)?;
    story.command(&format!("netpath trace {from} {to}"));
    let request = ProbeRequest {
        from: from.to_string(),
        to: to.to_string(),
        family: None,
        count: 1,
        interval: Duration::ZERO,
        timeout: Duration::from_secs(5),
        shot: ShotOptions::default(),
    };
    let mut session = match Session::new() {
        Ok(session) => session,
        Err(error @ (TraceError::Btf(_) | TraceError::File { .. })) => {
            story.say(&format!("Not on this kernel: {error}"));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let found = session.probe(&request, &story.options.interrupted)?;
    // A signal has ended it, and what it has found is no answer.
    story.pause()?;
    let document = api::Trace::of(&found, &session);
    let probe = document.packets.iter().find(|it| it.direction == "there");
    let near = story.cast.near.name.as_ref();
    let what = "why one more ping vanished, and where";
    let seen = probe.map_or_else(
        || "nothing".to_owned(),
        |probe| format!("{} on {}", probe.why.as_deref().unwrap_or("-"), probe.place),
    );
    let expected = format!("the packet filter dropped it in FORWARD on {near}");
    if let Some(probe) = probe {
        story.tell(Event::Output(show::packet(probe).trim_end()));
    }
    story.check(Check::same("dies_in_forward", family, what, expected, seen));
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
