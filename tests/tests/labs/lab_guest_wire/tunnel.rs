//! Next hops over tunnels that have no other end of their own: the route says where each packet goes.

use netpath_tests::{
    kernel::Feature,
    lab::{Watch, addresses},
};

use super::{COUNT, FROM_A, TO_B1, all, counted, datagrams, lab, pairs, send};

/// As Calico's IPIP mode has it, and the same for IPv6 over IPv4 (RFC 4213).
const FROM: &str = "
ip link add t4 type ipip local 100.100.198.250
ip link set t4 up
ip route replace 10.0.3.0/24 via 100.100.198.253 dev t4 onlink
ip link add t6 type sit local 100.100.198.250
ip link set t6 up
ip -6 route replace fd00:3::/64 via ::100.100.198.253 dev t6 onlink
";
const TO: &str = "
ip link add t4 type ipip local 100.100.198.253
ip link set t4 up
ip link add t6 type sit local 100.100.198.253
ip link set t6 up
";

#[test]
fn what_goes_through_a_tunnel_is_the_kernels_and_arrives() {
    if !Feature::Tunnels.is_there() {
        return;
    }
    let lab = lab();
    let mut watch = Watch::new(&lab, [FROM_A, TO_B1]);
    for ends in pairs("a1", "b1") {
        send(&lab, "a1", ends);
        let [leaving, inside] = watch.seen();
        assert_eq!(datagrams(&leaving, ends, 1), COUNT, "{leaving:?}");
        assert_eq!(datagrams(&inside, ends, 2), COUNT, "{inside:?}");
    }
    all(&lab, "B", TO);
    // What comes out of a tunnel came by another interface than the way back.
    for dev in ["all", "t4"] {
        lab.set_sysctl("B", &format!("ipv4/conf/{dev}/rp_filter"), "0");
    }
    all(&lab, "A", FROM);
    let [from, _] = addresses("A");
    let [to, _] = addresses("B");
    // IPv4 in IPv4, IPv6 in IPv4.
    for (ends, protocol) in pairs("a1", "b1").into_iter().zip([4, 41]) {
        let before = lab.traffic("A");
        send(&lab, "a1", ends);
        let [leaving, inside] = watch.seen();
        let wrapped = leaving.iter().filter(|packet| {
            (packet.source, packet.destination, packet.protocol) == (from, to, protocol)
        });
        assert_eq!(wrapped.count(), COUNT, "{leaving:?}");
        assert_eq!(datagrams(&inside, ends, 2), COUNT, "{inside:?}");
        lab.assert_counted("A", &before, &[counted("va1 > - punt not_an_uplink")]);
    }
}
