//! `cargo xtask conformance`

use anyhow::Result;

use crate::setup::{self, Needs};
use crate::workspace::Workspace;
use crate::{command, progress};

/// The binary of `tests/tests` that has the test.
pub const BINARY: &str = "packets";
/// The test that runs every case.
pub const TEST: &str = "conformance::netpath_forwards_like_the_kernel";
/// Tells the test where to write the page.
const PAGE_VARIABLE: &str = "NETPATH_CONFORMANCE_PAGE";

/// Sets up, runs every conformance case and writes docs/conformance.md.
pub fn task(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, Needs::Test)?;
    let page = workspace.root.join("docs/conformance.md");
    let mut cargo = workspace.cargo();
    cargo
        .args(["test", "--package", "netpath-tests", "--test", BINARY])
        .args(["--", "--exact", TEST])
        .env(PAGE_VARIABLE, &page);
    let title = format!("conformance: {}", command::describe(&cargo));
    progress::timed(&title, || command::run(&mut cargo))?;
    println!("{}", page.display());
    Ok(())
}
