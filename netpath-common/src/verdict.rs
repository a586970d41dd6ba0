//! What happens to a packet, and why. Numbers are part of the pinned ABI: fixed, never reused, and out of
//! the range of TC return codes, so that one can never be taken for the other.

/// Defines a reason: an enum with fixed numbers and its names in `netpath stats`.
macro_rules! reasons {
    ($(#[$meta:meta])* $type:ident { $($(#[doc = $doc:literal])+ $variant:ident = $number:literal => $name:literal,)+ }) => {
        $(#[$meta])*
        #[repr(u16)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type { $($(#[doc = $doc])+ $variant = $number,)+ }

        impl $type {
            /// Every reason, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The number kept in [`HopKey`](crate::HopKey).
            pub const fn number(self) -> u16 { self as u16 }

            /// The stable snake_case name that `netpath stats` shows.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it means, in a sentence or two.
            pub const fn means(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// The reason with this number.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

reasons! {
    /// Why a packet was left to the kernel's own forwarding path, untouched.
    PuntReason {
        /// ARP.
        Arp = 101 => "arp",
        /// Neither IPv4, IPv6 nor ARP.
        EtherType = 102 => "ether_type",
        /// VLAN-tagged.
        Vlan = 103 => "vlan",
        /// The frame was addressed to another MAC than this interface's.
        NotToThisHost = 104 => "not_to_this_host",
        /// IPv4 with options.
        IpOptions = 105 => "ip_options",
        /// IPv6 with a hop-by-hop options header, which every router has to look at.
        HopByHop = 106 => "hop_by_hop",
        /// IPv6 neighbour discovery (RFC 4861).
        NeighbourDiscovery = 107 => "neighbour_discovery",
        /// Multicast destination, of the frame or of the packet.
        Multicast = 108 => "multicast",
        /// Broadcast destination of the frame, or limited broadcast destination of the packet.
        Broadcast = 109 => "broadcast",
        /// Link-local source or destination.
        LinkLocal = 110 => "link_local",
        /// Destination that no router forwards to: 0/8, 127/8, 240/4, `::`, `::1`.
        MartianDestination = 111 => "martian_destination",
        /// One of the node's own addresses.
        NodeAddress = 112 => "node_address",
        /// Neither an endpoint of this node nor in its route table.
        NoRoute = 113 => "no_route",
        /// TTL or hop limit of 1 or 0: the kernel sends Time Exceeded.
        TtlExceeded = 114 => "ttl_exceeded",
        /// Larger than the egress MTU: the kernel fragments, or sends Fragmentation Needed or Packet Too Big.
        MtuExceeded = 115 => "mtu_exceeded",
        /// It would leave through the interface that it came in by: the kernel sends a redirect.
        SameInterface = 116 => "same_interface",
        /// The kernel's route is a blackhole.
        FibBlackhole = 117 => "fib_blackhole",
        /// The kernel's route is unreachable.
        FibUnreachable = 118 => "fib_unreachable",
        /// The kernel's route is prohibited.
        FibProhibit = 119 => "fib_prohibit",
        /// The kernel has no route that forwards: local, broadcast, multicast or none at all.
        FibNotForwarded = 120 => "fib_not_forwarded",
        /// Forwarding is disabled on the ingress interface.
        ForwardingDisabled = 121 => "forwarding_disabled",
        /// The route needs what the fast path cannot do: a lightweight tunnel, a tunnel without a fixed remote end, or a
        /// lookup this kernel refuses.
        FibUnsupported = 122 => "fib_unsupported",
        /// The packet's headers could not be made readable or writable, for lack of memory.
        NoMemory = 123 => "no_memory",
        /// The endpoint's veth is gone, though netpath has not been told to remove the endpoint.
        EndpointGone = 124 => "endpoint_gone",
        /// The kernel's reverse-path filter may not accept this source from the uplink: the kernel judges it.
        ReversePath = 125 => "reverse_path",
        /// An XFRM (IPsec) policy may apply between its source and its destination.
        Ipsec = 126 => "ipsec",
        /// An interface that it passes is in a VRF.
        Vrf = 127 => "vrf",
        /// Somebody's queueing discipline, tc filter or TC program acts on an interface that it passes.
        Shaped = 128 => "shaped",
        /// Somebody's rules of nf_tables act on an interface that it passes (the hooks of family `netdev`).
        NetdevHook = 129 => "netdev_hook",
        /// An XDP program acts on an interface that it passes.
        Xdp = 130 => "xdp",
        /// Somebody's rules outside of filter FORWARD may drop, mark, track or redirect it, or policy routing (`ip rule`)
        /// leads it elsewhere than to the endpoint.
        Rules = 131 => "rules",
        /// The kernel's route leaves by an interface that is no uplink of the node's.
        NotAnUplink = 132 => "not_an_uplink",
        /// A GSO packet with bytes behind the IP packet: to cut them off would lose how it is to be cut into segments.
        PaddedGso = 133 => "padded_gso",
        /// An interface that it passes is a port of a bridge, a bond or another such interface.
        BridgePort = 134 => "bridge_port",
        /// As [`Self::ForwardingDisabled`], of IPv4 alone.
        Ipv4ForwardingDisabled = 135 => "ipv4_forwarding_disabled",
        /// As [`Self::ForwardingDisabled`], of IPv6 alone.
        Ipv6ForwardingDisabled = 136 => "ipv6_forwarding_disabled",
        /// It comes by an uplink from a source that netpath does not route. What answers it is the kernel's too (`no_route`),
        /// and a connection is not to be split.
        Outside = 137 => "outside",
        /// Its connection is the kernel's in both directions: the kernel delivered or sent on its first packets itself, as it
        /// does what its NAT has translated.
        KernelConnection = 138 => "kernel_connection",
        /// The fast path of what it is for is switched off (`netpath fastpath off --endpoint`), so that what answers it is the
        /// kernel's.
        FastPathOff = 139 => "fast_path_off",
        /// Shadow mode: the fast path would have taken it, out of the interface that is counted as its egress.
        Shadow = 140 => "shadow",
        /// Shadow mode: the fast path would have dropped it as `malformed`.
        ShadowMalformed = 141 => "shadow_malformed",
        /// Shadow mode: the fast path would have dropped it as `bad_checksum`.
        ShadowBadChecksum = 142 => "shadow_bad_checksum",
        /// Shadow mode: the fast path would have dropped it as `spoofed`.
        ShadowSpoofed = 143 => "shadow_spoofed",
        /// Shadow mode: the fast path would have dropped it as `martian_source`.
        ShadowMartianSource = 144 => "shadow_martian_source",
    }
}

impl PuntReason {
    /// As which a packet is left to the kernel that would have been dropped; `None` of what is dropped in shadow mode too, or
    /// never comes so far there.
    #[inline(always)]
    pub const fn instead_of(reason: DropReason) -> Option<Self> {
        match reason {
            DropReason::Malformed => Some(Self::ShadowMalformed),
            DropReason::BadChecksum => Some(Self::ShadowBadChecksum),
            DropReason::Spoofed => Some(Self::ShadowSpoofed),
            DropReason::MartianSource => Some(Self::ShadowMartianSource),
            DropReason::NotReady | DropReason::RewriteFailed | DropReason::PacketTooBig => None,
        }
    }

    /// Whether it stands for what shadow mode keeps the fast path from doing.
    pub const fn is_shadow(self) -> bool {
        matches!(
            self,
            Self::Shadow
                | Self::ShadowMalformed
                | Self::ShadowBadChecksum
                | Self::ShadowSpoofed
                | Self::ShadowMartianSource
        )
    }
}

reasons! {
    /// Why a packet was dropped.
    DropReason {
        /// Truncated or inconsistent headers, or more VLAN tags than are looked behind.
        Malformed = 201 => "malformed",
        /// Wrong IPv4 header checksum.
        BadChecksum = 202 => "bad_checksum",
        /// The source address does not belong to the endpoint behind the ingress interface; or, from an
        /// uplink, it belongs to an endpoint here or to the node.
        Spoofed = 203 => "spoofed",
        /// A source that no packet may carry: 0/8, 127/8, multicast, 240/4, broadcast, `::`, `::1`.
        MartianSource = 204 => "martian_source",
        /// The interface's data was not complete yet.
        NotReady = 205 => "not_ready",
        /// The packet could not be rewritten after the rewrite had begun.
        RewriteFailed = 206 => "rewrite_failed",
        /// Larger than what the kernel knows of an IPv6 path. The endpoint has got Packet Too Big, which the kernel sends
        /// only where filter FORWARD lets the packet pass.
        PacketTooBig = 207 => "packet_too_big",
    }
}

/// What became of a packet, without the reason.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Into a local endpoint's namespace with `bpf_redirect_peer`.
    RedirectPeer = 11,
    /// Out of an uplink with `bpf_redirect_neigh`, or `bpf_redirect` where there is no link-layer header.
    RedirectNeigh = 12,
    /// Left to the kernel.
    Punt = 13,
    /// Dropped.
    Drop = 14,
    /// Delivered to an endpoint by the kernel itself, seen at the egress of its host-side veth.
    Deliver = 15,
}

impl Outcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: &'static [Self] = &[
        Self::RedirectPeer,
        Self::RedirectNeigh,
        Self::Punt,
        Self::Drop,
        Self::Deliver,
    ];

    /// The number kept in [`HopKey`](crate::HopKey).
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The stable snake_case name that `netpath stats` shows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RedirectPeer => "redirect_peer",
            Self::RedirectNeigh => "redirect_neigh",
            Self::Punt => "punt",
            Self::Drop => "drop",
            Self::Deliver => "deliver",
        }
    }

    /// The outcome with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            11 => Some(Self::RedirectPeer),
            12 => Some(Self::RedirectNeigh),
            13 => Some(Self::Punt),
            14 => Some(Self::Drop),
            15 => Some(Self::Deliver),
            _ => None,
        }
    }
}

/// What became of a packet, with the reason. Its number and the reason's are two `u16` beside one another, see
/// [`Self::redirect_peer`].
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// See [`Outcome::RedirectPeer`].
    RedirectPeer,
    /// See [`Outcome::RedirectNeigh`].
    RedirectNeigh,
    /// See [`Outcome::Punt`].
    Punt(PuntReason),
    /// See [`Outcome::Drop`].
    Drop(DropReason),
    /// See [`Outcome::Deliver`].
    Deliver,
}

impl Verdict {
    /// [`Self::RedirectPeer`] with a zero where other verdicts have their reason. The programs need it: a copy of an
    /// enum copies also what its variant leaves unwritten, and the verifier refuses to read that.
    #[inline(always)]
    pub const fn redirect_peer() -> Self {
        Self::without_reason(Self::RedirectPeer.discriminant())
    }

    /// [`Self::RedirectNeigh`], as [`Self::redirect_peer`].
    #[inline(always)]
    pub const fn redirect_neigh() -> Self {
        Self::without_reason(Self::RedirectNeigh.discriminant())
    }

    #[inline(always)]
    const fn discriminant(self) -> u16 {
        // SAFETY: a `repr(u16)` enum starts with its discriminant (RFC 2195).
        unsafe { *(&raw const self).cast() }
    }

    /// The verdict with this discriminant, which has no reason.
    #[inline(always)]
    const fn without_reason(discriminant: u16) -> Self {
        // SAFETY: `repr(u16)` puts the discriminant and a reason (u16 too) beside one another (RFC 2195), and a verdict
        // without a reason may have anything there.
        unsafe { core::mem::transmute::<[u16; 2], Self>([discriminant, 0]) }
    }

    /// In one number, to be passed on: the reason's in the lower half, above it the outcome's.
    #[inline(always)]
    pub const fn packed(self) -> u32 {
        let (outcome, reason) = self.numbers();
        (outcome.number() as u32) << 16 | reason as u32
    }

    /// The verdict of such a number; `None` of one that is none.
    #[inline(always)]
    pub const fn unpacked(number: u32) -> Option<Self> {
        let reason = number as u16;
        match Outcome::from_number((number >> 16) as u8) {
            Some(Outcome::RedirectPeer) => Some(Self::redirect_peer()),
            Some(Outcome::RedirectNeigh) => Some(Self::redirect_neigh()),
            Some(Outcome::Punt) => match PuntReason::from_number(reason) {
                Some(reason) => Some(Self::Punt(reason)),
                None => None,
            },
            Some(Outcome::Drop) => match DropReason::from_number(reason) {
                Some(reason) => Some(Self::Drop(reason)),
                None => None,
            },
            Some(Outcome::Deliver) => Some(Self::Deliver),
            None => None,
        }
    }

    /// The outcome and the reason's number, 0 where the outcome has none.
    pub const fn numbers(self) -> (Outcome, u16) {
        match self {
            Self::RedirectPeer => (Outcome::RedirectPeer, 0),
            Self::RedirectNeigh => (Outcome::RedirectNeigh, 0),
            Self::Punt(reason) => (Outcome::Punt, reason.number()),
            Self::Drop(reason) => (Outcome::Drop, reason.number()),
            Self::Deliver => (Outcome::Deliver, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_with_a_written_zero_is_the_same() {
        assert_eq!(Verdict::redirect_peer(), Verdict::RedirectPeer);
        assert_eq!(Verdict::redirect_neigh(), Verdict::RedirectNeigh);
        assert_eq!(
            Verdict::redirect_neigh().numbers(),
            (Outcome::RedirectNeigh, 0)
        );
    }

    #[test]
    fn a_verdict_is_packed_and_unpacked() {
        let punts = PuntReason::ALL.iter().map(|&it| Verdict::Punt(it));
        let drops = DropReason::ALL.iter().map(|&it| Verdict::Drop(it));
        let others = [
            Verdict::RedirectPeer,
            Verdict::RedirectNeigh,
            Verdict::Deliver,
        ];
        for verdict in punts.chain(drops).chain(others) {
            assert_eq!(Verdict::unpacked(verdict.packed()), Some(verdict));
        }
        // No outcome, and a reason that is another outcome's.
        for number in [0, 10 << 16, 16 << 16, 13 << 16 | 201, 14 << 16 | 101] {
            assert_eq!(Verdict::unpacked(number), None, "{number:#x}");
        }
    }

    #[test]
    fn numbers_and_names_are_unique_and_round_trip() {
        let mut numbers = Vec::new();
        let mut names = Vec::new();
        for &reason in PuntReason::ALL {
            assert_eq!(PuntReason::from_number(reason.number()), Some(reason));
            numbers.push(reason.number());
            names.push(reason.name());
        }
        for &reason in DropReason::ALL {
            assert_eq!(DropReason::from_number(reason.number()), Some(reason));
            numbers.push(reason.number());
            names.push(reason.name());
        }
        for &outcome in Outcome::ALL {
            assert_eq!(Outcome::from_number(outcome.number()), Some(outcome));
            numbers.push(outcome.number().into());
            names.push(outcome.name());
        }
        let count = numbers.len();
        // TC return codes are -1 to 8 (linux/pkt_cls.h).
        assert!(numbers.iter().all(|&number| number > 8));
        numbers.sort_unstable();
        numbers.dedup();
        names.sort_unstable();
        names.dedup();
        assert_eq!((numbers.len(), names.len()), (count, count));
    }

    #[test]
    fn what_shadow_mode_would_drop_is_named_after_it() {
        for &reason in DropReason::ALL {
            let name = PuntReason::instead_of(reason).map(PuntReason::name);
            let dropped_anyway = matches!(
                reason,
                DropReason::NotReady | DropReason::RewriteFailed | DropReason::PacketTooBig
            );
            let expected = (!dropped_anyway).then(|| format!("shadow_{}", reason.name()));
            assert_eq!(name, expected.as_deref());
        }
        let shadow = |it: &&PuntReason| it.name().starts_with("shadow");
        let named: Vec<_> = PuntReason::ALL.iter().filter(shadow).collect();
        let is_shadow = |it: &&PuntReason| it.is_shadow();
        assert_eq!(
            named,
            PuntReason::ALL.iter().filter(is_shadow).collect::<Vec<_>>()
        );
    }
}
