//! Other people's TC programs stay where they are and go on seeing what they should, whatever comes and goes
//! beside them: they themselves, netpath's fast path, another version of it, the whole node. The same with TCX
//! and with clsact; a process attaches in one way.

use aya::programs::{SchedClassifier, TcAttachType};
use netpath::{
    datapath::{AttachMode, ObjectKind, ProgramKind, attach_mode},
    netns::{Inside, Netns},
    probe::frame::FrameBuilder,
    provision::UpOptions,
};
use netpath_tests::{
    Family, between, has_tcx,
    lab::{Deadline, Lab, TWO_NODES, addresses, in_mode, is_in_mode, on_a_machine},
    tc_program::{Answer, Behaviour, Position, Seen, TcProgram},
};

#[test]
fn in_a_lab_with_tcx() {
    if has_tcx() {
        in_mode("lab", "tcx");
    }
}

#[test]
fn in_a_lab_with_clsact() {
    in_mode("lab", "clsact");
}

#[test]
fn on_a_machine_with_tcx() {
    if has_tcx() {
        in_mode("machine", "tcx");
    }
}

#[test]
fn on_a_machine_with_clsact() {
    in_mode("machine", "clsact");
}

/// Payload of the packets that are counted here: nothing else has the length of their frames.
const PAYLOAD: [u8; 77] = [1; 77];

/// Packets of each kind.
const COUNT: u64 = 5;

/// What a1 or the machine's neighbour sends.
#[derive(Clone, Copy)]
enum Kind {
    /// Is redirected.
    Redirected,
    /// Has a TTL of 1.
    Punted,
}

fn length(family: Family) -> u64 {
    let header = match family {
        Family::V4 => 20,
        Family::V6 => 40,
    };
    14 + header + 8 + PAYLOAD.len() as u64
}

/// The programs at the ingress of an interface of the calling thread's namespace, in their order, by id.
fn programs(dev: &str) -> Vec<u32> {
    match attach_mode().expect("the kernel answers") {
        AttachMode::Tcx => {
            let (_, programs) =
                SchedClassifier::query_tcx(dev, TcAttachType::Ingress).expect("query");
            programs.iter().map(|program| program.id()).collect()
        }
        AttachMode::Clsact => {
            let listing = netpath_tests::lab::run(&format!("tc filter show dev {dev} ingress"));
            let mut ids = Vec::new();
            for line in listing
                .lines()
                .filter(|line| line.contains("direct-action"))
            {
                let mut words = line.split_whitespace().skip_while(|word| *word != "id");
                let id = words.nth(1).unwrap_or_else(|| panic!("no id in {line}"));
                ids.push(id.parse().expect("a number"));
            }
            ids
        }
    }
}

/// Someone's programs on both sides of netpath's.
struct Others {
    before: TcProgram,
    after: TcProgram,
}

impl Others {
    fn attach(netns: &Netns, dev: &str, family: Family) -> Self {
        Self {
            after: watch(netns, dev, Position::After, family),
            before: watch(netns, dev, Position::Before, family),
        }
    }

    fn seen(&self) -> [Seen; 2] {
        [self.before.seen(), self.after.seen()]
    }
}

/// The one before marks what it sees, so that the one behind can tell that it was there.
fn watch(netns: &Netns, dev: &str, position: Position, family: Family) -> TcProgram {
    let behaviour = match position {
        Position::Before => Behaviour::mark(7),
        Position::After => Behaviour::WATCH,
    };
    let behaviour = behaviour.only_length(length(family) as u32);
    TcProgram::attach(netns, dev, TcAttachType::Ingress, position, behaviour)
}

/// How many of the packets the program before, netpath and the program behind see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    before: u64,
    netpath: u64,
    after: u64,
}

/// Where it all happens.
struct Scene<'a> {
    lab: &'a Lab,
    family: Family,
}

impl Scene<'_> {
    fn attach(&self) -> Others {
        Others::attach(&self.lab.netns("A"), "va1", self.family)
    }

    fn programs(&self) -> Vec<u32> {
        self.lab.inside("A", || programs("va1"))
    }

    fn send(&self, kind: Kind) {
        let at = usize::from(self.family == Family::V6);
        let record = self.lab.record("A", "a1");
        let frame = FrameBuilder::new(record.endpoint_mac, record.host_mac);
        let ttl = match kind {
            Kind::Redirected => 64,
            Kind::Punted => 1,
        };
        let frame = between(frame, addresses("a1")[at], addresses("a2")[at])
            .udp(4_000, 4_001)
            .payload(&PAYLOAD)
            .ttl(ttl)
            .build();
        let injector = self.lab.injector("a1", "eth0");
        for _ in 0..COUNT {
            injector.send(&frame).expect("send");
        }
    }

    /// Sends packets of a kind and waits for everyone to have seen exactly their share.
    fn assert_shares(&self, others: &Others, kind: Kind, expected: Share) {
        let row = match kind {
            Kind::Redirected => "va1 > va2 redirect_peer",
            Kind::Punted => "va1 > - punt ttl_exceeded",
        };
        let traffic = self.lab.traffic("A");
        let [before, after] = others.seen();
        self.send(kind);
        let size = length(self.family);
        let plus = |seen: Seen, packets: u64, marked: bool| Seen {
            packets: seen.packets + packets,
            bytes: seen.bytes + packets * size,
            marked: seen.marked + if marked { packets } else { 0 },
        };
        let wanted = (
            plus(before, expected.before, false),
            (expected.netpath, expected.netpath * size),
            plus(after, expected.after, expected.before != 0),
        );
        let deadline = Deadline::new();
        loop {
            let now = self.lab.traffic("A");
            let [before, after] = others.seen();
            let seen = (before, now.since(&traffic).row(row), after);
            if seen == wanted {
                return;
            }
            deadline.check(|| format!("seen {seen:?}\nnot {wanted:?}\n{:?}", self.programs()));
        }
    }

    /// As it should be with all three in their order.
    fn assert_in_order(&self, others: &Others) {
        let share = Share {
            before: COUNT,
            netpath: COUNT,
            after: 0,
        };
        self.assert_shares(others, Kind::Redirected, share);
        let share = Share {
            after: COUNT,
            ..share
        };
        self.assert_shares(others, Kind::Punted, share);
    }
}

/// A program behind netpath's would have its packets punted by the next `up`, so that it sees them.
fn passing_others_by() -> String {
    let policy = "forward_policy";
    TWO_NODES.replace(policy, &format!("bypass = [\"shaped\"]\n{policy}"))
}

#[test]
#[ignore = "a process for the other tests"]
fn lab() {
    is_in_mode();
    for family in Family::ALL {
        let mut lab = Lab::up(&passing_others_by());
        the_others_come_and_go(&Scene { lab: &lab, family });
        the_fast_path_goes_and_comes(&Scene { lab: &lab, family });
        another_version_takes_over(&mut lab, family);
        a_drop_is_the_last_word(&Scene { lab: &lab, family });
        lab.down();
    }
}

fn the_others_come_and_go(scene: &Scene<'_>) {
    let alone = scene.programs();
    assert_eq!(alone.len(), 1);
    let others = scene.attach();
    let [first, ours, last] = scene.programs().try_into().expect("three programs");
    assert_eq!([ours], alone[..]);
    scene.assert_in_order(&others);

    // Whichever goes first, those that stay see what they saw.
    let Others { before, after } = others;
    drop(before);
    assert_eq!(scene.programs(), [ours, last]);
    let before = watch(&scene.lab.netns("A"), "va1", Position::Before, scene.family);
    let others = Others { before, after };
    scene.assert_in_order(&others);
    let Others { before, after } = others;
    drop(after);
    let [again, still] = scene.programs().try_into().expect("two programs");
    assert!(still == ours && again != first, "{again} {still}");
    drop(before);
    assert_eq!(scene.programs(), alone);
}

fn the_fast_path_goes_and_comes(scene: &Scene<'_>) {
    let lab = scene.lab;
    let others = scene.attach();
    let [first, ours, last] = scene.programs().try_into().expect("three programs");
    lab.fast_path(false, "A", None);
    assert_eq!(scene.programs(), [first, last]);
    for kind in [Kind::Redirected, Kind::Punted] {
        let share = Share {
            before: COUNT,
            netpath: 0,
            after: COUNT,
        };
        scene.assert_shares(&others, kind, share);
    }
    lab.fast_path(true, "A", None);
    match attach_mode().expect("the kernel answers") {
        // The place of a filter is its priority.
        AttachMode::Clsact => {
            assert_eq!(scene.programs(), [first, ours, last]);
            scene.assert_in_order(&others);
        }
        // Behind all that are there.
        AttachMode::Tcx => {
            assert_eq!(scene.programs(), [first, last, ours]);
            for kind in [Kind::Redirected, Kind::Punted] {
                let share = Share {
                    before: COUNT,
                    netpath: COUNT,
                    after: COUNT,
                };
                scene.assert_shares(&others, kind, share);
            }
        }
    }
}

fn another_version_takes_over(lab: &mut Lab, family: Family) {
    let others = Scene { lab, family }.attach();
    for object in [ObjectKind::Logging, ObjectKind::Plain] {
        let [first, ours, last] = Scene { lab, family }.programs().try_into().expect("three");
        lab.set_options(UpOptions {
            object,
            ..UpOptions::default()
        });
        assert_eq!(lab.converge().len(), 2, "one for each node");
        let scene = Scene { lab, family };
        let [one, other, three] = scene.programs().try_into().expect("three programs");
        assert_eq!([one, three], [first, last]);
        assert_ne!(other, ours, "the programs of another version");
        for kind in [ProgramKind::FromEndpoint, ProgramKind::ToEndpoint] {
            let datapath = lab.datapath("A");
            let attached = lab.inside("A", || {
                datapath.is_attached(&Inside::current(), kind, "va1")
            });
            assert!(attached.expect("query"), "{}", kind.name());
        }
        scene.assert_in_order(&others);
    }
    lab.set_options(UpOptions::default());
}

fn a_drop_is_the_last_word(scene: &Scene<'_>) {
    let others = scene.attach();
    let behaviour = Behaviour::answer(Answer::Drop).only_length(length(scene.family) as u32);
    let netns = scene.lab.netns("A");
    let hook = TcAttachType::Ingress;
    let dropping = TcProgram::attach(&netns, "va1", hook, Position::Before, behaviour);
    let nobody = Share {
        before: 0,
        netpath: 0,
        after: 0,
    };
    for (number, kind) in (1..).zip([Kind::Redirected, Kind::Punted]) {
        scene.assert_shares(&others, kind, nobody);
        let deadline = Deadline::new();
        while dropping.seen().packets != number * COUNT {
            deadline.check(|| format!("dropped {:?}", dropping.seen()));
        }
    }
    drop(dropping);
    scene.assert_in_order(&others);
}

#[test]
#[ignore = "a process for the other tests"]
fn machine() {
    is_in_mode();
    on_a_machine(|lab| {
        for family in Family::ALL {
            let machine = Netns::named(&lab.name("H")).expect("the machine");
            let others = Others::attach(&machine, "up0", family);
            let alone = programs("up0");
            assert_eq!(alone.len(), 2);
            lab.converge();
            let mut with_ours = programs("up0");
            assert_eq!(with_ours.len(), 3);
            with_ours.retain(|id| alone.contains(id));
            assert_eq!(with_ours, alone, "in their order");
            assert_uplink_shares(lab, family, &others, true);
            lab.down();
            assert_eq!(programs("up0"), alone);
            assert_uplink_shares(lab, family, &others, false);
        }
    });
}

/// Sends from the machine's neighbour to a1: the one before sees all of it, and all of it is marked where it
/// comes to the one behind.
fn assert_uplink_shares(lab: &Lab, family: Family, others: &Others, is_up: bool) {
    let at = usize::from(family == Family::V6);
    let mac = |place: &str, dev: &str| {
        let listing = lab.ip(place, &format!("-o link show dev {dev}"));
        let mut words = listing
            .split_whitespace()
            .skip_while(|word| *word != "link/ether");
        let mut bytes = words.nth(1).expect("a MAC").split(':');
        let mut next = || u8::from_str_radix(bytes.next().expect("6 bytes"), 16).expect("hex");
        netpath_common::Mac([(); 6].map(|()| next()))
    };
    let frame = FrameBuilder::new(mac("P", "eth0"), mac("H", "up0"));
    let frame = between(frame, addresses("b1")[at], addresses("a1")[at]);
    let frame = frame.udp(4_000, 4_001).payload(&PAYLOAD).build();
    let [before, after] = others.seen();
    let traffic = is_up.then(|| lab.traffic_now("H"));
    let injector = lab.injector("P", "eth0");
    for _ in 0..COUNT {
        injector.send(&frame).expect("send");
    }
    // netpath was attached last, and with TCX it is so behind both. A filter of somebody's is behind netpath's, which
    // leaves it the packets.
    let row = match attach_mode().expect("the kernel answers") {
        AttachMode::Tcx => "up0 > va1 redirect_peer",
        AttachMode::Clsact => "up0 > - punt shaped",
    };
    let wanted = (before.packets + COUNT, after.marked + COUNT);
    let deadline = Deadline::new();
    loop {
        let [before, after] = others.seen();
        let counted = traffic.as_ref().map(|traffic| {
            let now = lab.traffic_now("H").since(traffic);
            now.row(row).0
        });
        let seen = (before.packets, after.marked);
        if seen == wanted && counted.is_none_or(|packets| packets == COUNT) {
            return;
        }
        deadline.check(|| format!("seen {seen:?}, {row} {counted:?}, not {wanted:?}"));
    }
}
