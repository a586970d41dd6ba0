//! What the help of each command says of the capabilities that it needs.

use netpath::capabilities::{Capability, Work};

/// The width of a line of help.
const WIDTH: usize = 76;

/// What a subcommand needs, or without a name each of them; empty for one that needs nothing.
pub fn help(command: Option<&str>) -> String {
    let mut works = Work::ALL.into_iter();
    let needs = match command {
        None => works
            .map(|work| row(&work.commands().join(", "), work))
            .collect(),
        Some(name) => match works.find(|work| work.commands().contains(&name)) {
            Some(work) => format!("  {}\n", words(work)),
            None => return String::new(),
        },
    };
    let (set_uid, ptrace) = (Capability::SetUid, Capability::SysPtrace);
    format!(
        "Needs root, or these capabilities(7):\n{needs}\
         and {set_uid} where the process is not root's; {ptrace} only where it\n\
         may not look at process 1 otherwise.\n\n"
    )
}

fn words(work: Work) -> String {
    let words: Vec<String> = work.needs().iter().map(ToString::to_string).collect();
    words.join(", ")
}

/// In two lines where it does not fit into one.
fn row(commands: &str, work: Work) -> String {
    let words = words(work);
    match commands.len() + words.len() + 4 <= WIDTH {
        true => format!("  {commands}: {words}\n"),
        false => format!("  {commands}:\n    {words}\n"),
    }
}
