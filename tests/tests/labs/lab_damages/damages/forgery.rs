//! Forged packets: each by somebody, with somebody else's address, to a third.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use netpath::{
    netlink::Netlink,
    netns::Inside,
    probe::{capture::Injector, frame::FrameBuilder},
};
use netpath_common::Mac;
use netpath_tests::{
    between,
    lab::{Deadline, Lab, addresses, listener},
};

const FORGED: u16 = 4_001;
const HONEST: u16 = 4_002;

/// A little more than a packet takes that nothing stops.
const PATIENCE: Duration = Duration::from_millis(15);

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sender {
    /// The endpoint a1, whose packets `from_endpoint` checks.
    Endpoint,
    /// Whoever is on node A's wire, which `from_uplink` checks.
    Wire,
}

/// One that is forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Forgery {
    /// Who sends it.
    pub sender: Sender,
    /// Whose address its source is.
    pub source: &'static str,
    /// Whom it is for.
    pub target: &'static str,
    /// IPv4 or IPv6, as an index.
    pub family: usize,
}

/// In a1's prefixes, and so a1's.
pub const PREFIX: &str = "a1's prefix";

const ALL: [(Sender, &str, &str); 8] = [
    (Sender::Endpoint, "a2", "b1"),
    (Sender::Endpoint, "a2", "A"),
    (Sender::Endpoint, "b1", "a2"),
    (Sender::Endpoint, "A", "b1"),
    (Sender::Wire, "a2", "a1"),
    (Sender::Wire, "a2", "A"),
    (Sender::Wire, "A", "a1"),
    (Sender::Wire, PREFIX, "a2"),
];

const RECEIVERS: [&str; 4] = ["a1", "a2", "b1", "A"];

impl Forgery {
    /// Each, of each family. Its place here is in its payload.
    pub fn all() -> Vec<Self> {
        let families = [0, 1].into_iter();
        let each = families.flat_map(|family| {
            ALL.into_iter().map(move |(sender, source, target)| Self {
                sender,
                source,
                target,
                family,
            })
        });
        each.collect()
    }

    /// The address of its source.
    pub fn address(&self) -> IpAddr {
        match self.source {
            PREFIX => ["10.9.0.1", "fd00:9::1"][self.family]
                .parse()
                .expect("an address"),
            name => addresses(name)[self.family],
        }
    }
}

/// What gets through of all that is forged.
pub fn that_get_through(lab: &Lab) -> BTreeSet<Forgery> {
    let all = Forgery::all();
    let sockets = RECEIVERS.map(|place| socket(lab, place, FORGED));
    let injectors = [Sender::Endpoint, Sender::Wire].map(|sender| Packets::of(lab, sender));
    for (number, forgery) in all.iter().enumerate() {
        let packets = match forgery.sender {
            Sender::Endpoint => &injectors[0],
            Sender::Wire => &injectors[1],
        };
        let target = addresses(forgery.target)[forgery.family];
        packets.send(forgery.address(), target, FORGED, number as u8);
    }
    let mut through = BTreeSet::new();
    let end = Instant::now() + PATIENCE;
    loop {
        let is_over = Instant::now() >= end;
        for socket in &sockets {
            while let Some(number) = received(socket) {
                through.insert(all[usize::from(number)]);
            }
        }
        if is_over {
            return through;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// What is not forged goes the same ways.
pub fn assert_honest(lab: &Lab) {
    for (sender, source, target) in [
        (Sender::Endpoint, "a1", "b1"),
        (Sender::Endpoint, "a1", "a2"),
        (Sender::Endpoint, "a1", "A"),
        (Sender::Wire, "b1", "a1"),
        (Sender::Wire, "b1", "a2"),
        (Sender::Wire, "b1", "A"),
    ] {
        let packets = Packets::of(lab, sender);
        let socket = socket(lab, target, HONEST);
        for family in [0, 1] {
            let (from, to) = (addresses(source)[family], addresses(target)[family]);
            packets.send(from, to, HONEST, 7);
            let deadline = Deadline::within(Duration::from_secs(3));
            while received(&socket) != Some(7) {
                deadline.check(|| format!("{from} to {to} does not arrive"));
            }
        }
    }
}

fn socket(lab: &Lab, place: &str, port: u16) -> UdpSocket {
    let socket = lab.inside(place, || listener(port));
    socket.set_nonblocking(true).expect("not blocking");
    socket
}

/// The first byte of a datagram, if there is one.
fn received(socket: &UdpSocket) -> Option<u8> {
    let mut payload = [0; 64];
    match socket.recv(&mut payload) {
        Ok(_) => Some(payload[0]),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

/// Sends packets by an interface.
struct Packets {
    injector: Injector,
    macs: (Mac, Mac),
}

impl Packets {
    fn of(lab: &Lab, sender: Sender) -> Self {
        let (from, to) = match sender {
            Sender::Endpoint => (("a1", "eth0"), ("A", "va1")),
            Sender::Wire => (("B", "up0"), ("A", "up0")),
        };
        // As the kernel has them: the record may be what is damaged.
        let mac = |(place, dev): (&str, &str)| {
            let look = || {
                let netlink = Netlink::open(&Inside::current()).expect("socket");
                netlink.link(dev).expect("asked").expect(dev).mac
            };
            lab.inside(place, look).expect("Ethernet")
        };
        Self {
            injector: lab.injector(from.0, from.1),
            macs: (mac(from), mac(to)),
        }
    }

    fn send(&self, source: IpAddr, destination: IpAddr, port: u16, number: u8) {
        let frame = between(
            FrameBuilder::new(self.macs.0, self.macs.1),
            source,
            destination,
        );
        let frame = frame.udp(4_000, port).payload(&[number; 40]).build();
        self.injector.send(&frame).expect("send");
    }
}
