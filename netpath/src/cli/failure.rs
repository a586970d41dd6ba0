//! From an error to lines on stderr and an exit status.

use std::error::Error;

use super::{
    Exit,
    output::{StdoutError, note},
};
use crate::{
    datapath::DatapathError, model::TopologyErrors, mounts::MountsError, provision::ProvisionError,
};

/// Input that was refused, with what to do instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Prints an error and chooses its exit status.
pub(super) fn report(error: &anyhow::Error) -> Exit {
    if matches!(error.downcast_ref(), Some(StdoutError::Closed)) {
        // The reader has seen enough.
        return Exit::Done;
    }
    for line in text(error.as_ref()).lines() {
        note(line);
    }
    status(error)
}

fn status(error: &anyhow::Error) -> Exit {
    let refused = error.chain().any(|cause| {
        cause.is::<Refusal>()
            || cause.is::<TopologyErrors>()
            || cause.is::<MountsError>()
            || cause
                .downcast_ref::<ProvisionError>()
                .is_some_and(ProvisionError::is_refusal)
            || matches!(
                cause.downcast_ref::<DatapathError>(),
                Some(
                    DatapathError::AbiVersion { .. }
                        | DatapathError::NoBpffs { .. }
                        | DatapathError::KernelLacks { .. }
                )
            )
    });
    if refused { Exit::Refused } else { Exit::Failed }
}

/// The error and its causes, except those that an error before has in its own text.
fn text(error: &(dyn Error + 'static)) -> String {
    if let Some(ProvisionError::Interrupted) = error.downcast_ref() {
        return "interrupted; undone".to_owned();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::model::Topology;

    #[test]
    fn what_was_refused_exits_with_2() {
        let findings = Topology::parse("lab.toml", "x = 1").expect_err("unknown key");
        assert_eq!(status(&findings.into()), Exit::Refused);
        assert_eq!(status(&ProvisionError::NotRoot.into()), Exit::Refused);
        let error = anyhow::Error::from(Refusal("no".into())).context("while reading");
        assert_eq!(status(&error), Exit::Refused);
        let lacks = DatapathError::KernelLacks { what: "TCX" };
        assert_eq!(status(&lacks.into()), Exit::Refused);
        assert_eq!(status(&ProvisionError::Interrupted.into()), Exit::Failed);
    }

    #[test]
    fn a_failure_after_a_change_is_no_refusal() {
        let error = ProvisionError::Undo {
            cause: Box::new(ProvisionError::NotRoot),
            undoing: Vec::new(),
        };
        assert_eq!(status(&error.into()), Exit::Failed);
    }

    #[test]
    fn each_cause_is_told_once() {
        let error = ProvisionError::File {
            path: "/proc/x".into(),
            source: io::Error::other("busy"),
        };
        assert_eq!(text(&error), "/proc/x: busy");
        let error = anyhow::Error::from(error).context("looking around");
        assert_eq!(text(error.as_ref()), "looking around: /proc/x: busy");
        let interrupted = ProvisionError::Interrupted;
        assert_eq!(text(&interrupted), "interrupted; undone");
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        assert_eq!(report(&StdoutError::Closed.into()), Exit::Done);
    }
}
