//! What a run of the benchmark found: every raw sample, and what is needed to judge it.
//!
//! This is the document that `netpath bench -j` prints; docs/bench-schema.md describes it for other people's
//! scripts. Derived figures (ratios, intervals, hop costs) are computed from it and never stored alone.

use netpath_common::Family;
use serde::{Deserialize, Serialize};

/// Version of the document. A field that is added leaves it as it is; one that changes its meaning or goes
/// raises it.
pub const SCHEMA: u32 = 1;

/// All of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Where it ran.
    pub machine: Machine,
    /// How it ran.
    pub settings: Settings,
    /// Every path that was asked for, also those that this kernel does not have.
    pub paths: Vec<PathState>,
    /// Every sample of a valid cell, in the order measured.
    pub samples: Vec<Sample>,
    /// Cells that were measured and thrown away, with the reason.
    pub rejected: Vec<Rejected>,
    /// What was known to be wrong with the machine before the first sample, such as other nodes of netpath
    /// that are up.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The machine, as it says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// `model name` of /proc/cpuinfo.
    pub cpu: String,
    /// Processors online.
    pub cores: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// `uname -r`.
    pub kernel: String,
    /// Whether it is a virtual machine, as far as the processor says (the `hypervisor` flag).
    pub virtual_machine: bool,
    /// This netpath's version.
    pub netpath: String,
    /// `iptables --version`; absent where it is not installed.
    pub iptables: Option<String>,
    /// `nft --version`; absent where it is not installed.
    pub nft: Option<String>,
    /// When the run began, in seconds since 1970-01-01 UTC.
    pub started: u64,
}

/// How the run was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Rounds that were asked for.
    pub rounds: u32,
    /// Seed of the order of paths within each round.
    pub seed: u64,
    /// Longest duration of one cell's measurement in milliseconds, without warm-up.
    pub cell_ms: u32,
    /// Duration of the warm-up before it in milliseconds; discarded.
    pub warm_up_ms: u32,
    /// UDP payload in bytes.
    pub udp_payload: u32,
    /// TCP request and response in bytes.
    pub request: u32,
    /// Processors that senders and receivers are pinned to.
    pub processors: Vec<u32>,
    /// Whether it is a `--quick` run.
    pub quick: bool,
}

/// A way between the two endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "rules")]
pub enum Path {
    /// One veth pair and no router: the limit.
    Direct,
    /// A program that does nothing but `bpf_redirect_peer`: the limit of any fast path on one node.
    Floor,
    /// Programs that write the MACs of the one next hop and redirect: the same for two nodes.
    FloorRemote,
    /// The fast path.
    Netpath,
    /// The kernel's forwarding without rules.
    Kernel,
    /// The four FORWARD rules of the demo, conntrack and a MASQUERADE rule loaded.
    Iptables,
    /// The same behind so many more FORWARD rules.
    IptablesRules(u32),
    /// The four rules, conntrack and masquerading as nftables rules behind so many more.
    NftRules(u32),
    /// The same, the many as one nftables set of so many elements.
    NftSet(u32),
    /// An nftables flowtable.
    NftFlowtable,
    /// The fast path on, and an address that the kernel translates (DNAT), as a ClusterIP is: such a connection is the
    /// kernel's.
    Nat,
    /// Two ports of a Linux bridge.
    Bridge,
    /// Two macvlan interfaces of one parent.
    Macvlan,
    /// Two ipvlan interfaces of one parent.
    Ipvlan,
    /// The kernel's forwarding through a VXLAN between the nodes, as flannel sets it up.
    Vxlan,
    /// The same through an IPIP tunnel, as Calico sets it up; IPv4 only.
    Ipip,
}

/// Whether a path could be measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathState {
    /// The path.
    pub path: Path,
    /// Why this machine does not have it; absent where it has.
    pub missing: Option<String>,
}

/// Where the two endpoints are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// On one node.
    SameNode,
    /// On two nodes, with a wire between them.
    TwoNodes,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// UDP packets on one processor. `value`: nanoseconds per packet received.
    UdpPacket,
    /// TCP request and response on one processor. `value`: median round trip in nanoseconds.
    TcpRequest,
    /// TCP connections: made, one request and response, closed. `value`: nanoseconds per connection.
    TcpConnect,
    /// Bulk TCP. `value`: nanoseconds per byte received.
    TcpBulk,
}

/// One cell of one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The round, from 0.
    pub round: u32,
    /// The path.
    pub path: Path,
    /// Where the endpoints are.
    pub reach: Reach,
    /// Address family.
    pub family: Family,
    /// What was measured.
    pub measure: Measure,
    /// The figure, in the unit that [`Measure`] states; less is better in all of them.
    pub value: f64,
    /// Wall-clock time of the measurement in nanoseconds.
    pub elapsed_ns: u64,
    /// CPU time in nanoseconds of everything that took part: both applications and the kernel's share on
    /// the processors that they are pinned to.
    pub cpu_ns: u64,
    /// Units sent: packets, requests, connections or bytes.
    pub sent: u64,
    /// Units that arrived; for requests and connections those that were answered.
    pub received: u64,
    /// Every round trip in nanoseconds, in the order measured; empty for other measures than
    /// [`Measure::TcpRequest`]. A cell ends before its time when it has 10,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub round_trips_ns: Vec<u32>,
}

/// A cell that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The round, from 0.
    pub round: u32,
    /// The path that it claimed.
    pub path: Path,
    /// Where the endpoints are.
    pub reach: Reach,
    /// Address family.
    pub family: Family,
    /// What was measured.
    pub measure: Measure,
    /// Why: a counter that does not agree, with both figures.
    pub reason: String,
}
