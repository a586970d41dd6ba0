//! What the kernel and its tools say: of this machine, and of each node and endpoint.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use netpath::{
    command,
    netns::{Netns, path_of},
    provision,
};

use super::{super::Failure, parts::Part, redact};

/// What is asked in each namespace: the name of the part, the program, its arguments. None of these prints a key: those of
/// IPsec are in `ip xfrm state`, of WireGuard in `wg`.
const COMMANDS: &[(&str, &str, &[&str])] = &[
    ("links", "ip", &["-d", "-s", "link"]),
    ("addresses", "ip", &["-d", "address"]),
    (
        "routes",
        "ip",
        &["-d", "-4", "route", "show", "table", "all"],
    ),
    (
        "routes6",
        "ip",
        &["-d", "-6", "route", "show", "table", "all"],
    ),
    ("route-cache", "ip", &["-4", "route", "show", "cache"]),
    ("route-cache6", "ip", &["-6", "route", "show", "cache"]),
    ("nexthops", "ip", &["nexthop"]),
    ("rules", "ip", &["-4", "rule"]),
    ("rules6", "ip", &["-6", "rule"]),
    ("neighbours", "ip", &["-s", "neighbour"]),
    ("xfrm-policies", "ip", &["xfrm", "policy"]),
    ("tc-qdiscs", "tc", &["-s", "qdisc"]),
    ("nft", "nft", &["list", "ruleset"]),
    ("iptables", "iptables-save", &["-c"]),
    ("ip6tables", "ip6tables-save", &["-c"]),
];

/// Whose versions are told.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("ip", &["-V"]),
    ("tc", &["-V"]),
    ("iptables", &["--version"]),
    ("nft", &["--version"]),
];

/// So many endpoints of a node are looked into, besides those with which something is wrong: each takes as many processes as
/// there are commands.
const ENDPOINTS: usize = 16;

/// A line for each.
pub(super) fn versions() -> String {
    let mut text = String::new();
    for path in ["/proc/version", "/etc/os-release"] {
        match fs::read_to_string(path) {
            Ok(found) => text += &found,
            Err(error) => text += &format!("{path}: {error}\n"),
        }
    }
    for (program, arguments) in PROGRAMS {
        match command::run(program, arguments, "") {
            Ok(said) => text += &said,
            Err(error) => text += &format!("{error}\n"),
        }
    }
    text
}

/// All of it.
pub(super) fn parts() -> Vec<Part> {
    let mut parts = vec![Part::of("dmesg.txt", dmesg())];
    for (name, netns) in namespaces() {
        let at = |part: &str| format!("namespaces/{name}/{part}.txt");
        let netns = match netns {
            Ok(netns) => netns,
            Err(failure) => {
                parts.push(Part::of(at("all"), Err(failure)));
                continue;
            }
        };
        for (part, program, arguments) in COMMANDS {
            let said = netns
                .run(|| command::run(program, arguments, ""))
                .map_err(Failure::from)
                .and_then(|said| Ok(redact::listing(&said?).into_bytes()));
            parts.push(Part::of(at(part), said));
        }
        let sysctls = netns.run(sysctls).map_err(Failure::from);
        parts.push(Part::of(at("sysctls"), sysctls.map(String::into_bytes)));
    }
    parts
}

/// This one, and those of the nodes and endpoints that are up, by the name that they have in the archive.
fn namespaces() -> BTreeMap<String, Result<Netns, Failure>> {
    let mut all = BTreeMap::new();
    let mut add = |name: String, netns: Result<Netns, _>| {
        all.insert(name, netns.map_err(Failure::from));
    };
    add("machine".to_owned(), Netns::current());
    // Why there are none stands in show.json.
    for node in provision::observe().unwrap_or_default() {
        if node.netns == node.name {
            add(format!("node-{}", node.name), Netns::named(&node.name));
        }
        let endpoints = node.endpoints.iter().enumerate();
        let looked_at = endpoints.filter(|(at, it)| *at < ENDPOINTS || !it.drift.is_empty());
        for (_, endpoint) in looked_at {
            let path: PathBuf = match endpoint.netns.starts_with('/') {
                true => endpoint.netns.clone().into(),
                false => path_of(&endpoint.netns),
            };
            let name = format!("endpoint-{}-{}", node.name, endpoint.name);
            add(name, Netns::at(&path));
        }
    }
    all
}

/// The settings of the calling thread's namespace that may be read and are no secrets.
fn sysctls() -> String {
    let mut lines = Vec::new();
    walk(Path::new("/proc/sys/net"), &mut lines);
    lines.sort();
    lines.concat()
}

fn walk(directory: &Path, lines: &mut Vec<String>) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            walk(&path, lines);
            continue;
        }
        let shown = path.display().to_string();
        let key = shown.rsplit_once("/sys/").map_or("", |(_, key)| key);
        // Some can only be written, and some of an interface that is going are gone.
        if let (false, Ok(value)) = (redact::is_secret(key), fs::read_to_string(&path)) {
            lines.push(format!(
                "{key} = {}\n",
                value.trim_end().replace('\n', " | ")
            ));
        }
    }
}

/// What the kernel has said of BPF.
fn dmesg() -> Result<Vec<u8>, Failure> {
    let said = command::run("dmesg", &[], "")?;
    let is_it = |line: &&str| {
        let line = line.to_lowercase();
        ["bpf", "netpath", "tcx", "verifier"]
            .iter()
            .any(|word| line.contains(word))
    };
    let lines = said.lines().filter(is_it).map(|line| format!("{line}\n"));
    Ok(lines.collect::<String>().into_bytes())
}
