//! Who may import whom: docs/architecture.md as a table, held against the source. Code of tests is left out.

mod packets;
mod rules;
mod source;
#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use self::{
    rules::{Package, check, strangers},
    source::read,
};
use crate::{progress, workspace::Workspace};

/// The packages that are looked at, by the folder of their source.
const PACKAGES: [(&str, Package); 3] = [
    ("netpath/src", Package::Library),
    ("netpath/bench/src", Package::Bench),
    ("netpath/cli/src", Package::Command),
];

/// Refuses what imports upwards, prints where only the command may, or uses a crate that is another module's.
pub fn task(workspace: &Workspace) -> Result<()> {
    progress::timed(
        "imports: who may import whom (docs/architecture.md)",
        || {
            let faults = faults(&workspace.root)?;
            if faults.is_empty() {
                return Ok(());
            }
            bail!("{}", faults.join("\n"))
        },
    )
}

/// All that breaks a rule, a line each.
fn faults(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for (folder, package) in PACKAGES {
        let folder = root.join(folder);
        for file in files(&folder)? {
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let inside = file.strip_prefix(&folder)?;
            let shown = file.strip_prefix(root)?.display().to_string();
            let found = read(inside, &text).with_context(|| shown.clone())?;
            faults.extend(check(package, &shown, &found));
        }
    }
    faults.extend(strangers(&modules(&root.join("netpath/src"))?));
    faults.extend(packets::faults(root)?);
    Ok(faults)
}

/// The modules whose files or folders lie in a folder, in order, without those that hold tests only.
fn modules(folder: &Path) -> Result<Vec<String>> {
    let mut modules = Vec::new();
    for file in files(folder)? {
        let inside = file.strip_prefix(folder)?.with_extension("");
        let Some(first) = inside.components().next() else {
            continue;
        };
        let module = first.as_os_str().to_string_lossy().into_owned();
        if !["lib", "main", "mod"].contains(&module.as_str()) && !modules.contains(&module) {
            modules.push(module);
        }
    }
    Ok(modules)
}

/// The source files below a folder, in order, without those that hold tests only.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry?.path());
    }
    paths.sort();
    for path in paths {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name == "tests" || name == "tests.rs" {
            continue;
        }
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    Ok(files)
}
