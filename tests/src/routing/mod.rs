//! Machines with netpath whose routes come from routing daemons: BIRD, FRR, as in docs/multi-node.md.

pub mod config;
mod daemon;
mod machine;

pub use self::{
    config::Role,
    daemon::{Daemon, Running, batch},
    machine::{Machine, pod},
};

use netpath::netns::Netns;

use crate::lab::run;

/// Machines 1, 2 and 3 with their daemons, what they are connected by, and the daemons of that.
#[derive(Debug)]
pub struct Network {
    /// The machines, by number from 1.
    machines: Vec<Machine>,
    /// Spines or a reflector.
    others: Vec<Other>,
}

/// What is no machine: a spine or a reflector.
#[derive(Debug)]
struct Other {
    namespace: String,
    kind: Daemon,
    config: String,
    /// Unless it is dead.
    daemon: Option<daemon::Running>,
}

impl Other {
    fn start(&mut self) {
        let directory = machine::directory(&self.namespace);
        let netns = Netns::named(&self.namespace).expect(&self.namespace);
        let start = || daemon::Running::start(self.kind, &directory, &self.config);
        self.daemon = Some(netns.run(start).expect("entered"));
    }

    fn run(&self, line: &str) {
        run(&format!("ip -n {} {line}", self.namespace));
    }
}

/// Gives a spine's port its address, which it loses with its link.
fn give_address(namespace: &str, port: &str, spine: u8) {
    run(&format!(
        "ip -n {namespace} addr replace fe80::10{spine}/64 dev {port} nodad"
    ));
}

impl Network {
    /// Machines on one wire, with these daemons.
    pub fn on_a_wire(daemons: [Daemon; 3], reflector: Option<Daemon>) -> Self {
        let role = match reflector {
            Some(_) => Role::Reflected,
            None => Role::Mesh,
        };
        let mut network = Self::of(daemons, role);
        let wire = network.namespace("lan");
        run(&format!(
            "ip -n {wire} link add br0 type bridge mcast_snooping 0"
        ));
        run(&format!("ip -n {wire} link set br0 up"));
        let mut ends: Vec<(String, u8)> = (network.machines.iter())
            .map(|machine| (machine.namespace(), machine.number()))
            .collect();
        if reflector.is_some() {
            ends.push((network.namespace("rr"), 9));
        }
        for (namespace, number) in &ends {
            let port = format!("port{number}");
            join(&wire, &port, namespace, "up0");
            run(&format!("ip -n {wire} link set {port} master br0"));
            for address in [
                format!("192.168.100.{number}/24"),
                format!("fd00:100::{number}/64 nodad"),
            ] {
                let (address, option) = address.split_once(' ').unwrap_or((&address, ""));
                run(&format!(
                    "ip -n {namespace} addr add {address} dev up0 {option}"
                ));
            }
        }
        if let (Some(kind), Some((namespace, _))) = (reflector, ends.last()) {
            network.other(namespace, kind, Role::Reflector, 9);
        }
        network.begin();
        network
    }

    /// Machines behind two spines, on links without addresses; all with one kind of daemon.
    pub fn behind_spines(kind: Daemon) -> Self {
        let mut network = Self::of([kind; 3], Role::Leaf);
        for spine in [1, 2] {
            let namespace = network.namespace(&format!("s{spine}"));
            forwards(&namespace);
            let dev = format!("up{}", spine - 1);
            for machine in &network.machines {
                let (leaf, number) = (machine.namespace(), machine.number());
                let port = format!("swp{number}");
                for (namespace, dev) in [(&namespace, &port), (&leaf, &dev)] {
                    let inside = format!("ip -n {namespace} link");
                    if dev == &port {
                        run(&format!(
                            "{inside} add {port} type veth peer name up{} netns {leaf}",
                            spine - 1
                        ));
                    }
                    run(&format!("{inside} set {dev} addrgenmode none"));
                }
                give_address(&namespace, &port, spine);
                run(&format!(
                    "ip -n {leaf} addr add fe80::{number}/64 dev {dev} nodad"
                ));
                for (namespace, dev) in [(&namespace, &port), (&leaf, &dev)] {
                    run(&format!("ip -n {namespace} link set {dev} up"));
                }
            }
            run(&format!(
                "ip -n {namespace} addr add 192.168.100.10{spine}/32 dev lo"
            ));
            network.other(&namespace, kind, Role::Spine, spine);
        }
        for machine in &network.machines {
            let (namespace, number) = (machine.namespace(), machine.number());
            run(&format!(
                "ip -n {namespace} addr add 192.168.100.{number}/32 dev lo"
            ));
            machine.second_uplink();
        }
        network.begin();
        network
    }

    fn of(daemons: [Daemon; 3], role: Role) -> Self {
        let machines = (1..).zip(daemons);
        Self {
            machines: machines
                .map(|(number, kind)| Machine::new(number, kind, role))
                .collect(),
            others: Vec::new(),
        }
    }

    /// A machine by its number.
    pub fn machine(&self, number: u8) -> &Machine {
        &self.machines[usize::from(number) - 1]
    }

    /// All of them.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter()
    }

    fn namespace(&self, short: &str) -> String {
        let name = self.machines[0].foreign_namespace(short);
        run(&format!("ip -n {name} link set lo up"));
        name
    }

    fn other(&mut self, namespace: &str, kind: Daemon, role: Role, number: u8) {
        let mut other = Other {
            namespace: namespace.to_owned(),
            kind,
            config: config::daemon(kind, role, number),
            daemon: None,
        };
        other.start();
        self.others.push(other);
    }

    /// The ports of a spine, one to each machine.
    fn ports(&self) -> Vec<String> {
        let numbers = self.machines().map(Machine::number);
        numbers.map(|number| format!("swp{number}")).collect()
    }

    /// A spine dies, by its number from 1: its daemon says nothing any more, and its links are down unless FRR leads the machines'
    /// routes, which of two interfaces with link-local addresses uses one alone after the other has lost its carrier (FRR's issue
    /// 9110, Debian 12's 8.4.4). Whether the machines see their links go down.
    pub fn spine_dies(&mut self, number: u8) -> bool {
        let ports = self.ports();
        let spine = &mut self.others[usize::from(number) - 1];
        if let Some(daemon) = spine.daemon.take() {
            daemon.kill();
        }
        let takes_links = spine.kind != Daemon::Frr;
        for port in ports.iter().filter(|_| takes_links) {
            spine.run(&format!("link set {port} down"));
        }
        takes_links
    }

    /// It returns.
    pub fn spine_returns(&mut self, number: u8) {
        let ports = self.ports();
        let spine = &mut self.others[usize::from(number) - 1];
        for port in ports {
            spine.run(&format!("link set {port} up"));
            give_address(&spine.namespace, &port, number);
        }
        spine.start();
    }

    /// Daemons and nodes come up.
    fn begin(&self) {
        for machine in &self.machines {
            machine.begin();
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.others.clear();
        // The first has the namespaces that all are connected by.
        while self.machines.pop().is_some() {}
    }
}

/// A veth pair between two namespaces, both ends up.
fn join(wire: &str, port: &str, namespace: &str, dev: &str) {
    run(&format!(
        "ip -n {wire} link add {port} type veth peer name {dev} netns {namespace}"
    ));
    run(&format!("ip -n {wire} link set {port} up"));
    run(&format!("ip -n {namespace} link set {dev} up"));
}

/// Makes a namespace a router.
fn forwards(namespace: &str) {
    let netns = Netns::named(namespace).expect(namespace);
    let set = || {
        for (key, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv4/fib_multipath_hash_policy", "1"),
            ("ipv6/fib_multipath_hash_policy", "1"),
        ] {
            std::fs::write(format!("/proc/sys/net/{key}"), value).expect(key);
        }
    };
    netns.run(set).expect(namespace);
}
