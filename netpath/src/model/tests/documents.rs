//! What is not TOML, keys that do not exist, values of the wrong type.

use super::*;

#[test]
fn documents() {
    let second = "[[node]]\nname = \"n1\"\n";
    cases! {
        "" => 1, "node", "no node", "write at least one [[node]]";
        "# nothing\n" => 1, "node", "no node", "[[node]]";
        "node = []\n" => 1, "node", "no node", "[[node]]";
        "[[node]]\nname = n1\n" => 2, "TOML", "", "double quotes";
        "[[node]]\nname = \"n1\n" => 2, "TOML", "", "correct the TOML";
        "[[node]\nname = \"n1\"\n" => 1, "TOML", "", "correct the TOML";
        format!("{second}name = \"n2\"\n") => 3, "TOML", "duplicate key", "each key once";
        "[node]\nname = \"n1\"\n" => 1, "node", "is a table", "[[node]]";
        "node = 3\n" => 1, "node", "is an integer", "[[node]]";
        "node = [3]\n" => 1, "node", "is an integer", "[[node]]";
        "[[node]]\nname = \"n1\"\n[node.endpoint]\nname = \"e\"\n" =>
            3, "node.endpoint", "is a table", "[[node.endpoint]]";
        "[[node]]\n\n" => 1, "node.name", "missing", "add name = ";
    }
}

#[test]
fn unknown_keys() {
    let node = |line: &str| format!("[[node]]\nname = \"n1\"\n{line}\n");
    cases! {
        node("forward-policy = \"drop\"") =>
            3, "node.forward-policy", "unknown key", "write forward_policy";
        node("colour = 1") =>
            3, "node.colour", "unknown key", "the keys of [[node]] are name, netns";
        node("[[node.endpoints]]") => 3, "node.endpoints", "unknown key", "write endpoint";
        node("\"a\\nb\" = 1") => 3, "node.a\\nb", "unknown key", "the keys of [[node]]";
        node("[[nodes]]") => 3, "nodes", "unknown key", "write node";
        node("[other]") => 3, "other", "unknown key", "the keys of the top level are node";
        with_endpoint("e1", "\"10.0.1.2/24\"", "forward_policy = \"drop\"") =>
            6, "node.endpoint.forward_policy", "unknown key", "move it to [[node]]";
        with_endpoint("e1", "\"10.0.1.2/24\"", "hostdev = \"a\"") =>
            6, "node.endpoint.hostdev", "unknown key", "write host_dev";
    }
}

#[test]
fn wrong_types_and_values() {
    let node = |line: &str| format!("[[node]]\nname = \"n1\"\n{line}\n");
    let (endpoints, routes) = ("node.max_endpoints", "node.max_routes");
    let connections = "node.max_connections";
    cases! {
        "[[node]]\nname = 3\n" => 2, "node.name", "is an integer, not a string", "quotes";
        node("netns = true") => 3, "node.netns", "is a boolean", "quotes";
        node("netns = \"blue\"") => 3, "node.netns", "\"blue\"", "write \"host\"";
        node("forward_policy = \"DROP\"") => 3, "node.forward_policy", "\"DROP\"", "\"drop\"";
        node("expedite = \"yes\"") =>
            3, "node.expedite", "is a string, not true or false", "without quotes";
        node("max_endpoints = 0") => 3, endpoints, "0 is out of range", "from 1 to 16777216";
        node("max_endpoints = -1") => 3, endpoints, "-1 is out of range", "from 1 to";
        node("max_routes = 16777217") => 3, routes, "out of range", "from 1 to 16777216";
        node("max_routes = 99999999999999999999") => 3, routes, "out of range", "from 1 to";
        node("max_connections = 1") => 3, connections, "1 is out of range", "from 1024 to 16777216";
        node("max_connections = 1023") => 3, connections, "1023 is out of range", "from 1024 to";
        node("mtu = 67") => 3, "node.mtu", "67 is out of range", "from 68 to 65535";
        node("mtu = 65536") => 3, "node.mtu", "65536 is out of range", "from 68 to 65535";
        with_endpoint("e1", "\"10.0.1.2/24\"", "mtu = 67") =>
            6, "node.endpoint.mtu", "67 is out of range", "from 68 to 65535";
        with_endpoint("e1", "\"10.0.1.2/24\", \"fd00:1::2/64\"", "mtu = 1279") =>
            6, "node.endpoint.mtu", "1279 is too small for IPv6", "at least 1280";
        with_endpoint("e1", "\"fd00:1::2/64\"", "").replacen("\"n1\"", "\"n1\"\nmtu = 1279", 1) =>
            3, "node.mtu", "1279 is too small for IPv6", "at least 1280";
        node("max_routes = 1.5") => 3, routes, "is a float", "a number from 1";
        with_endpoint("e1", "", "").replace("[]", "\"10.0.1.2/24\"") =>
            5, "node.endpoint.addresses",
            "is a string, not a list",
            "write addresses = [\"10.0.1.2/24\"]";
        with_endpoint("e1", "7", "") => 5, "node.endpoint.addresses", "is an integer", "quotes";
    }
    assert_eq!(findings(&node("max_routes = 16_777_216")), []);
    assert_eq!(findings(&node("max_routes = 0x100")), []);
    assert_eq!(findings(&node("max_connections = 1024")), []);
}

#[test]
fn all_findings_are_reported_by_line() {
    let text = "colour = 1\n[[node]]\nname = \"a/b\"\n[[node.endpoint]]\nname = \"e1\"\n\
                addresses = [\"10.0.1.0/24\", \"10.0.1.300/24\"]\ndev = \"lo\"\n\
                [[node]]\nname = \"n2\"\n[[node]]\nname = \"n2\"\n";
    let lines: Vec<_> = findings(text).iter().map(line_of).collect();
    assert_eq!(lines, [1, 3, 6, 6, 7, 11]);
}

#[test]
fn of_many_findings_the_first_are_shown_and_the_others_counted() {
    let text = |faults: usize| {
        (0..faults)
            .map(|n| format!("key{n} = 1\n"))
            .collect::<String>()
    };
    let shown = |faults: usize| {
        let text = text(faults) + "[[node]]\nname = \"n\"\n";
        let errors = Topology::parse("lab.toml", &text).expect_err("unknown keys");
        assert_eq!(errors.findings().len(), faults);
        errors.to_string()
    };
    assert_eq!(shown(50).lines().count(), 50);
    let many = shown(10_000);
    let lines: Vec<&str> = many.lines().collect();
    assert_eq!(lines.len(), 51);
    assert!(
        lines[49].starts_with("lab.toml:50: key49: "),
        "{}",
        lines[49]
    );
    assert_eq!(
        lines[50],
        "9950 more like these: correct what is above, and look again"
    );
}

#[test]
fn findings_are_shown_one_a_line() {
    let text = with_two_endpoints("\"10.0.1.2/24\"", "\"10.0.1.2/24\"", "dev = \"lo\"\n");
    let Err(errors) = Topology::parse("dir/lab.toml", &text) else {
        panic!("accepted")
    };
    assert_eq!(
        errors.to_string(),
        "dir/lab.toml:8: node.endpoint.addresses: 10.0.1.2/24 is used by endpoint e1 too (line 5): \
         give each endpoint its own address\n\
         dir/lab.toml:9: node.endpoint.dev: interface name \"lo\" is reserved: choose another; lo, \
         all, default, \".\" and \"..\" have a meaning already"
    );
}
