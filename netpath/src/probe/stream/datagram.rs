//! The payload of a stream's datagrams: magic number, run, sequence number, all big-endian, then a pattern
//! that depends on both.

use bytes::{Buf as _, BufMut as _};

use crate::probe::pattern;

const MAGIC: u32 = u32::from_be_bytes(*b"npst");

/// Magic number (4 bytes), run (4), sequence number (8).
pub(super) const HEADER: usize = 16;

/// The datagrams of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagrams {
    pub(super) run: u64,
    pub(super) payload_len: usize,
}

/// What a payload turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Intact(u64),
    Corrupted,
    Foreign,
}

impl Datagrams {
    /// Writes datagram `sequence` into a payload of `payload_len` bytes.
    pub(super) fn write(&self, sequence: u64, payload: &mut [u8]) {
        let (mut header, rest) = payload.split_at_mut(HEADER);
        header.put_u32(MAGIC);
        header.put_u32(self.run as u32);
        header.put_u64(sequence);
        pattern::fill(pattern::packet_seed(self.run, sequence), 0, rest);
    }

    /// Verifies every byte of a payload that arrived on a stream of `packets` datagrams.
    pub(super) fn verify(&self, payload: &[u8], packets: u64) -> Verdict {
        let Some((mut header, rest)) = payload.split_at_checked(HEADER) else {
            return Verdict::Foreign;
        };
        if (header.get_u32(), header.get_u32()) != (MAGIC, self.run as u32) {
            return Verdict::Foreign;
        }
        let sequence = header.get_u64();
        let seed = pattern::packet_seed(self.run, sequence);
        if payload.len() == self.payload_len
            && sequence < packets
            && pattern::first_difference(seed, 0, rest).is_none()
        {
            Verdict::Intact(sequence)
        } else {
            Verdict::Corrupted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_altered_byte_is_noticed() {
        let datagrams = Datagrams {
            run: 3,
            payload_len: 77,
        };
        let mut payload = [0; 77];
        datagrams.write(5, &mut payload);
        assert_eq!(datagrams.verify(&payload, 6), Verdict::Intact(5));
        assert_eq!(datagrams.verify(&payload, 5), Verdict::Corrupted);
        assert_eq!(datagrams.verify(&payload[..76], 6), Verdict::Corrupted);
        assert_eq!(datagrams.verify(&payload[..15], 6), Verdict::Foreign);
        for index in 0..payload.len() {
            payload[index] ^= 1;
            let expected = if index < 8 {
                Verdict::Foreign
            } else {
                Verdict::Corrupted
            };
            assert_eq!(datagrams.verify(&payload, u64::MAX), expected, "{index}");
            payload[index] ^= 1;
        }
    }
}
