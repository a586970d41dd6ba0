//! Shadow mode in labs: the kernel forwards, filters and translates as if netpath were not there, and what the fast path would
//! have done is counted.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use netpath::provision::{
    FastPath,
    FastPathMode::{Off, On, Shadow},
};
use netpath_tests::lab::{
    Bytes::Any, Lab, TWO_NODES, Traffic, addresses, again_with_clsact, on_a_machine,
};

/// The iptables of each family, in the order of [`addresses`].
const IPTABLES: [&str; 2] = ["iptables", "ip6tables"];
/// Far longer than anything here takes.
const LONGEST: Duration = Duration::from_secs(10);
const PORT: u16 = 7000;

fn shadowed() -> Lab {
    let lab = Lab::up(TWO_NODES);
    lab.fast_path(Shadow, "A", None);
    lab
}

fn accept(lab: &Lab, node: &str) {
    for command in IPTABLES {
        lab.run(node, &format!("{command} -w -P FORWARD ACCEPT"));
    }
}

/// A row of the counters, of three packets: as many as a few pings have, each way.
fn three(row: &str) -> (&str, u64, netpath_tests::lab::Bytes) {
    (row, 3, Any)
}

/// Packets that fell to the policy of a node's chain FORWARD.
fn fallen(lab: &Lab, node: &str, family: usize) -> u64 {
    let listing = &lab.forward_counters(node)[family];
    let (_, counters) = listing.split_once("policy DROP ").expect("DROP");
    let (packets, _) = counters.split_once(" packets").expect("a counter");
    packets.parse().expect("a number")
}

#[test]
fn the_kernel_forwards_and_all_is_counted() {
    let lab = shadowed();
    for family in [0, 1] {
        let [a2, b1] = ["a2", "b1"].map(|of| addresses(of)[family]);
        let (before, dropped) = (lab.traffic("A"), fallen(&lab, "A", family));
        lab.assert_loses("a1", a2);
        let would = [("va1 > va2 punt shadow", 1, Any)];
        lab.assert_counted("A", &before, &would);
        assert_eq!(fallen(&lab, "A", family), dropped + 1, "by the policy");
        let before = lab.traffic("A");
        lab.assert_loses("a1", b1);
        lab.assert_counted("A", &before, &[("va1 > up0 punt shadow", 1, Any)]);
    }
    accept(&lab, "A");
    for family in [0, 1] {
        let [a2, b1] = ["a2", "b1"].map(|of| addresses(of)[family]);
        let before = lab.traffic("A");
        // The kernel alone has taken one off.
        lab.assert_reaches("a1", a2, 63);
        let rows = [
            "va1 > va2 punt shadow",
            "va1 > va2 deliver",
            "va2 > va1 punt shadow",
            "va2 > va1 deliver",
        ];
        lab.assert_counted("A", &before, &rows.map(three));
        // B's takes packets; each node by itself.
        let before = ["A", "B"].map(|node| lab.traffic(node));
        lab.assert_reaches("a1", b1, 62);
        let rows = [
            "va1 > up0 punt shadow",
            "up0 > va1 punt shadow",
            "up0 > va1 deliver",
        ];
        lab.assert_counted("A", &before[0], &rows.map(three));
        let rows = ["up0 > vb1 redirect_peer", "vb1 > up0 redirect_neigh"];
        lab.assert_counted("B", &before[1], &rows.map(three));
    }
    // Nothing of it was noted as the kernel's: once packets are taken, they all are.
    lab.fast_path(On, "A", None);
    for family in [0, 1] {
        let before = lab.traffic("A");
        lab.assert_reaches("a1", addresses("a2")[family], 63);
        let rows = ["va1 > va2 redirect_peer", "va2 > va1 redirect_peer"];
        lab.assert_counted("A", &before, &rows.map(three));
    }
}

/// Also of many packets of one flow: the decision cache, which knew it, takes none.
#[test]
fn a_flow_that_was_remembered_is_the_kernels_at_once() {
    let lab = Lab::up(TWO_NODES);
    accept(&lab, "A");
    for family in [0, 1] {
        let (server, client) = connected(&lab, "a2", addresses("a2")[family], "a1", None);
        push(&client, &server, 50);
        lab.fast_path(Shadow, "A", None);
        let before = lab.traffic("A");
        push(&client, &server, 50);
        push(&server, &client, 50);
        let counted = lab.traffic("A").since(&before);
        for row in ["va1 > va2", "va2 > va1"] {
            let taken = packets(&counted, &format!("{row} redirect_peer"));
            let shadow = packets(&counted, &format!("{row} punt shadow"));
            let delivered = packets(&counted, &format!("{row} deliver"));
            assert_eq!((taken, shadow), (0, delivered), "{row}: {counted:?}");
            assert!(shadow >= 50, "{row}: {counted:?}");
        }
        lab.fast_path(On, "A", None);
    }
}

fn packets(counted: &Traffic, row: &str) -> u64 {
    counted.row(row).0
}

/// A connection to a server's port; by another address, if one is asked that is translated.
fn connected(
    lab: &Lab,
    server: &str,
    address: IpAddr,
    client: &str,
    asked: Option<IpAddr>,
) -> (TcpStream, TcpStream) {
    let listener = lab.inside(server, || TcpListener::bind((address, PORT)));
    let listener = listener.expect("a port");
    let asked = SocketAddr::new(asked.unwrap_or(address), PORT);
    let connect = || TcpStream::connect_timeout(&asked, LONGEST);
    let client = lab.inside(client, connect).expect("connected");
    let (server, _) = listener.accept().expect("accepted");
    for stream in [&server, &client] {
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(LONGEST)).expect("a timeout");
        stream.set_write_timeout(Some(LONGEST)).expect("a timeout");
    }
    (server, client)
}

/// Sends so many packets and waits for each.
fn push(mut from: &TcpStream, mut to: &TcpStream, times: u32) {
    for _ in 0..times {
        from.write_all(b"shadow").expect("sent");
        let mut got = [0; 6];
        to.read_exact(&mut got).expect("received");
        assert_eq!(&got, b"shadow");
    }
}

/// A rule that leads one endpoint's packets for another to a third: the fast path would pass it by.
#[test]
fn what_is_translated_is_translated_and_goes_on_when_packets_are_taken() {
    for (family, command) in IPTABLES.into_iter().enumerate() {
        let lab = shadowed();
        accept(&lab, "A");
        let [a1, a2, b1] = ["a1", "a2", "b1"].map(|of| addresses(of)[family]);
        let rule = format!(
            "{command} -w -t nat -A PREROUTING -s {a1} -d {a2} -p tcp --dport {PORT} -j DNAT --to-destination {b1}"
        );
        lab.run("A", &rule);
        let before = lab.traffic("A");
        let (server, client) = connected(&lab, "b1", b1, "a1", Some(a2));
        push(&client, &server, 3);
        push(&server, &client, 3);
        let counted = lab.traffic("A").since(&before);
        // To a2 by the fast path, and by the kernel to b1, whose answers are a2's.
        assert!(
            packets(&counted, "va1 > va2 punt shadow") >= 6,
            "{counted:?}"
        );
        assert_eq!(packets(&counted, "va1 > va2 deliver"), 0, "{counted:?}");
        assert!(packets(&counted, "up0 > va1 deliver") >= 6, "{counted:?}");
        lab.fast_path(On, "A", None);
        let before = lab.traffic("A");
        push(&server, &client, 3);
        push(&client, &server, 3);
        let counted = lab.traffic("A").since(&before);
        let noted = packets(&counted, "up0 > - punt kernel_connection");
        assert!(noted >= 3, "{counted:?}");
    }
}

/// What would be dropped is the kernel's, too, which forwards it: where its own filter is off, which netpath sets on its veths.
#[test]
fn what_is_forged_is_counted_and_the_kernels() {
    let lab = shadowed();
    accept(&lab, "A");
    lab.set_sysctl("A", "ipv4/conf/va1/rp_filter", "0");
    for family in [0, 1] {
        let [a2, b1] = ["a2", "b1"].map(|of| addresses(of)[family]);
        let mut seen = lab.capture("a2", "eth0");
        let record = lab.record("A", "a1");
        let builder =
            netpath::probe::frame::FrameBuilder::new(record.endpoint_mac, record.host_mac);
        let frame = netpath_tests::between(builder, b1, a2)
            .ttl(40)
            .udp(1000, 2000);
        let frame = frame.payload(b"forged").build();
        let before = lab.traffic("A");
        lab.injector("a1", "eth0").send(&frame).expect("sent");
        let is_it = |it: &netpath::probe::capture::CapturedFrame| it.bytes.ends_with(b"forged");
        let arrived = seen
            .wait_for(is_it, LONGEST)
            .expect("capture")
            .expect("it arrives");
        let ttl_at = if family == 0 { 22 } else { 21 };
        assert_eq!(arrived.bytes[ttl_at], 39);
        let rows = [
            ("va1 > - punt shadow_spoofed", 1, Any),
            ("va1 > va2 deliver", 1, Any),
        ];
        let counted = lab.traffic("A").since(&before);
        for (row, count, _) in rows {
            assert_eq!(packets(&counted, row), count, "{row}: {counted:?}");
        }
        assert!(counted.obeys_the_law(), "{counted:?}");
    }
}

#[test]
fn the_wish_survives_and_is_shown() {
    let mut lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    let of = |lab: &Lab| {
        let status = lab.status("A");
        let uplinks = status.uplinks.iter().map(|it| it.interface.fast_path);
        let endpoints = status.endpoints.iter().map(|it| it.interface.fast_path);
        (
            status.fast_path,
            uplinks.chain(endpoints).collect::<Vec<_>>(),
        )
    };
    let words =
        |mode: &str| ["va1", "va2", "up0"].map(|dev| format!("~ fast path {dev} on A: {mode}"));
    assert_eq!(lab.fast_path(Shadow, "A", None), words("shadow"));
    assert_eq!(of(&lab), (FastPath::Shadow, vec![FastPath::Shadow; 3]));
    assert_eq!(lab.fast_path(Shadow, "A", None), Vec::<String>::new());
    assert_eq!(lab.plan(), Vec::<String>::new());
    assert_eq!(lab.converge(), Vec::<String>::new());
    assert_eq!(of(&lab).0, FastPath::Shadow);
    // What comes meanwhile is in shadow mode, too.
    lab.edit(
        r#"endpoint = [
    { name = "@a1","#,
        r#"endpoint = [
    { name = "@a3", addresses = ["10.0.9.2/24"], host_dev = "va3" },
    { name = "@a1","#,
    );
    lab.converge();
    assert_eq!(of(&lab), (FastPath::Shadow, vec![FastPath::Shadow; 4]));
    // One that takes packets among those that do not, which it does only for others like it.
    let words = lab.fast_path(On, "A", Some("a1"));
    assert_eq!(words, ["~ fast path va1 on A: on"]);
    assert_eq!(of(&lab).0, FastPath::Partly);
    let before = lab.traffic("A");
    lab.assert_reaches("a1", addresses("a2")[0], 63);
    assert_eq!(
        packets(&lab.traffic("A").since(&before), "va1 > va2 punt shadow"),
        3
    );
    lab.fast_path(On, "A", None);
    assert_eq!(of(&lab), (FastPath::On, vec![FastPath::On; 4]));
    // And one that does not among those that do.
    lab.fast_path(Shadow, "A", Some("a1"));
    lab.converge();
    assert_eq!(lab.fast_path(Shadow, "A", Some("a1")), Vec::<String>::new());
    for family in [0, 1] {
        let before = lab.traffic("A");
        lab.assert_reaches("a2", addresses("a1")[family], 63);
        lab.assert_reaches("a2", addresses("b1")[family], 62);
        let rows = [
            "va2 > va1 punt shadow",
            "va2 > va1 deliver",
            "va1 > va2 punt shadow",
            "va1 > va2 deliver",
            "va2 > up0 redirect_neigh",
            "up0 > va2 redirect_peer",
        ];
        lab.assert_counted("A", &before, &rows.map(three));
    }
    lab.fast_path(Off, "A", None);
    assert_eq!(of(&lab), (FastPath::Off, vec![FastPath::Off; 4]));
    lab.fast_path(Shadow, "A", None);
    assert_eq!(of(&lab), (FastPath::Shadow, vec![FastPath::Shadow; 4]));
    // B has no route to the endpoint that came.
    assert_eq!(lab.told("A"), ["no_way_back"]);
}

#[test]
fn a_machines_traffic_is_left_as_it_is() {
    on_a_machine(|lab| {
        lab.converge();
        lab.fast_path(Shadow, "H", None);
        for family in [0, 1] {
            let before = lab.traffic("H");
            lab.assert_loses("a1", addresses("a2")[family]);
            lab.assert_counted("H", &before, &[("va1 > va2 punt shadow", 1, Any)]);
        }
        // It is told that the kernel drops it.
        lab.assert_told("H", &["forward_drops of node H"; 2]);
        for command in IPTABLES {
            netpath_tests::lab::run(&format!("{command} -w -P FORWARD ACCEPT"));
        }
        lab.assert_told("H", &[]);
        lab.assert_reaches("a1", addresses("b1")[0], 63);
    });
}

#[test]
fn it_is_the_same_on_a_clsact_qdisc() {
    again_with_clsact(&[
        "the_kernel_forwards_and_all_is_counted",
        "what_is_translated_is_translated_and_goes_on_when_packets_are_taken",
        "what_is_forged_is_counted_and_the_kernels",
        "the_wish_survives_and_is_shown",
    ]);
}

/// What `netpath audit --shadow` says of a node while an endpoint pings another: its exit status, and its document.
fn compared(lab: &Lab, from: &str, dst: IpAddr) -> (Option<i32>, serde_json::Value) {
    let node = lab.name("A");
    let arguments = ["audit", "--shadow", "--seconds", "2", "--node", &node, "-j"];
    let mut child = netpath_tests::netpath(&arguments).spawn().expect("netpath");
    let options = netpath::probe::ping::PingOptions {
        timeout: Duration::from_millis(100),
        ..Default::default()
    };
    while child.try_wait().expect("it runs").is_none() {
        lab.ping(from, dst, &options);
    }
    let output = child.wait_with_output().expect("its output");
    let document = serde_json::from_slice(&output.stdout).expect("JSON");
    (output.status.code(), document)
}

/// Where nothing is in shadow mode nothing is counted that could be compared: that is no agreement.
#[test]
fn nothing_is_compared_where_there_is_no_shadow() {
    let lab = Lab::up(TWO_NODES);
    let node = lab.name("A");
    let arguments = ["audit", "--shadow", "--seconds", "1", "--node", &node];
    let compared = || {
        netpath_tests::netpath(&arguments)
            .output()
            .expect("netpath")
    };
    for on in [true, false] {
        lab.fast_path(on, "A", None);
        let output = compared();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(
            stderr.contains("nothing of it is in shadow mode"),
            "{stderr}"
        );
    }
    // One endpoint is enough.
    lab.fast_path(Shadow, "A", Some("a1"));
    let output = compared();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn what_would_have_been_is_compared_with_what_was() {
    let lab = shadowed();
    accept(&lab, "A");
    for (family, command) in IPTABLES.into_iter().enumerate() {
        let a2 = addresses("a2")[family];
        let (code, document) = compared(&lab, "a1", a2);
        let shadow = &document["nodes"][0]["shadow"];
        assert_eq!(
            (code, &shadow["agrees"]),
            (Some(0), &true.into()),
            "{shadow}"
        );
        let hop = |shadow: &serde_json::Value, ingress: &str| {
            let hops = shadow["hops"].as_array().expect("hops");
            let hop = hops.iter().find(|hop| hop["ingress"] == ingress);
            let hop = hop.unwrap_or_else(|| panic!("{shadow}"));
            ["would", "happened"].map(|key| hop[key].as_u64().expect("a number"))
        };
        for ingress in ["va1", "va2"] {
            let [would, happened] = hop(shadow, ingress);
            // What was on its way at the first look or the last is counted among what happened.
            assert!(would >= 3 && happened >= would, "{shadow}");
        }
        // One way only: the fast path would have let it pass.
        lab.run("A", &format!("{command} -w -A FORWARD -d {a2} -j DROP"));
        let (code, document) = compared(&lab, "a1", a2);
        let shadow = &document["nodes"][0]["shadow"];
        assert_eq!(
            (code, &shadow["agrees"]),
            (Some(3), &false.into()),
            "{shadow}"
        );
        let [would, happened] = hop(shadow, "va1");
        assert!(would >= 3 && happened == 0, "{shadow}");
        let rule = &shadow["rules"][0];
        assert_eq!(rule["acts"], serde_json::json!(["drop"]), "{shadow}");
        // As `iptables-save` prints it, or where that is not, in netpath's words.
        let text = rule["rule"].as_str().expect("text").to_lowercase();
        assert!(
            text.contains(&a2.to_string()) && text.contains("drop"),
            "{shadow}"
        );
        // It is read at other moments than the programs' counters.
        let packets = rule["packets"].as_u64().expect("a number");
        assert!(packets >= 3, "{shadow}");
        assert_eq!(shadow["would_drop"], serde_json::json!([]), "{shadow}");
        lab.run("A", &format!("{command} -w -D FORWARD -d {a2} -j DROP"));
    }
}
