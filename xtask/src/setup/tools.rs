//! Programs of the distribution that the demo and the tests run.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Needs;
use crate::{command, progress, root};

struct Tool {
    program: &'static str,
    package: &'static str,
    needed_by: Needs,
}

const TOOLS: [Tool; 8] = [
    Tool {
        program: "iptables",
        package: "iptables",
        needed_by: Needs::Run,
    },
    Tool {
        program: "nft",
        package: "nftables",
        needed_by: Needs::Test,
    },
    Tool {
        program: "ip",
        package: "iproute2",
        needed_by: Needs::Test,
    },
    Tool {
        program: "ping",
        package: "iputils-ping",
        needed_by: Needs::Test,
    },
    Tool {
        program: "groff",
        package: "groff-base",
        needed_by: Needs::Test,
    },
    Tool {
        program: "systemd-analyze",
        package: "systemd",
        needed_by: Needs::Test,
    },
    Tool {
        program: "bpftool",
        package: "bpftool",
        needed_by: Needs::Test,
    },
    Tool {
        program: "strip",
        package: "binutils",
        needed_by: Needs::Kernels,
    },
];

/// Installs what is missing, as root on Debian or Ubuntu; otherwise says what to install. Adds packages, and
/// neither removes nor upgrades any.
pub fn ensure(needs: Needs) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    let by_hand = format!(
        "install {} with the system's package manager, then repeat",
        packages.join(", ")
    );
    progress::step(&format!("set-up: {} not there", packages.join(", ")));
    if command::find("apt-get").is_none() {
        bail!("{by_hand}");
    }
    if !root::is_root() {
        bail!(
            "only root may install packages: run `sudo apt-get install {}`, then repeat",
            packages.join(" ")
        );
    }
    if let Err(error) = install(&packages) {
        progress::note(&format!("no: {error:#}"));
        let mut update = apt_get();
        update.arg("update");
        progress::run_long(&mut update).context(by_hand.clone())?;
        install(&packages).context(by_hand.clone())?;
    }
    match self::missing(needs).first() {
        Some(tool) => bail!(
            "{} is not on PATH after installing {}",
            tool.program,
            tool.package
        ),
        None => Ok(()),
    }
}

fn missing(needs: Needs) -> Vec<&'static Tool> {
    let needed = TOOLS.iter().filter(|tool| tool.needed_by <= needs);
    needed
        .filter(|tool| command::find(tool.program).is_none())
        .collect()
}

fn install(packages: &[&str]) -> Result<()> {
    let mut apt = apt_get();
    apt.args([
        "install",
        "--yes",
        "--no-remove",
        "--no-upgrade",
        "--no-install-recommends",
    ]);
    apt.args(packages);
    progress::run_long(&mut apt)
}

fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}
