//! The steps of the story, one file each, and their order.

mod accounts;
mod across;
mod farewell;
mod fast_path;
mod kernel_alone;
mod rules;
mod story;

use netpath::model::Topology;

use self::story::{Act, Story};
use super::{DemoError, DemoOptions, DemoReport, Narrator, cast::Cast};

/// All but the last, which is told however these end.
const ACTS: [(&str, Act); 5] = [
    ("The kernel alone, FORWARD policy DROP", kernel_alone::tell),
    ("The classic cure: four ACCEPT rules", rules::tell),
    (
        "No rules, FORWARD still at DROP: the fast path",
        fast_path::tell,
    ),
    ("Across two nodes, source address intact", across::tell),
    ("Where the packets of step 4 went", accounts::tell),
];

/// See [`super::run`].
pub fn tell(options: &DemoOptions, narrator: &mut dyn Narrator) -> Result<DemoReport, DemoError> {
    let topology = Topology::builtin_lab();
    let mut story = Story::new(options, &topology, Cast::of(&topology)?, narrator);
    let told = acts(&mut story);
    farewell::tell(story, told)
}

/// Ends early after a step with a failed check.
fn acts(story: &mut Story<'_>) -> Result<(), DemoError> {
    for (title, act) in ACTS {
        story.step(title, act)?;
        if !story.passed() {
            return Ok(());
        }
    }
    story.pause()
}
