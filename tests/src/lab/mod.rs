//! Labs for tests: a topology with names of its own, so that any number of tests may run at once, and
//! everything of it gone at the end, also after a panic.
//!
//! In a topology's text `@` stands for the lab's prefix: `name = "@a1"`. Methods take the names without it.
//! Interfaces are in namespaces of the lab's own and need no prefix.
//!
//! Everything here panics where it cannot do its work: without root, or on a kernel without BPF, tests fail.

mod advice;
mod builtin;
mod deadline;
mod inside;
mod leftovers;
mod machines;
mod portrait;
mod processes;
mod small;
mod told;
mod topologies;
mod traffic;
mod tun;
mod uplink_kinds;
mod watch;
mod wireguard;

pub(crate) use self::machines::{join, play_a_router};
pub use self::{
    advice::{commands, obey, refused},
    builtin::{BUILTIN_NAMESPACES, BUILTIN_NODES, BuiltinLab, builtin_left_behind},
    deadline::Deadline,
    inside::{sized, udp_port},
    machines::{on_two_machines, uplink_addresses},
    portrait::{assert_same_portrait, portrait},
    processes::{
        again_with_clsact, attaches_by_filters, helper, in_a_process, in_mode, is_in_mode,
        on_its_own, test_process,
    },
    topologies::{HOST, HUB, ONE_NODE, TWO_NODES, addresses, on_a_machine},
    traffic::{Bytes, Traffic},
    tun::Cable,
    uplink_kinds::{Made, UplinkKind},
    watch::{Interface, Place, SeenPacket, Watch, unanswered},
};

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv6Addr, UdpSocket},
    path::Path,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use netpath::{
    command,
    model::Topology,
    netns::{Netns, NetnsError},
    provision::{self, Change, FastPathMode, ProvisionError, Selection, UpOptions},
};

/// A topology of a test's own. Dropping it takes everything down and fails the test if anything stays.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    text: String,
    topology: Topology,
    /// Every node that ever was in the text.
    nodes: BTreeSet<String>,
    /// Namespaces that the test made itself.
    foreign: BTreeSet<String>,
    /// Interfaces of which the kernel counts more than packets: their own messages, too.
    talkative: BTreeSet<&'static str>,
    options: UpOptions,
}

impl Lab {
    /// A lab with a prefix of its own, of which nothing is up yet.
    pub fn prepare(text: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("t{}x{number}", process::id());
        let text = small::made(&text.replace('@', &prefix));
        let topology = parse(&text);
        let mut lab = Self {
            prefix,
            text,
            topology,
            nodes: BTreeSet::new(),
            foreign: BTreeSet::new(),
            talkative: BTreeSet::new(),
            options: UpOptions::default(),
        };
        lab.note_nodes();
        lab
    }

    /// A lab that is up with the fast path on.
    pub fn up(text: &str) -> Self {
        let lab = Self::prepare(text);
        lab.converge();
        lab
    }

    /// How it is brought up from now on.
    pub fn set_options(&mut self, options: UpOptions) {
        self.options = options;
    }

    fn note_nodes(&mut self) {
        self.nodes
            .extend(self.topology.nodes.iter().map(|node| node.name.to_string()));
    }

    /// The whole name.
    pub fn name(&self, short: &str) -> String {
        format!("{}{short}", self.prefix)
    }

    /// What every name of the lab starts with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The topology as it is written now.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The topology.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The nodes' whole names.
    pub fn nodes(&self) -> Vec<String> {
        self.nodes.iter().cloned().collect()
    }

    /// Writes another topology, of which nothing is applied yet.
    pub fn rewrite(&mut self, text: &str) {
        self.text = small::made(&text.replace('@', &self.prefix));
        self.topology = parse(&self.text);
        self.note_nodes();
    }

    /// Replaces the one place that reads `from`.
    pub fn edit(&mut self, from: &str, to: &str) {
        let from = from.replace('@', &self.prefix);
        let as_given = small::as_given(&self.text);
        assert_eq!(
            as_given.matches(&from).count(),
            1,
            "places that read {from}"
        );
        let text = as_given.replace(&from, to);
        self.rewrite(&text);
    }

    /// Brings the topology up.
    pub fn try_converge(&self) -> Result<Vec<Change>, ProvisionError> {
        provision::up(&self.topology, &self.options, &mut |_| {})
    }

    /// Brings the topology up, as if a signal came after so many changes.
    pub fn converge_until(&self, count: usize) -> Result<Vec<Change>, ProvisionError> {
        let interrupted: Arc<AtomicBool> = Arc::default();
        let options = UpOptions {
            interrupted: Arc::clone(&interrupted),
            ..self.options.clone()
        };
        let mut seen = 0;
        provision::up(&self.topology, &options, &mut |_| {
            seen += 1;
            interrupted.store(seen >= count, Ordering::Release);
        })
    }

    /// Brings the topology up, and says in words what that changed, without the prefix.
    pub fn converge(&self) -> Vec<String> {
        match self.try_converge() {
            Ok(changes) => self.words(&changes),
            Err(error) => panic!("up: {error}"),
        }
    }

    /// What bringing it up would change, in words, without the prefix.
    pub fn plan(&self) -> Vec<String> {
        match provision::plan(&self.topology, &self.options) {
            Ok(changes) => self.words(&changes),
            Err(error) => panic!("plan: {error}"),
        }
    }

    /// Changes as they are told, without the prefix.
    pub fn words(&self, changes: &[Change]) -> Vec<String> {
        changes
            .iter()
            .map(|change| change.to_string().replace(&self.prefix, ""))
            .collect()
    }

    /// Takes the lab down and makes sure that nothing of it is left.
    pub fn down(&self) -> Vec<String> {
        let changes = provision::down(&self.nodes(), &mut |_| {});
        let changes = changes.unwrap_or_else(|error| panic!("down: {error}"));
        self.assert_nothing_left();
        self.words(&changes)
    }

    /// Switches the fast path of a node, or of one endpoint of it.
    pub fn fast_path(
        &self,
        mode: impl Into<FastPathMode>,
        node: &str,
        endpoint: Option<&str>,
    ) -> Vec<String> {
        let selection = Selection {
            node: Some(self.name(node)),
            endpoint: endpoint.map(|endpoint| self.name(endpoint)),
            ..Selection::default()
        };
        match provision::set_fast_path(mode, &selection, &mut |_| {}) {
            Ok(changes) => self.words(&changes),
            Err(error) => panic!("fastpath: {error}"),
        }
    }

    /// A namespace of the lab's name that netpath did not make; it goes with the lab.
    pub fn foreign_namespace(&mut self, short: &str) -> Netns {
        let name = self.name(short);
        self.foreign.insert(name.clone());
        Netns::create(&name, |_| Ok::<(), NetnsError>(())).expect(&name)
    }

    /// Of this interface the kernel counts more than packets: the law is not asked of it.
    pub fn note_talkative(&mut self, dev: &'static str) {
        self.talkative.insert(dev);
    }

    /// A namespace of this name, if there will be one, is the test's own.
    pub fn note_foreign(&mut self, short: &str, is_foreign: bool) {
        if is_foreign {
            self.foreign.insert(self.name(short));
        }
    }

    /// A namespace in a wire's place; it goes with the lab. Its whole name.
    pub fn foreign_wire(&mut self, wire: &str) -> String {
        let name = self.wire_namespace(wire);
        self.foreign.insert(name.clone());
        drop(Netns::create(&name, |_| Ok::<(), NetnsError>(())).expect(&name));
        name
    }

    /// The whole name of a wire's namespace.
    pub fn wire_namespace(&self, wire: &str) -> String {
        format!("netpath-wire-{}", self.name(wire))
    }
}

/// Parses a topology that has to be right.
pub fn parse(text: &str) -> Topology {
    Topology::parse(Path::new("test.toml"), text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A socket of the calling thread's namespace that takes datagrams to a port of any address, of both families. One of this
/// port that was closed just now may live on for a moment in a process that another thread is starting.
pub fn listener(port: u16) -> UdpSocket {
    let deadline = Deadline::new();
    loop {
        match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                deadline.check(|| format!("port {port} is never free"));
            }
            socket => return socket.expect("a socket"),
        }
    }
}

/// Runs a command in the calling thread's namespace; it must succeed.
pub fn run(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (program, arguments) = words.split_first().expect("a command");
    command::run(program, arguments, "").unwrap_or_else(|error| panic!("{error}"))
}
