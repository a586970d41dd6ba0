//! Connection tracking.

use netpath_common::Family;

use super::{Going, Walk};
use crate::kernel_way::{KernelWayError, Outcome, Place, Tracked, Transport, Unknown};

/// What connection tracking takes a packet for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Phase {
    /// It was not looked at yet; rules that ask take it for invalid.
    Before,
    /// It is not tracked, by a rule or as neighbour discovery.
    Untracked,
    /// It belongs to no connection and begins none.
    Invalid,
    /// It begins one, or nothing was answered yet.
    New,
    /// It belongs to one that was answered, or answers it.
    Established,
    /// It is an error about one.
    Related,
}

/// A packet's connection.
#[derive(Clone, Debug)]
pub(in super::super) struct Track {
    /// What is known of it beforehand.
    given: Option<Tracked>,
    pub phase: Phase,
    /// What is known of it now, of a packet that belongs to one.
    pub connection: Option<Tracked>,
    /// It goes the other way than the first packet.
    pub is_reply: bool,
    /// Whether it was decided how each end is translated.
    pub source_done: bool,
    pub destination_done: bool,
}

impl Track {
    pub fn new(given: Option<Tracked>) -> Self {
        Self {
            given,
            phase: Phase::Before,
            connection: None,
            is_reply: false,
            source_done: false,
            destination_done: false,
        }
    }

    /// A rule says that the packet is not tracked; whether that changed anything.
    pub fn untrack(&mut self) -> bool {
        let changes = self.phase == Phase::Before;
        if changes {
            self.phase = Phase::Untracked;
        }
        changes
    }

    pub fn known(&self) -> Option<Tracked> {
        self.connection.or(self.given)
    }

    /// `IPS_*` of linux/netfilter/nf_conntrack_common.h; whether it is assured is not known.
    pub fn status(&self) -> Option<u32> {
        const SEEN_REPLY: u32 = 1 << 1;
        const CONFIRMED: u32 = 1 << 3;
        const SOURCE: u32 = 1 << 4;
        const DESTINATION: u32 = 1 << 5;
        const SOURCE_DONE: u32 = 1 << 7;
        const DESTINATION_DONE: u32 = 1 << 8;
        let connection = self.connection?;
        let bits = [
            (SEEN_REPLY, connection.answered || self.is_reply),
            (CONFIRMED, self.given.is_some()),
            (SOURCE, connection.is_source_translated()),
            (DESTINATION, connection.is_destination_translated()),
            (SOURCE_DONE, self.source_done),
            (DESTINATION_DONE, self.destination_done),
        ];
        let set = bits.iter().filter(|(_, set)| *set);
        Some(set.fold(0, |all, (bit, _)| all | bit))
    }
}

impl Walk<'_> {
    /// `nf_conntrack_in`.
    pub(super) fn conntrack(&mut self) -> Going<()> {
        if self.track.phase != Phase::Before {
            return Ok(());
        }
        let ends = self.packet.tuple();
        let protocol = self.packet.protocol();
        if let Some(given) = self.track.given.filter(|given| given.protocol == protocol)
            && (ends == given.original || ends == given.reply)
        {
            self.track.is_reply = ends != given.original;
            let answered = given.answered || self.track.is_reply;
            self.track.phase = match answered {
                true => Phase::Established,
                false => Phase::New,
            };
            self.track.connection = Some(Tracked { answered, ..given });
            (self.track.source_done, self.track.destination_done) = (true, true);
            let text = match self.track.is_reply {
                true => "an answer of a known connection",
                false => "of a known connection",
            };
            self.note(Place::Conntrack, Outcome::Passes, text);
            return Ok(());
        }
        self.track.phase = self.begins()?;
        if self.track.phase == Phase::New {
            self.track.connection = Some(Tracked::untranslated(protocol, ends));
        }
        Ok(())
    }

    /// What a packet is that belongs to no connection that is known.
    fn begins(&mut self) -> Result<Phase, KernelWayError> {
        Ok(match (self.packet.transport, self.family()) {
            (Transport::Tcp { flags, .. }, _) => {
                let loose = "netfilter/nf_conntrack_tcp_loose";
                let is_loose = self.kernel.setting(loose)?.unwrap_or(1) != 0;
                tcp(flags, is_loose)
            }
            (Transport::Udp { .. } | Transport::Other(_), _) => Phase::New,
            // Router and neighbour discovery, MLD.
            (
                Transport::Icmp {
                    kind: 130..=137 | 143,
                    ..
                },
                Family::V6,
            ) => Phase::Untracked,
            (Transport::Icmp { .. }, _) if self.is_error() => self.error(),
            (Transport::Icmp { kind, .. }, Family::V4) => match kind {
                8 | 13 | 15 | 17 => Phase::New,
                _ => Phase::Invalid,
            },
            (Transport::Icmp { kind, .. }, Family::V6) => match kind {
                128 | 139 => Phase::New,
                _ => Phase::Invalid,
            },
        })
    }

    /// It depends on the packet that the error quotes.
    fn error(&mut self) -> Phase {
        let what = "the packet that the ICMP error is about".to_owned();
        let so = [
            "it is of no connection".to_owned(),
            "it is of one".to_owned(),
        ];
        match self.suppose(Unknown { what, rule: None }, &so) {
            0 => Phase::Invalid,
            _ => Phase::Related,
        }
    }
}

/// What a first segment leads to: others but SYN, and ACK where connections may be picked up, do not begin one.
fn tcp(flags: u8, is_loose: bool) -> Phase {
    const SYN: u8 = 0x02;
    const PUSH: u8 = 0x08;
    const ACK: u8 = 0x10;
    const URGENT: u8 = 0x20;
    const ECN: u8 = 0xc0;
    match flags & !(ECN | PUSH | URGENT) {
        SYN => Phase::New,
        ACK if is_loose => Phase::New,
        _ => Phase::Invalid,
    }
}
