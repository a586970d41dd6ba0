//! Endpoints: none speaks for an address of the machine, and the machine does not take one of theirs.

use std::{net::IpAddr, time::Duration};

use netpath::{
    Ends as _,
    provision::{GATEWAY_V4, GATEWAY_V6},
};
use netpath_common::{EndpointEntry, PuntReason};
use netpath_tests::lab::{
    Bytes::{Any, Exactly},
    Lab, addresses, listener, on_a_machine, run,
};

use super::{FORGED, OTHERS, add, address, datagram, drift, entry, host, length};

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
