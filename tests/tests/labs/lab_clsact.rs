//! The same on a clsact qdisc, as on kernels before 6.6. A process attaches in one way, so these tests run in
//! a process of their own.

use std::fs;

use netpath::{
    datapath::{AttachMode, ProgramKind, attach_mode},
    netlink::{FilterProgram, Netlink},
    netns::{Inside, Netns},
    probe::stream::{StreamOptions, udp_stream},
};
use netpath_tests::{
    command::{TempFile, assert_ends},
    lab::{
        Bytes::Exactly, Lab, TWO_NODES, addresses, assert_same_portrait, on_a_machine, portrait,
        test_process,
    },
    netpath,
};

fn in_a_process(test: &str) {
    let output = test_process(test)
        .env("NETPATH_ATTACH", "clsact")
        .output()
        .expect("start");
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_lab_counts_and_switches_the_same() {
    in_a_process("lab");
}

#[test]
fn a_machine_is_left_as_it_was() {
    in_a_process("machine");
}

fn is_clsact() -> bool {
    attach_mode().expect("the kernel answers") == AttachMode::Clsact
}

/// netpath's filters on an interface, both directions.
fn filters(lab: &Lab, node: &str, dev: &str) -> usize {
    ["ingress", "egress"]
        .map(|hook| lab.run(node, &format!("tc filter show dev {dev} {hook}")))
        .iter()
        .map(|listing| listing.matches("direct-action").count())
        .sum()
}

fn assert_counts(lab: &Lab) {
    for family in [0, 1] {
        let [a1, a2, b1] = ["a1", "a2", "b1"].map(|of| addresses(of)[family]);
        let header = if family == 0 { 20 } else { 40 };
        let bytes = Exactly(1_000 * (64 + 8 + header + 14));
        for (to, dst, row) in [
            ("a2", a2, "va1 > va2 redirect_peer"),
            ("b1", b1, "va1 > up0 redirect_neigh"),
        ] {
            let (before, forwarded) = (lab.traffic("A"), lab.forward_counters("A"));
            let options = StreamOptions {
                packets: 1_000,
                ..StreamOptions::new(a1, dst)
            };
            let report = udp_stream(&lab.netns("a1"), &lab.netns(to), &options)
                .unwrap_or_else(|error| panic!("{error}"));
            assert!(report.is_exact(1_000), "{report:?}");
            lab.assert_counted("A", &before, &[(row, 1_000, bytes)]);
            assert_eq!(lab.forward_counters("A"), forwarded, "the FORWARD chain");
        }
    }
}

#[test]
#[ignore = "a process for the other tests"]
fn lab() {
    if !is_clsact() {
        return;
    }
    let lab = Lab::up(TWO_NODES);
    assert_eq!(
        (filters(&lab, "A", "va1"), filters(&lab, "A", "up0")),
        (2, 2)
    );
    assert_counts(&lab);
    assert_eq!(lab.converge(), Vec::<String>::new());
    assert_counts(&lab);

    assert_eq!(lab.fast_path(false, "A", None).len(), 3);
    assert_eq!(
        (filters(&lab, "A", "va1"), filters(&lab, "A", "up0")),
        (0, 0)
    );
    let before = lab.traffic("A");
    for dst in addresses("a2") {
        lab.assert_loses("a1", dst);
    }
    assert_eq!(lab.traffic("A").since(&before).rows(), 0);

    assert_eq!(lab.fast_path(true, "A", None).len(), 3);
    assert_eq!(lab.fast_path(true, "A", None), Vec::<String>::new());
    assert_eq!(
        (filters(&lab, "A", "va1"), filters(&lab, "A", "up0")),
        (2, 2)
    );
    assert_counts(&lab);

    // By endpoint.
    assert_eq!(lab.fast_path(false, "A", Some("a1")).len(), 1);
    assert_eq!(
        (filters(&lab, "A", "va1"), filters(&lab, "A", "va2")),
        (0, 2)
    );
    assert_eq!(lab.fast_path(true, "A", Some("a1")).len(), 1);
    assert_counts(&lab);
    assert_asked_of_the_kernel(&lab);
    lab.down();
}

/// What is attached is the kernel's word: somebody's `tc filter del` shows.
fn assert_asked_of_the_kernel(lab: &Lab) {
    let datapath = lab.datapath("A");
    let kind = ProgramKind::FromEndpoint;
    let program = datapath.program_id(kind).expect("pinned");
    let look = || {
        let inside = Inside::current();
        let netlink = Netlink::open(&inside).expect("socket");
        let link = netlink.link("va1").expect("asked").expect("va1");
        let filters = netlink.filter_programs(&link, kind.hook());
        let attached = datapath.is_attached(&inside, kind, "va1");
        (filters.expect("filters"), attached.expect("attached"))
    };
    let ours = FilterProgram {
        program,
        priority: 0x6e70,
        handle: 1,
    };
    assert_eq!(lab.inside("A", look), (vec![ours], true));
    lab.run("A", "tc filter del dev va1 ingress");
    assert_eq!(lab.inside("A", look), (vec![], false));
    assert_eq!(lab.fast_path(true, "A", Some("a1")).len(), 1);
    assert_eq!(lab.inside("A", look), (vec![ours], true));
}

#[test]
fn a_failure_on_the_way_leaves_the_filter() {
    in_a_process("unreadable_program");
}

/// What stands for a filter in aya takes the filter away when it is dropped: nothing may fail while it is held.
#[test]
#[ignore = "a process for the other tests"]
fn unreadable_program() {
    if !is_clsact() {
        return;
    }
    let lab = Lab::up(TWO_NODES);
    let datapath = lab.datapath("A");
    let pin = datapath.directory().join("programs/from_endpoint");
    let aside = pin.with_file_name("aside");
    fs::rename(&pin, &aside).expect("rename");
    let attach = || datapath.attach(&Inside::current(), ProgramKind::FromEndpoint, "va1");
    let error = lab.inside("A", attach).expect_err("there is no program");
    assert!(error.to_string().contains("from_endpoint"), "{error}");
    assert_eq!(filters(&lab, "A", "va1"), 2);
    fs::rename(&aside, &pin).expect("rename");
    assert_counts(&lab);
}

#[test]
fn a_filter_that_cannot_be_removed_is_told() {
    in_a_process("forbidden_detach");
}

/// Takes from the calling thread what it needs to change a network.
fn without_net_admin() {
    const CAP_NET_ADMIN: u32 = 12;
    /// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h.
    const VERSION: u32 = 0x2008_0522;
    // Version and thread; then effective, permitted and inheritable, the lower 32 and the higher ones.
    let header = [VERSION, 0];
    let mut sets = [0u32; 6];
    // SAFETY: both have the layout and the size that this version has, and outlive the calls.
    unsafe {
        assert_eq!(
            libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()),
            0
        );
        sets[0] &= !(1 << CAP_NET_ADMIN);
        assert_eq!(
            libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()),
            0
        );
    }
}

#[test]
#[ignore = "a process for the other tests"]
fn forbidden_detach() {
    if !is_clsact() {
        return;
    }
    let lab = Lab::up(TWO_NODES);
    let datapath = lab.datapath("A");
    // On a thread of its own, which keeps nothing of it.
    let detach = || {
        without_net_admin();
        datapath.detach(&Inside::current(), ProgramKind::FromEndpoint, "va1")
    };
    let error = lab.inside("A", detach).expect_err("it is forbidden");
    assert!(
        error.to_string().contains("from_endpoint on va1"),
        "{error}"
    );
    assert_eq!(filters(&lab, "A", "va1"), 2);
    let detach = || datapath.detach(&Inside::current(), ProgramKind::FromEndpoint, "va1");
    assert!(lab.inside("A", detach).expect("allowed"));
    // Nothing is there any more, which is no error.
    assert!(!lab.inside("A", detach).expect("nothing to do"));
    assert_eq!(filters(&lab, "A", "va1"), 1);
}

#[test]
#[ignore = "a process for the other tests"]
fn machine() {
    if !is_clsact() {
        return;
    }
    on_a_machine(|lab| {
        let machine = Netns::current().expect("namespace");
        let before = portrait(&machine);
        lab.converge();
        assert_eq!((filters(lab, "H", "va1"), filters(lab, "H", "up0")), (2, 2));
        for family in [0, 1] {
            lab.assert_reaches("a1", addresses("a2")[family], 63);
            lab.assert_reaches("a1", addresses("b1")[family], 63);
        }
        lab.down();
        assert_same_portrait(&portrait(&machine), &before, "down");
    });
}

/// Attached in one way and then in the other, the programs run twice: that is told, with what takes the first ones off.
#[test]
fn filters_beside_links_are_told() {
    if !netpath_tests::has_tcx() {
        eprintln!("not tried: there is but one way to attach");
        return;
    }
    on_a_machine(|lab| {
        let before = portrait(&Netns::current().expect("namespace"));
        let file = TempFile::new(lab.text());
        let by_clsact = |arguments: &[&str], status| {
            let output = netpath(arguments).env("NETPATH_ATTACH", "clsact").output();
            assert_ends(&output.expect("start"), status, &[]);
        };
        by_clsact(&["up", "-f", file.path()], 0);
        lab.converge();
        let told = [
            "filter_beside of endpoint a1 on H",
            "filter_beside of endpoint a2 on H",
            "filter_beside of uplink up0 on H",
        ];
        lab.assert_told("H", &told);
        // What the kernel is left its FORWARD drops, which is told as well.
        by_clsact(&["fastpath", "off", "--node", &lab.name("H")], 3);
        lab.fast_path(true, "H", None);
        lab.assert_told("H", &[]);
        assert_eq!((filters(lab, "H", "va1"), filters(lab, "H", "up0")), (0, 0));
        for dst in addresses("a2").into_iter().chain(addresses("b1")) {
            lab.assert_reaches("a1", dst, 63);
        }
        lab.down();
        let after = portrait(&Netns::current().expect("namespace"));
        assert_same_portrait(&after, &before, "down");
    });
}
