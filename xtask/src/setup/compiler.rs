//! A rustc that builds for BPF: its sysroot has the source of `core`, and its LLVM is a shared library that
//! bpf-linker can load.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::debian;
use crate::{command, progress};

/// Long enough for rust-src (3 MB), short enough for a machine behind a wall.
const RUSTUP_LIMIT: Duration = Duration::from_secs(20);

/// Where the compiler comes from.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Origin {
    /// The rustc on PATH, if its core source is there, or one that an earlier set-up unpacked
    Present,
    /// The rustc on PATH, with `rustup component add rust-src`
    Rustup,
    /// Debian's or Ubuntu's packages, unpacked under target/
    Debian,
}

/// A usable compiler.
pub struct Compiler {
    /// The compiler itself, not rustup's proxy.
    pub rustc: PathBuf,
    /// What `rustc --version` says.
    pub version: String,
    /// Value of LD_LIBRARY_PATH for it and for bpf-linker.
    pub libraries: String,
}

/// Tries the origins in order, or only one of them. A compiler counts when it links a program for BPF.
pub fn find_or_get(
    dir: &Path,
    only: Option<Origin>,
    bpf_linker: &Path,
) -> Result<(Compiler, Origin)> {
    let origins = [Origin::Present, Origin::Rustup, Origin::Debian];
    let mut failures = Vec::new();
    for origin in origins
        .into_iter()
        .filter(|origin| only.is_none_or(|only| only == *origin))
    {
        let attempt = match origin {
            Origin::Present => present(dir, bpf_linker),
            Origin::Rustup => rustup(dir, bpf_linker),
            Origin::Debian => unpacked_packages(dir, bpf_linker),
        };
        match attempt {
            Ok(compiler) => {
                progress::note(&format!(
                    "uses {}: {}",
                    compiler.rustc.display(),
                    compiler.version
                ));
                return Ok((compiler, origin));
            }
            Err(error) => {
                progress::note(&format!("no: {error:#}"));
                failures.push(format!("{error:#}"));
            }
        }
    }
    Err(anyhow!(
        "no compiler for BPF. Install one of these and repeat:\n\
         - `rustup component add rust-src` for the toolchain in use;\n\
         - on Debian or Ubuntu, a package source that has rustc-web, libstd-rust-web-dev and \
         rust-web-src {} or newer (see /etc/apt/sources.list), then `apt-get update`.\n\
         What was tried:\n- {}",
        debian::OLDEST_RUSTC,
        failures.join("\n- ")
    ))
}

/// Where the sysroot of this rustc would have the source of `core`.
pub fn core_source(rustc: &Path) -> Option<PathBuf> {
    let sysroot = rustc.parent()?.parent()?;
    Some(sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs"))
}

/// What `rustc --version` says; fails if rustc does not start.
pub fn version(rustc: &Path, libraries: &str) -> Result<String> {
    let mut rustc = Command::new(rustc);
    rustc.arg("--version").env("LD_LIBRARY_PATH", libraries);
    Ok(command::output(&mut rustc)?.trim().to_owned())
}

fn present(dir: &Path, bpf_linker: &Path) -> Result<Compiler> {
    progress::step("set-up: look for a rustc with the source of core");
    path_compiler(dir, bpf_linker).or_else(|error| {
        let unpacked = debian::sysroot(dir);
        if !unpacked.is_dir() {
            return Err(error);
        }
        Compiler::at(&unpacked, dir, bpf_linker)
    })
}

fn rustup(dir: &Path, bpf_linker: &Path) -> Result<Compiler> {
    progress::step("set-up: get the source of core with rustup");
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", "rust-src"]);
    progress::show(&rustup);
    command::run_within(&mut rustup, RUSTUP_LIMIT)?;
    path_compiler(dir, bpf_linker)
}

fn unpacked_packages(dir: &Path, bpf_linker: &Path) -> Result<Compiler> {
    progress::step(
        "set-up: get rustc and the source of core from Debian packages, unpacked under target/",
    );
    debian::unpack(dir, |sysroot| {
        Compiler::at(sysroot, dir, bpf_linker).map(drop)
    })?;
    Compiler::at(&debian::sysroot(dir), dir, bpf_linker)
}

fn path_compiler(dir: &Path, bpf_linker: &Path) -> Result<Compiler> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "sysroot"]);
    progress::show(&rustc);
    let sysroot = command::output(&mut rustc)?;
    Compiler::at(Path::new(sysroot.trim()), dir, bpf_linker)
}

impl Compiler {
    /// Checks the compiler of a sysroot, down to a linked BPF program.
    fn at(sysroot: &Path, scratch: &Path, bpf_linker: &Path) -> Result<Self> {
        let rustc = sysroot.join("bin/rustc");
        if !core_source(&rustc).is_some_and(|source| source.is_file()) {
            bail!("{} has no source of core (rust-src)", sysroot.display());
        }
        let libraries = llvm_directories(sysroot)?;
        let version = version(&rustc, &libraries)?;
        let compiler = Self {
            rustc,
            version,
            libraries,
        };
        compiler.link_empty_program(scratch, bpf_linker)?;
        Ok(compiler)
    }

    /// `bpf-linker --version` does not load LLVM; only linking shows that the two fit.
    fn link_empty_program(&self, scratch: &Path, bpf_linker: &Path) -> Result<()> {
        let dir = scratch.join("check");
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        fs::write(
            dir.join("empty.rs"),
            "#![feature(no_core)]\n#![no_core]\n#![no_main]\n",
        )
        .with_context(|| format!("write to {}", dir.display()))?;
        let mut rustc = Command::new(&self.rustc);
        rustc
            .current_dir(&dir)
            .args([
                "--target=bpfel-unknown-none",
                "--crate-type=bin",
                "empty.rs",
                "-Clink-arg=--btf",
            ])
            .arg(format!("-Clinker={}", bpf_linker.display()))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUST_BACKTRACE", "0")
            .env("LD_LIBRARY_PATH", &self.libraries);
        let linked = command::output(&mut rustc);
        fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        linked
            .map(drop)
            .context("the compiler and bpf-linker do not work together")
    }
}

/// The directories of a sysroot that hold rustc's own libraries and libLLVM, joined for LD_LIBRARY_PATH.
fn llvm_directories(sysroot: &Path) -> Result<String> {
    let lib = sysroot.join("lib");
    let below = fs::read_dir(&lib)
        .with_context(|| format!("read {}", lib.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()));
    let mut directories: Vec<PathBuf> = below
        .flat_map(|path| [path.join("lib"), path])
        .chain([lib.clone()])
        .filter(|path| holds_llvm(path))
        .collect();
    directories.sort();
    if directories.is_empty() {
        bail!(
            "{} has no libLLVM that bpf-linker could load",
            lib.display()
        );
    }
    let directories: Vec<_> = directories
        .iter()
        .map(|path| path.to_string_lossy())
        .collect();
    Ok(directories.join(":"))
}

fn holds_llvm(directory: &Path) -> bool {
    let Ok(entries) = fs::read_dir(directory) else {
        return false;
    };
    entries.filter_map(Result::ok).any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libLLVM") && name.contains(".so")
    })
}
