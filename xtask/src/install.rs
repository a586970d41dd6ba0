//! `cargo xtask install`

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::{self, Profile};
use crate::setup::{self, Needs};
use crate::workspace::Workspace;
use crate::{command, progress};

/// The unit, with a mark where the binary's directory belongs.
const UNIT: &str = "netpath/cli/service/netpath.service";
const BINARY_MARK: &str = "@BINDIR@";

/// Where systemd looks for units of packages and of the administrator.
const PREFIXES_OF_SYSTEMD: [&str; 2] = ["/usr", "/usr/local"];

/// Arguments of `cargo xtask install`.
#[derive(clap::Args)]
pub struct Args {
    /// Below which directory everything is to be found later
    #[arg(long, value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,

    /// Put everything below this directory instead, as for a package; it is named nowhere
    #[arg(long, value_name = "DIR")]
    destdir: Option<PathBuf>,
}

/// Sets up, builds and installs.
pub fn task(workspace: &Workspace, args: &Args) -> Result<()> {
    if !args.prefix.is_absolute() {
        bail!("--prefix {}: write a whole path", args.prefix.display());
    }
    setup::ensure(workspace, Needs::Build)?;
    let binary = build::netpath(workspace, Profile::Release)?;
    let place = Place {
        prefix: args.prefix.clone(),
        destdir: args.destdir.clone(),
    };
    progress::step("install");
    for file in install(&workspace.root, &binary, &place)? {
        progress::note(&file.display().to_string());
    }
    if args.destdir.is_none() {
        progress::note(&place.advice());
    }
    Ok(())
}

/// Where things go.
struct Place {
    prefix: PathBuf,
    destdir: Option<PathBuf>,
}

impl Place {
    /// Where a file is that is to be at `path` later.
    fn staged(&self, path: &Path) -> PathBuf {
        match &self.destdir {
            None => path.to_owned(),
            Some(destdir) => destdir.join(path.strip_prefix("/").unwrap_or(path)),
        }
    }

    fn advice(&self) -> String {
        let enable = "systemctl enable --now netpath";
        let is_found = PREFIXES_OF_SYSTEMD
            .iter()
            .any(|prefix| self.prefix == Path::new(prefix));
        if is_found {
            format!(
                "`netpath init --host > /etc/netpath/pods.toml`, `systemctl daemon-reload`, `{enable}`"
            )
        } else {
            let unit = self.prefix.join("lib/systemd/system/netpath.service");
            format!(
                "systemd does not look there: `systemctl link {}`, `{enable}`",
                unit.display()
            )
        }
    }
}

/// Copies the binary, and what it says of itself: manual pages and completions; and the unit. All that was installed.
fn install(root: &Path, binary: &Path, place: &Place) -> Result<Vec<PathBuf>> {
    let bin = place.prefix.join("bin");
    let unit = fs::read_to_string(root.join(UNIT)).with_context(|| format!("read {UNIT}"))?;
    let shown = bin.to_str().context("a prefix that is not UTF-8")?;
    let mut files = vec![
        (
            bin.join("netpath"),
            fs::read(binary).with_context(|| format!("read {}", binary.display()))?,
            0o755,
        ),
        (
            place.prefix.join("lib/systemd/system/netpath.service"),
            unit.replace(BINARY_MARK, shown).into_bytes(),
            0o644,
        ),
    ];
    for (shell, path) in [
        ("bash", "share/bash-completion/completions/netpath"),
        ("zsh", "share/zsh/site-functions/_netpath"),
        ("fish", "share/fish/vendor_completions.d/netpath.fish"),
    ] {
        let mut netpath = Command::new(binary);
        netpath.args(["completions", shell]);
        files.push((
            place.prefix.join(path),
            command::bytes(&mut netpath)?,
            0o644,
        ));
    }
    for (path, text) in manual_pages(binary, place)? {
        files.push((path, text, 0o644));
    }
    let configuration = place.staged(Path::new("/etc/netpath"));
    fs::create_dir_all(&configuration)
        .with_context(|| format!("create {}", configuration.display()))?;
    files
        .into_iter()
        .map(|(path, content, mode)| put(&place.staged(&path), &content, mode))
        .collect()
}

/// The pages, each where man looks for those of its section.
fn manual_pages(binary: &Path, place: &Place) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let share = place.prefix.join("share/man");
    let written = place.staged(&share).join(".netpath.new");
    let mut netpath = Command::new(binary);
    netpath.args(["man", "--dir"]).arg(&written);
    command::output(&mut netpath)?;
    let mut pages = Vec::new();
    let list = || format!("list {}", written.display());
    for entry in fs::read_dir(&written).with_context(list)? {
        let path = entry.with_context(list)?.path();
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let name = path.file_name().context("a page without a name")?;
        let section = path.extension().context("a page without a section")?;
        let directory = format!("man{}", section.to_string_lossy());
        pages.push((share.join(directory).join(name), text));
    }
    fs::remove_dir_all(&written).with_context(|| format!("remove {}", written.display()))?;
    pages.sort();
    Ok(pages)
}

/// Puts a file in its place in one step: what runs from the old one goes on running.
fn put(path: &Path, content: &[u8], mode: u32) -> Result<PathBuf> {
    let what = || format!("install {}", path.display());
    let directory = path.parent().context("a file without a directory")?;
    fs::create_dir_all(directory).with_context(what)?;
    let name = path.file_name().context("a file without a name")?;
    let unfinished = directory.join(format!(".{}.new", name.to_string_lossy()));
    fs::write(&unfinished, content).with_context(what)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(mode)).with_context(what)?;
    fs::rename(&unfinished, path).with_context(what)?;
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    /// A directory of a test's own.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("netpath-{}-{name}", std::process::id()));
            fs::create_dir(&path).expect("a temporary directory");
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("its own directory");
        }
    }

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    /// `NETPATH_BIN`, or what `cargo build` left.
    fn binary() -> PathBuf {
        if let Some(path) = env::var_os("NETPATH_BIN") {
            return path.into();
        }
        let built = root().join("target/debug/netpath");
        assert!(built.is_file(), "run `cargo build` or set NETPATH_BIN");
        built
    }

    #[test]
    fn all_is_where_it_is_looked_for_and_nothing_else_is_there() {
        let directory = Directory::new("install");
        let place = Place {
            prefix: "/usr/local".into(),
            destdir: Some(directory.0.clone()),
        };
        // A second time takes the place of the first.
        install(&root(), &binary(), &place).expect("installs");
        let installed = install(&root(), &binary(), &place).expect("installs");
        for (path, mode) in [
            ("usr/local/bin/netpath", 0o755),
            ("usr/local/share/man/man1/netpath.1", 0o644),
            ("usr/local/share/man/man1/netpath-up.1", 0o644),
            ("usr/local/share/man/man1/netpath-fastpath-off.1", 0o644),
            ("usr/local/share/man/man5/netpath.toml.5", 0o644),
            ("usr/local/share/man/man7/netpath-reasons.7", 0o644),
            ("usr/local/share/bash-completion/completions/netpath", 0o644),
            ("usr/local/share/zsh/site-functions/_netpath", 0o644),
            (
                "usr/local/share/fish/vendor_completions.d/netpath.fish",
                0o644,
            ),
            ("usr/local/lib/systemd/system/netpath.service", 0o644),
        ] {
            let path = directory.0.join(path);
            assert!(installed.contains(&path), "{} was not told", path.display());
            let found = path
                .metadata()
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(
                found.len() > 50 && found.permissions().mode() & 0o777 == mode,
                "{}",
                path.display()
            );
        }
        assert!(directory.0.join("etc/netpath").is_dir());
        assert_eq!(
            files(&directory.0),
            installed.len(),
            "files that nobody was told of"
        );
    }

    fn files(directory: &Path) -> usize {
        let entries = fs::read_dir(directory).expect("a directory");
        let count = |path: PathBuf| if path.is_dir() { files(&path) } else { 1 };
        entries
            .map(|entry| count(entry.expect("an entry").path()))
            .sum()
    }

    #[test]
    fn systemd_takes_the_unit() {
        let directory = Directory::new("unit");
        let text = fs::read_to_string(root().join(UNIT)).expect("the unit");
        assert!(text.contains(BINARY_MARK));
        let unit = directory.0.join("netpath.service");
        fs::write(&unit, text.replace(BINARY_MARK, "/usr/local/bin")).expect("written");
        // What it does not understand it only warns of.
        let verify = |unit: &Path| {
            let mut analyze = Command::new("systemd-analyze");
            analyze.args(["verify", "--man=no"]).arg(unit);
            let output = analyze
                .output()
                .expect("systemd-analyze: `cargo xtask setup` installs it");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.success() && said.is_empty())
                .then_some(())
                .ok_or(said)
        };
        assert_eq!(verify(&unit), Ok(()));
        fs::write(&unit, text.replace("RemainAfterExit", "RemainsAfterExit")).expect("written");
        assert!(verify(&unit).is_err_and(|said| said.contains("RemainsAfterExit")));
    }

    /// Whatever gives a service a mount namespace of its own hides what netpath pins (systemd.exec(5)).
    #[test]
    fn the_unit_is_in_the_machines_mount_namespace() {
        let text = fs::read_to_string(root().join(UNIT)).expect("the unit");
        let settings = text.lines().filter(|line| !line.starts_with('#'));
        for line in settings {
            let own = [
                "Private",
                "Protect",
                "ReadOnly",
                "ReadWrite",
                "Inaccessible",
                "Bind",
                "Temporary",
                "Dynamic",
                "Root",
            ];
            let is_own = own.iter().any(|start| line.starts_with(start));
            assert!(!is_own || line == "PrivateMounts=no", "{line}");
        }
    }

    #[test]
    fn where_systemd_does_not_look_that_is_said() {
        let advice = |prefix: &str| {
            Place {
                prefix: prefix.into(),
                destdir: None,
            }
            .advice()
        };
        assert!(advice("/usr").contains("systemctl daemon-reload"));
        assert!(
            advice("/opt/netpath")
                .contains("systemctl link /opt/netpath/lib/systemd/system/netpath.service")
        );
    }
}
