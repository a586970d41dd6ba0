//! `--debug-datapath`: what the programs log of each packet, until Ctrl-C.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use netpath::{
    datapath::{Datapath, DatapathLog, ObjectKind},
    provision,
};

use super::{Context, Failure, note};

/// Makes nodes log every packet, shows it until a signal comes, and makes them stop again.
pub(super) fn follow(nodes: &[String], context: &Context) -> Result<(), Failure> {
    let shown = show(nodes, context);
    let restored = restore(nodes);
    shown.and(restored)
}

fn show(nodes: &[String], context: &Context) -> Result<(), Failure> {
    let mut logs = Vec::new();
    for node in nodes {
        provision::set_object(node, ObjectKind::Logging, &context.interrupted)?;
        if let Some(datapath) = Datapath::open(node)? {
            logs.push(DatapathLog::of(&datapath)?);
        }
    }
    note("every packet is logged; Ctrl-C ends it");
    thread::scope(|scope| {
        let readers: Vec<_> = logs
            .iter()
            .map(|log| {
                scope.spawn(|| {
                    log.run(&context.interrupted).inspect_err(|_| {
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
