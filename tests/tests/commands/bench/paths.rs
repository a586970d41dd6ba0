//! Which paths are measured, and what is said of those that are not.

use super::*;

#[test]
fn what_was_asked_for_is_measured_and_nothing_else() {
    let arguments = [
        "bench",
        "--quick",
        "--rounds",
        "2",
        "--paths",
        "netpath,nft-3,netpath",
        "--measures",
        "connect",
        "--family",
        "ipv6",
        "-j",
    ];
    let (output, _) = Bench::start(&arguments).end();
    let results = results(&output);
    assert_eq!(
        (results.settings.rounds, &results.rejected[..]),
        (2, &[][..])
    );
    let mut cells: Vec<_> = results
        .samples
        .iter()
        .map(|sample| (sample.round, sample.path, sample.reach))
        .collect();
    cells.sort();
    let mut expected = Vec::new();
    for round in 0..2 {
        for path in [Path::Netpath, Path::NftRules(3)] {
            expected.extend(Reach::ALL.map(|reach| (round, path, reach)));
        }
    }
    assert_eq!(cells, expected);
    let only =
        |sample: &Sample| sample.family == Family::V6 && sample.measure == Measure::TcpConnect;
    assert!(results.samples.iter().all(only));
}

#[test]
fn what_others_would_pick_is_measured_or_named() {
    const PATHS: [(&str, Path); 9] = [
        ("direct", Path::Direct),
        ("floor", Path::Floor),
        ("floor-remote", Path::FloorRemote),
        ("nat", Path::Nat),
        ("bridge", Path::Bridge),
        ("macvlan", Path::Macvlan),
        ("ipvlan", Path::Ipvlan),
        ("vxlan", Path::Vxlan),
        ("ipip", Path::Ipip),
    ];
    let names = PATHS.map(|(name, _)| name).join(",");
    let arguments = [
        "bench",
        "--quick",
        "--rounds",
        "1",
        "--paths",
        &names,
        "--measures",
        "udp,request,connect",
        "-j",
    ];
    let (output, _) = Bench::start(&arguments).end();
    let results = results(&output);
    assert_eq!((results.schema, &results.rejected[..]), (1, &[][..]));
    assert_missing(&results);

    // As other people's scripts read it.
    let document = document(&output);
    let paths = document["paths"].as_array().expect("an array").iter();
    let paths: Vec<_> = paths.map(|state| state["path"].clone()).collect();
    let expected = PATHS.map(|(name, _)| serde_json::json!({"kind": name.replace('-', "_")}));
    assert_eq!(paths, expected);

    let cell = |sample: &Sample| (sample.path, sample.reach, sample.family, sample.measure);
    let mut cells: Vec<_> = results.samples.iter().map(cell).collect();
    cells.sort();
    let mut expected = Vec::new();
    for state in results.paths.iter().filter(|state| state.missing.is_none()) {
        for reach in Reach::ALL {
            for family in Family::ALL {
                if joins(state.path, reach, family) {
                    let measures = Measure::ALL.into_iter();
                    let measures = measures.filter(|measure| *measure != Measure::TcpBulk);
                    expected.extend(measures.map(|measure| (state.path, reach, family, measure)));
                }
            }
        }
    }
    expected.sort();
    assert_eq!(cells, expected);
    for sample in &results.samples {
        assert_adds_up(sample, results.settings.processors.len());
    }
}

/// A run with one variable of its environment changed.
fn with(variable: [&str; 2], arguments: &[&str]) -> Output {
    let [name, value] = variable;
    let mut command = netpath(arguments);
    let bench = Bench {
        child: command.env(name, value).spawn().expect("netpath starts"),
        began: Instant::now(),
    };
    bench.end().0
}

#[test]
fn the_floor_is_there_with_filters_too() {
    let arguments = [
        "bench",
        "--quick",
        "--rounds",
        "2",
        "--paths",
        "floor,floor-remote,netpath,kernel",
        "--measures",
        "udp,connect",
        "--seed",
        "7",
        "-j",
    ];
    let results = results(&with(["NETPATH_ATTACH", "clsact"], &arguments));
    assert_eq!(results.rejected, []);
    // In one of the two orders the kernel's path comes behind the floor's.
    let mut cells: Vec<_> = results
        .samples
        .iter()
        .map(|sample| {
            (
                (sample.round, sample.path),
                (sample.reach, sample.family, sample.measure),
            )
        })
        .collect();
    cells.sort();
    let mut expected = Vec::new();
    for path in [Path::Floor, Path::FloorRemote, Path::Netpath, Path::Kernel] {
        for (reach, family) in Reach::ALL
            .iter()
            .flat_map(|it| Family::ALL.map(|of| (*it, of)))
        {
            if joins(path, reach, family) {
                let measures = [Measure::UdpPacket, Measure::TcpConnect];
                expected.extend(measures.map(|measure| ((0, path), (reach, family, measure))));
            }
        }
    }
    expected.extend(
        expected
            .clone()
            .into_iter()
            .map(|((_, path), cell)| ((1, path), cell)),
    );
    expected.sort();
    assert_eq!(cells, expected);
}

#[test]
fn a_path_that_is_not_here_is_no_failure() {
    let arguments = [
        "bench",
        "--quick",
        "--rounds",
        "1",
        "--paths",
        "vxlan,netpath,nat,bridge",
        "--measures",
        "udp",
        "--family",
        "ipv4",
        "-j",
    ];
    // Neither iproute2 nor iptables is installed.
    let output = with(["PATH", "/nonexistent"], &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document = document(&output);
    let missing = |command| format!("not here: {command}: No such file or directory (os error 2)");
    let expected = serde_json::json!([
        {"path": {"kind": "vxlan"}, "missing": missing("ip -batch -")},
        {"path": {"kind": "netpath"}, "missing": null},
        {"path": {"kind": "nat"}, "missing": missing("iptables-nft-restore -w")},
        {"path": {"kind": "bridge"}, "missing": missing("ip -batch -")},
    ]);
    assert_eq!(document["paths"], expected);
    assert_eq!(document["rejected"], serde_json::json!([]));
    let results: Results = serde_json::from_value(document).expect("the document");
    let cells: Vec<_> = results
        .samples
        .iter()
        .map(|it| (it.path, it.reach))
        .collect();
    assert_eq!(cells, Reach::ALL.map(|reach| (Path::Netpath, reach)));
    let judged = stats::goals(&results);
    assert!(
        judged
            .iter()
            .all(|goal| goal.verdict == stats::Verdict::NotMeasured)
    );
}
