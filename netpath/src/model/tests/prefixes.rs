//! Prefixes that are routed to an endpoint.

use super::*;

const KEY: &str = "node.endpoint.prefixes";

/// [`with_wire`] with prefixes (line 16) of its endpoint, then `more` from line 17.
fn with_prefixes(prefixes: &str, more: &str) -> String {
    with_wire(&format!("prefixes = [{prefixes}]\n{more}"))
}

/// The same with a second endpoint (17-19) and its prefixes (20).
fn with_two(first: &str, second: &str) -> String {
    let second = format!(
        "[[node.endpoint]]\nname = \"e2\"\naddresses = [\"10.0.5.2/24\"]\nprefixes = [{second}]\n"
    );
    with_prefixes(first, &second)
}

#[test]
fn prefixes_are_read() -> Result<(), TopologyErrors> {
    let text = with_prefixes("\"10.9.0.0/28\", \"fd00:5::/64\"", "");
    let topology = Topology::parse("lab.toml", &text)?;
    let prefixes: Vec<_> = topology.nodes[1].endpoints[0]
        .prefixes
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(prefixes, ["10.9.0.0/28", "fd00:5::/64"]);
    assert_eq!(Topology::builtin_lab().nodes[0].endpoints[0].prefixes, []);
    Ok(())
}

#[test]
fn valid_prefixes_are_accepted() {
    for text in [
        with_prefixes("", ""),
        // Around its own addresses, and within the subnet that they are written with.
        with_prefixes("\"10.0.2.0/24\", \"fd00:2::/48\"", ""),
        with_prefixes("\"10.0.2.64/26\", \"10.0.0.0/23\"", ""),
        // One address, and the first of a prefix where that is an address too.
        with_prefixes("\"10.9.0.1/32\", \"fd00:5::1/128\"", ""),
        with_prefixes("\"10.0.2.2/31\"", ""),
        with_two("\"10.9.0.0/28\"", "\"10.9.0.16/28\""),
        // Another node's endpoints, beside them.
        with_prefixes(
            "\"10.9.0.0/28\"",
            "[[node.route]]\ndst = \"10.9.1.0/24\"\nvia = \"192.0.2.1\"\n",
        ),
    ] {
        assert_eq!(findings(&text), [], "{text}");
    }
}

#[test]
fn prefixes_by_themselves() {
    for (prefix, problem, cure) in [
        ("10.9.0.1/28", "has host bits set", "write 10.9.0.0/28"),
        ("fd00:5::1/64", "has host bits set", "write fd00:5::/64"),
        ("0.0.0.0/0", "is the default route", "behind the endpoint"),
        ("::/0", "is the default route", "behind the endpoint"),
        ("10.9.0.0", "no prefix length", "\"10.9.0.0/24\""),
        ("10.9.0.0/33", "not an IPv4 prefix length", "1 to 32"),
        ("lan", "not an IP address", "\"10.0.1.2/24\""),
        ("127.1.0.0/16", "a loopback address", "can be routed"),
        ("169.254.8.0/24", "link-local", "for the gateway"),
        ("224.1.0.0/16", "multicast", "unicast"),
        ("fe80::/64", "link-local", "for the gateway"),
        ("128.0.0.0/1", "contains 169.254.0.0/16", "narrower"),
        ("fe00::/7", "contains fe80::/10", "narrower"),
    ] {
        cases! { with_prefixes(&format!("{prefix:?}"), "") => 16, KEY, problem, cure; }
    }
    let many: Vec<_> = (0..17).map(|n| format!("\"10.9.{n}.0/24\"")).collect();
    cases! {
        with_prefixes(&many.join(", "), "") => 16, KEY, "17 prefixes", "at most 16";
        with_prefixes("\n\"10.9.0.0/28\",\n\"10.9.0.17/28\",\n", "") => 18, KEY, "host bits", "10.9.0.16/28";
        with_wire("prefixes = \"10.9.0.0/28\"\n") =>
            16, KEY, "is a string, not a list", "write prefixes = [\"10.9.0.0/28\"]";
        with_wire("prefixs = []\n") => 16, "node.endpoint.prefixs", "unknown key", "write prefixes";
    }
}

#[test]
fn prefixes_against_each_other() {
    cases! {
        with_prefixes("\"10.9.0.0/28\", \"10.9.0.0/28\"", "") =>
            16, KEY, "10.9.0.0/28 is in the list already (line 16)", "each prefix once";
        with_prefixes("\"10.9.0.0/24\", \"10.9.0.0/28\"", "") =>
            16, KEY, "10.9.0.0/28 overlaps 10.9.0.0/24 of the same endpoint", "the wider one alone";
        with_prefixes("\"fd00:5::/64\", \"fd00:5::/48\"", "") =>
            16, KEY, "fd00:5::/48 overlaps fd00:5::/64", "the wider one alone";
        with_two("\"10.9.0.0/28\"", "\"10.9.0.0/28\"") =>
            20, KEY, "10.9.0.0/28 and 10.9.0.0/28 of endpoint e1 (line 16)", "prefixes of its own";
        with_two("\"10.9.0.0/28\"", "\"10.9.0.0/16\"") =>
            20, KEY, "10.9.0.0/16 and 10.9.0.0/28 of endpoint e1 (line 16)", "prefixes of its own";
    }
}

#[test]
fn prefixes_against_addresses_and_routes() {
    let route = |dst: &str| format!("[[node.route]]\ndst = {dst:?}\nvia = \"192.0.2.1\"\n");
    cases! {
        with_prefixes("\"10.0.2.2/32\"", "") =>
            16, KEY, "is an address of the endpoint itself (line 15)", "remove it";
        with_prefixes("\"fd00:2::2/128\"", "") =>
            16, KEY, "is an address of the endpoint itself (line 15)", "remove it";
        with_two("", "\"10.0.2.0/28\"") =>
            20, KEY,
            "10.0.2.0/28 and 10.0.2.2/24 of endpoint e1 (line 15)",
            "an address that is written with /32 claims no more than itself";
        with_two("\"10.0.5.2/32\"", "") =>
            19, "node.endpoint.addresses",
            "10.0.5.2/24 and 10.0.5.2/32 of endpoint e1 (line 16)",
            "prefixes of its own";
        with_prefixes("\"192.0.2.0/28\"", "") =>
            16, KEY, "192.0.2.0/28 and 192.0.2.1/24 of uplink u0 of node n1", "routed, not bridged";
        // An endpoint with addresses of the other family only.
        with_prefixes("\"10.9.0.0/28\"", "").replace("\"10.0.2.2/24\", ", "") =>
            16, KEY,
            "10.9.0.0/28 needs an IPv4 next hop, and endpoint e1 has no IPv4 address",
            "add an IPv4 address";
        with_two("", "\"fd00:5::/64\"") =>
            20, KEY, "fd00:5::/64 needs an IPv6 next hop, and endpoint e2", "or remove this prefix";
        with_prefixes("\"10.9.0.0/28\"", &route("10.9.0.0/28")) =>
            18, "node.route.dst",
            "10.9.0.0/28 overlaps 10.9.0.0/28 of the node's own endpoint e1 (line 16)",
            "other nodes' endpoints";
        with_prefixes("\"10.9.0.0/16\"", &route("10.9.0.0/28")) =>
            18, "node.route.dst", "overlaps 10.9.0.0/16 of the node's own endpoint e1", "other nodes'";
        // The route table holds both.
        with_prefixes("\"10.9.0.0/28\"", &route("10.8.0.0/28"))
            .replacen("name = \"n2\"", "name = \"n2\"\nmax_routes = 1", 1) =>
            9, "node.max_routes", "1 is too few for 2 IPv4 routes and prefixes", "at least 2";
    }
}
