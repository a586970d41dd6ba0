//! Network sysctls of one namespace.

use std::{fmt, fs, io, path::Path};

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
    let path = path(key);
    fs::write(&path, value).map_err(|source| SysctlError {
        action: "write",
        path,
        source,
    })
}

/// Reads `/proc/sys/net/<key>`, without the line's end. The parts of the key are separated by slashes.
///
/// # Errors
/// When there is no such setting.
pub fn get(_inside: &Inside<'_>, key: &str) -> Result<String, SysctlError> {
    let path = path(key);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(source) => Err(SysctlError {
            action: "read",
            path,
            source,
        }),
    }
}

fn path(key: &str) -> String {
    format!("/proc/sys/net/{key}")
}
