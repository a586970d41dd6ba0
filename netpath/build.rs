//! Builds the TC programs of netpath-ebpf from source and hands the objects to the crate.
//!
//! Exports `NETPATH_BPF_OBJECT`, with aya-log compiled in `NETPATH_BPF_OBJECT_DEBUG`, `NETPATH_BPF_OBSERVER`, by which
//! `netpath trace` observes, and `NETPATH_BPF_FLOOR`, which `netpath bench` measures beside: paths for `aya::include_bytes_aligned!(env!(..))`. The toolchain is the one that `cargo xtask setup` found
//! and wrote down in `<target>/bpf-toolchain/toolchain.env`.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};

type Result<T> = std::result::Result<T, String>;

const PROGRAM: &str = "netpath-ebpf";
const OBSERVER: &str = "netpath-observer";
const FLOOR: &str = "netpath-floor";
const TOOLCHAIN_FILE: &str = "bpf-toolchain/toolchain.env";
const TOOLCHAIN_FORMAT: &str = "1";

fn main() {
    if let Err(message) = build() {
        eprintln!("{message}");
        exit(1);
    }
}

fn build() -> Result<()> {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = manifest_dir
        .parent()
        .ok_or("netpath has no parent directory")?;
    for source in [PROGRAM, "netpath-common", "Cargo.toml", "Cargo.lock"] {
        println!(
            "cargo:rerun-if-changed={}",
            workspace.join(source).display()
        );
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!(
        "cargo:rustc-env=NETPATH_AYA_VERSION={}",
        locked(workspace, "aya")?
    );

    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let toolchain = Toolchain::find(workspace, &out_dir)?;
    // Debug and release builds may run at once; each must copy the object that it built itself.
    let lock_path = toolchain.dir.join("build.lock");
    let lock = File::create(&lock_path).map_err(|e| format!("{}: {e}", lock_path.display()))?;
    lock.lock()
        .map_err(|e| format!("{}: {e}", lock_path.display()))?;

    let mut warnings = BTreeSet::new();
    for object in [
        Object {
            variable: "NETPATH_BPF_OBJECT",
            file: "netpath.bpf.o",
            program: PROGRAM,
            features: None,
        },
        Object {
            variable: "NETPATH_BPF_OBJECT_DEBUG",
            file: "netpath-debug.bpf.o",
            program: PROGRAM,
            features: Some("debug-log"),
        },
        Object {
            variable: "NETPATH_BPF_OBSERVER",
            file: "netpath-observer.bpf.o",
            program: OBSERVER,
            features: None,
        },
        Object {
            variable: "NETPATH_BPF_FLOOR",
            file: "netpath-floor.bpf.o",
            program: FLOOR,
            features: None,
        },
    ] {
        let (built, stderr) = toolchain.compile(workspace, &object)?;
        warnings.extend(one_line_warnings(&stderr));
        let path = out_dir.join(object.file);
        fs::copy(&built, &path)
            .map_err(|e| format!("copy {} to {}: {e}", built.display(), path.display()))?;
        println!("cargo:rustc-env={}={}", object.variable, path.display());
    }
    for warning in warnings {
        println!("cargo:warning={warning}");
    }
    Ok(())
}

/// The version of a package that the workspace is built with.
fn locked(workspace: &Path, package: &str) -> Result<String> {
    let path = workspace.join("Cargo.lock");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let name = format!("name = \"{package}\"");
    let mut lines = text.lines().skip_while(|line| *line != name).skip(1);
    let version = lines
        .next()
        .and_then(|line| line.strip_prefix("version = "));
    let version = version.ok_or_else(|| format!("{}: no {package}", path.display()))?;
    Ok(version.trim_matches('"').to_owned())
}

struct Object {
    variable: &'static str,
    file: &'static str,
    /// Its binary of the package.
    program: &'static str,
    features: Option<&'static str>,
}

struct Toolchain {
    dir: PathBuf,
    rustc: String,
    bpf_linker: String,
    ld_library_path: String,
}

impl Toolchain {
    fn find(workspace: &Path, out_dir: &Path) -> Result<Self> {
        let target_dirs = out_dir.ancestors().skip(1).map(Path::to_path_buf);
        let fallbacks = env::var_os("CARGO_TARGET_DIR")
            .map(PathBuf::from)
            .into_iter()
            .chain([workspace.join("target")]);
        let file = target_dirs
            .chain(fallbacks)
            .map(|dir| dir.join(TOOLCHAIN_FILE))
            .find(|file| file.is_file())
            .ok_or(
                "netpath's BPF toolchain is not set up: run `cargo xtask setup` once, then repeat",
            )?;
        println!("cargo:rerun-if-changed={}", file.display());

        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let values: BTreeMap<&str, &str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
            .collect();
        let get = |key: &str| {
            values
                .get(key)
                .map(|value| (*value).to_owned())
                .ok_or_else(|| {
                    format!(
                        "{} has no `{key}`: run `cargo xtask setup` again",
                        file.display()
                    )
                })
        };
        if get("format")? != TOOLCHAIN_FORMAT {
            return Err(format!(
                "{} is of another version of netpath: run `cargo xtask setup` again",
                file.display()
            ));
        }
        let toolchain = Self {
            dir: file.parent().map(Path::to_path_buf).unwrap_or_default(),
            rustc: get("rustc")?,
            bpf_linker: get("bpf_linker")?,
            ld_library_path: get("ld_library_path")?,
        };
        for program in [&toolchain.rustc, &toolchain.bpf_linker] {
            if !Path::new(program).is_file() {
                return Err(format!("{program} is gone: run `cargo xtask setup` again"));
            }
        }
        Ok(toolchain)
    }

    /// Returns the object's path and what the compiler said.
    fn compile(&self, workspace: &Path, object: &Object) -> Result<(PathBuf, String)> {
        let arch = variable("CARGO_CFG_TARGET_ARCH")?;
        let target = match variable("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
            "big" => "bpfeb-unknown-none",
            _ => "bpfel-unknown-none",
        };
        let rustflags = [
            format!("--cfg=bpf_target_arch=\"{arch}\""),
            "-Cdebuginfo=2".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            format!("-Clinker={}", self.bpf_linker),
        ]
        .join("\x1f");
        let target_dir = self.dir.join("build");

        let mut cargo = Command::new(variable("CARGO")?);
        for name in env::vars_os().map(|(name, _)| name).filter(confuses_cargo) {
            cargo.env_remove(name);
        }
        cargo
            .current_dir(workspace)
            .args([
                "build",
                "--quiet",
                "--color=never",
                "--release",
                "-Zbuild-std=core",
            ])
            .args([
                "--package",
                PROGRAM,
                "--bin",
                object.program,
                "--target",
                target,
                "--target-dir",
            ])
            .arg(&target_dir)
            .args(
                object
                    .features
                    .map(|features| format!("--features={features}")),
            )
            .env("RUSTC", &self.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", rustflags)
            .env("LD_LIBRARY_PATH", &self.ld_library_path)
            .stdin(Stdio::null());
        let output = cargo
            .output()
            .map_err(|e| format!("cargo does not start: {e}"))?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            return Err(format!(
                "{stderr}\nthe TC programs do not build ({})",
                output.status
            ));
        }
        Ok((
            target_dir.join(target).join("release").join(object.program),
            stderr,
        ))
    }
}

/// Whether a variable of this build would change the build of the TC programs.
fn confuses_cargo(name: &OsString) -> bool {
    const KEPT: [&str; 5] = [
        "CARGO_HOME",
        "CARGO_MAKEFLAGS",
        "CARGO_NET_",
        "CARGO_HTTP_",
        "CARGO_REGISTR",
    ];
    let name = name.to_string_lossy();
    let own = [
        "CARGO",
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "CLIPPY",
        "DEP_",
        "__CARGO",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix));
    let exact = [
        "OUT_DIR",
        "TARGET",
        "HOST",
        "OPT_LEVEL",
        "DEBUG",
        "PROFILE",
        "NUM_JOBS",
    ]
    .iter()
    .any(|exact| OsStr::new(exact) == OsStr::new(name.as_ref()));
    (own || exact) && !KEPT.iter().any(|prefix| name.starts_with(prefix))
}

/// Each warning as one line: what and where.
fn one_line_warnings(stderr: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut lines = stderr.lines().peekable();
    while let Some(line) = lines.next() {
        // Cargo's summary starts with the package: "warning: `netpath-ebpf` (bin ..) generated ..".
        let Some(what) = line
            .strip_prefix("warning: ")
            .filter(|what| !what.starts_with('`'))
        else {
            continue;
        };
        let place = lines
            .peek()
            .and_then(|next| next.trim_start().strip_prefix("--> "));
        warnings.push(place.map_or_else(|| what.to_owned(), |place| format!("{place}: {what}")));
    }
    warnings
}

fn variable(name: &str) -> Result<String> {
    env::var(name).map_err(|e| format!("{name}: {e}; build netpath with cargo"))
}
