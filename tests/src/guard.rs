//! What a test makes and has to take away again.

use std::{
    fs,
    path::Path,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use netpath::{
    datapath::{Capacity, Datapath, DatapathError, NodeIdentity, ObjectKind, Writer, nodes},
    lab::Lab,
    lock::TopologyLock,
    model::Topology,
    netns::{NETNS_DIR, Netns, NetnsError},
    provision::UpOptions,
};

/// Prefix of every name that tests give out; the number of the process follows.
const PREFIX: &str = "npt-";

/// A name that nothing else on this machine has.
pub(crate) fn unique_name() -> String {
    static SWEPT: Once = Once::new();
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    assert!(
        nix::unistd::geteuid().is_root(),
        "these tests make network namespaces and load BPF programs: run them as root"
    );
    SWEPT.call_once(sweep);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{number}", std::process::id())
}

/// A namespace with a name, as long as this lives.
#[derive(Debug)]
pub(crate) struct NetnsGuard {
    pub(crate) netns: Netns,
}

impl NetnsGuard {
    pub(crate) fn new(name: &str) -> Self {
        let netns = Netns::create(name, |_cookie| Ok::<_, NetnsError>(()))
            .unwrap_or_else(|error| panic!("{error}"));
        Self { netns }
    }
}

impl Drop for NetnsGuard {
    fn drop(&mut self) {
        complain(Netns::remove(self.netns.name()));
    }
}

/// A topology, as long as this lives.
#[derive(Debug)]
pub(crate) struct LabGuard(Lab);

impl LabGuard {
    pub(crate) fn up(topology: &Topology, options: &UpOptions) -> Self {
        let lab = Lab::up(topology, options, &mut |_| {});
        Self(lab.unwrap_or_else(|error| panic!("{error}")))
    }
}

impl Drop for LabGuard {
    fn drop(&mut self) {
        complain(self.0.remove());
    }
}

/// A datapath, as long as this lives.
#[derive(Debug)]
pub(crate) struct DatapathGuard {
    datapath: Option<Datapath>,
}

impl DatapathGuard {
    pub(crate) fn new(netns: &Netns) -> Self {
        let identity = NodeIdentity {
            name: netns.name(),
            netns_cookie: netns.cookie().unwrap_or_else(|error| panic!("{error}")),
            netns_made: true,
        };
        let capacity = Capacity {
            // So that there is room for 50,000 rows of counters.
            endpoints: 4096,
            routes: 64,
            ..Capacity::DEFAULT
        };
        let datapath = Datapath::create(identity, capacity, ObjectKind::Plain)
            .unwrap_or_else(|error| panic!("{error}"));
        Self {
            datapath: Some(datapath),
        }
    }

    pub(crate) fn get(&self) -> &Datapath {
        self.datapath.as_ref().expect("it is there until the drop")
    }

    /// Changes the maps, as the holder of the topology lock, which is held for so long.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&Writer<'_>) -> Result<T, DatapathError>,
    ) -> T {
        // Processes poll for the lock; the threads of this one queue, so that they need not.
        static QUEUE: Mutex<()> = Mutex::new(());
        let _turn = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = TopologyLock::take(&AtomicBool::new(false)).unwrap_or_else(|e| panic!("{e}"));
        change(&self.get().writer(&lock)).unwrap_or_else(|e| panic!("{e}"))
    }
}

impl Drop for DatapathGuard {
    fn drop(&mut self) {
        if let Some(datapath) = self.datapath.take() {
            complain(datapath.remove());
        }
    }
}

/// A failing clean-up fails the test, unless it is failing already.
pub(crate) fn complain<E: std::fmt::Display>(result: Result<(), E>) {
    match result {
        Err(error) if thread::panicking() => eprintln!("clean-up: {error}"),
        result => result.unwrap_or_else(|error| panic!("clean-up: {error}")),
    }
}

/// Whether a name is `<prefix><process>-...` of a process that is gone.
pub(crate) fn is_orphan(prefix: &str, name: &str) -> bool {
    name.strip_prefix(prefix)
        .and_then(|rest| rest.split('-').next())
        .is_some_and(|pid| !Path::new("/proc").join(pid).exists())
}

/// Takes away what tests left that were killed.
fn sweep() {
    for name in nodes().unwrap_or_default() {
        if is_orphan(PREFIX, &name)
            && let Ok(Some(datapath)) = Datapath::open(&name)
        {
            complain(datapath.remove());
        }
    }
    let Ok(entries) = fs::read_dir(NETNS_DIR) else {
        return;
    };
    for entry in entries.flatten() {
        if let Some(name) = entry.file_name().to_str()
            && is_orphan(PREFIX, name)
        {
            complain(Netns::remove(name));
        }
    }
}
