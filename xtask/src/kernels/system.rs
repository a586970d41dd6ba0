//! What the machines run: this machine's programs, the tests, and the libraries they need.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::archive::Archive;
use super::modules;
use super::suites::Suite;
use crate::clean::remove;
use crate::command;
use crate::setup::kernel::Kernel;

/// Programs that netpath and the tests start.
const PROGRAMS: [&str; 28] = [
    "ip",
    "bridge",
    "tc",
    "bpftool",
    "iptables",
    "ip6tables",
    "iptables-save",
    "ip6tables-save",
    "iptables-restore",
    "ip6tables-restore",
    "iptables-nft",
    "ip6tables-nft",
    "iptables-nft-save",
    "ip6tables-nft-save",
    "iptables-nft-restore",
    "ip6tables-nft-restore",
    "iptables-legacy",
    "ip6tables-legacy",
    "iptables-legacy-save",
    "ip6tables-legacy-save",
    "nft",
    // Busybox's lack options, and its shell has commands of its own in place of those that stand first in PATH.
    "sh",
    "setpriv",
    "setcap",
    "unshare",
    "nsenter",
    "flock",
    "mountpoint",
];
/// Where distributions keep iptables' extensions.
const EXTENSIONS: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/xtables",
    "/usr/lib64/xtables",
    "/usr/lib/xtables",
];
const INIT: &str = include_str!("init.sh");
/// What `ip rule` knows protocols by.
const PROTOCOLS: &str = "\
icmp 1
tcp 6
udp 17
gre 47
esp 50
ah 51
ipv6-icmp 58
sctp 132
udplite 136
";

/// Files of this machine, by where they stand in the machines.
pub struct System {
    files: BTreeMap<PathBuf, PathBuf>,
    busybox: PathBuf,
    /// `/tests/plan`.
    plan: String,
}

impl System {
    /// Collects them, for these suites and of them only the tests that are named. `work` is a directory for copies
    /// without debug information, which is more than half of a test program.
    pub fn collect(
        work: &Path,
        netpath: &Path,
        (suites, only): (&[Suite], &[String]),
        busybox: &Path,
    ) -> Result<Self> {
        let stripped = work.join("stripped");
        remove(&stripped)?;
        fs::create_dir_all(&stripped).with_context(|| format!("create {}", stripped.display()))?;
        let mut files = BTreeMap::new();
        let own = suites
            .iter()
            .map(|suite| (suite.place(), suite.program.as_path()));
        let netpath = (PathBuf::from("/usr/bin/netpath"), netpath);
        // Once, however many suites a program has.
        for (place, program) in own.chain([netpath]).collect::<BTreeMap<_, _>>() {
            let copy = stripped.join(place.file_name().unwrap_or_default());
            let mut strip = Command::new("strip");
            command::output(strip.arg("-o").arg(&copy).arg(program))?;
            files.insert(place, copy);
        }
        for name in PROGRAMS {
            let program = command::find(name).with_context(|| format!("no {name} on PATH"))?;
            files.insert(Path::new("/usr/sbin").join(name), program);
        }
        let extensions = EXTENSIONS.map(PathBuf::from);
        let extensions = extensions.iter().find(|dir| dir.is_dir());
        let extensions = extensions.context("iptables' extensions are not where they should be")?;
        for entry in fs::read_dir(extensions)? {
            let path = entry?.path();
            files.insert(path.clone(), path);
        }
        let libraries = libraries(files.values())?;
        files.extend(libraries.into_iter().map(|path| (path.clone(), path)));
        Ok(Self {
            files,
            busybox: busybox.to_owned(),
            plan: suites
                .iter()
                .map(|suite| suite.line(only))
                .collect::<Result<_>>()?,
        })
    }

    /// Writes the initial file system for a kernel.
    pub fn write(&self, file: &Path, kernel: &Kernel) -> Result<()> {
        let mut archive = Archive::create(file)?;
        for dir in ["/dev", "/proc", "/sys", "/run", "/tmp", "/bin"] {
            archive.directory(Path::new(dir))?;
        }
        archive.file(Path::new("/init"), 0o755, INIT.as_bytes())?;
        archive.file(Path::new("/etc/protocols"), 0o644, PROTOCOLS.as_bytes())?;
        archive.file(Path::new("/tests/plan"), 0o644, self.plan.as_bytes())?;
        archive.copy(Path::new("/bin/busybox"), &self.busybox)?;
        for (place, from) in &self.files {
            archive.copy(place, from)?;
        }
        let mut order = String::new();
        for module in modules::needed(&kernel.modules, &self.busybox)? {
            let place = format!("/modules/{}.ko", module.name);
            archive.file(Path::new(&place), 0o644, &module.contents)?;
            order += &format!("{}\n", module.name);
        }
        archive.file(Path::new("/modules/order"), 0o644, order.as_bytes())?;
        archive.finish()
    }
}

/// The shared libraries that programs need, and the program that loads them, by absolute paths.
fn libraries<'a>(programs: impl Iterator<Item = &'a PathBuf>) -> Result<Vec<PathBuf>> {
    let listing = command::output(Command::new("ldd").args(programs))?;
    // `libc.so.6 => /lib/libc.so.6 (0x7f...)`, or for the loader `/lib64/ld-linux-x86-64.so.2 (0x7f...)`.
    let paths = listing.lines().filter_map(|line| {
        let (path, _address) = line.trim().rsplit_once(" (0x")?;
        let path = path.rsplit_once(" => ").map_or(path, |(_, path)| path);
        path.starts_with('/').then(|| PathBuf::from(path))
    });
    Ok(paths.collect())
}
