//! Subnets' broadcast addresses, and prefixes that the machine takes in as a whole.

use netpath_common::EndpointEntry;
use netpath_tests::lab::{Bytes::Any, Lab, TWO_NODES, addresses, on_a_machine, run};

use super::{
    FORGED, address, datagram, drift, entry,
    wire::{labs_wire, machines_wire},
};

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
