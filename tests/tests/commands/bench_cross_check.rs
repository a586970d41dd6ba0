//! netpath's own traffic generator beside iperf3 and sockperf, on the same path: both have to agree.

use std::process::Command;

use netpath::provision::UpOptions;
use netpath_bench::{Reach, Results, Sample};
use netpath_tests::{
    lab::{Lab, ONE_NODE, addresses},
    netpath,
};

/// Alternating measurements of either kind.
const ROUNDS: usize = 7;
/// How far the medians may be apart.
const AGREEMENT: f64 = 0.10;

fn installed(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        println!("{program} is not installed: nothing to compare with");
    }
    there
}

/// One node, the kernel's forwarding path: as `netpath bench --paths kernel` has it.
fn lab() -> Lab {
    let accepting = ONE_NODE.replace("forward_policy = \"drop\"\n", "");
    let mut lab = Lab::prepare(&accepting);
    lab.set_options(UpOptions {
        fast_path: Some(false),
        ..UpOptions::default()
    });
    lab.converge();
    lab
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The processors that the benchmark takes, first and second.
fn processors(results: &Results) -> [String; 2] {
    let all = &results.settings.processors;
    [all[0].to_string(), all[all.len() - 1].to_string()]
}

fn bench(measure: &str) -> Results {
    let output = netpath(&[
        "bench",
        "-j",
        "--paths",
        "kernel",
        "--measures",
        measure,
        "--family",
        "ipv4",
        "--rounds",
        "3",
    ])
    .output()
    .expect("netpath runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("the document")
}

/// The median of a figure of the samples of one node.
fn value(results: &Results, figure: impl Fn(&Sample) -> f64) -> f64 {
    let samples = results.samples.iter();
    let of = samples.filter(|sample| sample.reach == Reach::SameNode);
    median(of.map(figure).collect())
}

/// Runs a server in one endpoint and a client in the other; returns what the client printed.
fn exchange(lab: &Lab, server: &[&str], client: &[&str], port: u16) -> String {
    let start = |command: &[&str]| {
        let mut process = Command::new(command[0]);
        process
            .args(&command[1..])
            .stdout(std::process::Stdio::piped());
        process.stderr(std::process::Stdio::piped());
        process
    };
    let mut serving = lab.inside("a2", || start(server).spawn().expect("it starts"));
    let listens = || {
        let tcp = std::fs::read_to_string("/proc/thread-self/net/tcp").expect("readable");
        let tcp6 = std::fs::read_to_string("/proc/thread-self/net/tcp6").expect("readable");
        let local = format!(":{port:04X} ");
        (tcp + &tcp6).contains(&local)
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !lab.inside("a2", listens) && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let output = lab.inside("a1", || start(client).output().expect("it runs"));
    // It is this test's own child.
    serving.kill().expect("end the server");
    serving.wait().expect("the server ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Whether the medians of both, netpath's first, are close to each other.
fn agree(what: &str, [ours, theirs]: [Vec<f64>; 2]) -> bool {
    println!("{what}: netpath {ours:.3?}, the other {theirs:.3?}");
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = ours / theirs;
    println!("{what}: medians {ours:.3} and {theirs:.3}, ratio {ratio:.3}");
    (ratio - 1.0).abs() <= AGREEMENT
}

#[test]
#[ignore = "compares timings, which takes a quiet machine"]
fn bulk_tcp_agrees_with_iperf3() {
    if !installed("iperf3") {
        return;
    }
    let lab = lab();
    let destination = addresses("a2")[0].to_string();
    let (mut rates, mut cpu) = ([const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    for _ in 0..ROUNDS {
        let results = bench("bulk");
        rates[0].push(8.0 / value(&results, |sample| sample.value));
        cpu[0].push(value(&results, |sample| {
            sample.cpu_ns as f64 / sample.received as f64
        }));
        let [sender, receiver] = processors(&results);
        let both = format!("{sender},{receiver}");
        let text = exchange(
            &lab,
            &["iperf3", "-s", "-1"],
            &[
                "iperf3",
                "-c",
                &destination,
                "-t",
                "2",
                "-l",
                "128K",
                "-A",
                &both,
                "-J",
            ],
            5201,
        );
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let end = &document["end"];
        let figure = |value: &serde_json::Value| value.as_f64().expect("a number");
        let gigabits = figure(&end["sum_received"]["bits_per_second"]) / 1e9;
        let used = &end["cpu_utilization_percent"];
        let processors = (figure(&used["host_total"]) + figure(&used["remote_total"])) / 100.0;
        rates[1].push(gigabits);
        cpu[1].push(processors * 8.0 / gigabits);
    }
    // To be seen only: iperf3's has its own bookkeeping and the start and end of the test in it.
    agree("CPU time of bulk TCP, ns per byte", cpu);
    assert!(agree("bulk TCP, Gbit/s", rates));
}

#[test]
#[ignore = "compares timings, which takes a quiet machine"]
fn tcp_requests_agree_with_sockperf() {
    if !installed("sockperf") {
        return;
    }
    let lab = lab();
    let destination = addresses("a2")[0].to_string();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let results = bench("request");
        ours.push(value(&results, |sample| sample.value) / 1e3);
        let [processor, _] = processors(&results);
        let pinned = ["taskset", "-c", &processor, "sockperf"];
        let server = ["server", "--tcp", "-i", &destination, "-p", "11111"];
        let client = [
            "ping-pong",
            "--tcp",
            "-i",
            &destination,
            "-p",
            "11111",
            "-m",
            "64",
            "-t",
            "3",
            "--full-rtt",
        ];
        let text = exchange(
            &lab,
            &[&pinned[..], &server[..]].concat(),
            &[&pinned[..], &client[..]].concat(),
            11111,
        );
        let line = text.lines().find(|line| line.contains("percentile 50.000"));
        let p50 = line.and_then(|line| line.split('=').nth(1)?.trim().parse().ok());
        theirs.push(p50.unwrap_or_else(|| panic!("no median: {text}")));
    }
    assert!(agree("TCP round trip, median us", [ours, theirs]));
}
