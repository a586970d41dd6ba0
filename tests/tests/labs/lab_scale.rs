//! Many endpoints on one node.

use std::{fmt::Write as _, time::Instant};

use netpath::provision::FastPath;
use netpath_tests::lab::Lab;

const ENDPOINTS: usize = 200;

fn topology() -> String {
    let mut text = "[[node]]\nname = \"@A\"\nforward_policy = \"drop\"\n".to_owned();
    for i in 0..ENDPOINTS {
        write!(
            text,
            "[[node.endpoint]]\nname = \"@e{i}\"\nhost_dev = \"v{i}\"\n\
             addresses = [\"10.7.{i}.2/24\", \"fd00:7:{i}::2/64\"]\n"
        )
        .expect("a string takes it");
    }
    text
}

#[test]
fn two_hundred_endpoints_come_and_go() {
    let lab = Lab::prepare(&topology());
    let start = Instant::now();
    let changes = lab.converge();
    println!("{ENDPOINTS} endpoints up in {:?}", start.elapsed());
    assert_eq!(changes.len(), 1 + ENDPOINTS);

    let start = Instant::now();
    assert_eq!(lab.converge(), Vec::<String>::new());
    println!("up again in {:?}", start.elapsed());

    let maps = &lab.datapath("A").maps;
    assert_eq!(
        maps.endpoint_records.all().expect("records").len(),
        ENDPOINTS
    );
    assert_eq!(maps.endpoints().expect("endpoints").len(), 2 * ENDPOINTS);
    assert_eq!(maps.interfaces.all().expect("interfaces").len(), ENDPOINTS);
    let links = lab.ip("A", "-o link");
    for i in 0..ENDPOINTS {
        assert!(links.contains(&format!(" v{i}@")), "v{i}");
    }
    let status = lab.status("A");
    assert_eq!(
        (status.fast_path, status.endpoints.len()),
        (FastPath::On, ENDPOINTS)
    );
    assert!(
        status
            .endpoints
            .iter()
            .all(|endpoint| endpoint.drift.is_empty())
    );

    let before = lab.traffic("A");
    for (from, to) in [(0, ENDPOINTS - 1), (ENDPOINTS - 1, 7), (100, 101)] {
        for dst in [format!("10.7.{to}.2"), format!("fd00:7:{to}::2")] {
            lab.assert_reaches(&format!("e{from}"), dst.parse().expect("address"), 63);
        }
    }
    assert!(lab.traffic("A").since(&before).obeys_the_law());

    let start = Instant::now();
    // Fails if anything is left.
    assert_eq!(lab.down().len(), ENDPOINTS + 1);
    println!("{ENDPOINTS} endpoints down in {:?}", start.elapsed());
}
