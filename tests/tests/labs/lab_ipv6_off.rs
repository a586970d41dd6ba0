//! Machines on which IPv6 is switched off, or not there at all: what has IPv6 addresses is switched on, on netpath's own
//! interfaces; what has none needs nothing of IPv6, and nothing of it is touched.

use std::{fs, net::IpAddr, path::PathBuf};

use netpath::sysctl;
use netpath_tests::{
    command::{TempFile, run_netpath, stdout},
    lab::{Bytes, HOST, Lab, ONE_NODE, TWO_NODES, addresses, on_a_machine, refused, run},
};

/// A topology with what of it is IPv6 left out.
fn without_ipv6(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains("dst = \"fd00:"));
    lines
        .map(|line| match line.split_once(", \"fd00:") {
            Some((before, rest)) => {
                let (_, after) = rest.split_once('"').expect("the address's end");
                format!("{before}{after}\n")
            }
            None => format!("{line}\n"),
        })
        .collect()
}

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
            lab.rewrite(&without_ipv6(HOST));
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
        a_machine_without_ipv6(lab);
        drop(absent);
        // It is there again.
        lab.rewrite(HOST);
        lab.converge();
        reaches(lab);
    });
}

/// The kernel's own answers, which need another boot: `cargo xtask kernels --without-ipv6`.
#[test]
#[ignore = "wants a kernel that booted with `ipv6.disable=1`"]
fn a_kernel_without_ipv6() {
    assert!(!sysctl::has_ipv6());
    on_a_machine(a_machine_without_ipv6);

    let lab = Lab::up(&without_ipv6(TWO_NODES));
    for node in ["A", "B"] {
        assert_eq!(lab.told(node), [""; 0]);
    }
    assert_eq!(lab.plan(), Vec::<String>::new());
    by_the_fast_path(&lab);
    commands_end_as_due(&lab, "A", 3);
    assert_eq!(lab.plan(), Vec::<String>::new());
    by_the_fast_path(&lab);
    // Fails if anything is left.
    lab.down();
}

/// From a1 to its neighbour and to the other node's, and nothing by the kernel's FORWARD.
fn by_the_fast_path(lab: &Lab) {
    let forwarded = lab.forward_counters("A");
    let before = lab.traffic("A");
    lab.assert_reaches("a1", addresses("a2")[0], 63);
    let there = ("va1 > va2 redirect_peer", 3, Bytes::Any);
    let back = ("va2 > va1 redirect_peer", 3, Bytes::Any);
    lab.assert_counted("A", &before, &[there, back]);
    let before = lab.traffic("A");
    lab.assert_reaches("a1", addresses("b1")[0], 62);
    let there = ("va1 > up0 redirect_neigh", 3, Bytes::Any);
    let back = ("up0 > va1 redirect_peer", 3, Bytes::Any);
    lab.assert_counted("A", &before, &[there, back]);
    assert_eq!(lab.forward_counters("A"), forwarded, "the FORWARD chain");
}

/// [`HOST`] is refused, it without IPv6 works, and so does every command.
fn a_machine_without_ipv6(lab: &mut Lab) {
    lab.rewrite(HOST);
    let error = refused(lab).to_string();
    assert_eq!(
        error,
        "this machine: the kernel has no IPv6, and the topology file does: leave IPv6 out of the topology file, or boot \
         without `ipv6.disable=1`"
    );
    the_starter_comes_up(lab);
    lab.rewrite(&without_ipv6(HOST));
    let plan = lab.plan();
    assert_eq!(lab.converge(), plan);
    assert_eq!(lab.told("H"), [""; 0]);
    assert_eq!(lab.plan(), Vec::<String>::new());
    reaches_by_ipv4(lab);
    commands_end_as_due(lab, "H", 0);
    // As before, and by the fast path: FORWARD drops.
    assert_eq!(lab.plan(), Vec::<String>::new());
    reaches_by_ipv4(lab);
    lab.down();
}

/// What `init --host` prints has no IPv6, and needs none.
fn the_starter_comes_up(lab: &Lab) {
    lab.ip("H", "route add default via 100.100.198.253");
    let starter = ends(&["init", "--host"], 0);
    assert!(!starter.contains("::"), "{starter}");
    // What the file says of FORWARD's policy here, which drops.
    let file = TempFile::new(&starter.replace("#bypass", "bypass"));
    let plan = ends(&["up", "-f", file.path(), "--dry-run"], 0);
    assert!(plan.contains("pod01") && plan.contains("pod02"), "{plan}");
    lab.ip("H", "route del default");
}

/// What a command prints. It ends with this status, and says nothing of sockets of a family that is not there.
fn ends(words: &[&str], status: i32) -> String {
    let output = run_netpath(words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(status),
        "{words:?}: {stderr}{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let stdout = stdout(&output);
    for text in [&stderr, stdout.as_str()] {
        assert!(!text.contains("Address family"), "{words:?}: {text}");
    }
    stdout
}

/// All that people ask and do on a node that is up and whole, beside `up` and `down`.
/// `audit` with this status: 3 where rules are passed by that nobody accepted.
fn commands_end_as_due(lab: &Lab, node: &str, audit: i32) {
    // With 3 ends what is degraded: a fast path that is not on.
    let lines = [
        ("show @N", 0),
        ("show @a1", 0),
        ("stats --node @N", 0),
        ("stats --by endpoint", 0),
        ("maps --node @N", 0),
        ("flows --node @N", 0),
        ("explain @a1 @a2", 0),
        ("explain @a1 @a2 --proto tcp --dport 80", 0),
        ("audit --node @N", audit),
        ("doctor --node @N", 0),
        ("fastpath off --node @N", 3),
        ("show @N", 3),
        ("fastpath shadow --node @N", 3),
        ("stats --node @N", 0),
        ("fastpath on --node @N", 0),
        ("endpoint add @x --node @N --address 10.0.5.2/24", 0),
        ("show @x", 0),
        ("explain @x @a1", 0),
        ("endpoint remove @x", 0),
        ("show @N", 0),
    ];
    for (line, status) in lines {
        let line = line.replace("@N", &lab.name(node));
        let line = line.replace('@', lab.prefix());
        let words: Vec<&str> = line.split(' ').collect();
        ends(&words, status);
        if words[..2] == ["show", &lab.name("x")] {
            lab.assert_reaches("a1", IpAddr::from([10, 0, 5, 2]), 63);
        }
    }
}
