//! One input: a program, a packet, an interface.

use std::fmt;

use netpath::datapath::{ProgramKind, TestPacket};
use netpath_common::Ifindex;

use super::{corpus::Case, mutate::mutate, rng::Rng};
use crate::{Device, TestNode};

/// What one iteration runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The program.
    pub program: ProgramKind,
    /// The interface whose hook it is on.
    pub device: Device,
    /// The packet.
    pub packet: TestPacket,
}

impl Input {
    /// The input of one iteration.
    pub(super) fn make(node: &TestNode, corpus: &[Case], seed: u64, iteration: u64) -> Self {
        let mut rng = Rng::new(seed, iteration);
        let Case {
            mut program,
            mut device,
            mut frame,
        } = corpus[rng.below(corpus.len())].clone();
        // On another hook than it was made for.
        if rng.chance(8) {
            (program, device) = rng.pick(&[
                (ProgramKind::FromEndpoint, node.a),
                (ProgramKind::FromEndpoint, node.b),
                (ProgramKind::FromUplink, node.uplink),
                (ProgramKind::ToEndpoint, node.a),
                (ProgramKind::ToUplink, node.uplink),
            ]);
            if rng.chance(50) && frame.len() >= 6 {
                frame[..6].copy_from_slice(&device.mac.0);
            }
        }
        mutate(&mut rng, &mut frame, corpus);
        let mut packet = TestPacket::new(frame, device.ifindex);
        packet.mark = rng.pick(&[0, 1, 0x51, u32::MAX]);
        let arrivals = [
            node.a.ifindex,
            node.b.ifindex,
            node.uplink.ifindex,
            Ifindex(0),
        ];
        packet.ingress_ifindex = match program {
            ProgramKind::ToEndpoint | ProgramKind::ToUplink => rng.pick(&arrivals),
            ProgramKind::FromEndpoint | ProgramKind::FromUplink => device.ifindex,
        };
        if rng.chance(15) {
            packet.gso_size = rng.pick(&[1, 8, 536, 1400, 1448, 1472, 9000, 0xffff]);
            packet.gso_segs = rng.pick(&[0, 1, 2, 45]);
        }
        Self {
            program,
            device,
            packet,
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TestPacket {
            frame,
            ifindex,
            ingress_ifindex,
            mark,
            gso_size,
            gso_segs,
            control: _,
            repeat: _,
        } = &self.packet;
        write!(
            f,
            "  {} on {} ({}), arrived by {}, mark {mark:#x}, gso {gso_size} x {gso_segs}, {} bytes\n  ",
            self.program.name(),
            self.device.name,
            ifindex.0,
            ingress_ifindex.0,
            frame.len(),
        )?;
        frame.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
