//! Labs for tests: a topology with names of its own, so that any number of tests may run at once, and
//! everything of it gone at the end, also after a panic.
//!
//! In a topology's text `@` stands for the lab's prefix: `name = "@a1"`. Methods take the names without it.
//! Interfaces are in namespaces of the lab's own and need no prefix.
//!
//! Everything here panics where it cannot do its work: without root, or on a kernel without BPF, tests fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt, fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use netpath::{
    datapath::Datapath,
    model::Topology,
    netns::{NETNS_DIR, Netns, NetnsError},
    probe::{
        capture::{Capture, Injector},
        ping::{PingOptions, PingReport, ping},
    },
    provision::{self, Change, ProvisionError, Selection, UpOptions},
};
use netpath_common::{DropReason, EndpointRecord, HopCounter, Ifindex, Outcome, PuntReason, text};

/// Two nodes on a wire, each with two endpoints, FORWARD at DROP: the built-in lab with other names.
pub const TWO_NODES: &str = r#"
[[node]]
name = "@A"
forward_policy = "drop"
uplink = [{ dev = "up0", addresses = ["100.100.198.250/24", "fd00:198::250/64"], wire = "@w" }]
route = [
    { dst = "10.0.3.0/24", via = "100.100.198.253" },
    { dst = "10.0.4.0/24", via = "100.100.198.253" },
    { dst = "fd00:3::/64", via = "fd00:198::253" },
    { dst = "fd00:4::/64", via = "fd00:198::253" },
]
endpoint = [
    { name = "@a1", addresses = ["10.0.1.2/24", "fd00:1::2/64"], host_dev = "va1" },
    { name = "@a2", addresses = ["10.0.2.2/24", "fd00:2::2/64"], host_dev = "va2" },
]

[[node]]
name = "@B"
forward_policy = "drop"
uplink = [{ dev = "up0", addresses = ["100.100.198.253/24", "fd00:198::253/64"], wire = "@w" }]
route = [
    { dst = "10.0.1.0/24", via = "100.100.198.250" },
    { dst = "10.0.2.0/24", via = "100.100.198.250" },
    { dst = "fd00:1::/64", via = "fd00:198::250" },
    { dst = "fd00:2::/64", via = "fd00:198::250" },
]
endpoint = [
    { name = "@b1", addresses = ["10.0.3.2/24", "fd00:3::2/64"], host_dev = "vb1" },
    { name = "@b2", addresses = ["10.0.4.2/24", "fd00:4::2/64"], host_dev = "vb2" },
]
"#;

/// One node with two endpoints and nothing else.
pub const ONE_NODE: &str = r#"
[[node]]
name = "@A"
forward_policy = "drop"
uplink = [{ dev = "up0", addresses = ["100.100.198.250/24", "fd00:198::250/64"], wire = "@w" }]
endpoint = [
    { name = "@a1", addresses = ["10.0.1.2/24", "fd00:1::2/64"], host_dev = "va1" },
    { name = "@a2", addresses = ["10.0.2.2/24", "fd00:2::2/64"], host_dev = "va2" },
]
"#;

/// What [`on_a_machine`] runs netpath on: `@H` is there, with its uplink, and plays this machine.
pub const HOST: &str = r#"
[[node]]
name = "@H"
netns = "host"
uplink = [{ dev = "up0", addresses = ["100.100.198.250/24", "fd00:198::250/64"] }]
route = [
    { dst = "10.0.3.0/24", via = "100.100.198.253" },
    { dst = "10.0.4.0/24", via = "100.100.198.253" },
    { dst = "fd00:3::/64", via = "fd00:198::253" },
]
endpoint = [
    { name = "@a1", addresses = ["10.0.1.2/24", "fd00:1::2/64"], host_dev = "va1" },
    { name = "@a2", addresses = ["10.0.2.2/24", "fd00:2::2/64"], host_dev = "va2" },
]
"#;

/// What somebody has set up on the machine: a route that netpath wants too, others that it does not, rules,
/// an interface, a neighbour.
const MACHINE: &str = "
ip link set lo up
ip link add up0 type veth peer name eth0 netns @P
ip addr add 100.100.198.250/24 dev up0
ip addr add fd00:198::250/64 dev up0 nodad
ip link set up0 up
ip link add br7 type bridge
ip link set br7 up
ip addr add 192.0.2.1/24 dev br7
ip -n @P addr add 100.100.198.253/24 dev eth0
ip -n @P addr add fd00:198::253/64 dev eth0 nodad
ip -n @P link set lo up
ip -n @P link set eth0 up
ip -n @P addr add 10.0.3.2/32 dev lo
ip -n @P addr add fd00:3::2/128 dev lo nodad
ip -n @P route add 10.0.0.0/22 via 100.100.198.250
ip -n @P route add fd00::/30 via fd00:198::250
ip route add 10.0.4.0/24 via 100.100.198.253
ip route add 10.99.0.0/16 via 100.100.198.253
ip route add 10.0.1.0/24 via 100.100.198.253 table 77
ip neigh add 100.100.198.77 dev up0 lladdr 02:00:00:00:00:77 nud permanent
iptables -w -P FORWARD DROP
ip6tables -w -P FORWARD DROP
iptables -w -A FORWARD -s 192.0.2.0/24 -j ACCEPT
";

/// Runs a test in a namespace that plays this machine for a `netns = \"host\"` node, with an uplink to another
/// (`@P`, which has 10.0.3.2 and fd00:3::2).
pub fn on_a_machine(test: impl FnOnce(&mut Lab) + Send) {
    let mut lab = Lab::prepare(HOST);
    let machine = lab.foreign_namespace("H");
    drop(lab.foreign_namespace("P"));
    let set_up = MACHINE.replace('@', &lab.prefix);
    // Moved in, so that it is also dropped there.
    let work = move || {
        for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            lab.set_sysctl("H", key, "1");
        }
        for machine in ["H", "P"] {
            lab.set_sysctl(machine, "ipv6/conf/default/accept_dad", "0");
        }
        set_up.trim().lines().for_each(|line| drop(run(line)));
        let deadline = Deadline::new();
        while !run("ip -o link show dev up0").contains("state UP") {
            deadline.check(|| "the uplink does not come up".to_owned());
        }
        test(&mut lab);
    };
    machine.run(work).expect("enter");
}

/// The addresses of [`TWO_NODES`] by endpoint or node, IPv4 and IPv6.
pub fn addresses(of: &str) -> [IpAddr; 2] {
    let [v4, v6] = match of {
        "A" => ["100.100.198.250", "fd00:198::250"],
        "B" => ["100.100.198.253", "fd00:198::253"],
        "a1" => ["10.0.1.2", "fd00:1::2"],
        "a2" => ["10.0.2.2", "fd00:2::2"],
        "b1" => ["10.0.3.2", "fd00:3::2"],
        "b2" => ["10.0.4.2", "fd00:4::2"],
        other => panic!("{other} is not in TWO_NODES"),
    };
    [v4.parse().expect(v4), v6.parse().expect(v6)]
}

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
    options: UpOptions,
}

impl Lab {
    /// A lab with a prefix of its own, of which nothing is up yet.
    pub fn prepare(text: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("t{}x{number}", process::id());
        let text = text.replace('@', &prefix);
        let topology = parse(&text);
        let mut lab = Self {
            prefix,
            text,
            topology,
            nodes: BTreeSet::new(),
            foreign: BTreeSet::new(),
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
        self.text = text.replace('@', &self.prefix);
        self.topology = parse(&self.text);
        self.note_nodes();
    }

    /// Replaces the one place that reads `from`.
    pub fn edit(&mut self, from: &str, to: &str) {
        let from = from.replace('@', &self.prefix);
        assert_eq!(
            self.text.matches(&from).count(),
            1,
            "places that read {from}"
        );
        let text = self.text.replace(&from, to);
        self.rewrite(&text);
    }

    /// Brings the topology up.
    pub fn try_converge(&self) -> Result<Vec<Change>, ProvisionError> {
        provision::up(&self.topology, &self.options, &mut |_| {})
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

    fn words(&self, changes: &[Change]) -> Vec<String> {
        changes
            .iter()
            .map(|change| change.to_string().replace(&self.prefix, ""))
            .collect()
    }

    /// A process that does `netpath up` or `netpath down` for this lab: the real program where `NETPATH_BIN`
    /// names it, else this test's own binary, which must have an ignored test `helper` that calls [`helper`].
    pub fn command(&self, what: &str) -> Command {
        let file = self.file();
        fs::write(&file, &self.text).expect("topology file");
        if let Some(program) = env::var_os(PROGRAM_VARIABLE) {
            let mut command = Command::new(program);
            command.args([what, "-f"]).arg(file);
            return command;
        }
        let mut command = test_process("helper");
        command.env(WHAT_VARIABLE, what).env(FILE_VARIABLE, file);
        command
    }

    fn file(&self) -> PathBuf {
        env::temp_dir().join(format!("{}.toml", self.prefix))
    }

    /// Takes the lab down and makes sure that nothing of it is left.
    pub fn down(&self) -> Vec<String> {
        let changes = provision::down(&self.nodes(), &mut |_| {});
        let changes = changes.unwrap_or_else(|error| panic!("down: {error}"));
        self.assert_nothing_left();
        self.words(&changes)
    }

    /// Switches the fast path of a node, or of one endpoint of it.
    pub fn fast_path(&self, on: bool, node: &str, endpoint: Option<&str>) -> Vec<String> {
        let selection = Selection {
            node: Some(self.name(node)),
            endpoint: endpoint.map(|endpoint| self.name(endpoint)),
        };
        match provision::set_fast_path(on, &selection) {
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

    /// A node's or endpoint's namespace.
    pub fn netns(&self, short: &str) -> Netns {
        let name = self.name(short);
        Netns::named(&name).expect(&name)
    }

    /// Runs something inside a namespace.
    pub fn inside<T: Send>(&self, short: &str, work: impl FnOnce() -> T + Send) -> T {
        self.netns(short).run(work).expect(short)
    }

    /// Runs `ip` inside a namespace.
    pub fn ip(&self, short: &str, arguments: &str) -> String {
        self.run(short, &format!("ip {arguments}"))
    }

    /// Runs a command inside a namespace; it must succeed.
    pub fn run(&self, short: &str, line: &str) -> String {
        self.inside(short, || run(line))
    }

    /// Writes `/proc/sys/net/<key>` of a namespace.
    pub fn set_sysctl(&self, short: &str, key: &str, value: &str) {
        let path = Path::new("/proc/sys/net").join(key);
        self.inside(short, || fs::write(&path, value)).expect(key);
    }

    /// A node's maps.
    pub fn datapath(&self, node: &str) -> Datapath {
        let name = self.name(node);
        let opened = Datapath::open(&name).unwrap_or_else(|error| panic!("{error}"));
        opened.unwrap_or_else(|| panic!("node {name} is not up"))
    }

    /// What a node's maps say of an endpoint.
    pub fn record(&self, node: &str, endpoint: &str) -> EndpointRecord {
        let name = self.name(endpoint);
        let records = self
            .datapath(node)
            .maps
            .endpoint_records()
            .expect("records");
        let found = records
            .iter()
            .find(|(key, _)| text(&key.name) == Some(&name));
        *found.unwrap_or_else(|| panic!("no record of {name}")).1
    }

    /// Starts capturing on an interface.
    pub fn capture(&self, short: &str, dev: &str) -> Capture {
        self.inside(short, || Capture::open(dev)).expect("capture")
    }

    /// Sends frames out of an interface.
    pub fn injector(&self, short: &str, dev: &str) -> Injector {
        self.inside(short, || Injector::open(dev))
            .expect("injector")
    }

    /// Pings once.
    pub fn ping(&self, from: &str, dst: IpAddr, options: &PingOptions) -> PingReport {
        ping(&self.netns(from), dst, options).unwrap_or_else(|error| panic!("ping: {error}"))
    }

    /// Fails unless each of a few pings has its one reply, with this TTL.
    pub fn assert_reaches(&self, from: &str, dst: IpAddr, ttl: u8) {
        self.assert_reaches_from(from, None, dst, ttl);
    }

    /// The same with a source address of one's own choice.
    pub fn assert_reaches_from(&self, from: &str, src: Option<IpAddr>, dst: IpAddr, ttl: u8) {
        let options = PingOptions {
            src,
            count: 3,
            interval: Duration::ZERO,
            timeout: Duration::from_secs(3),
            ..PingOptions::default()
        };
        let report = self.ping(from, dst, &options);
        assert!(report.is_clean(), "{from} to {dst}: {report:?}");
        let right = |reply: &netpath::probe::ping::Reply| (reply.source, reply.ttl) == (dst, ttl);
        assert!(
            report.replies.iter().all(right),
            "{from} to {dst}: {report:?}"
        );
    }

    /// Fails if a ping has a reply.
    pub fn assert_loses(&self, from: &str, dst: IpAddr) {
        let options = PingOptions {
            timeout: Duration::from_millis(150),
            ..PingOptions::default()
        };
        let report = self.ping(from, dst, &options);
        assert_eq!(report.sent, 1, "{report:?}");
        assert_eq!(report.received, 0, "{report:?}");
    }

    /// Packets that a node's FORWARD chains have seen that fell to the policy, IPv4 and IPv6, or met a rule.
    pub fn forward_counters(&self, node: &str) -> [String; 2] {
        ["iptables", "ip6tables"].map(|command| {
            let listing = self.run(node, &format!("{command} -w -nvxL FORWARD"));
            listing
                .lines()
                .filter(|line| !line.contains("pkts"))
                .collect()
        })
    }

    /// The counters of a node at a moment when nothing passes.
    pub fn traffic(&self, node: &str) -> Traffic {
        let mut last = self.look(node);
        let deadline = Deadline::new();
        loop {
            thread::sleep(Duration::from_millis(2));
            let now = self.look(node);
            if now == last {
                return now;
            }
            deadline.check(|| format!("the traffic of {node} does not come to rest: {now:?}"));
            last = now;
        }
    }

    /// The counters of a node while packets pass.
    pub fn traffic_now(&self, node: &str) -> Traffic {
        self.look(node)
    }

    fn look(&self, node: &str) -> Traffic {
        let maps = &self.datapath(node).maps;
        let names = maps.interfaces().expect("interfaces");
        let name = |index: Ifindex| match names.get(&index) {
            _ if index == Ifindex(0) => "-".to_owned(),
            Some(interface) => text(&interface.name).unwrap_or("?").to_owned(),
            None => format!("if{}", index.0),
        };
        let mut hops = BTreeMap::new();
        for (key, counter) in maps.hops().expect("hops") {
            let verdict = verdict(key.outcome, key.reason);
            let row = format!("{} > {} {verdict}", name(key.ingress), name(key.egress));
            assert_eq!(hops.insert(row.clone(), counter), None, "{row} twice");
        }
        assert_eq!(maps.hop_overflow().expect("overflow"), BTreeMap::new());
        Traffic {
            hops,
            received: self.inside(node, received),
        }
    }

    /// Waits for a node's counters to differ from `before` by exactly these rows; what hosts tell their own
    /// link is left out. Then the law must hold too.
    pub fn assert_counted(&self, node: &str, before: &Traffic, expected: &[(&str, u64, Bytes)]) {
        let expected: BTreeMap<&str, (u64, Bytes)> = expected
            .iter()
            .map(|&(row, packets, bytes)| (row, (packets, bytes)))
            .collect();
        let deadline = Deadline::within(Duration::from_secs(3));
        loop {
            let difference = self.traffic(node).since(before);
            let counted: BTreeMap<&str, HopCounter> = difference.without_chatter().collect();
            let equal = counted.len() == expected.len()
                && counted.iter().all(|(row, counter)| {
                    expected.get(row).is_some_and(|(packets, bytes)| {
                        counter.packets == *packets && bytes.allows(counter.bytes)
                    })
                });
            if equal && difference.obeys_the_law() {
                return;
            }
            deadline.check(|| {
                format!("{node}: counted {difference:#?}\nexpected {expected:#?}, and the law")
            });
        }
    }

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

/// How many bytes a row must have counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// Exactly these.
    Exactly(u64),
    /// Not judged.
    Any,
}

impl Bytes {
    fn allows(self, bytes: u64) -> bool {
        match self {
            Self::Exactly(exactly) => bytes == exactly,
            Self::Any => true,
        }
    }
}

/// A node's counters: netpath's own, and beside them what the kernel's interfaces say.
#[derive(Clone, PartialEq, Eq)]
pub struct Traffic {
    /// `<ingress> > <egress> <outcome> [<reason>]`, `-` for none.
    hops: BTreeMap<String, HopCounter>,
    /// Packets that came in, by interface.
    received: BTreeMap<String, u64>,
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hops = self.hops.iter().map(|(row, c)| (row, (c.packets, c.bytes)));
        f.debug_map().entries(hops).entries(&self.received).finish()
    }
}

impl Traffic {
    /// The rows that have changed. No counter ever goes back.
    pub fn since(&self, before: &Self) -> Self {
        let less = |now: u64, then: u64, what: &str| {
            now.checked_sub(then)
                .unwrap_or_else(|| panic!("{what} went back"))
        };
        for row in before.hops.keys() {
            assert!(self.hops.contains_key(row), "{row} was forgotten");
        }
        let hops = self.hops.iter().map(|(row, now)| {
            let then = before.hops.get(row).copied().unwrap_or_default();
            let counter = HopCounter {
                packets: less(now.packets, then.packets, row),
                bytes: less(now.bytes, then.bytes, row),
            };
            (row.clone(), counter)
        });
        let received = self.received.iter().map(|(dev, now)| {
            let then = before.received.get(dev).copied().unwrap_or_default();
            (dev.clone(), less(*now, then, dev))
        });
        Self {
            hops: hops.filter(|(_, counter)| counter.packets != 0).collect(),
            received: received.collect(),
        }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.hops.len()
    }

    /// A row's packets and bytes.
    pub fn row(&self, row: &str) -> (u64, u64) {
        let counter = self.hops.get(row).copied().unwrap_or_default();
        (counter.packets, counter.bytes)
    }

    /// All rows but those of what hosts tell their own link when they please: ARP, neighbour discovery,
    /// multicast listener reports, from endpoints, from other nodes, and from the node itself.
    pub fn without_chatter(&self) -> impl Iterator<Item = (&str, HopCounter)> {
        const CHATTER: [&str; 5] = [
            "arp",
            "neighbour_discovery",
            "multicast",
            "hop_by_hop",
            "not_to_this_host",
        ];
        self.hops.iter().filter_map(|(row, counter)| {
            let is_chatter = CHATTER
                .iter()
                .any(|reason| row.ends_with(&format!(" punt {reason}")));
            let is_own = row.starts_with("- > ");
            (!is_chatter && !is_own).then_some((row.as_str(), *counter))
        })
    }

    /// Whether for each interface *packets in = redirected + punted + dropped*.
    pub fn obeys_the_law(&self) -> bool {
        self.received.iter().all(|(dev, &received)| {
            let of_dev = self.hops.iter().filter(|(row, _)| {
                row.starts_with(&format!("{dev} > ")) && !row.ends_with(" deliver")
            });
            of_dev.map(|(_, counter)| counter.packets).sum::<u64>() == received
        })
    }
}

fn verdict(outcome: u8, reason: u16) -> String {
    let outcome = Outcome::from_number(outcome).unwrap_or_else(|| panic!("outcome {outcome}"));
    let punt = PuntReason::from_number(reason).map(PuntReason::name);
    let drop = DropReason::from_number(reason).map(DropReason::name);
    match (outcome, punt, drop) {
        (Outcome::Punt, Some(reason), None) | (Outcome::Drop, None, Some(reason)) => {
            format!("{} {reason}", outcome.name())
        }
        (Outcome::RedirectPeer | Outcome::RedirectNeigh | Outcome::Deliver, None, None) => {
            assert_eq!(reason, 0, "of {}", outcome.name());
            outcome.name().to_owned()
        }
        _ => panic!("outcome {} with reason {reason}", outcome.name()),
    }
}

/// Packets received by each interface of the calling thread's namespace, the loopback device left out.
fn received() -> BTreeMap<String, u64> {
    let listing = fs::read_to_string("/proc/thread-self/net/dev").expect("/proc/net/dev");
    let lines = listing.lines().skip(2);
    let interfaces = lines.filter_map(|line| {
        let (dev, numbers) = line.split_once(':')?;
        let packets = numbers.split_whitespace().nth(1)?.parse().ok()?;
        Some((dev.trim().to_owned(), packets))
    });
    interfaces.filter(|(dev, _)| dev != "lo").collect()
}

/// The release binary, as `cargo xtask test` names it.
const PROGRAM_VARIABLE: &str = "NETPATH_BIN";
/// What [`helper`] is to do.
const WHAT_VARIABLE: &str = "NETPATH_TEST_WHAT";
/// With which topology file.
const FILE_VARIABLE: &str = "NETPATH_TEST_FILE";

/// This test's own binary, running one of its ignored tests.
pub fn test_process(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("this binary"));
    command.args([
        "--exact",
        test,
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    command
}

/// What `netpath up` and `netpath down` do, in a process that a test may kill. Nothing when the test was not
/// started by [`Lab::command`].
pub fn helper() {
    let (Ok(what), Some(file)) = (env::var(WHAT_VARIABLE), env::var_os(FILE_VARIABLE)) else {
        return;
    };
    let topology = parse(&fs::read_to_string(file).expect("topology file"));
    let result = match what.as_str() {
        "up" => provision::up(&topology, &UpOptions::default(), &mut |_| {}),
        "down" => {
            let nodes = topology.nodes.iter().map(|node| node.name.to_string());
            provision::down(&Vec::from_iter(nodes), &mut |_| {})
        }
        other => panic!("{other}"),
    };
    result.unwrap_or_else(|error| panic!("{what}: {error}"));
}

/// Parses a topology that has to be right.
pub fn parse(text: &str) -> Topology {
    Topology::parse(Path::new("test.toml"), text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Runs a command in the calling thread's namespace; it must succeed.
pub fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().expect("a command"));
    let output = command.args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// What a namespace looks like: links, addresses, routes, rules, neighbours made by hand, netfilter rules,
/// sysctls.
pub fn portrait(netns: &Netns) -> String {
    netns
        .run(|| {
            let mut text = String::new();
            for line in [
                "ip -o link",
                "ip -o addr",
                "ip -4 route show table all",
                "ip -6 route show table all",
                "ip -4 rule",
                "ip -6 rule",
                "ip neigh show nud permanent",
                "iptables-save",
                "ip6tables-save",
            ] {
                text += &format!("# {line}\n");
                for line in run(line).lines().filter(|line| !line.starts_with('#')) {
                    // What the kernel counts down by itself.
                    let (line, _) = line.split_once(" expires ").unwrap_or((line, ""));
                    let (line, _) = line.split_once("valid_lft").unwrap_or((line, ""));
                    // A chain's packets and bytes.
                    let (line, _) = line.split_once(" [").unwrap_or((line, ""));
                    text += line.trim_end_matches('\\').trim_end();
                    text.push('\n');
                }
            }
            for directory in ["ipv4", "ipv6"] {
                sysctls(&Path::new("/proc/sys/net").join(directory), &mut text);
            }
            text
        })
        .expect("enter")
}

/// Every sysctl below a directory that can be read and that the kernel does not change by itself.
fn sysctls(directory: &Path, text: &mut String) {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .expect("sysctls")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sysctls(&path, text);
        } else if !path.ends_with("stable_secret")
            && let Ok(value) = fs::read_to_string(&path)
        {
            *text += &format!("{} = {}\n", path.display(), value.trim_end());
        }
    }
}

/// A bound on waiting for a condition.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// Ten seconds from now: long enough for a busy machine.
    #[expect(clippy::new_without_default, reason = "now is not a default")]
    pub fn new() -> Self {
        Self::within(Duration::from_secs(10))
    }

    /// So long from now.
    pub fn within(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Fails when the time is over.
    pub fn check(self, what: impl FnOnce() -> String) {
        assert!(Instant::now() < self.0, "{}", what());
    }
}
