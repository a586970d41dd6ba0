//! What is somebody's already is refused, and nothing touched.

use super::*;

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
