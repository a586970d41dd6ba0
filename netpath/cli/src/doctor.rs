//! `netpath doctor`.

use std::path::PathBuf;

use netpath::{
    api::Diagnosis,
    capabilities::Work,
    doctor::{self, Checked, Found, Options, Report, State},
    expedite,
    model::{Name, Topology},
    provision::{self, Change, ProvisionError},
};

use super::{
    Context, Exit, Failure, advice, completions, file, note,
    output::{StdoutError, hanging},
};

/// Arguments of `netpath doctor`. Who may not look at everything is told what was not looked at.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Only the nodes of this topology, and it against what is there, also before it is up; `-` reads it from stdin [default:
    /// every node that is up]
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,

    /// Only this node [default: all that are up]
    #[arg(long, value_name = "NODE", add = completions::nodes())]
    node: Option<Name>,

    /// Mend what is netpath's own, by the steps of `up` and without a file, and look again
    #[arg(long)]
    fix: bool,

    /// Ask on the links of uplinks who else has their addresses: a frame for each
    #[arg(long)]
    probe: bool,
}

impl DoctorArgs {
    /// Whether it mends, besides looking.
    pub(super) fn changes_something(&self) -> bool {
        self.fix
    }
}

/// Looks at everything and tells what is wrong.
pub fn run(args: &DoctorArgs, context: &Context) -> Result<Exit, Failure> {
    let topology = match &args.file {
        Some(_) => Some(file::load(args.file.as_ref())?),
        None => None,
    };
    // Looking takes nothing, and would find nothing to mend.
    if args.fix {
        provision::require(Work::Nodes)?;
    }
    let options = Options {
        topology: topology.as_ref(),
        node: args.node.as_ref().map(Name::as_ref),
        probe: args.probe,
    };
    let mut report = doctor::examine(&options);
    require_known(&report, args.node.as_ref(), topology.as_ref())?;
    let (mut fixed, mut failure) = (Vec::new(), None);
    if args.fix {
        context.catch_signals()?;
        expedite::repair();
        let told = &mut |change: &Change| {
            fixed.push(change.clone());
            if context.output.is_table() {
                note(format_args!("fixed: {change}"));
            }
        };
        failure = doctor::fix(&report, &context.interrupted, told).err();
        report = doctor::examine(&options);
    }
    for found in report.found_mut() {
        found.finding.cure = advice::typed(&found.finding.cure);
    }
    match context.output.is_table() {
        true => tell(&report, context)?,
        false => context
            .output
            .show(&Diagnosis::new(&report, &fixed), Vec::new)?,
    }
    match failure {
        Some(error) => Err(Failure::from(error).with(match fixed.is_empty() {
            true => "nothing could be mended, as this has to be done first",
            false => "not all could be mended",
        })),
        None if report.is_healthy() => Ok(Exit::Done),
        None => Ok(Exit::Degraded),
    }
}

/// Fails for a node that is neither up nor the file's, where that can be told.
fn require_known(
    report: &Report,
    node: Option<&Name>,
    topology: Option<&Topology>,
) -> Result<(), ProvisionError> {
    let Some(node) = node else {
        return Ok(());
    };
    let is_up = report.nodes.iter().any(|it| it == node.as_ref());
    let mut wanted = topology.into_iter().flat_map(|it| &it.nodes);
    let is_wanted = wanted.any(|it| it.name == *node);
    let mut checks = report.checks.iter();
    if is_up || is_wanted || checks.any(|it| it.unseen.is_some()) {
        return Ok(());
    }
    Err(ProvisionError::NotUp {
        object: "node",
        name: node.to_string(),
    })
}

/// A line for each check, and below it what was found.
fn tell(report: &Report, context: &Context) -> Result<(), StdoutError> {
    let nodes = match report.nodes.as_slice() {
        [] => "no node is up".to_owned(),
        nodes => format!("up: {}", nodes.join(", ")),
    };
    context
        .output
        .line(format_args!("{}; {nodes}", report.kernel))?;
    let mut checks = report.checks.iter();
    checks.try_for_each(|checked| context.output.raw(lines(checked, context).as_bytes()))
}

fn lines(checked: &Checked, context: &Context) -> String {
    let width = context.output.width();
    let mark = mark(checked.state, context.output.is_coloured());
    let mark = format!("{mark} {:<12} ", checked.check.id);
    let mut text = hanging(&mark, 20, checked.check.about, width);
    if let Some(why) = &checked.unseen {
        for line in why.lines() {
            text += &hanging("       not looked at: ", 22, line, width);
        }
    }
    let found = checked.found.iter();
    text.extend(found.map(|found| described(found, width)));
    text
}

fn mark(state: State, colour: bool) -> String {
    let word = format!("{:<6}", state.name());
    match (state, colour) {
        (State::Fault, true) => format!("\x1b[31m{word}\x1b[0m"),
        (State::Note | State::Unseen, true) => format!("\x1b[33m{word}\x1b[0m"),
        _ => word,
    }
}

fn described(found: &Found, width: Option<u16>) -> String {
    let finding = &found.finding;
    let word = if found.is_notice { "note: " } else { "" };
    let fix = match found.is_fixable {
        true => " (`netpath doctor --fix` does what needs no file)",
        false => "",
    };
    let what = format!("{word}{}: {}", finding.object, finding.problem);
    let cure = format!("{}{fix}", finding.cure);
    [
        hanging("       ", 7, &what, width),
        hanging("         why: ", 14, found.why, width),
        hanging("         cure: ", 15, &cure, width),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use netpath::doctor::{Machine, Seen};

    use super::*;

    #[test]
    fn what_is_found_stands_below_its_check() {
        let seen = Seen {
            machine: Machine {
                release: "6.18.0".to_owned(),
                jit: Some(0),
                ..Machine::default()
            },
            ..Seen::default()
        };
        let report = doctor::judge(&seen);
        // A machine on which nothing is wrong is a line for each check.
        for checked in &report.checks {
            let about = checked.check.about;
            assert!(about.chars().count() <= 80 - 20, "{about}");
        }
        let found = &report.checks[1].found;
        let told: Vec<String> = found.iter().map(|it| described(it, None)).collect();
        assert_eq!(
            told,
            [
                "       this machine: net.core.bpf_jit_enable is 0: programs are interpreted\n         why: The kernel interprets \
                 BPF programs: each packet costs many times what it costs with programs that are compiled.\n         cure: have \
                 them compiled, with `sysctl -w net.core.bpf_jit_enable=1`\n"
            ]
        );
        let told: String = found.iter().map(|it| described(it, Some(80))).collect();
        let expected = "       this machine: net.core.bpf_jit_enable is 0: programs are interpreted
         why: The kernel interprets BPF programs: each packet costs many times
              what it costs with programs that are compiled.
         cure: have them compiled, with `sysctl -w net.core.bpf_jit_enable=1`
";
        assert_eq!(told, expected);
        assert_eq!(mark(State::Ok, true), "ok    ");
        assert!(mark(State::Fault, true).contains("\x1b[31m"));
    }
}
