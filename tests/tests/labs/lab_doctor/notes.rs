//! Faults and notes of labs that take more than a command to plant.

use std::{
    net::{IpAddr, UdpSocket},
    time::Duration,
};

use netpath::{
    datapath::{AttachMode, attach_mode},
    model::wire_port,
    probe::ping::PingOptions,
};
use netpath_tests::{
    command::TempFile,
    lab::{Deadline, Lab, ONE_NODE, TWO_NODES, addresses, run, sized},
};

use super::{Patient, Told, obey};

/// Only pins, links and maps of its own are touched; the test plants by the files that they are.
#[test]
fn what_is_unpinned_or_switched_off_is_found() {
    let patient = Patient::new(TWO_NODES);
    let lab = &patient.lab;
    let directory = lab.datapath("A").directory().to_owned();
    let up = format!("`netpath up -f {}`", patient.file.path());
    if attach_mode().expect("the kernel answers") == AttachMode::Tcx {
        std::fs::remove_file(directory.join("links/from_endpoint@va1")).expect("unpin");
    } else {
        lab.run("A", "tc filter del dev va1 ingress");
    }
    let told = patient.told();
    assert_eq!(told.words(lab), ["program_missing of endpoint a1 on A"]);
    assert_eq!(told.status, Some(3));
    obey(&told.cure("program_missing"));
    assert_eq!(patient.told().not_ok(), Vec::<String>::new());

    // All of them is no wish either.
    if attach_mode().expect("the kernel answers") == AttachMode::Tcx {
        std::fs::remove_dir_all(directory.join("links")).expect("unpin");
        let told = patient.told();
        let words = told.words(lab);
        assert!(
            !words.is_empty() && words.iter().all(|it| it.starts_with("program_missing of ")),
            "{words:?}"
        );
        obey(&told.cure("program_missing"));
        assert_eq!(patient.told().not_ok(), Vec::<String>::new());
    }

    // What was switched off is a wish; what the kernel then drops is not.
    lab.fast_path(false, "A", None);
    let told = patient.told();
    let words = told.words(lab);
    assert_eq!(
        words,
        ["fast_path_off of node A", "forward_drops of node A"]
    );
    obey(
        "`netpath fastpath on`"
            .replace("on", &format!("on --node {}", lab.name("A")))
            .as_str(),
    );
    assert_eq!(patient.told().not_ok(), Vec::<String>::new());

    lab.fast_path(false, "A", Some("a2"));
    let words = patient.told().words(lab);
    assert!(
        words
            .iter()
            .any(|it| it == "fast_path_off of endpoint a2 on A"),
        "{words:?}"
    );
    lab.fast_path(true, "A", Some("a2"));
    assert_eq!(patient.told().not_ok(), Vec::<String>::new());

    // Another netpath's programs are those with another fingerprint.
    let mut settings = lab.datapath("A").maps.settings.get().expect("settings");
    settings.object ^= 1;
    write_settings(lab, &settings);
    let told = patient.told();
    assert_eq!(told.words(lab), ["programs_of_another_version of node A"]);
    obey(&told.cure("programs_of_another_version"));
    assert_eq!(patient.told().not_ok(), Vec::<String>::new());
    obey(&up);
}

fn write_settings(lab: &Lab, settings: &netpath_common::Settings) {
    let path = lab.datapath("A").directory().join("maps/settings");
    // SAFETY: a plain structure without padding (`repr(C)`, asserted in netpath-common).
    let bytes = unsafe {
        std::slice::from_raw_parts(
            std::ptr::from_ref(settings).cast::<u8>(),
            size_of::<netpath_common::Settings>(),
        )
    };
    let bytes: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    let line = format!(
        "bpftool map update pinned {} key 0 0 0 0 value {}",
        path.display(),
        bytes.join(" ")
    );
    lab.run("A", &line);
}

#[test]
fn uplinks_of_a_segment_have_one_mtu() {
    let patient = Patient::new(TWO_NODES);
    let lab = &patient.lab;
    // Both ends of the veth that leads to the segment, as somebody does who means it.
    let port = wire_port(
        &lab.name("A").parse().expect("a name"),
        &"up0".parse().expect("a name"),
    );
    patient.plant(&["A: ip link set up0 mtu 1400"]);
    run(&format!(
        "ip -n {} link set {port} mtu 1400",
        lab.wire_namespace("w")
    ));
    obey(&format!("`netpath up -f {}`", patient.file.path()));
    let told = patient.told();
    let words = told.words(lab);
    assert_eq!(words.len(), 1, "{words:?}");
    assert!(
        words[0].starts_with("segment_mtus_differ of uplink up0 on "),
        "{words:?}"
    );
    assert_eq!(told.status, Some(3));
    let cure = told.cure("segment_mtus_differ");
    obey(&cure);
    assert_eq!(patient.told().not_ok(), Vec::<String>::new(), "{cure}");
}

#[test]
fn what_is_worth_a_word_is_no_fault() {
    let text = TWO_NODES.replacen(
        "forward_policy = \"drop\"",
        "forward_policy = \"drop\"\nmtu = 9000\nmax_routes = 2",
        1,
    );
    let patient = Patient::new(&text);
    let lab = &patient.lab;
    // A source that is nobody's here.
    lab.run("a1", "ip addr add 10.0.77.7/32 dev eth0");
    let pinged = sized(100, addresses("a2")[0]);
    let report = lab.ping(
        "a1",
        addresses("a2")[0],
        &PingOptions {
            src: Some("10.0.77.7".parse().expect("an address")),
            timeout: Duration::from_millis(150),
            ..pinged
        },
    );
    assert_eq!((report.sent, report.received), (1, 0));
    lab.run("a1", "ip addr del 10.0.77.7/32 dev eth0");
    let told = patient.told();
    let words = told.words(lab);
    for expected in [
        "map_nearly_full of node A",
        "mtu_beyond_uplink of endpoint a1 on A",
        "mtu_beyond_uplink of endpoint a2 on A",
        "spoofed_packets of endpoint a1 on A",
    ] {
        assert!(
            words.iter().any(|it| it == expected),
            "no {expected} in {words:?}"
        );
    }
    assert_eq!(told.status, Some(0), "{words:?}");
    assert!(
        told.found().iter().all(|it| it["level"] == "note"),
        "{words:?}"
    );
    let alone = Told::by(&["--node", &lab.name("B")]);
    assert_eq!(alone.not_ok(), Vec::<String>::new());
}

/// Something of the machine's acts on an endpoint's packets: first the programs do not know, then they leave them to it.
#[test]
fn what_is_left_to_the_kernel_is_told() {
    let patient = Patient::new(TWO_NODES);
    patient.plant(&["A: tc qdisc add dev va1 root tbf rate 1gbit burst 64kb latency 10ms"]);
    let told = patient.told();
    let words = told.words(&patient.lab);
    assert!(
        words.iter().any(|it| it == "bypassed of endpoint a1 on A"),
        "{words:?}"
    );
    let up = format!("`netpath up -f {}`", patient.file.path());
    obey(&up);
    let told = patient.told();
    let words = told.words(&patient.lab);
    // What the kernel is left FORWARD drops.
    for expected in [
        "left_to_the_kernel of node A",
        "forward_drops of endpoint a1 on A",
    ] {
        assert!(words.iter().any(|it| it == expected), "{words:?}");
    }
    assert!(told.cure("left_to_the_kernel").contains("`bypass`"));
    patient.plant(&["A: tc qdisc del dev va1 root"]);
    obey(&up);
    assert_eq!(patient.told().not_ok(), Vec::<String>::new());
}

/// Where nobody answers, what is sent is lost.
#[test]
fn a_next_hop_that_does_not_answer_is_found() {
    let patient = Patient::new(TWO_NODES);
    let lab = &patient.lab;
    patient.plant(&["B: ip link set up0 down", "A: ip neigh flush dev up0"]);
    lab.assert_loses("a1", addresses("b1")[0]);
    let told = Told::by(&["--node", &lab.name("A")]);
    assert_eq!(told.words(lab), ["next_hop_silent of node A"]);
    assert_eq!(told.status, Some(3));
    let cure = told.cure("next_hop_silent");
    assert!(
        cure.contains("`ip neigh show 100.100.198.253 dev up0`"),
        "{cure}"
    );
    obey(&format!("`netpath up -f {}`", patient.file.path()));
    // It is asked again with what is sent next.
    let deadline = Deadline::new();
    let once = sized(100, addresses("b1")[0]);
    while lab.ping("a1", addresses("b1")[0], &once).received == 0 {
        deadline.check(|| format!("{:?}", patient.told()));
    }
    assert_eq!(patient.told().not_ok(), Vec::<String>::new());
}

/// The other node's endpoints take less than the wire: who sends from A itself learns that.
#[test]
fn a_path_that_is_narrower_is_told() {
    let text = TWO_NODES.replace("name = \"@b1\",", "name = \"@b1\", mtu = 1300,");
    let patient = Patient::new(&text);
    let lab = &patient.lab;
    assert_eq!(patient.told().not_ok(), Vec::<String>::new());
    for dst in addresses("b1") {
        let report = lab.ping("A", dst, &sized(1500, dst));
        assert_eq!(report.received, 0, "{report:?}");
        // The kernel lists what it has learnt for IPv4 once somebody goes by it (`fnhe_dump_bucket`); B's FORWARD
        // drops the answer.
        lab.assert_loses("A", dst);
    }
    let told = patient.told();
    let words = told.words(lab);
    assert_eq!(
        words,
        [
            "path_mtu of route 10.0.3.0/24 on A",
            "path_mtu of route fd00:3::/64 on A"
        ]
    );
    assert_eq!(told.status, Some(0));
    for found in told.found() {
        assert!(
            found["problem"].as_str().expect("text").contains("1300"),
            "{found}"
        );
        let cure = found["cure"].as_str().expect("text");
        let command = cure.split('`').nth(1).expect("a command");
        obey(&format!("`{command}`"));
    }
    assert_eq!(patient.told().not_ok(), Vec::<String>::new());
}

/// Nobody answers there; what is sent to it is translated to a2.
const SERVICE: &str = "203.0.113.7";

#[test]
fn connections_that_were_forgotten_are_told() {
    let text = ONE_NODE.replace("\"drop\"", "\"accept\"\nmax_connections = 1024");
    let patient = Patient::new(&text);
    let lab = &patient.lab;
    lab.run(
        "A",
        &format!(
            "iptables -w -t nat -A PREROUTING -d {SERVICE} -p udp -j DNAT --to-destination 10.0.2.2"
        ),
    );
    lab.run("a2", "iptables -w -A INPUT -p udp -j DROP");
    let from: IpAddr = addresses("a1")[0];
    lab.inside("a1", || {
        for port in 0..3000 {
            let socket = UdpSocket::bind((from, 2000 + port)).expect("a port");
            socket.send_to(b"x", (SERVICE, 53)).expect("send");
        }
    });
    let told = patient.told();
    let found = told.found();
    let ids: Vec<&str> = found.iter().filter_map(|it| it["id"].as_str()).collect();
    assert!(ids.contains(&"connections_evicted"), "{told:?}");
    assert_eq!(told.status, Some(3));
    assert!(told.cure("connections_evicted").contains("max_connections"));
}

/// Of another file on the same wire: no file alone shows it.
#[test]
fn an_address_that_two_nodes_of_a_wire_have_is_found() {
    let mut patient = Patient::new(ONE_NODE);
    let other = r#"
[[node]]
name = "@C"
uplink = [{ dev = "up0", addresses = ["100.100.198.251/24"], wire = "@w" }]
endpoint = [{ name = "@c1", addresses = ["10.0.1.2/32"], host_dev = "vc1" }]
"#;
    patient.lab.rewrite(other);
    patient.lab.converge();
    let told = Told::by(&["--node", &patient.lab.name("A")]);
    assert_eq!(
        told.words(&patient.lab),
        ["address_twice of endpoint a1 on A"]
    );
    let problem = told.found()[0]["problem"].to_string();
    assert!(
        problem.contains(&format!("endpoint {}", patient.lab.name("c1"))),
        "{problem}"
    );
    assert!(told.cure("address_twice").contains("topology file"));
    patient.lab.rewrite(&other.replace("10.0.1.2", "10.0.9.2"));
    let file = TempFile::new(patient.lab.text());
    obey(&format!("`netpath up -f {}`", file.path()));
    let told = Told::by(&["--node", &patient.lab.name("A")]);
    assert_eq!(told.not_ok(), Vec::<String>::new());
}
