//! Packets are logged in words. Whoever switches per-packet logging changes the node's state, and is the only one who does so meanwhile.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _},
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use netpath::probe::{measure::StopOnDrop, ping::PingOptions};
use netpath_tests::{
    lab::{Lab, TWO_NODES, addresses},
    netpath,
};

/// Endpoints that are made one by one while logging goes on and off, at most.
const ENDPOINTS: usize = 100;
/// How often logging goes on and off.
const ROUNDS: usize = 6;

fn with(endpoints: usize) -> String {
    let mut text = "[[node]]\nname = \"@A\"\n".to_owned();
    for number in 1..=endpoints {
        text += &format!(
            "[[node.endpoint]]\nname = \"@a{number}\"\naddresses = [\"10.90.{number}.2/24\"]\n\
             host_dev = \"va{number}\"\n"
        );
    }
    text
}

/// A packet is told by the names of interfaces and endpoints, with what became of it and its addresses.
#[test]
fn packets_are_told_in_words_and_by_a_filter() {
    let lab = Lab::up(TWO_NODES);
    let node = lab.name("A");
    let logged = |filters: &[&str]| -> Vec<String> {
        let mut arguments = vec!["fastpath", "on", "--node", &node, "--debug-datapath"];
        for filter in filters {
            arguments.extend(["--debug-filter", filter]);
        }
        let mut child = netpath(&arguments).spawn().expect("start netpath");
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut line = String::new();
        while !line.contains("every packet is logged") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).expect("stderr"), 0, "it ended");
        }
        for to in ["a2", "b1"] {
            for dst in addresses(to) {
                let ttl = if to == "a2" { 63 } else { 62 };
                lab.assert_reaches("a1", dst, ttl);
            }
        }
        // The source is another's.
        lab.ip("a1", "addr add 10.0.9.9/32 dev eth0");
        let forged = PingOptions {
            src: Some([10, 0, 9, 9].into()),
            timeout: Duration::from_millis(100),
            ..PingOptions::default()
        };
        assert_eq!(lab.ping("a1", addresses("a2")[0], &forged).received, 0);
        lab.ip("a1", "addr del 10.0.9.9/32 dev eth0");
        for dst in addresses("a2") {
            let short = PingOptions {
                ttl: Some(1),
                timeout: Duration::from_millis(100),
                ..PingOptions::default()
            };
            assert_eq!(lab.ping("a1", dst, &short).received, 0);
        }
        // What is logged is read at once; the last of it may be on its way.
        std::thread::sleep(Duration::from_millis(300));
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .expect("kill")
                .success()
        );
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).expect("stderr");
        assert!(child.wait().expect("wait").success());
        let lines = rest.lines().filter(|line| line.contains(" bytes"));
        lines.map(|line| line.replace(lab.prefix(), "")).collect()
    };
    let a1 = "endpoint a1";
    let all = logged(&[]);
    for words in [
        format!("A: va1 > va2 redirect_peer, 98 bytes, 10.0.1.2 > 10.0.2.2, {a1}"),
        format!("A: va1 > va2 redirect_peer, 118 bytes, fd00:1::2 > fd00:2::2, {a1}"),
        format!("A: va1 > up0 redirect_neigh, 98 bytes, 10.0.1.2 > 10.0.3.2, {a1}"),
        format!("A: up0 > va1 redirect_peer, 118 bytes, fd00:3::2 > fd00:1::2, {a1}"),
        format!("A: va1 drop spoofed, 98 bytes, 10.0.9.9 > 10.0.2.2, {a1}"),
        format!("A: va1 punt ttl_exceeded, 98 bytes, 10.0.1.2 > 10.0.2.2, {a1}"),
        format!("A: va1 punt ttl_exceeded, 118 bytes, fd00:1::2 > fd00:2::2, {a1}"),
    ] {
        assert!(
            all.iter().any(|line| line.ends_with(&words)),
            "no {words:?} in {all:#?}"
        );
    }
    let dropped = logged(&["outcome=drop"]);
    assert_eq!(dropped.len(), 1, "{dropped:?}");
    assert!(dropped[0].contains("va1 drop spoofed"), "{dropped:?}");
    let punted = logged(&["reason=ttl_exceeded"]);
    assert_eq!(punted.len(), 2, "{punted:?}");
    for line in &punted {
        assert!(line.contains("va1 punt ttl_exceeded"), "{punted:?}");
    }
    let of_it = logged(&[&format!("endpoint={}", lab.name("a1"))]);
    assert!(of_it.iter().all(|line| line.ends_with(a1)), "{of_it:#?}");
    // To four addresses and back, with a source of another's, and too short a way.
    for (words, count) in [("redirect", 18), ("spoofed", 1), ("ttl_exceeded", 2)] {
        let found = of_it.iter().filter(|line| line.contains(words));
        assert_eq!(found.count(), count, "{words}: {of_it:#?}");
    }
    let some = logged(&["address=fd00:3::/64", "interface=va1"]);
    assert_eq!(some.len(), 6, "there and back: {some:#?}");
    assert!(
        some.iter().all(|line| line.contains("fd00:3::2")),
        "{some:#?}"
    );
}

/// Switches logging on, and off again as soon as it is on. An `up` in between may have ended it already.
fn log_once(node: &str) {
    let mut command = netpath(&["fastpath", "on", "--node", node, "--debug-datapath"]);
    let mut child = command.spawn().expect("start netpath");
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut line = String::new();
    while stderr.read_line(&mut line).expect("stderr") != 0 {
        if line.contains("every packet is logged") {
            let pid = child.id().to_string();
            let status = Command::new("kill").args(["-INT", &pid]).status();
            assert!(status.expect("kill").success());
            break;
        }
        line.clear();
    }
    stderr.read_to_string(&mut line).expect("stderr");
    child.wait().expect("wait");
}

#[test]
fn logging_beside_an_up_makes_no_endpoint_id_twice() {
    let mut lab = Lab::up(&with(1));
    let node = lab.name("A");
    let (is_done, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut endpoints = 1;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                log_once(&node);
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _done = StopOnDrop(&is_done);
        while endpoints < ENDPOINTS && rounds.load(Ordering::Relaxed) < ROUNDS {
            endpoints += 1;
            lab.rewrite(&with(endpoints));
            lab.converge();
            // Who waits for the lock asks for it twenty times a second.
            thread::sleep(Duration::from_millis(60));
        }
    });
    assert!(rounds.into_inner() > 2, "{endpoints} endpoints");
    let ids: BTreeSet<u32> = (1..=endpoints)
        .map(|number| lab.record("A", &format!("a{number}")).id.0)
        .collect();
    assert_eq!(ids.len(), endpoints, "{ids:?}");
    // Whatever the last of them left, the next up ends it.
    lab.converge();
    assert_eq!(lab.plan(), Vec::<String>::new());
}
