//! What a test does and looks at inside a lab that is up.

use std::{fs, net::IpAddr, path::Path, time::Duration};

use netpath::{
    datapath::Datapath,
    netns::Netns,
    probe::{
        Fragmentation,
        capture::{Capture, Injector},
        frame::{ParsedFrame, Transport},
        ping::{PingOptions, PingReport, ping},
    },
    provision::{self, NodeStatus},
    sysctl,
};
use netpath_common::{EndpointRecord, Mac, text};

use super::{Lab, run};

/// A ping whose packet has so many bytes from its IP header on, and may not be fragmented.
pub fn sized(length: u32, dst: IpAddr) -> PingOptions {
    let headers = if dst.is_ipv4() { 20 + 8 } else { 40 + 8 };
    PingOptions {
        payload_len: usize::try_from(length).expect("small") - headers,
        fragmentation: Fragmentation::Probe,
        timeout: Duration::from_secs(3),
        ..PingOptions::default()
    }
}

impl Lab {
    /// A node's or endpoint's namespace.
    pub fn netns(&self, short: &str) -> Netns {
        let name = self.name(short);
        Netns::named(&name).expect(&name)
    }

    /// What `show` says of a node that is up.
    pub fn status(&self, node: &str) -> NodeStatus {
        let name = self.name(node);
        let nodes = provision::observe().unwrap_or_else(|error| panic!("{error}"));
        let mut nodes = nodes.into_iter();
        let found = nodes.find(|node| node.name == name);
        found.unwrap_or_else(|| panic!("no node {name} is up"))
    }

    /// The ids of all that `show` tells of a node.
    pub fn told(&self, node: &str) -> Vec<&'static str> {
        let status = self.status(node);
        status.findings().map(|finding| finding.id).collect()
    }

    /// Runs something inside a namespace.
    pub fn inside<T: Send>(&self, short: &str, work: impl FnOnce() -> T + Send) -> T {
        self.netns(short).run(work).expect(short)
    }

    /// Runs `ip` inside a namespace.
    pub fn ip(&self, short: &str, arguments: &str) -> String {
        self.run(short, &format!("ip {arguments}"))
    }

    /// Runs a command inside a namespace; it must succeed.
    pub fn run(&self, short: &str, line: &str) -> String {
        self.inside(short, || run(line))
    }

    /// Writes `/proc/sys/net/<key>` of a namespace.
    pub fn set_sysctl(&self, short: &str, key: &str, value: &str) {
        let path = Path::new("/proc/sys/net").join(key);
        self.inside(short, || fs::write(&path, value)).expect(key);
    }

    /// A node's maps.
    pub fn datapath(&self, node: &str) -> Datapath {
        let name = self.name(node);
        let opened = Datapath::open(&name).unwrap_or_else(|error| panic!("{error}"));
        opened.unwrap_or_else(|| panic!("node {name} is not up"))
    }

    /// What a node's maps say of an endpoint.
    pub fn record(&self, node: &str, endpoint: &str) -> EndpointRecord {
        let name = self.name(endpoint);
        let records = self
            .datapath(node)
            .maps
            .endpoint_records
            .all()
            .expect("records");
        let found = records
            .iter()
            .find(|(key, _)| text(&key.name) == Some(&name));
        *found.unwrap_or_else(|| panic!("no record of {name}")).1
    }

    /// The MAC of a node's only uplink.
    pub fn uplink_mac(&self, node: &str) -> Mac {
        let records = self.datapath(node).maps.uplink_records.all();
        let mut records = records.expect("records").into_values();
        records.next().expect("an uplink").mac
    }

    /// The bits of a node's `features`.
    pub fn features(&self, node: &str) -> u32 {
        let features = self.datapath(node).maps.features.get();
        features.expect("features").bits
    }

    /// Starts capturing on an interface.
    pub fn capture(&self, short: &str, dev: &str) -> Capture {
        self.inside(short, || Capture::open(dev)).expect("capture")
    }

    /// Sends frames out of an interface.
    pub fn injector(&self, short: &str, dev: &str) -> Injector {
        self.inside(short, || Injector::open(dev))
            .expect("injector")
    }

    /// Pings once.
    pub fn ping(&self, from: &str, dst: IpAddr, options: &PingOptions) -> PingReport {
        ping(&self.netns(from), dst, options).unwrap_or_else(|error| panic!("ping: {error}"))
    }

    /// Fails unless each of a few pings has its one reply, with this TTL.
    pub fn assert_reaches(&self, from: &str, dst: IpAddr, ttl: u8) {
        self.assert_reaches_from(from, None, dst, ttl);
    }

    /// The same with a source address of one's own choice.
    pub fn assert_reaches_from(&self, from: &str, src: Option<IpAddr>, dst: IpAddr, ttl: u8) {
        let options = PingOptions {
            src,
            count: 3,
            interval: Duration::ZERO,
            timeout: Duration::from_secs(3),
            ..PingOptions::default()
        };
        let report = self.ping(from, dst, &options);
        assert!(report.is_clean(), "{from} to {dst}: {report:?}");
        let right = |reply: &netpath::probe::ping::Reply| (reply.source, reply.ttl) == (dst, ttl);
        assert!(
            report.replies.iter().all(right),
            "{from} to {dst}: {report:?}"
        );
    }

    /// Fails if a ping has a reply.
    pub fn assert_loses(&self, from: &str, dst: IpAddr) {
        let options = PingOptions {
            timeout: Duration::from_millis(150),
            ..PingOptions::default()
        };
        let report = self.ping(from, dst, &options);
        assert_eq!(report.sent, 1, "{report:?}");
        assert_eq!(report.received, 0, "{report:?}");
    }

    /// Packets that a node's FORWARD chains have seen that fell to the policy, IPv4 and IPv6, or met a rule. Without IPv6 there
    /// are none of it.
    pub fn forward_counters(&self, node: &str) -> [String; 2] {
        ["iptables", "ip6tables"].map(|command| {
            if command == "ip6tables" && !sysctl::has_ipv6() {
                return String::new();
            }
            let listing = self.run(node, &format!("{command} -w -nvxL FORWARD"));
            listing
                .lines()
                .filter(|line| !line.contains("pkts"))
                .collect()
        })
    }
}

/// The destination port of a UDP datagram.
pub fn udp_port(frame: &[u8]) -> Option<u16> {
    let ip = ParsedFrame::parse(frame).ok()?.ip().ok()?;
    match ip.transport().ok()? {
        Transport::Udp {
            destination_port, ..
        } => Some(destination_port),
        _ => None,
    }
}
