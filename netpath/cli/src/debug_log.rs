//! `--debug-datapath`: what the programs log of each packet, until Ctrl-C.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::Context as _;
use netpath::{
    datapath::{Datapath, DatapathLog, ObjectKind},
    lock::TopologyLock,
};

use super::{Context, note};

/// Makes nodes log every packet, shows it until a signal comes, and makes them stop again.
pub(super) fn follow(nodes: &[String], context: &Context) -> anyhow::Result<()> {
    let mut datapaths = Vec::new();
    for node in nodes {
        datapaths.extend(Datapath::open(node)?);
    }
    let shown = show(&datapaths, context);
    let restored = restore(&datapaths);
    shown.and(restored)
}

fn show(datapaths: &[Datapath], context: &Context) -> anyhow::Result<()> {
    {
        let lock = TopologyLock::take(&context.interrupted)?;
        for datapath in datapaths {
            datapath.upgrade(ObjectKind::Logging, &lock)?;
        }
    }
    let logs = datapaths
        .iter()
        .map(DatapathLog::of)
        .collect::<Result<Vec<_>, _>>()?;
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
fn restore(datapaths: &[Datapath]) -> anyhow::Result<()> {
    // The signal that ended the log has done its part.
    let lock = TopologyLock::take(&AtomicBool::new(false))?;
    let mut result = Ok(());
    for datapath in datapaths {
        let restored = datapath
            .upgrade(ObjectKind::Plain, &lock)
            .with_context(|| format!("node {} still logs every packet", datapath.name()));
        if let Err(error) = restored {
            result = result.and(Err(error));
        }
    }
    result
}
