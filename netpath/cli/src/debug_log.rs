//! `--debug-datapath`: what the programs log of each packet, until Ctrl-C.

use std::{sync::atomic::Ordering, thread};

use netpath::datapath::{Datapath, DatapathLog, ObjectKind};

use super::{Context, Failure, note};

/// Makes nodes log every packet, shows it until a signal comes, and makes them stop again.
pub(super) fn follow(nodes: &[String], context: &Context) -> Result<(), Failure> {
    let mut datapaths = Vec::new();
    for node in nodes {
        datapaths.extend(Datapath::open(node)?);
    }
    let shown = show(&mut datapaths, context);
    let restored = restore(&mut datapaths);
    shown.and(restored)
}

fn show(datapaths: &mut [Datapath], context: &Context) -> Result<(), Failure> {
    for datapath in &mut *datapaths {
        datapath.upgrade(ObjectKind::Logging)?;
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
fn restore(datapaths: &mut [Datapath]) -> Result<(), Failure> {
    let mut result = Ok(());
    for datapath in datapaths {
        let restored = datapath.upgrade(ObjectKind::Plain).map_err(|error| {
            Failure::from(error).with(format!("node {} still logs every packet", datapath.name()))
        });
        if let Err(failure) = restored {
            result = result.and(Err(failure));
        }
    }
    result
}
