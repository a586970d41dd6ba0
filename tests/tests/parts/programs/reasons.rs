//! Which test provokes which reason. The compiler refuses a reason that is not in these lists.

use netpath_common::{DropReason, PuntReason};

use super::{
    connections, dropped, kernels, malformed, punted, punted_by_fib, reverse_path, shadow,
};

/// One test for each reason, which is told the reason that it has to see.
macro_rules! every_reason {
    (
        $module:ident: $type:ident;
        provoked { $($reason:ident => $file:ident::$test:ident,)+ }
        not provoked { $($never:ident: $why:literal,)* }
    ) => {
        mod $module {
            use super::*;

            $(#[test]
            fn $test() {
                $file::$test($type::$reason);
            })+

            /// Why no test provokes a reason.
            const NOT_PROVOKED: &[($type, &str)] = &[$(($type::$never, $why),)*];

            #[test]
            fn every_reason_is_accounted_for() {
                let is_provoked = |reason| match reason {
                    $($type::$reason => true,)+
                    $($type::$never => false,)*
                };
                for &reason in $type::ALL {
                    let excuse = NOT_PROVOKED.iter().find(|(never, _)| *never == reason);
                    assert_eq!(is_provoked(reason), excuse.is_none(), "{}", reason.name());
                }
            }
        }
    };
}

every_reason! {
    punt: PuntReason;
    provoked {
        Arp => punted::arp,
        EtherType => punted::ether_type,
        Vlan => punted::vlan,
        NotToThisHost => punted::not_to_this_host,
        IpOptions => punted::ip_options,
        HopByHop => punted::hop_by_hop,
        NeighbourDiscovery => punted::neighbour_discovery,
        Multicast => punted::multicast,
        Broadcast => punted::broadcast,
        LinkLocal => punted::link_local,
        MartianDestination => punted::martian_destination,
        NodeAddress => punted::node_address,
        NoRoute => punted::no_route,
        TtlExceeded => punted::ttl_exceeded,
        MtuExceeded => punted::mtu_exceeded,
        SameInterface => punted::same_interface,
        FibBlackhole => punted_by_fib::blackhole,
        FibUnreachable => punted_by_fib::unreachable,
        FibProhibit => punted_by_fib::prohibit,
        FibNotForwarded => punted_by_fib::not_forwarded,
        ForwardingDisabled => punted_by_fib::forwarding_disabled,
        FibUnsupported => punted_by_fib::unsupported,
        EndpointGone => punted::endpoint_gone,
        ReversePath => reverse_path::reverse_path,
        Outside => punted::outside,
        KernelConnection => connections::kernel_connection,
        Ipsec => kernels::ipsec,
        Vrf => kernels::vrf,
        Shaped => kernels::shaped,
        NetdevHook => kernels::netdev_hook,
        Xdp => kernels::xdp,
        Rules => kernels::rules,
        NotAnUplink => kernels::not_an_uplink,
        PaddedGso => kernels::padded_gso,
        BridgePort => kernels::bridge_port,
        FastPathOff => kernels::fast_path_off,
        Ipv4ForwardingDisabled => kernels::ipv4_forwarding_disabled,
        Ipv6ForwardingDisabled => kernels::ipv6_forwarding_disabled,
        Shadow => shadow::shadow,
        ShadowMalformed => shadow::malformed,
        ShadowBadChecksum => shadow::bad_checksum,
        ShadowSpoofed => shadow::spoofed,
        ShadowMartianSource => shadow::martian_source,
    }
    not provoked {
        NoMemory: "bpf_skb_pull_data and bpf_skb_change_tail fail only when the kernel is out of memory",
    }
}

every_reason! {
    drop: DropReason;
    provoked {
        Malformed => malformed::malformed,
        BadChecksum => malformed::bad_checksum,
        Spoofed => dropped::spoofed,
        MartianSource => dropped::martian_source,
        NotReady => dropped::not_ready,
    }
    not provoked {
        RewriteFailed: "the header was made readable before, and nothing in between can shorten it",
        PacketTooBig: "the node has to have got an ICMP error: lab_guest_wire",
    }
}
