//! rustc and its source from Debian's or Ubuntu's packages, downloaded and unpacked, never installed:
//! rustc-web conflicts with both rustup's and Debian's own rustc, and must not replace them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::clean::remove;
use crate::{command, progress, root};

/// The oldest rustc that builds the workspace.
pub const OLDEST_RUSTC: &str = env!("CARGO_PKG_RUST_VERSION");

const UNPACKED: &str = "rustc";
const UNFINISHED: &str = "rustc.partial";

/// Names of the packages of one rustc: compiler, libraries for development, source.
struct Family {
    compiler: &'static str,
    libraries: &'static str,
    source: &'static str,
}

/// rustc-web is a recent rustc for stable releases.
const FAMILIES: [Family; 2] = [
    Family {
        compiler: "rustc-web",
        libraries: "libstd-rust-web-dev",
        source: "rust-web-src",
    },
    Family {
        compiler: "rustc",
        libraries: "libstd-rust-dev",
        source: "rust-src",
    },
];

/// The sysroot that [`unpack`] makes in `dir`.
pub fn sysroot(dir: &Path) -> PathBuf {
    dir.join(UNPACKED).join("usr")
}

/// Downloads and unpacks a rustc with its source into `dir`. What is unpacked takes its place only after
/// `check`, so that an interrupted set-up starts over.
pub fn unpack(dir: &Path, check: impl Fn(&Path) -> Result<()>) -> Result<()> {
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        if command::find(program).is_none() {
            bail!("no {program} on this machine");
        }
    }
    let family = match offered() {
        Some(family) => family,
        None => {
            update()?;
            offered().with_context(|| format!("apt has no rustc {OLDEST_RUSTC} or newer"))?
        }
    };
    let unfinished = dir.join(UNFINISHED);
    let (debs, root) = (unfinished.join("debs"), unfinished.join("root"));
    remove(&unfinished)?;
    fs::create_dir_all(&debs).with_context(|| format!("create {}", debs.display()))?;
    download(family, &debs)?;
    for deb in fs::read_dir(&debs).with_context(|| format!("read {}", debs.display()))? {
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.arg("--extract").arg(deb?.path()).arg(&root);
        progress::run_long(&mut dpkg)?;
    }
    check(&root.join("usr"))?;

    let unpacked = dir.join(UNPACKED);
    remove(&unpacked)?;
    fs::rename(&root, &unpacked).with_context(|| format!("rename to {}", unpacked.display()))?;
    remove(&unfinished)
}

fn offered() -> Option<&'static Family> {
    FAMILIES.iter().find(|family| {
        let recent = field(family.compiler, "Version").is_some_and(|version| is_recent(&version));
        recent
            && [family.libraries, family.source]
                .iter()
                .all(|name| field(name, "Version").is_some())
    })
}

fn download(family: &Family, to: &Path) -> Result<()> {
    if let Err(error) = try_download(family, to) {
        progress::note(&format!("no: {error:#}"));
        update()?;
        try_download(family, to)?;
    }
    Ok(())
}

fn try_download(family: &Family, to: &Path) -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.current_dir(to).arg("download").args(packages(family)?);
    progress::run_long(&mut apt)
}

/// The family's packages, libLLVM, and the libraries libLLVM needs that are not installed.
fn packages(family: &Family) -> Result<Vec<String>> {
    let standard_library = dependency(family.libraries, "libstd-rust")?;
    let llvm = dependency(&standard_library, "libllvm")?;
    let mut packages: Vec<String> = [family.compiler, family.libraries, family.source]
        .map(str::to_owned)
        .into();
    packages.extend([standard_library, llvm.clone()]);
    for missing in not_installed(&llvm) {
        if !packages.contains(&missing) {
            packages.push(missing);
        }
    }
    Ok(packages)
}

fn update() -> Result<()> {
    if !root::is_root() {
        bail!("apt's package lists are missing or old: run `sudo apt-get update`, then repeat");
    }
    let mut apt = Command::new("apt-get");
    apt.arg("update");
    progress::run_long(&mut apt)
}

/// The package that `package` depends on and whose name starts with `prefix`; the name carries a version.
fn dependency(package: &str, prefix: &str) -> Result<String> {
    let depends = field(package, "Depends").unwrap_or_default();
    depends
        .split([',', '|'])
        .filter_map(|entry| entry.split_whitespace().next())
        .find(|name| name.starts_with(prefix))
        .map(str::to_owned)
        .with_context(|| format!("{package} depends on no package {prefix}*, but on: {depends}"))
}

/// A field of the package version that apt would install.
fn field(package: &str, field: &str) -> Option<String> {
    let mut apt = Command::new("apt-cache");
    apt.args(["show", "--no-all-versions", package])
        .env("LC_ALL", "C");
    let record = command::output(&mut apt).ok()?;
    let value = record
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(": "))?;
    Some(value.to_owned())
}

/// The packages that installing `package` would add, from a simulation that needs no root.
fn not_installed(package: &str) -> Vec<String> {
    let mut apt = Command::new("apt-get");
    apt.args([
        "--simulate",
        "--no-remove",
        "--no-install-recommends",
        "install",
        package,
    ]);
    apt.env("LC_ALL", "C");
    let plan = command::output(&mut apt).unwrap_or_default();
    let added = plan
        .lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
    added.map(str::to_owned).collect()
}

fn is_recent(version: &str) -> bool {
    major_minor(version) >= major_minor(OLDEST_RUSTC)
}

fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::is_recent;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(is_recent("1.96.0+dfsg1-1~deb12u2"));
        assert!(is_recent("1.100.0-1"));
        assert!(is_recent("2.0.0-1"));
        assert!(!is_recent("1.85.0+dfsg3-1~deb12u3"));
        assert!(!is_recent(""));
    }
}
