//! Uplinks of every kind that a kernel has, with an Ethernet header before their packets and without: the fast path takes
//! both directions, and whatever it leaves to the kernel is answered as on Ethernet.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    time::Duration,
};

use netpath::Ends as _;
use netpath::probe::{
    capture::CapturedFrame,
    frame::ParsedFrame,
    ping::PingOptions,
    tcp::{TransferOptions, tcp_transfer},
};
use netpath_tests::{
    kernel::Feature,
    lab::{
        Bytes::Any, Lab, Made, UplinkKind, addresses, in_mode, is_in_mode, on_a_machine,
        on_two_machines, run, sized,
    },
    netpath,
};

/// Every hop of a ping from one machine's endpoint to the other's is the fast path's.
fn assert_fast(here: &Lab, there: &Lab, kind: &UplinkKind) {
    for &family in kind.families() {
        let before = [here, there].map(|lab| lab.traffic("H"));
        here.assert_reaches("a1", addresses("b1")[family], 62);
        there.assert_reaches("b2", addresses("a2")[family], 62);
        let counted = |lab: &Lab, before, own: [&str; 2]| {
            let rows = own.map(|own| {
                [
                    format!("v{own} > up0 redirect_neigh"),
                    format!("up0 > v{own} redirect_peer"),
                ]
            });
            let rows: Vec<_> = rows
                .as_flattened()
                .iter()
                .map(|it| (it.as_str(), 3, Any))
                .collect();
            lab.assert_counted("H", before, &rows);
        };
        counted(here, &before[0], ["a1", "a2"]);
        counted(there, &before[1], ["b1", "b2"]);
    }
}

/// Much of both families passes whole, in either direction.
fn assert_carries_streams(here: &Lab, there: &Lab, kind: &UplinkKind) {
    for &family in kind.families() {
        for (from, lab, to, other) in [("a1", here, "b1", there), ("b1", there, "a1", here)] {
            let options = TransferOptions {
                deadline: Duration::from_secs(30),
                ..TransferOptions::new(addresses(to)[family])
            };
            let report = tcp_transfer(&lab.netns(from), &other.netns(to), &options);
            let report = report.unwrap_or_else(|error| panic!("{}: {error}", kind.name));
            assert_eq!(report.peer.ip(), addresses(from)[family]);
        }
    }
}

/// What the other machine sends with an address of an endpoint here goes nowhere, and is counted.
fn assert_refuses_forged(here: &Lab, there: &Lab, kind: &UplinkKind) {
    for &family in kind.families() {
        let [a1, a2] = ["a1", "a2"].map(|of| addresses(of)[family]);
        there.ip("H", &format!("addr add {a2} dev lo"));
        let mut seen = here.capture("a1", "eth0");
        let before = here.traffic("H");
        let options = PingOptions {
            src: Some(a2),
            count: 5,
            interval: Duration::ZERO,
            timeout: Duration::from_millis(100),
            ..PingOptions::default()
        };
        let report = there.ping("H", a1, &options);
        assert_eq!((report.sent, report.received), (5, 0), "{report:?}");
        here.assert_counted("H", &before, &[("up0 > - drop spoofed", 5, Any)]);
        let is_forged = |frame: &CapturedFrame| {
            let frame = ParsedFrame::parse(&frame.bytes).ok();
            frame.is_some_and(|frame| frame.ip().is_ok_and(|ip| ip.source == a2))
        };
        let arrived = seen.wait_for(is_forged, Duration::ZERO).expect("capture");
        assert_eq!(arrived, None, "{}", kind.name);
        there.ip("H", &format!("addr del {a2} dev lo"));
    }
}

/// The endpoints have the uplink's MTU. Behind a wider veth, what is too long for the uplink is answered with its MTU.
fn assert_tells_its_mtu(here: &Lab, kind: &UplinkKind) {
    let mtus: Vec<_> = here
        .status("H")
        .endpoints
        .iter()
        .map(|it| it.interface.mtu)
        .collect();
    assert_eq!(mtus, [Some(kind.mtu); 2], "{}", kind.name);
    here.ip("H", "link set va1 mtu 9000");
    here.ip("a1", "link set eth0 mtu 9000");
    for &family in kind.families() {
        let dst = addresses("b1")[family];
        let before = here.traffic("H");
        let report = here.ping("a1", dst, &sized(kind.mtu, dst));
        assert!(report.is_clean(), "{}: {report:?}", kind.name);
        let report = here.ping("a1", dst, &sized(kind.mtu + 1, dst));
        let told: Vec<_> = report.errors.iter().map(|error| error.mtu()).collect();
        assert_eq!(
            (report.received, told),
            (0, vec![Some(kind.mtu)]),
            "{}: {report:?}",
            kind.name
        );
        let rows = [
            ("va1 > up0 redirect_neigh", 1, Any),
            ("up0 > va1 redirect_peer", 1, Any),
            ("va1 > - punt mtu_exceeded", 1, Any),
        ];
        here.assert_counted("H", &before, &rows);
    }
    here.converge();
}

/// What may not live any longer is answered, by the machine that it comes to.
fn assert_tells_of_hops(here: &Lab, there: &Lab, kind: &UplinkKind) {
    for &family in kind.families() {
        for (ttl, lab, row) in [
            (1, here, "va1 > - punt ttl_exceeded"),
            (2, there, "up0 > - punt ttl_exceeded"),
        ] {
            let before = lab.traffic("H");
            let options = PingOptions {
                ttl: Some(ttl),
                ..PingOptions::default()
            };
            let report = here.ping("a1", addresses("b1")[family], &options);
            let kinds: Vec<_> = report.errors.iter().map(|error| error.kind).collect();
            let exceeded = [11, 3][family];
            assert_eq!(
                (report.received, kinds),
                (0, vec![exceeded]),
                "{}: {report:?}",
                kind.name
            );
            let difference = lab.traffic("H").since(&before);
            assert_eq!(difference.row(row).0, 1, "{}: {difference:?}", kind.name);
        }
    }
}

fn assert_works(kind: &UplinkKind) {
    if kind.needs.is_some_and(|feature| !feature.is_there()) {
        return;
    }
    println!("an uplink by {}", kind.name);
    on_two_machines(kind, |here, there| {
        for lab in [here as &Lab, there] {
            let told = lab.inside("H", || lab.told("H"));
            assert_eq!(told, [""; 0], "{}", kind.name);
            let plan = lab.inside("H", || lab.plan());
            assert_eq!(plan, Vec::<String>::new(), "{}", kind.name);
        }
        assert_fast(here, there, kind);
        assert_carries_streams(here, there, kind);
        assert_refuses_forged(here, there, kind);
        assert_tells_its_mtu(here, kind);
        assert_tells_of_hops(here, there, kind);
        here.fast_path(false, "H", None);
        here.fast_path(true, "H", None);
        assert_fast(here, there, kind);
    });
}

#[test]
fn framed_uplinks() {
    UplinkKind::FRAMED.iter().for_each(assert_works);
}

#[test]
fn bare_uplinks() {
    UplinkKind::BARE.iter().for_each(assert_works);
}

#[test]
fn a_tun_by_clsact() {
    in_mode("by_tun", "clsact");
}

#[test]
#[ignore = "a process for the other test"]
fn by_tun() {
    if is_in_mode() {
        assert_works(&UplinkKind::TUN);
    }
}

/// A tunnel whose own path takes less than it takes itself says so to whoever sent the packet, as it does behind the kernel's
/// own forwarding.
#[test]
fn a_tunnels_own_path_is_told() {
    for kind in [&UplinkKind::IPIP, &UplinkKind::SIT] {
        if !Feature::Tunnels.is_there() {
            return;
        }
        on_two_machines(kind, |here, there| {
            assert_fast(here, there, kind);
            here.ip("H", "route add 192.0.2.2/32 dev nic0 mtu 1400");
            for &family in kind.families() {
                let dst = addresses("b1")[family];
                let before = here.traffic("H");
                let report = here.ping("a1", dst, &sized(1381, dst));
                let told: Vec<_> = report.errors.iter().map(|error| error.mtu()).collect();
                assert_eq!(told, [Some(1380)], "{}: {report:?}", kind.name);
                here.assert_counted("H", &before, &[("va1 > up0 redirect_neigh", 1, Any)]);
                let report = here.ping("a1", dst, &sized(1380, dst));
                assert!(report.is_clean(), "{}: {report:?}", kind.name);
            }
        });
    }
}

/// A tunnel that asks the kernel's route of each packet for its other end: what leaves by it is left to the kernel.
#[test]
fn a_tunnel_without_a_remote_is_the_kernels_to_send_by() {
    if !Feature::Tunnels.is_there() {
        return;
    }
    const MANY: UplinkKind = UplinkKind {
        made: Made::By(&["ip link add up0 type ipip local %own"]),
        ..UplinkKind::IPIP
    };
    on_two_machines(&MANY, |here, _| {
        let [dst, _] = addresses("b1");
        let before = here.traffic("H");
        here.assert_loses("a1", dst);
        here.assert_counted("H", &before, &[("va1 > - punt fib_unsupported", 1, Any)]);
    });
}

/// GRE without a remote leaves the outer header before what it receives, and nobody would check the source in it.
#[test]
fn gre_without_a_remote_is_refused() {
    if !Feature::MoreTunnels.is_there() {
        return;
    }
    on_a_machine(|lab| {
        run("ip link add gre9 type gre local 100.100.198.250 key 9");
        run("ip addr add 10.9.9.9/24 dev gre9");
        run("ip link set gre9 up");
        lab.edit(
            "uplink = [",
            "uplink = [{ dev = \"gre9\", addresses = [\"10.9.9.9/24\"] }, ",
        );
        let error = lab.try_converge().expect_err("a refusal");
        let told = error.to_string();
        assert!(error.is_refusal(), "{told}");
        assert!(
            told.contains("has a header that netpath does not know"),
            "{told}"
        );
        run("ip link del gre9");
        run("ip link add gre9 type gre local 100.100.198.250 remote 100.100.198.253 key 9");
        run("ip addr add 10.9.9.9/24 dev gre9");
        run("ip link set gre9 up");
        lab.converge();
        assert_eq!(lab.told("H"), [""; 0]);
    });
}

/// What `fastpath on --debug-datapath` tells, in the first machine's namespace, of what happens meanwhile.
fn logged(lab: &Lab, work: impl FnOnce()) -> String {
    let node = lab.name("H");
    let start = || {
        let arguments = ["fastpath", "on", "--node", &node, "--debug-datapath"];
        netpath(&arguments).spawn().expect("start netpath")
    };
    let mut child = lab.inside("H", start);
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut told = String::new();
    while !told.contains("every packet is logged") {
        assert_ne!(stderr.read_line(&mut told).expect("stderr"), 0, "{told}");
    }
    work();
    // What is logged is read at once; the last of it may be on its way.
    std::thread::sleep(Duration::from_millis(300));
    run(&format!("kill -INT {}", child.id()));
    stderr.read_to_string(&mut told).expect("stderr");
    assert!(child.wait().expect("wait").success(), "{told}");
    told.replace(lab.prefix(), "")
}

#[test]
fn what_comes_by_a_tun_is_logged_with_its_addresses() {
    on_two_machines(&UplinkKind::TUN, |here, there| {
        let told = logged(here, || {
            for family in [0, 1] {
                let [a1, b1] = ["a1", "b1"].map(|of| addresses(of)[family]);
                there.assert_reaches("b1", a1, 62);
                let short = PingOptions {
                    ttl: Some(2),
                    ..PingOptions::default()
                };
                assert_eq!(there.ping("b1", a1, &short).errors.len(), 1, "{b1}");
            }
        });
        for words in [
            "H: up0 > va1 redirect_peer, 84 bytes, 10.0.3.2 > 10.0.1.2, endpoint a1",
            "H: up0 > va1 redirect_peer, 104 bytes, fd00:3::2 > fd00:1::2, endpoint a1",
            "H: up0 punt ttl_exceeded, 84 bytes, 10.0.3.2 > 10.0.1.2",
            "H: up0 punt ttl_exceeded, 104 bytes, fd00:3::2 > fd00:1::2",
        ] {
            assert!(told.contains(words), "no {words:?} in {told}");
        }
    });
}
