//! ICMP and ICMPv6 messages of a ping: writing requests, recognizing what answers them.

use bytes::BufMut as _;

use crate::probe::{
    frame::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, ParsedIp, Transport, internet_checksum},
    pattern,
};

/// Type, code, checksum, identifier, sequence number (RFC 792; RFC 4443, 4.1).
pub(super) const ECHO_HEADER: usize = 8;

/// The echo requests of one run, in one family.
#[derive(Clone, Copy, Debug)]
pub(in crate::probe) struct Echo {
    pub(in crate::probe) ipv4: bool,
    pub(in crate::probe) id: u16,
    pub(in crate::probe) run: u64,
    pub(in crate::probe) payload_len: usize,
}

/// What a message says about one of the requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Reply { sequence: u16, intact: bool },
    Error { sequence: u16, kind: u8, code: u8 },
}

impl Echo {
    pub(in crate::probe) fn request(&self, sequence: u16) -> Vec<u8> {
        let mut message = Vec::with_capacity(ECHO_HEADER + self.payload_len);
        message.put_u8(if self.ipv4 { 8 } else { 128 });
        message.put_u8(0);
        message.put_u16(0);
        message.put_u16(self.id);
        message.put_u16(sequence);
        message.resize(ECHO_HEADER + self.payload_len, 0);
        pattern::fill(self.seed(sequence), 0, &mut message[ECHO_HEADER..]);
        if self.ipv4 {
            // ICMPv6's, with its pseudo header, is the kernel's work (RFC 3542, 3.1).
            let checksum = internet_checksum(&message);
            message[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        message
    }

    /// What `message`, from the ICMP header on, says about one of the first `sent` requests; `None` when it
    /// is about something else.
    pub(super) fn answer(&self, message: &[u8], sent: u16) -> Option<Answer> {
        let (&kind, &code) = (message.first()?, message.get(1)?);
        let reply = if self.ipv4 { 0 } else { 129 };
        if kind == reply {
            let sequence = self.sequence(message, sent)?;
            let payload = &message[ECHO_HEADER..];
            // A raw ICMP socket gets messages before their checksum is verified; ICMPv6's is by then.
            let intact = (!self.ipv4 || internet_checksum(message) == 0)
                && payload.len() == self.payload_len
                && pattern::first_difference(self.seed(sequence), 0, payload).is_none();
            return Some(Answer::Reply { sequence, intact });
        }
        let is_error = if self.ipv4 {
            // Unreachable, source quench, redirect, time exceeded, parameter problem (RFC 792).
            matches!(kind, 3 | 4 | 5 | 11 | 12)
        } else {
            // Errors are below 128 (RFC 4443, 2.1).
            kind < 128
        };
        if !is_error {
            return None;
        }
        let quoted = ParsedIp::parse(message.get(ECHO_HEADER..)?).ok()?;
        let Ok(Transport::Icmp {
            kind: quoted_kind, ..
        }) = quoted.transport()
        else {
            return None;
        };
        let (request, protocol) = if self.ipv4 {
            (8, PROTOCOL_ICMP)
        } else {
            (128, PROTOCOL_ICMPV6)
        };
        if quoted_kind != request || quoted.protocol != protocol {
            return None;
        }
        let sequence = self.sequence(quoted.payload, sent)?;
        Some(Answer::Error {
            sequence,
            kind,
            code,
        })
    }

    /// The sequence number of an echo message of this run.
    fn sequence(&self, message: &[u8], sent: u16) -> Option<u16> {
        let field = |at| {
            Some(u16::from_be_bytes([
                *message.get(at)?,
                *message.get(at + 1)?,
            ]))
        };
        let (id, sequence) = (field(4)?, field(6)?);
        (id == self.id && sequence < sent).then_some(sequence)
    }

    fn seed(&self, sequence: u16) -> u64 {
        pattern::packet_seed(self.run, sequence.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: Echo = Echo {
        ipv4: true,
        id: 0x1234,
        run: 5,
        payload_len: 31,
    };

    fn reply(sequence: u16) -> Vec<u8> {
        let mut message = ECHO.request(sequence);
        message[0] = 0;
        checksum(&mut message);
        message
    }

    fn checksum(message: &mut [u8]) {
        message[2..4].fill(0);
        let checksum = internet_checksum(message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
    }

    #[test]
    fn any_altered_byte_of_a_reply_is_noticed() {
        let good = reply(2);
        let intact = Answer::Reply {
            sequence: 2,
            intact: true,
        };
        assert_eq!(ECHO.answer(&good, 3), Some(intact.clone()));
        for index in 0..good.len() {
            for fixed_checksum in [false, true] {
                let mut bad = good.clone();
                bad[index] ^= 1;
                if fixed_checksum {
                    checksum(&mut bad);
                }
                // Code and checksum are not verified against the request, all else is.
                if fixed_checksum && matches!(index, 1..=3) {
                    continue;
                }
                assert_ne!(ECHO.answer(&bad, 3), Some(intact.clone()), "byte {index}");
            }
        }
        assert_ne!(ECHO.answer(&good[..good.len() - 1], 3), Some(intact));
    }

    #[test]
    fn others_are_left_alone() {
        assert_eq!(ECHO.answer(&reply(2), 2), None, "never sent");
        assert_eq!(ECHO.answer(&ECHO.request(0), 3), None, "a request");
        let other = Echo { id: 7, ..ECHO };
        assert_eq!(other.answer(&reply(0), 3), None, "another's");
        for length in 0..ECHO_HEADER {
            assert_eq!(ECHO.answer(&reply(0)[..length], 3), None);
        }
    }
}
