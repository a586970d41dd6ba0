//! What is told of tables that fill up.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use netpath::probe::frame::FrameBuilder;
use netpath_tests::{
    between,
    command::{assert_ends, run_netpath},
    lab::{Deadline, Lab, ONE_NODE, addresses},
};

use super::{listing::flows, service};

/// As many ports as a flood has.
const PORTS: u16 = 30_000;

/// a1's datagrams to a service are translated to a2's port.
struct Asking<'a> {
    lab: &'a Lab,
    frame: FrameBuilder,
    client: IpAddr,
    asked: IpAddr,
}

impl<'a> Asking<'a> {
    fn new(lab: &'a Lab, family: usize) -> Self {
        let [client, asked, serves] =
            [addresses("a1"), service(), addresses("a2")].map(|it| it[family]);
        let command = ["iptables", "ip6tables"][family];
        let rule = format!("-A PREROUTING -d {asked} -p udp -j DNAT --to-destination {serves}");
        lab.run("A", &format!("{command} -w -t nat {rule}"));
        // Nobody answers that nobody listens.
        lab.run("a2", &format!("{command} -w -A INPUT -p udp -j DROP"));
        let record = lab.record("A", "a1");
        let frame = FrameBuilder::new(record.endpoint_mac, record.host_mac);
        Self {
            lab,
            frame,
            client,
            asked,
        }
    }

    /// One datagram from each of so many ports, unless it is to end.
    fn ask_from(&self, ports: u16, is_over: &AtomicBool) {
        let injector = self.lab.injector("a1", "eth0");
        for port in 0..ports {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            let frame = between(self.frame.clone(), self.client, self.asked);
            let frame = frame.udp(1024 + port, 53).build();
            injector.send(&frame).expect("send");
        }
    }
}

fn lab(more: &str) -> Lab {
    Lab::up(&ONE_NODE.replace("\"drop\"", &format!("\"accept\"{more}")))
}

#[test]
fn what_is_entered_while_it_is_read_was_not_evicted() {
    // More than are entered while it is read.
    let lab = lab("\nmax_connections = 65536");
    let node = lab.name("A");
    for family in [0, 1] {
        let asking = Asking::new(&lab, family);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let flood = scope.spawn(|| asking.ask_from(PORTS, &is_over));
            let mut told = Vec::new();
            // Also where the flood is over before it was read twice.
            let entered = |it: &serde_json::Value| it["entered"].as_u64();
            let deadline = Deadline::within(Duration::from_secs(60));
            while !flood.is_finished() || told.last().and_then(entered).is_none_or(|it| it == 0) {
                deadline.check(|| "nothing is entered".to_owned());
                told.push(flows(&["--node", &node])["tables"][family].clone());
            }
            is_over.store(true, Ordering::Relaxed);
            let false_alarms: Vec<_> = told.iter().filter(|it| it["evicted"] != 0).collect();
            assert!(false_alarms.is_empty(), "{false_alarms:?}");
        });
    }
}

#[test]
fn translated_connections_that_find_no_room_are_told() {
    const CONNECTIONS: u16 = 1200;
    let lab = lab("\nmax_connections = 1024");
    let node = lab.name("A");
    lab.fast_path(false, "A", None);
    let go_on = AtomicBool::new(false);
    for (family, name, room) in [
        (0, "IPv4", "1201 entries, and there is room for 1024"),
        (1, "IPv6", "1201 entries, and there is room for 1024"),
    ] {
        // Those that there is room for are told by nobody.
        let asking = Asking::new(&lab, family);
        asking.ask_from(CONNECTIONS / 2, &go_on);
        let switched = |word| run_netpath(&["fastpath", word, "--node", &node]);
        let on = switched("on");
        assert_ends(&on, 0, &[]);
        assert!(
            !String::from_utf8_lossy(&on.stderr).contains(name),
            "{on:?}"
        );
        assert_ends(&switched("off"), 0, &[]);
        asking.ask_from(CONNECTIONS, &go_on);
        assert_ends(&switched("on"), 0, &[name, room, "max_connections"]);
        assert_ends(&switched("off"), 0, &[]);
    }
}
