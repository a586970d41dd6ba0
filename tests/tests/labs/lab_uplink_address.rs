//! An uplink's address comes and goes, as with each DHCP rebind: the routes to endpoints stay, and so does their traffic.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use netpath::probe::{
    frame::ParsedFrame,
    ping::PingOptions,
    stream::{StreamOptions, udp_stream},
};
use netpath_tests::lab::{Deadline, HOST, Lab, addresses, on_a_machine, run};

/// [`HOST`] that leaves the uplink's addresses to the machine.
fn without_addresses() -> String {
    let listed = r#", addresses = ["100.100.198.250/24", "fd00:198::250/64"]"#;
    assert!(HOST.contains(listed));
    HOST.replace(listed, "")
}

/// The machine's routes to its endpoints.
fn pod_routes() -> Vec<String> {
    let lines = ["va1", "va2"]
        .map(|dev| [4, 6].map(|family| run(&format!("ip -{family} route show dev {dev}"))));
    lines.concat()
}

/// From where an endpoint sees the machine's own pings come.
fn source(lab: &Lab, to: IpAddr) -> IpAddr {
    let mut capture = lab.capture("a1", "eth0");
    let options = PingOptions {
        timeout: Duration::from_secs(3),
        ..PingOptions::default()
    };
    let report = lab.ping("H", to, &options);
    assert!(report.is_clean(), "{report:?}");
    let mut source = None;
    let found = capture.wait_for(
        |frame| {
            let frame = ParsedFrame::parse(&frame.bytes).ok();
            let ip = frame.and_then(|frame| frame.ip().ok());
            // The last header of the packet itself: what is told of neighbours has another.
            let ip = ip.filter(|ip| ip.destination == to && !ip.payload.is_empty());
            source = ip.map(|ip| ip.source);
            source.is_some()
        },
        Duration::from_secs(3),
    );
    found.expect("capture").expect("the ping");
    source.expect("a source")
}

const ADDRESSES: [&str; 2] = ["100.100.198.250/24", "fd00:198::250/64"];

fn take_addresses_away() {
    for address in ADDRESSES {
        run(&format!("ip addr del {address} dev up0"));
    }
}

fn give_addresses_back() {
    give(&ADDRESSES);
}

fn give(addresses: &[&str; 2]) {
    for address in addresses {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        run(&format!("ip addr add {address} dev up0{nodad}"));
    }
    // What is sent to an IPv6 address comes in a moment later.
    let deadline = Deadline::new();
    let (v6, _) = addresses[1].split_once('/').expect("a length");
    while !run("ip -6 route show table local dev up0").contains(v6) {
        deadline.check(|| "the address is not local".to_owned());
    }
}

/// Stops a thread, also when an assertion fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Does something while streams of both families pass from a1 to a2, of which nothing may be lost.
fn under_traffic(lab: &Lab, work: impl FnOnce()) {
    let (a1, a2) = (lab.netns("a1"), lab.netns("a2"));
    let done = AtomicBool::new(false);
    let started = [AtomicBool::new(false), AtomicBool::new(false)];
    thread::scope(|scope| {
        let stop = Stop(&done);
        let streams: Vec<_> = (0..2)
            .map(|family: usize| {
                let (from, to) = (addresses("a1")[family], addresses("a2")[family]);
                let (done, started, a1, a2) = (&done, &started[family], &a1, &a2);
                scope.spawn(move || {
                    while !done.load(Ordering::Acquire) {
                        let options = StreamOptions {
                            packets: 500,
                            window: Some(4),
                            deadline: Duration::from_secs(60),
                            ..StreamOptions::new(from, to)
                        };
                        let report = udp_stream(a1, a2, &options).expect("stream");
                        assert!(report.is_exact(500), "{report:?}");
                        started.store(true, Ordering::Release);
                    }
                })
            })
            .collect();
        while !started.iter().all(|it| it.load(Ordering::Acquire)) {
            assert!(
                !streams.iter().any(|it| it.is_finished()),
                "a stream failed"
            );
            thread::yield_now();
        }
        work();
        drop(stop);
    });
}

fn comes_and_goes(lab: &Lab) {
    let before = pod_routes();
    let routes = before.concat();
    assert!(
        routes.contains("10.0.1.2") && routes.contains("fd00:1::2"),
        "{before:?}"
    );
    assert!(!routes.contains("src "), "{before:?}");
    let ([v4, v6], [own4, own6]) = (addresses("a1"), addresses("A"));
    assert_eq!([source(lab, v4), source(lab, v6)], [own4, own6]);
    under_traffic(lab, || {
        for _ in 0..3 {
            take_addresses_away();
            assert_eq!(pod_routes(), before);
            // From another of the machine's, until it is back.
            assert_eq!(source(lab, v4), IpAddr::from([192, 0, 2, 1]));
            give_addresses_back();
            assert_eq!(pod_routes(), before);
        }
    });
    assert_eq!([source(lab, v4), source(lab, v6)], [own4, own6]);
}

#[test]
fn routes_to_endpoints_outlive_the_uplinks_address() {
    on_a_machine(|lab| {
        lab.converge();
        comes_and_goes(lab);
        // The same by the kernel's own path.
        for program in ["iptables", "ip6tables"] {
            run(&format!("{program} -w -P FORWARD ACCEPT"));
        }
        lab.fast_path(false, "H", None);
        comes_and_goes(lab);
        // The routes to other nodes went with the last address of the uplink, and are mended.
        assert!(
            lab.told("H")
                .iter()
                .all(|id| *id == "route_gone" || *id == "via")
        );
        lab.converge();
        assert_eq!(lab.told("H"), [""; 0]);
    });
}

/// What the gateway's address and the routes were to older versions, or somebody made of them.
#[test]
fn a_gateway_that_is_a_source_and_a_route_with_one_are_mended() {
    on_a_machine(|lab| {
        lab.converge();
        let before = pod_routes();
        for (lines, told) in [
            (
                &[
                    "ip addr del 169.254.1.1/32 dev va1",
                    "ip addr add 169.254.1.1/32 dev va1 scope link",
                    "ip route add 10.0.1.2 dev va1 proto 110 scope link",
                ][..],
                &["gateway_scope", "neighbour_gone"][..],
            ),
            (
                &["ip route change 10.0.1.2 dev va1 proto 110 scope link src 100.100.198.250"],
                &["node_route_source"],
            ),
            (
                &["ip -6 route change fd00:1::2 dev va1 proto 110 src fd00:198::250"],
                &["node_route_source"],
            ),
        ] {
            for line in lines {
                run(line);
            }
            assert_eq!(lab.told("H"), told, "{lines:?}");
            lab.converge();
            assert_eq!(lab.told("H"), [""; 0]);
            assert_eq!(pod_routes(), before);
            for (at, dst) in addresses("a1").into_iter().enumerate() {
                assert_eq!(source(lab, dst), addresses("A")[at]);
            }
        }
    });
}

/// The uplink's addresses, as `show` has them.
fn shown(lab: &Lab) -> Vec<String> {
    let addresses = &lab.status("H").uplinks[0].addresses;
    addresses.iter().map(ToString::to_string).collect()
}

/// The file may leave the addresses to the machine: whatever they are, they are its own.
#[test]
fn an_uplinks_addresses_may_be_left_out_and_change() {
    on_a_machine(|lab| {
        lab.rewrite(&without_addresses());
        lab.converge();
        assert_eq!(lab.told("H"), [""; 0]);
        assert_eq!(shown(lab), ["100.100.198.250/24", "fd00:198::250/64"]);
        comes_and_goes(lab);
        lab.converge();
        // Another lease.
        take_addresses_away();
        give(&["100.100.198.251/24", "fd00:198::251/64"]);
        // Nothing misses what the machine no longer has: only the programs are to know what it has now.
        assert_eq!(shown(lab), ["100.100.198.251/24", "fd00:198::251/64"]);
        let told = lab.told("H");
        let known = [
            "own_address_unknown",
            "own_address_gone",
            "route_gone",
            "next_hop_silent",
        ];
        assert!(told.iter().all(|id| known.contains(id)), "{told:?}");
        lab.converge();
        for (at, dst) in addresses("a1").into_iter().enumerate() {
            let own: [IpAddr; 2] =
                ["100.100.198.251", "fd00:198::251"].map(|a| a.parse().expect(a));
            assert_eq!(source(lab, dst), own[at]);
        }
    });
}
