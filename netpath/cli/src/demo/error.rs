//! Why the story could not be told.

use netpath::{
    Ending, Ends, counters::CountersError, datapath::DatapathError, netfilter::NetfilterError,
    netns::NetnsError, probe::ProbeError, proc_net::ProcNetError, provision::ProvisionError,
    trace::TraceError,
};

/// The story could not be told, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The lab, or a part of it, is up already. It was left alone.
    #[error(
        "{nodes} of the built-in lab is up already: remove it with `netpath down`, then run `netpath demo` again"
    )]
    AlreadyUp {
        /// The nodes that are up.
        nodes: String,
    },
    /// The built-in lab lacks what the story is about.
    #[error("the built-in lab has no {missing}: this is a bug of netpath's")]
    Lab {
        /// What it lacks.
        missing: String,
    },
    /// The lab could not be brought up; nothing is left of it.
    #[error(transparent)]
    Up(ProvisionError),
    /// The lab could not be changed.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// A probe did not work.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The counters could not be read.
    #[error(transparent)]
    Counters(#[from] CountersError),
    /// The kernel's counters could not be read.
    #[error(transparent)]
    ProcNet(#[from] ProcNetError),
    /// A namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The maps or programs could not be read.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The packet filter could not be read or changed.
    #[error(transparent)]
    Netfilter(#[from] NetfilterError),
    /// A packet could not be traced.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// Stopped by a signal. The lab was removed.
    #[error("interrupted; removed")]
    Interrupted,
    /// The lab could not be removed.
    #[error(
        "{}the lab is not removed: {removal}\nstill there: {left}; remove it with `netpath down`",
        before(.cause)
    )]
    Removal {
        /// Why the story had ended, if not well.
        cause: Option<Box<DemoError>>,
        /// What went wrong in removing it.
        removal: Box<ProvisionError>,
        /// Namespaces that are still there.
        left: String,
    },
}

fn before(cause: &Option<Box<DemoError>>) -> String {
    cause
        .as_ref()
        .map_or_else(String::new, |cause| match **cause {
            DemoError::Interrupted => "interrupted, and ".to_owned(),
            ref cause => format!("{cause}\nand "),
        })
}

impl Ends for DemoError {
    fn ending(&self) -> Ending {
        match self {
            Self::AlreadyUp { .. } => Ending::Refused,
            Self::Up(error) => error.ending(),
            // The story had begun.
            Self::Lab { .. }
            | Self::Provision(_)
            | Self::Probe(_)
            | Self::Counters(_)
            | Self::ProcNet(_)
            | Self::Netns(_)
            | Self::Datapath(_)
            | Self::Netfilter(_)
            | Self::Trace(_)
            | Self::Interrupted
            | Self::Removal { .. } => Ending::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use netpath::reconcile::Refusal;

    use super::*;

    fn refused() -> ProvisionError {
        Refusal::NameTooLong.of("netpath").into()
    }

    #[test]
    fn what_was_refused_is_told_from_what_failed() {
        let nodes = "node03".to_owned();
        assert!(DemoError::AlreadyUp { nodes }.is_refusal());
        assert!(DemoError::Up(refused()).is_refusal());
        assert!(!DemoError::Provision(refused()).is_refusal());
        assert!(!DemoError::Interrupted.is_refusal());
    }

    #[test]
    fn a_failed_removal_tells_what_came_before() {
        let error = |cause| DemoError::Removal {
            cause,
            removal: Box::new(refused()),
            left: "demo01".to_owned(),
        };
        let interrupted = error(Some(Box::new(DemoError::Interrupted))).to_string();
        assert!(
            interrupted.starts_with("interrupted, and the lab is not removed: netpath: is too")
        );
        assert!(error(None).to_string().starts_with("the lab is not"));
    }
}
