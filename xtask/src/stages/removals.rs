//! What is removed: each stage of the pipeline, and the checks that a stage consists of.

/// Lines of netpath-ebpf/src that are left out, and those that take their place.
///
/// Lines are compared without their indentation, so that a block may move, but not change unnoticed.
#[derive(Debug)]
pub struct Removal {
    /// What the programs then lack.
    pub stage: &'static str,
    /// The file below netpath-ebpf/src.
    pub file: &'static str,
    /// What the first line of the function that they stand in begins with, `pub` aside.
    pub function: &'static str,
    /// The lines.
    pub lines: &'static [&'static str],
    /// What stands there instead.
    pub instead: &'static [&'static str],
}

/// Stages that all later ones need the result of: they cannot be left out, but every check in them can.
#[cfg(test)]
pub const IN_PARTS: &[(&str, &str)] = &[
    ("parse::plain(skb)?", "parse.rs"),
    ("parse::frame(skb)?", "parse.rs"),
    ("F::headers(skb, &mut place)?", "parse.rs"),
];

/// Of what somebody else has the kernel do: it would act in every case of the conformance lab.
#[cfg(test)]
const KERNELS: &str = "tests/tests/parts/programs/kernels.rs";

/// What shadow mode keeps from being done, and what is noted for who asks about a packet: of neither has the lab any.
#[cfg(test)]
const SHADOW: &str = "tests/tests/parts/programs/shadow.rs";
#[cfg(test)]
const TRAIL: &str = "tests/tests/parts/programs/trail.rs";

/// Checks that no case can show without destroying the lab, and the test that shows them instead.
#[cfg(test)]
pub const ELSEWHERE: &[(&str, &str)] = &[
    (
        "destination::device(endpoint)?",
        "tests/tests/labs/lab_reuse.rs",
    ),
    (
        "gate::complete(skb)?",
        "tests/tests/parts/programs/dropped.rs",
    ),
    (
        "datagrams::is_fast::<F>(skb)?",
        "tests/tests/parts/programs/datagrams.rs",
    ),
    ("gate::lets_in::<F>(skb, gate)?", KERNELS),
    ("gate::uplink_lets_in::<F>(skb)?", KERNELS),
    ("gate::lets_between(", KERNELS),
    ("gate::lets_out(egress.ifindex)?", KERNELS),
    (
        "gate::is_bare(skb)",
        "tests/tests/packets/conformance_tun.rs",
    ),
    ("shadow::spared(skb, self.verdict)", SHADOW),
    (
        "shadow::lets_change(skb, egress.ifindex, features)?",
        SHADOW,
    ),
    ("trail::destination(skb, &route.endpoint)", TRAIL),
    ("trail::is_fast(skb)", TRAIL),
];

const fn removal(
    stage: &'static str,
    file: &'static str,
    function: &'static str,
    lines: &'static [&'static str],
    instead: &'static [&'static str],
) -> Removal {
    Removal {
        stage,
        file,
        function,
        lines,
        instead,
    }
}

const PIPELINE: &str = "pipeline.rs";
const PARSE: &str = "parse.rs";
const CONNECTIONS: &str = "connections.rs";
const ENDS: &str = "ends.rs";
const ENDPOINT: &str = "fn endpoint_stages";
const UPLINK: &str = "fn uplink_stages";
const LOCAL: &str = "fn to_local";
const INTO: &str = "fn into_node";
const THROUGH: &str = "fn through_node";
const OUT: &str = "fn out";
const REMOTE: &str = "fn to_remote";

/// All of them, in the order that a packet meets them in.
pub const REMOVALS: &[Removal] = &[
    // Stage 1: parse.
    removal(
        "parse: VLAN tag",
        PARSE,
        "fn plain",
        &[
            "matches!(skb.link_destination(), LinkDestination::ThisHost) && skb.vlan_tag().is_none();",
        ],
        &["matches!(skb.link_destination(), LinkDestination::ThisHost);"],
    ),
    removal(
        "parse: VLAN of its own",
        PARSE,
        "fn frame",
        &["for_others |= tag & VLAN_ID != 0;"],
        &["let _unused = tag;"],
    ),
    removal(
        "parse: EtherType",
        PARSE,
        "fn of",
        &["} else if ether_type == EtherType::Ipv6 as u16 {"],
        &["} else if ether_type != 0 {"],
    ),
    removal(
        "parse: broadcast frame",
        PARSE,
        "fn frame",
        &["LinkDestination::Broadcast => Some(PuntReason::Broadcast),"],
        &["LinkDestination::Broadcast => None,"],
    ),
    removal(
        "parse: multicast frame",
        PARSE,
        "fn frame",
        &["LinkDestination::Multicast => Some(PuntReason::Multicast),"],
        &["LinkDestination::Multicast => None,"],
    ),
    removal(
        "parse: another host's MAC",
        PARSE,
        "fn frame",
        &["LinkDestination::OtherHost => Some(PuntReason::NotToThisHost),"],
        &["LinkDestination::OtherHost => None,"],
    ),
    removal(
        "parse: another host's MAC is for another host",
        PARSE,
        "fn frame",
        &["let mut for_others = matches!(reason, Some(PuntReason::NotToThisHost));"],
        &["let mut for_others = false;"],
    ),
    removal(
        "parse: packet behind tags in the frame",
        PARSE,
        "fn wrapped",
        &["ether_type = u16::from_ne_bytes([c, d]);", "packet += TAG;"],
        &["let _unused = (c, d);", "ether_type = 0xffff;"],
    ),
    removal(
        "parse: VLAN of its own behind VLAN 0",
        PARSE,
        "fn wrapped",
        &["for_others |= u16::from_be_bytes([a, b]) & VLAN_ID != 0;"],
        &["let _unused = (a, b);"],
    ),
    removal(
        "parse: more tags than are looked behind",
        PARSE,
        "fn wrapped",
        &[
            "if is_tag(ether_type) {",
            "return Err(Verdict::Drop(DropReason::Malformed));",
            "}",
        ],
        &[],
    ),
    removal(
        "parse: packet behind LLC/SNAP",
        PARSE,
        "fn wrapped",
        &["if u16::from_be(ether_type) < ETHERTYPES {"],
        &["if false {"],
    ),
    removal(
        "parse: reason of the frame, from an endpoint",
        PIPELINE,
        "fn endpoint_frame",
        &["Ok(Verdict::Punt(frame.reason))"],
        &["Ok(Verdict::Punt(PuntReason::NoRoute))"],
    ),
    removal(
        "parse: reason of the frame, from an uplink",
        PIPELINE,
        "fn uplink_frame",
        &["Ok(Verdict::Punt(frame.reason))"],
        &["Ok(Verdict::Punt(PuntReason::NoRoute))"],
    ),
    removal(
        "parse: IPv4 header is there",
        PARSE,
        "fn ipv4",
        &["let (view, header) = readable::<IPV4_END>(skb)?;"],
        &[
            "let view = &*skb;",
            "let header = header::<IPV4_END>(view)?;",
        ],
    ),
    removal(
        "parse: IPv4 version and header length",
        PARSE,
        "fn ipv4",
        &[
            "if version_and_length >> 4 != 4 || version_and_length & 0xf < 5 {",
            "return Err(Verdict::Drop(DropReason::Malformed));",
            "}",
        ],
        &[],
    ),
    removal(
        "parse: IPv4 header checksum",
        PARSE,
        "fn ipv4",
        &[
            "if !has_options && !checksum_is_right(header) {",
            "return Err(Verdict::Drop(DropReason::BadChecksum));",
            "}",
        ],
        &[],
    ),
    removal(
        "parse: IPv4 total length holds the header",
        PARSE,
        "fn ipv4",
        &[
            "if length < u32::from(version_and_length & 0xf) * 4 {",
            "return Err(Verdict::Drop(DropReason::Malformed));",
            "}",
        ],
        &[],
    ),
    removal(
        "parse: IPv4 options",
        PARSE,
        "fn ipv4",
        &["packet.punt = Some(PuntReason::IpOptions);"],
        &[],
    ),
    removal(
        "parse: frame holds the IPv4 packet",
        PARSE,
        "fn ipv4",
        &["is_whole(view, length)?;"],
        &[],
    ),
    removal(
        "parse: IPv4 ports",
        PARSE,
        "fn ipv4_flow",
        &[
            "(flow.source_port, flow.destination_port) = ports::<IPV4_WITH_PORTS, 34, 36>(skb, protocol);",
        ],
        &[],
    ),
    removal(
        "parse: IPv6 header is there",
        PARSE,
        "fn ipv6",
        &["let (view, header) = readable::<IPV6_END>(skb)?;"],
        &[
            "let view = &*skb;",
            "let header = header::<IPV6_END>(view)?;",
        ],
    ),
    removal(
        "parse: IPv6 version",
        PARSE,
        "fn ipv6",
        &[
            "if header.byte::<14>() >> 4 != 6 {",
            "return Err(Verdict::Drop(DropReason::Malformed));",
            "}",
        ],
        &[],
    ),
    removal(
        "parse: hop-by-hop options",
        PARSE,
        "fn ipv6",
        &["packet.punt = Some(PuntReason::HopByHop);"],
        &[],
    ),
    removal(
        "parse: frame holds the IPv6 packet",
        PARSE,
        "fn ipv6",
        &["is_whole(view, length)?;"],
        &[],
    ),
    removal(
        "parse: neighbour discovery",
        PARSE,
        "fn ipv6",
        &["packet.punt = Some(PuntReason::NeighbourDiscovery);"],
        &[],
    ),
    removal(
        "parse: IPv6 ports behind extension headers",
        PARSE,
        "fn ipv6_flow",
        &["let found = parse_behind_extensions(skb, next_header.into());"],
        &["let found = u64::from(next_header);"],
    ),
    removal(
        "parse: IPv6 ports",
        PARSE,
        "fn ipv6_flow",
        &["let (source, destination) = ports::<IPV6_WITH_PORTS, 54, 56>(skb, next_header);"],
        &["let (source, destination) = (0, 0);"],
    ),
    // Stage 2: source.
    removal(
        "source, from an endpoint",
        PIPELINE,
        ENDPOINT,
        &["let source = source::of_endpoint(skb, packet)?;"],
        &["let source = 0;"],
    ),
    removal(
        "source, from an endpoint, with something around it",
        PIPELINE,
        "fn endpoint_frame",
        &[
            "Network::V4 => source::of_endpoint(skb, &frame.packet::<V4>(skb)?)?,",
            "Network::V6 => source::of_endpoint(skb, &frame.packet::<V6>(skb)?)?,",
        ],
        &["Network::V4 | Network::V6 => {}"],
    ),
    removal(
        "source, from an uplink",
        PIPELINE,
        UPLINK,
        &["let source = source::of_uplink(packet)?;"],
        &["let source = Some(0);"],
    ),
    removal(
        "source, from an uplink, with something around it",
        PIPELINE,
        "fn uplink_frame",
        &[
            "Network::V4 => uplink_source(&frame, &frame.packet::<V4>(skb)?)?,",
            "Network::V6 => uplink_source(&frame, &frame.packet::<V6>(skb)?)?,",
        ],
        &["Network::V4 | Network::V6 => {}"],
    ),
    removal(
        "source, from an endpoint: prefixes routed to it",
        "source.rs",
        "fn of_endpoint",
        &["None if F::classify(&packet.source) == AddressClass::Unicast => {"],
        &["None if false => {"],
    ),
    removal(
        "source, from an uplink: for others",
        PIPELINE,
        "fn uplink_source",
        &[
            "if frame.for_others {",
            "source::of_others(packet, features)",
            "} else {",
            "source::of_uplink(packet).map(drop)",
            "}",
        ],
        &["source::of_uplink(packet).map(drop)"],
    ),
    removal(
        "source, from an uplink: for others, but from here to here",
        "source.rs",
        "fn of_others",
        &["return Err(Verdict::Drop(DropReason::Spoofed));"],
        &[],
    ),
    removal(
        "source, from an uplink: local endpoints'",
        "source.rs",
        "fn of_uplink",
        &[
            "if F::endpoint(&packet.source).is_some() {",
            "return Err(Verdict::Drop(DropReason::Spoofed));",
            "}",
        ],
        &[],
    ),
    removal(
        "source, from an uplink: prefixes routed to local endpoints",
        "source.rs",
        "fn of_uplink",
        &[
            "Some(route) if route.kind() == RouteKind::Local => Err(Verdict::Drop(DropReason::Spoofed)),",
        ],
        &[],
    ),
    removal(
        "source, from an uplink, for others: local endpoints'",
        "source.rs",
        "fn is_here",
        &[
            "F::endpoint(address).is_some() || features.local_prefixes() && is_routed_here::<F>(address)",
        ],
        &["features.local_prefixes() && is_routed_here::<F>(address)"],
    ),
    removal(
        "source, from an uplink, for others: prefixes routed to local endpoints",
        "source.rs",
        "fn is_here",
        &[
            "F::endpoint(address).is_some() || features.local_prefixes() && is_routed_here::<F>(address)",
        ],
        &["F::endpoint(address).is_some()"],
    ),
    removal(
        "side: what is not routed, from an uplink",
        "side.rs",
        "fn inside",
        &["None => Err(Verdict::Punt(PuntReason::Outside)),"],
        &["None => Ok(SOMEBODY),"],
    ),
    removal(
        "side: ICMP errors follow what they quote",
        "side.rs",
        "fn inside",
        &["None if F::quotes_inside(skb) != 0 => Ok(SOMEBODY),"],
        &[],
    ),
    removal(
        "what parse leaves to the kernel, from an endpoint",
        PIPELINE,
        ENDPOINT,
        &[
            "if let Some(reason) = packet.punt {",
            "skb.set_decided(destination::leads_on(packet));",
            "return Err(Verdict::Punt(reason));",
            "}",
        ],
        &[],
    ),
    removal(
        "what parse leaves to the kernel, from an uplink",
        PIPELINE,
        UPLINK,
        &[
            "if let Some(reason) = packet.punt {",
            "skb.set_decided(source.is_some() && destination::leads_on(packet));",
            "return Err(Verdict::Punt(reason));",
            "}",
        ],
        &[],
    ),
    // Stage 3: destination.
    removal(
        "destination: local address",
        PIPELINE,
        "fn way",
        &[
            "match destination::by_address(packet)? {",
            "Some(endpoint) => Ok(RouteEntry::local(&endpoint)),",
        ],
        &[
            "match destination::by_address(packet)? {",
            "Some(_) => destination::by_prefix(packet),",
        ],
    ),
    removal(
        "destination: local prefix or another node",
        PIPELINE,
        "fn way",
        &["None => destination::by_prefix(packet),"],
        &["None => Ok(RouteEntry::REMOTE),"],
    ),
    removal(
        "destination, from an endpoint",
        PIPELINE,
        ENDPOINT,
        &["let route = way(packet)?;"],
        &["let route = RouteEntry::REMOTE;"],
    ),
    removal(
        "destination: local prefix, from an endpoint",
        PIPELINE,
        ENDPOINT,
        &[
            "RouteKind::Local => to_local(skb, packet, &route.endpoint, Features::of_node(), egress),",
        ],
        &["RouteKind::Local => to_remote(skb, packet, egress),"],
    ),
    removal(
        "destination, from an uplink",
        PIPELINE,
        UPLINK,
        &["let route = way(packet)?;"],
        &["let route = RouteEntry::REMOTE;"],
    ),
    removal(
        "destination: local prefix, from an uplink",
        PIPELINE,
        UPLINK,
        &["RouteKind::Local => into_node(skb, packet, &route.endpoint, features, egress),"],
        &["RouteKind::Local => through_node(skb, packet, features, egress),"],
    ),
    // Whose side a connection is on.
    removal(
        "connections: the kernel's, from an endpoint",
        PIPELINE,
        ENDPOINT,
        &["connections::is_fast::<F>(skb)?;"],
        &[],
    ),
    removal(
        "connections: the kernel's, from an uplink",
        PIPELINE,
        UPLINK,
        &["connections::is_fast::<F>(skb)?;"],
        &[],
    ),
    removal(
        "connections: one packet alone, from an endpoint",
        PIPELINE,
        ENDPOINT,
        &["skb.set_decided(destination::leads_on(packet));"],
        &[],
    ),
    removal(
        "connections: one packet alone, from an uplink",
        PIPELINE,
        UPLINK,
        &["skb.set_decided(source.is_some() && destination::leads_on(packet));"],
        &[],
    ),
    removal(
        "connections: noted towards endpoints",
        PIPELINE,
        "fn to_endpoint",
        &["if connections::is_noted(skb) {"],
        &["if false {"],
    ),
    removal(
        "connections: noted by an uplink",
        PIPELINE,
        "fn to_uplink",
        &["if connections::is_noted(skb) {"],
        &["if false {"],
    ),
    removal(
        "connections: not noted where the fast path has decided",
        CONNECTIONS,
        "fn is_noted",
        &["skb.arrived_by() != Ifindex(0) && !skb.is_decided()"],
        &["skb.arrived_by() != Ifindex(0)"],
    ),
    removal(
        "connections: IPv4 is noted",
        PIPELINE,
        "fn note",
        &["Some(Network::V4) => V4::enter(skb),"],
        &["Some(Network::V4) => {}"],
    ),
    removal(
        "connections: IPv6 is noted",
        PIPELINE,
        "fn note",
        &["Some(Network::V6) => V6::enter(skb),"],
        &["Some(Network::V6) => {}"],
    ),
    removal(
        "connections: errors follow what they quote",
        ENDS,
        "fn of",
        &[
            "if part != Part::Error {",
            "return Some((ends, part));",
            "}",
        ],
        &["if true {", "return Some((ends, part));", "}"],
    ),
    removal(
        "connections: fragments follow their ends",
        CONNECTIONS,
        "fn enter_of",
        &["let pieces = F::without_ports(&key);"],
        &["let pieces = key;"],
    ),
    removal(
        "reverse path, into the node",
        PIPELINE,
        INTO,
        &["reverse_path::accepts(skb, packet, endpoint.ifindex, features)?;"],
        &[],
    ),
    removal(
        "reverse path, through the node",
        PIPELINE,
        THROUGH,
        &["reverse_path::accepts(skb, packet, egress.ifindex, features)?;"],
        &[],
    ),
    removal(
        "destination: next hop, through the node",
        PIPELINE,
        THROUGH,
        &["fib::next_hop(skb, packet, egress)?;"],
        &[],
    ),
    removal(
        "destination: the node's own addresses",
        "destination.rs",
        "fn by_address",
        &["Some(entry) if entry.is_node() => Err(Verdict::Punt(PuntReason::NodeAddress)),"],
        &[],
    ),
    removal(
        "destination: what no router forwards",
        "destination.rs",
        "fn by_address",
        &["None => forwardable::<F>(&packet.destination).map(|()| None),"],
        &["None => Ok(None),"],
    ),
    removal(
        "destination: another node",
        PIPELINE,
        REMOTE,
        &["fib::next_hop(skb, packet, egress)?;"],
        &[],
    ),
    removal(
        "destination: the mark, for the kernel's rules",
        "fib.rs",
        "fn next_hop",
        &["question.mark = skb.mark();"],
        &[],
    ),
    // Stage 4: checks.
    removal(
        "TTL, to another node",
        PIPELINE,
        OUT,
        &["checks::ttl(packet)?;"],
        &[],
    ),
    removal(
        "TTL, to a local endpoint",
        PIPELINE,
        LOCAL,
        &["checks::ttl(packet)?;"],
        &[],
    ),
    removal(
        "MTU, to another node",
        PIPELINE,
        OUT,
        &["checks::path_mtu(skb, packet, egress, features)?;"],
        &[],
    ),
    removal(
        "MTU, to a local endpoint",
        PIPELINE,
        LOCAL,
        &["checks::device_mtu(skb, packet, egress.ifindex)?;"],
        &[],
    ),
    removal(
        "MTU, to a local endpoint, GSO by its segments",
        "checks.rs",
        "fn to_measure",
        &["} else if skb.is_gso() {"],
        &["} else if false {"],
    ),
    removal(
        "the way back, to another node",
        PIPELINE,
        OUT,
        &["checks::turns_back(skb, egress.ifindex)?;"],
        &[],
    ),
    removal(
        "the way back, to a local endpoint",
        PIPELINE,
        LOCAL,
        &["checks::turns_back(skb, egress.ifindex)?;"],
        &[],
    ),
    // Stage 5: rewrite.
    removal(
        "padding, to another node",
        PIPELINE,
        OUT,
        &["rewrite::trim_padding(skb, packet)?;"],
        &[],
    ),
    removal(
        "padding, to a local endpoint",
        PIPELINE,
        LOCAL,
        &["rewrite::trim_padding(skb, packet)?;"],
        &[],
    ),
    removal(
        "rewrite, to another node",
        PIPELINE,
        OUT,
        &["rewrite::to_next_hop::<F>(skb)?;"],
        &[],
    ),
    removal(
        "rewrite, to a local endpoint",
        PIPELINE,
        LOCAL,
        &["rewrite::to_endpoint::<F>(skb, endpoint)?;"],
        &[],
    ),
    removal(
        "rewrite: mark, to a local endpoint",
        "rewrite.rs",
        "fn to_endpoint",
        &["skb.clear_mark();"],
        &[],
    ),
    removal(
        "rewrite: TTL",
        "rewrite.rs",
        "fn ipv4",
        &[
            "header.set_byte::<22>(ttl.wrapping_sub(1));",
            "header.set_half::<24>(raised_by_one_ttl(checksum));",
        ],
        &["let _unused = (ttl, checksum);"],
    ),
    removal(
        "rewrite: IPv4 header checksum",
        "rewrite.rs",
        "fn ipv4",
        &["header.set_half::<24>(raised_by_one_ttl(checksum));"],
        &["let _unused = checksum;"],
    ),
    removal(
        "rewrite: hop limit",
        "rewrite.rs",
        "fn ipv6",
        &["header.set_byte::<21>(hop_limit.wrapping_sub(1));"],
        &["let _unused = hop_limit;"],
    ),
    removal(
        "rewrite: MAC addresses, IPv4",
        "rewrite.rs",
        "fn ipv4",
        &["set_macs(header, ethernet);"],
        &["let _unused = ethernet;"],
    ),
    removal(
        "rewrite: MAC addresses, IPv6",
        "rewrite.rs",
        "fn ipv6",
        &["set_macs(header, ethernet);"],
        &["let _unused = ethernet;"],
    ),
    // Stage 6: count, then redirect.
    removal(
        "count",
        "main.rs",
        "fn count",
        &["counters::count(&hop, length);"],
        &[],
    ),
    removal(
        "redirect, to a local endpoint",
        "main.rs",
        "fn act",
        &["Verdict::RedirectPeer => redirect::peer(decision.egress.ifindex),"],
        &["Verdict::RedirectPeer => TC_ACT_UNSPEC,"],
    ),
    removal(
        "redirect, to another node",
        "main.rs",
        "fn act",
        &["Verdict::RedirectNeigh => redirect::next_hop(&decision.egress),"],
        &["Verdict::RedirectNeigh => TC_ACT_UNSPEC,"],
    ),
];
