//! Other TC programs on netpath's hooks: what is before it decides first, what is behind it sees what it punts.
//! The same with TCX and with clsact; a process attaches in one way.

use std::net::UdpSocket;

use aya::programs::TcAttachType;
use netpath::probe::frame::FrameBuilder;
use netpath_tests::{
    Family, between,
    lab::{Bytes::Exactly, Deadline, Lab, TWO_NODES, addresses, in_mode, is_in_mode},
    tc_program::{Answer, Behaviour, Position, Seen, TcProgram},
};

#[test]
fn the_way_that_the_kernel_has() {
    others_programs();
}

#[test]
fn with_clsact() {
    in_mode("others_programs", "clsact");
}

/// Payload of the packets that the other programs deal with, and of those that they let alone.
const THEIRS: [u8; 50] = [1; 50];
const NOT_THEIRS: [u8; 60] = [2; 60];

/// Where the receiver listens.
const PORT: u16 = 4_001;

/// Packets of each kind.
const COUNT: u64 = 5;

struct Sender<'a> {
    lab: &'a Lab,
    family: Family,
}

impl Sender<'_> {
    /// The length of a frame, with its Ethernet header.
    fn length(&self, payload: &[u8]) -> u64 {
        let header = match self.family {
            Family::V4 => 20,
            Family::V6 => 40,
        };
        14 + header + 8 + payload.len() as u64
    }

    fn send(&self, payload: &[u8], ttl: u8) {
        let at = match self.family {
            Family::V4 => 0,
            Family::V6 => 1,
        };
        let record = self.lab.record("A", "a1");
        let frame = FrameBuilder::new(record.endpoint_mac, record.host_mac);
        let frame = between(frame, addresses("a1")[at], addresses("a2")[at])
            .udp(4_000, PORT)
            .payload(payload)
            .ttl(ttl)
            .build();
        let injector = self.lab.injector("a1", "eth0");
        for _ in 0..COUNT {
            injector.send(&frame).expect("send");
        }
    }

    fn seen(&self, marked: bool) -> Seen {
        Seen {
            packets: COUNT,
            bytes: COUNT * self.length(&THEIRS),
            marked: if marked { COUNT } else { 0 },
        }
    }
}

fn assert_seen(program: &TcProgram, expected: Seen) {
    let deadline = Deadline::new();
    while program.seen() != expected {
        deadline.check(|| format!("seen {:?}, expected {expected:?}", program.seen()));
    }
}

#[test]
#[ignore = "a process for the other tests"]
fn others_programs() {
    is_in_mode();
    let lab = Lab::up(TWO_NODES);
    // So that the receiver's kernel does not answer that nobody listens.
    let listen = || addresses("a2").map(|address| UdpSocket::bind((address, PORT)).expect("bind"));
    let listeners = lab.inside("a2", listen);
    for family in Family::ALL {
        let sender = Sender { lab: &lab, family };
        before_and_after(&sender);
        for answer in [Answer::Drop, Answer::Pass] {
            instead(&sender, answer);
        }
    }
    drop(listeners);
    lab.down();
}

/// What is behind sees what netpath punts, with the mark of what is before, and nothing of what it redirects.
fn before_and_after(sender: &Sender<'_>) {
    let Sender { lab, .. } = sender;
    let length = sender.length(&THEIRS);
    let attach = |position, behaviour: Behaviour| {
        let behaviour = behaviour.only_length(length as u32);
        let hook = TcAttachType::Ingress;
        TcProgram::attach(&lab.netns("A"), "va1", hook, position, behaviour)
    };
    for (ttl, row, punted) in [
        (1, "va1 > - punt ttl_exceeded", true),
        (64, "va1 > va2 redirect_peer", false),
    ] {
        let after = attach(Position::After, Behaviour::WATCH);
        let before = attach(Position::Before, Behaviour::mark(7));
        let traffic = lab.traffic("A");
        sender.send(&THEIRS, ttl);
        sender.send(&NOT_THEIRS, ttl);
        let bytes = COUNT * (length + sender.length(&NOT_THEIRS));
        lab.assert_counted("A", &traffic, &[(row, 2 * COUNT, Exactly(bytes))]);
        assert_seen(&before, sender.seen(false));
        let behind = if punted {
            sender.seen(true)
        } else {
            Seen::default()
        };
        assert_seen(&after, behind);
    }
}

/// What is before netpath and does not say "next" has the last word.
fn instead(sender: &Sender<'_>, answer: Answer) {
    let Sender { lab, .. } = sender;
    let before = TcProgram::attach(
        &lab.netns("A"),
        "va1",
        TcAttachType::Ingress,
        Position::Before,
        Behaviour::answer(answer).only_length(sender.length(&THEIRS) as u32),
    );
    let forwarded = lab.forward_counters("A");
    let traffic = lab.traffic_now("A");
    sender.send(&THEIRS, 64);
    sender.send(&NOT_THEIRS, 64);
    assert_seen(&before, sender.seen(false));
    let row = "va1 > va2 redirect_peer";
    let deadline = Deadline::new();
    loop {
        let now = lab.traffic_now("A").since(&traffic);
        let counted: Vec<_> = now
            .without_chatter()
            .map(|(row, c)| (row, c.packets))
            .collect();
        if counted == [(row, COUNT)] {
            break;
        }
        deadline.check(|| format!("{answer:?}: counted {counted:?}"));
    }
    // The kernel's own path, with its FORWARD policy of DROP, has them only after "pass".
    let passed = lab.forward_counters("A") != forwarded;
    assert_eq!(passed, answer == Answer::Pass, "{forwarded:?}");
}
