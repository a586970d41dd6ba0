//! As many as a runtime starts on a node: one after the other, and all at once by as many processes.

use super::*;

/// The kernel's number for expedited grace periods, of the whole machine.
const SWITCH: &str = "/sys/kernel/rcu_expedited";

/// How many endpoints come and go: `NETPATH_ADDS`, or so many.
fn adds(unless_told: usize) -> usize {
    match env::var("NETPATH_ADDS") {
        Ok(count) => count.parse().expect("a number"),
        Err(_) => unless_told,
    }
}

fn both(i: usize) -> [String; 2] {
    [
        format!("10.8.{}.{}/32", i / 200, i % 200 + 1),
        format!("fd00:8::{i:x}/128"),
    ]
}

#[test]
fn many_come_one_by_one_and_all_at_once() {
    let count = adds(40);
    let lab = Lab::up(ONE_NODE);
    let before = state(&lab, "A");
    let mut times = Vec::new();
    for i in 0..count {
        let addresses = both(i);
        let addresses = [addresses[0].as_str(), &addresses[1]];
        let new = new(&lab, "A", &text(&lab, &format!("e{i}"), &addresses), None);
        let start = Instant::now();
        add(&lab, &new);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!(
        "one add of {count}: p50 {:?}, last {:?}",
        times[count / 2],
        times[count - 1]
    );
    check_all(&lab, count);
    for i in 0..count {
        remove(&lab, &format!("e{i}"));
    }
    assert_eq!(state(&lab, "A"), before, "after {count} were removed");

    let start = Instant::now();
    let children = (0..count).map(|i| {
        let [v4, v6] = both(i);
        let words =
            format!("endpoint add @e{i} --node @A --address {v4} --address {v6} --host-dev ve{i}");
        command(&lab, &words).spawn().expect("start")
    });
    for child in children.collect::<Vec<_>>() {
        let output = child.wait_with_output().expect("wait");
        assert!(output.status.success(), "{output:?}");
    }
    println!("{count} at once in {:?}", start.elapsed());
    check_all(&lab, count);
    let children: Vec<_> = (0..count)
        .map(|i| {
            command(&lab, &format!("endpoint remove @e{i}"))
                .spawn()
                .expect("start")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("wait");
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(state(&lab, "A"), before, "after {count} were removed");
}

/// As a runtime adds them on a machine, by a process for each; `NETPATH_ADDS=300` with a release binary measures that.
#[test]
fn one_add_on_a_machine_as_it_is_and_in_haste() {
    let count = adds(10);
    on_a_machine(|lab| {
        lab.converge();
        let before = state(lab, "H");
        for option in ["", " --expedite"] {
            let is_due =
                || !option.is_empty() || std::fs::read_to_string(SWITCH).expect(SWITCH) == "0\n";
            let mut times = Vec::new();
            for i in 0..count {
                let [v4, v6] = both(i);
                let words = format!(
                    "endpoint add @e{i} --node @H --address {v4} --address {v6} --host-dev ve{i}{option}"
                );
                let was_due = is_due();
                let start = Instant::now();
                let output = command(lab, &words).output().expect("start");
                let time = start.elapsed();
                assert!(output.status.success(), "{output:?}");
                // Another test's haste is the whole machine's.
                if was_due && is_due() {
                    times.push(time);
                }
            }
            times.sort_unstable();
            let p50 = times.get(times.len() / 2);
            println!("endpoint add{option}: p50 {p50:?} of {}", times.len());
            assert_eq!(lab.status("H").endpoints.len(), count + 2);
            for to in both(count - 1) {
                lab.assert_reaches("e0", of(&to), 63);
            }
            for i in 0..count {
                remove(lab, &format!("e{i}"));
            }
            assert_eq!(state(lab, "H"), before, "after {count} were removed");
        }
    });
}

fn check_all(lab: &Lab, count: usize) {
    let status = lab.status("A");
    assert_eq!(status.endpoints.len(), count + 2);
    assert_eq!(lab.told("A"), Vec::<&str>::new());
    let last = format!("10.8.{}.{}", (count - 1) / 200, (count - 1) % 200 + 1);
    lab.assert_reaches("e0", last.parse().expect("address"), 63);
    lab.assert_reaches(
        "e7",
        format!("fd00:8::{:x}", count - 1).parse().expect("address"),
        63,
    );
    lab.assert_reaches("a1", "10.8.0.3".parse().expect("address"), 63);
}
