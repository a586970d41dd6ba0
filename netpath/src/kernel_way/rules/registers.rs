//! The registers of nf_tables with the values that a packet puts there, some bits of which may not be known.

use crate::netfilter::nft::{Register, Relation};

/// A byte of a value. Its unknown bits are 0 in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Bits {
    value: u8,
    unknown: u8,
}

impl Bits {
    /// Nothing of it is known.
    pub const UNKNOWN: Self = Self {
        value: 0,
        unknown: 0xff,
    };

    /// The byte, if it is known.
    pub fn known(self) -> Option<u8> {
        (self.unknown == 0).then_some(self.value)
    }

    /// Known but for these bits.
    pub fn but(value: u8, unknown: u8) -> Self {
        Self {
            value: value & !unknown,
            unknown,
        }
    }
}

impl From<u8> for Bits {
    fn from(value: u8) -> Self {
        Self { value, unknown: 0 }
    }
}

/// Known bytes as bits.
pub(in super::super) fn known(bytes: &[u8]) -> Vec<Bits> {
    bytes.iter().copied().map(Bits::from).collect()
}

const WORD: usize = 4;
const BYTES: usize = 16 * WORD;

/// The registers, byte by byte.
#[derive(Debug)]
pub(super) struct Registers([Bits; BYTES]);

impl Registers {
    pub fn new() -> Self {
        Self([Bits::default(); BYTES])
    }

    /// Puts a value there; the rest of its last word is 0.
    pub fn load(&mut self, into: Register, value: &[Bits]) {
        let first = usize::from(into.0) * WORD;
        let end = (first + value.len()).next_multiple_of(WORD).min(BYTES);
        for (at, slot) in self.0[first.min(BYTES)..end].iter_mut().enumerate() {
            *slot = value.get(at).copied().unwrap_or_default();
        }
    }

    /// So many bytes from there on.
    pub fn get(&self, from: Register, length: usize) -> &[Bits] {
        let first = (usize::from(from.0) * WORD).min(BYTES);
        &self.0[first..(first + length).min(BYTES)]
    }

    /// The same, if all are known.
    pub fn known(&self, from: Register, length: usize) -> Option<Vec<u8>> {
        self.get(from, length)
            .iter()
            .map(|bits| bits.known())
            .collect()
    }

    /// All from there on, as far as it is known at all; what is not reads as 0.
    pub fn rest(&self, from: Register) -> Vec<Bits> {
        self.get(from, BYTES).to_vec()
    }

    pub fn mask(&mut self, (from, into): (Register, Register), mask: &[u8], xor: &[u8]) {
        let value: Vec<Bits> = self
            .get(from, mask.len())
            .iter()
            .zip(mask)
            .zip(xor)
            .map(|((bits, mask), xor)| {
                let unknown = bits.unknown & mask;
                Bits::but(bits.value & mask ^ xor, unknown)
            })
            .collect();
        self.load(into, &value);
    }

    /// The bytes of each number turned round.
    pub fn turn(&mut self, (from, into): (Register, Register), length: usize, size: usize) {
        let mut value = self.get(from, length).to_vec();
        for number in value.chunks_mut(size.max(1)) {
            number.reverse();
        }
        self.load(into, &value);
    }

    /// One word.
    pub fn shift(&mut self, (from, into): (Register, Register), bits: u32, right: bool) {
        let value = match self.known(from, WORD) {
            Some(bytes) => {
                let word = u32::from_ne_bytes(std::array::from_fn(|at| bytes[at]));
                let word = match right {
                    true => word.checked_shr(bits),
                    false => word.checked_shl(bits),
                };
                known(&word.unwrap_or(0).to_ne_bytes())
            }
            None => vec![Bits::UNKNOWN; WORD],
        };
        self.load(into, &value);
    }

    /// Whether a register is so; `None`: that depends on bits that are not known.
    pub fn compare(&self, register: Register, relation: Relation, data: &[u8]) -> Option<bool> {
        let value = self.get(register, data.len());
        let equal = equal(value, data);
        match relation {
            Relation::Equal => equal,
            Relation::NotEqual => equal.map(|equal| !equal),
            ordered => {
                let value: Option<Vec<u8>> = value.iter().map(|bits| bits.known()).collect();
                let value = value?;
                let value = value.as_slice();
                Some(match ordered {
                    Relation::Less => value < data,
                    Relation::LessOrEqual => value <= data,
                    Relation::Greater => value > data,
                    _ => value >= data,
                })
            }
        }
    }
}

fn equal(value: &[Bits], data: &[u8]) -> Option<bool> {
    if value.len() < data.len() {
        return Some(false);
    }
    let differs = |(bits, byte): (&Bits, &u8)| (bits.value ^ byte) & !bits.unknown != 0;
    if value.iter().zip(data).any(differs) {
        return Some(false);
    }
    let whole = value.iter().all(|bits| bits.unknown == 0);
    whole.then_some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: Register = Register(4);

    #[test]
    fn what_is_not_known_matters_only_where_it_is_looked_at() {
        let mut registers = Registers::new();
        registers.load(R, &[Bits::from(0x12), Bits::UNKNOWN, Bits::but(0xf0, 0x0f)]);
        assert_eq!(registers.compare(R, Relation::Equal, &[0x12]), Some(true));
        assert_eq!(registers.compare(R, Relation::Equal, &[0x12, 0]), None);
        assert_eq!(
            registers.compare(R, Relation::Equal, &[0x13, 0]),
            Some(false)
        );
        assert_eq!(registers.compare(R, Relation::NotEqual, &[0x12, 0]), None);
        registers.mask((R, R), &[0xff, 0, 0xf0], &[0, 1, 0]);
        let value = [0x12, 1, 0xf0];
        assert_eq!(registers.compare(R, Relation::Equal, &value), Some(true));
    }

    #[test]
    fn values_are_ordered_by_their_bytes() {
        let mut registers = Registers::new();
        registers.load(R, &known(&[0, 80]));
        assert_eq!(registers.compare(R, Relation::Less, &[1, 0]), Some(true));
        assert_eq!(
            registers.compare(R, Relation::GreaterOrEqual, &[0, 80]),
            Some(true)
        );
        assert_eq!(
            registers.compare(R, Relation::Greater, &[0, 80]),
            Some(false)
        );
    }

    #[test]
    fn words_are_shifted_and_numbers_turned_round() {
        let mut registers = Registers::new();
        registers.load(R, &known(&0x1234_5678u32.to_ne_bytes()));
        registers.shift((R, R), 8, true);
        let shifted = registers.known(R, 4).expect("known");
        assert_eq!(shifted, 0x12_3456u32.to_ne_bytes());
        registers.load(R, &known(&[1, 2, 3, 4]));
        registers.turn((R, R), 4, 2);
        assert_eq!(registers.known(R, 4), Some(vec![2, 1, 4, 3]));
    }
}
