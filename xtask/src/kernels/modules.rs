//! The kernel's modules that netpath and its tests need, in an order in which they can be loaded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// What the labs use. A kernel without one of them fails the run, unless it is built in.
const NEEDED: [&str; 66] = [
    "veth",
    "bridge",
    "dummy",
    "ifb",
    "tun",
    "vrf",
    "8021q",
    "macvlan",
    "ipip",
    "sit",
    "ip_gre",
    "ip6_tunnel",
    "ip6_gre",
    "wireguard",
    "bonding",
    "vxlan",
    "xfrm_user",
    "esp4",
    "esp6",
    // What `esp4` and `esp6` ask for by name, not by symbol.
    "authenc",
    "echainiv",
    "sch_ingress",
    "sch_htb",
    "sch_tbf",
    "act_mirred",
    "act_police",
    "cls_bpf",
    "cls_matchall",
    "cls_u32",
    "nf_tables",
    "nft_compat",
    "nft_chain_nat",
    "nft_masq",
    "nft_ct",
    "nft_limit",
    "nft_log",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_reject_inet",
    "ipt_REJECT",
    "ip6t_REJECT",
    "x_tables",
    "xt_conntrack",
    "xt_addrtype",
    "xt_multiport",
    "xt_nat",
    "xt_statistic",
    "xt_tcpudp",
    "xt_mark",
    "xt_comment",
    "xt_MASQUERADE",
    "xt_LOG",
    "xt_limit",
    "iptable_filter",
    "iptable_nat",
    "iptable_mangle",
    "iptable_raw",
    "iptable_security",
    "ip6table_filter",
    "ip6table_nat",
    "ip6table_mangle",
    "ip6table_raw",
    "ip6table_security",
    "nf_log_syslog",
    "nf_conntrack",
    "nf_conntrack_netlink",
];

/// As [`NEEDED`] on kernels that have it as a module: newer ones have it in another of the list (named counters of nft:
/// in `nf_tables` since Linux 6.2; the random numbers that `echainiv` asks for by name: built in later).
const WHERE_APART: [&str; 2] = ["nft_objref", "drbg"];

/// A module, decompressed.
pub struct Module {
    pub name: String,
    pub contents: Vec<u8>,
}

/// The needed modules below `lib/modules/<release>` and what they depend on, dependencies first. `busybox` is
/// what decompresses them.
pub fn needed(modules: &Path, busybox: &Path) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    find(&modules.join("kernel"), &mut files)?;
    let list = modules.join("modules.builtin");
    let built_in = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
    let built_in: Vec<String> = built_in.lines().map(Path::new).filter_map(name).collect();
    let mut found = Vec::new();
    let apart = WHERE_APART.iter().filter(|name| files.contains_key(**name));
    for needed in NEEDED.iter().chain(apart) {
        if !built_in.iter().any(|name| name == needed) {
            add(needed, &files, busybox, &mut found)?;
        }
    }
    Ok(found)
}

fn add(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    busybox: &Path,
    found: &mut Vec<Module>,
) -> Result<()> {
    if found.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let file = files
        .get(name)
        .with_context(|| format!("this kernel has no module {name}"))?;
    let contents = decompressed(file, busybox)?;
    for dependency in dependencies(&contents) {
        add(&dependency, files, busybox, found)?;
    }
    found.push(Module {
        name: name.to_owned(),
        contents,
    });
    Ok(())
}

/// All files of modules by the modules' names.
fn find(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if let Some(name) = name(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// A module is named after its file, with `_` for `-`.
fn name(file: &Path) -> Option<String> {
    let file = file.file_name()?.to_str()?;
    let (name, _compression) = file.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

fn decompressed(file: &Path, busybox: &Path) -> Result<Vec<u8>> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => fs::read(file).with_context(|| format!("read {}", file.display())),
        Some("xz") => {
            let mut xzcat = Command::new(busybox);
            command::bytes(xzcat.arg("xzcat").arg(file))
        }
        _ => bail!("{} is compressed in an unknown way", file.display()),
    }
}

/// What the module's section `.modinfo` says: strings `key=value`, each ended by a NUL.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = module[at + KEY.len()..].split(|byte| *byte == 0).next();
    let value = String::from_utf8_lossy(value.unwrap_or_default());
    let names = value.split(',').filter(|name| !name.is_empty());
    names.map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::dependencies;

    #[test]
    fn dependencies_are_read_from_modinfo() {
        let module = b"\x7fELF\0license=GPL\0depends=llc,nf-tables\0retpoline=Y\0";
        assert_eq!(dependencies(module), ["llc", "nf_tables"]);
        assert_eq!(dependencies(b"\0depends=\0name=veth\0"), [""; 0]);
        assert_eq!(dependencies(b"built in"), [""; 0]);
    }
}
