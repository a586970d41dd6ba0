//! Uplinks in a VLAN (802.1Q).

use netpath::probe::frame::FrameBuilder;
use netpath_tests::{
    Family, between,
    kernel::Feature,
    lab::{Lab, Place, SeenPacket, Watch, addresses, on_a_machine, run, unanswered},
};

use super::{COUNT, datagrams, pairs, priority::BY_TOS};

/// VLAN 5 of the wire, with a priority of 802.1p for each of the kernel's.
const SET_UP: &str = "
iptables -w -P FORWARD ACCEPT
ip6tables -w -P FORWARD ACCEPT
ip link add link up0 name up0.5 type vlan id 5 egress-qos-map 0:1 2:3 4:5 6:7
ip addr add 100.100.5.250/24 dev up0.5
ip addr add fd00:5::250/64 dev up0.5 nodad
ip link set up0.5 up
ip -n @P link add link eth0 name eth0.5 type vlan id 5
ip -n @P addr add 100.100.5.253/24 dev eth0.5
ip -n @P addr add fd00:5::253/64 dev eth0.5 nodad
ip -n @P link set eth0.5 up
ip -n @P route replace 10.0.0.0/22 via 100.100.5.250
ip -n @P route replace fd00::/30 via fd00:5::250
";

const TOPOLOGY: &str = r#"
[[node]]
name = "@H"
netns = "host"
bypass = ["forward"]
uplink = [{ dev = "up0.5", addresses = ["100.100.5.250/24", "fd00:5::250/64"] }]
route = [
    { dst = "10.0.3.0/24", via = "100.100.5.253" },
    { dst = "fd00:3::/64", via = "fd00:5::253" },
]
endpoint = [{ name = "@a1", addresses = ["10.0.1.2/24", "fd00:1::2/64"], host_dev = "va1" }]
"#;

/// What the machine sends to its neighbour, with its tags.
const WIRE: Place = Place::entering(("P", "eth0"), ("H", "up0"));
/// What comes to a1.
const INSIDE: Place = Place::entering(("a1", "eth0"), ("H", "va1"));

/// Those of VLAN 5 with this priority.
fn in_the_vlan(seen: Vec<SeenPacket>, priority: u16) -> Vec<SeenPacket> {
    let is_one = |packet: &SeenPacket| match &packet.tags[..] {
        [tag] => (tag.tpid, tag.tci) == (0x8100, priority << 13 | 5),
        _ => false,
    };
    seen.into_iter().filter(is_one).collect()
}

fn send(lab: &Lab, frame: &[u8], (place, dev): (&str, &str)) {
    let injector = lab.injector(place, dev);
    for _ in 0..COUNT {
        injector.send(frame).expect("send");
    }
}

#[test]
fn an_uplink_may_be_a_vlan() {
    if !Feature::Vlan.is_there() {
        return;
    }
    on_a_machine(|lab| {
        let set_up = SET_UP.replace('@', lab.prefix());
        set_up.trim().lines().for_each(|line| drop(run(line)));
        lab.rewrite(TOPOLOGY);
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
        for dst in addresses("b1") {
            lab.assert_reaches("a1", dst, 63);
        }
        let mut watch = Watch::new(lab, [WIRE, INSIDE]);
        let _before = watch.seen();
        for (family, ends) in Family::ALL.into_iter().zip(pairs("a1", "b1")) {
            // Out: by the priority that follows from the type of service, the fast path as the kernel.
            for fast_path in [true, false] {
                lab.fast_path(fast_path, "H", None);
                for (tos, of_ipv4) in BY_TOS {
                    let before = lab.traffic_now("H");
                    let frame = lab.datagram("H", "a1", ends.0, ends.1).tos(tos).build();
                    send(lab, &frame, ("a1", "eth0"));
                    let [wire, _] = watch.seen();
                    let priority = match family {
                        Family::V4 => u16::from(of_ipv4) + 1,
                        Family::V6 => 1,
                    };
                    let tagged = in_the_vlan(wire, priority);
                    let what = format!("{family} {tos:#x} {fast_path}");
                    assert_eq!(datagrams(&tagged, ends, 1), COUNT, "{what}: {tagged:?}");
                    let redirected = lab.traffic_now("H").since(&before);
                    let redirected = redirected.row("va1 > up0.5 redirect_neigh").0;
                    let expected = if fast_path { COUNT as u64 } else { 0 };
                    assert_eq!(redirected, expected, "{what}");
                }
            }
            // And in.
            lab.fast_path(true, "H", None);
            let (to, from) = ends;
            let frame = FrameBuilder::new(lab.mac("P", "eth0.5"), lab.mac("H", "up0.5"));
            let frame = unanswered(between(frame, from, to)).build();
            let before = lab.traffic_now("H");
            send(lab, &frame, ("P", "eth0.5"));
            let [_, inside] = watch.seen();
            assert_eq!(datagrams(&inside, (from, to), 1), COUNT, "{inside:?}");
            let redirected = lab.traffic_now("H").since(&before);
            assert_eq!(redirected.row("up0.5 > va1 redirect_peer").0, COUNT as u64);
        }
        drop(watch);
        lab.down();
    });
}
