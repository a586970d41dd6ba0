//! Destinations and next hops.

use super::*;

#[test]
fn routes() {
    let (dst, via) = ("node.route.dst", "node.route.via");
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
        with_route("10.0.0.0/16", "192.0.2.1") => 17, dst, "own endpoint e1", "other nodes'";
        with_route("10.0.2.64/26", "192.0.2.1") => 17, dst, "own endpoint e1", "other nodes'";
        with_route("fd00:2::/48", "fd00:9::1") => 17, dst, "own endpoint e1", "other nodes'";
        with_route("10.0.3.0/24", "fd00:9::1") =>
            18, via,
            "fd00:9::1 is IPv6 and the destination 10.0.3.0/24 is IPv4",
            "IPv4 address: a next hop of the other family is not supported";
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
