//! One packet through one program, and what has to become of it.

use netpath::{
    datapath::{ProgramKind, ReturnCode, TestOutcome, TestPacket},
    netns::Inside,
    probe::frame::internet_checksum,
};
use netpath_common::{DropReason, HopCounter, HopKey, Ifindex, Mac, Outcome, PuntReason, Verdict};

use crate::{Device, TestNode, counted, fib_lookup_takes_marks, system::on_this_cpu};

/// Every test packet is marked, to see that redirects clear the mark and nothing else does; but where the FIB
/// cannot be asked about marked packets, none is, unless the test says so.
pub const MARK: u32 = 0x51;

/// How often a packet is run once more without the mark, which keeps it from the decision cache: the stages decide of the first
/// two, and the cache of the rest if it may.
const AGAIN: u64 = 3;

/// How often a packet is tried at most until the cache decides of it: the kernel's clock ticks meanwhile.
const TRIES: u32 = 100;

/// A packet on a hook of a node. It does not run before it is said what has to become of it.
#[derive(Clone, Debug)]
pub struct Passage<'a> {
    node: &'a TestNode,
    program: ProgramKind,
    packet: TestPacket,
    /// What is left of the frame where it is longer than its packet says.
    trimmed_to: Option<usize>,
    /// Whether the test itself said which mark it has.
    has_own_mark: bool,
}

impl<'a> Passage<'a> {
    /// A frame on the hook of this program at this device.
    pub fn new(node: &'a TestNode, program: ProgramKind, device: Device, frame: Vec<u8>) -> Self {
        let mark = if fib_lookup_takes_marks() { MARK } else { 0 };
        Self {
            node,
            program,
            packet: TestPacket {
                mark,
                ..TestPacket::new(frame, device.ifindex)
            },
            trimmed_to: None,
            has_own_mark: false,
        }
    }

    /// Changes the frame.
    pub fn with(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.packet.frame);
        self
    }

    /// Sets the mark.
    pub fn marked(mut self, mark: u32) -> Self {
        self.packet.mark = mark;
        self.has_own_mark = mark != MARK;
        self
    }

    /// Lets it stand for segments with this much payload.
    pub fn segmented(mut self, gso_size: u32) -> Self {
        self.packet.gso_size = gso_size;
        self.packet.gso_segs = 2;
        self
    }

    /// Says by which device it came in.
    pub fn arrived_by(mut self, device: Device) -> Self {
        self.packet.ingress_ifindex = device.ifindex;
        self
    }

    /// As [`Self::arrived_by`]; by none, where the node sent it.
    pub fn arrived(self, device: Option<Device>) -> Self {
        match device {
            Some(device) => self.arrived_by(device),
            None => self,
        }
    }

    /// It has to be cut to this many bytes where it is forwarded.
    pub fn trimmed_to(mut self, length: usize) -> Self {
        self.trimmed_to = Some(length);
        self
    }

    /// It has to go into an endpoint's namespace: TTL down by one, the endpoint's MACs, no mark.
    pub fn goes_to(self, endpoint: Device) -> TestOutcome {
        let macs = Some((endpoint.far_mac, endpoint.mac));
        let expected = self.forwarded(macs);
        self.ends(Verdict::RedirectPeer, endpoint.ifindex, &expected, 0)
    }

    /// It has to go out of the uplink: TTL down by one, no mark; its MACs are the kernel's to set.
    pub fn goes_out(self) -> TestOutcome {
        let egress = self.node.uplink.ifindex;
        let expected = self.forwarded(None);
        self.ends(Verdict::RedirectNeigh, egress, &expected, 0)
    }

    /// It has to be left to the kernel, untouched.
    pub fn is_punted(self, reason: PuntReason) -> TestOutcome {
        self.stays(Verdict::Punt(reason))
    }

    /// It has to be left to the kernel, untouched, and counted with where it would have gone.
    pub fn is_in_shadow(self, egress: Device) -> TestOutcome {
        let (frame, mark) = (self.packet.frame.clone(), self.packet.mark);
        let verdict = Verdict::Punt(PuntReason::Shadow);
        self.ends(verdict, egress.ifindex, &frame, mark)
    }

    /// It has to be dropped, untouched.
    pub fn is_dropped(self, reason: DropReason) -> TestOutcome {
        self.stays(Verdict::Drop(reason))
    }

    /// It has to be counted as delivered by the kernel, untouched.
    pub fn is_delivered(self) -> TestOutcome {
        let (frame, mark) = (self.packet.frame.clone(), self.packet.mark);
        let egress = self.packet.ifindex;
        self.ends(Verdict::Deliver, egress, &frame, mark)
    }

    /// It has to be left to the kernel, untouched and not counted.
    pub fn is_seen(self) -> TestOutcome {
        let (frame, mark) = (self.packet.frame.clone(), self.packet.mark);
        self.ends_counted(&[], ReturnCode::Next, &frame, mark)
    }

    fn stays(self, verdict: Verdict) -> TestOutcome {
        let (frame, mark) = (self.packet.frame.clone(), self.packet.mark);
        self.ends(verdict, Ifindex(0), &frame, mark)
    }

    fn forwarded(&self, macs: Option<(Mac, Mac)>) -> Vec<u8> {
        let end = self.trimmed_to.unwrap_or(self.packet.frame.len());
        as_forwarded(&self.packet.frame[..end], macs)
    }

    #[track_caller]
    fn ends(&self, verdict: Verdict, egress: Ifindex, frame: &[u8], mark: u32) -> TestOutcome {
        let ingress = match verdict {
            Verdict::Deliver => self.packet.ingress_ifindex,
            _ => self.packet.ifindex,
        };
        let hop = HopKey::new(ingress, egress, verdict);
        let one = HopCounter {
            packets: 1,
            bytes: self.packet.frame.len() as u64,
        };
        let (expected, _) = verdict.numbers();
        let code = match expected {
            Outcome::RedirectPeer | Outcome::RedirectNeigh => ReturnCode::Redirect,
            Outcome::Punt | Outcome::Deliver => ReturnCode::Next,
            Outcome::Drop => ReturnCode::Shot,
        };
        let hops = [(hop, one)];
        if expected != Outcome::Deliver {
            self.is_told(verdict, &hops, frame, mark);
        }
        self.ends_counted(&hops, code, frame, mark)
    }

    /// Whoever asks what would become of it is told just that, and no row moves by it.
    #[track_caller]
    fn is_told(&self, verdict: Verdict, hops: &[(HopKey, HopCounter)], frame: &[u8], mark: u32) {
        let datapath = self.node.datapath();
        let ask = |inside: &Inside<'_>| datapath.ask(inside, self.program, &self.packet);
        let answer = counted(&datapath.maps, &[], || self.node.netns().enter(ask));
        let answer = answer.unwrap_or_else(|e| panic!("{e}"));
        let answer = answer.unwrap_or_else(|e| panic!("{e}: {:02x?}", self.packet.frame));
        let told = (answer.trail.outcome, answer.trail.reason);
        let (outcome, reason) = verdict.numbers();
        let expected = (outcome.number().into(), reason.into());
        assert_eq!(told, expected, "the trail's verdict, and {hops:?}");
        assert_eq!(answer.outcome.mark, mark, "the mark that is told, {hops:?}");
        self.assert_frame(&answer.outcome.frame, frame, hops);
    }

    #[track_caller]
    fn ends_counted(
        &self,
        hops: &[(HopKey, HopCounter)],
        code: ReturnCode,
        frame: &[u8],
        mark: u32,
    ) -> TestOutcome {
        let outcome = counted(&self.node.datapath().maps, hops, || self.run(&self.packet));
        assert_eq!(outcome.code, code, "{hops:?}");
        assert_eq!(outcome.mark, mark, "the mark after {hops:?}");
        self.assert_frame(&outcome.frame, frame, hops);
        if !self.has_own_mark {
            self.ends_again(hops, code, frame);
        }
        outcome
    }

    /// The same becomes of it when the decision cache may know its flow.
    #[track_caller]
    fn ends_again(&self, hops: &[(HopKey, HopCounter)], code: ReturnCode, frame: &[u8]) {
        let packet = TestPacket {
            mark: 0,
            ..self.packet.clone()
        };
        let times = hops.iter().map(|(hop, counter)| {
            let all = HopCounter {
                packets: counter.packets * AGAIN,
                bytes: counter.bytes * AGAIN,
            };
            (*hop, all)
        });
        let times: Vec<_> = times.collect();
        let run = || [(); AGAIN as usize].map(|()| self.run(&packet));
        let outcomes = on_this_cpu(|| counted(&self.node.datapath().maps, &times, run));
        for outcome in outcomes {
            assert_eq!(outcome.code, code, "again, {hops:?}");
            assert_eq!(outcome.mark, 0, "the mark again, after {hops:?}");
            let out = hops
                .iter()
                .any(|(hop, _)| hop.outcome == Outcome::RedirectNeigh.number());
            let uplink = self.node.uplink;
            let macs = [uplink.far_mac.0, uplink.mac.0].concat();
            // The cache writes itself what else the kernel does.
            let expected = if out && outcome.frame.get(..12) == Some(&macs[..]) {
                [&macs, &frame[12..]].concat()
            } else {
                frame.to_vec()
            };
            self.assert_frame(&outcome.frame, &expected, hops);
        }
    }

    /// Runs it without a mark until the decision cache decides of it, which it has to, and returns what became of it then.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn is_cached(&self) -> TestOutcome {
        let found = self.until_hit(TRIES);
        found.unwrap_or_else(|| panic!("never decided by the cache: {:02x?}", self.packet.frame))
    }

    /// The decision cache never decides of it, however often it comes.
    ///
    /// # Panics
    /// When it does.
    #[track_caller]
    pub fn is_never_cached(&self) {
        let found = self.until_hit(AGAIN as u32 * 3);
        assert_eq!(
            found, None,
            "decided by the cache: {:02x?}",
            self.packet.frame
        );
    }

    /// What becomes of it, whatever that is.
    #[track_caller]
    pub fn outcome(&self) -> TestOutcome {
        self.run(&self.packet)
    }

    #[track_caller]
    fn until_hit(&self, tries: u32) -> Option<TestOutcome> {
        let maps = &self.node.datapath().maps;
        let unmarked = TestPacket {
            mark: if self.has_own_mark {
                self.packet.mark
            } else {
                0
            },
            ..self.packet.clone()
        };
        on_this_cpu(|| {
            for _ in 0..tries {
                self.run(&unmarked);
                self.run(&unmarked);
                // As little as can be between two packets: the clock ticks on.
                let rows = maps.hop_rows.all().expect("the rows of hits");
                let hits = || -> u64 {
                    let row = |row| maps.hop_hits.get(row).expect("a row");
                    let rows = rows.keys().filter_map(row);
                    rows.map(|row| row.packets).sum()
                };
                let before = hits();
                let outcome = self.run(&unmarked);
                if hits() > before {
                    return Some(outcome);
                }
            }
            None
        })
    }

    #[track_caller]
    fn run(&self, packet: &TestPacket) -> TestOutcome {
        let node = self.node;
        node.netns()
            .enter(|inside| node.datapath().test_run(inside, self.program, packet))
            .unwrap_or_else(|e| panic!("{e}"))
            .unwrap_or_else(|e| panic!("{e}: {:?}: {:02x?}", e, packet.frame))
    }

    #[track_caller]
    fn assert_frame(&self, found: &[u8], expected: &[u8], hops: &[(HopKey, HopCounter)]) {
        assert!(
            found == expected,
            "the frame after {hops:?}\n  sent     {:02x?}\n  expected {expected:02x?}\n  found    {found:02x?}",
            self.packet.frame,
        );
    }
}

/// What a router makes of a frame: TTL or hop limit down by one, the IPv4 header's checksum computed anew,
/// and new MACs, destination first.
pub fn as_forwarded(frame: &[u8], macs: Option<(Mac, Mac)>) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if let Some((destination, source)) = macs {
        frame[..6].copy_from_slice(&destination.0);
        frame[6..12].copy_from_slice(&source.0);
    }
    match frame[12..14] {
        [0x08, 0x00] => {
            frame[22] -= 1;
            frame[24..26].fill(0);
            let checksum = internet_checksum(&frame[14..34]);
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
        [0x86, 0xdd] => frame[21] -= 1,
        ref other => panic!("ethertype {other:02x?}"),
    }
    frame
}
