//! A node has addresses beside those that its topology names: on other network cards, bridges, the loopback device. What
//! says from outside to come from one of them is forged, and what is for them is the kernel's.

use std::{
    net::{IpAddr, UdpSocket},
    time::Duration,
};

use netpath::{
    Ends as _,
    netlink::Netlink,
    netns::Inside,
    probe::{capture::Capture, frame::FrameBuilder, ping::PingOptions},
    provision::{GATEWAY_V4, GATEWAY_V6},
};
use netpath_common::{EndpointEntry, Mac, PuntReason};
use netpath_tests::{
    command::{assert_ends, run_netpath},
    lab::{
        Bytes::{Any, Exactly},
        Deadline, Lab, TWO_NODES, addresses, listener, on_a_machine, refused, run, udp_port,
    },
    netpath,
};

const FORGED: u16 = 4_001;
const HONEST: u16 = 4_002;
const COUNT: u64 = 25;
const PAYLOAD: [u8; 40] = [0x5a; 40];

/// Addresses that no topology names, of both families.
const OTHERS: [&str; 2] = ["10.9.9.9", "fd99::9"];

fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn datagram(macs: (Mac, Mac), source: IpAddr, destination: IpAddr, port: u16) -> Vec<u8> {
    let frame = FrameBuilder::new(macs.0, macs.1);
    let frame = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => frame.ipv4(source, destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) => frame.ipv6(source, destination),
        mixed => panic!("{mixed:?}"),
    };
    frame.udp(4_000, port).payload(&PAYLOAD).build()
}

fn length(address: IpAddr) -> u64 {
    let header = if address.is_ipv4() { 20 } else { 40 };
    14 + header + 8 + PAYLOAD.len() as u64
}

/// Ids of what `show` tells of a node itself.
fn drift(lab: &Lab, node: &str) -> Vec<String> {
    let drift = lab.status(node).drift;
    drift.iter().map(|finding| finding.id.to_string()).collect()
}

/// Sends datagrams from outside that say to come from an address, and an honest one behind them. Only the honest one
/// arrives, and each of the others is counted.
struct Wire<'a> {
    lab: &'a Lab,
    node: &'static str,
    outside: (&'static str, &'static str),
    macs: (Mac, Mac),
    receiver: &'static str,
    host_dev: &'static str,
    honest: &'static str,
}

impl Wire<'_> {
    fn assert_forged(&self, source: IpAddr) {
        let family = usize::from(source.is_ipv6());
        let (destination, honest) = (
            addresses(self.receiver)[family],
            addresses(self.honest)[family],
        );
        let (place, dev) = self.outside;
        let injector = self.lab.injector(place, dev);
        let mut capture = self.lab.capture(self.receiver, "eth0");
        // Nobody answers: how often Port Unreachable is said depends on the time.
        let _listener = self.lab.inside(self.receiver, || listener(HONEST));
        let before = self.lab.traffic(self.node);
        for _ in 0..COUNT {
            let frame = datagram(self.macs, source, destination, FORGED);
            injector.send(&frame).expect("send");
        }
        let frame = datagram(self.macs, honest, destination, HONEST);
        injector.send(&frame).expect("send");
        assert_eq!(arrived(&mut capture), HONEST, "from {source}");
        let redirected = format!("up0 > {} redirect_peer", self.host_dev);
        self.lab.assert_counted(
            self.node,
            &before,
            &[
                (
                    "up0 > - drop spoofed",
                    COUNT,
                    Exactly(COUNT * length(source)),
                ),
                (&redirected, 1, Exactly(length(honest))),
            ],
        );
    }
}

/// The port of the first of the test's datagrams that arrives.
fn arrived(capture: &mut Capture) -> u16 {
    let is_one = |frame: &netpath::probe::capture::CapturedFrame| {
        matches!(udp_port(&frame.bytes), Some(FORGED | HONEST))
    };
    let seen = capture.wait_for(is_one, Duration::from_secs(3));
    let seen = seen.expect("capture").expect("the honest datagram");
    udp_port(&seen.bytes).expect("a datagram")
}

fn machines_wire<'a>(lab: &'a Lab) -> Wire<'a> {
    let mac = |place, dev: &str| {
        let look = || {
            let netlink = Netlink::open(&Inside::current()).expect("socket");
            netlink.link(dev).expect("asked").expect(dev).mac
        };
        lab.inside(place, look).expect("Ethernet")
    };
    Wire {
        lab,
        node: "H",
        outside: ("P", "eth0"),
        macs: (mac("P", "eth0"), mac("H", "up0")),
        receiver: "a1",
        host_dev: "va1",
        honest: "b1",
    }
}

fn labs_wire<'a>(lab: &'a Lab) -> Wire<'a> {
    Wire {
        lab,
        node: "B",
        outside: ("A", "up0"),
        macs: (lab.uplink_mac("A"), lab.uplink_mac("B")),
        receiver: "b1",
        host_dev: "vb1",
        honest: "a1",
    }
}

/// The way from the machine's neighbour to an address of the machine's.
fn route_there(lab: &Lab, address: &str) {
    let machine = addresses("A")[usize::from(address.contains(':'))];
    lab.ip("P", &format!("route add {address} via {machine}"));
}

fn add(address: &str) {
    run(&format!(
        "ip addr add {} dev lo {}",
        host(address),
        nodad(address)
    ));
    // The kernel takes an IPv6 address in by a worker of its own.
    let option = if address.contains(':') { "-6" } else { "-4" };
    let deadline = Deadline::new();
    while !run(&format!("ip {option} route show table local"))
        .contains(&format!("local {address} "))
    {
        deadline.check(|| format!("{address} is not taken in"));
    }
}

fn host(address: &str) -> String {
    let length = if address.contains(':') { 128 } else { 32 };
    format!("{address}/{length}")
}

fn nodad(address: &str) -> &'static str {
    if address.contains(':') { "nodad" } else { "" }
}

#[test]
fn nobody_outside_speaks_for_an_address_of_the_machine() {
    on_a_machine(|lab| {
        OTHERS.iter().for_each(|address| add(address));
        run("ip link add nic2 type veth peer name nic3");
        run("ip link set nic3 up");
        run("ip link set nic2 up");
        run("ip addr add 10.8.8.8/24 dev nic2");
        run("ip addr add fd88::8/64 dev nic2 nodad");
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
        assert_eq!(drift(lab, "H"), Vec::<String>::new());
        let wire = machines_wire(lab);
        // 192.0.2.1 is on a bridge of the machine's.
        for source in OTHERS.iter().chain(&["10.8.8.8", "fd88::8", "192.0.2.1"]) {
            wire.assert_forged(address(source));
        }
        // What is for them is the kernel's, also from an endpoint.
        for family in [0, 1] {
            let before = lab.traffic("H");
            lab.assert_reaches("a1", address(OTHERS[family]), 64);
            let row = ("va1 > - punt node_address", 3, Any);
            lab.assert_counted("H", &before, &[row]);
            route_there(lab, OTHERS[family]);
            lab.assert_reaches_from(
                "P",
                Some(addresses("b1")[family]),
                address(OTHERS[family]),
                64,
            );
        }
        run("ip link del nic2");
        // With the broadcast address of its subnet.
        assert_eq!(drift(lab, "H"), ["own_address_gone"; 3]);
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
    });
}

/// An endpoint does not, either, whatever the programs know of the machine.
#[test]
fn no_endpoint_speaks_for_an_address_of_the_machine() {
    on_a_machine(|lab| {
        lab.converge();
        for known in [false, true] {
            if known {
                OTHERS.iter().for_each(|address| add(address));
                lab.converge();
            }
            let record = lab.record("H", "a1");
            let macs = (record.endpoint_mac, record.host_mac);
            let injector = lab.injector("a1", "eth0");
            for (family, source) in OTHERS.into_iter().map(address).enumerate() {
                let before = lab.traffic("H");
                for to in ["a2", "b1", "A"] {
                    let frame = datagram(macs, source, addresses(to)[family], FORGED);
                    injector.send(&frame).expect("send");
                }
                let row = ("va1 > - drop spoofed", 3, Exactly(3 * length(source)));
                lab.assert_counted("H", &before, &[row]);
            }
        }
    });
}

/// Nor for the gateway, which is the node's own on the endpoint's link; to nobody, and looking for no neighbour.
#[test]
fn no_endpoint_speaks_for_its_gateway() {
    const ALL_NODES: &str = "ff02::1";
    on_a_machine(|lab| {
        lab.converge();
        let record = lab.record("H", "a1");
        let macs = (record.endpoint_mac, record.host_mac);
        let injector = lab.injector("a1", "eth0");
        let node = listener(FORGED);
        node.set_read_timeout(Some(Duration::from_secs(3)))
            .expect("set");
        let [own, _] = addresses("a1");
        let machine = addresses("A");
        for (source, to) in [
            (
                IpAddr::from(GATEWAY_V4),
                vec![machine[0], GATEWAY_V4.into(), addresses("a2")[0]],
            ),
            (
                GATEWAY_V6.into(),
                vec![
                    machine[1],
                    GATEWAY_V6.into(),
                    addresses("a2")[1],
                    address(ALL_NODES),
                ],
            ),
        ] {
            let before = lab.traffic("H");
            let count = u64::try_from(to.len()).expect("few");
            for to in to {
                injector
                    .send(&datagram(macs, source, to, FORGED))
                    .expect("send");
            }
            let row = (
                "va1 > - drop spoofed",
                count,
                Exactly(count * length(source)),
            );
            lab.assert_counted("H", &before, &[row]);
        }
        // The node's socket gets the honest one, and none before it.
        injector
            .send(&datagram(macs, own, machine[0], FORGED))
            .expect("send");
        let mut buffer = [0; 64];
        let (_, from) = node.recv_from(&mut buffer).expect("the honest datagram");
        assert_eq!(from.ip().to_canonical(), own);
        // Looked for, it still answers.
        for gateway in [GATEWAY_V4.into(), GATEWAY_V6.into()] {
            lab.assert_reaches("a1", gateway, 64);
        }
    });
}

#[test]
fn an_address_that_comes_or_goes_is_told_and_made_known() {
    on_a_machine(|lab| {
        lab.converge();
        // Also of the labs of other tests, so that only what is told of this one counts.
        let shows = |words: &str| {
            let output = netpath(&["show"]).output().expect("start");
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{text}");
            assert!(text.contains(words), "no {words:?} in {text}");
        };
        let told = ["~ fast path H: its programs are told what has changed"];
        for by_switch in [false, true] {
            for other in OTHERS {
                add(other);
                assert_eq!(drift(lab, "H"), ["own_address_unknown"], "{other}");
                shows(&format!("the node has the address {other}"));
                let planned = format!(
                    "~ node H: the node has the address {other}, and the fast path takes it for anybody's"
                );
                assert_eq!(lab.plan(), [planned.as_str()]);
                match by_switch {
                    false => assert_eq!(lab.converge(), [planned]),
                    true => assert_eq!(lab.fast_path(true, "H", None), told),
                }
                assert_eq!(lab.plan(), Vec::<String>::new());
                machines_wire(lab).assert_forged(address(other));
                run(&format!("ip addr del {} dev lo", host(other)));
                assert_eq!(drift(lab, "H"), ["own_address_gone"], "{other}");
                shows(&format!("the node no longer has the address {other}"));
                match by_switch {
                    false => assert_eq!(lab.converge().len(), 1),
                    true => assert_eq!(lab.fast_path(true, "H", None), told),
                }
                assert_eq!(lab.plan(), Vec::<String>::new());
                assert_eq!(entry(lab, "H", address(other)), None);
            }
        }
    });
}

fn entry(lab: &Lab, node: &str, address: IpAddr) -> Option<EndpointEntry> {
    let maps = &lab.datapath(node).maps;
    maps.endpoint(address)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Somebody gives the machine an endpoint's address: it stays the endpoint's, packets to it are left to the kernel, which
/// takes them for itself, and `up` refuses.
#[test]
fn an_endpoints_address_is_not_taken_over() {
    on_a_machine(|lab| {
        lab.converge();
        for taken in addresses("a1") {
            let text = taken.to_string();
            let before = entry(lab, "H", taken);
            add(&text);
            let error = lab.try_converge().expect_err("a refusal");
            assert!(error.is_refusal(), "{error:?}");
            assert!(
                error
                    .to_string()
                    .contains("is this machine's own address, on lo"),
                "{error}"
            );
            assert!(!drift(lab, "H").contains(&"own_address_unknown".to_owned()));
            lab.fast_path(true, "H", None);
            let left = |entry: Option<EndpointEntry>| {
                entry.map(|entry| EndpointEntry {
                    punt_between: PuntReason::Rules as u16 | EndpointEntry::ALONE,
                    ..entry
                })
            };
            assert_eq!(entry(lab, "H", taken), left(before));
            assert_others_go_on(lab, taken);
            run(&format!("ip addr del {} dev lo", host(&text)));
            lab.fast_path(true, "H", None);
            assert_eq!(entry(lab, "H", taken), before);
            assert_eq!(lab.converge(), Vec::<String>::new());
        }
    });
}

/// What is not for that address, nor from it, takes the fast path as before; what is does not, both ways.
fn assert_others_go_on(lab: &Lab, taken: IpAddr) {
    let family = usize::from(taken.is_ipv6());
    assert_eq!(
        lab.status("H")
            .routes
            .iter()
            .find(|it| !it.kernel.is_empty())
            .map(|it| it.dst),
        None
    );
    let before = lab.traffic("H");
    lab.assert_reaches("a2", addresses("b1")[family], 63);
    let other = addresses("a1")[1 - family];
    lab.assert_reaches("a2", other, 63);
    let rows = [
        ("va2 > up0 redirect_neigh", 3, Any),
        ("up0 > va2 redirect_peer", 3, Any),
        ("va2 > va1 redirect_peer", 3, Any),
        ("va1 > va2 redirect_peer", 3, Any),
    ];
    lab.assert_counted("H", &before, &rows);
    let before = lab.traffic("H");
    let frames = [
        ("a2", "va2", taken, addresses("a2")[family]),
        ("a1", "va1", addresses("a2")[family], taken),
    ];
    for (from, _, to, source) in frames {
        let record = lab.record("H", from);
        let macs = (record.endpoint_mac, record.host_mac);
        let frame = datagram(macs, source, to, FORGED);
        lab.injector(from, "eth0").send(&frame).expect("send");
    }
    let rows = [
        ("va2 > - punt rules", 1, Any),
        ("va1 > - punt rules", 1, Any),
    ];
    lab.assert_counted("H", &before, &rows);
}

/// Subnets' broadcast addresses, and prefixes that the machine takes in as a whole, are its own as well.
#[test]
fn nobody_outside_speaks_for_a_broadcast_address_or_a_prefix_of_the_machine() {
    on_a_machine(|lab| {
        let prefixes = ["10.9.0.0/24", "fd09::/64"];
        let inside = ["10.9.0.77", "fd09::77"];
        let machine = netpath::netns::Netns::current().expect("namespace");
        let before = netpath_tests::lab::portrait(&machine);
        // The first has them from the beginning, the second gets them later.
        for later in [false, true] {
            if later {
                lab.converge();
            }
            for prefix in prefixes {
                run(&format!("ip route add local {prefix} dev lo"));
            }
            if later {
                assert_eq!(drift(lab, "H"), ["own_prefix_unknown"; 2]);
                assert_eq!(lab.plan().len(), 1);
            }
            lab.converge();
            assert_eq!(lab.plan(), Vec::<String>::new());
            assert_eq!(drift(lab, "H"), Vec::<String>::new());
            let wire = machines_wire(lab);
            for source in inside.iter().chain(&["100.100.198.255", "192.0.2.255"]) {
                wire.assert_forged(address(source));
            }
            // What is for them is the kernel's, and honest.
            for (family, inside) in inside.iter().map(|text| address(text)).enumerate() {
                let before = lab.traffic("H");
                lab.assert_reaches("a1", inside, 64);
                lab.assert_counted("H", &before, &[("va1 > - punt node_address", 3, Any)]);
                lab.assert_reaches("a1", addresses("b1")[family], 63);
            }
            for prefix in prefixes {
                run(&format!("ip route del local {prefix} dev lo"));
            }
            assert_eq!(drift(lab, "H"), ["own_prefix_gone"; 2]);
            lab.fast_path(true, "H", None);
            assert_eq!(drift(lab, "H"), Vec::<String>::new());
            assert_eq!(
                lab.features("H") & netpath_common::FeatureBits::LOCAL_PREFIXES,
                0
            );
            lab.down();
            netpath_tests::lab::assert_same_portrait(
                &netpath_tests::lab::portrait(&machine),
                &before,
                "down",
            );
        }
    });
}

/// A destination of the file that the machine takes in itself is the machine's: table local is asked first.
#[test]
fn a_destination_that_the_machine_takes_in_is_its_own() {
    on_a_machine(|lab| {
        lab.converge();
        run("ip route add local 10.0.3.0/25 dev lo");
        run("ip route add local 10.0.4.0/23 dev lo");
        run("ip route add local fd00:3::/64 dev lo");
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
        assert_eq!(drift(lab, "H"), Vec::<String>::new());
        let wire = machines_wire(lab);
        for source in ["10.0.3.9", "10.0.4.9", "10.0.5.9", "fd00:3::9"] {
            let before = lab.traffic("H");
            let to = addresses("a1")[usize::from(source.contains(':'))];
            let frame = datagram(wire.macs, address(source), to, FORGED);
            lab.injector("P", "eth0").send(&frame).expect("send");
            lab.assert_counted("H", &before, &[("up0 > - drop spoofed", 1, Any)]);
        }
        for route in ["10.0.3.0/25", "10.0.4.0/23", "fd00:3::/64"] {
            run(&format!("ip route del local {route} dev lo"));
        }
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
        for family in [0, 1] {
            lab.assert_reaches("a1", addresses("b1")[family], 63);
        }
    });
}

/// A lab's uplink has a broadcast address, too, from the first moment on.
#[test]
fn a_labs_broadcast_address_is_its_own() {
    let mut lab = Lab::up(TWO_NODES);
    assert_eq!(lab.plan(), Vec::<String>::new());
    let broadcast = address("100.100.198.255");
    assert_eq!(entry(&lab, "B", broadcast), Some(EndpointEntry::NODE));
    labs_wire(&lab).assert_forged(broadcast);
    // With another address it has another.
    lab.edit(
        "100.100.198.253/24\", \"fd00:198::253/64",
        "100.100.198.253/25\", \"fd00:198::253/64",
    );
    lab.converge();
    assert_eq!(lab.plan(), Vec::<String>::new());
    assert_eq!(
        entry(&lab, "B", address("100.100.198.255")),
        Some(EndpointEntry::NODE)
    );
    lab.down();
}

/// An address that the file names no more stays the machine's.
#[test]
fn an_uplinks_address_that_leaves_the_file_is_the_machines_still() {
    on_a_machine(|lab| {
        run("ip addr add 10.7.7.7/32 dev up0");
        let addresses = r#"addresses = ["100.100.198.250/24", "fd00:198::250/64""#;
        lab.edit(addresses, &format!("{addresses}, \"10.7.7.7/32\""));
        lab.converge();
        lab.edit(", \"10.7.7.7/32\"", "");
        assert_eq!(lab.converge().len(), 1);
        assert_eq!(lab.plan(), Vec::<String>::new());
        assert_eq!(
            entry(lab, "H", address("10.7.7.7")),
            Some(EndpointEntry::NODE)
        );
        machines_wire(lab).assert_forged(address("10.7.7.7"));
    });
}

#[test]
fn the_same_in_a_lab() {
    let lab = Lab::up(TWO_NODES);
    for other in OTHERS {
        lab.ip(
            "B",
            &format!("addr add {} dev lo {}", host(other), nodad(other)),
        );
    }
    assert_eq!(drift(&lab, "B"), ["own_address_unknown"; 2]);
    assert_eq!(drift(&lab, "A"), Vec::<String>::new());
    assert_eq!(lab.converge().len(), 1);
    assert_eq!(lab.plan(), Vec::<String>::new());
    for other in OTHERS {
        labs_wire(&lab).assert_forged(address(other));
        let from = PingOptions::default();
        assert!(lab.ping("B", address(other), &from).is_clean());
    }
    lab.down();
}

/// More addresses than the maps hold are told before anything is touched, with what makes room.
/// What the machine takes in as a whole is in the same maps as what is routed.
#[test]
fn a_machine_with_more_prefixes_than_fit_is_refused() {
    on_a_machine(|lab| {
        lab.edit("netns = \"host\"", "netns = \"host\"\nmax_routes = 3");
        let prefixes = ["10.50.0.0/24", "10.51.0.0/24"];
        for prefix in prefixes {
            run(&format!("ip route add local {prefix} dev lo"));
        }
        // The file has two, which fit.
        let error = refused(lab).to_string();
        let words = "have 4 IPv4 prefixes, and its maps have room for 3: set max_routes of the node to 4 or more";
        assert!(error.contains(words), "{error}");
        lab.assert_nothing_left();
        run(&format!("ip route del local {} dev lo", prefixes[1]));
        lab.converge();
        // Nor do those of one more endpoint, and of what comes later.
        let (name, node) = (lab.name("a3"), lab.name("H"));
        let add = |prefixes: &[&str]| {
            let mut command = netpath(&["endpoint", "add", &name, "--node", &node]);
            command.args(["--address", "10.0.9.2/24"]);
            command.args(prefixes.iter().flat_map(|prefix| ["--prefix", prefix]));
            command.output().expect("start")
        };
        assert_ends(&add(&["10.9.0.0/28"]), 2, &[words]);
        lab.edit("max_routes = 3", "max_routes = 4");
        lab.converge();
        assert_ends(&add(&["10.9.0.0/28"]), 0, &[]);
        run(&format!("ip route add local {} dev lo", prefixes[1]));
        assert_ends(
            &run_netpath(&["fastpath", "on"]),
            2,
            &["have 5 IPv4 prefixes"],
        );
        assert!(
            lab.shown("H")
                .contains(&"too_many_prefixes of node H".to_owned())
        );
        run(&format!("ip route del local {} dev lo", prefixes[1]));
        assert_eq!(lab.converge(), Vec::<String>::new());
        assert_ends(&run_netpath(&["endpoint", "remove", &name]), 0, &[]);
    });
}

#[test]
fn a_machine_with_more_addresses_than_fit_is_refused() {
    on_a_machine(|lab| {
        lab.edit("netns = \"host\"", "netns = \"host\"\nmax_endpoints = 4");
        // 32,768 beside those of endpoints: all whole, as somebody does who takes in what is for a load balancer.
        let lines: String = (0..32_774u32)
            .map(|number| {
                format!(
                    "route add local {} dev lo\n",
                    IpAddr::from((0x0b00_0000 + number).to_be_bytes())
                )
            })
            .collect();
        let file = std::env::temp_dir().join(format!("{}-routes", lab.prefix()));
        std::fs::write(&file, lines).expect("its own file");
        run(&format!("ip -batch {}", file.display()));
        std::fs::remove_file(&file).expect("its own file");
        let error = lab.try_converge().expect_err("a refusal");
        assert!(error.is_refusal(), "{error:?}");
        let text = error.to_string();
        // Two endpoints, an uplink and a bridge have one each, and the last two a subnet with a broadcast address.
        assert!(
            text.contains("have 32780 IPv4 addresses") && text.contains("room for 32772"),
            "{text}"
        );
        assert!(
            text.contains("set max_endpoints of the node to 12 or more"),
            "{text}"
        );
        lab.assert_nothing_left();
        lab.edit("max_endpoints = 4", "max_endpoints = 12");
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
        machines_wire(lab).assert_forged(address("11.0.63.1"));
        run("ip route add local 12.0.0.1 dev lo");
        let output = netpath(&["fastpath", "on"]).output().expect("start");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("32781 IPv4 addresses"), "{told}");
        assert_eq!(output.status.code(), Some(2), "{told}");
        lab.fast_path(false, "H", None);
        run("ip route del local 12.0.0.1 dev lo");
        lab.fast_path(true, "H", None);
    });
}

/// What only listens to an address of the machine's goes on being reached from outside.
#[test]
fn a_service_at_such_an_address_is_reached() {
    on_a_machine(|lab| {
        OTHERS.iter().for_each(|address| add(address));
        lab.converge();
        for (family, other) in OTHERS.into_iter().map(address).enumerate() {
            let server = UdpSocket::bind((other, HONEST)).expect("a socket");
            let wait = Some(Duration::from_secs(3));
            server.set_read_timeout(wait).expect("a time limit");
            let source = addresses("b1")[family];
            route_there(lab, OTHERS[family]);
            lab.inside("P", || {
                let client = UdpSocket::bind((source, 0)).expect("a socket");
                client.send_to(&PAYLOAD, (other, HONEST)).expect("send");
            });
            let mut payload = [0; 64];
            let (length, sender) = server.recv_from(&mut payload).expect("it arrives");
            assert_eq!((&payload[..length], sender.ip()), (&PAYLOAD[..], source));
        }
    });
}
