//! MTUs of endpoints: the file's, or the least of the node's uplinks'; shown, and mended where somebody changes them.

use netpath_tests::lab::{HOST, Lab, ONE_NODE, addresses, on_a_machine, run, sized};

const UPLINK: &str = "uplink = [";
const A2: &str = r#"host_dev = "va2""#;

/// What `show` says of a1 and a2, which both ends of their veths have.
fn mtus(lab: &Lab, node: &str) -> Vec<u32> {
    let mut mtus = Vec::new();
    for endpoint in lab.status(node).endpoints {
        let mtu = endpoint.interface.mtu.expect("there");
        let short = endpoint.name.trim_start_matches(lab.prefix());
        for (place, dev) in [(node, endpoint.interface.dev.as_str()), (short, "eth0")] {
            let link = lab.ip(place, &format!("-o link show dev {dev}"));
            assert!(link.contains(&format!(" mtu {mtu} ")), "{mtu}: {link}");
        }
        mtus.push(mtu);
    }
    mtus
}

fn assert_settled(lab: &Lab, node: &str, expected: [u32; 2]) {
    assert_eq!(mtus(lab, node), expected);
    assert_eq!(lab.told(node), [""; 0]);
    assert_eq!(lab.plan(), Vec::<String>::new());
}

/// What fits passes from a1 to a2, and of one byte more a1 hears how much would.
fn assert_limit(lab: &Lab, limit: u32) {
    for dst in addresses("a2") {
        let report = lab.ping("a1", dst, &sized(limit, dst));
        assert!(report.is_clean(), "{report:?}");
        let report = lab.ping("a1", dst, &sized(limit + 1, dst));
        let told: Vec<_> = report.errors.iter().map(|error| error.mtu()).collect();
        assert_eq!(
            (report.received, told),
            (0, vec![Some(limit)]),
            "{report:?}"
        );
        lab.ip("a1", "route flush cache");
        lab.ip("a1", "-6 route flush cache");
    }
}

#[test]
fn an_endpoint_has_the_mtu_of_the_file_or_of_the_uplinks() {
    on_a_machine(|lab| {
        run("ip link set up0 mtu 1400");
        lab.converge();
        assert_settled(lab, "H", [1400; 2]);
        // It follows the uplink, also upwards.
        for mtu in [1450, 1380, 9000] {
            run(&format!("ip link set up0 mtu {mtu}"));
            assert_eq!(lab.told("H"), ["mtu_other"; 2]);
            let plan = lab.plan();
            assert_eq!(lab.converge(), plan);
            assert_settled(lab, "H", [mtu; 2]);
        }

        lab.rewrite(&HOST.replace(UPLINK, &format!("mtu = 1350\n{UPLINK}")));
        let changes = [
            "~ endpoint a1 on H: MTU 1350",
            "~ endpoint a2 on H: MTU 1350",
        ];
        assert_eq!(lab.plan(), changes);
        assert_eq!(lab.converge(), changes);
        assert_settled(lab, "H", [1350; 2]);
        lab.edit(A2, &format!("{A2}, mtu = 1300"));
        assert_eq!(lab.converge(), ["~ endpoint a2 on H: MTU 1300"]);
        assert_settled(lab, "H", [1350, 1300]);
        assert_limit(lab, 1300);

        // Somebody changes both ends, or one.
        lab.ip("H", "link set va1 mtu 1500");
        lab.ip("a1", "link set eth0 mtu 1500");
        assert_eq!(lab.told("H"), ["mtu_other"]);
        assert_eq!(
            lab.converge(),
            ["~ endpoint a1 on H: the MTU of interface va1 is 1500, not 1350"]
        );
        lab.ip("a2", "link set eth0 mtu 1290");
        assert_eq!(lab.told("H"), ["mtu_differs"]);
        lab.converge();
        assert_settled(lab, "H", [1350, 1300]);
        assert_limit(lab, 1300);

        run("ip link set up0 mtu 1500");
        lab.rewrite(HOST);
        let changes = [
            "~ endpoint a1 on H: the MTU of its uplinks",
            "~ endpoint a2 on H: the MTU of its uplinks",
        ];
        assert_eq!(lab.converge(), changes);
        assert_settled(lab, "H", [1500; 2]);
    });
}

#[test]
fn the_least_of_two_uplinks_counts() {
    on_a_machine(|lab| {
        run("ip link add up1 type veth peer name far1");
        for line in ["set far1 up", "set up1 up"] {
            run(&format!("ip link {line}"));
        }
        run("ip addr add 192.0.3.1/24 dev up1");
        lab.rewrite(&HOST.replace(UPLINK, &format!("{UPLINK}{{ dev = \"up1\" }}, ")));
        let mut is_up = false;
        // Whichever stands first in the file, or has the lower index.
        for [first, second] in [[1400, 1300], [1350, 1500], [1500, 1450], [9000, 1320]] {
            run(&format!("ip link set up0 mtu {first}"));
            run(&format!("ip link set up1 mtu {second}"));
            if is_up {
                assert_eq!(lab.told("H"), ["mtu_other"; 2]);
            }
            lab.converge();
            is_up = true;
            let least = first.min(second);
            assert_settled(lab, "H", [least; 2]);
            for dst in addresses("a2") {
                let report = lab.ping("a1", dst, &sized(least, dst));
                assert!(report.is_clean(), "{report:?}");
            }
        }
    });
}

/// With less than 1280 bytes the kernel has no IPv6 on an interface, and an endpoint without IPv6 needs none.
#[test]
fn an_ipv4_endpoint_may_have_less_than_ipv6_needs() {
    let text = |mtu: u32| {
        let only_v4 = format!(r#"["10.0.2.2/24"], mtu = {mtu}"#);
        ONE_NODE.replace(r#"["10.0.2.2/24", "fd00:2::2/64"]"#, &only_v4)
    };
    let mut lab = Lab::up(&text(600));
    let [a2, _] = addresses("a2");
    for mtu in [600, 1500, 68, 1300] {
        lab.rewrite(&text(mtu));
        lab.converge();
        assert_settled(&lab, "A", [1500, mtu]);
        let report = lab.ping("a1", a2, &sized(mtu.min(1500), a2));
        assert!(report.is_clean(), "{mtu}: {report:?}");
        lab.fast_path(false, "A", None);
        lab.fast_path(true, "A", None);
    }
    lab.down();
}
