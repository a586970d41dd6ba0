//! One endpoint at a time, without a file: into a namespace of its own or one that is there, and away again.

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
use netpath_common::Origin;
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
        "{}\n{:?}\n{:?}\n{:?}\n{:?}",
        portrait(&lab.netns(node)),
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

#[test]
fn what_is_taken_is_refused_and_nothing_touched() {
    let mut lab = Lab::up(TWO_NODES);
    drop(lab.foreign_namespace("c1"));
    drop(lab.foreign_namespace("c2"));
    run(&format!(
        "ip -n {} link add eth0 type veth peer name other",
        lab.name("c2")
    ));
    add(
        &lab,
        &new(&lab, "A", &text(&lab, "y", &["10.0.6.2/24"]), None),
    );
    let before = [state(&lab, "A"), state(&lab, "B")];
    let with = |change: &dyn Fn(&mut EndpointText)| {
        let mut text = text(&lab, "x", &X);
        change(&mut text);
        text
    };
    let only = |address: &str| with(&|it| it.addresses = vec![address.to_owned()]);
    let c1 = Some(lab.name("c1"));
    let cases: Vec<(&str, EndpointText, Option<String>, &[&str])> = vec![
        (
            "a file's name",
            with(&|it| it.name = lab.name("a1")),
            c1.clone(),
            &["name_taken"],
        ),
        (
            "another's name",
            with(&|it| it.name = lab.name("y")),
            None,
            &["name_taken"],
        ),
        (
            "another node's",
            with(&|it| it.name = lab.name("b1")),
            c1.clone(),
            &["name_taken"],
        ),
        (
            "its own interface",
            with(&|it| it.host_dev = Some("va1".into())),
            None,
            &["name_taken"],
        ),
        (
            "an uplink's",
            with(&|it| it.host_dev = Some("up0".into())),
            None,
            &["name_taken"],
        ),
        (
            "an endpoint's address",
            only("10.0.1.2/32"),
            None,
            &["address_taken"],
        ),
        (
            "a command's address",
            only("10.0.6.2/32"),
            None,
            &["address_taken"],
        ),
        (
            "the node's address",
            only("100.100.198.250/32"),
            None,
            &["address_taken"],
        ),
        (
            "an uplink's subnet",
            only("fd00:198::7/128"),
            None,
            &["address_taken"],
        ),
        (
            "all of another node's prefix",
            with(&|it| it.prefixes = vec!["10.0.3.0/24".into()]),
            None,
            &["address_taken"],
        ),
        (
            "a prefix around one",
            with(&|it| it.prefixes = vec!["10.0.0.0/22".into()]),
            None,
            &["address_taken"; 3],
        ),
        (
            "no namespace",
            with(&|_| ()),
            Some(lab.name("none")),
            &["namespace_missing"],
        ),
        (
            "the machine's",
            with(&|_| ()),
            Some("/proc/1/ns/net".into()),
            &["namespace_taken"],
        ),
        (
            "the node's",
            with(&|_| ()),
            Some(lab.name("A")),
            &["namespace_taken"],
        ),
        (
            "another node's",
            with(&|_| ()),
            Some(lab.name("B")),
            &["namespace_taken"],
        ),
        (
            "an endpoint's",
            with(&|_| ()),
            Some(lab.name("a1")),
            &["namespace_taken"],
        ),
        (
            "another node's endpoint's",
            with(&|_| ()),
            Some(lab.name("b1")),
            &["namespace_taken"],
        ),
        (
            "a wire's",
            with(&|_| ()),
            Some(lab.wire_namespace("w")),
            &["namespace_taken"],
        ),
        (
            "a device inside",
            with(&|_| ()),
            Some(lab.name("c2")),
            &["foreign_interface"],
        ),
        (
            "its name is somebody's namespace",
            with(&|it| it.name = lab.name("c1")),
            None,
            &["foreign_namespace"],
        ),
    ];
    for (what, text, netns, ids) in cases {
        let found = refused(&new(&lab, "A", &text, netns.as_deref()));
        assert_eq!(found, ids, "{what}");
    }
    // Whoever has a default route keeps it.
    for line in [
        "link set lo up",
        "route add default dev lo",
        "-6 route add default dev lo",
    ] {
        lab.ip("c1", line);
    }
    let found = refused(&new(&lab, "A", &text(&lab, "x", &X), c1.as_deref()));
    assert_eq!(found, ["default_route_there"; 2]);
    let nowhere = new(&lab, "C", &text(&lab, "x", &X), None);
    let error = provision::add_endpoint(&nowhere, &mut |_| {}).expect_err("no such node");
    assert!(error.to_string().starts_with("no node"), "{error}");
    for other in ["a1", "b1"] {
        let error = try_remove(&lab, other).expect_err("the file's");
        assert_eq!(refusals(&error)[0].id, "other_origin");
    }
    assert_eq!([state(&lab, "A"), state(&lab, "B")], before);
}

#[test]
fn a_machines_addresses_routes_and_settings_are_heeded() {
    on_a_machine(|lab| {
        lab.converge();
        let container = lab.foreign_namespace("c1");
        let c1 = lab.name("c1");
        let add_one = |addresses: &[&str]| new(lab, "H", &text(lab, "x", addresses), Some(&c1));
        assert_eq!(
            refused(&add_one(&["192.0.2.1/32"])),
            ["address_of_the_machine"]
        );
        run("ip route add 10.0.5.2/32 via 100.100.198.253");
        assert_eq!(refused(&add_one(&X)), ["routed_elsewhere"]);
        run("ip route del 10.0.5.2/32");
        lab.set_sysctl("H", "ipv6/conf/all/forwarding", "0");
        let found = refused(&add_one(&X));
        assert_eq!(found, ["machine_not_forwarding"]);
        lab.set_sysctl("H", "ipv6/conf/all/forwarding", "1");
        // Switching it back and forth is felt by every interface.
        lab.converge();
        let inside = portrait(&container);
        let before = portrait(&Netns::current().expect("namespace"));
        add(lab, &add_one(&X));
        for (family, own) in X.map(of).into_iter().enumerate() {
            lab.assert_reaches("c1", addresses("a1")[family], 63);
            lab.assert_reaches("a1", own, 63);
        }
        remove(lab, "x");
        assert_same_portrait(&portrait(&container), &inside, "inside");
        let after = portrait(&Netns::current().expect("namespace"));
        assert_same_portrait(&after, &before, "the machine");
    });
}

#[test]
fn a_file_takes_nothing_from_a_command() {
    let mut lab = Lab::up(ONE_NODE);
    add(&lab, &new(&lab, "A", &text(&lab, "x", &X), None));
    let before = state(&lab, "A");
    let ids = |lab: &Lab| -> Vec<&'static str> {
        let error = lab.try_converge().expect_err("a refusal");
        refusals(&error).iter().map(|it| it.id).collect()
    };
    let endpoint = |line: &str| {
        ONE_NODE.replace(
            r#"    { name = "@a2""#,
            &format!("{line}\n    {{ name = \"@a2\""),
        )
    };
    for (line, id) in [
        (
            r#"{ name = "@x", addresses = ["10.0.7.2/24"], host_dev = "other" },"#,
            "name_taken",
        ),
        (
            r#"{ name = "@z", addresses = ["10.0.5.2/32"] },"#,
            "address_taken",
        ),
        (
            r#"{ name = "@z", addresses = ["fd00:5::2/128"] },"#,
            "address_taken",
        ),
        (
            r#"{ name = "@z", addresses = ["10.0.7.2/24"], host_dev = "vx" },"#,
            "name_taken",
        ),
    ] {
        lab.rewrite(&endpoint(line));
        assert_eq!(ids(&lab), [id], "{line}");
    }
    let route = ONE_NODE.replace(
        "endpoint = [",
        "route = [{ dst = \"10.0.5.2/32\", via = \"100.100.198.253\" }]\nendpoint = [",
    );
    let other = "\n[[node]]\nname = \"@B\"\nuplink = [{ dev = \"up0\", \
                 addresses = [\"100.100.198.253/24\", \"fd00:198::253/64\"], wire = \"@w\" }]\n";
    lab.rewrite(&(route + other));
    assert_eq!(ids(&lab), ["address_taken"]);
    assert_eq!(state(&lab, "A"), before);
    lab.rewrite(ONE_NODE);
    // What the file lets go of is to be had.
    lab.edit(
        r#"    { name = "@a2", addresses = ["10.0.2.2/24", "fd00:2::2/64"], host_dev = "va2" },"#,
        "",
    );
    lab.converge();
    add(
        &lab,
        &new(
            &lab,
            "A",
            &text(&lab, "a2", &["10.0.2.2/24", "fd00:2::2/64"]),
            None,
        ),
    );
    lab.assert_reaches("a2", of(X[0]), 63);
}

#[test]
fn a_failure_half_way_leaves_nothing() {
    let mut lab =
        Lab::prepare(&ONE_NODE.replace("forward_policy", "max_routes = 1\nforward_policy"));
    lab.converge();
    let container = lab.foreign_namespace("c1");
    let inside = portrait(&container);
    let before = state(&lab, "A");
    let mut x = text(&lab, "x", &X);
    x.prefixes = vec!["10.9.0.0/28".to_owned(), "10.9.1.0/28".to_owned()];
    let c1 = lab.name("c1");
    for netns in [Some(c1.as_str()), None] {
        let error = provision::add_endpoint(&new(&lab, "A", &x, netns), &mut |_| {});
        let error = error.expect_err("the map of prefixes is full");
        assert!(error.to_string().contains("routes_v4"), "{error}");
        assert!(!matches!(error, ProvisionError::Undo { .. }), "{error}");
        assert_eq!(state(&lab, "A"), before);
        assert_same_portrait(&portrait(&container), &inside, "inside");
        assert!(Netns::named(&lab.name("x")).is_err());
    }
    assert_eq!(lab.converge(), Vec::<String>::new());
}

#[test]
fn an_interrupted_one_is_undone_before_and_after_its_steps() {
    let lab = Lab::up(ONE_NODE);
    let before = state(&lab, "A");
    let x = new(&lab, "A", &text(&lab, "x", &X), None);
    // When its last step is done.
    let interrupted: Arc<AtomicBool> = Arc::clone(&x.interrupted);
    let result = provision::add_endpoint(&x, &mut |_| interrupted.store(true, Ordering::Release));
    let error = result.expect_err("interrupted");
    assert!(matches!(error, ProvisionError::Interrupted), "{error}");
    assert_eq!(state(&lab, "A"), before);
    // From the beginning.
    let error = provision::add_endpoint(&x, &mut |change| panic!("{change}"));
    // Perhaps while it waited for another test's.
    let error = error.expect_err("interrupted");
    assert!(error.to_string().starts_with("interrupted"), "{error}");
    assert_eq!(state(&lab, "A"), before);
    assert!(Netns::named(&lab.name("x")).is_err());
}

fn command(lab: &Lab, words: &str) -> Command {
    let words = words.replace('@', lab.prefix());
    netpath(&words.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn killed_at_any_moment_it_can_be_added_again_or_removed() {
    const MOMENTS: u32 = 8;
    let mut lab = Lab::up(ONE_NODE);
    let container = lab.foreign_namespace("c1");
    let inside = portrait(&container);
    let add = "endpoint add @x --node @A --address 10.0.5.2/24 --address fd00:5::2/64 --netns @c1";
    let start = Instant::now();
    let output = command(&lab, add).output().expect("start");
    assert!(output.status.success(), "{output:?}");
    let time = start.elapsed();
    remove(&lab, "x");
    for moment in 0..=MOMENTS {
        let mut child = command(&lab, add).spawn().expect("start");
        thread::sleep(time * moment / MOMENTS);
        child.kill().expect("kill");
        child.wait().expect("wait");
        if moment % 2 == 0 {
            let output = command(&lab, add).output().expect("start");
            assert!(output.status.success(), "{output:?}");
            lab.assert_reaches("c1", addresses("a1")[0], 63);
            lab.assert_reaches("c1", addresses("a1")[1], 63);
            assert_eq!(lab.told("A"), Vec::<&str>::new());
        }
        match try_remove(&lab, "x") {
            Ok(_) | Err(ProvisionError::NotUp { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        assert_same_portrait(&portrait(&container), &inside, "inside");
        assert_eq!(lab.told("A"), Vec::<&str>::new());
        assert_eq!(lab.converge(), Vec::<String>::new());
    }
}

#[test]
fn a_container_that_died_is_told_and_nothing_put_in_its_place() {
    let mut lab = Lab::up(ONE_NODE);
    drop(lab.foreign_namespace("c1"));
    let x = new(&lab, "A", &text(&lab, "x", &X), Some(&lab.name("c1")));
    add(&lab, &x);
    Netns::remove(&lab.name("c1")).expect("remove");
    assert_eq!(lab.told("A"), ["given_namespace_gone"]);
    // Another one takes its name: what the record says is not it.
    let other = lab.foreign_namespace("c1");
    let before = portrait(&other);
    assert_eq!(lab.told("A"), ["given_namespace_gone"]);
    assert_eq!(refused(&x), ["name_taken"]);
    // The rest of the node goes on, also where an `up` is taken back.
    lab.fast_path(false, "A", None);
    lab.fast_path(true, "A", None);
    lab.edit("10.0.2.2/24", "10.0.2.3/24");
    lab.edit("fd00:1::2/64", "fd00:1::3/64");
    let error = lab.converge_until(1).expect_err("interrupted");
    assert!(matches!(error, ProvisionError::Interrupted), "{error}");
    lab.edit("10.0.2.3/24", "10.0.2.2/24");
    lab.edit("fd00:1::3/64", "fd00:1::2/64");
    assert_eq!(lab.converge(), Vec::<String>::new());
    lab.assert_reaches("a1", addresses("a2")[0], 63);
    assert_same_portrait(&portrait(&other), &before, "somebody else's");
    remove(&lab, "x");
    assert_same_portrait(&portrait(&other), &before, "somebody else's");
    assert_eq!(lab.told("A"), Vec::<&str>::new());
}

/// The process that a namespace was given by ends, and others live in it.
#[test]
fn a_namespace_may_be_given_again_by_another_path() {
    let lab = Lab::up(ONE_NODE);
    let mut first = container();
    let inside = format!("--net=/proc/{}/ns/net", first.0.id());
    let mut nsenter = Command::new("nsenter");
    let second = Living(
        nsenter
            .args([&inside, "sleep", "60"])
            .spawn()
            .expect("nsenter"),
    );
    let by = |child: &Living| {
        new(
            &lab,
            "A",
            &text(&lab, "x", &X),
            Some(&child.0.id().to_string()),
        )
    };
    add(&lab, &by(&first));
    let path = PathBuf::from(format!("/proc/{}/ns/net", second.0.id()));
    let netns = |path: &Path| {
        std::fs::metadata(path)
            .map(|it| it.ino())
            .expect("a namespace")
    };
    let given = netns(&PathBuf::from(format!("/proc/{}/ns/net", first.0.id())));
    let deadline = Deadline::new();
    while netns(&path) != given {
        deadline.check(|| "nsenter does not enter".to_owned());
    }
    first.end();
    let reaches = || {
        for own in X.map(of) {
            lab.assert_reaches("a1", own, 63);
        }
    };
    assert_eq!(lab.told("A"), ["given_namespace_gone"]);
    reaches();
    let before = lab.ip("A", "-o link show dev vx");
    let other = container();
    assert_eq!(refused(&by(&other)), ["name_taken"]);
    let error = provision::add_endpoint(&by(&other), &mut |_| {}).expect_err("a refusal");
    assert!(error.to_string().contains("as another one"), "{error}");
    let changed = add(&lab, &by(&second));
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert_eq!(lab.told("A"), Vec::<&str>::new());
    assert_eq!(add(&lab, &by(&second)), Vec::<String>::new());
    assert_eq!(
        lab.ip("A", "-o link show dev vx"),
        before,
        "it is not made anew"
    );
    reaches();
    remove(&lab, "x");
    let left = Netns::at(&path).expect("open");
    assert!(!portrait(&left).contains("eth0"));
}

/// A process that ends with the test, if not before.
struct Living(Child);

impl Living {
    fn end(&mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        // One that has ended is not killed again.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Its namespace dies with it.
fn container() -> Living {
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--", "sh", "-c", "echo; exec sleep 60"]);
    let mut child = unshare.stdout(Stdio::piped()).spawn().expect("unshare");
    let mut ready = [0];
    let mut output = child.stdout.take().expect("piped");
    output.read_exact(&mut ready).expect("it is there");
    Living(child)
}

#[test]
fn a_container_that_dies_at_any_moment_of_its_add_is_named_and_leaves_nothing() {
    const MOMENTS: u32 = 16;
    /// Whether one is half-way is chance.
    const ROUNDS: u32 = 10;
    let lab = Lab::up(ONE_NODE);
    let before = state(&lab, "A");
    let add = "endpoint add @x --node @A --address 10.0.5.2/24 --address fd00:5::2/64 --netns ";
    let mut living = container();
    let start = Instant::now();
    let output = command(&lab, &format!("{add}{}", living.0.id())).output();
    assert!(output.expect("start").status.success());
    let time = start.elapsed();
    remove(&lab, "x");
    living.end();
    let mut told = 0;
    let mut moments = (0..ROUNDS).flat_map(|_| 0..=MOMENTS);
    while let Some(moment) = moments.next().filter(|&moment| told == 0 || moment != 0) {
        let mut container = container();
        let mut child = command(&lab, &format!("{add}{}", container.0.id()));
        let child = child.stderr(Stdio::piped()).spawn().expect("start");
        thread::sleep(time * moment / MOMENTS);
        container.end();
        let output = child.wait_with_output().expect("wait");
        let text = String::from_utf8_lossy(&output.stderr);
        let path = format!("/proc/{}/ns/net", container.0.id());
        match output.status.code() {
            // It lived long enough.
            Some(0) => {
                remove(&lab, "x");
            }
            Some(1) => {
                told += 1;
                let end = format!(
                    "endpoint {} on {}: the network namespace at {path} went away meanwhile: give one that stays\n",
                    lab.name("x"),
                    lab.name("A")
                );
                assert!(
                    text.ends_with(&end) && text.lines().count() == 1,
                    "{moment}: {text}"
                );
            }
            Some(2) => assert!(
                text.contains(&format!("there is no network namespace at {path}")),
                "{moment}: {text}"
            ),
            _ => panic!("{output:?}"),
        }
        assert_eq!(state(&lab, "A"), before, "{moment}: {text}");
        assert_eq!(lab.told("A"), Vec::<&str>::new(), "{moment}");
    }
    assert!(told > 0, "it never died half-way");
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

#[test]
fn the_namespace_of_a_process_is_taken_by_its_number() {
    let lab = Lab::up(ONE_NODE);
    let mut process = Command::new("unshare")
        .args(["--net", "--", "sleep", "60"])
        .stdin(Stdio::null())
        .spawn()
        .expect("unshare");
    let own = std::fs::read_link("/proc/self/ns/net").expect("ns");
    let path = format!("/proc/{}/ns/net", process.id());
    let moved = (0..1000).any(|_| {
        thread::sleep(Duration::from_millis(5));
        std::fs::read_link(&path).is_ok_and(|it| it != own)
    });
    let words = format!(
        "endpoint add @x --node @A --address 10.0.5.2/24 --address fd00:5::2/64 --netns {}",
        process.id()
    );
    let output = command(&lab, &words).output().expect("start");
    let reaches = moved && output.status.success();
    if reaches {
        for own in X.map(of) {
            lab.assert_reaches("a1", own, 63);
        }
    }
    process.kill().expect("kill");
    process.wait().expect("wait");
    assert!(reaches, "{output:?}");
    remove(&lab, "x");
    assert_eq!(lab.told("A"), Vec::<&str>::new());
}

/// As many as a runtime starts on a node: one after the other, and all at once by as many processes.
/// How many endpoints come and go: `NETPATH_ADDS`, or 40.
fn adds() -> usize {
    match env::var("NETPATH_ADDS") {
        Ok(count) => count.parse().expect("a number"),
        Err(_) => 40,
    }
}

#[test]
fn many_come_one_by_one_and_all_at_once() {
    let count = adds();
    let lab = Lab::up(ONE_NODE);
    let before = state(&lab, "A");
    let addresses = |i: usize| {
        [
            format!("10.8.{}.{}/32", i / 200, i % 200 + 1),
            format!("fd00:8::{i:x}/128"),
        ]
    };
    let mut times = Vec::new();
    for i in 0..count {
        let addresses = addresses(i);
        let addresses = [addresses[0].as_str(), &addresses[1]];
        let new = new(&lab, "A", &text(&lab, &format!("e{i}"), &addresses), None);
        let start = Instant::now();
        add(&lab, &new);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!(
        "one add of {count}: p50 {:?}, last {:?}",
        times[count / 2],
        times[count - 1]
    );
    check_all(&lab, count);
    for i in 0..count {
        remove(&lab, &format!("e{i}"));
    }
    assert_eq!(state(&lab, "A"), before, "after {count} were removed");

    let start = Instant::now();
    let children = (0..count).map(|i| {
        let [v4, v6] = addresses(i);
        let words =
            format!("endpoint add @e{i} --node @A --address {v4} --address {v6} --host-dev ve{i}");
        command(&lab, &words).spawn().expect("start")
    });
    for child in children.collect::<Vec<_>>() {
        let output = child.wait_with_output().expect("wait");
        assert!(output.status.success(), "{output:?}");
    }
    println!("{count} at once in {:?}", start.elapsed());
    check_all(&lab, count);
    let children: Vec<_> = (0..count)
        .map(|i| {
            command(&lab, &format!("endpoint remove @e{i}"))
                .spawn()
                .expect("start")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("wait");
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(state(&lab, "A"), before, "after {count} were removed");
}

fn check_all(lab: &Lab, count: usize) {
    let status = lab.status("A");
    assert_eq!(status.endpoints.len(), count + 2);
    assert_eq!(lab.told("A"), Vec::<&str>::new());
    let last = format!("10.8.{}.{}", (count - 1) / 200, (count - 1) % 200 + 1);
    lab.assert_reaches("e0", last.parse().expect("address"), 63);
    lab.assert_reaches(
        "e7",
        format!("fd00:8::{:x}", count - 1).parse().expect("address"),
        63,
    );
    lab.assert_reaches("a1", "10.8.0.3".parse().expect("address"), 63);
}
