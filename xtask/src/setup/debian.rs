//! rustc and its source from Debian's or Ubuntu's packages, downloaded and unpacked, never installed:
//! rustc-web conflicts with both rustup's and Debian's own rustc, and must not replace them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt;

/// The oldest rustc that builds the workspace.
pub const OLDEST_RUSTC: &str = env!("CARGO_PKG_RUST_VERSION");

const UNPACKED: &str = "rustc";

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

/// Downloads and unpacks a rustc with its source into `dir`, if it passes `check`.
pub fn unpack(dir: &Path, check: impl Fn(&Path) -> Result<()>) -> Result<()> {
    let packages = || {
        let family =
            offered().with_context(|| format!("apt has no rustc {OLDEST_RUSTC} or newer"))?;
        packages(family)
    };
    apt::unpack(&dir.join(UNPACKED), packages, |root| {
        check(&root.join("usr"))
    })
}

fn offered() -> Option<&'static Family> {
    FAMILIES.iter().find(|family| {
        let recent =
            apt::field(family.compiler, "Version").is_some_and(|version| is_recent(&version));
        recent
            && [family.libraries, family.source]
                .iter()
                .all(|name| apt::field(name, "Version").is_some())
    })
}

/// The family's packages, libLLVM, and the libraries libLLVM needs that are not installed.
fn packages(family: &Family) -> Result<Vec<String>> {
    let standard_library = apt::dependency(family.libraries, "libstd-rust")?;
    let llvm = apt::dependency(&standard_library, "libllvm")?;
    let mut packages: Vec<String> = [family.compiler, family.libraries, family.source]
        .map(str::to_owned)
        .into();
    packages.extend([standard_library, llvm.clone()]);
    for missing in apt::not_installed(&llvm) {
        if !packages.contains(&missing) {
            packages.push(missing);
        }
    }
    Ok(packages)
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
