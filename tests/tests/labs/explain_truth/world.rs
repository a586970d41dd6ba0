//! A random lab that is up, with all that looks at it.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::File,
    net::{TcpListener, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use netpath::{
    command, model,
    netns::Netns,
    probe::capture::{Capture, Injector},
    random::SplitMix64,
};
use netpath_common::{Family, Mac};
use netpath_tests::{lab::Lab, random_rules::ip, raw::Raw};

use super::{
    changes::{Change, Changes, OUTSIDE, SPOOFED},
    socket,
    topology::Shape,
};

/// Who listens everywhere.
pub const PORTS: [u16; 7] = [53, 80, 443, 5000, 8080, 9000, 33_434];

/// An interface of a place's, and what goes by there.
pub struct Watched {
    pub place: String,
    pub dev: String,
    pub capture: Capture,
}

/// A namespace.
pub struct Inside {
    /// What it takes in, by family.
    pub raw: HashMap<Family, Vec<Raw>>,
    /// What its ICMP has counted, by family.
    pub icmp: HashMap<Family, File>,
    _listeners: Vec<TcpListener>,
    _sockets: Vec<UdpSocket>,
}

pub struct World {
    pub lab: Lab,
    pub shape: Shape,
    pub watched: Vec<Watched>,
    pub insides: HashMap<String, Inside>,
    /// Into each uplink, from its wire: by node and interface.
    injectors: HashMap<(String, String), (Injector, Mac)>,
    pub told: String,
}

/// The place that a host in no topology is, on a wire.
pub fn outside(wire: u8) -> String {
    format!("O{wire}")
}

impl World {
    pub fn new(random: &mut SplitMix64) -> Self {
        let shape = Shape::random(random);
        let lab = Lab::up(&shape.text);
        let mut world = Self {
            lab,
            shape,
            watched: Vec::new(),
            insides: HashMap::new(),
            injectors: HashMap::new(),
            told: String::new(),
        };
        world.told.push_str(&world.shape.text);
        for wire in [1, 2] {
            if world
                .shape
                .nodes
                .iter()
                .any(|it| it.uplinks.iter().any(|its| its.wire == wire))
                && random.below(2) == 0
            {
                world.add_outside(wire);
            }
        }
        for place in world.shape.places() {
            world.quieten(&place);
        }
        for change in Changes::random(&world.shape.clone(), random) {
            world.apply(change);
        }
        world.watch();
        world
    }

    fn has(&self, place: &str) -> bool {
        self.insides.contains_key(place)
    }

    /// Whether there is a host in no topology on a wire.
    pub fn has_outside(&self, wire: u8) -> bool {
        self.has(&outside(wire))
    }

    fn add_outside(&mut self, wire: u8) {
        let name = outside(wire);
        drop(self.lab.foreign_namespace(&name));
        let full = self.lab.name(&name);
        let netns = self.wire(wire);
        let bridge =
            netns.run(|| command::run("ip", &["-br", "link", "show", "type", "bridge"], ""));
        let bridge = bridge.expect("entered").expect("ip");
        let bridge = bridge
            .split_whitespace()
            .next()
            .expect("a bridge")
            .to_owned();
        let lines = format!(
            "link add o{wire} type veth peer name eth0 netns {full}\nlink set o{wire} master {bridge} up\n"
        );
        let made = netns.run(|| command::run("ip", &["-batch", "-"], &lines));
        drop(made.expect("entered").expect("ip"));
        self.quieten(&name);
        let mut lines = "link set lo up\nlink set eth0 up\n".to_owned();
        for family in Family::ALL {
            let (length, nodad) = if family == Family::V4 {
                (24, "")
            } else {
                (48, " nodad")
            };
            let address = ip(family, [9, wire, OUTSIDE]);
            writeln!(lines, "addr add {address}/{length} dev eth0{nodad}").expect("a string");
        }
        let inside = self.lab.inside(&name, || {
            command::run("ip", &["-batch", "-"], &lines).expect("ip");
            command::run("nft", &["-f", "-"], DEAF).expect("nft");
            open()
        });
        self.insides.insert(name.clone(), inside);
        writeln!(self.told, "# {name} is on wire w{wire}").expect("a string");
        let capture = self.lab.capture(&name, "eth0");
        self.watched.push(Watched {
            place: name,
            dev: "eth0".to_owned(),
            capture,
        });
    }

    fn wire(&self, wire: u8) -> Netns {
        let name = self.lab.wire_namespace(&format!("w{wire}"));
        Netns::named(&name).expect(&name)
    }

    /// Errors are not limited, and who is not there is given up soon.
    fn quieten(&self, place: &str) {
        let mut settings = vec![
            ("ipv4/icmp_ratelimit".to_owned(), "0"),
            ("ipv4/icmp_ratemask".to_owned(), "0"),
            ("ipv6/icmp/ratelimit".to_owned(), "0"),
            ("ipv4/tcp_synack_retries".to_owned(), "0"),
            ("ipv4/conf/all/send_redirects".to_owned(), "0"),
            ("ipv4/conf/default/send_redirects".to_owned(), "0"),
        ];
        let own = self.shape.interfaces();
        let devs = own.iter().filter(|(its, _)| its == place);
        for dev in devs.map(|(_, dev)| dev.as_str()) {
            settings.push((format!("ipv4/conf/{dev}/send_redirects"), "0"));
            for tree in ["ipv4", "ipv6"] {
                settings.push((format!("{tree}/neigh/{dev}/mcast_solicit"), "1"));
                settings.push((format!("{tree}/neigh/{dev}/retrans_time_ms"), "20"));
            }
        }
        for (key, value) in settings {
            self.lab.set_sysctl(place, &key, value);
        }
    }

    fn apply(&mut self, change: Change) {
        let told = match &change {
            Change::Line(place, line) => format!("{place}: {line}"),
            Change::Call(place, (program, _, input)) => format!("{place}: {program}\n{input}"),
            Change::Setting(place, key, value) => format!("{place}: {key}={value}"),
            Change::FastPath(node, endpoint, mode) => {
                format!(
                    "fast path {mode:?} of {node} {}",
                    endpoint.as_deref().unwrap_or("")
                )
            }
        };
        writeln!(self.told, "# {told}").expect("a string");
        let run = |place: &str, program: &str, arguments: &[&str], input: &str| {
            self.lab
                .inside(place, || command::run(program, arguments, input))
                .map_err(|error| error.to_string())
        };
        let done = match &change {
            Change::Line(place, line) => {
                let words: Vec<&str> = line.split_whitespace().collect();
                let (program, arguments) = words.split_first().expect("a command");
                run(place, program, arguments, "")
            }
            Change::Call(place, (program, arguments, input)) => {
                run(place, program, arguments, input)
            }
            Change::Setting(place, key, value) => {
                self.lab.set_sysctl(place, key, value);
                Ok(String::new())
            }
            Change::FastPath(node, endpoint, mode) => {
                let _words = self.lab.fast_path(*mode, node, endpoint.as_deref());
                Ok(String::new())
            }
        };
        // A route by what is down, say: then nothing is changed.
        if let Err(error) = done {
            writeln!(self.told, "#   refused: {error}").expect("a string");
        }
    }

    fn watch(&mut self) {
        for (place, dev) in self.shape.interfaces() {
            // What is down is not captured.
            let capture = self
                .lab
                .inside(&place, || Capture::open(&dev))
                .expect("a capture");
            self.watched.push(Watched {
                place,
                dev,
                capture,
            });
        }
        for place in self.shape.places() {
            let inside = self.lab.inside(&place, open);
            self.insides.insert(place, inside);
        }
        for node in self.shape.nodes.clone() {
            for uplink in &node.uplinks {
                let name = self.lab.name(&node.name).parse().expect("a name");
                let dev = uplink.dev.parse().expect("a name");
                let port = model::wire_port(&name, &dev).to_string();
                let injector = self.wire(uplink.wire).run(|| Injector::open(&port));
                let injector = injector.expect("entered").expect("an injector");
                let mac = self.lab.mac(&node.name, &uplink.dev);
                let key = (node.name.clone(), uplink.dev.clone());
                self.injectors.insert(key, (injector, mac));
            }
        }
    }

    /// Into a node, by an uplink.
    pub fn injector(&self, node: &str, dev: &str) -> &(Injector, Mac) {
        &self.injectors[&(node.to_owned(), dev.to_owned())]
    }

    /// The name without the lab's prefix.
    pub fn short(&self, name: &str) -> String {
        name.strip_prefix(self.lab.prefix())
            .unwrap_or(name)
            .to_owned()
    }

    /// Forgets what was seen so far, and waits until nothing more comes.
    pub fn clear(&mut self) {
        let begun = Instant::now();
        loop {
            let mut is_quiet = true;
            for watched in &mut self.watched {
                while let Ok(Some(_)) = watched.capture.next(Duration::ZERO) {
                    is_quiet = false;
                }
            }
            for inside in self.insides.values() {
                for raw in inside.raw.values().flatten() {
                    while raw.next().is_some() {}
                }
            }
            if is_quiet || begun.elapsed() > Duration::from_millis(300) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The wire that an interface of a place's is on.
    pub fn wire_of(&self, place: &str, dev: &str) -> Option<u8> {
        let node = self.shape.nodes.iter().find(|node| node.name == place)?;
        let uplink = node.uplinks.iter().find(|uplink| uplink.dev == dev)?;
        Some(uplink.wire)
    }

    /// Whether an endpoint has the address that netpath does not know of.
    pub fn has_spoofed(&self, family: Family, endpoint: &str) -> bool {
        let line = format!(
            "# {endpoint}: ip {} addr add {}/",
            if family == Family::V4 { "-4" } else { "-6" },
            ip(family, SPOOFED)
        );
        self.told.contains(&line)
    }
}

fn open() -> Inside {
    let raw = Family::ALL.map(|family| (family, Raw::all(family)));
    let icmp = [(Family::V4, "snmp"), (Family::V6, "snmp6")].map(|(family, name)| {
        (
            family,
            File::open(format!("/proc/thread-self/net/{name}")).expect(name),
        )
    });
    Inside {
        raw: raw.into_iter().collect(),
        icmp: icmp.into_iter().collect(),
        _listeners: PORTS
            .map(|port| TcpListener::bind(("::", port)).expect("a port"))
            .into(),
        _sockets: PORTS.map(socket::reusable).into(),
    }
}

/// It takes nothing in and says nothing but what finds neighbours.
const DEAF: &str = "table inet deaf { chain in { type filter hook input priority 0; policy drop;
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
}
chain out { type filter hook output priority 0; policy drop;
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
}
}\n";
