//! Step 6: everything is removed, or left to the user.

use netpath::provision::ProvisionError;
use netpath_common::Family;

use super::{
    super::{
        DemoError, DemoReport,
        cast::address,
        lab::{self, Lab},
        report::{Check, Event, Hint},
    },
    story::Story,
};

/// However the steps before have ended.
pub fn tell(mut story: Story<'_>, told: Result<(), DemoError>) -> Result<DemoReport, DemoError> {
    // It reads from the lab's maps.
    story.log = None;
    let lab = story.lab.take();
    match told {
        Err(cause) => {
            let cause = if story.is_interrupted() {
                // Whatever failed, failed for that.
                DemoError::Interrupted
            } else {
                cause
            };
            Err(clear_away(lab, cause))
        }
        Ok(()) => {
            if let Some(lab) = lab {
                if story.options.keep && story.passed() {
                    story.last_step("The lab stays up: what to try", |story| keep(story, lab))?;
                } else {
                    story.last_step("Everything is removed", |story| remove(story, lab))?;
                }
            }
            Ok(story.into_report())
        }
    }
}

fn clear_away(lab: Option<Lab>, cause: DemoError) -> DemoError {
    let Some(mut lab) = lab else { return cause };
    match lab.remove() {
        Ok(()) => cause,
        Err(removal) => not_removed(&lab, Some(cause), removal),
    }
}

fn not_removed(lab: &Lab, cause: Option<DemoError>, removal: ProvisionError) -> DemoError {
    DemoError::Removal {
        cause: cause.map(Box::new),
        removal: Box::new(removal),
        left: lab.namespaces_left().map_or_else(
            |error| format!("unknown, for {error}"),
            |names| list(&names),
        ),
    }
}

fn remove(story: &mut Story<'_>, mut lab: Lab) -> Result<(), DemoError> {
    story.command("netpath down");
    if let Err(removal) = lab.remove() {
        return Err(not_removed(&lab, None, removal));
    }
    let left = list(&lab.namespaces_left()?);
    let what = "namespaces of the lab that are left";
    story.check(Check::same("no_namespaces_left", None, what, "none", &left));
    let left = list(&lab::up_already(story.topology)?);
    let what = "maps, programs and links of the lab that are left";
    story.check(Check::same("no_pins_left", None, what, "none", &left));
    Ok(())
}

fn keep(story: &mut Story<'_>, lab: Lab) -> Result<(), DemoError> {
    let (near, sender) = (&story.cast.near.name, &story.cast.sender.name);
    let [v4, v6] = Family::ALL.map(|family| address(story.cast.remote, family));
    let hint = |command: String, shows| Hint { command, shows };
    let hints = [
        hint(
            format!("ip netns exec {sender} ping {}", v4?),
            "across both nodes, past FORWARD",
        ),
        hint(
            format!("ip netns exec {sender} ping {}", v6?),
            "the same over IPv6",
        ),
        hint("netpath show".into(), "nodes, endpoints, routes, fast path"),
        hint("netpath stats --watch".into(), "where the packets go, live"),
        hint(
            format!("netpath maps dump hops --node {near}"),
            "the counters as they are in the map",
        ),
        hint(
            format!("netpath fastpath off --node {near}"),
            "and the ping stops: FORWARD drops again",
        ),
        hint("netpath down".into(), "remove the lab"),
    ];
    lab.keep();
    story.report.kept = true;
    story.tell(Event::Hints(&hints));
    Ok(())
}

fn list<T: AsRef<str>>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    let items: Vec<_> = items.iter().map(AsRef::as_ref).collect();
    items.join(", ")
}
