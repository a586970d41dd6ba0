//! One node that cannot be read is one node: everything else goes on. And locks, descriptors and signals around `up`.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use netpath::{
    counters,
    datapath::{AttachMode, attach_mode},
    lock::TopologyLock,
    netns::Netns,
    provision::{self, FastPath, Selection},
};
use netpath_common::ABI_VERSION;
use netpath_tests::{
    binary,
    lab::{Lab, ONE_NODE, TWO_NODES, addresses},
};

/// Makes node A of another version while the test works; put back at the end, so that it can be taken down.
fn with_unreadable_a(lab: &Lab, test: impl FnOnce() + std::panic::UnwindSafe) {
    let datapath = lab.datapath("A");
    let meta = datapath.maps.meta.get().expect("meta");
    let mut other = meta;
    other.abi_version = ABI_VERSION + 1;
    let write = |meta| {
        let lock = TopologyLock::take(&AtomicBool::new(false)).expect("lock");
        datapath.writer(&lock).meta.set(meta).expect("write");
    };
    write(&other);
    let result = std::panic::catch_unwind(test);
    write(&meta);
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn one_unreadable_node_hides_no_other() {
    let lab = Lab::up(TWO_NODES);
    let (a, b) = (lab.name("A"), lab.name("B"));
    let b_works = std::panic::AssertUnwindSafe(|| {
        let nodes = provision::observe().unwrap_or_else(|error| panic!("show: {error}"));
        assert!(
            nodes
                .iter()
                .any(|node| node.name == b && node.endpoints.len() == 2)
        );
        assert!(nodes.iter().any(|node| node.name == a), "a row of its own");
        counters::read_all(None).unwrap_or_else(|error| panic!("stats: {error}"));
        let all = Selection {
            node: None,
            endpoint: Some(lab.name("b1")),
            ..Selection::default()
        };
        provision::set_fast_path(false, &all, &mut |_| {})
            .unwrap_or_else(|error| panic!("fastpath: {error}"));
    });
    with_unreadable_a(&lab, b_works);
}

#[test]
fn a_wire_is_kept_while_an_unreadable_node_may_claim_it() {
    let lab = Lab::up(TWO_NODES);
    let (wire, b) = (lab.wire_namespace("w"), lab.name("B"));
    let work = std::panic::AssertUnwindSafe(|| {
        provision::down(&[b], &mut |_| {}).unwrap_or_else(|error| panic!("down: {error}"));
        Netns::named(&wire).expect("the wire of A");
    });
    with_unreadable_a(&lab, work);
    lab.converge();
    lab.ip("A", "neigh flush dev up0");
    lab.assert_reaches("a1", addresses("b1")[0], 62);
}

/// Runs a script in a world of its own: mounts, processes, /run and bpffs, as in a container. `$NETPATH` is the
/// command, `$FILE` a lab.
fn in_a_world(lab: &Lab, script: &str) -> Output {
    let file = PathBuf::from(format!("/tmp/{}-world.toml", lab.prefix()));
    fs::write(&file, lab.text()).expect("topology file");
    let script = format!(
        "set -e; mount -t tmpfs tmpfs /run; mkdir -p /run/netns /run/lock; mount -t tmpfs tmpfs /run/netns; \
         mount --make-shared /run/netns; while mountpoint -q /sys/fs/bpf; do umount /sys/fs/bpf; done; \
         mount -t bpf bpf /sys/fs/bpf; set +e\n{script}"
    );
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["--propagation", "private", "sh", "-c", &script])
        .env("NETPATH", binary())
        .env("FILE", &file)
        .stdin(Stdio::null())
        .output()
        .expect("start");
    fs::remove_file(&file).expect("its own file");
    output
}

fn assert_script(lab: &Lab, script: &str) {
    let start = Instant::now();
    let output = in_a_world(lab, script);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {text}");
    assert!(start.elapsed() < Duration::from_secs(60), "{text}");
}

#[test]
fn what_is_no_file_in_a_locks_place_is_refused_at_once() {
    let lab = Lab::prepare(ONE_NODE);
    for make in ["mkfifo", "ln -s /nonexistent/x", "mkdir"] {
        assert_script(
            &lab,
            &format!(
                "mkdir -m 700 /run/netpath; {make} /run/netpath/topology.lock\n\
                 timeout -s KILL 10 $NETPATH up -f $FILE; status=$?\n\
                 test $status = 1 -o $status = 2 || {{ echo status $status; exit 1; }}\n\
                 test -z \"$(ls /run/netns)\" -a ! -e /sys/fs/bpf/netpath"
            ),
        );
    }
}

/// Unmounting it would race with others that pin something there.
#[test]
fn a_bpffs_that_netpath_mounted_stays() {
    let lab = Lab::prepare(ONE_NODE);
    assert_script(
        &lab,
        "mounted() { grep -c ' /sys/fs/bpf bpf ' /proc/self/mounts; }\n\
         until ! umount /sys/fs/bpf 2>/dev/null; do :; done\n\
         test $(mounted) = 0 || { echo still mounted; exit 1; }\n\
         $NETPATH up -f $FILE || exit 1\n\
         test $(mounted) = 1 || { echo after up: $(mounted); exit 1; }\n\
         $NETPATH down -f $FILE || exit 1\n\
         test $(mounted) = 1 || { echo after down: $(mounted); exit 1; }\n\
         test ! -e /sys/fs/bpf/netpath",
    );
}

/// What is pinned below is not seen, and its programs run on: nothing is done there, and nothing said of half of it.
#[test]
fn a_bpffs_over_another_one_is_said() {
    let lab = Lab::prepare(ONE_NODE);
    let (node, a1) = (lab.name("A"), lab.name("a1"));
    let commands = [
        "up -f $FILE".to_owned(),
        "up -f $FILE --dry-run".to_owned(),
        "down -f $FILE".to_owned(),
        "down".to_owned(),
        "show".to_owned(),
        "fastpath off".to_owned(),
        "stats".to_owned(),
        "flows".to_owned(),
        "maps".to_owned(),
        "maps dump hops".to_owned(),
        "audit".to_owned(),
        format!("trace {a1} {a1}"),
        format!("explain {a1} {a1}"),
        format!("endpoint add x --node {node} --address 10.77.9.2/24"),
        format!("endpoint remove {a1} --node {node}"),
    ];
    let refused = commands.map(|command| {
        format!(
            "said=$($NETPATH {command} 2>&1); status=$?\n\
             case \"$status $said\" in 2*'mounted twice'*) ;; *) echo \"{command}: $status $said\"; exit 1;; esac\n"
        )
    });
    assert_script(
        &lab,
        &format!(
            "$NETPATH up -f $FILE && $NETPATH show || exit 1\n\
             state() {{ ls /run/netns; ip -all netns exec ip -o link | cut -d ' ' -f 2; }}; before=$(state)\n\
             mount -t bpf bpf /sys/fs/bpf; empty=$(ls /sys/fs/bpf)\n\
             {}\
             test \"$(state)\" = \"$before\" -a \"$(ls /sys/fs/bpf)\" = \"$empty\" || {{ echo touched: $before: $(state): $(ls /sys/fs/bpf); exit 1; }}\n\
             $NETPATH doctor -o wide | grep 'mounted twice' || exit 1\n\
             umount /sys/fs/bpf; $NETPATH show && $NETPATH up -f $FILE 2>&1 | grep -i nothing && $NETPATH down -f $FILE",
            refused.concat()
        ),
    );
}

#[test]
fn ctrl_c_ends_the_wait_for_the_lock() {
    let lab = Lab::prepare(ONE_NODE);
    for command in ["up", "down", "fastpath on"] {
        let file = if command == "fastpath on" {
            ""
        } else {
            "-f $FILE"
        };
        assert_script(
            &lab,
            &format!(
                "mkdir -m 700 /run/netpath; flock /run/netpath/topology.lock sleep 100 & \n\
                 until test -e /run/netpath/topology.lock; do sleep 0.05; done; sleep 0.3\n\
                 timeout -s INT -k 8 1 $NETPATH {command} {file}; status=$?\n\
                 test $status != 137 || {{ echo it had to be killed; exit 1; }}"
            ),
        );
    }
}

#[test]
fn an_up_with_few_descriptors_is_undone_or_refused() {
    let lab = Lab::prepare(ONE_NODE);
    for limit in 20..30 {
        assert_script(
            &lab,
            &format!(
                "(ulimit -n {limit}; timeout -s KILL 30 $NETPATH up -f $FILE); status=$?\n\
                 test $status != 137 || exit 1\n\
                 if test $status = 0; then $NETPATH show && $NETPATH down -f $FILE; fi || exit 1\n\
                 test -z \"$(ls /run/netns; ls /sys/fs/bpf/netpath 2>/dev/null)\" || \
                 {{ echo left with {limit}: $(ls /run/netns /sys/fs/bpf/netpath); exit 1; }}"
            ),
        );
    }
}

/// A node without one of its maps' pins.
#[test]
fn a_node_without_a_pin_hides_no_other() {
    let lab = Lab::up(TWO_NODES);
    let maps = format!("/sys/fs/bpf/netpath/{}/maps", lab.name("A"));
    for map in ["meta", "endpoints_v4"] {
        let (pin, aside) = (format!("{maps}/{map}"), format!("{maps}/aside"));
        fs::rename(&pin, &aside).expect("rename");
        let nodes = provision::observe();
        let counters = counters::read_all(None);
        fs::rename(&aside, &pin).expect("rename");
        let nodes = nodes.unwrap_or_else(|error| panic!("show: {error}"));
        for name in ["A", "B"] {
            assert!(
                nodes.iter().any(|node| node.name == lab.name(name)),
                "{name}"
            );
        }
        counters.unwrap_or_else(|error| panic!("stats: {error}"));
    }
}

/// Something that lets attaching to the uplink of A fail.
enum Obstacle {
    /// In the place of the link's pin.
    Directory(PathBuf),
    /// Of another kind at the priority of netpath's filters, which have no pins.
    Filter,
}

impl Obstacle {
    /// The words of `tc filter` for the place of netpath's filter: the letters `np` as a number.
    const PLACE: &str = "dev up0 ingress pref 28272";

    fn before_the_uplink(lab: &Lab) -> Self {
        match attach_mode().expect("the kernel answers") {
            AttachMode::Tcx => {
                let links = format!("/sys/fs/bpf/netpath/{}/links", lab.name("A"));
                let place = PathBuf::from(links).join("from_uplink@up0");
                fs::create_dir(&place).expect("mkdir");
                Self::Directory(place)
            }
            AttachMode::Clsact => {
                let place = Self::PLACE;
                let filter =
                    format!("tc filter add {place} protocol all u32 match u32 0 0 flowid 1:1");
                lab.run("A", "tc qdisc replace dev up0 clsact");
                lab.run("A", &filter);
                Self::Filter
            }
        }
    }

    fn remove(self, lab: &Lab) {
        match self {
            Self::Directory(place) => fs::remove_dir(place).expect("rmdir"),
            Self::Filter => {
                let place = Self::PLACE;
                lab.run("A", &format!("tc filter del {place}"));
            }
        }
    }
}

#[test]
fn a_fast_path_that_fails_at_the_third_interface_is_undone_or_told() {
    let lab = Lab::up(ONE_NODE);
    lab.fast_path(false, "A", None);
    let obstacle = Obstacle::before_the_uplink(&lab);
    let selection = Selection {
        node: Some(lab.name("A")),
        endpoint: None,
        ..Selection::default()
    };
    let result = provision::set_fast_path(true, &selection, &mut |_| {});
    obstacle.remove(&lab);
    let error = result.expect_err("an obstacle").to_string();
    assert!(error.contains("up0"), "{error}");
    let nodes = provision::observe().unwrap_or_else(|error| panic!("{error}"));
    let node = nodes.iter().find(|node| node.name == lab.name("A"));
    let node = node.expect("the node");
    let is_told = node.uplinks.iter().any(|uplink| !uplink.drift.is_empty());
    assert!(node.fast_path == FastPath::Off || is_told, "{node:?}");
    lab.fast_path(true, "A", None);
    assert_eq!(lab.plan(), Vec::<String>::new());
    for dst in addresses("a2") {
        lab.assert_reaches("a1", dst, 63);
    }
}

/// Detaching is refused where another thing is in the place of a link's pin. The link itself lives on.
struct Aside {
    pin: PathBuf,
    link: PathBuf,
}

impl Aside {
    fn of_the_uplink(lab: &Lab) -> Self {
        let links = format!("/sys/fs/bpf/netpath/{}/links", lab.name("A"));
        let aside = Self {
            pin: PathBuf::from(links).join("from_uplink@up0"),
            link: PathBuf::from("/sys/fs/bpf").join(lab.name("aside")),
        };
        fs::rename(&aside.pin, &aside.link).expect("rename");
        fs::create_dir(&aside.pin).expect("mkdir");
        aside
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let back = fs::remove_dir(&self.pin).and_then(|()| fs::rename(&self.link, &self.pin));
        if let Err(error) = back {
            eprintln!("{}: {error}", self.link.display());
        }
    }
}

#[test]
fn a_fast_path_that_stays_on_at_the_third_interface_is_told_and_goes_with_the_next_off() {
    // A filter goes in one request that nobody can let fail.
    if attach_mode().expect("the kernel answers") == AttachMode::Clsact {
        return;
    }
    let lab = Lab::up(ONE_NODE);
    let aside = Aside::of_the_uplink(&lab);
    let selection = Selection {
        node: Some(lab.name("A")),
        endpoint: None,
        ..Selection::default()
    };
    let mut told = Vec::new();
    let result = provision::set_fast_path(false, &selection, &mut |change| {
        told.push(change.to_string());
    });
    let error = result.expect_err("it cannot be detached").to_string();
    let status = lab.status("A");
    drop(aside);
    assert!(
        error.contains("up0") && error.contains("while undoing"),
        "{error}"
    );
    let off = ["va1", "va2"].map(|dev| format!("~ fast path {dev} on {}: off", lab.name("A")));
    assert_eq!(told, off);
    // What was switched is as it was wished before, and what is in the way is told.
    let modes = status.endpoints.iter().map(|it| it.interface.fast_path);
    assert_eq!(
        Vec::from_iter(modes),
        [FastPath::On, FastPath::On],
        "{status:?}"
    );
    let ids: Vec<&str> = status.findings().map(|finding| finding.id).collect();
    assert_eq!(ids, ["link_unpinned"], "{status:?}");
    lab.fast_path(false, "A", None);
    let status = lab.status("A");
    assert_eq!(status.fast_path, FastPath::Off, "{status:?}");
    assert!(!lab.told("A").contains(&"link_unpinned"), "{status:?}");
    let programs = lab.run("A", "bpftool net show");
    assert!(!programs.contains("from_"), "{programs}");
}
