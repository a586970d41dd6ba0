//! What `netpath trace` and the programs that observe for it tell one another. Nothing of it is pinned or outlives a build:
//! a trace looks whether the programs of a node are of its own.

use crate::{HopKey, map_type};

/// Bytes of a packet that an event holds, from its network header on.
pub const TRACE_BYTES: usize = 128;

/// Places of a call stack that an event holds.
pub const TRACE_STACK: usize = 16;

/// Most steps of a filter.
pub const FILTER_STEPS: usize = 48;

/// Bytes of a packet's network header that a filter looks at: all of IPv6's, and IPv4's without options.
pub const NETWORK_BYTES: usize = 40;

/// Bytes of its transport header that a filter looks at.
pub const TRANSPORT_BYTES: usize = 16;

/// Packets that are followed at a time; of more, those that were not seen for longest are forgotten.
pub const TRACED_MAX: u32 = 4096;

/// Size of the ring buffer, in bytes.
pub const TRACE_RING: u32 = 1 << 20;

/// Most traces that a node's programs tell at a time.
pub const TRACES: u32 = 4;

/// What an event is about: its first field.
pub const IS_PACKET: u32 = 1;
/// What a decision is about: its first field.
pub const IS_DECISION: u32 = 2;

/// Where in the kernel a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum TracePoint {
    /// `netif_receive_skb`: it has come in by an interface.
    Received = 1,
    /// `net_dev_start_xmit`: an interface is given it to be sent.
    Sent = 2,
    /// `kfree_skb`: it was dropped.
    Dropped = 3,
    /// `consume_skb`: somebody is done with it.
    Consumed = 4,
}

impl TracePoint {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Received, Self::Sent, Self::Dropped, Self::Consumed];

    /// The one of this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|point| *point as u32 == number)
    }

    /// The kernel's tracepoint.
    pub const fn tracepoint(self) -> &'static str {
        match self {
            Self::Received => "netif_receive_skb",
            Self::Sent => "net_dev_start_xmit",
            Self::Dropped => "kfree_skb",
            Self::Consumed => "consume_skb",
        }
    }

    /// The program that is attached to it.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Received => "trace_received",
            Self::Sent => "trace_sent",
            Self::Dropped => "trace_dropped",
            Self::Consumed => "trace_consumed",
        }
    }
}

/// A packet that was seen at a [`TracePoint`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TraceEvent {
    /// [`IS_PACKET`].
    pub kind: u32,
    /// Number of the processor.
    pub cpu: u32,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Address of the kernel's `struct sk_buff`: the same for as long as the packet is not copied.
    pub skb: u64,
    /// Number of the [`TracePoint`].
    pub point: u32,
    /// Index of its interface in its namespace; 0 where it has none.
    pub ifindex: u32,
    /// Number of its network namespace, as the file of the namespace has it; 0 where it is not known.
    pub netns: u32,
    /// `skb->len`, in bytes.
    pub length: u32,
    /// Number of the drop reason; 0 where it was not dropped, or the kernel tells none.
    pub reason: u32,
    /// How many of `bytes` are the packet's.
    pub captured: u32,
    /// Where in the kernel it was dropped or consumed; 0 where the kernel does not tell.
    pub location: u64,
    /// How many of the call stack's places are filled.
    pub depth: u32,
    /// `skb->mark`.
    pub mark: u32,
    /// From the network header on.
    pub bytes: [u8; TRACE_BYTES],
    /// The calls that led to a drop, the innermost first.
    pub stack: [u64; TRACE_STACK],
}

/// What one of netpath's TC programs has decided of a packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceDecision {
    /// [`IS_DECISION`].
    pub kind: u32,
    /// Number of the processor.
    pub cpu: u32,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// As in [`TraceEvent`].
    pub skb: u64,
    /// The row that it was counted in.
    pub hop: HopKey,
    /// `skb->len`, in bytes.
    pub length: u32,
}

/// Until when a trace wants to be told of decisions: the first of all of them, each of the others of one. A trace that was killed is
/// over by itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceLease {
    /// Nanoseconds of `CLOCK_MONOTONIC`; 0 where nobody wants.
    pub until: u64,
}

/// Where the kernel keeps what is told, in bytes from the beginning of each structure: they differ from kernel to kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceOffsets {
    /// `sk_buff.dev`.
    pub skb_dev: u32,
    /// `sk_buff.len`.
    pub skb_len: u32,
    /// `sk_buff.mark`.
    pub skb_mark: u32,
    /// `sk_buff.head`.
    pub skb_head: u32,
    /// `sk_buff.data`.
    pub skb_data: u32,
    /// `sk_buff.tail`.
    pub skb_tail: u32,
    /// `sk_buff.network_header`.
    pub skb_network_header: u32,
    /// `net_device.ifindex`.
    pub dev_ifindex: u32,
    /// `net_device.nd_net`.
    pub dev_net: u32,
    /// `net.ns.inum`.
    pub net_inum: u32,
    /// 1 if `kfree_skb` tells the reason (Linux 5.17).
    pub has_reason: u32,
    /// 1 if `consume_skb` tells the place (Linux 6.5).
    pub has_consumer: u32,
    /// Of so many packets one is followed; at least 1.
    pub sample: u32,
    /// Most packets that each processor begins to follow within [`TraceOffsets::WINDOW`].
    pub rate: u32,
}

impl TraceOffsets {
    /// In nanoseconds, as a power of two: a quarter of a second.
    pub const WINDOW: u32 = 28;
}

/// What a processor has told, and what not.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceCounts {
    /// Events that the ring buffer had no room for.
    pub lost: u64,
    /// Packets that matched and were not followed: more than may be within a moment.
    pub skipped: u64,
    /// Which moment it is, in [`TraceOffsets::WINDOW`]s.
    pub window: u64,
    /// Packets that were begun to be followed in it.
    pub begun: u64,
}

/// A step of a filter: it finds something of a packet's headers, or combines what the last steps found.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterStep {
    /// [`FilterStep::END`] and the others.
    pub what: u32,
    /// Least number that is looked for.
    pub low: u16,
    /// Greatest number that is looked for.
    pub high: u16,
    /// An address, as it stands in the packet; what is outside of the mask is 0.
    pub address: [u32; 4],
    /// Which bits of it count.
    pub mask: [u32; 4],
}

impl FilterStep {
    /// Behind the last step.
    pub const END: u32 = 0;
    /// Both of the last two.
    pub const AND: u32 = 1;
    /// One of the last two.
    pub const OR: u32 = 2;
    /// Not the last one.
    pub const NOT: u32 = 3;
    /// Any packet.
    pub const ANY: u32 = 4;
    /// The family: 4 or 6.
    pub const FAMILY: u32 = 5;
    /// The protocol behind the network header.
    pub const PROTOCOL: u32 = 6;
    /// The source; `low` is the family.
    pub const SOURCE: u32 = 7;
    /// The destination; `low` is the family.
    pub const DESTINATION: u32 = 8;
    /// The source port of what has ports.
    pub const SOURCE_PORT: u32 = 9;
    /// The destination port of what has ports.
    pub const DESTINATION_PORT: u32 = 10;
    /// An ICMP or ICMPv6 error.
    pub const ICMP_ERROR: u32 = 11;
}

/// A filter: what its last step leaves.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceFilter {
    /// In the order in which they are taken.
    pub steps: [FilterStep; FILTER_STEPS],
}

/// What filters look at of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceHeaders {
    /// 4 or 6.
    pub family: u32,
    /// The protocol behind the network header.
    pub protocol: u32,
    /// Whether `source_port` and `destination_port` are any.
    pub has_ports: u32,
    /// Whether it is an ICMP or ICMPv6 error.
    pub is_error: u32,
    /// In the host's order.
    pub source_port: u32,
    /// In the host's order.
    pub destination_port: u32,
    /// As it stands in the packet; of IPv4 the first.
    pub source: [u32; 4],
    /// The same.
    pub destination: [u32; 4],
}

/// Protocol numbers (IANA).
const ICMP: u32 = 1;
const TCP: u32 = 6;
const UDP: u32 = 17;
const ICMPV6: u32 = 58;
const SCTP: u32 = 132;
const UDPLITE: u32 = 136;
/// IPv6's fragment header, of eight bytes.
const FRAGMENT: u32 = 44;

impl TraceHeaders {
    /// Where the transport header begins, in bytes from the network header on; `None` where that is neither IPv4 nor IPv6.
    #[inline(always)]
    pub fn transport(network: &[u8; NETWORK_BYTES]) -> Option<u32> {
        match network[0] >> 4 {
            4 => Some(4 * u32::from(network[0] & 15)),
            6 => Some(40),
            _ => None,
        }
    }

    /// From the first bytes of both headers. Of a later fragment the transport header is not there.
    #[inline(always)]
    pub fn of(network: &[u8; NETWORK_BYTES], transport: &[u8; TRANSPORT_BYTES]) -> Option<Self> {
        let word = |at: usize| {
            u32::from_ne_bytes([
                network[at],
                network[at + 1],
                network[at + 2],
                network[at + 3],
            ])
        };
        let (family, protocol, is_first, behind) = match network[0] >> 4 {
            4 => (
                4,
                network[9],
                network[6] & 0x1f == 0 && network[7] == 0,
                [transport[0], transport[1], transport[2], transport[3]],
            ),
            6 if u32::from(network[6]) == FRAGMENT => (
                6,
                transport[0],
                transport[2] == 0 && transport[3] & 0xf8 == 0,
                [transport[8], transport[9], transport[10], transport[11]],
            ),
            6 => (
                6,
                network[6],
                true,
                [transport[0], transport[1], transport[2], transport[3]],
            ),
            _ => return None,
        };
        let (source, destination) = match family {
            4 => ([word(12), 0, 0, 0], [word(16), 0, 0, 0]),
            _ => (
                [word(8), word(12), word(16), word(20)],
                [word(24), word(28), word(32), word(36)],
            ),
        };
        let protocol = u32::from(protocol);
        let kind = behind[0];
        let is_error = match protocol {
            ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
            ICMPV6 => kind < 128,
            _ => false,
        };
        let has_ports = matches!(protocol, TCP | UDP | SCTP | UDPLITE);
        Some(Self {
            family,
            protocol,
            has_ports: u32::from(has_ports && is_first),
            is_error: u32::from(is_error && is_first),
            source_port: u32::from(u16::from_be_bytes([behind[0], behind[1]])),
            destination_port: u32::from(u16::from_be_bytes([behind[2], behind[3]])),
            source,
            destination,
        })
    }

    /// What of a packet stays as it is on its way, whoever rewrites its addresses, ports or TTL: its identification and length.
    #[inline(always)]
    pub fn signature(network: &[u8; NETWORK_BYTES]) -> u64 {
        let of = |at: usize| u64::from(network[at]);
        match network[0] >> 4 {
            // Length, identification, protocol.
            4 => of(2) << 32 | of(3) << 24 | of(4) << 16 | of(5) << 8 | of(9) | 4 << 48,
            // Flow label, length, next header.
            _ => {
                of(1) << 40 | of(2) << 32 | of(3) << 24 | of(4) << 16 | of(5) << 8 | of(6) | 6 << 48
            }
        }
    }
}

impl FilterStep {
    /// Whether the headers have what it looks for.
    #[inline(always)]
    fn finds(&self, headers: &TraceHeaders) -> bool {
        let number = match self.what {
            Self::ANY => return true,
            Self::ICMP_ERROR => return headers.is_error != 0,
            Self::SOURCE => return self.is_in(headers.family, &headers.source),
            Self::DESTINATION => return self.is_in(headers.family, &headers.destination),
            Self::FAMILY => headers.family,
            Self::PROTOCOL => headers.protocol,
            Self::SOURCE_PORT if headers.has_ports != 0 => headers.source_port,
            Self::DESTINATION_PORT if headers.has_ports != 0 => headers.destination_port,
            _ => return false,
        };
        number >= u32::from(self.low) && number <= u32::from(self.high)
    }

    #[inline(always)]
    fn is_in(&self, family: u32, address: &[u32; 4]) -> bool {
        family == u32::from(self.low)
            && (address[0] ^ self.address[0]) & self.mask[0] == 0
            && (address[1] ^ self.address[1]) & self.mask[1] == 0
            && (address[2] ^ self.address[2]) & self.mask[2] == 0
            && (address[3] ^ self.address[3]) & self.mask[3] == 0
    }
}

impl TraceFilter {
    /// Whether a packet is one of those that are looked for.
    pub fn matches(&self, headers: &TraceHeaders) -> bool {
        self.left(headers) & 1 != 0
    }

    /// What the steps leave: the answer is in the lowest bit.
    #[inline(always)]
    pub fn left(&self, headers: &TraceHeaders) -> u32 {
        // What the steps have found that were not combined yet, the last one in the lowest bit.
        let mut found = 0u32;
        for step in &self.steps {
            found = match step.what {
                FilterStep::END => break,
                FilterStep::AND => found >> 1 & (found | !1),
                FilterStep::OR => found >> 1 | found & 1,
                FilterStep::NOT => found ^ 1,
                _ => found << 1 | u32::from(step.finds(headers)),
            };
        }
        found
    }
}

map_type!(
    TraceEvent,
    320,
    [
        kind, cpu, time, skb, point, ifindex, netns, length, reason, captured, location, depth,
        mark, bytes, stack
    ]
);
map_type!(TraceDecision, 40, [kind, cpu, time, skb, hop, length]);
map_type!(TraceLease, 8, [until]);
map_type!(
    TraceOffsets,
    56,
    [
        skb_dev,
        skb_len,
        skb_mark,
        skb_head,
        skb_data,
        skb_tail,
        skb_network_header,
        dev_ifindex,
        dev_net,
        net_inum,
        has_reason,
        has_consumer,
        sample,
        rate
    ]
);
map_type!(TraceCounts, 32, [lost, skipped, window, begun]);
map_type!(FilterStep, 40, [what, low, high, address, mask]);
map_type!(TraceFilter, 40 * FILTER_STEPS, [steps]);

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP packet from 10.0.1.2:1024 to 10.0.2.2:53, its first 8 bytes behind the network header.
    fn packet() -> ([u8; NETWORK_BYTES], [u8; TRANSPORT_BYTES]) {
        let mut network = [0; NETWORK_BYTES];
        network[..20].copy_from_slice(&[
            0x45, 0, 0, 40, 1, 2, 0x40, 0, 64, 17, 0, 0, 10, 0, 1, 2, 10, 0, 2, 2,
        ]);
        let mut transport = [0; TRANSPORT_BYTES];
        transport[..8].copy_from_slice(&[4, 0, 0, 53, 0, 20, 0, 0]);
        (network, transport)
    }

    fn step(what: u32, low: u16, high: u16) -> FilterStep {
        FilterStep {
            what,
            low,
            high,
            ..FilterStep::default()
        }
    }

    fn matches(steps: &[FilterStep]) -> bool {
        let mut all = [FilterStep::default(); FILTER_STEPS];
        all[..steps.len()].copy_from_slice(steps);
        let (network, transport) = packet();
        let headers = TraceHeaders::of(&network, &transport).expect("IPv4");
        TraceFilter { steps: all }.matches(&headers)
    }

    #[test]
    fn behind_a_fragment_header_is_the_transport() {
        let mut network = [0; NETWORK_BYTES];
        (network[0], network[6]) = (0x60, 44);
        let mut transport = [0; TRANSPORT_BYTES];
        transport[0] = 17;
        transport[8..12].copy_from_slice(&[4, 0, 0, 53]);
        let ports = |offset: [u8; 2]| {
            let mut transport = transport;
            transport[2..4].copy_from_slice(&offset);
            let found = TraceHeaders::of(&network, &transport).expect("IPv6");
            assert_eq!(found.protocol, 17);
            (found.has_ports != 0).then_some((found.source_port, found.destination_port))
        };
        // The lowest bit says that more fragments follow.
        assert_eq!(ports([0, 1]), Some((1024, 53)));
        assert_eq!(ports([0, 9]), None);
        assert_eq!(ports([1, 0]), None);
    }

    #[test]
    fn steps_are_combined_in_their_order() {
        use FilterStep as S;
        let yes = step(S::PROTOCOL, 17, 17);
        let no = step(S::PROTOCOL, 6, 6);
        let [and, or, not] = [S::AND, S::OR, S::NOT].map(|what| step(what, 0, 0));
        for (steps, expected) in [
            (&[yes][..], true),
            (&[no], false),
            (&[no, not], true),
            (&[yes, no, and], false),
            (&[no, yes, and], false),
            (&[yes, yes, and], true),
            (&[yes, no, or], true),
            (&[no, yes, or], true),
            (&[no, no, or], false),
            // (no or yes) and not (yes and no)
            (&[no, yes, or, yes, no, and, not, and], true),
            // yes under what is combined above it stays.
            (&[yes, no, no, or, or], true),
            (&[no, yes, yes, and, and], false),
            (&[], false),
        ] {
            assert_eq!(matches(steps), expected, "{steps:?}");
        }
    }

    #[test]
    fn each_part_of_the_headers_is_found() {
        use FilterStep as S;
        for (what, number) in [
            (S::FAMILY, 4),
            (S::PROTOCOL, 17),
            (S::SOURCE_PORT, 1024),
            (S::DESTINATION_PORT, 53),
        ] {
            assert!(matches(&[step(what, number, number)]), "{what}");
            assert!(!matches(&[step(what, number + 1, number + 9)]), "{what}");
            assert!(!matches(&[step(what, 0, number - 1)]), "{what}");
        }
        let inside = |what, address: [u8; 4], mask: [u8; 4], family| {
            let first = |bytes| [u32::from_ne_bytes(bytes), 0, 0, 0];
            FilterStep {
                address: first(address),
                mask: first(mask),
                ..step(what, family, 0)
            }
        };
        let mask = [255, 255, 255, 0];
        assert!(matches(&[inside(S::SOURCE, [10, 0, 1, 0], mask, 4)]));
        assert!(!matches(&[inside(S::SOURCE, [10, 0, 2, 0], mask, 4)]));
        assert!(!matches(&[inside(S::SOURCE, [10, 0, 1, 0], mask, 6)]));
        assert!(matches(&[inside(S::DESTINATION, [10, 0, 2, 0], mask, 4)]));
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let (mut network, transport) = packet();
        network[7] = 1;
        let headers = TraceHeaders::of(&network, &transport).expect("IPv4");
        assert_eq!((headers.has_ports, headers.protocol), (0, 17));
    }

    #[test]
    fn a_packet_is_known_again_after_a_hop() {
        let (mut network, _) = packet();
        let before = TraceHeaders::signature(&network);
        // TTL, checksum, and the addresses that a NAT writes.
        network[8] -= 1;
        network[10..20].fill(7);
        assert_eq!(TraceHeaders::signature(&network), before);
        network[5] += 1;
        assert_ne!(TraceHeaders::signature(&network), before);
    }
}
