//! Bytes that the receiver can compute for itself, so that each one is verified.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use crate::random::SplitMix64;

/// A number that tells this run's packets from those of any other.
pub fn run_id() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The seed of one packet of a run.
pub(super) fn packet_seed(run: u64, sequence: u64) -> u64 {
    mix(run ^ mix(sequence))
}

/// Fills `bytes` with the pattern of `seed`, from the pattern's byte `offset` on.
pub(super) fn fill(seed: u64, offset: u64, bytes: &mut [u8]) {
    let mut position = offset;
    let mut rest = bytes;
    while !rest.is_empty() {
        let word = word(seed, position);
        let skip = within_word(position);
        let count = rest.len().min(8 - skip);
        let (head, tail) = rest.split_at_mut(count);
        head.copy_from_slice(&word[skip..skip + count]);
        position += count as u64;
        rest = tail;
    }
}

/// The index in `bytes` of the first byte that is not the pattern's.
pub(super) fn first_difference(seed: u64, offset: u64, bytes: &[u8]) -> Option<usize> {
    let mut position = offset;
    let mut index = 0;
    while index < bytes.len() {
        let word = word(seed, position);
        let skip = within_word(position);
        let count = (bytes.len() - index).min(8 - skip);
        let expected = &word[skip..skip + count];
        let found = &bytes[index..index + count];
        if expected != found {
            let wrong = expected.iter().zip(found).take_while(|(a, b)| a == b);
            return Some(index + wrong.count());
        }
        index += count;
        position += count as u64;
    }
    None
}

fn word(seed: u64, position: u64) -> [u8; 8] {
    mix(seed.wrapping_add(position / 8)).to_be_bytes()
}

fn within_word(position: u64) -> usize {
    (position % 8) as usize
}

/// Any two seeds give unrelated words.
fn mix(seed: u64) -> u64 {
    SplitMix64::new(seed).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_is_the_same_however_it_is_cut() {
        let mut whole = [0; 100];
        fill(7, 0, &mut whole);
        for cut in 0..=whole.len() {
            let mut parts = [0; 100];
            let (head, tail) = parts.split_at_mut(cut);
            fill(7, 0, head);
            fill(7, cut as u64, tail);
            assert_eq!(parts, whole);
        }
    }

    #[test]
    fn every_altered_byte_is_found() {
        let mut bytes = [0; 61];
        fill(9, 3, &mut bytes);
        assert_eq!(first_difference(9, 3, &bytes), None);
        assert!(first_difference(9, 4, &bytes).is_some());
        for index in 0..bytes.len() {
            bytes[index] ^= 0x10;
            assert_eq!(first_difference(9, 3, &bytes), Some(index));
            bytes[index] ^= 0x10;
        }
    }

    #[test]
    fn seeds_and_runs_differ() {
        assert_ne!(packet_seed(1, 2), packet_seed(2, 1));
        assert_ne!(packet_seed(1, 2), packet_seed(1, 3));
        assert_ne!(run_id(), run_id());
    }
}
