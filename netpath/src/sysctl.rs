//! Network sysctls of one namespace.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
};

use nix::{
    fcntl::{OFlag, openat},
    sys::stat::Mode,
};

use crate::netns::Inside;

/// A sysctl that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} sysctl {path}: {source}")]
pub struct SysctlError {
    action: &'static str,
    path: String,
    source: io::Error,
}

impl SysctlError {
    fn new(action: &'static str, key: &str, source: io::Error) -> Self {
        Self {
            action,
            path: path(key),
            source,
        }
    }

    /// Whether there is no such setting: for one of an interface, the interface is gone.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// A family's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// `net/ipv4`.
    Ipv4,
    /// `net/ipv6`.
    Ipv6,
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        })
    }
}

/// The key of an interface's setting, for [`get`] and [`set`]. `dev` is its name, which may have dots in it; or `all`, or
/// `default`.
pub fn of_interface(tree: Tree, dev: &str, setting: &str) -> String {
    format!("{tree}/conf/{dev}/{setting}")
}

/// Whether the kernel has IPv6 at all. Booted with `ipv6.disable=1` it has none, in no namespace.
pub fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6/conf").exists()
}

/// Writes `/proc/sys/net/<key>` if it does not hold the value yet. The parts of the key are separated by slashes.
///
/// # Errors
/// When there is no such setting, or the kernel refuses the value.
pub fn set(inside: &Inside<'_>, key: &str, value: &str) -> Result<(), SysctlError> {
    if get(inside, key)? == value {
        return Ok(());
    }
    let written =
        open(inside, key, OFlag::O_WRONLY).and_then(|mut file| file.write_all(value.as_bytes()));
    written.map_err(|source| SysctlError::new("write", key, source))
}

/// Reads `/proc/sys/net/<key>`, without the line's end. The parts of the key are separated by slashes.
///
/// # Errors
/// When there is no such setting.
pub fn get(inside: &Inside<'_>, key: &str) -> Result<String, SysctlError> {
    let mut text = String::new();
    let read =
        open(inside, key, OFlag::O_RDONLY).and_then(|mut file| file.read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text.trim_end().to_owned()),
        Err(source) => Err(SysctlError::new("read", key, source)),
    }
}

/// Opens a setting, below the directory of its family where it has one.
fn open(inside: &Inside<'_>, key: &str, how: OFlag) -> io::Result<File> {
    let trees = [(Tree::Ipv4, "ipv4/"), (Tree::Ipv6, "ipv6/")];
    for (index, (tree, start)) in trees.into_iter().enumerate() {
        if let Some(below) = key.strip_prefix(start) {
            let directory = inside.settings(index, &path(&tree.to_string()))?;
            return Ok(openat(directory, below, how | OFlag::O_CLOEXEC, Mode::empty())?.into());
        }
    }
    Ok(nix::fcntl::open(&*path(key), how | OFlag::O_CLOEXEC, Mode::empty())?.into())
}

fn path(key: &str) -> String {
    format!("/proc/sys/net/{key}")
}
