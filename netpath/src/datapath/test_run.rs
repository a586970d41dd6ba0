//! Running a program on one packet, without an interface's traffic: `BPF_PROG_TEST_RUN`.

use std::time::Duration;

use aya::{
    TestRun as _, TestRunOptions,
    programs::{ProgramError, SchedClassifier},
};
use netpath_common::Ifindex;

use super::{Datapath, ProgramKind, error::DatapathError};
use crate::netns::Inside;

/// `sizeof(struct __sk_buff)` of `linux/bpf.h` since Linux 5.16; older kernels take it as long as what they
/// do not know is zero.
const CONTEXT: usize = 192;
/// Offsets in `struct __sk_buff`, in bytes. These are fields that `convert___skb_to_skb` of
/// `net/bpf/test_run.c` takes over; it refuses a context in which any field that it does not take is set.
const MARK: usize = 8;
const PRIORITY: usize = 32;
const INGRESS_IFINDEX: usize = 36;
const IFINDEX: usize = 40;
const CONTROL: usize = 48;
const GSO_SEGS: usize = 164;
const GSO_SIZE: usize = 176;

/// A packet to run a program on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestPacket {
    /// The frame from its Ethernet header on: at least 14 bytes, with an IP ethertype at least to the end of
    /// the IP header; and with the kernel's own headroom no more than a page, which leaves about 3,500 bytes.
    pub frame: Vec<u8>,
    /// The interface whose hook it is on; 0 for the loopback device. The frame counts as addressed to this
    /// host if its destination MAC is this interface's.
    pub ifindex: Ifindex,
    /// The interface that it came in by; 0 if it was sent from here.
    pub ingress_ifindex: Ifindex,
    /// `skb->mark`.
    pub mark: u32,
    /// Payload of each segment in bytes; 0 for a packet that is one. The kernel gives a test packet no GSO
    /// type and no transport header, so that helpers that measure segments cannot do so.
    pub gso_size: u32,
    /// Number of segments.
    pub gso_segs: u32,
    /// `skb->cb`, which belongs to whoever has the packet just now.
    pub control: [u32; 5],
    /// How often to run, each time on what the run before left of the packet; 0 counts as 1.
    pub repeat: u32,
}

impl TestPacket {
    /// A frame on an interface's hook: unmarked, of one segment, run once.
    pub fn new(frame: Vec<u8>, ifindex: Ifindex) -> Self {
        Self {
            frame,
            ifindex,
            ingress_ifindex: Ifindex(0),
            mark: 0,
            gso_size: 0,
            gso_segs: 0,
            control: [0; 5],
            repeat: 1,
        }
    }
}

/// What a program answered: a TC return code of `linux/pkt_cls.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnCode {
    /// `TC_ACT_REDIRECT`: to the interface that a redirect helper was told.
    Redirect,
    /// `TCX_NEXT`, which is also `TC_ACT_UNSPEC`: left to the next program and to the kernel.
    Next,
    /// `TC_ACT_SHOT`: dropped.
    Shot,
    /// Any other.
    Other(i32),
}

impl ReturnCode {
    pub(super) fn from_number(number: i32) -> Self {
        match number {
            -1 => Self::Next,
            2 => Self::Shot,
            7 => Self::Redirect,
            other => Self::Other(other),
        }
    }
}

/// What a program made of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestOutcome {
    /// Its answer in the last run.
    pub code: ReturnCode,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
    /// `skb->mark` as the program left it.
    pub mark: u32,
    /// `skb->priority` as the program left it; it was 0.
    pub priority: u32,
    /// Mean duration of one run; the kernel measures in nanoseconds.
    pub duration: Duration,
}

impl Datapath {
    /// Runs a pinned program on a packet. It reads and counts in the node's maps as always, but its answer
    /// is not carried out: nothing is sent, redirected or dropped.
    ///
    /// Interfaces are those of the namespace that the thread is inside.
    ///
    /// # Errors
    /// When there is no such interface, or the frame is too short or too long for the kernel.
    pub fn test_run(
        &self,
        _inside: &Inside<'_>,
        kind: ProgramKind,
        packet: &TestPacket,
    ) -> Result<TestOutcome, DatapathError> {
        let path = self.pins.program(kind.name());
        let opened = SchedClassifier::from_pin(path).map_err(failed(kind))?;
        run(&opened, kind, packet)
    }
}

pub(super) fn failed(kind: ProgramKind) -> impl Fn(ProgramError) -> DatapathError {
    move |source| DatapathError::Program {
        program: kind.name(),
        dev: None,
        source,
    }
}

/// Runs an open program on a packet, as [`Datapath::test_run`] does.
pub(super) fn run(
    program: &SchedClassifier,
    kind: ProgramKind,
    packet: &TestPacket,
) -> Result<TestOutcome, DatapathError> {
    let mut context = [0; CONTEXT];
    let mut set = |offset: usize, value: u32| {
        context[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    };
    for (offset, value) in [
        (MARK, packet.mark),
        (INGRESS_IFINDEX, packet.ingress_ifindex.0),
        (IFINDEX, packet.ifindex.0),
        (GSO_SEGS, packet.gso_segs),
        (GSO_SIZE, packet.gso_size),
    ] {
        set(offset, value);
    }
    for (at, word) in packet.control.into_iter().enumerate() {
        set(CONTROL + 4 * at, word);
    }
    let mut context_after = [0; CONTEXT];
    // The programs only ever shorten a frame.
    let mut frame = vec![0; packet.frame.len()];
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(&packet.frame),
            data_out: Some(&mut frame),
            ctx_in: Some(&context),
            ctx_out: Some(&mut context_after),
            repeat: packet.repeat,
            ..TestRunOptions::new()
        })
        .map_err(failed(kind))?;
    frame.truncate(result.data_size_out as usize);
    let field =
        |offset: usize| u32::from_ne_bytes(std::array::from_fn(|at| context_after[offset + at]));
    Ok(TestOutcome {
        code: ReturnCode::from_number(result.return_value.cast_signed()),
        frame,
        mark: field(MARK),
        priority: field(PRIORITY),
        duration: result.duration,
    })
}
