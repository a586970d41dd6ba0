//! Damage from outside, one of each kind: every pin removed and led elsewhere, every link detached, every filter removed,
//! every row of every map deleted, altered field by field, and a foreign one put beside it. `show` tells each, no forged
//! packet passes unless the very program that checks is gone or the row that says whose a source is, and one `up` mends it.

mod damages;

use std::collections::BTreeSet;

use netpath::{Ends as _, provision};
use netpath_tests::{
    command::{TempFile, assert_ends, run_netpath},
    lab::{Deadline, Lab, TWO_NODES, in_a_process},
    netpath,
};

use damages::{Damage, End, Forgery, Sender, assert_honest, that_get_through};

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
    each(&[damages::map_pins, damages::program_pins]);
}

#[test]
#[ignore = "a process for the other tests"]
fn links() {
    each(&[damages::links]);
}

#[test]
#[ignore = "a process for the other tests"]
fn filters() {
    each(&[damages::filters, damages::program_pins]);
}

#[test]
#[ignore = "a process for the other tests"]
fn rows() {
    each(&[damages::gates, damages::rows]);
}

fn each(lists: &[fn(&Lab) -> Vec<Damage>]) {
    let Ok(mode) = std::env::var("NETPATH_ATTACH") else {
        return;
    };
    let lab = Lab::up(&topology());
    assert_honest(&lab);
    assert_eq!(
        that_get_through(&lab),
        BTreeSet::new(),
        "nothing is damaged"
    );
    let lists: Vec<Vec<Damage>> = lists.iter().map(|list| list(&lab)).collect();
    let damages = lists.concat();
    println!("{} damages with {mode}", damages.len());
    let names: BTreeSet<&str> = damages.iter().map(|damage| damage.name.as_str()).collect();
    assert_eq!(names.len(), damages.len(), "each once");
    for list in &lists {
        assert_the_command_tells(&lab, &list[0]);
    }
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

/// As somebody sees it who types the command; of other damages what it is made of is asked, which takes less time.
fn assert_the_command_tells(lab: &Lab, damage: &Damage) {
    let file = TempFile::new(lab.text());
    let show = || run_netpath(&["show", "-f", file.path()]);
    assert_ends(&show(), 0, &[]);
    let undo = (damage.act)(lab);
    assert_ends(&show(), 3, &[&lab.name("A")]);
    mended(lab).unwrap_or_else(|problem| panic!("{}: {problem}", damage.name));
    drop(undo);
    assert_ends(&show(), 0, &[]);
}

/// Does a damage, and says what is not as it should be then.
fn inflict(lab: &Lab, damage: &Damage) -> Result<(), String> {
    let undo = (damage.act)(lab);
    let told = findings(lab);
    let through = that_get_through(lab);
    let result = match (damage.end, told.is_empty()) {
        (End::Unseen(_), true) => Ok(()),
        (End::Unseen(why), false) => Err(format!("is seen, though {why}: {told:?}")),
        (_, true) => Err("is not told".to_owned()),
        (_, false) => Ok(()),
    };
    let let_through = as_expected(damage, &through);
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

/// Nothing gets through that somebody checks, but what README's limits say.
fn as_expected(damage: &Damage, through: &BTreeSet<Forgery>) -> Result<(), String> {
    let is_checked = |forgery: &&Forgery| !damage.unchecked.contains(&forgery.sender);
    let found: BTreeSet<Forgery> = through.iter().filter(is_checked).copied().collect();
    let expected: BTreeSet<Forgery> = damage.remains.iter().copied().collect();
    if found == expected {
        Ok(())
    } else {
        Err(format!("lets through {found:?}, not {expected:?}"))
    }
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
    match that_get_through(lab) {
        through if through.is_empty() => Ok(()),
        through => Err(format!("after up there pass {through:?}")),
    }
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
    let unchecked: BTreeSet<Sender> = that_get_through(&lab).iter().map(|it| it.sender).collect();
    assert_eq!(
        Vec::from_iter(unchecked),
        [Sender::Endpoint, Sender::Wire],
        "the kernel's path does not check"
    );
    std::fs::remove_file(&aside).expect("unpin");
    lab.fast_path(true, "A", None);
    assert_eq!(that_get_through(&lab), BTreeSet::new());
}
