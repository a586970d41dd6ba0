//! What the kernel complains about while something runs.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
};

/// What the kernel writes when it has found a fault in itself.
const COMPLAINTS: [&str; 7] = [
    "BUG:",
    "Oops",
    "WARNING: CPU",
    "general protection fault",
    "Kernel panic",
    "KASAN",
    "soft lockup",
];

/// The kernel's log from the moment that this was made.
#[derive(Debug)]
pub struct KernelLog(Option<File>);

impl KernelLog {
    /// Begins at the log's end. Where the log may not be read this says so and sees nothing.
    pub fn from_now_on() -> Self {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .and_then(|mut file| file.seek(SeekFrom::End(0)).map(|_| file));
        match opened {
            Ok(file) => Self(Some(file)),
            Err(error) => {
                eprintln!("/dev/kmsg: {error}: the kernel's log is not watched");
                Self(None)
            }
        }
    }

    /// The complaints since it was made, or since the last call.
    pub fn complaints(&mut self) -> Vec<String> {
        let Some(file) = &mut self.0 else {
            return Vec::new();
        };
        let mut complaints = Vec::new();
        // One record for each read; a longer one would be refused (Documentation/ABI/testing/dev-kmsg).
        let mut record = [0; 8192];
        loop {
            match file.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    if COMPLAINTS.iter().any(|complaint| text.contains(complaint)) {
                        complaints.push(text.trim_end().to_owned());
                    }
                }
                // Overwritten before it was read: the next read goes on behind the gap.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("/dev/kmsg: {error}"),
            }
        }
        complaints
    }
}
