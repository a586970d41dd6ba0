//! The traffic of an endpoint, while it goes.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    net::{IpAddr, SocketAddr, UdpSocket},
    process::{Child, Output},
    thread,
    time::Duration,
};

use netpath::netns::Netns;
use netpath_tests::{
    lab::{Deadline, Lab, ONE_NODE, addresses, run},
    netpath,
};
use serde_json::Value;

use super::{FAMILIES, steps};

/// A `netpath trace --endpoint` that runs meanwhile. It is killed with the test.
pub struct Live(Child);

impl Live {
    pub fn begin(lab: &Lab, arguments: &str) -> Self {
        let arguments = arguments.replace('@', lab.prefix());
        let words: Vec<&str> = ["trace", "-j", "--endpoint"]
            .into_iter()
            .chain(arguments.split(' '))
            .collect();
        let live = Self(netpath(&words).spawn().expect("netpath runs"));
        let deadline = Deadline::new();
        while live.programs().len() < 4 || !live.waits_for_events() {
            deadline.check(|| "the trace does not begin".to_owned());
            thread::sleep(Duration::from_millis(5));
        }
        live
    }

    /// Whether it waits for what it is told: then its programs are attached and the nodes asked, and what these remembered before is
    /// forgotten. It does nothing else in `poll`.
    fn waits_for_events(&self) -> bool {
        let path = format!("/proc/{}/syscall", self.0.id());
        let text = fs::read_to_string(path).unwrap_or_default();
        let number = text.split(' ').next().and_then(|it| it.parse().ok());
        number.is_some_and(|it: i64| [libc::SYS_poll, libc::SYS_ppoll].contains(&it))
    }

    /// The programs that it has open, by their ids.
    pub fn programs(&self) -> BTreeSet<u32> {
        let directory = format!("/proc/{}/fdinfo", self.0.id());
        let infos = fs::read_dir(directory).into_iter().flatten().flatten();
        let links = infos.filter_map(|info| {
            let text = fs::read_to_string(info.path()).ok()?;
            let is_link = text.contains("link_type:");
            let id = text
                .lines()
                .find_map(|line| line.strip_prefix("prog_id:"))?;
            is_link.then(|| id.trim().parse().ok())?
        });
        links.collect()
    }

    pub fn signal(&self, signal: &str) {
        let id = self.0.id().to_string();
        let status = std::process::Command::new("kill")
            .args([signal, &id])
            .status();
        assert!(status.expect("kill runs").success());
    }

    /// Ends it as Ctrl-C does, and what it has said, a document for each packet.
    fn end(mut self) -> (Vec<Value>, Output) {
        self.signal("-INT");
        let mut stdout = Vec::new();
        let mut pipe = self.0.stdout.take().expect("a pipe");
        pipe.read_to_end(&mut stdout).expect("read");
        let status = self.0.wait().expect("wait");
        let mut stderr = Vec::new();
        let mut pipe = self.0.stderr.take().expect("a pipe");
        pipe.read_to_end(&mut stderr).expect("read");
        let lines = String::from_utf8(stdout.clone()).expect("text");
        let documents = lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        let output = Output {
            status,
            stdout,
            stderr,
        };
        (documents.collect(), output)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // It may have ended.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Sends datagrams from an endpoint to a port of another, where somebody reads them or not.
fn send(lab: &Lab, from: &str, to: SocketAddr, count: usize) {
    let own = addresses(from)
        .into_iter()
        .find(|own| own.is_ipv4() == to.is_ipv4());
    let own = SocketAddr::new(own.expect("an address"), 0);
    let socket = lab.inside(from, || UdpSocket::bind(own)).expect("a port");
    for number in 0..count {
        let payload = [number as u8; 64];
        // An error of the one before is told with the next.
        let _told = socket.send_to(&payload, to);
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn live_traffic_is_what_the_filter_says() {
    let lab = Lab::up(ONE_NODE);
    for (to, family) in addresses("a2").into_iter().zip(FAMILIES) {
        let live = Live::begin(&lab, "@a1 udp dst port 7001 and not src port 9");
        let reader = lab.inside("a2", || UdpSocket::bind(SocketAddr::new(to, 7001)));
        let reader = reader.expect("a port");
        for port in [7000, 7001, 7002] {
            send(&lab, "a1", SocketAddr::new(to, port), 10);
        }
        // The endpoint's traffic, but not what the filter wants; and not the endpoint's.
        lab.assert_reaches("a1", to, 63);
        lab.assert_reaches("a2", addresses("a1")[usize::from(to.is_ipv6())], 63);
        let (documents, output) = live.end();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(documents.len(), 10, "{family}: {documents:#?}");
        for packet in &documents {
            assert_eq!(packet["destination_port"], 7001, "{packet:#}");
            assert_eq!(
                (&packet["direction"], &packet["outcome"]),
                (&"there".into(), &"arrived".into())
            );
            let shown = steps(&lab, packet);
            let expected = [
                "a1 eth0 sent",
                "A va1 received",
                "A va1 decided redirect_peer va2",
            ];
            assert_eq!(shown[..3], expected, "{packet:#}");
        }
        drop(reader);
    }
}

/// Somebody elsewhere on the machine has the same addresses, as with containers within containers; and a packet that a program is
/// asked about is on no way.
#[test]
fn what_is_not_the_endpoints_is_not_shown() {
    // Addresses that no other test's lab has: those of two labs are told apart anyway.
    let text = ONE_NODE
        .replace("10.0.1.", "10.61.1.")
        .replace("fd00:1:", "fd00:61:");
    let lab = Lab::up(&text);
    let own = ["10.61.1.2", "fd00:61::2"].map(|it| it.parse::<IpAddr>().expect("an address"));
    for (own, to) in own.into_iter().zip(addresses("a2")) {
        let live = Live::begin(&lab, "@a1");
        let stranger = Netns::unnamed().expect("a namespace");
        let say = || -> std::io::Result<()> {
            for line in ["ip link set lo up", "ip link add s0 type veth peer name s1"] {
                run(line);
            }
            for (dev, address) in [("s0", own), ("lo", to)] {
                let nodad = if own.is_ipv4() { "" } else { " nodad" };
                run(&format!("ip addr add {address} dev {dev}{nodad}"));
            }
            let socket = UdpSocket::bind(SocketAddr::new(own, 0))?;
            for _ in 0..5 {
                socket.send_to(b"stranger", SocketAddr::new(to, 7009))?;
            }
            Ok(())
        };
        stranger.run(say).expect("inside").expect("sent");
        let output = netpath(&["explain", &lab.name("a1"), &lab.name("a2")]).output();
        assert_eq!(output.expect("netpath").status.code(), Some(0));
        lab.assert_reaches("a1", to, 63);
        let (documents, output) = live.end();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        // Three echoes and their answers.
        let shown: Vec<Vec<String>> = documents.iter().map(|it| steps(&lab, it)).collect();
        let first = shown.iter().map(|steps| steps[0].as_str());
        assert_eq!(
            first.collect::<Vec<_>>(),
            ["a1 eth0 sent", "a2 eth0 sent"].repeat(3),
            "{documents:#?}"
        );
    }
}

#[test]
fn only_drops_are_shown_where_they_are_asked_for() {
    let lab = Lab::up(ONE_NODE);
    for (index, to) in addresses("a2").into_iter().enumerate() {
        let live = Live::begin(&lab, "@a1 --drops");
        send(&lab, "a1", SocketAddr::new(to, 7001), 10);
        lab.assert_reaches("a1", to, 63);
        let wrong = SocketAddr::new(["10.0.9.9", "fd00:9::9"][index].parse().expect("it"), 7002);
        send(&lab, "a1", wrong, 3);
        let (documents, output) = live.end();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let (no_route, other): (Vec<_>, Vec<_>) = documents
            .iter()
            .partition(|it| it["destination_port"] == 7002);
        assert_eq!(no_route.len(), 3, "{documents:#?}");
        for packet in no_route {
            assert_eq!(
                (&packet["outcome"], &packet["place"]),
                (&"dropped".into(), &lab.name("A").into())
            );
            assert_eq!(packet["why"], "the kernel has no route for it");
        }
        assert_eq!(other.len(), 0, "{other:#?}");
    }
}
