//! What only the doctor looks at, and can find wrong with.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use netpath_common::Family;

use crate::finding::{Finding, kinds};

/// A connection's packets must not be dropped for where it began.
const LOOSE: &str = "have connections picked up that conntrack has not seen begin, with `sysctl -w \
    net.netfilter.nf_conntrack_tcp_loose=1`, or take the rule out";

/// So many objects are named where there may be any number.
const SHOWN: usize = 4;

kinds! {
    /// One thing that is wrong, or that is worth a word. [`Display`](fmt::Display) says which.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Fault {
        /// The kernel lacks what the programs cannot do without.
        KernelLacks(String) = "kernel_lacks", "boot a kernel that has it: Linux 6.1 and newer do";
        /// The kernel interprets BPF programs: each packet costs many times what it costs with programs that are compiled.
        JitOff = "jit_off", "have them compiled, with `sysctl -w net.core.bpf_jit_enable=1`";
        /// The kernel hides the constants of all BPF programs, root's too (`bpf_jit_harden`): each packet costs more.
        JitHardened = "jit_hardened", "leave it where it is meant so; `sysctl -w net.core.bpf_jit_harden=1` hides only those of \
            users without rights";
        /// The kernel counts the memory of maps as locked memory, and does not let this process lock enough.
        MemlockLow {
            /// The limit, in bytes.
            limit: u64,
        } = "memlock_low", "raise the limit, as with `ulimit -l unlimited`, or use Linux 5.11 or newer";
        /// This process may not have as many files open as the nodes have maps.
        OpenFilesLow {
            /// How many have to be open at once.
            needed: u64,
            /// How many may be.
            limit: u64,
        } = "open_files_low", "raise the hard limit, as with `ulimit -Hn 4096`";
        /// The BPF filesystem here is another one than the machine's: what is up cannot be seen.
        BpffsHidden(String) = "bpffs_hidden", "run netpath where everybody sees it, with `nsenter --mount=/proc/1/ns/mnt`";
        /// The BPF filesystem is mounted read-only: nothing can be made or changed.
        BpffsReadOnly {
            /// Only this mount of it, not the filesystem.
            bind: bool,
        } = "bpffs_read_only", "mount it read-write, with `mount -o remount,rw /sys/fs/bpf`";
        /// A second BPF filesystem is mounted over the one that nodes are pinned on: nobody sees them, and their programs run on.
        BpffsCovered = "bpffs_covered", "take the upper one away, with `umount /sys/fs/bpf`";
        /// What netpath would make here ends with this mount namespace, or is seen by nobody outside it.
        MountNamespace(String) = "mount_namespace", "run netpath where everybody sees what it mounts, with `nsenter \
            --mount=/proc/1/ns/mnt`";
        /// Somebody else than root may hold netpath's locks, or they cannot be had: nothing can be changed.
        LockUntrusted(String) = "lock_untrusted", "remove it if nothing uses it, with `rm -r /run/netpath`";
        /// Another netpath changes nodes just now: what is found may be the half of that.
        AtWork {
            /// The process.
            process: u32,
        } = "netpath_at_work", "look again when it has ended";
        /// Pins of a node are left that was never finished, or not wholly removed, by a netpath that was killed. They take memory, and
        /// the next `netpath up` of that node takes them away.
        LeftUnfinished(String) = "left_unfinished", "`netpath doctor --fix` takes them away";
        /// A node of the file is not up.
        NotUp = "not_up", "`netpath up` makes it";
        /// The file asks for something else than what is up.
        DiffersFromFile(String) = "differs_from_file", "`netpath up` makes it so, and `netpath up --dry-run` says what that is";
        /// The fast path is switched off: the kernel forwards, by its rules and at its price.
        FastPathOff = "fast_path_off", "`netpath fastpath on` attaches it";
        /// The fast path leaves packets to the kernel, because something of the machine's acts on them that it would pass by.
        LeftToKernel {
            /// The names of the reasons.
            reasons: Vec<&'static str>,
            /// Of what.
            objects: Vec<String>,
        } = "left_to_the_kernel", "leave it where the kernel is to act on them; else remove what does, or \
            write the reason into `bypass` of the topology file, and run `netpath up`";
        /// The programs log every packet, which costs many times what forwarding it does.
        ProgramsLog = "programs_log", "`netpath up` loads those that do not";
        /// A map has little room left: what comes next may find none.
        MapNearlyFull {
            /// The map.
            map: &'static str,
            /// The key of the topology file that says how much room there is.
            key: &'static str,
            /// How many entries it has.
            entries: u64,
            /// How many it has room for.
            room: u64,
        } = "map_nearly_full", "write more into the topology file, and run `netpath up`, which makes room under the running traffic";
        /// The table of connections forgets those that are the kernel's: answers to them may take the fast path and arrive untranslated.
        ConnectionsEvicted {
            /// Of which family.
            family: Family,
            /// How many at least.
            evicted: u64,
            /// How many it has room for.
            room: u64,
        } = "connections_evicted", "raise max_connections in the topology file, and run `netpath up`";
        /// Packets are counted without the interface that they came in by: the table of hops had no room.
        CountersOverflowed {
            /// How many.
            packets: u64,
        } = "counters_overflowed", "bring the node down and up again, with `netpath down NODE` and `netpath up`, which begins new counters";
        /// The kernel's connection tracking has little room left: new connections are then dropped, whoever they are for.
        ConntrackNearlyFull {
            /// How many are tracked.
            count: u64,
            /// How many there is room for.
            max: u64,
        } = "conntrack_nearly_full", "make room on the machine, with `sysctl -w net.netfilter.nf_conntrack_max=N` for a larger N";
        /// A rule drops what belongs to no connection that was seen to begin, and the kernel does not pick up those that it has not:
        /// TCP connections that began on the fast path end when they come to the kernel (`fastpath off`, a lost next hop, `bypass`).
        InvalidDropped {
            /// The chain.
            chain: String,
        } = "invalid_dropped", LOOSE;
        /// Connections are not tracked in one direction, and a rule drops what belongs to none that was seen to begin: what the kernel
        /// is left of them is dropped in the other direction.
        NotrackOneWay {
            /// The chain that says so.
            chain: String,
            /// Not tracked from here.
            source: IpNet,
            /// To there.
            destination: IpNet,
            /// The chain that drops.
            drops: String,
        } = "notrack_one_way", "leave both directions untracked, or none, with a rule for the other one in the raw table";
        /// The table of neighbours has little room left: the kernel then finds no next hops.
        NeighboursNearlyFull {
            /// Of which family.
            family: Family,
            /// How many there are.
            count: u64,
            /// How many there may be.
            max: u64,
        } = "neighbours_nearly_full", "raise the limit of the machine, net.ipv4.neigh.default.gc_thresh3 or that of ipv6, with `sysctl -w`";
        /// An address is somebody's twice: answers go to one of them, and the other waits.
        DuplicateAddress {
            /// The address.
            address: IpAddr,
            /// Who else has it.
            other: String,
            /// The command that takes it from there; none where both have it by a topology file.
            command: Option<String>,
        } = "address_twice", "give one of the two another address in its topology file, and run `netpath up`";
        /// Somebody else on the link answers for an address of an uplink: packets for this node go there.
        AddressAnswered {
            /// The address.
            address: IpAddr,
            /// The uplink.
            dev: String,
            /// Whose Ethernet address answers; `None` where only the kernel's own detection says so.
            mac: Option<String>,
        } = "address_answered", "give one of the two another address: `ip neigh` and the switch say where that Ethernet address is";
        /// Uplinks on one segment have different MTUs: what is longer than the smaller one is lost there without a word.
        WireMtusDiffer {
            /// This uplink and its MTU in bytes.
            own: (String, u32),
            /// The other node, its uplink and that one's MTU in bytes.
            other: (String, String, u32),
            /// The command that sets the larger one.
            command: String,
        } = "segment_mtus_differ", "give all uplinks of a segment one MTU, with `ip link set dev DEV mtu N`";
        /// An endpoint's MTU is larger than an uplink's: what is longer than that is answered with an error, once for each
        /// destination, and who heeds no such errors loses it.
        MtuBeyondUplink {
            /// The endpoint's interface and its MTU in bytes.
            own: (String, u32),
            /// The uplink and its MTU in bytes.
            uplink: (String, u32),
        } = "mtu_beyond_uplink", "leave mtu out of the topology file: then it is the least of the uplinks'";
        /// The kernel has learnt, or a route says, that packets to a destination must be shorter than the interfaces take: longer
        /// ones are answered with an error.
        PathMtu {
            /// The destination.
            dst: IpNet,
            /// The longest that passes, in bytes.
            mtu: u32,
            /// The command that forgets it.
            command: String,
        } = "path_mtu", "see where the way is narrower; `ip route flush cache` forgets what was learnt";
        /// Several next hops lead to a destination, and the kernel chooses among them by addresses alone: all connections between
        /// two endpoints take one way.
        EcmpByAddresses {
            /// The destination.
            dst: IpNet,
            /// The setting.
            key: &'static str,
        } = "ecmp_by_addresses", "spread them by ports too, with `sysctl -w` of net.ipv4.fib_multipath_hash_policy=1 and that of ipv6";
        /// An uplink has no address: errors that the node sends by it come from another interface's address, or not at all.
        UplinkWithoutAddress = "uplink_without_address", "give it one with `ip address add`, if it is not meant to be unnumbered";
        /// An endpoint has sent packets from addresses that are not its own, which are dropped.
        Spoofed {
            /// How many since the node is up.
            packets: u64,
        } = "spoofed_packets", "see which with `tcpdump` in the endpoint's namespace; if the addresses are its own, add them to its `addresses` or \
            `prefixes` in the topology file";
    }
}

impl Fault {
    /// As a finding about an object.
    #[must_use]
    pub fn finding(&self, object: impl Into<String>) -> Finding {
        self.kind().found(object, self.to_string(), self.cure())
    }

    /// Whether nothing is lost or refused for it: it is worth a word, and not a fault.
    #[must_use]
    pub fn is_notice(&self) -> bool {
        match self {
            Self::JitHardened
            | Self::AtWork { .. }
            | Self::LeftUnfinished(_)
            | Self::NotUp
            | Self::DiffersFromFile(_)
            | Self::FastPathOff
            | Self::LeftToKernel { .. }
            | Self::ProgramsLog
            | Self::MapNearlyFull { .. }
            | Self::MtuBeyondUplink { .. }
            | Self::PathMtu { .. }
            | Self::EcmpByAddresses { .. }
            | Self::UplinkWithoutAddress
            | Self::Spoofed { .. } => true,
            Self::KernelLacks(_)
            | Self::JitOff
            | Self::MemlockLow { .. }
            | Self::OpenFilesLow { .. }
            | Self::BpffsHidden(_)
            | Self::BpffsCovered
            | Self::BpffsReadOnly { .. }
            | Self::MountNamespace(_)
            | Self::LockUntrusted(_)
            | Self::ConnectionsEvicted { .. }
            | Self::CountersOverflowed { .. }
            | Self::ConntrackNearlyFull { .. }
            | Self::InvalidDropped { .. }
            | Self::NotrackOneWay { .. }
            | Self::NeighboursNearlyFull { .. }
            | Self::DuplicateAddress { .. }
            | Self::AddressAnswered { .. }
            | Self::WireMtusDiffer { .. } => false,
        }
    }

    /// What mends it.
    fn cure(&self) -> String {
        match self {
            Self::OpenFilesLow { needed, .. } => {
                format!("raise the hard limit, as with `ulimit -Hn {needed}`")
            }
            Self::BpffsHidden(remedy) | Self::MountNamespace(remedy) => format!("run `{remedy}`"),
            Self::BpffsReadOnly { bind: true } => {
                "mount it read-write, with `mount -o remount,rw,bind /sys/fs/bpf`".to_owned()
            }
            Self::DuplicateAddress {
                command: Some(command),
                ..
            } => format!("take it from there: `{command}`"),
            Self::WireMtusDiffer { command, .. } => {
                format!("give both the smaller one: `{command}`, and `netpath up` then")
            }
            Self::PathMtu { command, .. } => {
                format!("see where the way is narrower; `{command}` forgets it")
            }
            Self::EcmpByAddresses { key, .. } => {
                format!("spread them by ports too, with `sysctl -w {key}=1`")
            }
            Self::ConntrackNearlyFull { max, .. } => format!(
                "make room on the machine: `sysctl -w net.netfilter.nf_conntrack_max={}`",
                max.saturating_mul(2)
            ),
            Self::NeighboursNearlyFull { family, max, .. } => {
                let tree = match family {
                    Family::V4 => "ipv4",
                    Family::V6 => "ipv6",
                };
                format!(
                    "raise the limit of the machine: `sysctl -w net.{tree}.neigh.default.gc_thresh3={}`",
                    max.saturating_mul(2)
                )
            }
            _ => self.kind().cure.to_owned(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KernelLacks(what) => f.write_str(what),
            Self::JitOff => f.write_str("net.core.bpf_jit_enable is 0: programs are interpreted"),
            Self::JitHardened => f.write_str("net.core.bpf_jit_harden is 2: programs are slower"),
            Self::MemlockLow { limit } => {
                write!(f, "only {limit} bytes of memory may be locked, which maps need here")
            }
            Self::OpenFilesLow { needed, limit } => write!(
                f,
                "{needed} files have to be open at once, and this process may not have more than {limit}"
            ),
            Self::BpffsHidden(_) => f.write_str(
                "/sys/fs/bpf is not the machine's here (this mount namespace has its own), so what is up cannot be seen",
            ),
            Self::BpffsReadOnly { .. } => f.write_str("/sys/fs/bpf is mounted read-only"),
            Self::BpffsCovered => f.write_str(
                "/sys/fs/bpf is mounted twice: nodes that are pinned on the one below are not seen, and their programs run on",
            ),
            Self::MountNamespace(_) => f.write_str(
                "what is mounted in this mount namespace is not seen outside it, so that nothing can be made for good",
            ),
            Self::LockUntrusted(problem) => f.write_str(problem),
            Self::AtWork { process } => write!(f, "process {process} changes nodes just now"),
            Self::LeftUnfinished(node) => write!(f, "pins of {node} are left, by a netpath that was killed"),
            Self::NotUp => f.write_str("it is not up"),
            Self::DiffersFromFile(changes) => write!(f, "`netpath up` would change: {changes}"),
            Self::FastPathOff => f.write_str("the fast path is off, as it was asked for: the kernel forwards"),
            Self::LeftToKernel { reasons, objects } => {
                let (first, rest) = objects.split_at(objects.len().min(SHOWN));
                write!(f, "packets of {}", first.join(", "))?;
                if !rest.is_empty() {
                    write!(f, " and {} more", rest.len())?;
                }
                write!(f, " are left to the kernel ({})", reasons.join(", "))
            }
            Self::ProgramsLog => f.write_str("its programs log every packet (`--debug-datapath`)"),
            Self::MapNearlyFull {
                map,
                key,
                entries,
                room,
            } => write!(f, "map {map} has {entries} entries, and room for {room} ({key})"),
            Self::ConnectionsEvicted {
                family,
                evicted,
                room,
            } => write!(
                f,
                "of its {family} connections that are the kernel's {evicted} at least were forgotten to make room: there is room for {room}"
            ),
            Self::CountersOverflowed { packets } => {
                write!(f, "{packets} packets found no room in the counters of hops")
            }
            Self::ConntrackNearlyFull { count, max } => {
                write!(f, "{count} connections are tracked, and there is room for {max}")
            }
            Self::InvalidDropped { chain } => write!(
                f,
                "chain {chain} drops packets by their connection's state, and net.netfilter.nf_conntrack_tcp_loose is 0: connections of \
                 the fast path die when they come to the kernel"
            ),
            Self::NotrackOneWay {
                chain,
                source,
                destination,
                drops,
            } => write!(
                f,
                "chain {chain} leaves packets from {source} to {destination} untracked, and not the answers, which chain {drops} drops by \
                 their connection's state"
            ),
            Self::NeighboursNearlyFull { family, count, max } => {
                write!(f, "there are {count} {family} neighbours, and there may be {max}")
            }
            Self::DuplicateAddress { address, other, .. } => {
                write!(f, "its address {address} is {other}'s too")
            }
            Self::AddressAnswered { address, dev, mac } => match mac {
                Some(mac) => write!(f, "somebody else on {dev} answers for {address}: {mac}"),
                None => write!(f, "somebody else on {dev} has {address}: the kernel does not use it"),
            },
            Self::WireMtusDiffer { own, other, .. } => write!(
                f,
                "the MTU of {} is {}, and that of {} of node {} on the same segment is {}",
                own.0, own.1, other.1, other.0, other.2
            ),
            Self::MtuBeyondUplink { own, uplink } => write!(
                f,
                "the MTU of {} is {}, and that of uplink {} is {}",
                own.0, own.1, uplink.0, uplink.1
            ),
            Self::PathMtu { dst, mtu, .. } => {
                write!(f, "packets to {dst} that are longer than {mtu} bytes are answered with an error")
            }
            Self::EcmpByAddresses { dst, key } => {
                write!(f, "several next hops lead to {dst}, and {key} is 0")
            }
            Self::UplinkWithoutAddress => f.write_str("it has no address"),
            Self::Spoofed { packets } => write!(
                f,
                "{packets} packets from it were dropped: they came from addresses that are not its own"
            ),
        }
    }
}
