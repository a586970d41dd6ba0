//! Real endpoints: as many as asked for, made by `netpath up` and removed by `netpath down`.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use netpath::{
    lab::Lab,
    model::Topology,
    provision::{Object, UpOptions},
};

use super::{Run, ScaleError, lab::io_error, memory::Account, results::RealEndpoints};

/// Makes and removes a node with many endpoints, twice.
pub fn measure(run: &mut Run<'_>) -> Result<RealEndpoints, ScaleError> {
    let plain = bring_up(run, false)?;
    let hastened = bring_up(run, true)?;
    Ok(RealEndpoints {
        plain_up_ns: Some(plain.up_ns),
        ..hastened
    })
}

/// The same once, with grace periods expedited or not.
fn bring_up(run: &mut Run<'_>, expedite: bool) -> Result<RealEndpoints, ScaleError> {
    let name = run.name("n");
    let count = run.options.real_endpoints;
    let topology = Topology::parse(Path::new("bench"), &topology(&name, count, expedite))?;
    let options = UpOptions {
        interrupted: Arc::clone(&run.options.interrupted),
        ..UpOptions::default()
    };
    let how = if expedite { ", expedited" } else { "" };
    run.step("endpoints", || format!("{count} come up{how}"))?;
    let available = available()?;
    let mut times = Vec::with_capacity(count as usize);
    let mut before = None;
    let start = Instant::now();
    let mut lab = Lab::up(&topology, &options, &mut |change| match change.object {
        Object::Node => before = Some(Account::of(&name)),
        Object::Endpoint => times.push(start.elapsed()),
        _ => {}
    })?;
    let up = start.elapsed();
    let fall = available - self::available()?;
    let maps = match before {
        Some(before) => Account::of(&name)?.growth_since(&before?),
        None => None,
    };
    run.step("endpoints", || format!("{count} go"))?;
    let start = Instant::now();
    lab.remove()?;
    Ok(RealEndpoints {
        count,
        up_ns: nanoseconds(up),
        plain_up_ns: None,
        tenths_ns: tenths(&times),
        down_ns: nanoseconds(start.elapsed()),
        memory: fall,
        maps,
    })
}

fn topology(name: &str, count: u32, expedite: bool) -> String {
    let mut text = format!(
        "[[node]]\nname = \"{name}\"\nexpedite = {expedite}\nmax_endpoints = {}\n",
        count.max(1024)
    );
    for number in 0..count {
        let (high, low) = (number >> 8, number & 255);
        let _infallible = write!(
            text,
            "[[node.endpoint]]\nname = \"{name}x{number}\"\nhost_dev = \"v{number}\"\n\
             addresses = [\"10.{high}.{low}.2/24\", \"fd00:0:0:{number:x}::2/64\"]\n"
        );
    }
    text
}

/// How long each tenth of them took.
fn tenths(times: &[Duration]) -> Vec<u64> {
    let mut last = Duration::ZERO;
    (1..=10)
        .filter_map(|tenth| {
            let end = *times.get((times.len() * tenth / 10).checked_sub(1)?)?;
            let took = nanoseconds(end.saturating_sub(last));
            last = end;
            Some(took)
        })
        .collect()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `MemAvailable` of /proc/meminfo, in bytes.
fn available() -> Result<i64, ScaleError> {
    let path = "/proc/meminfo";
    let text = fs::read_to_string(path).map_err(|source| io_error(path, source))?;
    text.lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<i64>().ok())
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| ScaleError::Lab {
            what: format!("{path} has no MemAvailable"),
        })
}
