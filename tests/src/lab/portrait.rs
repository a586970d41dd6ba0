//! What a namespace looks like, to be compared.

use std::{
    fs,
    path::{Path, PathBuf},
};

use netpath::netns::Netns;

use super::run;

/// What a namespace looks like: links, addresses, routes, rules, neighbours made by hand, netfilter rules,
/// sysctls.
pub fn portrait(netns: &Netns) -> String {
    netns
        .run(|| {
            let mut text = String::new();
            for line in [
                "ip -o link",
                "ip -o addr",
                "ip -4 route show table all",
                "ip -6 route show table all",
                "ip -4 rule",
                "ip -6 rule",
                "ip neigh show nud permanent",
                "iptables-save",
                "ip6tables-save",
            ] {
                text += &format!("# {line}\n");
                for line in run(line).lines().filter(|line| !line.starts_with('#')) {
                    // What the kernel counts down by itself.
                    let (line, _) = line.split_once(" expires ").unwrap_or((line, ""));
                    let (line, _) = line.split_once("valid_lft").unwrap_or((line, ""));
                    // A chain's packets and bytes.
                    let (line, _) = line.split_once(" [").unwrap_or((line, ""));
                    text += line.trim_end_matches('\\').trim_end();
                    text.push('\n');
                }
            }
            for directory in ["ipv4", "ipv6"] {
                sysctls(&Path::new("/proc/sys/net").join(directory), &mut text);
            }
            text
        })
        .expect("enter")
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
        } else if !path.ends_with("stable_secret")
            && let Ok(value) = fs::read_to_string(&path)
        {
            *text += &format!("{} = {}\n", path.display(), value.trim_end());
        }
    }
}
