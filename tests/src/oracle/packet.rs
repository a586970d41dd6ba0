//! One packet, as bytes.

use std::fmt;

use netpath::datapath::ProgramKind;
use netpath_common::Ifindex;

/// What comes in at an interface.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The program on that interface.
    pub program: ProgramKind,
    /// The interface.
    pub ingress: Ifindex,
    /// From the Ethernet header on.
    pub frame: Vec<u8>,
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  {} on interface {}: ",
            self.program.name(),
            self.ingress.0
        )?;
        self.frame
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
