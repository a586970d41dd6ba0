//! Suites and test programs side by side, a process each. A lab's tests wait for the kernel more than they compute, so one program for each
//! processor would leave the machine idle for half of the time.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::test_programs::{Counts, TestProgram};
use crate::{clean, command, progress};

/// Programs at a time, for each processor.
const PER_PROCESSOR: usize = 3;

/// Longest time of one program.
const LIMIT: Duration = Duration::from_secs(900);

/// These measure: they have the machine for themselves.
const ALONE: [&str; 3] = ["bench", "bench_cross_check", "bench_scale"];

/// These take longest, so they start first.
const FIRST: [&str; 13] = [
    // It changes the kernel's tables some ten thousand times, and waits for each.
    "conformance",
    "lab_damages",
    "lab_connections",
    "lab_faults_maps",
    "lab_doctor",
    "programs",
    "lab_guest_wire",
    "lab_kill",
    "migration",
    "lab_guest",
    "lab_truth",
    "lab_faults_logging",
    "lab_lifecycle",
];

/// Runs all with these variables, or those that are named, prints how each ended, and the output of those that failed. What
/// each wrote is kept in a file of the directory `output`.
pub fn run(
    mut programs: Vec<TestProgram>,
    named: &[String],
    variables: &[(&str, &Path)],
    output: &Path,
) -> Result<()> {
    let names = named.iter().map(String::as_str);
    for name in FIRST.into_iter().chain(ALONE).chain(names) {
        let is_there = programs.iter().any(|program| program.name == name);
        ensure!(is_there, "there is no suite {name}");
    }
    programs.retain(|program| named.is_empty() || named.contains(&program.name));
    clean::remove(output)?;
    fs::create_dir_all(output).with_context(|| format!("create {}", output.display()))?;
    let (alone, mut others): (Vec<_>, Vec<_>) = programs
        .into_iter()
        .partition(|program| ALONE.contains(&program.name.as_str()));
    others.sort_by_key(|program| {
        FIRST
            .iter()
            .position(|name| *name == program.name)
            .unwrap_or(FIRST.len())
    });
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = PER_PROCESSOR * processors;
    let mut failures = side_by_side(others, workers, variables, output)?;
    failures.extend(side_by_side(alone, 1, variables, output)?);
    match failures.is_empty() {
        true => Ok(()),
        false => bail!("failed: {}", failures.join(", ")),
    }
}

/// The names of those that failed.
fn side_by_side(
    programs: Vec<TestProgram>,
    workers: usize,
    variables: &[(&str, &Path)],
    output: &Path,
) -> Result<Vec<String>> {
    let queue = Mutex::new(VecDeque::from(programs));
    let take = || {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    };
    let work = || {
        let mut failures = Vec::new();
        while let Some(program) = take() {
            if !passes(&program, variables, output)? {
                failures.push(program.name);
            }
        }
        Ok(failures)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut failures = Vec::new();
        for thread in threads {
            let of_worker: Result<Vec<String>> = thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            failures.extend(of_worker?);
        }
        Ok(failures)
    })
}

/// What a program sees is as on a machine of its own: processes, `/run`, temporary files (as process ids, and so names made of
/// them, are the same in each), named network namespaces, pinned maps. So programs neither wait for each other's locks nor meet
/// each other's nodes, and nothing is left of one that is killed, as all are when this process ends.
const OF_ITS_OWN: &str = "
    mount -t tmpfs tmpfs /run &&
    mkdir -p /run/lock /run/netns &&
    mount -t tmpfs -o mode=1777 tmpfs /media &&
    export TMPDIR=/media &&
    mount -t tmpfs tmpfs /run/netns &&
    mount --make-shared /run/netns &&
    while mountpoint -q /sys/fs/bpf; do umount /sys/fs/bpf || exit; done &&
    mount -t bpf bpf /sys/fs/bpf &&
    exec \"$@\"";

fn alone_on_a_machine(program: &TestProgram) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(["--pid", "--fork", "--kill-child", "--mount", "--mount-proc"])
        .args(["--propagation", "private", "sh", "-c", OF_ITS_OWN, "sh"])
        .arg(&program.executable)
        .args(program.arguments());
    command
}

fn passes(program: &TestProgram, variables: &[(&str, &Path)], output: &Path) -> Result<bool> {
    let file = output.join(format!("{}.txt", program.name));
    let stdout = File::create(&file).with_context(|| format!("create {}", file.display()))?;
    let mut child = alone_on_a_machine(program)
        .current_dir(&program.directory)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stderr(stdout.try_clone()?)
        .stdout(stdout)
        .spawn()
        .with_context(|| format!("start {}", program.executable.display()))?;
    let begun = Instant::now();
    let ended = command::wait_within(&mut child, LIMIT)?;
    if ended.is_none() {
        child.kill()?;
        child.wait()?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&fs::read(&file)?).into_owned();
    let counts = Counts::of_output(&text)?;
    let Counts { passed, failed } = counts.unwrap_or_default();
    let name = &program.name;
    progress::note(&format!(
        "{name:<22} {passed:>4} passed {failed:>3} failed {seconds:>6.1} s"
    ));
    let problem = match ended {
        Some(status) if status.success() && counts.is_some() => return Ok(true),
        Some(status) if status.success() => "it ended without a result".to_owned(),
        Some(status) => status.to_string(),
        None => format!("stopped after {} s", LIMIT.as_secs()),
    };
    eprintln!("{text}");
    progress::note(&format!("FAILED {name}: {problem}"));
    Ok(false)
}
