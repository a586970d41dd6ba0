//! A machine of qemu's: boots a kernel, listens to what it reports, and stops it at the time limit.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::report::Event;
use crate::command;

/// The file system is in it, and with it the test programs.
const MEMORY: &str = "4G";
const PROCESSORS: &str = "2";
/// All that qemu emulates but two. ERMS, `rep movsb` as the way to copy: qemu takes each byte by itself, and a third of the time of
/// tests that push much through sockets went there; without it the kernel copies words. CX16, `cmpxchg16b`, with which the kernel
/// allocates: qemu 7.2 at times leaves bits of another register in the flags after it, and the next interrupt is a double fault.
const PROCESSOR: &str = "max,-erms,-cx16";
/// An oops ends the machine, and the end of the machine ends qemu (with `-no-reboot`). The rest saves time:
/// mitigations guard against faults of real processors, and a namespace's end waits for RCU many times.
const KERNEL_ARGUMENTS: &str =
    "console=ttyS0 quiet oops=panic panic=-1 mitigations=off rcupdate.rcu_expedited=1";

/// A running machine.
pub struct Machine {
    qemu: Child,
    lines: Receiver<String>,
    deadline: Instant,
}

impl Machine {
    /// Boots, with these arguments more for the kernel. The console goes into the file `log`.
    pub fn boot(
        mut qemu: Command,
        (kernel, arguments): (&Path, &str),
        initramfs: &Path,
        log: &Path,
        limit: Duration,
    ) -> Result<Self> {
        // Emulated: nested virtualisation is not everywhere, and the kernel is what is tested, not the speed. By one
        // thread: with one for each processor Linux 6.12 oopses where it patches its own code under another.
        qemu.args(["-accel", "tcg,thread=single", "-cpu", PROCESSOR]);
        qemu.args(["-m", MEMORY, "-smp", PROCESSORS]);
        qemu.args(["-nodefaults", "-display", "none", "-no-reboot"]);
        qemu.arg("-serial").arg(format!("file:{}", log.display()));
        qemu.args(["-serial", "stdio"]);
        qemu.arg("-kernel").arg(kernel);
        qemu.arg("-initrd").arg(initramfs);
        qemu.arg("-append")
            .arg(format!("{KERNEL_ARGUMENTS} {arguments}"));
        let mut child = qemu
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", command::describe(&qemu)))?;
        let stdout = child.stdout.take().context("qemu has no stdout")?;
        let (sender, lines) = mpsc::channel();
        // Ends with qemu.
        thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                if sender
                    .send(String::from_utf8_lossy(&line).into_owned())
                    .is_err()
                {
                    break;
                }
            }
        });
        Ok(Self {
            qemu: child,
            lines,
            deadline: Instant::now() + limit,
        })
    }

    /// The next event; `None` after the machine's end.
    pub fn next(&mut self) -> Result<Option<Event>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => Event::parse(&line).map(Some),
            Err(RecvTimeoutError::Timeout) => bail!("the time limit is over"),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.qemu.wait()?;
                if !status.success() {
                    bail!("qemu failed: {status}");
                }
                Ok(None)
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It has ended already unless something failed, which is being told.
        let _already_ended = self.qemu.kill();
        let _status = self.qemu.wait();
    }
}
