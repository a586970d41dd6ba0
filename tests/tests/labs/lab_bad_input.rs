//! What is somebody else's, or of another version, is refused before anything is touched. Refusals on the
//! machine itself are in lab_host.rs.

use std::{fs, path::PathBuf, sync::atomic::AtomicBool};

use netpath::{
    Ends as _,
    datapath::{Datapath, DatapathError},
    lock::TopologyLock,
    netns::{Netns, path_of},
    provision::{self, ProvisionError},
    reconcile::{Refusal, Refused},
};
use netpath_common::{ABI_VERSION, Identity};
use netpath_tests::{
    lab::{Lab, ONE_NODE, TWO_NODES, addresses},
    netpath,
};

/// Fails unless up and plan refuse it with an error that names these, and nothing of the lab is made.
fn assert_refused(lab: &Lab, words: &[&str]) {
    let error = lab.try_converge().expect_err("a refusal");
    assert!(error.is_refusal(), "{error:?}");
    let planned = provision::plan(lab.topology(), &Default::default()).expect_err("a refusal");
    for word in words {
        assert!(error.to_string().contains(word), "{word}: {error}");
        assert!(planned.to_string().contains(word), "{word}: {planned}");
    }
    lab.assert_nothing_left();
}

#[test]
fn a_namespace_that_is_not_netpaths_is_refused() {
    let mut lab = Lab::prepare(TWO_NODES);
    for taken in ["b2", "B"] {
        let cookie = lab.foreign_namespace(taken).cookie().expect("cookie");
        let name = lab.name(taken);
        assert_refused(&lab, &[&format!("network namespace {name} exists")]);
        let error = lab.try_converge().expect_err("a refusal");
        assert!(
            matches!(
                error,
                ProvisionError::Refused(Refused {
                    refusal: Refusal::ForeignNamespace(_),
                    ..
                })
            ),
            "{error:?}"
        );
        lab.down();
        assert_eq!(lab.netns(taken).cookie().expect("cookie"), cookie);
        Netns::remove(&name).expect("remove");
    }
    lab.converge();
}

#[test]
fn a_wire_that_is_not_netpaths_is_refused() {
    let mut lab = Lab::prepare(ONE_NODE);
    let name = lab.foreign_wire("w");
    assert_refused(&lab, &[&format!("network namespace {name} exists")]);
    lab.down();
    Netns::named(&name).expect("still there");
}

#[test]
fn a_file_in_a_namespaces_place_is_refused() {
    let mut lab = Lab::prepare(ONE_NODE);
    lab.note_foreign("a1", true);
    let path = path_of(&lab.name("a1"));
    fs::create_dir_all(path.parent().expect("directory")).expect("directory");
    for content in ["", "something"] {
        fs::write(&path, content).expect("write");
        assert_refused(&lab, &[&lab.name("a1")]);
        assert_eq!(fs::read_to_string(&path).expect("read"), content);
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let mut lab = Lab::prepare(TWO_NODES);
    for taken in ["a1", "b2"] {
        drop(lab.foreign_namespace(taken));
    }
    let names = ["a1", "b2"].map(|taken| lab.name(taken));
    assert_refused(&lab, &[&names[0], &names[1]]);
}

#[test]
fn a_changed_file_that_is_refused_changes_nothing() {
    let mut lab = Lab::up(TWO_NODES);
    lab.ip("B", "link add vz9 type veth peer name other");
    let before = (lab.traffic("A"), lab.leftovers());
    // All of A's changes are right; what is wrong comes with B.
    lab.edit(r#""10.0.1.2/24""#, r#""10.0.1.9/24""#);
    lab.edit(r#"host_dev = "vb2""#, r#"host_dev = "vz9""#);
    let error = lab.try_converge().expect_err("a refusal");
    assert!(
        error.is_refusal() && error.to_string().contains("interface vz9 exists"),
        "{error}"
    );
    assert_eq!(lab.leftovers(), before.1);
    lab.rewrite(TWO_NODES);
    assert_eq!(lab.plan(), Vec::<String>::new());
    for dst in addresses("b2") {
        lab.assert_reaches("a1", dst, 62);
    }
    lab.traffic("A").since(&before.0);
}

fn write(datapath: &Datapath, identity: &Identity) {
    let lock = TopologyLock::take(&AtomicBool::new(false)).expect("the lock");
    datapath.writer(&lock).meta.set(identity).expect("write");
}

#[test]
fn pins_of_another_version_are_refused_by_every_command() {
    let lab = Lab::up(ONE_NODE);
    // Opened before: then it is not refused.
    let datapath = lab.datapath("A");
    let identity = datapath.maps.meta.get().expect("identity");
    let mut other = identity;
    other.abi_version = ABI_VERSION + 1;
    write(&datapath, &other);

    let opened = Datapath::open(&lab.name("A"));
    let (found, expected) = match opened {
        Err(DatapathError::Newer {
            found, expected, ..
        }) => (found, expected),
        other => panic!("{other:?}"),
    };
    assert_eq!((found, expected), (ABI_VERSION + 1, ABI_VERSION));
    let left = lab.leftovers();
    let refusals = [
        provision::plan(lab.topology(), &Default::default()),
        lab.try_converge(),
        provision::down(&lab.nodes(), &mut |_| {}),
    ];
    for refusal in refusals {
        let error = refusal.expect_err("a refusal");
        assert!(error.is_refusal(), "{error:?}");
        assert!(error.to_string().contains(&lab.name("A")), "{error}");
    }
    let stats = netpath(&["stats", "--node", &lab.name("A")])
        .output()
        .expect("netpath starts");
    assert_eq!(stats.status.code(), Some(2), "{stats:?}");
    assert_eq!(lab.leftovers(), left);
    // Packets flow all the same, and other nodes are not concerned.
    lab.assert_reaches("a1", addresses("a2")[0], 63);
    drop(Lab::up(ONE_NODE));

    write(&datapath, &identity);
    drop(datapath);
    assert_eq!(lab.plan(), Vec::<String>::new());
}

/// There is no step from it to this version, and no command says that there were.
#[test]
fn pins_that_are_too_old_are_told_with_the_way_out() {
    let lab = Lab::up(ONE_NODE);
    let datapath = lab.datapath("A");
    let identity = datapath.maps.meta.get().expect("identity");
    let mut other = identity;
    other.abi_version = 1;
    write(&datapath, &other);
    // Its maps have other layouts, else it would be a version number that somebody overwrote.
    let maps = PathBuf::from(format!("/sys/fs/bpf/netpath/{}/maps", lab.name("A")));
    let rename = |from: &str, to: &str| {
        fs::rename(maps.join(from), maps.join(to))
            .unwrap_or_else(|error| panic!("{from}: {error}"));
    };
    rename("settings", "settings_now");
    rename("ids", "settings");
    let errors = [
        provision::plan(lab.topology(), &Default::default()).map(drop),
        lab.try_converge().map(drop),
        provision::down(&lab.nodes(), &mut |_| {}).map(drop),
        Datapath::open(&lab.name("A")).map(drop).map_err(Into::into),
    ];
    for error in errors {
        let error = error.expect_err("a refusal");
        assert!(error.is_refusal(), "{error:?}");
        let told = error.to_string();
        assert!(told.contains("too old") && told.contains("rm -r"), "{told}");
        assert!(!told.contains("netpath up"), "{told}");
    }
    lab.assert_reaches("a1", addresses("a2")[0], 63);
    rename("settings", "ids");
    rename("settings_now", "settings");
    write(&datapath, &identity);
    drop(datapath);
    assert_eq!(lab.plan(), Vec::<String>::new());
}
