//! Damage from outside, one of each kind: every pin removed and led elsewhere, every link detached, every filter removed,
//! every row of every map deleted, altered field by field, and a foreign one put beside it. `show` tells each, no forged
//! packet passes unless the very program that checks is gone, and one `up` mends it.

mod damages;

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use netpath::{
    Ends as _,
    netlink::Netlink,
    netns::Inside,
    probe::{
        capture::{Capture, Injector},
        frame::FrameBuilder,
    },
    provision,
};
use netpath_common::Mac;
use netpath_tests::{
    lab::{Deadline, Lab, TWO_NODES, addresses, in_a_process, udp_port},
    netpath,
};

use damages::{Damage, End};

#[test]
fn every_pin_is_told_and_mended() {
    in_mode("pins", default_mode());
}

#[test]
fn every_link_is_told_and_mended() {
    if netpath_tests::has_tcx() {
        in_mode("links", "tcx");
    }
}

#[test]
fn every_filter_is_told_and_mended() {
    in_mode("filters", "clsact");
}

#[test]
fn every_row_is_told_and_mended() {
    in_mode("rows", default_mode());
}

fn default_mode() -> &'static str {
    if netpath_tests::has_tcx() {
        "tcx"
    } else {
        "clsact"
    }
}

fn in_mode(test: &str, mode: &str) {
    in_a_process(test, mode, &format!("damages with {mode}"));
}

/// The kernel lets through what netpath leaves to it, so that what is not checked arrives; an endpoint with a prefix,
/// so that each table has an entry of each kind.
fn topology() -> String {
    TWO_NODES
        .replace("forward_policy = \"drop\"\n", "")
        .replacen(
            "host_dev = \"va1\"",
            "host_dev = \"va1\", prefixes = [\"10.9.0.0/28\", \"fd00:9::/64\"]",
            1,
        )
        // The other node leads there, too.
        .replacen(
            "    { dst = \"10.0.1.0/24\", via",
            "    { dst = \"10.9.0.0/28\", via = \"100.100.198.250\" },\n    \
             { dst = \"fd00:9::/64\", via = \"fd00:198::250\" },\n    { dst = \"10.0.1.0/24\", via",
            1,
        )
}

#[test]
#[ignore = "a process for the other tests"]
fn pins() {
    each(|lab| [damages::map_pins(lab), damages::program_pins(lab)].concat());
}

#[test]
#[ignore = "a process for the other tests"]
fn links() {
    each(damages::links);
}

#[test]
#[ignore = "a process for the other tests"]
fn filters() {
    each(|lab| [damages::filters(lab), damages::program_pins(lab)].concat());
}

#[test]
#[ignore = "a process for the other tests"]
fn rows() {
    each(|lab| [damages::gates(lab), damages::rows(lab)].concat());
}

fn each(list: fn(&Lab) -> Vec<Damage>) {
    let Ok(mode) = std::env::var("NETPATH_ATTACH") else {
        return;
    };
    let lab = Lab::up(&topology());
    assert!(!gets_through(&lab), "nothing is damaged");
    let damages = list(&lab);
    println!("{} damages with {mode}", damages.len());
    let names: BTreeSet<&str> = damages.iter().map(|damage| damage.name.as_str()).collect();
    assert_eq!(names.len(), damages.len(), "each once");
    let mut wrong = Vec::new();
    for damage in &damages {
        if let Err(problem) = inflict(&lab, damage) {
            println!("{}: {problem}", damage.name);
            wrong.push(format!("{}: {problem}", damage.name));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_honest(&lab);
    lab.down();
}

/// Does a damage, and says what is not as it should be then.
fn inflict(lab: &Lab, damage: &Damage) -> Result<(), String> {
    let undo = (damage.act)(lab);
    let told = findings(lab);
    let passes = gets_through(lab);
    let result = match (damage.end, told.is_empty()) {
        (End::Unseen(_), true) => Ok(()),
        (End::Unseen(why), false) => Err(format!("is seen, though {why}: {told:?}")),
        (_, true) => Err("is not told".to_owned()),
        (_, false) => Ok(()),
    };
    let let_through = match (passes, damage.takes_the_check) {
        (true, false) => Err("lets a forged packet through".to_owned()),
        _ => Ok(()),
    };
    let mended = match damage.end {
        End::Mended => mended(lab),
        End::Refused => refused(lab),
        End::Unseen(_) | End::Wish => Ok(()),
    };
    if mended.is_err() || !matches!(damage.end, End::Mended) {
        undo(lab);
    }
    let whole = whole(lab);
    result.and(let_through).and(mended).and(whole)
}

/// Everything that `show` tells of node A.
fn findings(lab: &Lab) -> Vec<String> {
    let nodes = provision::observe().unwrap_or_else(|error| panic!("{error}"));
    let node = nodes.iter().find(|found| found.name == lab.name("A"));
    let Some(node) = node else {
        return vec!["there is no such node".to_owned()];
    };
    node.findings()
        .map(|finding| format!("{}: {}", finding.id, finding.problem))
        .collect()
}

fn mended(lab: &Lab) -> Result<(), String> {
    match lab.try_converge() {
        Ok(changes) if changes.is_empty() => Err("up has nothing to do".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("up fails: {error}")),
    }
}

/// `up` says what else is to be done, and touches nothing.
fn refused(lab: &Lab) -> Result<(), String> {
    match lab.try_converge() {
        Ok(_) => Err("up does not refuse it".to_owned()),
        Err(error) if error.is_refusal() => Ok(()),
        Err(error) => Err(format!("up fails: {error}")),
    }
}

/// All is as it was, and works.
fn whole(lab: &Lab) -> Result<(), String> {
    match lab.try_converge() {
        Ok(changes) if changes.is_empty() => {}
        Ok(changes) => return Err(format!("a second up finds {changes:?}")),
        Err(error) => return Err(format!("a second up fails: {error}")),
    }
    let told = findings(lab);
    if !told.is_empty() {
        return Err(format!("after up: {told:?}"));
    }
    if gets_through(lab) {
        return Err("a forged packet passes after up".to_owned());
    }
    Ok(())
}

/// Sends from a1 with a2's addresses to b1.
struct Forger {
    injector: Injector,
    macs: (Mac, Mac),
}

const FORGED: u16 = 4_001;
const HONEST: u16 = 4_002;

impl Forger {
    fn of(lab: &Lab) -> Self {
        // As the kernel has them: the record may be what is damaged.
        let mac = |place, dev: &str| {
            let look = || {
                let netlink = Netlink::open(&Inside::current()).expect("socket");
                netlink.link(dev).expect("asked").expect(dev).mac
            };
            lab.inside(place, look).expect("Ethernet")
        };
        Self {
            injector: lab.injector("a1", "eth0"),
            macs: (mac("a1", "eth0"), mac("A", "va1")),
        }
    }

    fn send(&self, source: IpAddr, destination: IpAddr, port: u16) {
        let frame = FrameBuilder::new(self.macs.0, self.macs.1);
        let frame = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => frame.ipv4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => frame.ipv6(source, destination),
            mixed => panic!("{mixed:?}"),
        };
        let frame = frame.udp(4_000, port).payload(&[0x5a; 40]).build();
        self.injector.send(&frame).expect("send");
    }
}

/// Whether b1 gets anything that is forged, of either family.
fn gets_through(lab: &Lab) -> bool {
    let forger = Forger::of(lab);
    let mut capture = lab.capture("b1", "eth0");
    for family in [0, 1] {
        forger.send(addresses("a2")[family], addresses("b1")[family], FORGED);
    }
    arrives(&mut capture, FORGED, Duration::from_millis(15))
}

fn assert_honest(lab: &Lab) {
    let forger = Forger::of(lab);
    for family in [0, 1] {
        let mut capture = lab.capture("b1", "eth0");
        forger.send(addresses("a1")[family], addresses("b1")[family], HONEST);
        assert!(arrives(&mut capture, HONEST, Duration::from_secs(3)));
    }
}

fn arrives(capture: &mut Capture, port: u16, within: Duration) -> bool {
    let is_it =
        |frame: &netpath::probe::capture::CapturedFrame| udp_port(&frame.bytes) == Some(port);
    capture.wait_for(is_it, within).expect("capture").is_some()
}

/// The issue's own example, as somebody sees it who types the commands: told at once, not when the kernel has let go.
#[test]
fn a_link_that_somebody_unpinned_is_told_at_once() {
    if !netpath_tests::has_tcx() {
        return;
    }
    let lab = Lab::up(&topology());
    for _ in 0..20 {
        let pin = lab
            .datapath("A")
            .directory()
            .join("links/from_endpoint@va1");
        std::fs::remove_file(&pin).expect("unpin");
        let output = netpath(&["show"]).output().expect("start");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{told}");
        assert!(told.contains("from_endpoint"), "{told}");
        assert_ne!(lab.converge(), Vec::<String>::new());
        assert_eq!(lab.plan(), Vec::<String>::new());
    }
    // One that somebody else holds goes on, and is netpath's to hold again: without a gap.
    let directory = lab.datapath("A").directory().to_owned();
    let pin = directory.join("links/from_endpoint@va1");
    let aside = directory.join("aside");
    std::fs::rename(&pin, &aside).expect("rename");
    assert!(findings(&lab)[0].starts_with("link_unpinned: "));
    assert_eq!(lab.converge().len(), 1);
    std::fs::remove_file(&aside).expect("unpin");
    assert_eq!(findings(&lab), Vec::<String>::new());
    // Off is off, whoever holds it.
    std::fs::rename(&pin, &aside).expect("rename");
    lab.fast_path(false, "A", None);
    let deadline = Deadline::new();
    while !findings(&lab).is_empty() {
        deadline.check(|| format!("{:?}", findings(&lab)));
    }
    assert!(gets_through(&lab), "the kernel's path does not check");
    std::fs::remove_file(&aside).expect("unpin");
    lab.fast_path(true, "A", None);
    assert!(!gets_through(&lab));
}
