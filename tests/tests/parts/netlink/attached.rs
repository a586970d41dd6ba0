//! XDP programs, queueing disciplines and filters.

use std::{
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    process::Command,
};

use netpath::netlink::{QdiscParent, XdpMode, XdpProgram};
use netpath_common::Hook;

use super::*;

/// A program that does nothing, by its type (`BPF_PROG_TYPE_*`) and its answer; it ends with the descriptor. Returns its
/// number too.
fn bpf_program(kind: u32, answer: i32) -> (OwnedFd, u32) {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: *const u64,
        license: *const libc::c_char,
        log: [u64; 2],
    }
    // r0 = answer; exit.
    let mut first = [0xb7, 0, 0, 0, 0, 0, 0, 0];
    first[4..].copy_from_slice(&answer.to_ne_bytes());
    let instructions = [first, [0x95, 0, 0, 0, 0, 0, 0, 0]].map(u64::from_ne_bytes);
    let load = Load {
        kind,
        count: 2,
        instructions: instructions.as_ptr(),
        license: c"GPL".as_ptr(),
        log: [0; 2],
    };
    const PROG_LOAD: libc::c_int = 5;
    // SAFETY: the structure is what the command takes; what it points to outlives the call and has the length stated.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of::<Load>()) };
    assert!(fd >= 0, "BPF_PROG_LOAD: {}", io::Error::last_os_error());
    let fd = i32::try_from(fd).expect("a descriptor");
    // SAFETY: the kernel has just opened it for this caller.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).expect("info");
    let id = info
        .lines()
        .find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok());
    (fd, id.expect("a number"))
}

#[test]
fn xdp_programs_are_read() {
    const XDP: u32 = 6;
    const XDP_PASS: i32 = 2;
    alone(|_, netlink| {
        two_links(&netlink);
        let xdp = |name: &str| netlink.link(name).expect(name).expect(name).xdp;
        assert_eq!(xdp("a0"), []);
        let (native, generic) = (bpf_program(XDP, XDP_PASS), bpf_program(XDP, XDP_PASS));
        for (how, mode, (_, program)) in [
            ("xdpdrv", XdpMode::Native, native),
            ("xdpgeneric", XdpMode::Generic, generic),
        ] {
            let attach = format!("net attach {how} id {program} dev a1");
            run("bpftool", attach.split_whitespace());
            assert_eq!(xdp("a1"), [XdpProgram { mode, program }]);
            let detach = format!("net detach {how} dev a1");
            run("bpftool", detach.split_whitespace());
        }
        assert_eq!(xdp("a1"), []);
    });
}

#[test]
fn an_interface_without_clsact_has_no_filters() {
    alone(|_, netlink| {
        two_links(&netlink);
        let link = netlink.link("a0").expect("a0").expect("a0");
        for hook in [Hook::Ingress, Hook::Egress] {
            assert_eq!(netlink.filter_programs(&link, hook).expect("asked"), []);
        }
    });
}

#[test]
fn queueing_disciplines_are_read() {
    alone(|_, netlink| {
        let [a, b] = two_links(&netlink);
        let at = |ifindex| {
            let found = netlink.qdiscs().expect("qdiscs").into_iter();
            let found = found.filter(move |qdisc| qdisc.ifindex == ifindex);
            found.collect::<Vec<_>>()
        };
        let [default] = &at(a)[..] else {
            panic!("{:?}", at(a))
        };
        assert_eq!(
            (&*default.kind, default.parent),
            ("noqueue", QdiscParent::Root)
        );
        assert!(default.is_default());
        tc("qdisc add dev a0 root handle 5: htb");
        tc("class add dev a0 parent 5: classid 5:1 htb rate 1mbit");
        tc("qdisc add dev a0 parent 5:1 handle 6: tbf rate 1mbit burst 10k latency 10ms");
        tc("qdisc add dev a0 ingress_block 7 clsact");
        tc("qdisc add dev b0 ingress");
        // The same kind as the kernel's own, but somebody's.
        tc("qdisc replace dev b0 root pfifo");
        let found: Vec<_> = at(a)
            .into_iter()
            .map(|qdisc| (qdisc.kind.clone(), qdisc.parent, qdisc.is_default()))
            .collect();
        let added = |kind: &str, parent| (kind.to_owned(), parent, false);
        assert_eq!(
            found,
            [
                added("htb", QdiscParent::Root),
                added("tbf", QdiscParent::Class(0x5_0001)),
                added("clsact", QdiscParent::Ingress),
            ]
        );
        assert_eq!(at(a)[2].ingress_block, Some(7));
        assert_eq!(at(a)[2].egress_block, None);
        let found: Vec<_> = at(b)
            .into_iter()
            .map(|qdisc| (qdisc.kind.clone(), qdisc.parent, qdisc.is_default()))
            .collect();
        assert_eq!(
            found,
            [
                added("pfifo", QdiscParent::Root),
                added("ingress", QdiscParent::Ingress)
            ]
        );
    });
}

#[test]
fn filters_are_read_those_of_a_shared_block_too() {
    const SCHED_CLS: u32 = 3;
    alone(|_, netlink| {
        two_links(&netlink);
        let filters = |name: &str, hook| {
            let link = netlink.link(name).expect(name).expect(name);
            netlink.filters(&link, hook).expect("filters")
        };
        assert_eq!(filters("a0", Hook::Ingress), []);
        tc("qdisc add dev a0 ingress_block 7 clsact");
        tc("qdisc add dev b0 clsact");
        assert_eq!(filters("a0", Hook::Ingress), []);
        tc("filter add block 7 protocol ipv6 pref 9 u32 match ip6 dst fd00::/64 flowid 1:1");
        let found = filters("a0", Hook::Ingress);
        let [.., last] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!((&*last.kind, last.priority), ("u32", 9));
        assert_eq!(last.protocol, 0x86dd);
        assert!(last.handle != 0, "{found:?}");
        assert_eq!(filters("a0", Hook::Egress), []);
        // Classic BPF has a name, eBPF a number too.
        run(
            "tc",
            [
                "filter",
                "add",
                "dev",
                "b0",
                "egress",
                "pref",
                "2",
                "bpf",
                "da",
                "bytecode",
                "1,6 0 0 0,",
            ],
        );
        let (_program, id) = bpf_program(SCHED_CLS, -1);
        let pin = format!("/sys/fs/bpf/netpath-test-{id}");
        run("bpftool", ["prog", "pin", "id", &id.to_string(), &pin]);
        let line = format!("filter add dev b0 egress pref 3 chain 4 bpf da pinned {pin}");
        let added = Command::new("tc").args(line.split_whitespace()).output();
        fs::remove_file(&pin).expect("unpinned");
        let added = added.expect("tc is installed");
        assert!(added.status.success(), "{added:?}");
        let found = filters("b0", Hook::Egress);
        let seen: Vec<_> = found
            .iter()
            .map(|filter| (filter.priority, filter.chain, filter.handle, filter.program))
            .collect();
        assert_eq!(seen, [(2, 0, 1, None), (3, 4, 1, Some(id))]);
        assert!(found.iter().all(|filter| filter.kind == "bpf"));
        assert!(found.iter().all(|filter| filter.protocol == 3));
        let name = found[1].program_name.as_deref().expect("a name");
        assert!(name.starts_with(&format!("netpath-test-{id}")), "{name}");
        assert_eq!(filters("b0", Hook::Ingress), []);
    });
}
