use std::net::{IpAddr, SocketAddr};

use netpath_common::trace::{NETWORK_BYTES, TRANSPORT_BYTES, TraceHeaders};

use super::*;

/// The headers of a packet between two ends; `protocol` with ports, or ICMP's type in the place of the first.
fn headers(protocol: u8, from: &str, to: &str) -> TraceHeaders {
    let [from, to] = [from, to].map(|it| it.parse::<SocketAddr>().expect("an end"));
    let mut network = [0; NETWORK_BYTES];
    match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            network[0] = 0x45;
            network[9] = protocol;
            network[12..16].copy_from_slice(&source.octets());
            network[16..20].copy_from_slice(&destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            network[0] = 0x60;
            network[6] = protocol;
            network[8..24].copy_from_slice(&source.octets());
            network[24..40].copy_from_slice(&destination.octets());
        }
        mixed => panic!("{mixed:?}"),
    }
    let mut transport = [0; TRANSPORT_BYTES];
    transport[..2].copy_from_slice(&from.port().to_be_bytes());
    transport[2..4].copy_from_slice(&to.port().to_be_bytes());
    TraceHeaders::of(&network, &transport).expect("IP")
}

fn matches(text: &str, headers: &TraceHeaders) -> bool {
    let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{error}"));
    filter.compiled().expect("short").matches(headers)
}

#[test]
fn filters_match_what_they_say() {
    let tcp = headers(6, "10.0.1.2:40000", "10.0.2.2:80");
    let udp6 = headers(17, "[fd00:1::2]:53", "[fd00:2::2]:5353");
    let echo = headers(1, "10.0.1.2:2048", "10.0.2.2:0");
    for (text, of_tcp, of_udp6, of_echo) in [
        ("", true, true, true),
        ("ip", true, false, true),
        ("ip6", false, true, false),
        ("tcp", true, false, false),
        ("udp", false, true, false),
        ("icmp", false, false, true),
        ("icmp6", false, false, false),
        ("host 10.0.1.2", true, false, true),
        ("10.0.2.2", true, false, true),
        ("src 10.0.1.2", true, false, true),
        ("src host 10.0.2.2", false, false, false),
        ("dst host fd00:2::2", false, true, false),
        ("ip6 host fd00:2::2", false, true, false),
        ("net 10.0.2.0/24", true, false, true),
        ("src net 10.0.2.0/24", false, false, false),
        ("dst net fd00:2::/32", false, true, false),
        ("port 80", true, false, false),
        ("port 53 or 80", true, true, false),
        ("src port 80", false, false, false),
        ("tcp dst port 80", true, false, false),
        ("udp port 80", false, false, false),
        ("ip6 port 53", false, true, false),
        ("portrange 70-90", true, false, false),
        ("proto 17", false, true, false),
        ("ip proto tcp", true, false, false),
        ("ip proto \\icmp", false, false, true),
        ("not tcp", false, true, true),
        ("! tcp && ip", false, false, true),
        ("not (tcp or udp)", false, false, true),
        // Of one precedence, from left to right: (tcp or udp) and ip6.
        ("tcp or udp and ip6", false, true, false),
        ("tcp or (udp and ip6)", true, true, false),
        ("src or dst host 10.0.1.2", true, false, true),
        ("src and dst host 10.0.1.2", false, false, false),
        ("host 10.0.1.2 and not port 80", false, false, true),
        ("tcp and(port 80)", true, false, false),
    ] {
        let found = [&tcp, &udp6, &echo].map(|it| matches(text, it));
        assert_eq!(found, [of_tcp, of_udp6, of_echo], "{text}");
    }
}

#[test]
fn what_is_no_filter_is_refused_where_it_is_wrong() {
    for (text, at, part) in [
        ("prot 80", 0, "`prot` is not known here"),
        ("tcp prot 80", 4, "has to stand before `prot`"),
        ("tcp and", 7, "it ends where a primitive"),
        ("host", 4, "it ends where a value"),
        ("host demo01", 5, "a host is an address"),
        ("net 10.0.0.1/8", 4, "write 10.0.0.0/8"),
        ("net 10", 4, "a net is a prefix"),
        ("port http", 5, "a port is a number"),
        ("port 65536", 5, "a port is a number"),
        ("portrange 80", 10, "a range of ports"),
        ("(tcp", 4, "it ends where `)`"),
        ("tcp)", 3, "no parenthesis is open"),
        ("tcp udp", 4, "has to stand before `udp`"),
        ("icmp port 80", 0, "icmp has no ports"),
        ("tcp host 10.0.1.2", 0, "says nothing of an address"),
        ("src proto 6", 10, "no source"),
        ("vlan 5", 0, "`vlan` is not known here"),
        ("tcp[13] & 2 != 0", 0, "is not known here"),
        ("greater 100", 0, "is not known here"),
        ("ip proto 256", 9, "a number from 0 to 255"),
        ("& tcp", 0, "is not known here"),
    ] {
        let error = Filter::parse(text).expect_err(text);
        assert_eq!(error.at, at, "{error}");
        assert!(error.problem.contains(part), "{error}");
        let caret = error.to_string();
        let (_, caret) = caret.rsplit_once('\n').expect("lines");
        assert_eq!(caret.find('^'), Some(at + 2), "{text}");
    }
}

#[test]
fn a_filter_that_is_too_long_is_refused_whole() {
    let text = vec!["port 1"; FILTER_STEPS].join(" or ");
    let error = Filter::parse(&text).expect_err("too long");
    assert!(error.problem.contains("there is room for 48"), "{error}");
}

#[test]
fn what_is_within_too_much_is_refused() {
    for (open, close) in [("(", ")"), ("not ", "")] {
        let nested = |depth: usize| format!("{}icmp{}", open.repeat(depth), close.repeat(depth));
        assert!(Filter::parse(&nested(40)).is_ok());
        let error = Filter::parse(&nested(100_000)).expect_err("too deep");
        assert!(error.problem.contains("within one another"), "{error}");
    }
}
