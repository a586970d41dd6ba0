//! Every documented error by line, key, problem and cure; and that no text makes the parser panic.

/// A table of `text => line, key, problem, cure;`.
macro_rules! cases {
    ($($text:expr => $line:expr, $key:expr, $problem:expr, $cure:expr;)+) => {
        $(assert_finding(AsRef::<str>::as_ref(&$text), $line, $key, $problem, $cure);)+
    };
}

mod addresses;
mod documents;
mod kinds;
mod named;
mod names;
mod prefixes;
mod routes;

use super::*;
use crate::finding::Finding;

/// The findings of a text; none when it is valid.
fn findings(text: &str) -> Vec<Finding> {
    match Topology::parse("lab.toml", text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.findings().to_vec(),
    }
}

fn line_of(finding: &Finding) -> usize {
    finding.place.as_ref().expect("it is in the file").line
}

/// Asserts that a text leads to one finding, whose problem and cure contain these words.
fn assert_finding(text: &str, line: usize, key: &str, problem: &str, cure: &str) {
    let found = findings(text);
    let [one] = found.as_slice() else {
        panic!("one finding expected, with {problem:?}: {found:#?} in\n{text}");
    };
    assert_eq!(
        (line_of(one), one.object.as_str()),
        (line, key),
        "{one}\n{text}"
    );
    assert!(one.problem.contains(problem), "{one}\nlacks {problem:?}");
    assert!(one.cure.contains(cure), "{one}\nlacks {cure:?}");
}

/// A lab node (line 1), its name (2), an endpoint (3), its name (4), its addresses (5), then `more`.
fn with_endpoint(name: &str, addresses: &str, more: &str) -> String {
    format!(
        "[[node]]\nname = \"n1\"\n[[node.endpoint]]\nname = {name:?}\naddresses = [{addresses}]\n{more}"
    )
}

/// As [`with_endpoint`], and a second endpoint (6) with a name (7), addresses (8), then `more`.
fn with_two_endpoints(first: &str, second: &str, more: &str) -> String {
    let second = format!("[[node.endpoint]]\nname = \"e2\"\naddresses = [{second}]\n{more}");
    with_endpoint("e1", first, &second)
}

/// A lab of two nodes on a wire. n1: lines 1-6, uplink `u0` with 192.0.2.1/24 and fd00:9::1/64 (dev 4,
/// addresses 5, wire 6); n2: lines 7-12, with .2 and ::2, endpoint at 13-15 with 10.0.2.2/24 and
/// fd00:2::2/64. `more` from line 16 belongs to n2.
fn with_wire(more: &str) -> String {
    let node = |n: u8| {
        format!(
            "[[node]]\nname = \"n{n}\"\n[[node.uplink]]\ndev = \"u0\"\n\
             addresses = [\"192.0.2.{n}/24\", \"fd00:9::{n}/64\"]\nwire = \"lan\"\n"
        )
    };
    let endpoint =
        "[[node.endpoint]]\nname = \"e1\"\naddresses = [\"10.0.2.2/24\", \"fd00:2::2/64\"]\n";
    format!("{}{}{endpoint}{more}", node(1), node(2))
}

/// [`with_wire`] with a route of n2: header on line 16, dst 17, via 18.
fn with_route(dst: &str, via: &str) -> String {
    with_wire(&format!("[[node.route]]\ndst = {dst:?}\nvia = {via:?}\n"))
}

#[test]
fn the_builtin_lab_is_as_designed() {
    let lab = Topology::builtin_lab();
    let names: Vec<_> = lab.nodes.iter().map(|node| node.name.as_ref()).collect();
    assert_eq!(names, ["node03", "node02"]);
    let [node03, node02] = lab.nodes.as_slice() else {
        panic!("{lab:?}")
    };
    for node in &lab.nodes {
        assert_eq!(node.place, NodePlace::Lab);
        assert_eq!(node.forward_policy, ForwardPolicy::Drop);
        assert_eq!(
            node.capacity,
            Capacity {
                endpoints: 65_536,
                routes: 1_048_576,
                connections: 65_536
            }
        );
        assert_eq!(node.uplinks[0].wire.as_ref().map(Name::as_ref), Some("lan"));
        assert_eq!(
            (node.uplinks.len(), node.routes.len(), node.endpoints.len()),
            (1, 4, 2)
        );
    }
    // Both ways, both families: each node's routes lead to the other's endpoints through its uplink.
    for (node, other) in [(node03, node02), (node02, node03)] {
        let theirs = other
            .endpoints
            .iter()
            .flat_map(|endpoint| &endpoint.addresses);
        for address in theirs {
            let route = node
                .routes
                .iter()
                .find(|route| route.dst == address.trunc());
            let via = route.and_then(|route| route.via);
            assert!(
                other.uplinks[0]
                    .addresses
                    .iter()
                    .any(|at| Some(at.addr()) == via)
            );
        }
    }
    let demo01 = &node03.endpoints[0];
    assert_eq!(demo01.addresses.len(), 2);
    assert_eq!(
        (demo01.name.as_ref(), demo01.dev.as_ref()),
        ("demo01", "vethdemo01")
    );
    assert_eq!(demo01.host_dev.as_ref(), "vethhost01");
}

#[test]
fn valid_files_are_accepted() {
    let e = |address: &str| with_endpoint("e1", address, "");
    for text in [
        "[[node]]\nname = \"n1\"\n".to_owned(),
        "node = [{ name = \"n1\" }]".to_owned(),
        "[[node]]\nname = \"host\"\nnetns = \"host\"\n".to_owned(),
        // The machine's uplink may have addresses that the file does not list.
        with_endpoint(
            "e1",
            "\"fd00:1::2/64\"",
            "[[node.uplink]]\ndev = \"eth0\"\n\
             [[node.route]]\ndst = \"10.0.3.0/24\"\nvia = \"192.0.2.7\"\n",
        )
        .replacen("\"n1\"", "\"n1\"\nnetns = \"host\"", 1),
        e("\"10.0.1.2/32\""),
        e("\"10.0.1.0/31\", \"fd00::/127\", \"fd00::9/128\""),
        e("\"10.0.1.2/24\", \"10.0.1.3/24\", \"10.0.1.4/25\""),
        with_two_endpoints("\"10.0.1.2/32\"", "\"10.0.1.3/32\"", ""),
        with_wire(""),
        with_route("10.0.3.0/24", "192.0.2.1"),
        with_route("fd00:3::/64", "fd00:9::1"),
        with_route("10.0.3.7/32", "192.0.2.1"),
        with_route("192.0.0.0/8", "192.0.2.1"),
    ] {
        assert_eq!(findings(&text), [], "{text}");
    }
}

#[test]
fn defaults() -> Result<(), TopologyErrors> {
    let text = with_two_endpoints("\"10.0.1.2/24\"", "\"10.0.2.2/24\"", "")
        .replace("\"e2\"", "\"a-much-longer-name\"");
    let topology = Topology::parse("lab.toml", &text)?;
    let [first, second] = topology.nodes[0].endpoints.as_slice() else {
        panic!("{topology:?}")
    };
    assert_eq!(
        (first.dev.as_ref(), first.host_dev.as_ref()),
        ("eth0", "np-e1")
    );
    assert_eq!(
        second.host_dev,
        derived_host_dev(&topology.nodes[0].name, &second.name)
    );
    assert_eq!(topology.nodes[0].forward_policy, ForwardPolicy::Accept);
    for (keys, expedite) in [
        ("", true),
        ("expedite = false\n", false),
        ("netns = \"host\"\n", false),
        ("netns = \"host\"\nexpedite = true\n", true),
    ] {
        let node = format!("[[node]]\nname = \"n1\"\n{keys}");
        let topology = Topology::parse("lab.toml", &node)?;
        assert_eq!(topology.nodes[0].expedite, expedite, "{keys}");
    }
    Ok(())
}

/// Whatever is cut out of or put into the lab, the parser answers, and each finding points into the text.
#[test]
fn damaged_texts_are_answered() {
    let check = |text: &str| {
        for finding in findings(text) {
            assert!(
                (1..=text.lines().count().max(1)).contains(&line_of(&finding)),
                "{finding}\n{text}"
            );
            assert!(
                !finding.problem.is_empty() && !finding.cure.is_empty(),
                "{finding}"
            );
        }
    };
    for (start, _) in BUILTIN_LAB.char_indices() {
        check(&BUILTIN_LAB[..start]);
        let rest = &BUILTIN_LAB[start..];
        for removed in [1, 7, 60] {
            check(&[&BUILTIN_LAB[..start], rest.get(removed..).unwrap_or("")].concat());
        }
        for added in ["\"", "[", "]", "=", "\n", "0", "é", "\0"] {
            check(&[&BUILTIN_LAB[..start], added, rest].concat());
        }
    }
}

/// A node with as many endpoints as the maps hold by default is checked in a moment, good or bad.
#[test]
fn large_files_are_checked_quickly() {
    use std::fmt::Write as _;
    let mut text = "[[node]]\nname = \"n1\"\n".to_owned();
    for n in 0..20_000 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + n * 4 + 1);
        let _ = write!(
            text,
            "[[node.endpoint]]\nname = \"e{n}\"\naddresses = [\"{address}/30\"]\n"
        );
    }
    let start = std::time::Instant::now();
    assert_eq!(findings(&text), []);
    // 64 of them share each /24, and the first of each is in nobody's way.
    let overlaps = 20_000 - 20_000_usize.div_ceil(64);
    assert_eq!(findings(&text.replace("/30", "/24")).len(), overlaps);
    assert!(
        start.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}
