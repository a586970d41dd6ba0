//! From an error to lines on stderr and an exit status.

use std::{error::Error, fmt};

use netpath::{Ending, Ends};

use super::{
    Exit,
    output::{StdoutError, note},
};

/// Input that was refused, with what to do instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

impl Refusal {
    /// Ports were given for what has none.
    pub fn ports_of_icmp() -> Self {
        let problem = "--sport and --dport: an ICMP echo has no ports: say `--proto udp` or `--proto tcp`, or leave them out";
        Self(problem.to_owned())
    }
}

impl Ends for Refusal {
    fn ending(&self) -> Ending {
        Ending::Refused
    }
}

/// Why a command ends early: what to say, and with which status.
#[derive(Debug)]
pub struct Failure {
    /// The status.
    pub exit: Exit,
    /// What to say, a note for each line; empty where there is nothing to say.
    pub text: String,
}

impl Failure {
    /// A failure of the system's.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            text: text.into(),
        }
    }

    /// The same, and what was being done or what is left of it.
    pub fn with(mut self, what: impl fmt::Display) -> Self {
        self.text = format!("{what}: {}", self.text);
        self
    }

    /// The same, and a line after it.
    pub fn and(mut self, line: &str) -> Self {
        self.text.push('\n');
        self.text.push_str(line);
        self
    }

    /// Tells it, and returns the exit status.
    pub(super) fn report(&self) -> Exit {
        for line in self.text.lines() {
            note(line);
        }
        self.exit
    }
}

impl<E: Ends> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            exit: error.ending().into(),
            text: text(&error),
        }
    }
}

impl From<StdoutError> for Failure {
    fn from(error: StdoutError) -> Self {
        match error {
            // The reader has seen enough.
            StdoutError::Closed => Self {
                exit: Exit::Done,
                text: String::new(),
            },
            StdoutError::Write(_) | StdoutError::Json(_) | StdoutError::Yaml(_) => {
                Self::new(text(&error))
            }
        }
    }
}

impl From<Ending> for Exit {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Refused => Self::Refused,
            Ending::Failed => Self::Failed,
        }
    }
}

/// The error and its causes, except those that an error before has in its own text.
fn text(error: &dyn Error) -> String {
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
    use std::{io, path::PathBuf};

    use netpath::{
        counters::CountersError,
        datapath::DatapathError,
        model::Topology,
        provision::ProvisionError,
        reconcile::{self, Refused},
    };

    use super::*;

    fn exit(error: impl Into<Failure>) -> Exit {
        error.into().exit
    }

    fn no_capability() -> Refused {
        let lacking = vec!["CAP_NET_ADMIN".to_owned()];
        reconcile::Refusal::CapabilitiesMissing(lacking).of("netpath")
    }

    #[test]
    fn what_was_refused_exits_with_2() {
        let findings = Topology::parse("lab.toml", "x = 1").expect_err("unknown key");
        assert_eq!(exit(findings), Exit::Refused);
        assert_eq!(exit(ProvisionError::from(no_capability())), Exit::Refused);
        let refusal = Failure::from(Refusal("no".into())).with("while reading");
        assert_eq!(
            (refusal.exit, refusal.text.as_str()),
            (Exit::Refused, "while reading: no")
        );
        let lacks = DatapathError::KernelLacks { what: "TCX" };
        assert_eq!(exit(lacks), Exit::Refused);
        assert_eq!(exit(ProvisionError::Interrupted), Exit::Failed);
    }

    #[test]
    fn another_abi_version_is_refused_however_it_is_met() {
        let other = || DatapathError::Newer {
            path: PathBuf::from("/sys/fs/bpf/netpath/node03"),
            found: 9,
            expected: 2,
        };
        assert_eq!(exit(other()), Exit::Refused);
        assert_eq!(exit(ProvisionError::from(other())), Exit::Refused);
        assert_eq!(exit(CountersError::from(other())), Exit::Refused);
    }

    #[test]
    fn a_failure_after_a_change_is_no_refusal() {
        let error = ProvisionError::Undo {
            cause: Box::new(no_capability().into()),
            undoing: Vec::new(),
        };
        assert_eq!(exit(error), Exit::Failed);
    }

    #[test]
    fn each_cause_is_told_once() {
        let error = ProvisionError::File {
            path: "/proc/x".into(),
            source: io::Error::other("busy"),
        };
        let failure = Failure::from(error);
        assert_eq!(failure.text, "/proc/x: busy");
        let failure = failure.with("looking around");
        assert_eq!(failure.text, "looking around: /proc/x: busy");
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        assert_eq!(exit(StdoutError::Closed), Exit::Done);
        assert_eq!(
            exit(StdoutError::Write(io::Error::other("full"))),
            Exit::Failed
        );
    }
}
