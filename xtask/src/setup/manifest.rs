//! `toolchain.env`: what set-up found, for the next set-up and for netpath/build.rs.
//!
//! One `key=value` per line, `#` starts a comment line. Keys:
//!
//! | key | value |
//! |---|---|
//! | `format` | version of this format; [`FORMAT`] |
//! | `origin` | where the compiler came from: `present`, `rustup`, `debian` |
//! | `rustc` | absolute path of a rustc whose sysroot has the source of `core` |
//! | `rustc_version` | what `rustc --version` said |
//! | `ld_library_path` | directories, separated by `:`, in which rustc and bpf-linker find libLLVM |
//! | `bpf_linker` | absolute path of bpf-linker |
//! | `bpf_linker_version` | its version |

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::compiler::{self, Origin};
use super::linker;

const FILE: &str = "toolchain.env";
/// Version of the format; netpath/build.rs checks it.
const FORMAT: &str = "1";

/// A complete BPF toolchain.
pub struct Toolchain {
    pub origin: Origin,
    pub rustc: PathBuf,
    pub rustc_version: String,
    pub ld_library_path: String,
    pub bpf_linker: PathBuf,
}

impl Toolchain {
    /// The toolchain that is set up in `dir`, if it is complete and still the same.
    pub fn read(dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(dir.join(FILE)).ok()?;
        let values: BTreeMap<&str, &str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
            .collect();
        let get = |key| values.get(key).copied();
        let same =
            get("format") == Some(FORMAT) && get("bpf_linker_version") == Some(linker::VERSION);
        let toolchain = Self {
            origin: Origin::from_str(get("origin")?, false).ok()?,
            rustc: PathBuf::from(get("rustc")?),
            rustc_version: get("rustc_version")?.to_owned(),
            ld_library_path: get("ld_library_path")?.to_owned(),
            bpf_linker: PathBuf::from(get("bpf_linker")?),
        };
        (same && toolchain.is_intact()).then_some(toolchain)
    }

    /// Replaces the file in `dir` in one step.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let origin = self.origin.to_possible_value();
        let text = format!(
            "# netpath's BPF toolchain, written by `cargo xtask setup`; format: xtask/src/setup/manifest.rs\n\
             format={FORMAT}\n\
             origin={}\n\
             rustc={}\n\
             rustc_version={}\n\
             ld_library_path={}\n\
             bpf_linker={}\n\
             bpf_linker_version={}\n",
            origin.as_ref().map_or("", |value| value.get_name()),
            self.rustc.display(),
            self.rustc_version,
            self.ld_library_path,
            self.bpf_linker.display(),
            linker::VERSION,
        );
        let file = dir.join(FILE);
        let unfinished = dir.join(format!("{FILE}.partial"));
        fs::write(&unfinished, text).with_context(|| format!("write {}", unfinished.display()))?;
        fs::rename(&unfinished, &file).with_context(|| format!("write {}", file.display()))
    }

    fn is_intact(&self) -> bool {
        self.bpf_linker.is_file()
            && compiler::core_source(&self.rustc).is_some_and(|source| source.is_file())
            && compiler::version(&self.rustc, &self.ld_library_path)
                .is_ok_and(|version| version == self.rustc_version)
    }
}
