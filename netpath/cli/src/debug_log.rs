//! `--debug-datapath`: what the programs log of each packet, until Ctrl-C.

mod filter;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use netpath::{
    counters::PacketNames,
    datapath::{Datapath, DatapathError, DatapathLog, LoggedPacket, ObjectKind},
    provision,
};

pub(super) use self::filter::Filter;
use super::{Context, Failure, note};

/// Of `up` and `fastpath on`.
#[derive(Debug, Default, clap::Args)]
pub struct DebugArgs {
    /// Log every packet to stderr until Ctrl-C; slow
    #[arg(long)]
    pub debug_datapath: bool,

    /// Log only these packets, by interface, endpoint, outcome, reason (as in `netpath stats`) or address (an address or a
    /// prefix). May be repeated: of one key any may hold, of different keys all must
    #[arg(
        long = "debug-filter",
        value_name = "KEY=VALUE",
        requires = "debug_datapath"
    )]
    pub filters: Vec<Filter>,
}

/// Makes nodes log every packet, shows it until a signal comes, and makes them stop again.
pub(super) fn follow(
    nodes: &[String],
    filters: &[Filter],
    context: &Context,
) -> Result<(), Failure> {
    let shown = show(nodes, filters, context);
    let restored = restore(nodes);
    shown.and(restored)
}

/// Prints what a node's programs log, in words.
pub(super) fn printer(
    datapath: Datapath,
    filters: &[Filter],
) -> Result<impl Fn(LoggedPacket) + Send + Sync + 'static, DatapathError> {
    let names = PacketNames::of(datapath)?;
    let filters = filters.to_vec();
    Ok(move |packet: LoggedPacket| match names.row(&packet) {
        Ok(Some(row)) if Filter::all_pass(&filters, &row) => tracing::debug!("{row}"),
        Ok(Some(_)) => {}
        Ok(None) => {
            tracing::warn!("a packet has an outcome that this version does not know: {packet:?}")
        }
        Err(error) => tracing::warn!(%error, "a packet cannot be named: {packet:?}"),
    })
}

fn show(nodes: &[String], filters: &[Filter], context: &Context) -> Result<(), Failure> {
    let mut logs = Vec::new();
    for node in nodes {
        provision::set_object(node, ObjectKind::Logging, &context.interrupted)?;
        if let Some(datapath) = Datapath::open(node)? {
            logs.push((DatapathLog::of(&datapath)?, printer(datapath, filters)?));
        }
    }
    note(match filters.is_empty() {
        true => "every packet is logged; Ctrl-C ends it",
        false => "every packet is logged, and those of the filter are shown; Ctrl-C ends it",
    });
    thread::scope(|scope| {
        let readers: Vec<_> = logs
            .into_iter()
            .map(|(log, print)| {
                scope.spawn(move || {
                    log.run(&context.interrupted, print).inspect_err(|_| {
                        // The other readers end too, so that the failure is told now.
                        context.interrupted.store(true, Ordering::Relaxed);
                    })
                })
            })
            .collect();
        readers
            .into_iter()
            .map(|reader| {
                reader
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect::<Result<Vec<()>, _>>()
    })?;
    Ok(())
}

/// Every node, even if one fails.
fn restore(nodes: &[String]) -> Result<(), Failure> {
    // The signal that ended the log has done its part.
    let finished = AtomicBool::new(false);
    let mut result = Ok(());
    for node in nodes {
        let restored = provision::set_object(node, ObjectKind::Plain, &finished).map_err(|error| {
            Failure::from(error).with(format!("node {node} still logs every packet"))
        });
        if let Err(failure) = restored {
            result = result.and(Err(failure));
        }
    }
    result
}
