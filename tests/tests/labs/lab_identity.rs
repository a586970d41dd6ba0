//! What a node is stands in its map `meta`, by which it is opened, and in `settings`, too. Whatever somebody writes into
//! `meta`, there is a way out, and nothing is removed that is not proven.

use netpath::{
    Ends as _,
    datapath::{Datapath, DatapathError},
    netns::Netns,
    provision::{self, FastPath, Selection},
};
use netpath_common::{Identity, NAME_SIZE, Settings};
use netpath_tests::{
    lab::{Lab, TWO_NODES, addresses, assert_same_portrait, on_a_machine, portrait, run},
    netpath,
};

/// A value of which every byte is this one.
fn filled(byte: u8) -> Identity {
    let word = u32::from_ne_bytes([byte; 4]);
    Identity {
        abi_version: word,
        netns_made: word,
        netns_cookie: u64::from_ne_bytes([byte; 8]),
        name: [byte; NAME_SIZE],
        reserved: [byte; 48],
    }
}

/// Writes bytes into a node's array as somebody with bpftool does.
fn overwrite(lab: &Lab, node: &str, map: &str, value: &[u8]) {
    let bytes: Vec<String> = value.iter().map(|byte| format!("{byte:02x}")).collect();
    run(&format!(
        "bpftool map update pinned /sys/fs/bpf/netpath/{}/maps/{map} key hex 00 00 00 00 value hex {}",
        lab.name(node),
        bytes.join(" ")
    ));
}

fn write(lab: &Lab, node: &str, identity: &Identity) {
    let Identity {
        abi_version,
        netns_made,
        netns_cookie,
        name,
        reserved,
    } = identity;
    let value = [
        &abi_version.to_ne_bytes()[..],
        &netns_made.to_ne_bytes(),
        &netns_cookie.to_ne_bytes(),
        name,
        reserved,
    ];
    overwrite(lab, node, "meta", &value.concat());
}

fn identity(lab: &Lab, node: &str) -> Identity {
    lab.datapath(node).maps.meta.get().expect("meta")
}

/// What somebody may write there, and nothing of a node can be opened then.
fn overwritten(right: &Identity) -> Vec<Identity> {
    vec![
        filled(0xff),
        filled(0),
        filled(0x41),
        // Of an older version, and the version alone.
        Identity {
            abi_version: right.abi_version - 1,
            ..*right
        },
        Identity {
            abi_version: right.abi_version + 7,
            name: [0xff; NAME_SIZE],
            ..*right
        },
        Identity {
            abi_version: right.abi_version,
            ..filled(0xff)
        },
        Identity {
            netns_cookie: right.netns_cookie ^ 1,
            ..*right
        },
    ]
}

/// `show` has a row that says so, `up` writes it again, `down` removes the node.
fn assert_way_out(lab: &Lab, node: &str, works: &dyn Fn()) {
    let right = identity(lab, node);
    let output = |arguments: &[&str]| netpath(arguments).output().expect("start");
    for wrong in overwritten(&right) {
        write(lab, node, &wrong);
        let status = lab.status(node);
        assert_eq!(status.fast_path, FastPath::Unknown, "{wrong:?}");
        let told: Vec<String> = status.findings().map(|it| it.problem.clone()).collect();
        assert!(told[0].contains("`netpath up` writes it again"), "{told:?}");
        let selection = Selection {
            node: Some(lab.name(node)),
            ..Selection::default()
        };
        provision::set_fast_path(true, &selection, &mut |_| {}).expect_err("it cannot be read");
        let told = format!("~ node {node}: overwritten maps: meta");
        assert_eq!(lab.plan(), [told.as_str()], "{wrong:?}");
        assert_eq!(lab.converge(), [told], "{wrong:?}");
        assert_eq!(identity(lab, node), right);
        assert_eq!(lab.plan(), Vec::<String>::new());
        assert_eq!(lab.told(node), Vec::<&str>::new());
    }
    works();
    for wrong in [filled(0xff), filled(0)] {
        write(lab, node, &wrong);
        works();
        let shown = output(&["show"]);
        assert_eq!(shown.status.code(), Some(3), "{shown:?}");
        lab.down();
        lab.converge();
    }
}

#[test]
fn a_lab_node_is_opened_again() {
    let lab = Lab::up(TWO_NODES);
    assert_way_out(&lab, "A", &|| {
        for family in [0, 1] {
            lab.assert_reaches("a1", addresses("a2")[family], 63);
            lab.assert_reaches("b1", addresses("a1")[family], 62);
        }
    });
    lab.down();
}

#[test]
fn a_machines_node_is_opened_again() {
    on_a_machine(|lab| {
        let machine = Netns::current().expect("namespace");
        let before = portrait(&machine);
        lab.converge();
        let lab = &*lab;
        assert_way_out(lab, "H", &|| {
            for family in [0, 1] {
                lab.assert_reaches("a1", addresses("a2")[family], 63);
                lab.assert_reaches("a1", addresses("b1")[family], 63);
            }
        });
        lab.down();
        assert_same_portrait(&portrait(&machine), &before, "down");
    });
}

/// Which of the two is right nobody can tell where both may be: the machine's namespace has the node's name here, and as a
/// lab's `down` would remove it.
#[test]
fn what_may_both_be_right_is_refused() {
    on_a_machine(|lab| {
        lab.converge();
        let machine = Netns::current().expect("namespace");
        let right = identity(lab, "H");
        let before = portrait(&machine);
        write(
            lab,
            "H",
            &Identity {
                netns_made: 1,
                ..right
            },
        );
        let refused = [
            lab.try_converge(),
            provision::down(&[lab.name("H")], &mut |_| {}),
        ];
        for result in refused {
            let text = result.expect_err("a refusal").to_string();
            assert!(text.contains("nothing tells which of them"), "{text}");
        }
        assert_same_portrait(&portrait(&machine), &before, "refused");
        assert!(Netns::named(&lab.name("H")).is_ok());
        write(lab, "H", &right);
        lab.down();
    });
}

/// With both of them gone nobody knows whose namespace it was.
#[test]
fn without_either_nothing_is_removed() {
    let lab = Lab::up(TWO_NODES);
    let (right, settings) = (
        identity(&lab, "A"),
        lab.datapath("A").maps.settings.get().expect("settings"),
    );
    write(&lab, "A", &filled(0xff));
    overwrite(&lab, "A", "settings", &[0xff; size_of::<Settings>()]);
    let refused = [
        lab.try_converge(),
        provision::down(&[lab.name("A")], &mut |_| {}),
    ];
    for result in refused {
        let text = result.expect_err("a refusal").to_string();
        assert!(text.contains("`rm -r`"), "{text}");
    }
    assert!(Netns::named(&lab.name("A")).is_ok());
    lab.assert_reaches("a1", addresses("a2")[0], 63);
    let told = lab.status("A");
    assert_eq!(told.fast_path, FastPath::Unknown);
    // As somebody puts it back who has noted it.
    write(&lab, "A", &right);
    lab.converge();
    let mended = lab.datapath("A").maps.settings.get().expect("settings");
    let noted = |it: &Settings| (it.netns_made, it.netns_cookie);
    assert_eq!(noted(&mended), noted(&settings));
    lab.down();
}

/// A newer version has the node's name in `meta`, as every version will.
#[test]
fn a_newer_version_is_not_taken_for_overwritten() {
    let lab = Lab::up(TWO_NODES);
    let right = identity(&lab, "A");
    let newer = Identity {
        abi_version: right.abi_version + 1,
        reserved: [7; 48],
        ..right
    };
    write(&lab, "A", &newer);
    let error = Datapath::open(&lab.name("A")).expect_err("a refusal");
    assert!(matches!(error, DatapathError::Newer { .. }), "{error}");
    let error = lab.try_converge().expect_err("a refusal");
    assert!(error.is_refusal(), "{error}");
    write(&lab, "A", &right);
    lab.down();
}
