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
    others: Vec<daemon::Running>,
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
                for (namespace, dev, address) in [
                    (&namespace, &port, format!("fe80::10{spine}")),
                    (&leaf, &dev, format!("fe80::{number}")),
                ] {
                    run(&format!(
                        "ip -n {namespace} addr add {address}/64 dev {dev} nodad"
                    ));
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
        let directory = machine::directory(namespace);
        let config = config::daemon(kind, role, number);
        let netns = Netns::named(namespace).expect(namespace);
        let running = netns.run(|| daemon::Running::start(kind, &directory, &config));
        self.others.push(running.expect(namespace));
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
