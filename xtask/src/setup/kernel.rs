//! Debian's kernels and a busybox, unpacked and not installed: installing a kernel would change what this
//! machine boots.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt;
use crate::progress;

const BUSYBOX: &str = "busybox-static";

/// An unpacked kernel.
pub struct Kernel {
    /// What `uname -r` will say.
    pub release: String,
    /// The bootable image.
    pub image: PathBuf,
    /// `lib/modules/<release>`.
    pub modules: PathBuf,
}

impl Kernel {
    /// The kernel of a series, e.g. "6.1", from `dir`, or unpacked into it.
    pub fn find_or_get(dir: &Path, series: &str) -> Result<Self> {
        let place = dir.join(format!("linux-{series}"));
        if !place.is_dir() {
            let title = format!("set-up: get Debian's Linux {series}, unpacked under target/");
            progress::timed(&title, || {
                let packages = || Ok(vec![package(series)?]);
                apt::unpack(&place, packages, |root| Self::below(root).map(drop))
            })?;
        }
        Self::below(&place)
    }

    fn below(root: &Path) -> Result<Self> {
        let dir = ["lib/modules", "usr/lib/modules"]
            .map(|dir| root.join(dir))
            .into_iter()
            .find(|dir| dir.is_dir())
            .with_context(|| format!("no modules in {}", root.display()))?;
        let modules = fs::read_dir(&dir)
            .with_context(|| format!("read {}", dir.display()))?
            .next()
            .with_context(|| format!("no modules in {}", dir.display()))??
            .path();
        let release = modules.file_name().unwrap_or_default();
        let release = release.to_string_lossy().into_owned();
        let image = root.join("boot").join(format!("vmlinuz-{release}"));
        image
            .metadata()
            .with_context(|| format!("read {}", image.display()))?;
        Ok(Self {
            release,
            image,
            modules,
        })
    }
}

/// Debian's busybox, statically linked, from `dir`, or unpacked into it.
pub fn busybox(dir: &Path) -> Result<PathBuf> {
    let place = dir.join("busybox");
    if !place.is_dir() {
        progress::timed("set-up: get busybox, unpacked under target/", || {
            apt::unpack(
                &place,
                || Ok(vec![BUSYBOX.to_owned()]),
                |root| busybox_below(root).map(drop),
            )
        })?;
    }
    busybox_below(&place)
}

fn busybox_below(root: &Path) -> Result<PathBuf> {
    ["bin/busybox", "usr/bin/busybox"]
        .map(|file| root.join(file))
        .into_iter()
        .find(|file| file.is_file())
        .with_context(|| format!("no busybox in {}", root.display()))
}

/// The package of a series' newest kernel. The package that depends on it is named after the series, or not,
/// if it is the release's own series.
fn package(series: &str) -> Result<String> {
    [
        format!("linux-image-{series}-cloud-amd64"),
        "linux-image-cloud-amd64".to_owned(),
    ]
    .iter()
    .find_map(|name| apt::dependency(name, &format!("linux-image-{series}.")).ok())
    .with_context(|| format!("apt offers no Linux {series} for the cloud; Debian 12 does"))
}
