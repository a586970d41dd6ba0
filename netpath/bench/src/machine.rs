//! The machine, as it says of itself.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    error::{BenchError, file, system},
    results::Machine,
    rules,
};

/// Reads it.
pub(super) fn machine() -> Result<Machine, BenchError> {
    let cpuinfo = read("/proc/cpuinfo")?;
    let meminfo = read("/proc/meminfo")?;
    let release = nix::sys::utsname::uname().map_err(|errno| system("uname", errno))?;
    let memory = value(&meminfo, "MemTotal").and_then(|text| {
        let kibibytes: u64 = text.strip_suffix(" kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    });
    let online = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN)
        .map_err(|errno| system("sysconf", errno))?;
    let started = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(Machine {
        // Only x86 has both lines.
        cpu: value(&cpuinfo, "model name")
            .unwrap_or("unknown")
            .to_owned(),
        virtual_machine: value(&cpuinfo, "flags")
            .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor")),
        cores: online.and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
        memory: memory.ok_or_else(|| BenchError::Unreadable {
            path: "/proc/meminfo".to_owned(),
            line: "MemTotal".to_owned(),
        })?,
        kernel: release.release().to_string_lossy().into_owned(),
        netpath: env!("CARGO_PKG_VERSION").to_owned(),
        iptables: rules::version(rules::IPTABLES),
        nft: rules::version("nft"),
        started: started.map_or(0, |since| since.as_secs()),
    })
}

fn read(path: &str) -> Result<String, BenchError> {
    fs::read_to_string(path).map_err(file(path))
}

/// The value of the first line `key : value`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim_end() == key).then_some(value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_their_key() {
        let text =
            "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu hypervisor\nmodel name\t: B\n";
        assert_eq!(value(text, "model name"), Some("A CPU"));
        assert_eq!(value(text, "flags"), Some("fpu hypervisor"));
        assert_eq!(value(text, "model"), None);
    }

    #[test]
    fn this_machine_has_a_kernel_and_memory() {
        let machine = machine().expect("readable");
        assert!(machine.cores >= 1 && machine.memory > 1 << 20);
        assert!(machine.kernel.starts_with(|c: char| c.is_ascii_digit()));
    }
}
