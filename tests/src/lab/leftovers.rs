//! What is left of a lab, and taking it away.

use std::{fs, path::PathBuf, thread};

use netpath::{
    netns::{NETNS_DIR, Netns},
    provision,
};

use super::Lab;

impl Lab {
    /// Names of the lab that are still there: namespaces and pinned directories.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let mut left = Vec::new();
        for directory in [NETNS_DIR, "/sys/fs/bpf/netpath"] {
            let Ok(entries) = fs::read_dir(directory) else {
                continue;
            };
            left.extend(entries.flatten().map(|entry| entry.path()).filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let is_foreign = directory == NETNS_DIR && self.foreign.contains(name.as_ref());
                is_of(&name, &self.prefix) && !is_foreign
            }));
        }
        left.sort();
        left
    }

    /// Fails if any namespace or pinned directory of the lab is left.
    pub fn assert_nothing_left(&self) {
        let left = self.leftovers();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

/// Whether a name has the prefix in it, as opposed to a longer one that starts with the same digits.
fn is_of(name: &str, prefix: &str) -> bool {
    name.match_indices(prefix).any(|(at, _)| {
        let next = name[at + prefix.len()..].chars().next();
        !next.is_some_and(|next| next.is_ascii_digit())
    })
}

impl Drop for Lab {
    fn drop(&mut self) {
        // `netpath::lab::Lab` removes what it has made itself; here processes that were killed made it too, and what a fault
        // of netpath's leaves has to be found without asking netpath.
        let down = provision::down(&self.nodes(), &mut |_| {});
        // There is one only if a process was given it.
        let _absent = fs::remove_file(self.file());
        let left = self.leftovers();
        // Whatever it was, the next test must not find it.
        let strays = left.iter().filter(|path| path.starts_with(NETNS_DIR));
        let strays = strays.filter_map(|path| path.file_name()?.to_str());
        for name in strays.chain(self.foreign.iter().map(String::as_str)) {
            if let Err(error) = Netns::remove(name) {
                eprintln!("{error}");
            }
        }
        for directory in left.iter().filter(|path| path.starts_with("/sys/fs/bpf")) {
            if let Err(error) = fs::remove_dir_all(directory) {
                eprintln!("{}: {error}", directory.display());
            }
        }
        if let Err(error) = &down {
            eprintln!("down: {error}");
        }
        if !thread::panicking() {
            assert!(down.is_ok() && left.is_empty(), "left behind: {left:?}");
        }
    }
}
