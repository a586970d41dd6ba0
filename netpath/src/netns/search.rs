//! Whether a namespace is there at all, known by its cookie.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{NETNS_DIR, Netns};

/// Whether a namespace with this cookie can be found: by a name, of a process, open in one, or mounted somewhere. One that a
/// socket alone keeps alive, or a mount that no process sees, is not found.
#[must_use]
pub fn is_there(cookie: u64) -> bool {
    let mut seen = BTreeSet::new();
    let mut places = names().chain(processes());
    places.any(|path| {
        let number = fs::metadata(&path).map(|found| (found.dev(), found.ino()));
        number.is_ok_and(|number| seen.insert(number)) && has(&path, cookie)
    })
}

/// The name of the namespace with this cookie, as `ip netns` knows it.
#[must_use]
pub fn name_of(cookie: u64) -> Option<String> {
    let path = names().find(|path| has(path, cookie))?;
    path.file_name()?.to_str().map(str::to_owned)
}

/// Whether it is the one at a path. What goes meanwhile is not there.
fn has(path: &Path, cookie: u64) -> bool {
    Netns::at(path).is_ok_and(|netns| netns.cookie().is_ok_and(|found| found == cookie))
}

fn names() -> impl Iterator<Item = PathBuf> {
    entries(Path::new(NETNS_DIR))
}

/// What each process is in, has open, or sees mounted.
fn processes() -> impl Iterator<Item = PathBuf> {
    let is_process = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let processes = entries(Path::new("/proc")).filter(is_process);
    let mut seen = BTreeSet::new();
    processes.flat_map(move |process| {
        let open = entries(&process.join("fd")).filter(|file| is_namespace(file));
        // Most processes see the same mounts.
        let sees = fs::metadata(process.join("ns/mnt")).map(|found| found.ino());
        let is_new = sees.is_ok_and(|number| seen.insert(number));
        let mounts = match is_new {
            true => fs::read_to_string(process.join("mountinfo")).unwrap_or_default(),
            false => String::new(),
        };
        let root = process.join("root");
        let mounted: Vec<PathBuf> = mount_points(&mounts)
            .map(|point| root.join(point.trim_start_matches('/')))
            .collect();
        std::iter::once(process.join("ns/net"))
            .chain(open)
            .chain(mounted)
    })
}

/// The text of the link says `net:[4026531840]`, or the path that it was opened by: then it is asked what it is.
fn is_namespace(file: &Path) -> bool {
    let Ok(target) = fs::read_link(file) else {
        return false;
    };
    let text = target.to_string_lossy();
    text.starts_with("net:[") || text.starts_with(NETNS_DIR) || text.contains("/ns/net")
}

/// Where namespaces are mounted: see proc_pid_mountinfo(5). Its fourth field names the namespace, the fifth the place.
fn mount_points(mountinfo: &str) -> impl Iterator<Item = &str> {
    mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let root = fields.next()?;
        root.starts_with("net:[").then(|| fields.next()).flatten()
    })
}

/// The entries of a directory; none where it cannot be read.
fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounted_namespaces_are_found_among_other_mounts() {
        let text = "24 22 0:22 / /run/netns rw shared:7 - tmpfs tmpfs rw\n\
                    27 25 0:4 net:[4026532281] /run/netns/a rw shared:3 - nsfs nsfs rw\n\
                    28 25 0:4 mnt:[4026532282] /run/b rw shared:3 - nsfs nsfs rw\n";
        assert_eq!(mount_points(text).collect::<Vec<_>>(), ["/run/netns/a"]);
    }

    #[test]
    fn ones_own_is_there() {
        let own = Netns::current()
            .and_then(|netns| netns.cookie())
            .expect("a cookie");
        assert!(is_there(own));
        assert!(!is_there(u64::MAX));
    }
}
