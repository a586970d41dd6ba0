//! Killed at any moment, a run leaves nothing that the next up or down does not put right.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use netpath_tests::lab::{self, Lab, TWO_NODES, addresses};

/// Moments at which a run is killed, spread over the time it takes.
const MOMENTS: u32 = 12;

#[test]
#[ignore = "a process for the other tests"]
fn helper() {
    lab::helper();
}

fn quiet(mut command: Command) -> Command {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs to the end, and says how long that took.
fn complete(lab: &Lab, what: &str) -> Duration {
    let start = Instant::now();
    let status = quiet(lab.command(what)).status().expect("start");
    assert!(status.success(), "{what}: {status}");
    start.elapsed()
}

/// Kills a run after a part of the time it takes.
fn killed(lab: &Lab, what: &str, after: Duration) {
    let mut child = quiet(lab.command(what)).spawn().expect("start");
    thread::sleep(after);
    // SIGKILL; it may be done already.
    child.kill().expect("kill");
    child.wait().expect("wait");
}

fn assert_works(lab: &Lab) {
    assert_eq!(lab.plan(), Vec::<String>::new());
    for (from, to, ttl) in [("a1", "a2", 63), ("b1", "a2", 62)] {
        for dst in addresses(to) {
            lab.assert_reaches(from, dst, ttl);
        }
    }
}

#[test]
fn up_converges_after_an_up_that_was_killed() {
    let lab = Lab::prepare(TWO_NODES);
    let time = complete(&lab, "up");
    assert_works(&lab);
    lab.down();
    for moment in 0..=MOMENTS {
        killed(&lab, "up", time * moment / MOMENTS);
        lab.converge();
        assert_works(&lab);
        lab.down();
    }
}

#[test]
fn down_removes_what_an_up_that_was_killed_has_left() {
    let lab = Lab::prepare(TWO_NODES);
    let time = complete(&lab, "up");
    lab.down();
    for moment in 0..=MOMENTS {
        killed(&lab, "up", time * moment / MOMENTS);
        // Fails if anything is left.
        lab.down();
    }
}

#[test]
fn a_down_that_was_killed_can_be_finished_or_taken_back() {
    let lab = Lab::up(TWO_NODES);
    let time = complete(&lab, "down");
    lab.assert_nothing_left();
    for moment in 0..=MOMENTS {
        lab.converge();
        killed(&lab, "down", time * moment / MOMENTS);
        if moment % 2 == 0 {
            lab.down();
        } else {
            lab.converge();
            // Whoever was not taken down may know an uplink's MAC that is no more.
            for node in ["A", "B"] {
                lab.ip(node, "neigh flush dev up0");
            }
            assert_works(&lab);
        }
    }
}
