//! What can be in a packet's way: the kinds of finding of `netpath explain`.

use crate::finding::kinds;

kinds! {
    /// Why a packet does not arrive.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Obstacle {
        /// A rule of the packet filter drops or refuses the packet.
        Rule = "way_rule", "remove the rule, or put one before it that accepts the packet";
        /// A chain of the packet filter has the policy DROP, and none of its rules accepts the packet.
        Policy = "way_policy", "switch the fast path on, or accept the packet";
        /// A rule translates the packet (NAT), and translated it does not arrive.
        Translated = "way_translated", "remove the rule, or have it leave out what is between endpoints";
        /// A program of somebody else's at an interface (XDP, tc) drops the packet.
        Program = "way_program", "see whose program it is: `ip link show` and `tc filter show` name it";
        /// A namespace has no route to where the packet goes.
        NoRoute = "way_no_route", "add the route";
        /// The kernel leads the packet to another next hop than the topology file says, and there it does not get on.
        LedElsewhere = "way_led_elsewhere", "put the route right";
        /// A route refuses or drops the packet: blackhole, unreachable or prohibit.
        RouteRefuses = "way_route_refuses", "remove the route, or put one in its place that leads on";
        /// The kernel's reverse-path filter drops the packet: the way back to its source does not lead where it came from.
        ReversePath = "way_reverse_path", "put the way back right, or have the filter be loose";
        /// The kernel of a node does not forward.
        ForwardingOff = "way_forwarding_off", "switch forwarding on";
        /// The packet is larger than what fits.
        TooBig = "way_too_big", "raise the MTU, or send smaller packets";
        /// The TTL or hop limit is used up.
        Ttl = "way_ttl", "send the packet with a larger one";
        /// An interface on the way is down.
        LinkDown = "way_link_down", "set the interface up";
        /// IPv6 is off on an interface on the way.
        Ipv6Off = "way_ipv6_off", "switch IPv6 on";
        /// The packet's source is not an address of the endpoint that sends it.
        Spoofed = "way_spoofed", "send from an address of the endpoint's";
        /// An address of the packet may not be on a wire at all.
        Martian = "way_martian", "send from an address that may";
        /// The endpoint's interface is not complete yet, or netpath lost it.
        NotReady = "way_not_ready", "`netpath up` completes it";
        /// Nobody answers for the next hop.
        Silent = "way_next_hop_silent", "see why it does not answer, or lead the packets to one that does";
        /// The packet is sent to an Ethernet address that nobody has.
        WrongMac = "way_wrong_mac", "have the kernel forget the neighbour";
        /// The packet arrives, but elsewhere than it was to.
        Elsewhere = "way_elsewhere", "see which rule or route leads it there";
        /// The packet goes round in circles.
        Loop = "way_loop", "put the routes right";
        /// The fast path drops the packet for another reason.
        Dropped = "way_dropped", "see the reason in netpath-reasons(7)";
    }
}
