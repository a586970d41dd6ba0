//! What `netpath bench scale` found: the document that `-j` prints, described in docs/bench-schema.md. Medians and
//! ratios are derived from the samples in it and not stored.

use serde::{Deserialize, Serialize};

use crate::{Family, Machine, Path, Reach};

/// Version of the document. A field that is added leaves it as it is; one that changes its meaning or goes
/// raises it.
pub const SCALE_SCHEMA: u32 = 1;

/// All of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleResults {
    /// [`SCALE_SCHEMA`].
    pub schema: u32,
    /// Where it ran.
    pub machine: Machine,
    /// How it ran.
    pub settings: ScaleSettings,
    /// Filling the tables.
    pub tables: Vec<Table>,
    /// What the programs cost by themselves.
    pub programs: Vec<ProgramSample>,
    /// What a hop costs on the wire.
    pub hops: Vec<HopSample>,
    /// Hops that were measured and thrown away.
    pub rejected: Vec<RejectedHop>,
    /// How soon a change takes effect.
    pub reactions: Vec<Reaction>,
    /// Real endpoints, made and removed.
    pub endpoints: RealEndpoints,
}

/// How the run was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleSettings {
    /// Rounds of every measurement.
    pub rounds: u32,
    /// Seed of the synthetic addresses and prefixes, and of the order within each round.
    pub seed: u64,
    /// Duration of one measurement on the wire in milliseconds, without warm-up.
    pub cell_ms: u32,
    /// UDP payload in bytes, on the wire and in the frames that the programs are run on.
    pub udp_payload: u32,
    /// Most destinations that a measurement cycles over.
    pub destinations_max: u32,
    /// Capacity of every node's maps: endpoint addresses per family.
    pub max_endpoints: u32,
    /// Capacity of every node's maps: prefixes per family.
    pub max_routes: u32,
    /// The processor that everything timed is pinned to.
    pub processor: u32,
    /// Whether it is a `--quick` run.
    pub quick: bool,
}

/// How full a node's tables are.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Size {
    /// Endpoint addresses of each family, besides those of the two real endpoints.
    pub endpoints: u32,
    /// Prefixes of each family.
    pub routes: u32,
}

/// The filling of one node's tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// How full it became.
    pub size: Size,
    /// Time to write the endpoint addresses in nanoseconds, by family.
    pub endpoints_ns: ByFamily,
    /// Time to write the prefixes in nanoseconds, by family.
    pub routes_ns: ByFamily,
    /// Time to write the first `single` prefixes with one system call each in nanoseconds, before all others
    /// and not part of `routes_ns`; by family.
    pub single_ns: ByFamily,
    /// How many these were.
    pub single: u32,
    /// What the node's maps take, as the kernel says (`memlock` of their fdinfo), in bytes: before.
    pub maps_before: Vec<MapMemory>,
    /// The same after.
    pub maps_after: Vec<MapMemory>,
}

/// A figure for each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByFamily {
    /// IPv4.
    pub v4: u64,
    /// IPv6.
    pub v6: u64,
}

/// Memory of one map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapMemory {
    /// Its name.
    pub map: String,
    /// In bytes. `None` where the kernel does not count what is in a map, but tells a figure of its capacity: before
    /// Linux 6.4.
    pub bytes: Option<u64>,
}

/// What is done with a packet that a program is run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PacketKind {
    /// From an endpoint to another of the node: redirected to its peer.
    SameNode,
    /// From an endpoint to another node: longest prefix, the kernel's FIB, redirected to a neighbour.
    Remote,
    /// From another node to an endpoint.
    Uplink,
    /// From an endpoint with a source that is not its: dropped.
    Spoofed,
    /// From an endpoint to a destination without a route: punted.
    NoRoute,
}

/// One run of a program, and of the empty program beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramSample {
    /// The round, from 0.
    pub round: u32,
    /// The node's tables.
    pub size: Size,
    /// The packet.
    pub packet: PacketKind,
    /// Address family.
    pub family: Family,
    /// False: one packet, run again and again. True: one run for each of many packets.
    pub spread: bool,
    /// Packets that differ in their destination (spoofed ones in their source).
    pub destinations: u32,
    /// Time of a run in picoseconds: the mean, or of `spread` the median.
    pub run_ps: u64,
    /// The same of the empty program, run in the same way just before.
    pub empty_ps: u64,
}

/// One hop on the wire, and the direct path beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HopSample {
    /// The round, from 0.
    pub round: u32,
    /// The path.
    pub path: Path,
    /// The node's tables; both 0 where the path is not netpath's.
    pub size: Size,
    /// `same_node`: between two endpoints. `two_nodes`: to a prefix of another node, one hop as well.
    pub reach: Reach,
    /// Address family.
    pub family: Family,
    /// False: one destination. True: spread over many, in random order.
    pub spread: bool,
    /// How many.
    pub destinations: u32,
    /// Nanoseconds per packet received, of all batches.
    pub ns: f64,
    /// The same between the same two endpoints over a veth pair of their own, to as many destinations, in turn with
    /// this path.
    pub direct_ns: f64,
    /// Nanoseconds per packet of the median batch of 64: one that another process interrupted says nothing.
    pub batch_ns: f64,
    /// The same of the direct path.
    pub direct_batch_ns: f64,
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
    /// Packets sent over the direct path.
    pub direct_sent: u64,
    /// Packets received over it.
    pub direct_received: u64,
}

/// A hop that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedHop {
    /// The round, from 0.
    pub round: u32,
    /// The path that it claimed.
    pub path: Path,
    /// The node's tables.
    pub size: Size,
    /// Where to.
    pub reach: Reach,
    /// Address family.
    pub family: Family,
    /// Why: a counter that does not agree, with both figures.
    pub reason: String,
}

/// What is changed under a running stream of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The kernel's route gets another next hop.
    NextHop,
    /// A prefix appears in netpath's table.
    Prefix,
    /// An endpoint's address appears in netpath's table.
    Endpoint,
}

/// One change under a running stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    /// The round, from 0.
    pub round: u32,
    /// Who forwards: [`Path::Netpath`] or [`Path::Kernel`].
    pub path: Path,
    /// What was changed.
    pub change: ChangeKind,
    /// Address family.
    pub family: Family,
    /// From just before the request to the kernel until it was answered, in nanoseconds.
    pub request_ns: u64,
    /// From just before the request until the first packet that took the new way arrived, in nanoseconds.
    pub first_packet_ns: u64,
    /// Mean time between two packets of the stream in nanoseconds: no answer can be finer.
    pub interval_ns: u64,
}

/// Endpoints made by `netpath up`, with namespace, veth and fast path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealEndpoints {
    /// How many.
    pub count: u32,
    /// Time to bring them up in nanoseconds, while the kernel expedites its grace periods, as it does for labs.
    pub up_ns: u64,
    /// The same while it does not.
    #[serde(default)]
    pub plain_up_ns: Option<u64>,
    /// Of which for each tenth of them, in order.
    pub tenths_ns: Vec<u64>,
    /// Time to remove them in nanoseconds.
    pub down_ns: u64,
    /// Fall of `MemAvailable` in bytes while they came up. Whatever else ran on the machine is in it.
    pub memory: i64,
    /// Growth of the node's maps in bytes, as the kernel says; `None` as in [`MapMemory::bytes`].
    pub maps: Option<u64>,
}
