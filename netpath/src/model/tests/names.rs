//! Names, devices, and what only a lab or only the machine can have.

use super::*;

#[test]
fn names() {
    let long = "x".repeat(64);
    for (name, problem, cure) in [
        ("", "empty", "1 to 63 bytes"),
        (long.as_str(), "64 bytes", "1 to 63 bytes"),
        ("a/b", "'/'", "use only A-Z"),
        ("../etc", "'.'", "use only A-Z"),
        ("..", "'.'", "use only A-Z"),
        ("a.b", "'.'", "use only A-Z"),
        ("a b", "' '", "use only A-Z"),
        ("naïve", "'ï'", "use only A-Z"),
        ("-a", "starts with '-'", "a letter or a digit"),
        ("_a", "starts with '_'", "a letter or a digit"),
        ("host", "reserved name", "choose another name"),
        ("self", "reserved name", "choose another name"),
        ("default", "reserved name", "choose another name"),
        (
            "netpath-wire-lan",
            "starts with netpath-wire-",
            "wires' namespaces",
        ),
    ] {
        let endpoint = with_endpoint(name, "\"10.0.1.2/24\"", "");
        let node = format!("[[node]]\nname = {name:?}\n");
        cases! {
            endpoint => 4, "node.endpoint.name", problem, cure;
            node => 2, "node.name", problem, cure;
        }
    }
    assert_eq!(
        findings(&with_endpoint(&long[1..], "\"10.0.1.2/24\"", "")),
        []
    );

    cases! {
        with_two_endpoints("\"10.0.1.2/24\"", "\"10.0.2.2/24\"", "host_dev = \"x\"\n")
            .replace("\"e2\"", "\"e1\"") =>
            7, "node.endpoint.name", "another endpoint too (line 4)", "its own name";
        with_endpoint("n1", "\"10.0.1.2/24\"", "") =>
            4, "node.endpoint.name", "another node too (line 2)", "share /run/netns";
        "[[node]]\nname = \"n1\"\n[[node]]\nname = \"n1\"\n" =>
            4, "node.name", "another node too (line 2)", "its own name";
        "[[node]]\nname = \"host\"\n" =>
            2, "node.name", "\"host\"", "for this machine itself add netns = \"host\"";
    }
}

#[test]
fn wires_and_places() {
    let uplink = "[[node.uplink]]\ndev = \"u0\"\naddresses = [\"192.0.2.1/24\"]\n";
    let lab = format!("[[node]]\nname = \"n1\"\n{uplink}");
    let host = format!("[[node]]\nname = \"n1\"\nnetns = \"host\"\n{uplink}");
    let wire = "node.uplink.wire";
    cases! {
        &lab => 3, wire, "an uplink of a lab node needs a wire", "add wire = \"lan\"";
        format!("{host}wire = \"lan\"\n") => 7, wire, "lab nodes only", "remove it";
        host.replace("[[node.uplink", "forward_policy = \"drop\"\n[[node.uplink") =>
            4, "node.forward_policy",
            "lab nodes only",
            "netpath leaves the machine's own FORWARD chain";
        format!("{host}[[node]]\nname = \"n2\"\nnetns = \"host\"\n") =>
            9, "node.netns", "node n1 is the machine itself already (line 3)", "keep one node";
        format!("{lab}wire = \"{}\"\n", "x".repeat(51)) => 6, wire, "51 bytes", "write at most 50";
        format!("{lab}wire = \"a/b\"\n") => 6, wire, "'/'", "use only A-Z";
        lab.replace("[\"192.0.2.1/24\"]", "[]\nwire = \"lan\"") =>
            5, "node.uplink.addresses", "no address", "add at least one";
        format!("[[node]]\nname = \"n1\"\nnetns = \"hots\"\n{uplink}") =>
            3, "node.netns", "\"hots\"", "write \"host\"";
    }
    assert_eq!(findings(&host), []);
    assert_eq!(
        findings(&format!("{lab}wire = \"{}\"\n", "x".repeat(50))),
        []
    );
}

#[test]
fn interface_names() {
    for (name, problem, cure) in [
        ("", "empty", "1 to 15 bytes"),
        ("sixteen-bytes-ab", "16 bytes", "1 to 15 bytes"),
        ("a/b", "'/'", "printable ASCII"),
        ("a b", "' '", "printable ASCII"),
        ("a:1", "':'", "printable ASCII"),
        ("veth%d", "'%'", "printable ASCII"),
        ("é", "'é'", "printable ASCII"),
        (".", "reserved", "choose another"),
        ("..", "reserved", "choose another"),
        ("lo", "reserved", "choose another"),
        ("all", "reserved", "choose another"),
    ] {
        let endpoint = |key| with_endpoint("e1", "\"10.0.1.2/24\"", &format!("{key} = {name:?}\n"));
        let uplink = with_wire("").replacen("\"u0\"", &format!("{name:?}"), 1);
        cases! {
            endpoint("dev") => 6, "node.endpoint.dev", problem, cure;
            endpoint("host_dev") => 6, "node.endpoint.host_dev", problem, cure;
            uplink => 4, "node.uplink.dev", problem, cure;
        }
    }
    for name in ["eth0.100", "sixteen-bytes-a", "br-1a2b"] {
        let text = with_endpoint("e1", "\"10.0.1.2/24\"", &format!("dev = {name:?}\n"));
        assert_eq!(findings(&text), []);
    }
}

#[test]
fn devices() {
    let two = with_two_endpoints(
        "\"10.0.1.2/24\"",
        "\"10.0.2.2/24\"",
        "host_dev = \"np-e1\"\n",
    );
    cases! {
        two =>
            9, "node.endpoint.host_dev",
            "np-e1 is used by endpoint e1 too (line 4)",
            "each interface of a node its own name";
        with_wire("host_dev = \"u0\"\n") =>
            16, "node.endpoint.host_dev",
            "u0 is used by an uplink of n2 too (line 10)",
            "its own name";
        with_wire("[[node.uplink]]\ndev = \"u0\"\naddresses = [\"198.51.100.1/24\"]\nwire = \"x\"\n") =>
            17, "node.uplink.dev", "u0 is used by an uplink of n2 too (line 10)", "its own name";
    }
}
