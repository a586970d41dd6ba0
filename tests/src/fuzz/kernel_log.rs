//! What the kernel complains about while something runs.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
};

/// What the kernel writes when it has found a fault in itself. "cut here" begins every WARN and BUG, whatever the
/// rest of the line looks like in this version.
const COMPLAINTS: [&str; 7] = [
    "[ cut here ]",
    "BUG:",
    "Oops",
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
        let mut records = self.records();
        records.retain(|record| is_complaint(record));
        records
    }

    fn records(&mut self) -> Vec<String> {
        let Some(file) = &mut self.0 else {
            return Vec::new();
        };
        let mut records = Vec::new();
        // One record for each read; a longer one would be refused (Documentation/ABI/testing/dev-kmsg).
        let mut record = [0; 8192];
        loop {
            match file.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    records.push(text.trim_end().to_owned());
                }
                // Overwritten before it was read: the next read goes on behind the gap.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("/dev/kmsg: {error}"),
            }
        }
        records
    }
}

fn is_complaint(record: &str) -> bool {
    COMPLAINTS
        .iter()
        .any(|complaint| record.contains(complaint))
}

#[cfg(test)]
mod tests {
    use std::{fs, process};

    use super::{KernelLog, is_complaint};

    #[test]
    fn faults_are_complaints() {
        for record in [
            "4,1,1,-;------------[ cut here ]------------",
            "1,2,2,-;BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "4,3,3,-;Oops: Oops: 0000 [#1] SMP NOPTI",
            "0,4,4,-;watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [fuzz:1]",
        ] {
            assert!(is_complaint(record), "{record}");
        }
        assert!(!is_complaint("6,5,5,-;up0: entered promiscuous mode"));
    }

    #[test]
    fn what_is_written_after_it_was_made_is_read() {
        let record = |when: &str| format!("netpath-tests {}: {when}\n", process::id());
        let write = |when| fs::write("/dev/kmsg", record(when)).expect("writing to /dev/kmsg");
        write("before");
        let mut log = KernelLog::from_now_on();
        write("after");
        let records = log.records();
        let has = |when: &str| {
            records
                .iter()
                .any(|text| text.contains(record(when).trim_end()))
        };
        assert!(has("after") && !has("before"), "{records:#?}");
        assert_eq!(log.complaints(), Vec::<String>::new());
    }
}
