//! The FORWARD policy of a lab node, set the way an administrator would: with iptables and ip6tables.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, Output},
};

use super::error::ProvisionError;
use crate::netns::Inside;

const COMMANDS: [&str; 2] = ["iptables", "ip6tables"];

fn run(command: &str, arguments: &[&str]) -> Result<Output, ProvisionError> {
    let line = || format!("{command} {}", arguments.join(" "));
    let output = Command::new(command)
        .args(arguments)
        // Of its own group: Ctrl-C is netpath's to answer.
        .process_group(0)
        .output()
        .map_err(|source| ProvisionError::File {
            path: line(),
            source,
        })?;
    if output.status.success() {
        return Ok(output);
    }
    Err(ProvisionError::Command {
        command: line(),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Fails if iptables is not installed.
pub fn require() -> Result<(), ProvisionError> {
    for command in COMMANDS {
        run(command, &["--version"]).map_err(|_| ProvisionError::Unmet {
            problem: format!("forward_policy = \"drop\" needs {command}, which is not there"),
            remedy: "install the package iptables, or leave forward_policy out".into(),
        })?;
    }
    Ok(())
}

/// Sets the FORWARD policy of both families.
pub fn set_forward_policy(_inside: &Inside<'_>, drop: bool) -> Result<(), ProvisionError> {
    let policy = if drop { "DROP" } else { "ACCEPT" };
    for command in COMMANDS {
        run(command, &["-w", "-P", "FORWARD", policy])?;
    }
    Ok(())
}

/// Whether the FORWARD policy of both families is DROP.
pub fn forward_policy_is_drop(_inside: &Inside<'_>) -> Result<bool, ProvisionError> {
    for command in COMMANDS {
        let output = run(command, &["-w", "-S", "FORWARD"])?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !text.lines().any(|line| line == "-P FORWARD DROP") {
            return Ok(false);
        }
    }
    Ok(true)
}
