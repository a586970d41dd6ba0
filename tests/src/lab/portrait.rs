//! What a namespace looks like, to be compared.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use netpath::{netns::Netns, sysctl};

use super::run;

/// In the order of a hash table, which changes as the table grows.
const NEIGHBOURS: &str = "ip neigh show nud permanent";
/// What is asked of a namespace.
const LISTINGS: [&str; 16] = [
    "ip -o link",
    "ip -o addr",
    "ip -d -4 route show table all",
    "ip -d -6 route show table all",
    "ip -4 rule",
    "ip -6 rule",
    NEIGHBOURS,
    "ip nexthop",
    "ip xfrm policy",
    "ip xfrm state",
    "iptables-save",
    "ip6tables-save",
    "iptables-legacy-save",
    "ip6tables-legacy-save",
    "nft list ruleset",
    "tc qdisc show",
];

/// What a namespace looks like: links, addresses, routes, rules, neighbours made by hand, next hops, XFRM policies and states,
/// netfilter rules, queueing disciplines, their classes and filters, sysctls.
pub fn portrait(netns: &Netns) -> String {
    netns
        .run(|| {
            let mut text = String::new();
            let has_ipv6 = sysctl::has_ipv6();
            let is_due = |line: &&str| has_ipv6 || !line.contains("-6") && !line.contains("ip6");
            for line in LISTINGS.into_iter().filter(is_due) {
                list(line, &mut text);
            }
            for dev in interfaces() {
                list(&format!("tc class show dev {dev}"), &mut text);
                for hook in ["root", "ingress", "egress"] {
                    list(&format!("tc filter show dev {dev} {hook}"), &mut text);
                }
            }
            sysctls(Path::new("/proc/sys/net"), &mut text);
            text
        })
        .expect("enter")
}

/// Fails where two portraits differ, and says in which lines.
pub fn assert_same_portrait(now: &str, before: &str, when: &str) {
    let lines = |text: &str, other: &str| -> Vec<String> {
        let known: BTreeSet<&str> = other.lines().collect();
        let differ = text.lines().filter(|line| !known.contains(line));
        differ.map(str::to_owned).collect()
    };
    let (new, gone) = (lines(now, before), lines(before, now));
    assert!(now == before, "{when}: new {new:#?}, gone {gone:#?}");
}

fn list(command: &str, text: &mut String) {
    *text += &format!("# {command}\n");
    let listing = run(command);
    let mut lines: Vec<&str> = listing.lines().collect();
    if command == NEIGHBOURS {
        lines.sort_unstable();
    }
    for line in lines.into_iter().filter(|line| !line.starts_with('#')) {
        // What the kernel counts by itself: down to the end of something, or a chain's packets and bytes.
        let ends = [" expires ", "valid_lft", " [", " counter packets "];
        let end = ends.iter().filter_map(|end| line.find(end)).min();
        let line = &line[..end.unwrap_or(line.len())];
        // Nothing that is kept: a new address is so until the kernel is done with it.
        let line = line.replace(" tentative", "");
        *text += line.trim_end_matches('\\').trim_end();
        text.push('\n');
    }
}

/// The interfaces, by name.
fn interfaces() -> Vec<String> {
    let listing = run("ip -o link");
    let names = listing.lines().filter_map(|line| line.split(' ').nth(1));
    let names = names.map(|name| name.trim_end_matches(':'));
    let names = names.filter_map(|name| name.split('@').next());
    names.map(str::to_owned).collect()
}

/// Every sysctl below a directory that can be read and that the kernel does not change by itself.
fn sysctls(directory: &Path, text: &mut String) {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .expect("sysctls")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sysctls(&path, text);
        } else if !COUNTED.iter().any(|name| path.ends_with(name))
            && let Ok(value) = fs::read_to_string(&path)
        {
            *text += &format!("{} = {}\n", path.display(), value.trim_end());
        }
    }
}

/// Sysctls that cannot be read before they are written, or that count.
const COUNTED: [&str; 2] = ["stable_secret", "nf_conntrack_count"];
