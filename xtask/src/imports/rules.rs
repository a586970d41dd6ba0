//! The rules. A module that is not in the table is refused: whoever adds one says here where it stands.

use super::source::{File, Named};

/// A package below netpath/.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// `netpath`.
    Library,
    /// `netpath-bench`.
    Bench,
    /// `netpath-cli`.
    Command,
}

/// What each module of the library may import of the library. `ending` is everybody's: each error says what it means for
/// a command.
pub const LIBRARY: &[(&str, &[&str])] = &[
    ("ending", &[]),
    ("descriptors", &[]),
    ("finding", &[]),
    ("hash", &[]),
    ("random", &[]),
    ("command", &[]),
    ("netns", &[]),
    ("capabilities", &[]),
    ("lock", &[]),
    ("expedite", &["lock"]),
    ("model", &["finding", "hash"]),
    ("reconcile", &["finding", "model", "random"]),
    ("netlink", &["netns"]),
    ("sysctl", &["netns"]),
    ("proc_net", &["netns"]),
    ("mounts", &["netns"]),
    ("netfilter", &["command", "netlink", "netns"]),
    ("datapath", &["hash", "lock", "netlink", "netns"]),
    ("counters", &["datapath", "netns"]),
    ("flows", &["datapath"]),
    ("audit", &["counters", "netfilter", "reconcile"]),
    ("probe", &["command", "netns", "random"]),
    (
        "provision",
        &[
            "audit",
            "capabilities",
            "command",
            "datapath",
            "descriptors",
            "expedite",
            "finding",
            "lock",
            "model",
            "mounts",
            "netfilter",
            "netlink",
            "netns",
            "reconcile",
            "sysctl",
        ],
    ),
    (
        "kernel_way",
        &["netfilter", "netlink", "netns", "proc_net", "sysctl"],
    ),
    (
        "explain",
        &[
            "datapath",
            "finding",
            "kernel_way",
            "model",
            "netfilter",
            "netlink",
            "netns",
            "probe",
            "provision",
        ],
    ),
    ("lab", &["model", "provision"]),
    (
        "doctor",
        &[
            "capabilities",
            "command",
            "counters",
            "datapath",
            "descriptors",
            "finding",
            "flows",
            "lock",
            "model",
            "mounts",
            "netfilter",
            "netlink",
            "netns",
            "probe",
            "provision",
            "reconcile",
            "sysctl",
        ],
    ),
    (
        "trace",
        &[
            "datapath",
            "descriptors",
            "flows",
            "hash",
            "netfilter",
            "netns",
            "probe",
            "random",
        ],
    ),
    (
        "api",
        &[
            "audit",
            "counters",
            "doctor",
            "explain",
            "finding",
            "flows",
            "kernel_way",
            "provision",
            "trace",
        ],
    ),
];

/// Modules that do no I/O.
pub const PURE: [&str; 7] = [
    "audit",
    "model",
    "reconcile",
    "finding",
    "hash",
    "random",
    "ending",
];

/// Parts of the standard library that do.
const IO: [&str; 6] = ["env", "fs", "io", "os", "process", "thread"];

/// What of `std::net` is a value. The rest opens sockets or asks name servers.
const ADDRESSES: [&str; 7] = [
    "AddrParseError",
    "IpAddr",
    "Ipv4Addr",
    "Ipv6Addr",
    "SocketAddr",
    "SocketAddrV4",
    "SocketAddrV6",
];

/// Crates that ask the kernel.
const IO_CRATES: [&str; 3] = ["libc", "nix", "tokio"];

/// Names that lib.rs gives on, and whose they are.
const ROOT: [(&str, &str); 3] = [
    ("DescriptorsError", "descriptors"),
    ("Ending", "ending"),
    ("Ends", "ending"),
];

/// Crates that are one module's: netlink sockets, and BPF.
const CRATES: &[(&str, &str)] = &[
    ("aya", "datapath"),
    ("aya_log", "datapath"),
    ("aya_obj", "datapath"),
    ("netlink_packet_core", "netlink"),
    ("netlink_packet_route", "netlink"),
    ("netlink_sys", "netlink"),
];

/// Crates that are the command's.
const COMMANDS: [&str; 5] = [
    "anyhow",
    "clap",
    "comfy_table",
    "serde_yaml_ng",
    "tracing_subscriber",
];

/// Macros that print.
const PRINTS: [&str; 5] = ["print!", "println!", "eprint!", "eprintln!", "dbg!"];

/// All that breaks a rule in one file, a line each.
pub fn check(package: Package, shown: &str, file: &File) -> Vec<String> {
    let of = |named: &Named| fault(package, file, named).map(|rule| (named.line, rule));
    let faults = file.names.iter().filter_map(of);
    faults
        .map(|(line, rule)| format!("{shown}:{line}: {rule}"))
        .collect()
}

fn fault(package: Package, file: &File, named: &Named) -> Option<String> {
    let path: Vec<&str> = named.path.iter().map(String::as_str).collect();
    let shown = path.join("::");
    if package == Package::Command {
        return None;
    }
    let first = *path.first()?;
    if PRINTS.contains(&first) {
        return Some(format!("{shown}: only netpath-cli prints"));
    }
    if COMMANDS.contains(&first) {
        return Some(format!("{shown}: {first} is netpath-cli's"));
    }
    if package == Package::Bench {
        return None;
    }
    match path.as_slice() {
        ["crate", module, ..] => import(&file.module, module, &shown),
        path if PURE.contains(&file.module.as_str()) && does_io(path) => {
            Some(format!("{shown}: module {} does no I/O", file.module))
        }
        [name, ..] => {
            let (name, owner) = CRATES.iter().find(|(of, _)| of == name)?;
            let is_owner = file.module == *owner;
            (!is_owner).then(|| format!("{shown}: only module {owner} uses {name}"))
        }
        [] => None,
    }
}

/// Whether something of a crate asks the kernel for anything.
fn does_io(path: &[&str]) -> bool {
    match path {
        ["std", "net", of, ..] => !ADDRESSES.contains(of),
        ["std", "net"] => true,
        ["std", part, ..] => IO.contains(part),
        [name, ..] => IO_CRATES.contains(name),
        [] => false,
    }
}

fn import(module: &str, imported: &str, shown: &str) -> Option<String> {
    let given_on = ROOT.iter().find(|(name, _)| *name == imported);
    let imported = given_on.map_or(imported, |(_, owner)| owner);
    if module.is_empty() || module == imported || imported == "ending" {
        return None;
    }
    let allowed = |of: &str| {
        let row = LIBRARY.iter().find(|(name, _)| *name == of);
        row.map(|(_, allowed)| *allowed).ok_or_else(|| {
            format!(
                "{shown}: {of} is not in the table of who may import whom (xtask/src/imports/rules.rs)"
            )
        })
    };
    match (allowed(module), allowed(imported)) {
        (Err(unknown), _) | (_, Err(unknown)) => Some(unknown),
        (Ok(allowed), Ok(_)) => (!allowed.contains(&imported))
            .then(|| format!("{shown}: module {module} may not import {imported}")),
    }
}

/// Modules of the library that are not in the table, whoever imports them, and rows without a module; a line each.
pub fn strangers(modules: &[String]) -> Vec<String> {
    let has_row = |module: &&String| LIBRARY.iter().any(|(name, _)| name == module);
    let strange = modules.iter().filter(|module| !has_row(module));
    let is_module = |row: &&str| modules.iter().any(|module| module == row);
    let rows = LIBRARY.iter().map(|(name, _)| *name);
    strange
        .map(|module| {
            format!("netpath/src: module {module} is not in the table of who may import whom (xtask/src/imports/rules.rs)")
        })
        .chain(
            rows.filter(|row| !is_module(row))
                .map(|row| format!("xtask/src/imports/rules.rs: there is no module {row}")),
        )
        .collect()
}
