//! What the doctor has read, before anything is judged.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use netpath_common::Family;

use super::Fault;
use crate::{
    finding::Finding,
    provision::NodeStatus,
    reconcile::{Wanted, World},
};

/// A part of it that may not be readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// What the kernel is and can do.
    Kernel,
    /// How it runs BPF programs.
    Jit,
    /// Mounts and mount namespaces.
    Mounts,
    /// netpath's files below /run and on the BPF filesystem.
    Files,
    /// The topology file, against what is there.
    File,
    /// The nodes that are up.
    Nodes,
    /// What is only read for the doctor of each node.
    Beyond,
    /// What the kernel has learnt of paths.
    Paths,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Seen {
    /// The machine.
    pub machine: Machine,
    /// The nodes that are up, of those that were asked for.
    pub nodes: Vec<SeenNode>,
    /// What is there of the other nodes that are up.
    pub others: Vec<(Wanted, World)>,
    /// The topology file, if one was given.
    pub file: Option<SeenFile>,
    /// What could not be read, and why not.
    pub unseen: BTreeMap<Part, String>,
}

/// What does not belong to a node.
#[derive(Debug, Default)]
pub struct Machine {
    /// Its version.
    pub release: String,
    /// How programs are attached.
    pub attach_mode: Option<&'static str>,
    /// Whether it tells the types of its structures, which no program of a node's needs.
    pub btf: bool,
    /// What it lacks.
    pub lacks: Option<String>,
    /// `net.core.bpf_jit_enable`.
    pub jit: Option<u32>,
    /// `net.core.bpf_jit_harden`.
    pub jit_harden: Option<u32>,
    /// The limit of locked memory in bytes, where the kernel counts maps by it.
    pub memlock: Option<u64>,
    /// What is wrong with where netpath runs, and what it keeps there.
    pub faults: Vec<Fault>,
    /// What this process lacks, in words.
    pub lacking: Vec<String>,
    /// The process that changes nodes just now.
    pub at_work: Option<u32>,
    /// Nodes of which pins are left that were never finished.
    pub unfinished: Vec<String>,
}

/// A topology file, against what is there.
#[derive(Debug, Default)]
pub struct SeenFile {
    /// Its nodes that are not up.
    pub missing: Vec<String>,
    /// What `up` would refuse.
    pub refused: Vec<Finding>,
    /// What would be wrong then.
    pub told: Vec<Finding>,
    /// What `up` would change, by node.
    pub changes: BTreeMap<String, Vec<String>>,
}

/// A node that is up.
#[derive(Debug)]
pub struct SeenNode {
    /// What `show` tells of it.
    pub status: NodeStatus,
    /// What that follows from; `None` where it could not be looked at.
    pub world: Option<(Wanted, World)>,
    /// What nobody else reads; as `world`.
    pub beyond: Beyond,
}

/// Which build of the programs is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Build {
    /// This netpath's.
    #[default]
    Own,
    /// This netpath's, and it logs packets.
    Logging,
    /// Another netpath's.
    Other,
}

/// What is read of a node for the doctor alone.
#[derive(Debug, Default)]
pub struct Beyond {
    /// Settings of its namespace, by their path below `/proc/sys/net`.
    pub sysctls: BTreeMap<&'static str, u64>,
    /// How many neighbours of each family the kernel counts against their limit.
    pub neighbours: Vec<(Family, u64)>,
    /// Addresses of which the kernel has found that somebody else has them, and their interfaces.
    pub duplicates: Vec<(String, IpAddr)>,
    /// Who answers for addresses of uplinks: interface, address, Ethernet address. Only where it was asked.
    pub answered: Vec<(String, IpAddr, String)>,
    /// Destinations with an MTU that was learnt.
    pub learnt: Vec<(IpNet, u32)>,
    /// Why these could not be read.
    pub unlearnt: Option<String>,
    /// A chain that drops what is forwarded by its connection's state.
    pub drops_by_state: Option<String>,
    /// A chain that leaves packets from here to there untracked, and not those from there.
    pub one_way: Option<(String, IpNet, IpNet)>,
    /// How full its maps are.
    pub fills: Vec<Fill>,
    /// Of each family: entries, room, evicted.
    pub connections: Vec<(Family, u64, u64, u64)>,
    /// Packets that found no room in the counters.
    pub overflowed: u64,
    /// Packets that endpoints have sent from other addresses than their own.
    pub spoofed: BTreeMap<String, u64>,
    /// Which programs are loaded.
    pub build: Build,
}

/// How full a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// The map.
    pub map: &'static str,
    /// The key of the topology file that says how much room it has.
    pub key: &'static str,
    /// Entries that there are.
    pub entries: u64,
    /// Entries that there is room for.
    pub room: u64,
}

/// A node, as recorded and as it is there.
type Node<'a> = (&'a Wanted, &'a World);

impl Seen {
    /// Each pair of nodes of which one at least was asked for, once.
    pub(super) fn pairs(&self) -> Vec<(Node<'_>, Node<'_>)> {
        let asked = self.looked_at().map(|(_, wanted, world)| (wanted, world));
        let asked: Vec<Node<'_>> = asked.collect();
        let others = self.others.iter().map(|(wanted, world)| (wanted, world));
        let all: Vec<Node<'_>> = asked.iter().copied().chain(others).collect();
        let mut pairs = Vec::new();
        for (index, one) in asked.iter().enumerate() {
            pairs.extend(all[index + 1..].iter().map(|other| (*one, *other)));
        }
        pairs
    }

    /// The nodes that could be looked at.
    pub(super) fn looked_at(&self) -> impl Iterator<Item = (&SeenNode, &Wanted, &World)> {
        self.nodes.iter().filter_map(|node| {
            let (wanted, world) = node.world.as_ref()?;
            Some((node, wanted, world))
        })
    }
}
