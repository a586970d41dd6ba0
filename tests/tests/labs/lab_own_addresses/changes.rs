//! Addresses that come and go: they are told, and made known.

use netpath_common::EndpointEntry;
use netpath_tests::{
    lab::{on_a_machine, run},
    netpath,
};

use super::{OTHERS, add, address, drift, entry, host, wire::machines_wire};

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

/// The kernel takes an IPv6 address in only when it knows that nobody else on the link has it.
#[test]
fn nobody_outside_speaks_for_an_address_that_is_still_looked_for() {
    on_a_machine(|lab| {
        run("ip link add nic2 type veth peer name nic3");
        // A second for each time that it asks.
        for (key, value) in [("accept_dad", "1"), ("dad_transmits", "60")] {
            lab.set_sysctl("H", &format!("ipv6/conf/nic2/{key}"), value);
        }
        run("ip link set nic3 up");
        run("ip link set nic2 up");
        run("ip addr add fd88::8/64 dev nic2");
        lab.converge();
        let listing = run("ip -6 addr show dev nic2");
        assert!(
            listing.contains("fd88::8/64 scope global tentative"),
            "{listing}"
        );
        assert_eq!(drift(lab, "H"), Vec::<String>::new());
        machines_wire(lab).assert_forged(address("fd88::8"));
        run("ip addr del fd88::8/64 dev nic2");
        assert_eq!(drift(lab, "H"), ["own_address_gone"]);
    });
}
