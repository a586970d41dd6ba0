//! What is for people: tables and the report.

use super::*;

#[test]
fn people_get_tables_and_a_report() {
    let directory = std::env::temp_dir().join(format!("netpath-report-{}", std::process::id()));
    let arguments = [
        "bench",
        "--quick",
        "--rounds",
        "1",
        "--paths",
        "direct,netpath",
        "--family",
        "ipv4",
        "--report",
        directory.to_str().expect("UTF-8"),
    ];
    let (output, _) = Bench::start(&arguments).end();
    let page = fs::read_to_string(directory.join("report.html"));
    fs::remove_dir_all(&directory).expect("the report's directory");
    assert!(page.expect("a page").contains("netpath"));
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    let first = stdout.lines().next().unwrap_or_default();
    let said = "Of one round only, too few to be sure: on one node a packet takes ";
    assert!(first.starts_with(said), "{stdout}");
    for heading in [
        "UDP NS/PACKET",
        "REQUEST P50 US",
        "CONNECTIONS/S",
        "BULK GBIT/S",
    ] {
        assert!(stdout.contains(heading), "no {heading}: {stdout}");
    }
    for reach in ["same node", "two nodes"] {
        let rows = stdout.lines().filter(|line| {
            line.starts_with(reach) && line.split_whitespace().nth(3) == Some("netpath")
        });
        assert_eq!(rows.count(), 4, "{stdout}");
    }
    assert!(stderr.contains("1 rounds: too few"), "{stderr}");
}

#[test]
fn a_report_that_cannot_be_written_is_known_before_anything_is_measured() {
    let directory = std::env::temp_dir().join(format!("netpath-taken-{}", std::process::id()));
    fs::create_dir(&directory).expect("a directory");
    let theirs = directory.join("hop_cost.svg");
    let scales = directory.join("scale.html");
    for file in [&theirs, &scales] {
        fs::write(file, "theirs").expect("a file");
    }
    for arguments in [&["bench"][..], &["bench", "scale"]] {
        let name = if arguments.len() == 1 {
            "hop_cost.svg"
        } else {
            "scale.html"
        };
        for (place, said) in [
            (&directory, format!("{name}: not written by netpath bench")),
            (&theirs, "no report can be written to".to_owned()),
        ] {
            let place = place.to_str().expect("UTF-8");
            let arguments = [arguments, &["--quick", "--rounds", "1", "--report", place]].concat();
            let (output, _) = Bench::start(&arguments).end();
            let stderr = text(&output.stderr);
            // What was measured would have been shown.
            assert_eq!(text(&output.stdout), "", "{stderr}");
            assert_eq!(output.status.code(), Some(2), "{stderr}");
            assert!(stderr.contains(&said), "{stderr}");
        }
    }
    let kept = [&theirs, &scales].map(fs::read_to_string);
    fs::remove_dir_all(&directory).expect("the test's directory");
    assert!(
        kept.into_iter()
            .all(|text| text.expect("it stays") == "theirs")
    );
}
