//! Addresses by themselves and against each other.

use super::*;

#[test]
fn addresses_by_themselves() {
    for (address, problem, cure) in [
        (
            "10.0.1.2",
            "no prefix length",
            "write \"10.0.1.2/24\", or \"10.0.1.2/32\"",
        ),
        ("fd00::2", "no prefix length", "\"fd00::2/128\""),
        ("10.0.1.2/33", "not an IPv4 prefix length", "1 to 32"),
        ("fd00::2/129", "not an IPv6 prefix length", "1 to 128"),
        ("10.0.1.2/+24", "not an IPv4 prefix length", "1 to 32"),
        ("10.0.1.2/", "not an IPv4 prefix length", "1 to 32"),
        ("10.0.1/24", "not an IP address", "\"10.0.1.2/24\""),
        ("010.0.1.2/24", "not an IP address", "\"10.0.1.2/24\""),
        ("demo", "not an IP address", "\"fd00:1::2/64\""),
        ("10.0.1.2/0", "prefix length 0", "10.0.1.2/24"),
        (
            "10.0.1.0/24",
            "network's own address",
            "host in 10.0.1.0/24",
        ),
        ("10.0.1.255/24", "broadcast", "host in 10.0.1.0/24"),
        (
            "fd00:1::/64",
            "network's own address",
            "host in fd00:1::/64",
        ),
        ("0.1.2.3/24", "0.0.0.0/8", "10.0.0.0/8"),
        ("127.0.0.2/8", "loopback", "10.0.0.0/8"),
        (
            "169.254.1.1/16",
            "link-local",
            "netpath uses the link-local addresses for the gateway",
        ),
        ("224.0.0.5/24", "multicast", "unicast"),
        ("240.0.0.5/24", "240.0.0.0/4", "10.0.0.0/8"),
        ("255.255.255.255/32", "240.0.0.0/4", "10.0.0.0/8"),
        ("::/128", "unspecified", "unicast"),
        ("::1/128", "loopback", "unicast"),
        ("ff02::1/64", "multicast", "unicast"),
        ("fe80::5/64", "link-local", "for the gateway"),
        (
            "::ffff:10.0.0.1/128",
            "IPv4-mapped",
            "the IPv4 address itself",
        ),
    ] {
        let uplink = with_wire("").replacen("192.0.2.2/24", address, 1);
        let endpoint = with_endpoint("e1", &format!("{address:?}"), "");
        cases! {
            endpoint => 5, "node.endpoint.addresses", problem, cure;
            uplink => 11, "node.uplink.addresses", problem, cure;
        }
    }
    // Each entry has its own line.
    let spread = with_endpoint("e1", "\n\"10.0.1.2/24\",\n\"10.0.1.0/24\",\n", "");
    let many: Vec<_> = (1..=17).map(|n| format!("\"10.0.1.{n}/24\"")).collect();
    let many = with_endpoint("e1", &many.join(","), "");
    let none = "[[node]]\nname = \"n1\"\n[[node.endpoint]]\nname = \"e1\"\n";
    let key = "node.endpoint.addresses";
    cases! {
        spread => 7, key, "network's own", "host in";
        many => 5, key, "17 addresses", "at most 16";
        with_endpoint("e1", "", "") => 5, key, "no address", "add at least one";
        none => 3, key, "no address", "addresses = [\"10.0.1.2/24\"]";
    }
}

#[test]
fn addresses_against_each_other() {
    let (endpoint, uplink) = ("node.endpoint.addresses", "node.uplink.addresses");
    let second_uplink = |address: &str| {
        with_wire(&format!(
            "[[node.uplink]]\ndev = \"u1\"\naddresses = [{address:?}]\nwire = \"x\"\n"
        ))
    };
    cases! {
        with_two_endpoints("\"10.0.1.2/24\"", "\"10.0.1.2/24\"", "") =>
            8, endpoint,
            "10.0.1.2/24 is used by endpoint e1 too (line 5)",
            "give each endpoint its own address";
        with_endpoint("e1", "\"fd00::2/64\", \"fd00::2/128\"", "") =>
            5, endpoint, "fd00::2/128 is in the list already (line 5)", "write each address once";
        with_wire("").replace("192.0.2.2/24", "192.0.2.1/24") =>
            11, uplink,
            "192.0.2.1/24 is used by uplink u0 of node n1 too (line 5)",
            "give each uplink its own address";
        with_wire("").replace("10.0.2.2/24", "192.0.2.1/32") =>
            15, endpoint, "is used by uplink u0 of node n1 too (line 5)", "its own address";
        with_two_endpoints("\"10.0.1.2/24\"", "\"10.0.1.3/24\"", "") =>
            8, endpoint,
            "overlapping prefixes: 10.0.1.3/24 and 10.0.1.2/24 of endpoint e1 (line 5)",
            "write /32 in both";
        with_two_endpoints("\"fd00:1::2/64\"", "\"fd00:1::3/128\"", "") =>
            8, endpoint, "overlapping prefixes", "write /128 in both";
        // The wider one comes second: it is still the second that is reported.
        with_two_endpoints("\"10.0.1.2/24\"", "\"10.0.2.2/16\"", "") =>
            8, endpoint, "10.0.2.2/16 and 10.0.1.2/24", "a prefix of its own";
        with_wire("").replace("10.0.2.2/24", "192.0.2.9/28") =>
            15, endpoint,
            "overlapping prefixes: 192.0.2.9/28 and 192.0.2.1/24 of uplink u0 of node n1 (line 5)",
            "routed, not bridged";
        second_uplink("192.0.2.130/25") =>
            18, uplink,
            "overlapping prefixes: 192.0.2.130/25 and 192.0.2.2/24 of uplink u0 of node n2",
            "each uplink of a node a prefix of its own";
        with_wire("").replace("\"192.0.2.1/24\", ", "").replace("\"192.0.2.2/24\", ", "") =>
            15, endpoint,
            "10.0.2.2/24 is IPv4, and no uplink of n2 has an IPv4 address",
            "add an IPv4 address to the uplink";
        with_two_endpoints("\"10.0.1.2/24\"", "\"10.0.2.2/24\"", "")
            .replacen("[[node.endpoint", "max_endpoints = 1\n[[node.endpoint", 1) =>
            3, "node.max_endpoints", "1 is too few for 2 IPv4 endpoint addresses", "at least 2";
    }
}

#[test]
fn an_overlap_is_found_around_the_endpoints_own_prefixes() {
    let own = "\"10.0.1.2/24\", \"10.0.1.3/25\", \"10.0.1.4/26\"";
    let found = findings(&with_two_endpoints("\"10.0.200.9/16\"", own, ""));
    let with_e1 = |finding: &&Finding| finding.problem.contains("10.0.200.9/16 of endpoint e1");
    assert_eq!(
        (found.len(), found.iter().filter(with_e1).count()),
        (3, 3),
        "{found:#?}"
    );
}
