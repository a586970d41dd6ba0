//! Whoever switches per-packet logging changes the node's state, and is the only one who does so meanwhile.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _},
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use netpath::probe::measure::StopOnDrop;
use netpath_tests::{lab::Lab, netpath};

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
