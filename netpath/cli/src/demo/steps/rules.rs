//! Step 2: the classic cure, four ACCEPT rules, and what it costs.

use netpath::netfilter::Count;
use netpath::netns::Netns;
use netpath_common::Family;

use super::{
    super::{
        DemoError,
        firewall::{self, Edit},
        measure::Path,
        report::Check,
    },
    story::{PINGS, Story, ping_length},
};

pub fn tell(story: &mut Story<'_>) -> Result<(), DemoError> {
    for family in Family::ALL {
        edit(story, family, Edit::Append)?;
    }
    for family in Family::ALL {
        reachable(story, family)?;
    }
    story.measure(Path::ForwardRules)?;
    story.tell_measurements();
    Ok(())
}

/// Adds or takes away the four rules of a family: all from and all to the two endpoints.
pub fn edit(story: &mut Story<'_>, family: Family, edit: Edit) -> Result<(), DemoError> {
    story.pause()?;
    let node = Netns::named(story.cast.near.name.as_ref())?;
    let devices = [story.cast.sender, story.cast.neighbour].map(|e| e.host_dev.as_ref());
    for command in firewall::accept(&node, family, edit, &devices)? {
        story.command(&command);
    }
    Ok(())
}

fn reachable(story: &mut Story<'_>, family: Family) -> Result<(), DemoError> {
    let before = story.near_chain(family)?;
    story.check_replies("reachable", story.cast.neighbour, family, PINGS)?;
    let after = story.near_chain(family)?;

    let near = &story.cast.near.name;
    let accepted = format!("requests and replies accepted by the rules on {near}");
    let packets = 2 * u64::from(PINGS);
    let expected = Count {
        packets,
        bytes: packets * ping_length(family),
    };
    let seen = after.by_rules().since(before.by_rules());
    story.check(Check::same(
        "accepted_by_rules",
        family,
        accepted,
        expected,
        seen,
    ));
    Ok(())
}
