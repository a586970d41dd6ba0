//! Processors: which ones, staying on them, and the time that is spent there.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::fd::FromRawFd as _,
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use super::error::{BenchError, file, system};

/// Where the traffic runs.
#[derive(Clone, Debug)]
pub(super) struct Processors {
    /// One or two; measures of one processor take the first.
    pub numbers: Vec<usize>,
    /// The thread that does what softirqs leave over, for each; `None` where it cannot be seen.
    softirq_threads: Vec<Option<Pid>>,
}

impl Processors {
    /// The last two that this process may use, the last one first: interrupts of devices go to the first ones
    /// by default.
    pub fn choose() -> Result<Self, BenchError> {
        let allowed = sched_getaffinity(Pid::from_raw(0))
            .map_err(|errno| system("sched_getaffinity", errno))?;
        let numbers: Vec<usize> = (0..CpuSet::count())
            .rev()
            .filter(|&number| allowed.is_set(number).unwrap_or(false))
            .take(2)
            .collect();
        let softirq_threads = softirq_threads(&numbers)?;
        Ok(Self {
            numbers,
            softirq_threads,
        })
    }

    /// Whether the time of softirq threads is known.
    pub fn sees_softirq_threads(&self) -> bool {
        self.softirq_threads.iter().all(Option::is_some)
    }

    /// The one for measures of one processor.
    pub fn first(&self) -> usize {
        self.numbers[0]
    }

    /// The other one; the same where there is only one.
    pub fn second(&self) -> usize {
        self.numbers[self.numbers.len() - 1]
    }
}

/// Keeps the calling thread on one processor.
pub(super) fn pin(processor: usize) -> Result<(), io::Error> {
    let mut only = CpuSet::new();
    only.set(processor)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &only)?)
}

fn softirq_threads(processors: &[usize]) -> Result<Vec<Option<Pid>>, BenchError> {
    let mut threads = vec![None; processors.len()];
    for entry in fs::read_dir("/proc").map_err(file("/proc"))?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process that has ended meanwhile is none of these.
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else {
            continue;
        };
        let number = name.trim_end().strip_prefix("ksoftirqd/");
        let number = number.and_then(|number| number.parse().ok());
        if let Some(at) = processors.iter().position(|&one| Some(one) == number) {
            threads[at] = Some(Pid::from_raw(pid));
        }
    }
    Ok(threads)
}

/// The time that one thread has been on a processor, softirqs included that ran on its back.
///
/// It is perf's task clock (PERF_COUNT_SW_TASK_CLOCK), which counts wall-clock time in nanoseconds from the
/// moment the thread is given a processor until it is taken away. `CLOCK_THREAD_CPUTIME_ID` leaves softirqs out
/// on kernels with CONFIG_IRQ_TIME_ACCOUNTING, and they are most of what a packet costs; /proc/stat has them,
/// but in ticks of 10 ms, and of every process on the machine.
pub(super) struct ThreadClock(File);

impl ThreadClock {
    /// Of the calling thread.
    pub fn own() -> Result<Self, io::Error> {
        Self::of(Pid::from_raw(0))
    }

    fn of(thread: Pid) -> Result<Self, io::Error> {
        /// `PERF_TYPE_SOFTWARE` and the first published size of perf_event_attr, `PERF_ATTR_SIZE_VER0`.
        const TYPE_AND_SIZE: [u32; 2] = [1, 64];
        /// `PERF_COUNT_SW_TASK_CLOCK`.
        const CONFIG: u64 = 1;
        let mut attributes = [0u64; 8];
        let [kind, size] = TYPE_AND_SIZE.map(u32::to_ne_bytes);
        let mut first = [0; 8];
        first[..4].copy_from_slice(&kind);
        first[4..].copy_from_slice(&size);
        attributes[0] = u64::from_ne_bytes(first);
        attributes[1] = CONFIG;
        // SAFETY: `attributes` is a perf_event_attr of the size that it states, and outlives the call; the other
        // arguments are numbers.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                attributes.as_ptr(),
                thread.as_raw(),
                -1 as libc::c_int,
                -1 as libc::c_int,
                8 as libc::c_ulong, // PERF_FLAG_FD_CLOEXEC
            )
        };
        let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made, and nobody else has it.
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    fn nanoseconds(&self) -> Result<u64, io::Error> {
        let mut value = [0; 8];
        (&self.0).read_exact(&mut value)?;
        Ok(u64::from_ne_bytes(value))
    }
}

/// The clocks of all that takes part: both applications, and the threads that run softirqs which would not end.
pub(super) struct Clocks(Vec<ThreadClock>);

impl Clocks {
    /// Those of some threads, and of the softirq threads of the processors that they are on.
    pub fn new(
        mut applications: Vec<ThreadClock>,
        processors: &Processors,
        of: &[usize],
    ) -> Result<Self, io::Error> {
        for (number, thread) in processors.numbers.iter().zip(&processors.softirq_threads) {
            if let (true, Some(thread)) = (of.contains(number), thread) {
                applications.push(ThreadClock::of(*thread)?);
            }
        }
        Ok(Self(applications))
    }

    /// Nanoseconds, all together.
    pub fn nanoseconds(&self) -> Result<u64, io::Error> {
        self.0.iter().map(ThreadClock::nanoseconds).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_busy_thread_takes_time_and_a_sleeping_one_does_not() {
        let processors = Processors::choose().expect("processors");
        pin(processors.first()).expect("pinned");
        let clock = Clocks(vec![ThreadClock::own().expect("clock")]);
        let (started, before) = (Instant::now(), clock.nanoseconds().expect("read"));
        while clock.nanoseconds().expect("read") - before < 5_000_000 {
            assert!(started.elapsed() < Duration::from_secs(10));
        }
        assert!(started.elapsed() >= Duration::from_millis(5));
        let busy = clock.nanoseconds().expect("read");
        std::thread::sleep(Duration::from_millis(30));
        let asleep = clock.nanoseconds().expect("read") - busy;
        assert!(asleep < 15_000_000, "{asleep} ns of a sleep of 30 ms");
    }
}
