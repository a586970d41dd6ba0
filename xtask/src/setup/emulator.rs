//! qemu for x86-64: what is on PATH, else the distribution's package, unpacked and not installed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::apt;
use crate::{command, progress};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
const UNPACKED: &str = "qemu";
/// Where Debian keeps libraries, below the root of what is unpacked.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
/// Where Debian keeps firmware.
const FIRMWARE: [&str; 2] = ["usr/share/qemu", "usr/share/seabios"];

/// A qemu that starts.
pub struct Emulator {
    /// The root of what was unpacked, unless qemu is installed.
    unpacked: Option<PathBuf>,
}

impl Emulator {
    /// Finds qemu, or unpacks it into `dir`.
    pub fn find_or_get(dir: &Path) -> Result<Self> {
        if command::find(PROGRAM).is_some() {
            return Ok(Self { unpacked: None });
        }
        let place = dir.join(UNPACKED);
        if !place.join("usr/bin").join(PROGRAM).is_file() {
            progress::timed("set-up: get qemu, unpacked under target/", || {
                let packages = || {
                    let packages = apt::not_installed(PACKAGE);
                    let offered = packages.iter().any(|package| package == PACKAGE);
                    let offered = offered.then_some(packages);
                    offered.with_context(|| format!("apt does not offer {PACKAGE}"))
                };
                apt::unpack(&place, packages, |root| Self::below(root).check())
            })?;
        }
        Ok(Self::below(&place))
    }

    fn below(root: &Path) -> Self {
        Self {
            unpacked: Some(root.to_owned()),
        }
    }

    fn check(&self) -> Result<()> {
        let version = command::output(self.command().arg("--version"))?;
        progress::note(version.lines().next().unwrap_or_default());
        Ok(())
    }

    /// The command without its machine.
    pub fn command(&self) -> Command {
        let Some(root) = &self.unpacked else {
            return Command::new(PROGRAM);
        };
        let mut qemu = Command::new(root.join("usr/bin").join(PROGRAM));
        let libraries = LIBRARIES.map(|dir| root.join(dir));
        let modules = libraries[0].join("qemu");
        let mut path: Vec<PathBuf> = libraries.into();
        path.extend(
            env::var_os("LD_LIBRARY_PATH")
                .iter()
                .flat_map(env::split_paths),
        );
        if let Ok(path) = env::join_paths(path) {
            qemu.env("LD_LIBRARY_PATH", path);
        }
        qemu.env("QEMU_MODULE_DIR", modules);
        for dir in FIRMWARE {
            qemu.arg("-L").arg(root.join(dir));
        }
        qemu
    }
}
