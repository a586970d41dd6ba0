//! A random router between a sender and two receivers.

use std::{
    io::Write as _,
    net::UdpSocket,
    os::fd::AsRawFd as _,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use netpath::{
    netlink::{Netlink, NetlinkError, Scope},
    netns::{Inside, Netns},
    probe::capture::{Capture, Injector},
    random::SplitMix64,
    sysctl,
};
use netpath_common::{Family, Ifindex, Mac};
use netpath_tests::{
    random_rules::{ip, netfilter},
    raw::Raw,
};
use nix::sched::{CloneFlags, unshare};

use super::{packets::Sent, rules};

/// What is beside the router: the sender and two receivers, each at one of its interfaces r0, r1, r2.
pub const SIDES: usize = 3;

/// The last numbers of the addresses that the sender and the receivers have.
pub const ALIVE: std::ops::Range<u8> = 2..14;
pub struct World {
    pub family: Family,
    router: Netns,
    sides: Vec<Netns>,
    pub captures: Vec<Capture>,
    injectors: Vec<Injector>,
    /// What the router delivers, by protocol.
    pub delivered: Vec<Raw>,
    /// The router's interfaces and their Ethernet addresses, and those at their other ends.
    pub links: Vec<(Ifindex, Mac, Mac)>,
    script: String,
}

pub fn netns() -> Netns {
    let made = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("root");
        Netns::current().expect("/proc")
    });
    made.join().expect("a namespace")
}

/// Runs a program in a namespace.
pub fn run(netns: &Netns, program: &str, arguments: &[&str], input: &str) {
    let output = netns
        .run(|| {
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap_or_else(|error| panic!("{program}: {error}"));
            let mut stdin = child.stdin.take().expect("a pipe");
            stdin.write_all(input.as_bytes()).expect("written");
            drop(stdin);
            child.wait_with_output().expect("ended")
        })
        .expect("entered");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}\n{input}"
    );
}

fn set(inside: &Inside<'_>, key: &str, value: &str) {
    sysctl::set(inside, key, value).unwrap_or_else(|error| panic!("{error}"));
}

impl World {
    pub fn new(family: Family, random: &mut SplitMix64) -> Self {
        let router = netns();
        let sides: Vec<Netns> = (0..SIDES).map(|_| netns()).collect();
        let mtus = [
            1500,
            [1500, 1500, 1400, 1300][random.below(4)],
            1500 - 20 * random.below(8),
        ];
        for netns in sides.iter().chain([&router]) {
            quieten(netns);
        }
        for (index, side) in sides.iter().enumerate() {
            let file = format!("/proc/{}/fd/{}", std::process::id(), raw(side));
            let mtu = mtus[index];
            let link = format!(
                "link set lo up\nlink add r{index} mtu {mtu} type veth peer name s{index} mtu {mtu} netns {file}\n"
            );
            run(&router, "ip", &["-batch", "-"], &link);
            run(side, "ip", &["-batch", "-"], &side_script(family, index));
            run(side, "nft", &["-f", "-"], DEAF);
        }
        run(&router, "ip", &["-batch", "-"], &router_script(family));
        let links = (0..SIDES)
            .map(|index| wired(&router, &sides[index], index))
            .collect();
        let mut script = String::new();
        script.push_str(&rules::routes(family, random));
        let option = if family == Family::V4 { "-4" } else { "-6" };
        run(&router, "ip", &[option, "-batch", "-"], &script);
        let settings = rules::settings(family, random);
        router
            .enter(|inside| {
                for (key, value) in &settings {
                    set(inside, key, value);
                }
                // Who is not there is given up soon.
                for index in 0..SIDES {
                    for tree in ["ipv4", "ipv6"] {
                        set(inside, &format!("{tree}/neigh/r{index}/mcast_solicit"), "1");
                        set(
                            inside,
                            &format!("{tree}/neigh/r{index}/retrans_time_ms"),
                            "20",
                        );
                    }
                }
            })
            .expect("entered");
        let mut told = format!("{script}{settings:?}\n");
        for (program, arguments, input) in netfilter(family, random) {
            told.push_str(&input);
            run(&router, program, &arguments, &input);
        }
        let open = |index: usize| {
            let dev = format!("s{index}");
            sides[index]
                .run(|| (Capture::open(&dev), Injector::open(&dev)))
                .expect("entered")
        };
        let (mut captures, mut injectors) = (Vec::new(), Vec::new());
        for index in 0..SIDES {
            let (capture, injector) = open(index);
            captures.push(capture.expect("a capture"));
            injectors.push(injector.expect("an injector"));
        }
        let delivered = router.run(|| Raw::all(family)).expect("entered");
        let mut world = Self {
            family,
            router,
            sides,
            captures,
            injectors,
            delivered,
            links,
            script: told,
        };
        world.clear();
        world
    }

    /// Works in the router.
    pub fn router<T: Send, E: std::fmt::Display + Send>(
        &self,
        work: impl FnOnce(&Inside<'_>) -> Result<T, E> + Send,
    ) -> T {
        let done = self.router.enter(work).expect("entered");
        done.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Forgets what was seen so far.
    pub fn clear(&mut self) {
        for capture in &mut self.captures {
            while let Some(_frame) = capture.next(Duration::ZERO).expect("a capture") {}
        }
        for socket in &self.delivered {
            while socket.next().is_some() {}
        }
    }

    pub fn send(&self, sent: &Sent) {
        match sent.side {
            Some(side) => {
                let frame = sent.frame(self.links[side]);
                self.injectors[side].send(&frame).expect("sent");
            }
            None => self.router.run(|| from_a_socket(sent)).expect("entered"),
        }
    }

    pub fn told(&self) -> String {
        let sides = self.sides.len();
        format!("  the world, with {sides} sides:\n{}", self.script)
    }
}

/// What is refused, nobody sees: that is what is looked for.
fn from_a_socket(sent: &Sent) {
    let ends = sent.packet.tuple();
    // Where IPv6 is off, the address is gone.
    let Ok(socket) = UdpSocket::bind((ends.source, ends.source_port)) else {
        return;
    };
    sent.apply(&socket);
    let _refused = socket.send_to(&sent.payload(), (ends.destination, ends.destination_port));
}

fn raw(netns: &Netns) -> i32 {
    use std::os::fd::AsFd as _;
    netns.as_fd().as_raw_fd()
}

/// What hosts say by themselves is off, and errors are not limited.
fn quieten(netns: &Netns) {
    netns
        .enter(|inside| {
            for (key, value) in [
                ("ipv6/conf/default/accept_dad", "0"),
                ("ipv6/conf/default/dad_transmits", "0"),
                ("ipv6/conf/default/router_solicitations", "0"),
                ("ipv4/icmp_ratelimit", "0"),
                ("ipv4/icmp_ratemask", "0"),
                ("ipv6/icmp/ratelimit", "0"),
                ("ipv4/icmp_echo_ignore_all", "1"),
                ("ipv6/icmp/echo_ignore_all", "1"),
                ("ipv4/conf/all/send_redirects", "0"),
                ("ipv4/conf/default/send_redirects", "0"),
            ] {
                set(inside, key, value);
            }
        })
        .expect("entered");
}

/// It takes nothing in and says nothing but what finds neighbours.
const DEAF: &str = "table inet deaf { chain in { type filter hook input priority 0; policy drop;
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
}
chain out { type filter hook output priority 0; policy drop;
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
}
}\n";

/// Which part of the address is of a side.
pub fn side(index: usize) -> u8 {
    u8::try_from(index).expect("few") + 1
}

fn length(family: Family) -> u8 {
    if family == Family::V4 { 24 } else { 48 }
}

fn side_script(family: Family, index: usize) -> String {
    let mut script = format!("link set lo up\nlink set s{index} up\n");
    let length = length(family);
    for last in ALIVE {
        let address = ip(family, [side(index), 0, last]);
        script.push_str(&format!(
            "addr add {address}/{length} dev s{index}{}\n",
            nodad(family)
        ));
    }
    script
}

fn nodad(family: Family) -> &'static str {
    if family == Family::V4 { "" } else { " nodad" }
}

fn router_script(family: Family) -> String {
    let mut script = String::new();
    let length = length(family);
    for index in 0..SIDES {
        let address = ip(family, [side(index), 0, 1]);
        script.push_str(&format!(
            "link set r{index} up\naddr add {address}/{length} dev r{index}{}\n",
            nodad(family)
        ));
    }
    script
}

fn has_link_local(netlink: &Netlink, ifindex: Ifindex) -> Result<bool, NetlinkError> {
    let addresses = netlink.all_addresses()?;
    Ok(addresses
        .iter()
        .any(|(its, found)| *its == ifindex && found.scope == Scope::Link && !found.tentative))
}

/// Waits until a pair can send, and tells what belongs to it.
fn wired(router: &Netns, side: &Netns, index: usize) -> (Ifindex, Mac, Mac) {
    let of = |netns: &Netns, name: String| {
        let link = netns.enter(|inside| {
            let netlink = Netlink::open(inside)?;
            netlink.await_operational(&name)?;
            let link = netlink.link(&name)?.expect("it was made");
            // Neighbours are asked from it.
            while !has_link_local(&netlink, link.ifindex)? {
                thread::sleep(Duration::from_millis(1));
            }
            Ok::<_, NetlinkError>(link)
        });
        link.expect("entered")
            .unwrap_or_else(|error| panic!("{error}"))
    };
    let (here, there) = (
        of(router, format!("r{index}")),
        of(side, format!("s{index}")),
    );
    (
        here.ifindex,
        here.mac.expect("Ethernet"),
        there.mac.expect("Ethernet"),
    )
}
