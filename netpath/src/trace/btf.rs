//! The kernel's own types, as it describes them in BTF (Linux's Documentation/bpf/btf.rst): where fields are, what numbers are called.

use std::collections::BTreeMap;

/// Why a description cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// It is none, or ends too early.
    #[error("the kernel's BTF is damaged at byte {0}")]
    Damaged(usize),
    /// This kernel has no such field.
    #[error("the kernel's BTF has no {0}")]
    Missing(String),
}

/// Kinds of types.
mod kind {
    pub const INT: u32 = 1;
    #[cfg(test)]
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// The magic number at the beginning.
const MAGIC: u16 = 0xeb9f;

/// Size of a type without what follows it, in bytes.
const TYPE: usize = 12;

/// A description.
#[derive(Debug)]
pub struct Btf<'a> {
    strings: &'a [u8],
    bytes: &'a [u8],
    /// Where each type begins, in the order of their numbers; number 0 is `void`.
    types: Vec<usize>,
}

/// A type's fixed part.
#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    kind: u32,
    /// How many members, values or arguments follow.
    count: usize,
    /// Whether a member's offset has the size of a bit field in its upper bits.
    has_bits: bool,
    /// Another type's number, where it is made of one.
    of: u32,
}

impl<'a> Btf<'a> {
    /// Reads a description.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let damaged = |at| move || BtfError::Damaged(at);
        let magic = bytes.first_chunk().map(|it| u16::from_ne_bytes(*it));
        if magic != Some(MAGIC) {
            return Err(BtfError::Damaged(0));
        }
        let number = |at| word(bytes, at).map(|it| it as usize);
        let header = number(4)?;
        let section = |from: usize, length: usize| {
            let begin = header + number(from)?;
            let part = bytes.get(begin..begin + number(length)?);
            part.ok_or_else(damaged(begin))
        };
        let mut btf = Self {
            strings: section(16, 20)?,
            bytes: section(8, 12)?,
            types: vec![usize::MAX],
        };
        let mut at = 0;
        while at < btf.bytes.len() {
            btf.types.push(at);
            at += TYPE + following(&btf.read(at)?);
        }
        Ok(btf)
    }

    /// Where a field is, in bytes from the beginning of its structure: `sk_buff.dev`, `net.ns.inum`. Structures and unions without
    /// a name are looked into.
    ///
    /// # Errors
    /// When there is none.
    pub fn offset(&self, path: &str) -> Result<u32, BtfError> {
        let missing = || BtfError::Missing(path.to_owned());
        let (structure, fields) = path.split_once('.').ok_or_else(missing)?;
        let mut within = self.named(structure, kind::STRUCT)?.ok_or_else(missing)?;
        let mut offset = 0;
        for field in fields.split('.') {
            let (bits, of) = self.member(&within, field)?.ok_or_else(missing)?;
            offset += bits / 8;
            within = self.resolved(of)?.unwrap_or(within);
        }
        Ok(offset)
    }

    /// The names of an enumeration's numbers; empty where there is none of that name.
    ///
    /// # Errors
    /// When the description is damaged.
    pub fn names(&self, enumeration: &str) -> Result<BTreeMap<u32, &'a str>, BtfError> {
        let Some(found) = self.named(enumeration, kind::ENUM)? else {
            return Ok(BTreeMap::new());
        };
        let mut names = BTreeMap::new();
        for index in 0..found.count {
            let at = found.at + TYPE + 8 * index;
            let name = self.text(word(self.bytes, at)?)?;
            names.insert(word(self.bytes, at + 4)?, name);
        }
        Ok(names)
    }

    /// How many arguments a tracepoint has; `None` where there is no such tracepoint.
    ///
    /// # Errors
    /// When the description is damaged.
    pub fn arguments(&self, tracepoint: &str) -> Result<Option<usize>, BtfError> {
        let name = format!("btf_trace_{tracepoint}");
        let Some(of) = self.named(&name, kind::TYPEDEF)? else {
            return Ok(None);
        };
        let Some(pointer) = self.resolved(of.of)? else {
            return Ok(None);
        };
        let function = self.resolved(pointer.of)?;
        // Before them is what was given when it was attached to.
        Ok(function
            .filter(|it| it.kind == kind::FUNC_PROTO)
            .map(|it| it.count.saturating_sub(1)))
    }

    /// A member's offset in bits, and its type.
    fn member(&self, within: &Type, name: &str) -> Result<Option<(u32, u32)>, BtfError> {
        if ![kind::STRUCT, kind::UNION].contains(&within.kind) {
            return Ok(None);
        }
        for index in 0..within.count {
            let at = within.at + TYPE + 12 * index;
            let named = self.text(word(self.bytes, at)?)?;
            let of = word(self.bytes, at + 4)?;
            let mut offset = word(self.bytes, at + 8)?;
            if within.has_bits {
                offset &= 0xff_ffff;
            }
            if named == name {
                return Ok(Some((offset, of)));
            }
            if named.is_empty()
                && let Some(inner) = self.resolved(of)?
                && let Some((further, of)) = self.member(&inner, name)?
            {
                return Ok(Some((offset + further, of)));
            }
        }
        Ok(None)
    }

    /// The first type of a name and kind that has anything in it.
    fn named(&self, name: &str, kind: u32) -> Result<Option<Type>, BtfError> {
        for at in &self.types[1..] {
            let found = self.read(*at)?;
            let is_empty = found.count == 0 && kind != kind::TYPEDEF;
            if found.kind == kind && !is_empty && self.text(found.name)? == name {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The type of a number, behind its other names and what qualifies it; `None` for `void`.
    fn resolved(&self, mut number: u32) -> Result<Option<Type>, BtfError> {
        const QUALIFIERS: [u32; 5] = [
            kind::TYPEDEF,
            kind::VOLATILE,
            kind::CONST,
            kind::RESTRICT,
            kind::TYPE_TAG,
        ];
        // In a sound description no chain is longer than there are types.
        for _ in 0..self.types.len() {
            let at = match self.types.get(number as usize) {
                None | Some(&usize::MAX) => return Ok(None),
                Some(at) => *at,
            };
            let found = self.read(at)?;
            if !QUALIFIERS.contains(&found.kind) {
                return Ok(Some(found));
            }
            number = found.of;
        }
        Ok(None)
    }

    fn read(&self, at: usize) -> Result<Type, BtfError> {
        let info = word(self.bytes, at + 4)?;
        Ok(Type {
            at,
            name: word(self.bytes, at)?,
            kind: info >> 24 & 0x1f,
            count: (info & 0xffff) as usize,
            has_bits: info >> 31 != 0,
            of: word(self.bytes, at + 8)?,
        })
    }

    fn text(&self, at: u32) -> Result<&'a str, BtfError> {
        let damaged = || BtfError::Damaged(at as usize);
        let rest = self.strings.get(at as usize..).ok_or_else(damaged)?;
        netpath_common::text(rest).ok_or_else(damaged)
    }
}

/// How many bytes follow a type's fixed part.
fn following(found: &Type) -> usize {
    match found.kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * found.count,
        kind::ENUM | kind::FUNC_PROTO => 8 * found.count,
        _ => 0,
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found
        .map(|word| u32::from_ne_bytes(*word))
        .ok_or(BtfError::Damaged(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A description of these types, and of their names.
    fn described(types: &[u32], strings: &str) -> Vec<u8> {
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let lengths = [types.len(), strings.len()].map(|length| length as u32);
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [24, 0, lengths[0], lengths[0], lengths[1]] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings.bytes());
        bytes
    }

    fn info(kind: u32, count: u32) -> u32 {
        kind << 24 | count
    }

    #[test]
    fn fields_are_found_in_what_has_no_name_and_behind_other_names() {
        // 1: int; 2: union { int b@0 }; 3: struct outer { int a@0, <2>@32, inner_t in@64 };
        // 4: struct inner { int c@0, int d@32 }; 5: typedef inner_t of 4.
        let strings = "\0int\0b\0outer\0a\0in\0inner\0c\0d\0inner_t\0";
        let at = |text: &str| strings.find(&format!("\0{text}\0")).expect(text) as u32 + 1;
        let types = [
            at("int"),
            info(kind::INT, 0),
            4,
            32,
            0,
            info(kind::UNION, 1),
            4,
            at("b"),
            1,
            0,
            at("outer"),
            info(kind::STRUCT, 3),
            16,
            at("a"),
            1,
            0,
            0,
            2,
            32,
            at("in"),
            5,
            64,
            at("inner"),
            info(kind::STRUCT, 2),
            8,
            at("c"),
            1,
            0,
            at("d"),
            1,
            32,
            at("inner_t"),
            info(kind::TYPEDEF, 0),
            4,
        ];
        let bytes = described(&types, strings);
        let btf = Btf::parse(&bytes).expect("sound");
        for (path, offset) in [
            ("outer.a", 0),
            ("outer.b", 4),
            ("outer.in", 8),
            ("outer.in.c", 8),
            ("outer.in.d", 12),
        ] {
            assert_eq!(btf.offset(path), Ok(offset), "{path}");
        }
        let missing = |path: &str| Err(BtfError::Missing(path.to_owned()));
        for path in ["outer.z", "none.a", "outer.a.b"] {
            assert_eq!(btf.offset(path), missing(path));
        }
        for length in 0..bytes.len() {
            assert!(Btf::parse(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn numbers_and_arguments_are_found() {
        let strings = "\0why\0NO\0YES\0btf_trace_tp\0";
        let at = |text: &str| strings.find(&format!("\0{text}\0")).expect(text) as u32 + 1;
        // 1: enum why { NO = 0, YES = 7 }; 2: void (void *, 1, 1); 3: pointer to 2; 4: typedef btf_trace_tp of 3.
        let types = [
            at("why"),
            info(kind::ENUM, 2),
            4,
            at("NO"),
            0,
            at("YES"),
            7,
            0,
            info(kind::FUNC_PROTO, 3),
            0,
            0,
            0,
            0,
            1,
            0,
            1,
            0,
            info(kind::PTR, 0),
            2,
            at("btf_trace_tp"),
            info(kind::TYPEDEF, 0),
            3,
        ];
        let bytes = described(&types, strings);
        let btf = Btf::parse(&bytes).expect("sound");
        let names = BTreeMap::from([(0, "NO"), (7, "YES")]);
        assert_eq!(btf.names("why"), Ok(names));
        assert_eq!(btf.names("when"), Ok(BTreeMap::new()));
        assert_eq!(btf.arguments("tp"), Ok(Some(2)));
        assert_eq!(btf.arguments("other"), Ok(None));
    }
}
