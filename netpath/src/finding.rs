//! Findings: what is wrong, with what, and what mends it.
//!
//! A finding is told the same way wherever it comes from: a topology file, a plan that is refused, a node that is not
//! as it was made. Each is of a [`Kind`], whose id scripts may rely on. Kinds are declared with `kinds!`, beside
//! what they are kinds of; docs/findings.md lists them all.

use std::{fmt, path::PathBuf};

use serde::Serialize;

/// One thing that is wrong. Shown in one line: place, object, problem and cure, with colons between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}{object}: {problem}: {cure}", at(.place))]
pub struct Finding {
    /// [`Kind::id`].
    pub id: &'static str,
    /// With what: `endpoint demo01 on node03`, or the key of a file with the tables around it, such as
    /// `node.endpoint.addresses` (`TOML` where the text is not TOML at all).
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// What mends it.
    pub cure: String,
    /// Where in a file; `None` for what is no file's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file, as it was given.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

fn at(place: &Option<Place>) -> String {
    place
        .as_ref()
        .map_or_else(String::new, |place| format!("{place}: "))
}

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name, in snake_case: it is never changed, and never given to another kind.
    pub id: &'static str,
    /// What it means, a sentence or two.
    pub means: &'static str,
    /// What mends it, as far as that can be said of all findings of the kind.
    pub cure: &'static str,
}

impl Kind {
    /// A finding of this kind; of no file.
    #[must_use]
    pub fn found(
        &self,
        object: impl Into<String>,
        problem: impl Into<String>,
        cure: impl Into<String>,
    ) -> Finding {
        Finding {
            id: self.id,
            object: object.into(),
            problem: problem.into(),
            cure: cure.into(),
            place: None,
        }
    }
}

/// Declares an enum whose variants are kinds of finding, each with its id and cure; its documentation is what it means.
/// The enum gets `KINDS`, all of them, and `kind`.
macro_rules! kinds {
    (
        $(#[$attribute:meta])*
        $visible:vis enum $name:ident {
            $(
                $(#[doc = $means:literal])+
                $variant:ident $(($($tuple:tt)*))? $({$($named:tt)*})? = $id:literal, $cure:expr;
            )+
        }
    ) => {
        $(#[$attribute])*
        $visible enum $name {
            $($(#[doc = $means])+ $variant $(($($tuple)*))? $({$($named)*})?,)+
        }

        impl $name {
            /// All kinds, in the order of the variants.
            $visible const KINDS: &'static [$crate::finding::Kind] = &[
                $($crate::finding::Kind { id: $id, means: concat!($($means),+), cure: $cure },)+
            ];

            /// Which kind of finding it is.
            #[must_use]
            $visible fn kind(&self) -> &'static $crate::finding::Kind {
                match self {
                    $(Self::$variant { .. } => {
                        &$crate::finding::Kind { id: $id, means: concat!($($means),+), cure: $cure }
                    })+
                }
            }
        }
    };
}

pub(crate) use kinds;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line() {
        let mut finding = Finding {
            id: "wrong_type",
            object: "node.name".to_owned(),
            problem: "is an integer, not a string".to_owned(),
            cure: "write it in double quotes".to_owned(),
            place: None,
        };
        let line = "node.name: is an integer, not a string: write it in double quotes";
        assert_eq!(finding.to_string(), line);
        finding.place = Some(Place {
            file: "lab.toml".into(),
            line: 7,
        });
        assert_eq!(finding.to_string(), format!("lab.toml:7: {line}"));
    }
}
