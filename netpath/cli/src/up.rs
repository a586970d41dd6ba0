//! `netpath up`.

use std::path::PathBuf;

use netpath::{
    api::Changes,
    capabilities::Work,
    datapath::ObjectKind,
    finding::Finding,
    provision::{self, Change, ProvisionError, UpOptions},
};

use super::{
    Context, Exit, Failure,
    debug_log::{self, DebugArgs},
    expedite::ExpediteArgs,
    file, note,
    output::StdoutError,
};

/// Arguments of `netpath up`.
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    /// The topology; `-` reads it from stdin [default: the built-in lab]
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,

    /// Print what would be changed and touch nothing
    #[arg(short = 'n', long, conflicts_with = "debug_datapath")]
    dry_run: bool,

    /// Detach the fast path: the kernel forwards
    #[arg(long, conflicts_with = "debug_datapath")]
    no_fast_path: bool,

    /// Let the fast path of a machine's node pass rules by that change what becomes of packets (see `netpath audit`); it is
    /// remembered until the node is taken down
    #[arg(long)]
    accept_bypass: bool,

    #[command(flatten)]
    expedite: ExpediteArgs,

    #[command(flatten)]
    pub(super) debug: DebugArgs,
}

/// Makes the topology true.
pub fn run(args: &UpArgs, context: &Context) -> Result<Exit, Failure> {
    let topology = file::load(args.file.as_ref())?;
    context.require(Work::Nodes)?;
    context.catch_signals()?;
    let _expedited = match args.dry_run {
        true => None,
        false => args.expedite.begin()?,
    };
    let options = UpOptions {
        fast_path: args.no_fast_path.then_some(false),
        object: if args.debug.debug_datapath {
            ObjectKind::Logging
        } else {
            ObjectKind::Plain
        },
        interrupted: context.interrupted.clone(),
        accept_bypass: args.accept_bypass,
    };
    let mut report = ChangeReport::new(context);
    if args.dry_run {
        let planned = provision::plan_telling(&topology, &options)?;
        planned.changes.iter().for_each(|change| report.add(change));
        report.finish()?;
        return Ok(told(&planned.findings));
    }
    let raised = match provision::up_telling(&topology, &options, &mut |change| report.add(change))
    {
        Ok(raised) => raised,
        Err(error) => return Err(report.fail(ended(error))),
    };
    report.finish()?;
    let exit = told(&raised.findings);
    if args.debug.debug_datapath {
        debug_log::follow(&file::node_names(&topology), &args.debug.filters, context)?;
    }
    Ok(exit)
}

/// Says what is not as it should be though all of the file is up.
pub(super) fn told(findings: &[Finding]) -> Exit {
    findings.iter().for_each(note);
    match findings.is_empty() {
        true => Exit::Done,
        false => Exit::Degraded,
    }
}

/// That it was undone is part of how an interrupted `up` ends well; where it was not, the error says so itself.
fn ended(error: ProvisionError) -> Failure {
    match error {
        ProvisionError::Interrupted => Failure::new("interrupted; undone"),
        error => error.into(),
    }
}

/// Prints changes: one by one for people, all at the end for programs.
pub(super) struct ChangeReport<'a> {
    context: &'a Context,
    changes: Vec<Change>,
    unwritten: Option<StdoutError>,
}

impl<'a> ChangeReport<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self {
            context,
            changes: Vec::new(),
            unwritten: None,
        }
    }

    /// A change that is done. That nobody reads it any more is no reason to stop half-way.
    pub(super) fn add(&mut self, change: &Change) {
        if self.context.output.is_table() && self.unwritten.is_none() {
            self.unwritten = self.context.output.line(change).err();
        }
        self.changes.push(change.clone());
    }

    /// All changes are done.
    pub(super) fn finish(self) -> Result<(), StdoutError> {
        if self.changes.is_empty() {
            note("nothing to do");
        }
        match self.unwritten {
            None | Some(StdoutError::Closed) => {}
            Some(error) => return Err(error),
        }
        if self.context.output.is_table() {
            return Ok(());
        }
        self.document(false)
    }

    /// The command failed, and what it had done before is told all the same. Then it is no refusal either.
    pub(super) fn fail(self, mut failure: Failure) -> Failure {
        if self.changes.is_empty() {
            return failure;
        }
        failure.exit = Exit::Failed;
        if self.context.output.is_table() {
            return failure;
        }
        match self.document(true) {
            Ok(()) => failure,
            Err(error) => failure.and(&error.to_string()),
        }
    }

    fn document(&self, failed: bool) -> Result<(), StdoutError> {
        let document = Changes::new(&self.changes, failed);
        match self.context.output.show(&document, Vec::new) {
            Err(StdoutError::Closed) => Ok(()),
            result => result,
        }
    }
}
