//! Machines on which IPv6 is switched off, or not there at all: what has IPv6 addresses is switched on, on netpath's own
//! interfaces; what has none needs nothing of IPv6, and nothing of it is touched.

use std::{fs, net::IpAddr, path::PathBuf, process::Command};

use netpath_tests::{
    binary,
    lab::{HOST, Lab, ONE_NODE, addresses, on_a_machine, refused, run},
};

/// [`HOST`] without IPv6.
const HOST_V4: &str = r#"
[[node]]
name = "@H"
netns = "host"
bypass = ["forward"]
uplink = [{ dev = "up0", addresses = ["100.100.198.250/24"] }]
route = [
    { dst = "10.0.3.0/24", via = "100.100.198.253" },
    { dst = "10.0.4.0/24", via = "100.100.198.253" },
]
endpoint = [
    { name = "@a1", addresses = ["10.0.1.2/24"], host_dev = "va1" },
    { name = "@a2", addresses = ["10.0.2.2/24"], host_dev = "va2" },
]
"#;

fn reaches(lab: &Lab) {
    for (from, to) in [("a1", "a2"), ("a2", "a1")] {
        for dst in addresses(to) {
            lab.assert_reaches(from, dst, 63);
        }
    }
}

/// To a2, and to the other side of the uplink.
fn reaches_by_ipv4(lab: &Lab) {
    let [a2, _] = addresses("a2");
    for dst in [a2, IpAddr::from([10, 0, 3, 2])] {
        lab.assert_reaches("a1", dst, 63);
    }
}

fn sysctl(lab: &Lab, place: &str, key: &str) -> String {
    let path = format!("/proc/sys/net/{key}");
    let value = lab.inside(place, || fs::read_to_string(&path));
    value.expect(key).trim_end().to_owned()
}

fn assert_mended(lab: &Lab, node: &str) {
    assert!(!lab.told(node).is_empty());
    let plan = lab.plan();
    assert!(!plan.is_empty());
    assert_eq!(lab.converge(), plan);
    assert_eq!(lab.plan(), Vec::<String>::new());
    assert_eq!(lab.told(node), [""; 0]);
    reaches(lab);
}

#[test]
fn ipv6_that_somebody_switches_off_is_switched_on_again() {
    let lab = Lab::up(ONE_NODE);
    reaches(&lab);
    // The node's and the endpoint's, as a whole and of one interface.
    for (place, scope) in [("A", "all"), ("a1", "all"), ("A", "va1"), ("a2", "eth0")] {
        lab.set_sysctl(place, &format!("ipv6/conf/{scope}/disable_ipv6"), "1");
        assert_mended(&lab, "A");
    }
    // Interfaces that are made anew begin without.
    for place in ["A", "a1"] {
        lab.set_sysctl(place, "ipv6/conf/default/disable_ipv6", "1");
    }
    lab.ip("A", "link del va1");
    lab.ip("a2", "link del eth0");
    assert_mended(&lab, "A");
}

/// New interfaces of the machine have no IPv6; its uplink does.
#[test]
fn a_machine_whose_new_interfaces_have_no_ipv6() {
    on_a_machine(|lab| {
        lab.set_sysctl("H", "ipv6/conf/default/disable_ipv6", "1");
        lab.converge();
        assert_eq!(lab.told("H"), [""; 0]);
        assert_eq!(sysctl(lab, "H", "ipv6/conf/va1/disable_ipv6"), "0");
        reaches(lab);
        lab.fast_path(false, "H", None);
        run("iptables -w -P FORWARD ACCEPT");
        run("ip6tables -w -P FORWARD ACCEPT");
        reaches(lab);
        assert_eq!(sysctl(lab, "H", "ipv6/conf/default/disable_ipv6"), "1");
    });
}

#[test]
fn without_ipv6_addresses_nothing_of_ipv6_is_needed_or_touched() {
    // All of it off, and new interfaces without; a machine that is an IPv6 host, and no router.
    for [disabled, starts] in [["1", "1"], ["0", "1"], ["0", "0"]] {
        on_a_machine(|lab| {
            lab.rewrite(HOST_V4);
            lab.set_sysctl("H", "ipv6/conf/all/forwarding", "0");
            lab.set_sysctl("H", "ipv6/conf/all/disable_ipv6", disabled);
            lab.set_sysctl("H", "ipv6/conf/default/disable_ipv6", starts);
            let machine = ["all", "default", "up0", "lo"];
            let portrait = |lab: &Lab| -> Vec<String> {
                let keys = machine.iter().flat_map(|dev| {
                    ["disable_ipv6", "forwarding", "accept_ra"]
                        .map(|key| format!("ipv6/conf/{dev}/{key}"))
                });
                keys.map(|key| sysctl(lab, "H", &key)).collect()
            };
            let before = portrait(lab);
            lab.converge();
            assert_eq!(lab.told("H"), [""; 0]);
            assert_eq!(lab.plan(), Vec::<String>::new());
            reaches_by_ipv4(lab);
            assert_eq!(portrait(lab), before);
            for (place, dev) in [("H", "va1"), ("a1", "eth0")] {
                let is = |key| sysctl(lab, place, &format!("ipv6/conf/{dev}/{key}"));
                if place == "H" {
                    assert_eq!([is("disable_ipv6"), is("forwarding")], [starts, "0"]);
                    // A pod is nobody's router.
                    assert_eq!(is("accept_ra"), "0");
                    assert_eq!(lab.ip("H", "-6 -o addr show dev va1"), "");
                }
            }
            // Of each interface.
            assert_eq!(lab.fast_path(false, "H", None).len(), 3);
            assert_eq!(lab.fast_path(true, "H", None).len(), 3);
            lab.down();
            assert_eq!(portrait(lab), before);
        });
    }
}

/// Nothing below /proc/sys/net/ipv6, in the calling thread's namespace, as where the kernel has no IPv6. What the kernel
/// itself says without IPv6 only another boot shows.
struct NoSysctls(PathBuf);

impl NoSysctls {
    fn new(lab: &Lab) -> Self {
        let empty = std::env::temp_dir().join(format!("{}-empty", lab.prefix()));
        fs::create_dir(&empty).expect("a directory");
        run(&format!(
            "mount --bind {} /proc/sys/net/ipv6",
            empty.display()
        ));
        Self(empty)
    }
}

impl Drop for NoSysctls {
    fn drop(&mut self) {
        run("umount /proc/sys/net/ipv6");
        fs::remove_dir(&self.0).expect("empty");
    }
}

#[test]
fn where_there_is_no_ipv6_a_file_without_it_works_and_one_with_it_is_refused() {
    on_a_machine(|lab| {
        let absent = NoSysctls::new(lab);
        let error = refused(lab).to_string();
        assert_eq!(
            error,
            "this machine: the kernel has no IPv6, and the topology file does: leave IPv6 out of the topology file, or boot \
             without `ipv6.disable=1`"
        );
        lab.rewrite(HOST_V4);
        let plan = lab.plan();
        assert_eq!(lab.converge(), plan);
        assert_eq!(lab.told("H"), [""; 0]);
        assert_eq!(lab.plan(), Vec::<String>::new());
        reaches_by_ipv4(lab);
        lab.fast_path(false, "H", None);
        lab.fast_path(true, "H", None);
        let node = lab.name("H");
        for arguments in [["stats", "--node", &node], ["maps", "--node", &node]] {
            let output = Command::new(binary()).args(arguments).output();
            let output = output.expect("start");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{arguments:?}: {stderr}");
        }
        lab.down();
        drop(absent);
        // It is there again.
        lab.rewrite(HOST);
        lab.converge();
        reaches(lab);
    });
}
