//! Each kind of fault, by its id.

use std::collections::BTreeSet;

use super::*;

/// A lab node with `key` beside its name, before the endpoint of [`with_endpoint`].
fn node(key: &str, more: &str) -> String {
    let text = with_endpoint("e1", "\"10.0.1.2/24\"", more);
    text.replacen("\"n1\"", &format!("\"n1\"\n{key}"), 1)
}

fn addresses(addresses: &str) -> String {
    with_endpoint("e1", addresses, "")
}

fn prefixes(prefixes: &str) -> String {
    node("", &format!("prefixes = [{prefixes}]"))
}

fn host(more: &str) -> String {
    format!("[[node]]\nname = \"m\"\nnetns = \"host\"\n{more}")
}

#[test]
fn each_kind_has_its_id() {
    let two_hosts = format!("{}{}", host(""), host("").replace("\"m\"", "\"m2\""));
    let many: Vec<String> = (0..200).map(|n| format!("\"10.{n}.0.2/32\"")).collect();
    let one_route = "[[node.route]]\ndst = \"10.0.3.0/24\"\nvia = \"192.0.2.1\"\n";
    let no_ipv6 = with_wire("")
        .replace(", \"fd00:9::1/64\"", "")
        .replace(", \"fd00:9::2/64\"", "");
    let cases = [
        ("not_toml", "[[node]\n".to_owned()),
        (
            "duplicate_key",
            "[[node]]\nname = \"n1\"\nname = \"n1\"\n".to_owned(),
        ),
        ("unknown_key", node("speed = 1", "")),
        ("missing_key", "[[node]]\n".to_owned()),
        ("wrong_type", node("max_routes = \"1\"", "")),
        ("out_of_range", node("max_routes = 0", "")),
        ("unknown_value", node("forward_policy = \"reject\"", "")),
        ("no_nodes", String::new()),
        ("no_addresses", addresses("")),
        ("too_many", addresses(&many.join(", "))),
        ("bad_name", with_endpoint("a/b", "\"10.0.1.2/24\"", "")),
        (
            "reserved_name",
            with_endpoint("self", "\"10.0.1.2/24\"", ""),
        ),
        ("reserved_name", node("", "dev = \"lo\"")),
        ("duplicate_name", with_endpoint("n1", "\"10.0.1.2/24\"", "")),
        (
            "duplicate_interface",
            with_two_endpoints("\"10.0.1.2/24\"", "\"10.0.2.2/24\"", "host_dev = \"np-e1\""),
        ),
        ("lab_only", host("forward_policy = \"drop\"\n")),
        ("second_host", two_hosts),
        (
            "capacity_too_small",
            addresses("\"10.0.1.2/24\", \"10.0.1.3/24\"").replacen(
                "\"n1\"",
                "\"n1\"\nmax_endpoints = 1",
                1,
            ),
        ),
        ("not_an_address", with_route("10.0.3.0/24", "router")),
        ("not_a_prefix", addresses("\"here\"")),
        ("no_prefix_length", addresses("\"10.0.1.2\"")),
        ("bad_prefix_length", addresses("\"10.0.1.2/33\"")),
        ("bad_prefix_length", addresses("\"10.0.1.2/0\"")),
        ("host_bits_set", prefixes("\"10.9.0.1/24\"")),
        ("default_route", prefixes("\"0.0.0.0/0\"")),
        ("not_forwardable", addresses("\"127.0.0.1/8\"")),
        ("not_forwardable", prefixes("\"126.0.0.0/7\"")),
        ("subnet_reserved", addresses("\"10.0.1.0/24\"")),
        ("subnet_reserved", with_route("10.0.3.0/24", "192.0.2.255")),
        (
            "duplicate_address",
            addresses("\"10.0.1.2/24\", \"10.0.1.2/24\""),
        ),
        (
            "duplicate_prefix",
            prefixes("\"10.9.0.0/24\", \"10.9.0.0/24\""),
        ),
        (
            "prefix_overlap",
            with_two_endpoints("\"10.0.1.2/24\"", "\"10.0.1.3/24\"", ""),
        ),
        (
            "prefix_overlap",
            prefixes("\"10.9.0.0/24\", \"10.9.0.0/25\""),
        ),
        ("prefix_is_own_address", prefixes("\"10.0.1.2/32\"")),
        ("prefix_without_next_hop", prefixes("\"fd00:7::/64\"")),
        ("family_without_uplink", no_ipv6),
        ("duplicate_route", with_wire(&one_route.repeat(2))),
        ("route_to_uplink", with_route("192.0.2.0/24", "192.0.2.1")),
        (
            "route_to_own_endpoint",
            with_route("10.0.2.0/25", "192.0.2.1"),
        ),
        ("next_hop_family", with_route("fd00:3::/64", "192.0.2.1")),
        ("next_hop_own", with_route("10.0.3.0/24", "192.0.2.2")),
        (
            "next_hop_unreachable",
            with_route("10.0.3.0/24", "198.51.100.1"),
        ),
        ("next_hop_unknown", with_route("10.0.3.0/24", "192.0.2.7")),
        ("next_hop_without_dev", with_route("fd00:3::/64", "fe80::1")),
        (
            "route_dev_unknown",
            with_route("10.0.3.0/24", "192.0.2.1") + "dev = \"u7\"\n",
        ),
    ];
    for (id, text) in &cases {
        let found: BTreeSet<&str> = findings(text).iter().map(|finding| finding.id).collect();
        assert_eq!(
            found,
            BTreeSet::from([*id]),
            "{:#?} in\n{text}",
            findings(text)
        );
    }
    let met: BTreeSet<&str> = cases.iter().map(|(id, _)| *id).collect();
    let kinds: BTreeSet<&str> = FaultKind::KINDS.iter().map(|kind| kind.id).collect();
    assert_eq!(met, kinds);
}
