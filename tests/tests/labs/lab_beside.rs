//! Two nodes in one network namespace of a machine: what says from outside to come from an endpoint of one is forged for the
//! other too, whether they share an uplink or not, as long as the endpoint is there.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::AtomicBool},
};

use netpath::{
    datapath::Datapath,
    model::{Endpoint, Topology},
    netlink::Netlink,
    netns::Inside,
    probe::{capture::CapturedFrame, frame::FrameBuilder},
    provision::{self, NewEndpoint, OldEndpoint, UpOptions},
};
use netpath_common::{EndpointEntry, Mac, Origin};
use netpath_tests::{
    has_tcx,
    lab::{Lab, addresses, in_mode, is_in_mode, listener, on_a_machine, parse, run, udp_port},
};

const FORGED: u16 = 4_001;
const HONEST: u16 = 4_002;
const COUNT: u64 = 10;

/// The other node. Its endpoint has prefixes, too.
const SECOND: &str = r#"
[[node]]
name = "@K"
netns = "host"
bypass = ["forward"]
uplink = [{ dev = "nic2" }]
[[node.endpoint]]
name = "@k1"
addresses = ["10.0.7.2/24", "fd00:7::2/64"]
host_dev = "vk1"
prefixes = ["10.7.0.0/28", "fd07::/64"]
"#;

/// What the other node's endpoint may send from, and nobody else.
const OF_SECOND: [&str; 4] = ["10.0.7.2", "10.7.0.5", "fd00:7::2", "fd07::5"];
/// The same of an endpoint that comes later.
const OF_LATER: [&str; 2] = ["10.0.8.2", "fd00:8::2"];

#[test]
fn nobody_outside_speaks_for_an_endpoint_of_another_node_of_the_machine() {
    in_mode("apart", "clsact");
    if has_tcx() {
        in_mode("apart", "tcx");
        in_mode("sharing", "tcx");
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

/// Where frames are put on a wire, and where they come in.
struct Wire<'a> {
    lab: &'a Lab,
    outside: (&'static str, &'static str),
    macs: (Mac, Mac),
}

impl<'a> Wire<'a> {
    fn new(lab: &'a Lab, outside: (&'static str, &'static str), uplink: &str) -> Self {
        let mac = |place, dev: &str| {
            let look = || {
                let netlink = Netlink::open(&Inside::current()).expect("socket");
                netlink.link(dev).expect("asked").expect(dev).mac
            };
            lab.inside(place, look).expect("Ethernet")
        };
        Self {
            lab,
            outside,
            macs: (mac(outside.0, outside.1), mac("H", uplink)),
        }
    }

    fn datagram(&self, source: IpAddr, to: SocketAddr) -> Vec<u8> {
        let frame = FrameBuilder::new(self.macs.0, self.macs.1);
        let frame = match (source, to.ip()) {
            (IpAddr::V4(source), IpAddr::V4(to)) => frame.ipv4(source, to),
            (IpAddr::V6(source), IpAddr::V6(to)) => frame.ipv6(source, to),
            mixed => panic!("{mixed:?}"),
        };
        frame.udp(4_000, to.port()).payload(&[0x5a; 40]).build()
    }

    /// How many of the datagrams that say to come from an address arrive: all of them, or none.
    fn arrives(&self, source: &str, (receiver, to): (&str, IpAddr), node: &str) -> bool {
        let source = address(source);
        let honest = addresses("b1")[usize::from(to.is_ipv6())];
        let injector = self.lab.injector(self.outside.0, self.outside.1);
        let mut capture = self.lab.capture(receiver, "eth0");
        // Nobody answers: how often Port Unreachable is said depends on the time.
        let _listeners = self
            .lab
            .inside(receiver, || [listener(HONEST), listener(FORGED)]);
        let before = spoofed(node);
        for _ in 0..COUNT {
            let frame = self.datagram(source, (to, FORGED).into());
            injector.send(&frame).expect("send");
        }
        injector
            .send(&self.datagram(honest, (to, HONEST).into()))
            .expect("send");
        let mut forged = 0;
        loop {
            let is_one =
                |frame: &CapturedFrame| matches!(udp_port(&frame.bytes), Some(FORGED | HONEST));
            let seen = capture.wait_for(is_one, std::time::Duration::from_secs(3));
            let seen = seen.expect("capture").expect("the honest datagram");
            match udp_port(&seen.bytes) {
                Some(HONEST) => break,
                _ => forged += 1,
            }
        }
        let dropped = spoofed(node) - before;
        assert_eq!(forged + dropped, COUNT, "{source} to {to}");
        assert!(forged == 0 || dropped == 0, "{source} to {to}: {forged}");
        forged != 0
    }
}

/// Packets that a node's programs have dropped as forged.
fn spoofed(node: &str) -> u64 {
    let datapath = Datapath::open(node).expect("opened").expect("it is up");
    let hops = datapath.maps.hops().expect("hops");
    let spoofed = netpath_common::DropReason::Spoofed as u16;
    let drop = netpath_common::Outcome::Drop as u8;
    let of_reason = hops
        .iter()
        .filter(|(key, _)| key.outcome == drop && key.reason == spoofed);
    of_reason.map(|(_, counter)| counter.packets).sum()
}

/// Addresses that a node's programs take for the node's own.
fn own(node: &str) -> Vec<IpAddr> {
    let datapath = Datapath::open(node).expect("opened").expect("it is up");
    let entries = datapath.maps.endpoints_v4.all().expect("read").into_iter();
    let v4 = entries.map(|(key, entry)| (IpAddr::from(key), entry));
    let entries = datapath.maps.endpoints_v6.all().expect("read").into_iter();
    let v6 = entries.map(|(key, entry)| (IpAddr::from(key), entry));
    let own = v4
        .chain(v6)
        .filter(|(_, entry)| *entry == EndpointEntry::NODE);
    let mut own: Vec<IpAddr> = own.map(|(address, _)| address).collect();
    own.sort();
    own
}

fn second(lab: &Lab, uplink: &str) -> Topology {
    parse(&SECOND.replace('@', lab.prefix()).replace("nic2", uplink))
}

fn try_up(topology: &Topology, stop_after: usize) -> bool {
    let interrupted: Arc<AtomicBool> = Arc::default();
    let options = UpOptions {
        interrupted: Arc::clone(&interrupted),
        ..UpOptions::default()
    };
    let mut seen = 0;
    let done = provision::up(topology, &options, &mut |_| {
        seen += 1;
        interrupted.store(seen == stop_after, std::sync::atomic::Ordering::Release);
    });
    match (done, stop_after) {
        (Err(error), usize::MAX) => panic!("{error}"),
        (done, _) => done.is_ok(),
    }
}

fn later(lab: &Lab) -> Endpoint {
    let text = SECOND.replace('@', lab.prefix()).replace("k1", "k2");
    let text = text.replace("prefixes = [\"10.7.0.0/28\", \"fd07::/64\"]", "");
    let text = text
        .replace("10.0.7.2", "10.0.8.2")
        .replace("fd00:7:", "fd00:8:");
    parse(&text).nodes[0].endpoints[0].clone()
}

fn with_uplink(lab: &mut Lab, uplink: &str, outside: (&'static str, &'static str)) {
    for family in ["iptables", "ip6tables"] {
        run(&format!("{family} -w -P FORWARD ACCEPT"));
    }
    lab.converge();
    let alone = own(&lab.name("H"));
    let wire = Wire::new(lab, ("P", "eth0"), "up0");
    let at_h = lab.name("H");
    let to_first = |source: &str| {
        let to = addresses("a1")[usize::from(source.contains(':'))];
        wire.arrives(source, ("a1", to), &at_h)
    };
    // Nobody has them yet.
    for source in OF_SECOND.iter().chain(&OF_LATER) {
        assert!(to_first(source), "{source}");
    }
    let second = second(lab, uplink);
    try_up(&second, usize::MAX);
    for source in OF_SECOND {
        assert!(!to_first(source), "{source}");
    }
    // Nor does anybody speak for the first to the second.
    let theirs = Wire::new(lab, outside, uplink);
    for family in [0, 1] {
        let source = addresses("a1")[family].to_string();
        let to = address(OF_SECOND[2 * family]);
        let first = if uplink == "up0" { "H" } else { "K" };
        assert!(!theirs.arrives(&source, ("k1", to), &lab.name(first)));
    }
    // They themselves reach each other.
    for family in [0, 1] {
        lab.assert_reaches("a1", address(OF_SECOND[2 * family]), 63);
        lab.assert_reaches("k1", addresses("a1")[family], 63);
    }
    assert!(lab.status("H").drift.is_empty());
    assert_eq!(lab.plan(), Vec::<String>::new());
    // One that comes and goes by itself.
    let new = NewEndpoint {
        node: second.nodes[0].name.clone(),
        endpoint: later(lab),
        netns: None,
        origin: Origin::Command,
        interrupted: Arc::default(),
    };
    provision::add_endpoint(&new, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    for source in OF_LATER {
        assert!(!to_first(source), "{source}");
    }
    let old = OldEndpoint {
        name: new.endpoint.name.clone(),
        node: None,
        origin: Origin::Command,
        interrupted: Arc::default(),
    };
    provision::remove_endpoint(&old, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    for source in OF_LATER {
        assert!(to_first(source), "{source}");
    }
    let second = [lab.name("K")];
    provision::down(&second, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    for source in OF_SECOND {
        assert!(to_first(source), "{source}");
    }
    assert_eq!(own(&at_h), alone);
    assert!(lab.status("H").drift.is_empty());
    // What is undone leaves nothing behind.
    let second = self::second(lab, uplink);
    for count in 1..3 {
        assert!(!try_up(&second, count), "{count}");
        assert_eq!(own(&at_h), alone, "{count}");
    }
}

#[test]
#[ignore = "a process for the other test"]
fn apart() {
    if !is_in_mode() {
        return;
    }
    on_a_machine(|lab| {
        run("ip link add nic2 type veth peer name nic3");
        run("ip link set nic3 up");
        run("ip link set nic2 up");
        run("ip addr add 10.8.8.8/24 dev nic2");
        run("ip addr add fd88::8/64 dev nic2 nodad");
        run("sysctl -qw net.ipv4.conf.nic2.forwarding=1");
        with_uplink(lab, "nic2", ("H", "nic3"));
    });
}

#[test]
#[ignore = "a process for the other test"]
fn sharing() {
    if !is_in_mode() {
        return;
    }
    on_a_machine(|lab| with_uplink(lab, "up0", ("P", "eth0")));
}
