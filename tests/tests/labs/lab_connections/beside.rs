//! A connection on the fast path, of which single packets are the kernel's: it stays where it is. And very many of them: they
//! take nothing from those that are the kernel's.

use std::{
    env,
    net::{SocketAddr, UdpSocket},
};

use netpath::probe::frame::{FrameBuilder, TPID_VLAN, Tag};
use netpath_tests::{
    Family, between,
    connections::{
        Pushed, address, flood, kernel_connections, patience, prepare, redirects, set_option,
        topology, up,
    },
    lab::Lab,
};

use super::{server, service, with_kube_proxy};

/// What makes a packet the kernel's.
#[derive(Clone, Copy, Debug)]
enum Odd {
    /// Options, in IPv6 of the header for every hop.
    Options,
    /// It may pass no router.
    Ttl,
    /// Larger than the next link takes; in IPv4 it may be fragmented.
    Large,
    /// Nobody has asked for the next hop's MAC.
    NewNeighbour,
}

const ODD: [Odd; 4] = [Odd::Options, Odd::Ttl, Odd::Large, Odd::NewNeighbour];

/// a1 and whom it speaks with: the pod, by which interface of node A, and how many nodes are between them.
const WAYS: [(&str, &str, u64); 2] = [("a2", "va2", 1), ("b1", "up0", 2)];

/// Two ends of a UDP connection, with nothing between them translated.
struct Line {
    client: UdpSocket,
    server: UdpSocket,
}

impl Line {
    fn open(lab: &Lab, pod: &str, family: Family) -> Self {
        let open = |place: &str| {
            let bind = || UdpSocket::bind((address(place, family), 0)).expect("a port");
            let socket = lab.inside(place, bind);
            socket
                .set_read_timeout(Some(patience()))
                .expect("a timeout");
            socket
        };
        let (client, server) = (open("a1"), open(pod));
        let line = Self { client, server };
        let [from, to] = line.ends();
        line.client.connect(to).expect("a route");
        line.server.connect(from).expect("a route");
        line
    }

    /// A few words each way.
    fn speak(&self) {
        for word in 0..4 {
            for (from, to) in [(&self.client, &self.server), (&self.server, &self.client)] {
                from.send(&[word; 20]).expect("a route");
                let mut got = [0; 40];
                assert_eq!(to.recv(&mut got).expect("a datagram"), 20);
                assert_eq!(got[..20], [word; 20]);
            }
        }
    }

    /// Sends a packet that is the kernel's, which may arrive or not.
    fn send(&self, odd: Odd, lab: &Lab, dev: &str, family: Family) {
        match odd {
            Odd::Options => {
                let (level, option, bytes): (_, _, &[u8]) = match family {
                    Family::V4 => (libc::IPPROTO_IP, libc::IP_OPTIONS, &[1, 1, 1, 0]),
                    Family::V6 => (
                        libc::IPPROTO_IPV6,
                        libc::IPV6_HOPOPTS,
                        &[0, 0, 1, 4, 0, 0, 0, 0],
                    ),
                };
                set_option(&self.client, level, option, bytes);
                self.arrives(20);
                set_option(&self.client, level, option, &[]);
            }
            Odd::Ttl => {
                self.set_ttl(family, 1);
                self.client.send(&[9; 20]).expect("a route");
                // Time Exceeded says no more than that about this packet; a UDP socket does not fail for it.
                self.set_ttl(family, 64);
            }
            Odd::Large => {
                let mtu = |mtu: u16| drop(lab.ip("A", &format!("link set {dev} mtu {mtu}")));
                mtu(1300);
                match family {
                    Family::V4 => {
                        let never = libc::IP_PMTUDISC_DONT.to_ne_bytes();
                        set_option(
                            &self.client,
                            libc::IPPROTO_IP,
                            libc::IP_MTU_DISCOVER,
                            &never,
                        );
                        self.arrives(1400);
                    }
                    Family::V6 => {
                        self.client.send(&[9; 1400]).expect("a route");
                        let told = self.client.recv(&mut [0]).expect_err("an error");
                        assert_eq!(told.raw_os_error(), Some(libc::EMSGSIZE), "{told}");
                        lab.ip("a1", "-6 route flush cache");
                    }
                }
                mtu(1500);
            }
            Odd::NewNeighbour => {
                lab.ip("A", "neigh flush dev up0");
                self.arrives(20);
            }
        }
    }

    /// A packet in a frame that has a priority, by a VLAN tag without a VLAN.
    fn send_with_priority(&self, lab: &Lab) {
        let [from, to] = self.ends();
        let record = lab.record("A", "a1");
        let frame = FrameBuilder::new(record.endpoint_mac, record.host_mac).tag(Tag {
            tpid: TPID_VLAN,
            tci: 5 << 13,
        });
        let frame = between(frame, from.ip(), to.ip()).udp(from.port(), to.port());
        let frame = frame.payload(&[9; 20]).build();
        lab.injector("a1", "eth0").send(&frame).expect("send");
        self.has_come(20);
    }

    fn set_ttl(&self, family: Family, ttl: i32) {
        let (level, option) = match family {
            Family::V4 => (libc::IPPROTO_IP, libc::IP_TTL),
            Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
        };
        set_option(&self.client, level, option, &ttl.to_ne_bytes());
    }

    fn arrives(&self, length: usize) {
        self.client.send(&vec![9; length]).expect("a route");
        self.has_come(length);
    }

    fn ends(&self) -> [SocketAddr; 2] {
        [&self.client, &self.server].map(|it| it.local_addr().expect("bound"))
    }

    fn has_come(&self, length: usize) {
        let got = self.server.recv(&mut [0; 2000]);
        assert_eq!(got.expect("a datagram"), length);
    }
}

/// Whether all of what is spoken takes the fast path.
fn assert_is_fast(lab: &Lab, line: &Line, nodes: u64, what: &str) {
    let before = ["A", "B"].map(|node| lab.traffic(node));
    line.speak();
    let mut counted = ["A", "B"].iter().zip(&before);
    let counted = [(); 2].map(|()| {
        let (node, before) = counted.next().expect("two nodes");
        lab.traffic(node).since(before)
    });
    let kernels: u64 = counted.iter().map(kernel_connections).sum();
    let redirected: u64 = counted.iter().map(redirects).sum();
    assert_eq!((kernels, redirected), (0, 8 * nodes), "{what}: {counted:?}");
}

#[test]
fn a_packet_that_is_the_kernels_alone_takes_no_connection_with_it() {
    let lab = up(true);
    with_kube_proxy(&lab);
    for family in Family::ALL {
        for (pod, dev, nodes) in WAYS {
            for odd in ODD {
                let what = format!("{odd:?} to {pod}, {family:?}");
                // As the first of its connection, and among others.
                let line = Line::open(&lab, pod, family);
                for time in ["first", "later"] {
                    line.send(odd, &lab, dev, family);
                    assert_is_fast(&lab, &line, nodes, &format!("{what}, {time}"));
                }
            }
        }
    }
}

/// All that an interface sends may have priorities: a connection of which such frames are is the kernel's, and goes on.
#[test]
fn a_frame_with_a_priority_takes_its_connection_to_the_kernel() {
    let lab = up(true);
    with_kube_proxy(&lab);
    for family in Family::ALL {
        for (pod, _, nodes) in WAYS {
            let line = Line::open(&lab, pod, family);
            assert_is_fast(&lab, &line, nodes, "before");
            line.send_with_priority(&lab);
            let before = lab.traffic("A");
            line.speak();
            let counted = lab.traffic("A").since(&before);
            let found = (kernel_connections(&counted), redirects(&counted));
            assert_eq!(found, (8, 0), "{pod}, {family:?}: {counted:?}");
        }
    }
}

/// How many flows a pod makes in each family, more than a table has room for; half a million by `NETPATH_FLOOD=500000`.
fn flows() -> usize {
    env::var("NETPATH_FLOOD").map_or(100_000, |it| it.parse().expect("a number"))
}

/// A connection of a2's through a service, by UDP.
struct Idle {
    client: UdpSocket,
    to: SocketAddr,
    server: UdpSocket,
}

impl Idle {
    fn open(lab: &Lab, pod: &str, family: Family) -> Self {
        let open = |place: &str, at: SocketAddr| {
            let socket = lab.inside(place, || UdpSocket::bind(at).expect("a port"));
            socket
                .set_read_timeout(Some(patience()))
                .expect("a timeout");
            socket
        };
        let idle = Self {
            client: open("a2", (address("a2", family), 0).into()),
            to: service(pod, family),
            server: open(pod, server(pod, family)),
        };
        idle.server.connect(idle.client_seen()).expect("a route");
        idle.answers();
        idle
    }

    /// Asks once; who asks, as the server sees it.
    fn client_seen(&self) -> SocketAddr {
        self.client.send_to(b"first", self.to).expect("a route");
        let mut got = [0; 8];
        self.server.recv_from(&mut got).expect("a datagram").1
    }

    /// The server speaks first after the pause: nothing but the table tells whose its packet is.
    fn answers(&self) {
        self.server.send(b"still there").expect("a route");
        let mut got = [0; 16];
        let (length, from) = self.client.recv_from(&mut got).expect("an answer");
        assert_eq!((&got[..length], from), (&b"still there"[..], self.to));
    }
}

/// Connections of a2's through services, one that says nothing meanwhile to each of two pods, and one that pushes all the time.
fn others(lab: &Lab) -> (Vec<Idle>, Vec<Pushed>) {
    // Longer than any flood: it is not the kernel that is to forget.
    for key in ["udp_timeout", "udp_timeout_stream"] {
        lab.set_sysctl("A", &format!("netfilter/nf_conntrack_{key}"), "600");
    }
    // Answers to a flood would be another.
    for (program, family) in [("iptables", Family::V4), ("ip6tables", Family::V6)] {
        let flooding = address("a1", family);
        lab.run(
            "a2",
            &format!("{program} -w -A INPUT -p udp -s {flooding} -j DROP"),
        );
    }
    let idle = Family::ALL
        .into_iter()
        .flat_map(|family| ["a1", "b1"].map(|pod| Idle::open(lab, pod, family)))
        .collect();
    let pushed = Family::ALL.into_iter().map(|family| {
        let (to, at) = (service("b2", family), server("b2", family));
        Pushed::start(lab, ("a2", to), ("b2", at))
    });
    (idle, pushed.collect())
}

fn assert_all_live((idle, pushed): (Vec<Idle>, Vec<Pushed>)) {
    for idle in idle {
        idle.answers();
    }
    for stream in pushed {
        stream.assert_goes_on();
        stream.assert_ends_whole();
    }
}

#[test]
fn a_pod_that_floods_takes_no_connection_from_others() {
    let flows = flows();
    let lab = up(true);
    with_kube_proxy(&lab);
    let others = others(&lab);
    for family in Family::ALL {
        let before = lab.traffic_now("A");
        let ends = (address("a1", family), address("a2", family));
        flood(&lab, "a1", ends, (flows, 2));
        let counted = lab.traffic_now("A").since(&before);
        assert_eq!(counted.row("va1 > va2 redirect_peer").0, 2 * flows as u64);
    }
    assert_all_live(others);
}

/// What a pod sends by the kernel's NAT takes room in the table. Those that had more than one packet keep theirs before any of one
/// packet, however many of these there are.
#[test]
fn a_pod_that_floods_a_service_takes_no_connection_from_others() {
    // Both families' together are fewer than conntrack has room for.
    let flows = flows().min(100_000);
    let room = flows / 6;
    let key = format!("\"accept\"\nmax_connections = {room}");
    let lab = Lab::up(&topology().replace("\"accept\"", &key));
    prepare(&lab, true);
    with_kube_proxy(&lab);
    let others = others(&lab);
    let ways = [
        (Family::V4, "iptables", "10.96.0.99"),
        (Family::V6, "ip6tables", "fd00:96::99"),
    ];
    for (family, program, service) in ways {
        let pod = address("a2", family);
        let rule =
            format!("-t nat -A PREROUTING -p udp -d {service} -j DNAT --to-destination {pod}");
        lab.run("A", &format!("{program} -w {rule}"));
        let before = lab.traffic_now("A");
        let ends = (address("a1", family), service.parse().expect("an address"));
        flood(&lab, "a1", ends, (flows, 1));
        let counted = lab.traffic_now("A").since(&before);
        let delivered = counted.row("va1 > va2 deliver").0;
        assert_eq!(delivered, flows as u64, "{counted:?}");
    }
    assert_all_live(others);
}
