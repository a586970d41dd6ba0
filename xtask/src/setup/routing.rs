//! The routing daemons of the tests: what is installed, else the distribution's packages, unpacked and not installed: installed,
//! they would start, and take over the machine's routes.

use std::path::Path;

use anyhow::{Result, bail};

use super::apt;
use crate::progress;
use crate::workspace::Workspace;

/// A program below a root, and the package that has it.
const PROGRAMS: [(&str, &str); 2] = [("usr/sbin/bird", "bird2"), ("usr/lib/frr/bgpd", "frr")];

/// Unpacks what is not there to where the tests look for it.
pub fn ensure(workspace: &Workspace) -> Result<()> {
    let place = workspace.target.join("routing");
    if missing(&place).is_empty() {
        return Ok(());
    }
    progress::timed("set-up: get BIRD and FRR, unpacked under target/", || {
        let packages = || {
            let missing = missing(Path::new("/nowhere"));
            let packages: Vec<String> = missing.into_iter().flat_map(apt::not_installed).collect();
            match packages.is_empty() {
                true => bail!(
                    "apt does not offer {}",
                    PROGRAMS.map(|it| it.1).join(" and ")
                ),
                false => Ok(packages),
            }
        };
        apt::unpack(&place, packages, |root| match missing(root).as_slice() {
            [] => Ok(()),
            missing => bail!("nothing unpacked of {}", missing.join(" and ")),
        })
    })
}

/// The packages of which there is nothing, installed or below a root.
fn missing(root: &Path) -> Vec<&'static str> {
    let is_there = |program: &str| {
        [Path::new("/"), root]
            .iter()
            .any(|root| root.join(program).is_file())
    };
    let missing = PROGRAMS.iter().filter(|(program, _)| !is_there(program));
    missing.map(|(_, package)| *package).collect()
}
