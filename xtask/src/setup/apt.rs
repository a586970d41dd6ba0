//! Packages of the distribution, downloaded and unpacked below target/, never installed: what the user has
//! installed stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::clean::remove;
use crate::{command, progress, root};

/// Downloads the packages and unpacks them into the directory `place`. What is unpacked takes its place only
/// after `check`, so that an interrupted set-up starts over. The packages are named by a function: apt's lists
/// may be too old to name or to download them, and are then brought up to date.
pub fn unpack(
    place: &Path,
    packages: impl Fn() -> Result<Vec<String>>,
    check: impl Fn(&Path) -> Result<()>,
) -> Result<()> {
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        if command::find(program).is_none() {
            bail!("no {program} on this machine");
        }
    }
    let unfinished = partial(place)?;
    let (debs, root) = (unfinished.join("debs"), unfinished.join("root"));
    remove(&unfinished)?;
    fs::create_dir_all(&debs).with_context(|| format!("create {}", debs.display()))?;
    let download = || download(&packages()?, &debs);
    if let Err(error) = download() {
        progress::note(&format!("no: {error:#}"));
        update()?;
        download()?;
    }
    for deb in fs::read_dir(&debs).with_context(|| format!("read {}", debs.display()))? {
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.arg("--extract").arg(deb?.path()).arg(&root);
        progress::run_long(&mut dpkg)?;
    }
    check(&root)?;

    remove(place)?;
    fs::rename(&root, place).with_context(|| format!("rename to {}", place.display()))?;
    remove(&unfinished)
}

/// The package that `package` depends on and whose name starts with `prefix`; the name carries a version.
pub fn dependency(package: &str, prefix: &str) -> Result<String> {
    let depends = field(package, "Depends").unwrap_or_default();
    depends
        .split([',', '|'])
        .filter_map(|entry| entry.split_whitespace().next())
        .find(|name| name.starts_with(prefix))
        .map(str::to_owned)
        .with_context(|| format!("{package} depends on no package {prefix}*, but on: {depends}"))
}

/// A field of the package version that apt would install.
pub fn field(package: &str, field: &str) -> Option<String> {
    let mut apt = Command::new("apt-cache");
    apt.args(["show", "--no-all-versions", package])
        .env("LC_ALL", "C");
    let record = command::output(&mut apt).ok()?;
    let value = record
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(": "))?;
    Some(value.to_owned())
}

/// The packages that installing `package` would add, from a simulation that needs no root. What it would
/// remove does not matter, as nothing is installed.
pub fn not_installed(package: &str) -> Vec<String> {
    let mut apt = Command::new("apt-get");
    apt.args(["--simulate", "--no-install-recommends", "install", package]);
    apt.env("LC_ALL", "C");
    let plan = command::output(&mut apt).unwrap_or_default();
    let added = plan
        .lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
    added.map(str::to_owned).collect()
}

fn partial(place: &Path) -> Result<PathBuf> {
    let name = place.file_name().context("a directory without a name")?;
    Ok(place.with_file_name(format!("{}.partial", name.to_string_lossy())))
}

fn download(packages: &[String], to: &Path) -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.current_dir(to).arg("download").args(packages);
    progress::run_long(&mut apt)
}

fn update() -> Result<()> {
    if !root::is_root() {
        bail!("apt's package lists are missing or old: run `sudo apt-get update`, then repeat");
    }
    let mut apt = Command::new("apt-get");
    apt.arg("update");
    progress::run_long(&mut apt)
}
