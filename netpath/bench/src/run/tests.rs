//! Runs on a real lab, with traffic that does not do what it says.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use super::*;
use crate::{Family, Measure, Path, Reach, floor::Floor, netfilter};

fn options() -> BenchOptions {
    BenchOptions {
        scope: Scope {
            paths: vec![Path::Direct, Path::Netpath, Path::Kernel],
            measures: vec![Measure::UdpPacket],
            families: Family::ALL.to_vec(),
            reaches: Reach::ALL.to_vec(),
            sparse: true,
        },
        rounds: 2,
        seed: 1,
        cell: Duration::from_millis(20),
        warm_up: Duration::from_millis(5),
        budget: None,
        quick: true,
        interrupted: Arc::default(),
    }
}

/// A lab of the test's own, and a run in it.
struct Bed {
    options: BenchOptions,
    processors: Processors,
    lab: Lab,
}

impl Bed {
    fn new() -> Self {
        Self::with_ways(&[])
    }

    fn with_ways(paths: &[Path]) -> Self {
        let options = options();
        let mut lab = Lab::up(&options.interrupted).expect("a lab");
        lab.make_ways(paths).expect("made, or missing");
        Self {
            lab,
            processors: Processors::choose().expect("processors"),
            options,
        }
    }

    fn run(&self) -> Run<'_> {
        Run {
            options: &self.options,
            began: Instant::now(),
            lab: &self.lab,
            processors: &self.processors,
            switch: Switch::new(&self.lab),
            samples: Vec::new(),
            rejected: Vec::new(),
        }
    }
}

fn visit(path: Path, reach: Reach, family: Family, measure: Measure) -> Visit {
    Visit {
        path,
        reach,
        family,
        measure,
    }
}

#[test]
fn traffic_on_another_path_is_rejected() {
    let bed = Bed::new();
    let mut run = bed.run();
    let others = [
        (Path::Kernel, Path::Netpath),
        (Path::Netpath, Path::Kernel),
        (Path::Iptables, Path::Kernel),
        (Path::Iptables, Path::Netpath),
        (Path::Floor, Path::Netpath),
        (Path::Netpath, Path::Floor),
        (Path::Kernel, Path::Floor),
        (Path::Floor, Path::Kernel),
        (Path::Nat, Path::Iptables),
    ];
    for family in Family::ALL {
        for measure in [Measure::UdpPacket, Measure::TcpRequest] {
            for (taken, claimed) in others {
                run.switch
                    .to(taken, Reach::SameNode, family)
                    .expect("switched");
                let claim = visit(claimed, Reach::SameNode, family, measure);
                let reason = run
                    .measure_and_check(claim)
                    .expect("the lab works")
                    .expect_err("rejected");
                assert!(reason.starts_with("node 1: "), "{reason}");
            }
        }
    }
}

/// Those that this kernel has of some paths: what it lacks is told with a reason.
fn there(run: &mut Run<'_>, paths: &[Path]) -> Vec<Path> {
    let mut there = Vec::new();
    for &path in paths {
        let missing = match run.lab.beside.missing(path) {
            Some(reason) => Some(reason.to_owned()),
            None => run.find_missing(path).expect("the lab works"),
        };
        match missing {
            None => there.push(path),
            Some(reason) => {
                println!("{path}: {reason}");
                assert!(!reason.is_empty(), "{path}");
            }
        }
    }
    there
}

#[test]
fn every_path_is_taken_and_the_next_one_finds_nothing_of_it() {
    const PATHS: [Path; 8] = [
        Path::Floor,
        Path::FloorRemote,
        Path::Nat,
        Path::Bridge,
        Path::Macvlan,
        Path::Ipvlan,
        Path::Vxlan,
        Path::Ipip,
    ];
    let bed = Bed::with_ways(&PATHS);
    let mut run = bed.run();
    let mut expected = 0;
    for path in there(&mut run, &PATHS) {
        for reach in Reach::ALL {
            for family in Family::ALL {
                if !path.joins(reach, family) {
                    continue;
                }
                for measure in Measure::ALL {
                    run.cell(0, visit(path, reach, family, measure))
                        .expect("the lab works");
                    expected += 1;
                }
                for next in [Path::Kernel, Path::Netpath] {
                    let next = visit(next, reach, family, Measure::UdpPacket);
                    run.cell(0, next).expect("the lab works");
                    expected += 1;
                }
                // At once: what does not arrive takes seconds.
                assert_eq!(run.rejected, []);
            }
        }
    }
    assert_eq!(run.samples.len(), expected);
}

#[test]
fn a_panic_leaves_nothing_of_the_floor() {
    let bed = Bed::new();
    let [first, second] = &bed.lab.nodes;
    let family = Family::V4;
    let measure = |path| {
        let mut run = bed.run();
        let visit = visit(path, Reach::SameNode, family, Measure::UdpPacket);
        run.cell(0, visit).expect("the lab works");
        run.rejected
    };
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let floor = Floor::attach(floor::Kind::SameNode, first, second).expect("a floor");
        let under_it = measure(Path::Kernel);
        assert_eq!(under_it.len(), 1, "{floor:?}");
        panic!("on purpose");
    }));
    let panicked = panicked.expect_err("it panicked");
    assert_eq!(panicked.downcast_ref::<&str>(), Some(&"on purpose"));
    // Some kernels let go of a link a little after its last descriptor.
    let deadline = Instant::now() + Duration::from_secs(10);
    while let rejected @ [_, ..] = &measure(Path::Kernel)[..] {
        assert!(Instant::now() < deadline, "{rejected:?}");
    }
}

#[test]
fn traffic_beside_a_way_is_rejected() {
    let bed = Bed::with_ways(&[Path::Bridge]);
    let mut run = bed.run();
    run.switch
        .to(Path::Kernel, Reach::SameNode, Family::V4)
        .expect("switched");
    let before = |run: &Run<'_>, path| {
        let visit = visit(path, Reach::SameNode, Family::V4, Measure::UdpPacket);
        Counts::read(run.lab, visit).expect("readable")
    };
    let moved = |taken, claimed| {
        let before = before(&run, claimed);
        let ends = bed.lab.ends(taken, Reach::SameNode, Family::V4);
        let course = Course {
            warm_up: Duration::ZERO,
            measured: Duration::from_millis(5),
            processors: &bed.processors,
        };
        let outcome = traffic::run(Measure::UdpPacket, ends, course).expect("it arrives");
        let now = Counts::read(
            run.lab,
            visit(claimed, Reach::SameNode, Family::V4, Measure::UdpPacket),
        );
        let moved = now.expect("readable").since(&before);
        moved.check(claimed, outcome.packets)
    };
    assert_eq!(moved(Path::Bridge, Path::Bridge), Ok(()));
    for (taken, claimed) in [
        (Path::Bridge, Path::Direct),
        (Path::Direct, Path::Bridge),
        (Path::Kernel, Path::Bridge),
        (Path::Bridge, Path::Kernel),
    ] {
        let reason = moved(taken, claimed).expect_err("rejected");
        assert!(
            reason.contains(" packets were received by the interfaces of "),
            "{reason}"
        );
    }
}

#[test]
fn one_node_on_another_path_is_rejected() {
    let bed = Bed::new();
    let mut run = bed.run();
    let of = |reach| visit(Path::Netpath, reach, Family::V4, Measure::UdpPacket);
    // The first node only.
    run.switch
        .to(Path::Netpath, Reach::SameNode, Family::V4)
        .expect("switched");
    let alone = run.measure_and_check(of(Reach::SameNode));
    assert!(alone.expect("the lab works").is_ok());
    let reason = run
        .measure_and_check(of(Reach::TwoNodes))
        .expect("the lab works")
        .expect_err("rejected");
    assert!(
        reason.starts_with("node 2: 0 packets were redirected by the fast path, expected "),
        "{reason}"
    );
}

#[test]
fn nothing_is_left_of_rules_that_were_taken_away() {
    let bed = Bed::new();
    let mut run = bed.run();
    for family in Family::ALL {
        let of = |path| visit(path, Reach::SameNode, family, Measure::UdpPacket);
        for path in [Path::Iptables, Path::NftRules(10), Path::NftSet(10)] {
            for path in [path, Path::Kernel, Path::Netpath] {
                run.cell(0, of(path)).expect("the lab works");
            }
        }
    }
    assert_eq!(run.rejected, []);
    assert_eq!(run.samples.len(), 2 * 3 * 3);
    let node = &bed.lab.nodes[0].netns;
    assert_eq!(netfilter::connections(node).expect("readable"), 0);
}

#[test]
fn lost_packets_do_not_count() {
    let bed = Bed::new();
    let node = &bed.lab.nodes[0].netns;
    // The greeting passes: its second eight bytes are those of the run again, and not zero.
    nft(
        node,
        "table ip loss { counter lost {}; chain forward { type filter hook forward priority 0; \
         udp length 72 @th,128,64 0 numgen inc mod 10 == 9 counter name lost drop; }; }",
    );
    let outcome = traffic::run(
        Measure::UdpPacket,
        bed.lab.ends(Path::Kernel, Reach::SameNode, Family::V4),
        Course {
            warm_up: Duration::ZERO,
            measured: Duration::from_millis(100),
            processors: &bed.processors,
        },
    )
    .expect("most packets arrive");
    let lost = outcome.sent - outcome.received;
    assert!(
        lost * 9 <= outcome.sent && lost * 11 >= outcome.sent,
        "{outcome:?}"
    );
}

fn nft(netns: &netpath::netns::Netns, text: &str) {
    let output = netns.run(|| {
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nftables is installed");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(text.as_bytes()).expect("nft reads");
        drop(stdin);
        child.wait_with_output().expect("nft ends")
    });
    let output = output.expect("in the namespace");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_path_that_the_machine_lacks_is_missing_with_its_reason() {
    let bed = Bed::new();
    let mut run = bed.run();
    let too_long = "x".repeat(64);
    let rules = RuleSet::of(Path::NftSet(1), Family::V4).expect("has rules");
    let wrong = crate::lab::LabNode {
        name: bed.lab.nodes[0].name.clone(),
        netns: bed.lab.nodes[0].netns.try_clone().expect("a handle"),
        endpoint_devs: [Box::leak(too_long.into_boxed_str()), "bench-b"],
    };
    let error = rules.load(&wrong).expect_err("no interface has this name");
    assert!(matches!(error, BenchError::Command(_)), "{error}");
    let paths = run.find_paths().expect("the lab works");
    assert!(
        paths.iter().all(|state| state.missing.is_none()),
        "{paths:?}"
    );
}

#[test]
fn an_interruption_ends_a_run_after_the_cell() {
    let options = options();
    let interrupted = Arc::clone(&options.interrupted);
    let mut seen = 0;
    let result = run(&options, &mut |progress| {
        seen += 1;
        if progress.done == 2 {
            interrupted.store(true, Ordering::Relaxed);
        }
    });
    assert!(matches!(result, Err(BenchError::Interrupted)), "{result:?}");
    assert_eq!(seen, 3);
}

#[test]
fn a_run_ends_in_time_with_whole_rounds() {
    let options = BenchOptions {
        budget: Some(Duration::ZERO),
        ..options()
    };
    let results = run(&options, &mut |_| {}).expect("a run");
    assert_eq!(results.rejected, []);
    // Three paths, two families, two reaches, one measure, one of the two rounds.
    assert_eq!(results.samples.len(), 3 * 2 * 2);
    assert!(results.samples.iter().all(|sample| sample.round == 0));
    let said = "time was up after 1 of 2 rounds";
    assert!(results.warnings.iter().any(|warning| warning == said));
}
