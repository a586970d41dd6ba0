//! Destinations and next hops.

use super::*;

#[test]
fn routes() {
    let (dst, via, dev) = ("node.route.dst", "node.route.via", "node.route.dev");
    let twice = with_route("10.0.3.0/24", "192.0.2.1")
        + "[[node.route]]\ndst = \"10.0.3.0/24\"\nvia = \"192.0.2.1\"\n";
    let no_uplink = with_endpoint(
        "e1",
        "\"10.0.1.2/24\"",
        "[[node.route]]\ndst = \"10.0.3.0/24\"\nvia = \"192.0.2.1\"\n",
    );
    cases! {
        with_route("10.0.3.1/24", "192.0.2.1") => 17, dst, "host bits", "write 10.0.3.0/24";
        with_route("fd00:3::1/64", "fd00:9::1") => 17, dst, "host bits", "write fd00:3::/64";
        with_route("0.0.0.0/0", "192.0.2.1") => 17, dst, "default route", "to the kernel";
        with_route("::/0", "fd00:9::1") => 17, dst, "default route", "to the kernel";
        with_route("10.0.3.0", "192.0.2.1") => 17, dst, "no prefix length", "10.0.3.0/24";
        with_route("224.1.0.0/16", "192.0.2.1") => 17, dst, "multicast", "other nodes'";
        twice => 20, dst, "route to 10.0.3.0/24 already (line 17)", "destination once";
        with_route("192.0.2.0/24", "192.0.2.1") =>
            17, dst, "prefix of the node's uplink u0", "remove it";
        with_route("10.0.2.0/24", "192.0.2.1") =>
            17, dst,
            "overlaps 10.0.2.2/24 of the node's own endpoint e1 (line 15)",
            "other nodes' endpoints";
        with_route("10.0.2.64/26", "192.0.2.1") => 17, dst, "own endpoint e1", "other nodes'";
        with_route("fd00:2::/64", "fd00:9::1") => 17, dst, "own endpoint e1", "other nodes'";
        with_route("fd00:3::/64", "192.0.2.1") => 18, via, "is IPv4", "IPv6 address";
        with_route("10.0.3.0/24", "192.0.2.1/24") => 18, via, "a prefix length", "\"192.0.2.1\"";
        with_route("10.0.3.0/24", "n1") => 18, via, "not an IP address", "other node's address";
        with_route("10.0.3.0/24", "127.0.0.1") => 18, via, "loopback", "other node's address";
        with_route("10.0.3.0/24", "192.0.2.2") => 18, via, "own address, on u0", "of the node";
        with_route("10.0.3.0/24", "198.51.100.1") =>
            18, via, "next hop 198.51.100.1 is unreachable", "write an address in 192.0.2.0/24";
        no_uplink => 8, via, "unreachable: no uplink of n1 has an IPv4 address", "to an uplink";
        with_route("10.0.3.0/24", "192.0.2.255") => 18, via, "broadcast", "another node in";
        with_route("10.0.3.0/24", "192.0.2.77") =>
            18, via, "no node on wire lan has the address 192.0.2.77", "such as 192.0.2.1";
        with_route("10.0.3.0/24", "192.0.2.1").replacen("\"lan\"", "\"other\"", 1) =>
            18, via, "no node on wire lan", "put the other node's uplink on wire lan";
        with_route("10.0.3.0/24", "fe80::1") =>
            18, via, "fe80::1 is link-local", "add dev = \"u0\"";
        with_route("10.0.3.0/24", "169.254.7.7") => 18, via, "link-local", "add dev = \"u0\"";
        with_route("10.0.3.0/24", "192.0.2.1") + "dev = \"u1\"\n" =>
            19, dev, "u1 is no uplink of node n2", "write u0, or add it";
        with_route("10.0.3.0/24", "192.0.2.77") + "dev = \"u0\"\n" =>
            18, via, "no node on wire lan has the address 192.0.2.77", "such as 192.0.2.1";
        with_route("10.0.3.0/24", "198.51.100.1") + "dev = \"u0\"\n" =>
            18, via, "no node on wire lan has the address 198.51.100.1", "such as 192.0.2.1";
        with_wire("[[node.route]]\ndst = \"10.0.3.0/24\"\ndev = \"u0\"\n") =>
            16, via, "without a next hop", "remove dev";
        with_wire("[[node.route]]\ndst = \"10.0.2.2/32\"\n") =>
            17, dst, "own endpoint e1", "a wider prefix";
        with_wire("[[node.route]]\nvia = \"192.0.2.1\"\n") => 16, dst, "missing", "add dst = ";
    }
}

#[test]
fn an_endpoint_is_no_next_hop() {
    let found = findings(&with_route("10.0.3.0/24", "10.0.2.2"));
    assert!(
        found
            .iter()
            .any(|finding| finding.problem.contains("is endpoint e1's address"))
    );
}

/// A node with an endpoint that has a prefix, and these fast prefixes (line 3).
fn fast(prefixes: &str, more: &str) -> String {
    format!(
        "[[node]]\nname = \"n1\"\nfast_prefixes = [{prefixes}]\n[[node.endpoint]]\nname = \"e1\"\n\
         addresses = [\"10.0.2.2/24\", \"fd00:2::2/64\"]\nprefixes = [\"10.9.0.0/24\"]\n{more}"
    )
}

#[test]
fn fast_prefixes() {
    let key = "node.fast_prefixes";
    let route = "[[node.route]]\ndst = \"10.0.0.0/8\"\n";
    cases! {
        fast("\"0.0.0.0/0\"", "") => 3, key, "default route", "to the kernel";
        fast("\"10.0.0.1/8\"", "") => 3, key, "host bits", "write 10.0.0.0/8";
        fast("\"224.0.0.0/8\"", "") => 3, key, "multicast", "other nodes'";
        fast("\"10.0.0.0/8\", \"10.0.0.0/8\"", "") => 3, key, "to 10.0.0.0/8 already", "once";
        fast("\"10.0.0.0/8\"", route) => 9, "node.route.dst", "to 10.0.0.0/8 already (line 3)", "once";
        fast("\"10.9.0.0/24\"", "") => 3, key, "own endpoint e1 (line 7)", "a wider prefix";
        fast("\"10.9.0.64/26\"", "") => 3, key, "own endpoint e1 (line 7)", "a wider prefix";
        fast("\"10.0.2.2/32\"", "") => 3, key, "own endpoint e1 (line 6)", "a wider prefix";
        fast("10", "") => 3, key, "is an integer", "double quotes";
    }
    let text = fast(
        "\"10.0.0.0/8\", \"fd00::/8\"",
        "[[node.route]]\ndst = \"10.0.2.0/24\"\n",
    );
    let topology =
        Topology::parse("lab.toml", &text).expect("wider ones, and the node's own subnet");
    let of = |route: &Route| (route.dst.to_string(), route.via);
    let routes: Vec<_> = topology.nodes[0].routes.iter().map(of).collect();
    let expected = ["10.0.0.0/8", "fd00::/8", "10.0.2.0/24"];
    assert_eq!(routes, expected.map(|dst| (dst.to_owned(), None)));
}

/// Wider than what the node has itself, over the other family, on the link by the file's word.
#[test]
fn next_hops_of_all_kinds() {
    for (dst, via, dev) in [
        ("10.0.0.0/16", "192.0.2.1", None),
        ("fd00:2::/48", "fd00:9::1", None),
        ("10.0.3.0/24", "fd00:9::1", None),
        ("10.0.3.0/24", "fe80::1", Some("u0")),
        ("fd00:3::/64", "fe80::1", Some("u0")),
        ("10.0.3.0/24", "192.0.2.1", Some("u0")),
    ] {
        let dev_key = dev.map(|dev| format!("dev = {dev:?}\n"));
        let text = with_route(dst, via) + &dev_key.unwrap_or_default();
        let topology = Topology::parse("lab.toml", &text).unwrap_or_else(|error| panic!("{error}"));
        let route = &topology.nodes[1].routes[0];
        assert_eq!(
            (route.dst.to_string(), route.via),
            (dst.to_owned(), via.parse().ok())
        );
        assert_eq!(route.dev.as_ref().map(InterfaceName::as_ref), dev);
    }
    // A machine with one address and no subnet.
    let text = "[[node]]\nname = \"n1\"\nnetns = \"host\"\nuplink = [{ dev = \"u0\", addresses = [\"10.0.0.5/32\"] }]\n\
                [[node.route]]\ndst = \"10.1.0.0/16\"\nvia = \"10.0.0.1\"\n";
    let found = findings(text);
    assert!(found[0].cure.contains("add dev ="), "{found:?}");
    let text = format!("{text}dev = \"u0\"\n");
    assert_eq!(findings(&text), []);
}
