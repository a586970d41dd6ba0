//! Somebody else's TC program: what netpath shares its hooks with.
//!
//! The programs are a handful of instructions, assembled here and handed to bpf(2), so that a test needs
//! neither a compiler nor an object file, and can give each its own mark or answer.

use std::{
    borrow::Cow,
    fs,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

use aya::{
    maps::{Array, Map, MapData},
    programs::{
        LinkOrder, SchedClassifier, TcAttachType, loaded_programs,
        tc::{
            NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
        },
    },
};
use netpath::{
    datapath::{AttachMode, attach_mode},
    netns::Netns,
};

use crate::{aged, asm, bpf};

/// Pins a program that leaves every packet to the next.
pub fn pin_idle(path: &Path) {
    const SCHED_CLS: u32 = 3;
    // r0 = TC_ACT_UNSPEC; exit
    let program = bpf::load(SCHED_CLS, &[0xffff_ffff_0000_00b7, 0x95]).expect("loaded");
    aged::pin(&program, path);
}

/// What a program answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `TCX_NEXT`, `TC_ACT_UNSPEC`: the next program decides.
    Next,
    /// `TCX_PASS`, `TC_ACT_OK`: the kernel's own path, no program behind this one.
    Pass,
    /// `TCX_DROP`, `TC_ACT_SHOT`.
    Drop,
}

impl Answer {
    /// Of `linux/bpf.h` and `linux/pkt_cls.h`.
    fn number(self) -> i32 {
        match self {
            Self::Next => -1,
            Self::Pass => 0,
            Self::Drop => 2,
        }
    }
}

/// What a program does with a packet, in this order: it counts it, marks it, answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// Only packets of this `skb->len`, the Ethernet header included, are its business: others it does not
    /// count, and leaves them to the next.
    pub only_length: Option<u32>,
    /// Sets `skb->mark`.
    pub mark: Option<u32>,
    /// The answer.
    pub answer: Answer,
}

impl Behaviour {
    /// Counts, and leaves the packet to the next.
    pub const WATCH: Self = Self {
        only_length: None,
        mark: None,
        answer: Answer::Next,
    };

    /// Counts, marks, and leaves the packet to the next.
    pub fn mark(mark: u32) -> Self {
        Self {
            mark: Some(mark),
            ..Self::WATCH
        }
    }

    /// Counts and answers.
    pub fn answer(answer: Answer) -> Self {
        Self {
            answer,
            ..Self::WATCH
        }
    }

    /// The same, but only with packets of this `skb->len`.
    pub fn only_length(self, length: u32) -> Self {
        Self {
            only_length: Some(length),
            ..self
        }
    }
}

/// What a program has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Packets.
    pub packets: u64,
    /// Their `skb->len`, in sum.
    pub bytes: u64,
    /// Packets that came with a mark.
    pub marked: u64,
}

/// Which side of netpath's program, and of all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// First of all.
    Before,
    /// Last of all. On a TCX hook this holds against programs attached so far.
    After,
}

/// Priorities of filters on a clsact qdisc, on either side of any that netpath may choose.
const CLSACT_FIRST: u16 = 1;
const CLSACT_LAST: u16 = u16::MAX;

/// A program on a hook, as long as this lives. Let it go before its namespace.
pub struct TcProgram {
    seen: Array<MapData, [u64; COUNTERS]>,
    netns: String,
    link: Option<SchedClassifierLink>,
}

impl TcProgram {
    /// Loads a program and attaches it to an interface of a namespace, the way netpath attaches its own.
    pub fn attach(
        netns: &Netns,
        dev: &str,
        hook: TcAttachType,
        position: Position,
        behaviour: Behaviour,
    ) -> Self {
        let map = bpf::new_array(size_of::<[u64; COUNTERS]>()).expect("BPF_MAP_CREATE");
        let program =
            bpf::load(bpf::SCHED_CLS, &instructions(&map, behaviour)).expect("BPF_PROG_LOAD");
        let mut classifier = classifier(&program);
        let work = || {
            let id = classifier
                .attach_with_options(dev, hook, options(dev, position))
                .expect("attaching");
            classifier.take_link(id).expect("it was just attached")
        };
        let link = netns.run(work).expect("entering the namespace");
        let map = MapData::from_fd(map).expect("a map");
        Self {
            seen: Array::try_from(Map::from_map_data(map).expect("a map")).expect("an array"),
            netns: netns.name().to_owned(),
            link: Some(link),
        }
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        let [packets, bytes, marked, ..] = self.seen.get(&0, 0).expect("reading the map");
        Seen {
            packets,
            bytes,
            marked,
        }
    }

    /// How many packets it has seen with each of the lowest values of `skb->priority`.
    pub fn priorities(&self) -> [u64; PRIORITIES] {
        let counters = self.seen.get(&0, 0).expect("reading the map");
        std::array::from_fn(|priority| counters[3 + priority])
    }
}

/// What a program counts: packets, bytes, marked ones, and packets by their priority.
const COUNTERS: usize = 3 + PRIORITIES;
/// Those from 0 on that are told apart.
const PRIORITIES: usize = 8;

impl Drop for TcProgram {
    fn drop(&mut self) {
        let link = self.link.take();
        if attach_mode().expect("the kernel answers") == AttachMode::Tcx {
            return;
        }
        // A filter is found by its interface's number, which has a meaning in its namespace only. Where that
        // is gone, so is the filter; to keep the namespace open for this would keep it alive.
        match Netns::named(&self.netns) {
            Ok(netns) => netns.run(|| drop(link)).expect("entering the namespace"),
            Err(_) => std::mem::forget(link),
        }
    }
}

fn options(dev: &str, position: Position) -> TcAttachOptions {
    match (attach_mode().expect("the kernel answers"), position) {
        (AttachMode::Tcx, Position::Before) => TcAttachOptions::TcxOrder(LinkOrder::first()),
        (AttachMode::Tcx, Position::After) => TcAttachOptions::TcxOrder(LinkOrder::last()),
        (AttachMode::Clsact, position) => {
            match qdisc_add_clsact(dev) {
                Ok(()) => {}
                // Where netpath's program is attached, there is one already.
                Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {
                }
                Err(error) => panic!("clsact on {dev}: {error}"),
            }
            TcAttachOptions::Netlink(NlOptions {
                priority: match position {
                    Position::Before => CLSACT_FIRST,
                    Position::After => CLSACT_LAST,
                },
                handle: TcHandle::AUTO_ASSIGN,
                classid: None,
            })
        }
    }
}

/// aya's handle of a program that it did not load: it knows programs by id.
fn classifier(program: &OwnedFd) -> SchedClassifier {
    let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
    let text = fs::read_to_string(path).expect("fdinfo");
    let id: u32 = text
        .lines()
        .find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
        .unwrap_or_else(|| panic!("no prog_id in {text}"));
    // Others' programs come and go meanwhile.
    let info = loaded_programs()
        .filter_map(Result::ok)
        .find(|info| info.id() == id)
        .expect("it is loaded");
    SchedClassifier::from_program_info(info, Cow::Borrowed("other")).expect("a classifier")
}

/// The program, in order: look at the length, count, mark, answer.
fn instructions(map: &OwnedFd, behaviour: Behaviour) -> Vec<u64> {
    use asm::*;
    let [fd_low, fd_high] = map_fd(R1, map.as_raw_fd());
    let mut program = vec![move_register(R6, R1), load_word(R7, R6, SKB_LEN)];
    if let Some(length) = behaviour.only_length {
        let length = i32::try_from(length).expect("a length");
        program.extend([
            jump_if(R7, length, 2),
            move_immediate(R0, Answer::Next.number()),
            EXIT,
        ]);
    }
    program.extend([
        // The key 0, on the stack.
        store_word(R10, -4, 0),
        move_register(R2, R10),
        add(R2, -4),
        fd_low,
        fd_high,
        call(MAP_LOOKUP_ELEM),
        jump_if_not(R0, 0, 2),
        // An array has its element; the verifier does not know.
        move_immediate(R0, Answer::Drop.number()),
        EXIT,
        move_immediate(R1, 1),
        atomic_add(R0, 0, R1),
        atomic_add(R0, 8, R7),
        load_word(R2, R6, SKB_MARK),
        jump_if(R2, 0, 1),
        atomic_add(R0, 16, R1),
        load_word(R2, R6, SKB_PRIORITY),
        jump_if_more(R2, PRIORITIES as i32 - 1, 3),
        shift_left(R2, 3),
        add_register(R0, R2),
        atomic_add(R0, 24, R1),
    ]);
    if let Some(mark) = behaviour.mark {
        program.extend([
            move_immediate(R1, mark.cast_signed()),
            write_word(R6, SKB_MARK, R1),
        ]);
    }
    program.extend([move_immediate(R0, behaviour.answer.number()), EXIT]);
    program
}
