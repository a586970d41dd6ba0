//! What the registers hold while a rule is followed, and what its comparisons ask for.

use netpath_common::{Family, Ifindex};

use super::{
    about::About,
    condition::{AddressTest, Conditions, FamilyTest, Interface, InterfaceTest, NamePattern},
    operation::{Header, Register, Value, ct, meta},
};
use crate::netlink::attribute::{terminated, text};

/// Bytes of a word of a register, and of a name in one.
const WORD: usize = 4;
const IFNAMSIZ: usize = 16;

/// What a register holds: a value, of which the bits in the mask are left and some are turned.
#[derive(Clone, Debug)]
struct Loaded {
    value: Value,
    /// `None`: all of them.
    mask: Option<Vec<u8>>,
    xor: Vec<u8>,
}

/// The registers, by the word where a value begins. A word that belongs to a value before it holds none.
#[derive(Debug, Default)]
pub(super) struct Registers([Option<Loaded>; Register::WORDS as usize]);

impl Registers {
    /// Loads a value; whatever it overwrites is gone.
    pub fn load(&mut self, value: Value, into: Register) {
        self.overwrite(into, length(&value));
        let (mask, xor) = (None, Vec::new());
        self.put(into, Loaded { value, mask, xor });
    }

    /// Something that is not followed is written there.
    pub fn forget(&mut self, into: Register) {
        self.overwrite(into, None);
    }

    pub fn mask(&mut self, from: Register, into: Register, mask: &[u8], xor: &[u8]) {
        let found = self.get(from).cloned();
        self.overwrite(into, Some(mask.len()));
        // A second mask is not followed.
        let Some(found) = found.filter(|found| found.mask.is_none()) else {
            return;
        };
        self.put(
            into,
            Loaded {
                mask: Some(mask.to_vec()),
                xor: xor.to_vec(),
                ..found
            },
        );
    }

    fn get(&self, register: Register) -> Option<&Loaded> {
        self.0.get(usize::from(register.0))?.as_ref()
    }

    fn put(&mut self, register: Register, loaded: Loaded) {
        if let Some(slot) = self.0.get_mut(usize::from(register.0)) {
            *slot = Some(loaded);
        }
    }

    /// `None` bytes: as far as it goes.
    fn overwrite(&mut self, register: Register, bytes: Option<usize>) {
        let first = usize::from(register.0);
        let end = bytes.map_or(self.0.len(), |bytes| first + bytes.div_ceil(WORD));
        for (at, slot) in self.0.iter_mut().enumerate() {
            let reaches = slot.as_ref().is_some_and(|loaded| {
                let length = length(&loaded.value);
                length.is_none_or(|length| at + length.div_ceil(WORD) > first)
            });
            if at < end && (at >= first || reaches) {
                *slot = None;
            }
        }
    }

    /// Adds what a comparison of a register asks for: whether it is this, whether it is not (`negated`), or, where that is not
    /// said, something else about it.
    pub fn compare(
        &self,
        register: Register,
        negated: Option<bool>,
        data: &[u8],
        conditions: &mut Conditions,
    ) {
        let Some(loaded) = self.get(register) else {
            conditions.ask("a register", About::Unknown);
            return;
        };
        let understood = negated.and_then(|negated| loaded.asks(data, negated, conditions));
        if understood.is_none() {
            let about = loaded.about(negated, data);
            conditions.ask(loaded.value.to_string(), about);
        }
    }
}

/// In bytes, as far as it is known.
fn length(value: &Value) -> Option<usize> {
    match value {
        Value::Payload { length, .. } => usize::try_from(*length).ok(),
        Value::Meta(meta::IIFNAME | meta::OIFNAME) => Some(IFNAMSIZ),
        Value::Meta(
            meta::PROTOCOL | meta::MARK | meta::IIF | meta::OIF | meta::NFPROTO | meta::L4PROTO,
        ) => Some(WORD),
        _ => None,
    }
}

impl Loaded {
    /// What a comparison is about that conditions cannot say. Not known whether it is negated: it is of an order.
    fn about(&self, negated: Option<bool>, data: &[u8]) -> About {
        let word = |data: &[u8]| Some(u32::from_ne_bytes(data.try_into().ok()?));
        let value = word(data).map(|it| it ^ word(&self.xor).unwrap_or(0));
        let mask = match &self.mask {
            None => Some(u32::MAX),
            Some(mask) => word(mask),
        };
        match (&self.value, negated, value, mask) {
            (Value::Meta(meta::MARK), Some(negated), Some(value), Some(mask)) => About::Mark {
                value,
                mask,
                negated,
            },
            // One of them: what is left of its bits is not 0.
            (Value::Connection { key: ct::STATE, .. }, Some(negated), Some(0), Some(mask))
                if self.mask.is_some() =>
            {
                About::states(mask, !negated)
            }
            (
                Value::Connection { key: ct::STATE, .. },
                Some(negated),
                Some(state),
                Some(u32::MAX),
            ) => About::states(state, negated),
            (value, ..) if value.is_of_packet() => About::Packet,
            _ => About::Unknown,
        }
    }

    /// `None` if it is nothing that conditions can say.
    fn asks(&self, data: &[u8], negated: bool, conditions: &mut Conditions) -> Option<()> {
        let plain = self.mask.is_none();
        match self.value {
            Value::Meta(meta::IIFNAME | meta::OIFNAME) if plain => {
                let interface = Interface::Name(name(data));
                self.side(conditions)
                    .push(InterfaceTest { interface, negated });
            }
            Value::Meta(meta::IIF | meta::OIF) if plain => {
                let index = u32::from_ne_bytes(data.try_into().ok()?);
                let interface = Interface::Index(Ifindex(index));
                self.side(conditions)
                    .push(InterfaceTest { interface, negated });
            }
            Value::Meta(meta::NFPROTO) if plain => {
                let family = match i32::from(*data.first()?) {
                    libc::NFPROTO_IPV4 => Some(Family::V4),
                    libc::NFPROTO_IPV6 => Some(Family::V6),
                    _ => None,
                };
                conditions.family.push(FamilyTest { family, negated });
            }
            Value::Meta(meta::PROTOCOL)
            | Value::Payload {
                header: Header::Link,
                offset: 12,
                length: 2,
            } if plain => {
                let family = match u16::from_be_bytes(data.try_into().ok()?) {
                    0x0800 => Some(Family::V4),
                    0x86dd => Some(Family::V6),
                    _ => None,
                };
                conditions.family.push(FamilyTest { family, negated });
            }
            Value::Payload {
                header: Header::Network,
                offset,
                ..
            } => {
                let offset = usize::try_from(offset).ok()?;
                self.addresses(offset, data, negated, conditions)?;
            }
            _ => return None,
        }
        Some(())
    }

    fn side<'a>(&self, conditions: &'a mut Conditions) -> &'a mut Vec<InterfaceTest> {
        match self.value {
            Value::Meta(meta::OIF | meta::OIFNAME) => &mut conditions.oif,
            _ => &mut conditions.iif,
        }
    }

    /// One comparison may be of both addresses, and of parts of them.
    fn addresses(
        &self,
        offset: usize,
        data: &[u8],
        negated: bool,
        conditions: &mut Conditions,
    ) -> Option<()> {
        let family = conditions.known_family()?;
        let (source, destination, width) = match family {
            Family::V4 => (12, 16, 4),
            Family::V6 => (8, 24, 16),
        };
        let mut tests = [(0u128, 0u128); 2];
        for (index, byte) in data.iter().enumerate() {
            let mask = match &self.mask {
                None => u8::MAX,
                Some(mask) => *mask.get(index)?,
            };
            let value = byte ^ self.xor.get(index).copied().unwrap_or(0);
            if value & !mask != 0 {
                // It never is.
                return None;
            }
            let at = offset + index;
            let (test, first) = match at {
                at if (source..source + width).contains(&at) => (&mut tests[0], source),
                at if (destination..destination + width).contains(&at) => {
                    (&mut tests[1], destination)
                }
                _ if mask == 0 => continue,
                _ => return None,
            };
            let shift = 8 * (width - 1 - (at - first));
            test.0 |= u128::from(value) << shift;
            test.1 |= u128::from(mask) << shift;
        }
        let test = |(value, mask)| AddressTest {
            family,
            value,
            mask,
            negated,
        };
        match tests {
            // Not both: one of them or the other.
            [(_, 1..), (_, 1..)] if negated => return None,
            [from, to] => {
                if from.1 != 0 {
                    conditions.source.push(test(from));
                }
                if to.1 != 0 {
                    conditions.destination.push(test(to));
                }
            }
        }
        Some(())
    }
}

/// A name that is compared without the zero at its end is the beginning of one.
fn name(data: &[u8]) -> NamePattern {
    if data.contains(&0) {
        NamePattern::Exact(text(terminated(data)))
    } else {
        NamePattern::Prefix(text(data))
    }
}
