//! Names that are safe as file names, namespace names and interface names.

use std::{fmt, str::FromStr};

use netpath_common::{IFNAME_SIZE, NAME_SIZE};
use serde::Serialize;

use super::fault::{Fault, FaultKind};

/// Name of a node, an endpoint or a wire: 1 to 63 bytes of `A-Z a-z 0-9 _ -`, the first a letter or a
/// digit. It is a file name under /run/netns and in the BPF file system, which reserves the dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Name(String);

/// Name of a network interface: 1 to 15 bytes that the kernel accepts and that mean nothing else to
/// sysctl (`all`, `default`), to the kernel's name templates (`%`) or to every namespace (`lo`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct InterfaceName(String);

/// Why a text is not a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has no characters.
    #[error("a name is empty: {}", self.cure())]
    Empty,
    /// It does not fit.
    #[error("name {name:?} has {} bytes: {}", name.len(), self.cure())]
    TooLong {
        /// The text.
        name: String,
    },
    /// It does not start with a letter or a digit.
    #[error("name {name:?} starts with {character:?}: {}", self.cure())]
    Start {
        /// The text.
        name: String,
        /// Its first character.
        character: char,
    },
    /// It holds a character that names cannot have.
    #[error("name {name:?} contains {character:?}: {}", self.cure())]
    Character {
        /// The text.
        name: String,
        /// The first such character.
        character: char,
    },
}

/// Why a text is not an [`InterfaceName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterfaceNameError {
    /// It has no characters.
    #[error("an interface name is empty: {}", self.cure())]
    Empty,
    /// It does not fit.
    #[error("interface name {name:?} has {} bytes: {}", name.len(), self.cure())]
    TooLong {
        /// The text.
        name: String,
    },
    /// It holds a character that interface names cannot have.
    #[error("interface name {name:?} contains {character:?}: {}", self.cure())]
    Character {
        /// The text.
        name: String,
        /// The first such character.
        character: char,
    },
    /// It means something else already.
    #[error("interface name {name:?} is reserved: {}", self.cure())]
    Reserved {
        /// The text.
        name: String,
    },
}

impl Name {
    /// Most bytes of a name.
    pub const MAX: usize = NAME_SIZE - 1;

    /// Makes a name of a text that is known to be one.
    pub(super) fn trusted(text: String) -> Self {
        debug_assert!(text.parse::<Self>().is_ok(), "{text:?}");
        Self(text)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = text.to_owned();
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let Some(first) = text.chars().next() else {
            return Err(NameError::Empty);
        };
        if let Some(character) = text.chars().find(|c| !allowed(*c)) {
            return Err(NameError::Character { name, character });
        }
        if !first.is_ascii_alphanumeric() {
            return Err(NameError::Start {
                name,
                character: first,
            });
        }
        if text.len() > Self::MAX {
            return Err(NameError::TooLong { name });
        }
        Ok(Self(name))
    }
}

impl NameError {
    fn kind(&self) -> FaultKind {
        FaultKind::BadName
    }

    /// What to write instead.
    #[must_use]
    pub fn cure(&self) -> String {
        match self {
            Self::Empty | Self::TooLong { .. } => {
                format!("write a name of 1 to {} bytes", Name::MAX)
            }
            Self::Start { .. } => "start it with a letter or a digit".to_owned(),
            Self::Character { .. } => "use only A-Z a-z 0-9 _ -".to_owned(),
        }
    }
}

impl InterfaceName {
    /// Most bytes of an interface name.
    pub const MAX: usize = IFNAME_SIZE - 1;

    /// Makes an interface name of a text that is known to be one.
    pub(super) fn trusted(text: String) -> Self {
        debug_assert!(text.parse::<Self>().is_ok(), "{text:?}");
        Self(text)
    }
}

impl FromStr for InterfaceName {
    type Err = InterfaceNameError;

    fn from_str(text: &str) -> Result<Self, InterfaceNameError> {
        let name = text.to_owned();
        // `dev_valid_name()` in net/core/dev.c, and printable ASCII, and no `%`, from which the kernel
        // would make up a name of its own.
        let allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '%');
        if text.is_empty() {
            return Err(InterfaceNameError::Empty);
        }
        if let Some(character) = text.chars().find(|c| !allowed(*c)) {
            return Err(InterfaceNameError::Character { name, character });
        }
        if text.len() > Self::MAX {
            return Err(InterfaceNameError::TooLong { name });
        }
        if matches!(text, "." | ".." | "lo" | "all" | "default") {
            return Err(InterfaceNameError::Reserved { name });
        }
        Ok(Self(name))
    }
}

impl InterfaceNameError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Empty | Self::TooLong { .. } | Self::Character { .. } => FaultKind::BadName,
            Self::Reserved { .. } => FaultKind::ReservedName,
        }
    }

    /// What to write instead.
    #[must_use]
    pub fn cure(&self) -> String {
        match self {
            Self::Empty | Self::TooLong { .. } => {
                format!("write a name of 1 to {} bytes", InterfaceName::MAX)
            }
            Self::Character { .. } => {
                "use printable ASCII without spaces, '/', ':' and '%'".to_owned()
            }
            Self::Reserved { .. } => {
                "choose another; lo, all, default, \".\" and \"..\" have a meaning already"
                    .to_owned()
            }
        }
    }
}

/// What both kinds of names, and their errors, have in common.
macro_rules! name_traits {
    ($name:ident, $error:ident) => {
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                let (cure, whole) = (error.cure(), error.to_string());
                let problem = whole.strip_suffix(&format!(": {cure}")).unwrap_or(&whole);
                Self::new(error.kind(), problem, cure)
            }
        }
    };
}

name_traits!(Name, NameError);
name_traits!(InterfaceName, InterfaceNameError);
