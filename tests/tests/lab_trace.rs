//! `netpath trace`: what it tells of real packets, and that nothing of it stays. What a packet met is compared with what was
//! captured where it was to arrive.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    path::PathBuf,
    process::{Child, Output},
    thread,
    time::Duration,
};

use aya::{
    maps::{Array, Map, MapData, MapInfo},
    programs::{ProgramInfo, loaded_programs},
};
use netpath::{
    datapath::Datapath,
    netns::Netns,
    probe::{capture::Capture, frame::ParsedFrame},
};
use netpath_tests::{
    lab::{Deadline, Lab, ONE_NODE, TWO_NODES, addresses, run},
    netpath,
};
use serde_json::Value;

/// What `netpath trace` says of probes, and its exit status.
fn trace(lab: &Lab, arguments: &str) -> (Value, Option<i32>) {
    let arguments = arguments.replace('@', lab.prefix());
    let words: Vec<&str> = ["trace", "-j"]
        .into_iter()
        .chain(arguments.split(' '))
        .collect();
    let output = netpath(&words).output().expect("netpath runs");
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments}: {error}: {output:?}"));
    (document, output.status.code())
}

/// The packets of a direction.
fn packets<'v>(document: &'v Value, direction: &str) -> Vec<&'v Value> {
    let packets = document["packets"].as_array().expect("packets").iter();
    packets.filter(|it| it["direction"] == direction).collect()
}

/// What happened to a packet, a short line each: place without the lab's prefix, interface, what, and where netpath sent it or why.
fn steps(lab: &Lab, packet: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let steps = packet["steps"].as_array().expect("steps").iter();
    steps
        .map(|step| {
            let mut words = vec![
                text(&step["place"]).replace(lab.prefix(), ""),
                text(&step["interface"]),
                text(&step["what"]),
            ];
            words.extend(["outcome", "egress", "reason"].map(|key| text(&step[key])));
            words.retain(|word| word != "-");
            words.join(" ")
        })
        .collect()
}

/// How many packets of this length came to an interface until now. `length` is that of the IP packet.
fn captured(capture: &mut Capture, length: usize) -> usize {
    let mut count = 0;
    while let Some(frame) = capture.next(Duration::from_millis(50)).expect("capture") {
        let bytes = frame.on_wire();
        let ip = ParsedFrame::parse(&bytes).and_then(|frame| frame.ip());
        count += usize::from(ip.is_ok_and(|ip| ip.length == length));
    }
    count
}

/// The whole length of an echo request with this payload.
fn length(payload: usize, to: IpAddr) -> usize {
    payload + 8 + if to.is_ipv4() { 20 } else { 40 }
}

/// An odd payload, so that no other packet has its length.
const PAYLOAD: usize = 333;

const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];

/// The one probe of a trace, which has come to an end otherwise.
fn vanished(lab: &Lab, arguments: &str) -> Value {
    let (document, status) = trace(lab, arguments);
    assert_eq!(status, Some(1), "{arguments}: {document:#}");
    let probes = packets(&document, "there");
    assert_eq!(probes.len(), 1, "{arguments}: {document:#}");
    probes[0].clone()
}

#[test]
fn it_follows_what_arrives_on_one_node() {
    let lab = Lab::up(&ONE_NODE.replace("\"drop\"", "\"accept\""));
    for on in [true, false] {
        lab.fast_path(on, "A", None);
        for (family, to) in FAMILIES.into_iter().zip(addresses("a2")) {
            let what = format!("fast path {on}, {family}");
            let mut capture = lab.capture("a2", "eth0");
            let (document, status) = trace(
                &lab,
                &format!("@a1 @a2 -c 3 --size {PAYLOAD} --family {family}"),
            );
            assert_eq!(status, Some(0), "{what}: {document:#}");
            assert_eq!(
                (&document["lost"], &document["notes"]),
                (&0.into(), &Value::Array(vec![])),
                "{what}"
            );
            let there = packets(&document, "there");
            assert_eq!(
                (there.len(), packets(&document, "back").len()),
                (3, 3),
                "{what}"
            );
            // Requests and what answers them.
            assert_eq!(captured(&mut capture, length(PAYLOAD, to)), 6, "{what}");
            let between: &[&str] = match on {
                true => &["A va1 decided redirect_peer va2"],
                false => &["A va2 sent", "a2 eth0 received"],
            };
            let expected = [
                &["a1 eth0 sent", "A va1 received"],
                between,
                &["a2 eth0 consumed"],
            ]
            .concat();
            for packet in there {
                assert_eq!(steps(&lab, packet), expected, "{what}");
                assert_eq!(packet["outcome"], "arrived", "{what}");
                assert_eq!(packet["place"], lab.name("a2"), "{what}");
                assert_eq!(packet["destination"], to.to_string(), "{what}");
            }
            for packet in packets(&document, "back") {
                assert_eq!(packet["outcome"], "arrived", "{what}");
                assert_eq!(packet["place"], lab.name("a1"), "{what}");
            }
        }
    }
}

#[test]
fn it_follows_what_goes_across_two_nodes() {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    for on in [true, false] {
        for node in ["A", "B"] {
            lab.fast_path(on, node, None);
        }
        for protocol in ["icmp", "udp", "tcp"] {
            for family in FAMILIES {
                let what = format!("fast path {on}, {protocol} over {family}");
                let (document, status) = trace(
                    &lab,
                    &format!("@a1 @b1 --proto {protocol} --family {family}"),
                );
                assert_eq!(status, Some(0), "{what}: {document:#}");
                let there = packets(&document, "there");
                assert_eq!(there.len(), 1, "{what}: {document:#}");
                // The ports of the wire have names that are chosen by chance.
                let shown = steps(&lab, there[0]);
                let (wire, shown): (Vec<String>, Vec<String>) =
                    shown.into_iter().partition(|step| step.contains("wire"));
                assert_eq!(wire.len(), 2, "{what}: {wire:?}");
                let decided: [&[&str]; 2] = match on {
                    true => [
                        &["A va1 decided redirect_neigh up0"],
                        &["B up0 decided redirect_peer vb1"],
                    ],
                    false => [&[], &["B vb1 sent", "b1 eth0 received"]],
                };
                let expected = [
                    &["a1 eth0 sent", "A va1 received"],
                    decided[0],
                    &["A up0 sent", "B up0 received"],
                    decided[1],
                ]
                .concat();
                assert_eq!(shown[..expected.len()], expected, "{what}");
                // Whoever takes it in there.
                assert_eq!(shown.len(), expected.len() + 1, "{what}: {shown:?}");
                let last = shown.last().expect("a step");
                assert!(last.starts_with("b1 eth0"), "{what}: {last}");
                assert_eq!(there[0]["place"], lab.name("b1"), "{what}");
            }
        }
    }
}

/// What is too long is cut, and put together again where it is for: no fragment has vanished, and each is in a place.
#[test]
fn fragments_arrive() {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    for (family, to) in FAMILIES.into_iter().zip(addresses("b1")) {
        for protocol in ["icmp", "udp"] {
            let what = format!("{protocol} over {family}");
            let mut capture = lab.capture("b1", "eth0");
            let arguments = format!("@a1 {to} --size 4000 --proto {protocol}");
            let (document, status) = trace(&lab, &arguments);
            assert_eq!(status, Some(0), "{what}: {document:#}");
            let there = packets(&document, "there");
            assert_eq!(there.len(), 3, "{what}: {document:#}");
            let lengths = there
                .iter()
                .map(|it| it["length"].as_u64().expect("a number"));
            for length in lengths.collect::<BTreeSet<u64>>() {
                let length = usize::try_from(length).expect("a length");
                assert!(captured(&mut capture, length) >= 1, "{what}: {length}");
                capture = {
                    // The next length is looked for in what comes with another trace.
                    let next = lab.capture("b1", "eth0");
                    assert_eq!(trace(&lab, &arguments).1, Some(0), "{what}");
                    next
                };
            }
            for packet in there {
                let shown = steps(&lab, packet);
                let decided = [
                    "a1 eth0 sent",
                    "A va1 received",
                    "A va1 decided redirect_neigh up0",
                    "A up0 sent",
                ];
                assert_eq!(shown[..4], decided, "{what}");
                assert_eq!(
                    (&packet["outcome"], &packet["place"]),
                    (&"arrived".into(), &lab.name("b1").into()),
                    "{what}: {packet:#}"
                );
                let elsewhere = shown.iter().find(|step| step.starts_with("- "));
                assert_eq!(elsewhere, None, "{what}: {shown:?}");
            }
            // The answer, which is cut too, or an error: nobody listens.
            let (direction, count) = match protocol {
                "icmp" => ("back", 3),
                _ => ("error", 1),
            };
            let answers = packets(&document, direction);
            assert_eq!(answers.len(), count, "{what}: {document:#}");
            for answer in answers {
                assert_eq!(answer["outcome"], "arrived", "{what}: {answer:#}");
            }
        }
    }
}

/// To a service, which is nobody's address: a rule leads it to an endpoint, and there it has arrived, whether or not somebody listens.
#[test]
fn what_a_rule_leads_on_arrives() {
    let lab = Lab::up(&ONE_NODE.replace("\"drop\"", "\"accept\""));
    let services = ["10.96.0.10", "fd00:96::10"];
    for ((to, service), family) in addresses("a2").into_iter().zip(services).zip(FAMILIES) {
        let (program, shown) = match to {
            IpAddr::V4(_) => ("iptables", format!("{to}:7080")),
            IpAddr::V6(_) => ("ip6tables", format!("[{to}]:7080")),
        };
        let rule =
            format!("-t nat -A PREROUTING -d {service} -p tcp --dport 80 -j DNAT --to {shown}");
        lab.run("A", &format!("{program} -w {rule}"));
        let arguments = format!("@a1 {service} --proto tcp --dport 80");
        for listens in [false, true] {
            let what = format!("{family}, listens {listens}");
            let listener = listens.then(|| {
                let listener = lab.inside("a2", || TcpListener::bind((to, 7080)));
                listener.expect("a port")
            });
            let (document, status) = trace(&lab, &arguments);
            assert_eq!(status, Some(0), "{what}: {document:#}");
            let packet = packets(&document, "there")[0];
            assert_eq!(
                (&packet["outcome"], &packet["place"]),
                (&"arrived".into(), &lab.name("a2").into()),
                "{what}: {packet:#}"
            );
            drop(listener);
        }
    }
}

/// A connection that is accepted: what TCP takes into its queue goes without a word of the kernel's, and has arrived all the same, also
/// where it is for a node.
#[test]
fn what_opens_a_connection_arrives() {
    let lab = Lab::up(&ONE_NODE.replace("\"drop\"", "\"accept\""));
    for own in ["192.0.2.7", "2001:db8::7"] {
        lab.ip("A", &format!("addr add {own} dev lo"));
        let own: IpAddr = own.parse().expect("an address");
        let listener = lab.inside("A", || TcpListener::bind((own, 7080)));
        let listener = listener.expect("a port");
        let (document, status) = trace(&lab, &format!("@a1 {own} --proto tcp --dport 7080"));
        assert_eq!(status, Some(0), "{document:#}");
        let there = packets(&document, "there");
        assert!(there.len() >= 2, "{document:#}");
        for packet in there {
            assert_eq!(
                (&packet["outcome"], &packet["place"]),
                (&"arrived".into(), &lab.name("A").into()),
                "{packet:#}"
            );
        }
        drop(listener);
    }
}

/// A node is reached at an address of its own.
#[test]
fn a_node_may_be_the_destination() {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    for family in FAMILIES {
        for (from, to) in [("a1", "A"), ("b1", "A"), ("A", "B")] {
            let (document, status) = trace(&lab, &format!("@{from} @{to} --family {family}"));
            assert_eq!(status, Some(0), "{from} to {to}: {document:#}");
            let packet = packets(&document, "there")[0];
            assert_eq!(
                (&packet["outcome"], &packet["place"]),
                (&"arrived".into(), &lab.name(to).into()),
                "{packet:#}"
            );
        }
    }
}

/// What a node sends itself is never the fast path's: no cure has it switched on.
#[test]
fn no_cure_is_told_that_is_none() {
    let lab = Lab::up(TWO_NODES);
    for to in addresses("b1") {
        let packet = vanished(&lab, &format!("@A {to}"));
        let cure = packet["cure"].as_str().expect("a cure");
        assert!(
            cure.contains("has policy DROP") && !cure.contains("fastpath on"),
            "{cure}"
        );
        assert!(cure.contains("outside"), "{cure}");
    }
    // Where it is off it is one.
    lab.fast_path(false, "B", None);
    for to in addresses("b1") {
        let packet = vanished(&lab, &format!("@a1 {to}"));
        let cure = packet["cure"].as_str().expect("a cure");
        assert!(cure.contains("netpath fastpath on"), "{cure}");
    }
}

#[test]
fn it_says_which_chain_dropped_a_packet() {
    let lab = Lab::up(ONE_NODE);
    lab.fast_path(false, "A", None);
    for (family, to) in FAMILIES.into_iter().zip(addresses("a2")) {
        let mut capture = lab.capture("a2", "eth0");
        let arguments = format!("@a1 @a2 --family {family} --size {PAYLOAD}");
        let packet = vanished(&lab, &arguments);
        assert_eq!(
            steps(&lab, &packet),
            [
                "a1 eth0 sent",
                "A va1 received",
                "A va1 dropped NETFILTER_DROP"
            ]
        );
        assert_eq!(packet["outcome"], "dropped");
        assert_eq!(packet["place"], lab.name("A"));
        assert_eq!(packet["why"], "the packet filter dropped it in FORWARD");
        let cure = packet["cure"].as_str().expect("a cure");
        assert!(cure.contains("has policy DROP"), "{cure}");

        let program = if to.is_ipv4() {
            "iptables"
        } else {
            "ip6tables"
        };
        lab.run(
            "A",
            &format!("{program} -w -t raw -A PREROUTING -i va1 -j DROP"),
        );
        let packet = vanished(&lab, &arguments);
        assert_eq!(packet["why"], "the packet filter dropped it in PREROUTING");
        let cure = packet["cure"].as_str().expect("a cure");
        assert!(cure.contains("-t raw -nvL PREROUTING"), "{cure}");
        lab.run("A", &format!("{program} -w -t raw -F PREROUTING"));

        // The cure is one.
        let rule = format!("{program} -w -A FORWARD -i va1 -j ACCEPT");
        lab.run("A", &rule);
        assert_eq!(captured(&mut capture, length(PAYLOAD, to)), 0);
        let (document, _) = trace(&lab, &arguments);
        assert_eq!(
            packets(&document, "there")[0]["outcome"],
            "arrived",
            "{document:#}"
        );
        // What answers has not been let through.
        let back = packets(&document, "back");
        assert_eq!(back[0]["why"], "the packet filter dropped it in FORWARD");
    }
}

#[test]
fn it_says_why_the_kernel_dropped_a_packet() {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    for (to, place, reason, why) in [
        (
            "10.0.9.9",
            "A",
            "punt no_route",
            "the kernel has no route for it",
        ),
        (
            "fd00:9::9",
            "A",
            "punt no_route",
            "the kernel has no route for it",
        ),
        (
            "10.0.3.77",
            "B",
            "punt no_route",
            "the kernel has no route for it",
        ),
        (
            "fd00:3::77",
            "B",
            "punt no_route",
            "the kernel has no route for it",
        ),
    ] {
        let packet = vanished(&lab, &format!("@a1 {to}"));
        let shown = steps(&lab, &packet);
        assert!(
            shown.iter().any(|step| step.contains(reason)),
            "{to}: {shown:?}"
        );
        assert_eq!(
            (&packet["place"], &packet["why"]),
            (&lab.name(place).into(), &why.into()),
            "{to}: {packet:#}"
        );
    }
    for (to, family) in addresses("b1").into_iter().zip(FAMILIES) {
        for (ttl, place) in [(1, "A"), (2, "B")] {
            let (document, status) = trace(&lab, &format!("@a1 {to} --ttl {ttl}"));
            assert_eq!(status, Some(1), "{document:#}");
            let packet = packets(&document, "there")[0];
            assert_eq!(
                packet["place"],
                lab.name(place),
                "{family} {ttl}: {packet:#}"
            );
            assert_eq!(
                packet["why"], "its TTL is over",
                "{family} {ttl}: {packet:#}"
            );
            let errors = packets(&document, "error");
            assert_eq!(errors.len(), 1, "{family} {ttl}: {document:#}");
            let kind = if to.is_ipv4() { 11 } else { 3 };
            assert_eq!(
                (&errors[0]["icmp_type"], &errors[0]["outcome"]),
                (&kind.into(), &"arrived".into())
            );
        }
    }
}

#[test]
fn it_waits_until_a_neighbour_is_given_up() {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    // On the wire, and nobody is there.
    for to in ["100.100.198.77", "fd00:198::77"] {
        let packet = vanished(&lab, &format!("@a1 {to}"));
        assert_eq!(packet["place"], lab.name("A"), "{packet:#}");
        let why = packet["why"].as_str();
        let why = why.unwrap_or_else(|| panic!("{packet:#}"));
        assert!(why.contains("the neighbour does not answer"), "{packet:#}");
        assert!(
            packet["nanoseconds"].as_u64() > Some(1_000_000_000),
            "{packet:#}"
        );
    }
}

#[test]
fn it_tells_what_netpath_dropped_and_why() {
    let lab = Lab::up(ONE_NODE);
    for (source, to) in ["10.0.2.99", "fd00:2::99"].into_iter().zip(addresses("a2")) {
        let mut capture = lab.capture("a2", "eth0");
        let packet = vanished(
            &lab,
            &format!("@a1 {to} --source {source} --size {PAYLOAD}"),
        );
        let expected = [
            "a1 eth0 sent",
            "A va1 received",
            "A va1 decided drop spoofed",
            "A va1 dropped TC_INGRESS",
        ];
        assert_eq!(steps(&lab, &packet), expected);
        assert_eq!(packet["why"], "netpath dropped it: spoofed");
        assert_eq!(captured(&mut capture, length(PAYLOAD, to)), 0);
    }
}

/// A `netpath trace --endpoint` that runs meanwhile. It is killed with the test.
struct Live(Child);

impl Live {
    fn begin(lab: &Lab, arguments: &str) -> Self {
        let arguments = arguments.replace('@', lab.prefix());
        let words: Vec<&str> = ["trace", "-j", "--endpoint"]
            .into_iter()
            .chain(arguments.split(' '))
            .collect();
        let live = Self(netpath(&words).spawn().expect("netpath runs"));
        let deadline = Deadline::new();
        while live.programs().len() < 4 || !live.waits_for_events() {
            deadline.check(|| "the trace does not begin".to_owned());
            thread::sleep(Duration::from_millis(5));
        }
        live
    }

    /// Whether it waits for what it is told: then its programs are attached and the nodes asked, and what these remembered before is
    /// forgotten. It does nothing else in `poll`.
    fn waits_for_events(&self) -> bool {
        let path = format!("/proc/{}/syscall", self.0.id());
        let text = fs::read_to_string(path).unwrap_or_default();
        let number = text.split(' ').next().and_then(|it| it.parse().ok());
        number.is_some_and(|it: i64| [libc::SYS_poll, libc::SYS_ppoll].contains(&it))
    }

    /// The programs that it has open, by their ids.
    fn programs(&self) -> BTreeSet<u32> {
        let directory = format!("/proc/{}/fdinfo", self.0.id());
        let infos = fs::read_dir(directory).into_iter().flatten().flatten();
        let links = infos.filter_map(|info| {
            let text = fs::read_to_string(info.path()).ok()?;
            let is_link = text.contains("link_type:");
            let id = text
                .lines()
                .find_map(|line| line.strip_prefix("prog_id:"))?;
            is_link.then(|| id.trim().parse().ok())?
        });
        links.collect()
    }

    fn signal(&self, signal: &str) {
        let id = self.0.id().to_string();
        let status = std::process::Command::new("kill")
            .args([signal, &id])
            .status();
        assert!(status.expect("kill runs").success());
    }

    /// Ends it as Ctrl-C does, and what it has said, a document for each packet.
    fn end(mut self) -> (Vec<Value>, Output) {
        self.signal("-INT");
        let mut stdout = Vec::new();
        let mut pipe = self.0.stdout.take().expect("a pipe");
        pipe.read_to_end(&mut stdout).expect("read");
        let status = self.0.wait().expect("wait");
        let mut stderr = Vec::new();
        let mut pipe = self.0.stderr.take().expect("a pipe");
        pipe.read_to_end(&mut stderr).expect("read");
        let lines = String::from_utf8(stdout.clone()).expect("text");
        let documents = lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        let output = Output {
            status,
            stdout,
            stderr,
        };
        (documents.collect(), output)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // It may have ended.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Sends datagrams from an endpoint to a port of another, where somebody reads them or not.
fn send(lab: &Lab, from: &str, to: SocketAddr, count: usize) {
    let own = addresses(from)
        .into_iter()
        .find(|own| own.is_ipv4() == to.is_ipv4());
    let own = SocketAddr::new(own.expect("an address"), 0);
    let socket = lab.inside(from, || UdpSocket::bind(own)).expect("a port");
    for number in 0..count {
        let payload = [number as u8; 64];
        // An error of the one before is told with the next.
        let _told = socket.send_to(&payload, to);
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn live_traffic_is_what_the_filter_says() {
    let lab = Lab::up(ONE_NODE);
    for (to, family) in addresses("a2").into_iter().zip(FAMILIES) {
        let live = Live::begin(&lab, "@a1 udp dst port 7001 and not src port 9");
        let reader = lab.inside("a2", || UdpSocket::bind(SocketAddr::new(to, 7001)));
        let reader = reader.expect("a port");
        for port in [7000, 7001, 7002] {
            send(&lab, "a1", SocketAddr::new(to, port), 10);
        }
        // The endpoint's traffic, but not what the filter wants; and not the endpoint's.
        lab.assert_reaches("a1", to, 63);
        lab.assert_reaches("a2", addresses("a1")[usize::from(to.is_ipv6())], 63);
        let (documents, output) = live.end();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(documents.len(), 10, "{family}: {documents:#?}");
        for packet in &documents {
            assert_eq!(packet["destination_port"], 7001, "{packet:#}");
            assert_eq!(
                (&packet["direction"], &packet["outcome"]),
                (&"there".into(), &"arrived".into())
            );
            let shown = steps(&lab, packet);
            let expected = [
                "a1 eth0 sent",
                "A va1 received",
                "A va1 decided redirect_peer va2",
            ];
            assert_eq!(shown[..3], expected, "{packet:#}");
        }
        drop(reader);
    }
}

/// Somebody elsewhere on the machine has the same addresses, as with containers within containers; and a packet that a program is
/// asked about is on no way.
#[test]
fn what_is_not_the_endpoints_is_not_shown() {
    // Addresses that no other test's lab has: those of two labs are told apart anyway.
    let text = ONE_NODE
        .replace("10.0.1.", "10.61.1.")
        .replace("fd00:1:", "fd00:61:");
    let lab = Lab::up(&text);
    let own = ["10.61.1.2", "fd00:61::2"].map(|it| it.parse::<IpAddr>().expect("an address"));
    for (own, to) in own.into_iter().zip(addresses("a2")) {
        let live = Live::begin(&lab, "@a1");
        let stranger = Netns::unnamed().expect("a namespace");
        let say = || -> std::io::Result<()> {
            for line in ["ip link set lo up", "ip link add s0 type veth peer name s1"] {
                run(line);
            }
            for (dev, address) in [("s0", own), ("lo", to)] {
                let nodad = if own.is_ipv4() { "" } else { " nodad" };
                run(&format!("ip addr add {address} dev {dev}{nodad}"));
            }
            let socket = UdpSocket::bind(SocketAddr::new(own, 0))?;
            for _ in 0..5 {
                socket.send_to(b"stranger", SocketAddr::new(to, 7009))?;
            }
            Ok(())
        };
        stranger.run(say).expect("inside").expect("sent");
        let output = netpath(&["explain", &lab.name("a1"), &lab.name("a2")]).output();
        assert_eq!(output.expect("netpath").status.code(), Some(0));
        lab.assert_reaches("a1", to, 63);
        let (documents, output) = live.end();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        // Three echoes and their answers.
        let shown: Vec<Vec<String>> = documents.iter().map(|it| steps(&lab, it)).collect();
        let first = shown.iter().map(|steps| steps[0].as_str());
        assert_eq!(
            first.collect::<Vec<_>>(),
            ["a1 eth0 sent", "a2 eth0 sent"].repeat(3),
            "{documents:#?}"
        );
    }
}

#[test]
fn only_drops_are_shown_where_they_are_asked_for() {
    let lab = Lab::up(ONE_NODE);
    for (index, to) in addresses("a2").into_iter().enumerate() {
        let live = Live::begin(&lab, "@a1 --drops");
        send(&lab, "a1", SocketAddr::new(to, 7001), 10);
        lab.assert_reaches("a1", to, 63);
        let wrong = SocketAddr::new(["10.0.9.9", "fd00:9::9"][index].parse().expect("it"), 7002);
        send(&lab, "a1", wrong, 3);
        let (documents, output) = live.end();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let (no_route, other): (Vec<_>, Vec<_>) = documents
            .iter()
            .partition(|it| it["destination_port"] == 7002);
        assert_eq!(no_route.len(), 3, "{documents:#?}");
        for packet in no_route {
            assert_eq!(
                (&packet["outcome"], &packet["place"]),
                (&"dropped".into(), &lab.name("A").into())
            );
            assert_eq!(packet["why"], "the kernel has no route for it");
        }
        assert_eq!(other.len(), 0, "{other:#?}");
    }
}

/// A block of a pcapng file: its type and its body.
fn blocks(bytes: &[u8]) -> Vec<(u32, &[u8])> {
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("a word"));
    let (mut blocks, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let length = word(at + 4) as usize;
        assert_eq!(word(at + length - 4) as usize, length, "at {at}");
        blocks.push((word(at), &bytes[at + 8..at + length - 4]));
        at += length;
    }
    blocks
}

#[test]
fn a_file_holds_the_packets_of_each_place_and_what_became_of_them() {
    let lab = Lab::up(ONE_NODE);
    let path: PathBuf = std::env::temp_dir().join(format!("{}.pcapng", lab.prefix()));
    let shown = path.to_str().expect("text");
    let (document, status) = trace(&lab, &format!("@a1 @a2 -c 2 -w {shown}"));
    assert_eq!(status, Some(0), "{document:#}");
    let bytes = fs::read(&path).expect("written");
    let tshark = std::process::Command::new("tshark")
        .args([
            "-r",
            shown,
            "-T",
            "fields",
            "-e",
            "ip.src",
            "-e",
            "ip.dst",
            "-e",
            "frame.comment",
        ])
        .output();
    fs::remove_file(&path).expect("it is there");

    let blocks = blocks(&bytes);
    let of = |kind: u32| blocks.iter().filter(move |block| block.0 == kind);
    let names: Vec<String> = of(1)
        .map(|(_, body)| {
            let length = usize::from(u16::from_ne_bytes([body[10], body[11]]));
            String::from_utf8_lossy(&body[12..12 + length]).replace(lab.prefix(), "")
        })
        .collect();
    assert_eq!(blocks[0].0, 0x0a0d_0d0a);
    assert_eq!(names, ["a1/eth0", "A/va1", "a2/eth0", "A/va2"]);
    // Each packet as it was sent, received and taken in.
    let packets: Vec<_> = of(6).collect();
    assert_eq!(packets.len(), 4 * 3);
    for (_, body) in packets {
        let text = String::from_utf8_lossy(body);
        assert!(text.contains("arrived at "), "{text}");
        assert_eq!(body[20] >> 4, 4, "an IPv4 header");
    }
    if let Ok(output) = tshark {
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.lines().count(), 4 * 3, "{output:?}");
        let [from, to] = ["a1", "a2"].map(|it| addresses(it)[0].to_string());
        assert!(
            text.starts_with(&format!("{from}\t{to}\tarrived at ")),
            "{text}"
        );
    }
}

/// Until when each trace is told by a node's programs.
fn leases(datapath: &Datapath) -> Vec<u64> {
    let program = datapath.directory().join("programs/from_endpoint");
    let program = ProgramInfo::from_pin(program).expect("a program");
    let ids = program.map_ids().expect("maps").expect("maps");
    let is_it = |id: &u32| {
        let info = MapInfo::from_id(*id).expect("a map");
        info.name_as_str() == Some("cache_trace")
    };
    let id = ids.into_iter().find(is_it).expect("what traces ask by");
    let map = Map::from_map_data(MapData::from_id(id).expect("a map")).expect("a map");
    let map: Array<_, u64> = map.try_into().expect("an array");
    map.iter().map(|value| value.expect("a number")).collect()
}

fn is_loaded(ids: &BTreeSet<u32>) -> bool {
    loaded_programs().any(|program| program.is_ok_and(|program| ids.contains(&program.id())))
}

/// Kills a trace, and waits until nodes tell it nothing any more.
fn kill_a_trace(lab: &Lab, datapath: &Datapath) {
    let live = Live::begin(lab, "@a1");
    let programs = live.programs();
    assert!(is_loaded(&programs));
    assert!(leases(datapath)[0] > 0);
    live.signal("-KILL");
    let deadline = Deadline::new();
    while is_loaded(&programs) {
        deadline.check(|| "its programs are still there".to_owned());
        thread::sleep(Duration::from_millis(20));
    }
    // What they did they do.
    for to in addresses("a2") {
        lab.assert_reaches("a1", to, 63);
    }
    let until = leases(datapath)[0];
    while netpath::datapath::monotonic_now() <= until {
        thread::sleep(Duration::from_millis(20));
    }
}

/// Other tests' traces ask all nodes that there are; what those that are killed have asked for is soon over.
fn wait_for_no_lease(datapath: &Datapath) {
    let deadline = Deadline::new();
    let is_over = |until: &u64| *until <= netpath::datapath::monotonic_now();
    while !leases(datapath).iter().all(is_over) {
        deadline.check(|| format!("somebody asks: {:?}", leases(datapath)));
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn nothing_stays_of_a_trace_that_is_killed() {
    let lab = Lab::up(ONE_NODE);
    let datapath = lab.datapath("A");
    let told = "~ node A: its programs tell a trace that was killed nothing any more";
    // Another test's trace that comes first takes the place of the one that was killed.
    let mut tries = 0..5;
    while tries.next().is_some() {
        kill_a_trace(&lab, &datapath);
        let changes = lab.converge();
        if !changes.is_empty() {
            assert_eq!(changes, [told]);
            break;
        }
    }
    assert!(!tries.is_empty(), "`up` did not say so");
    assert_eq!(lab.converge(), Vec::<String>::new());
    wait_for_no_lease(&datapath);
    // The next one is told everything, and gives it back.
    let (document, status) = trace(&lab, "@a1 @a2");
    assert_eq!(
        (status, &document["notes"]),
        (Some(0), &Value::Array(vec![]))
    );
    let shown = steps(&lab, packets(&document, "there")[0]);
    assert!(
        shown.contains(&"A va1 decided redirect_peer va2".to_owned()),
        "{shown:?}"
    );
    wait_for_no_lease(&datapath);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_attached() {
    let lab = Lab::up(ONE_NODE);
    for (arguments, status, said) in [
        ("@a1 nobody", 1, "no endpoint or node nobody is up"),
        ("@a1", 2, "name who sends and where to"),
        ("@a1 10.0.2.2 --family ipv6", 2, "is no IPv6 address"),
        ("@a1 10.0.2.2 --source fd00:1::2", 2, "is no IPv4 address"),
        (
            "--endpoint @a1 tcp prot 80",
            2,
            "`and` or `or` has to stand before `prot`",
        ),
        ("--endpoint @A", 2, "name one of its endpoints"),
        ("--endpoint @a1 -w -", 2, "name a file"),
        ("@a1 @a2 -w -", 2, "name a file"),
        ("@a1 @a2 -w /nowhere/file", 1, "/nowhere/file: No such file"),
    ] {
        let arguments = arguments.replace('@', lab.prefix());
        let words: Vec<&str> = std::iter::once("trace")
            .chain(arguments.split(' '))
            .collect();
        let output = netpath(&words).output().expect("netpath runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments}: {stderr}");
        assert!(stderr.contains(said), "{arguments}: {stderr}");
    }
    wait_for_no_lease(&lab.datapath("A"));
}
