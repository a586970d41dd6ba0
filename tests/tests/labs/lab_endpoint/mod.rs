//! One endpoint at a time, without a file: into a namespace of its own or one that is there, and away again.

mod cut_short;
mod given;
mod many;
mod objects;
mod taken;

use std::{
    env,
    io::Read as _,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use netpath::{
    Ends as _,
    finding::Finding,
    model::{Endpoint, EndpointText},
    netns::Netns,
    provision::{self, Change, GivenNetns, NewEndpoint, OldEndpoint, ProvisionError},
};
use netpath_common::{Origin, RouteEntry};
use netpath_tests::{
    lab::{
        Bytes::Any, Deadline, Lab, ONE_NODE, TWO_NODES, addresses, assert_same_portrait,
        on_a_machine, portrait, run,
    },
    netpath,
};

/// Of the endpoint that is added.
const X: [&str; 2] = ["10.0.5.2/24", "fd00:5::2/64"];

fn of(text: &str) -> IpAddr {
    let (address, _) = text.split_once('/').expect("a length");
    address.parse().expect(address)
}

fn text(lab: &Lab, name: &str, addresses: &[&str]) -> EndpointText {
    EndpointText {
        name: lab.name(name),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        host_dev: Some(format!("v{name}")),
        ..EndpointText::default()
    }
}

fn new(lab: &Lab, node: &str, text: &EndpointText, netns: Option<&str>) -> NewEndpoint {
    let node = lab.name(node).parse().expect("a name");
    let endpoint = Endpoint::of_text(&node, text).unwrap_or_else(|error| panic!("{error}"));
    NewEndpoint {
        node,
        endpoint,
        netns: netns.map(|netns| netns.parse::<GivenNetns>().expect(netns)),
        origin: Origin::Command,
        interrupted: Arc::default(),
    }
}

/// In words, without the lab's prefix.
fn words(lab: &Lab, changes: &[Change]) -> Vec<String> {
    let words = changes.iter().map(ToString::to_string);
    words.map(|word| word.replace(lab.prefix(), "")).collect()
}

fn add(lab: &Lab, new: &NewEndpoint) -> Vec<String> {
    let changes = provision::add_endpoint(new, &mut |_| {});
    words(lab, &changes.unwrap_or_else(|error| panic!("add: {error}")))
}

fn try_remove(lab: &Lab, name: &str) -> Result<Vec<String>, ProvisionError> {
    let old = OldEndpoint {
        name: lab.name(name).parse().expect("a name"),
        node: None,
        origin: Origin::Command,
        interrupted: Arc::default(),
    };
    let removed = provision::remove_endpoint(&old, &mut |_| {})?;
    assert_eq!(removed.remaining, []);
    Ok(words(lab, &removed.changes))
}

fn remove(lab: &Lab, name: &str) -> Vec<String> {
    try_remove(lab, name).unwrap_or_else(|error| panic!("remove: {error}"))
}

/// What a refusal is told as; nothing may have been touched.
fn refusals(error: &ProvisionError) -> Vec<Finding> {
    assert!(error.is_refusal(), "{error:?}");
    match error {
        ProvisionError::Refused(refused) => vec![refused.finding()],
        ProvisionError::Several(errors) => errors.iter().flat_map(refusals).collect(),
        other => panic!("{other}"),
    }
}

fn refused(new: &NewEndpoint) -> Vec<&'static str> {
    let error = provision::add_endpoint(new, &mut |change| panic!("{change}"));
    let error = error.expect_err("a refusal");
    refusals(&error).iter().map(|it| it.id).collect()
}

/// All of a node that a change would show in.
fn state(lab: &Lab, node: &str) -> String {
    let maps = &lab.datapath(node).maps;
    format!(
        "{}\n{}\n{:?}\n{:?}\n{:?}\n{:?}",
        portrait(&lab.netns(node)),
        objects::of(lab, node),
        maps.endpoint_records.all().expect("records"),
        maps.endpoints().expect("entries"),
        maps.routes().expect("entries"),
        maps.interfaces.all().expect("interfaces"),
    )
}

#[test]
fn a_container_is_attached_and_left_as_it_was() {
    let mut lab = Lab::up(ONE_NODE);
    let container = lab.foreign_namespace("c1");
    let before = portrait(&container);
    let mut x = text(&lab, "x", &X);
    x.dev = Some("net1".to_owned());
    x.mtu = Some(1400);
    x.prefixes = vec!["10.9.0.0/28".to_owned(), "fd99::/64".to_owned()];
    // By its path; a name and a process's number are other ways to say one.
    let path = format!("/var/run/netns/{}", lab.name("c1"));
    let endpoint = new(&lab, "A", &x, Some(&path));
    let made = "+ endpoint x on A: 10.0.5.2/24, fd00:5::2/64, prefixes 10.9.0.0/28, fd99::/64, MTU 1400, net1 to vx";
    assert_eq!(add(&lab, &endpoint), [made]);
    assert_eq!(add(&lab, &endpoint), Vec::<String>::new());
    x.mtu = Some(1300);
    assert_eq!(refused(&new(&lab, "A", &x, Some(&path))), ["name_taken"]);

    let forwarded = lab.forward_counters("A");
    for (family, own) in X.map(of).into_iter().enumerate() {
        let before = lab.traffic("A");
        lab.assert_reaches("c1", addresses("a1")[family], 63);
        let there = ("vx > va1 redirect_peer", 3, Any);
        let back = ("va1 > vx redirect_peer", 3, Any);
        lab.assert_counted("A", &before, &[there, back]);
        lab.assert_reaches("a2", own, 63);
        lab.assert_reaches("c1", addresses("A")[family], 64);
    }
    assert_eq!(lab.forward_counters("A"), forwarded, "the FORWARD chain");
    for (dev, namespace) in [("vx", "A"), ("net1", "c1")] {
        let link = lab.ip(namespace, &format!("-o link show dev {dev}"));
        assert!(link.contains("mtu 1400"), "{link}");
    }

    // A file that has it not leaves it alone, and `show` says whose it is.
    assert_eq!(lab.converge(), Vec::<String>::new());
    let status = lab.status("A");
    let found = status.endpoints.iter().find(|it| it.name == lab.name("x"));
    let found = found.expect("listed");
    assert_eq!(
        (found.origin, found.netns.as_str()),
        ("command", path.as_str())
    );
    assert_eq!(lab.told("A"), Vec::<&str>::new());

    let gone = ["- endpoint x on A: 10.0.5.2/24, fd00:5::2/64"];
    assert_eq!(remove(&lab, "x"), gone);
    assert_same_portrait(&portrait(&container), &before, "after it was removed");
    let left = try_remove(&lab, "x").expect_err("nothing is there");
    assert!(matches!(left, ProvisionError::NotUp { .. }), "{left}");
    assert_eq!(lab.converge(), Vec::<String>::new());
    assert_eq!(lab.told("A"), Vec::<&str>::new());
}

#[test]
fn a_namespace_is_made_and_goes_with_the_endpoint_or_its_node() {
    let lab = Lab::up(ONE_NODE);
    let x = new(&lab, "A", &text(&lab, "x", &X), None);
    for _ in 0..2 {
        assert_eq!(add(&lab, &x).len(), 1);
        for (family, own) in X.map(of).into_iter().enumerate() {
            lab.assert_reaches("x", addresses("a1")[family], 63);
            lab.assert_reaches("a1", own, 63);
        }
        assert_eq!(remove(&lab, "x").len(), 1);
        assert!(Netns::named(&lab.name("x")).is_err(), "it lives on");
        lab.assert_loses("a1", of(X[0]));
    }
    add(&lab, &x);
    // Fails if anything is left.
    lab.down();
}

#[test]
fn down_of_the_node_leaves_a_given_namespace() {
    let mut lab = Lab::up(ONE_NODE);
    let container = lab.foreign_namespace("c1");
    let before = portrait(&container);
    add(
        &lab,
        &new(&lab, "A", &text(&lab, "x", &X), Some(&lab.name("c1"))),
    );
    let down = lab.down();
    assert!(down.contains(&"- endpoint x on A".to_owned()), "{down:?}");
    assert_same_portrait(&portrait(&container), &before, "after down");
    drop(Netns::named(&lab.name("c1")).expect("it is still there"));
}

fn command(lab: &Lab, words: &str) -> Command {
    let words = words.replace('@', lab.prefix());
    netpath(&words.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn what_became_of_it_is_told_and_mended_by_the_same_command() {
    let lab = Lab::up(ONE_NODE);
    let x = new(&lab, "A", &text(&lab, "x", &X), None);
    add(&lab, &x);
    for damage in ["link del vx", "link set vx down", "route del 10.0.5.2"] {
        lab.ip("A", damage);
        let status = lab.status("A");
        let findings: Vec<&Finding> = status.findings().collect();
        assert!(!findings.is_empty(), "{damage}");
        for finding in findings {
            let cure = "the same `netpath endpoint add` again mends it";
            assert_eq!(finding.cure, cure, "{damage}: {finding}");
        }
        assert_eq!(lab.converge(), Vec::<String>::new(), "up leaves it alone");
        add(&lab, &x);
        assert_eq!(lab.told("A"), Vec::<&str>::new(), "{damage}");
        for (family, own) in X.map(of).into_iter().enumerate() {
            lab.assert_reaches("a1", own, 63);
            lab.assert_reaches("x", addresses("a1")[family], 63);
        }
    }
}

#[test]
fn packets_between_it_and_others_are_left_to_ipsec() {
    // What is left to the kernel is not to be dropped by FORWARD.
    let lab = Lab::up(&ONE_NODE.replace("forward_policy = \"drop\"\n", ""));
    // Of which nothing concerns what is routed, until x is there.
    lab.ip(
        "A",
        "xfrm policy add src 10.0.1.2 dst 10.0.5.2 dir fwd action block",
    );
    assert_eq!(lab.told("A"), Vec::<&str>::new());
    let x = new(&lab, "A", &text(&lab, "x", &X), None);
    add(&lab, &x);
    assert_eq!(lab.told("A"), Vec::<&str>::new());
    lab.assert_loses("a1", of(X[0]));
    lab.assert_reaches("a2", of(X[0]), 63);
    lab.assert_reaches("a1", of(X[1]), 63);
    remove(&lab, "x");
    assert_eq!(lab.told("A"), Vec::<&str>::new());
}
