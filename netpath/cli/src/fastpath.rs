//! `netpath fastpath`.

use netpath::{
    capabilities::Work,
    model::Name,
    provision::{self, FastPathMode, Selection},
};

use super::{
    Context, Exit, Failure, completions,
    debug_log::{self, DebugArgs, Filter},
    expedite::ExpediteArgs,
    up::{ChangeReport, told},
};

/// Arguments of `netpath fastpath`.
#[derive(Debug, clap::Args)]
pub struct FastpathArgs {
    #[command(subcommand)]
    switch: Switch,
}

#[derive(Debug, clap::Subcommand)]
enum Switch {
    /// Attach: packets take the fast path
    On {
        #[command(flatten)]
        selection: SelectionArgs,

        /// Let the fast path of a machine's node pass rules by that change what becomes of packets (see `netpath audit`); it
        /// is remembered until the node is taken down
        #[arg(long)]
        accept_bypass: bool,

        #[command(flatten)]
        expedite: ExpediteArgs,

        #[command(flatten)]
        debug: DebugArgs,
    },
    /// Attach, and only count what would be done: each packet is the kernel's, unchanged
    #[command(
        long_about = "Attach, and only count what would be done: each packet is the kernel's, unchanged.\n\nWhat the fast \
            path would have taken is counted as `punt` with reason `shadow` and the interface that it would have left by, \
            what it would have dropped as `shadow_spoofed` and the like. A packet is in shadow if one of its two interfaces \
            is. The wish survives `netpath up`; `netpath fastpath on` ends it. `netpath audit --shadow` compares what would \
            have been done with what happened."
    )]
    Shadow {
        #[command(flatten)]
        selection: SelectionArgs,

        #[command(flatten)]
        expedite: ExpediteArgs,
    },
    /// Detach: the kernel forwards as if netpath were not there
    Off {
        #[command(flatten)]
        selection: SelectionArgs,

        #[command(flatten)]
        expedite: ExpediteArgs,
    },
}

#[derive(Debug, clap::Args)]
struct SelectionArgs {
    /// Only this node [default: all that are up]
    #[arg(long, value_name = "NODE", add = completions::nodes())]
    node: Option<Name>,

    /// Only this endpoint; recorded, so that it survives `netpath up` [default: all interfaces]
    #[arg(long, value_name = "ENDPOINT", add = completions::endpoints())]
    endpoint: Option<Name>,
}

impl FastpathArgs {
    pub(super) fn logs_packets(&self) -> bool {
        match &self.switch {
            Switch::On { debug, .. } => debug.debug_datapath,
            Switch::Shadow { .. } | Switch::Off { .. } => false,
        }
    }

    fn filters(&self) -> &[Filter] {
        match &self.switch {
            Switch::On { debug, .. } => &debug.filters,
            Switch::Shadow { .. } | Switch::Off { .. } => &[],
        }
    }
}

impl SelectionArgs {
    fn selection(&self, context: &Context) -> Selection {
        Selection {
            node: self.node.as_ref().map(Name::to_string),
            endpoint: self.endpoint.as_ref().map(Name::to_string),
            interrupted: context.interrupted.clone(),
            accept_bypass: false,
        }
    }
}

/// Attaches, in one mode or the other, or detaches.
pub fn run(args: &FastpathArgs, context: &Context) -> Result<Exit, Failure> {
    context.require(Work::Nodes)?;
    context.catch_signals()?;
    let (mode, selection, expedite) = match &args.switch {
        Switch::On {
            selection,
            expedite,
            ..
        } => (FastPathMode::On, selection, expedite),
        Switch::Shadow {
            selection,
            expedite,
        } => (FastPathMode::Shadow, selection, expedite),
        Switch::Off {
            selection,
            expedite,
        } => (FastPathMode::Off, selection, expedite),
    };
    let selection = Selection {
        accept_bypass: matches!(
            args.switch,
            Switch::On {
                accept_bypass: true,
                ..
            }
        ),
        ..selection.selection(context)
    };
    let _expedited = expedite.begin()?;
    let mut report = ChangeReport::new(context);
    let switched =
        provision::set_fast_path_telling(mode, &selection, &mut |change| report.add(change));
    let exit = match switched {
        Ok(switched) => {
            report.finish()?;
            told(&switched.findings)
        }
        Err(error) => return Err(report.fail(error.into())),
    };
    if args.logs_packets() {
        debug_log::follow(&selected_nodes(&selection)?, args.filters(), context)?;
    }
    Ok(exit)
}

fn selected_nodes(selection: &Selection) -> Result<Vec<String>, Failure> {
    let nodes = provision::observe()?.into_iter().filter(|node| {
        let is_node = selection
            .node
            .as_ref()
            .is_none_or(|name| *name == node.name);
        let has_endpoint = selection
            .endpoint
            .as_ref()
            .is_none_or(|name| node.endpoints.iter().any(|endpoint| endpoint.name == *name));
        is_node && has_endpoint
    });
    Ok(nodes.map(|node| node.name).collect())
}
