//! Sets and maps with their elements.

use std::collections::BTreeSet;

use super::operation::{self, Verdict};
use crate::netlink::attribute::Attributes;

/// A set, or a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Its elements are intervals.
    pub intervals: bool,
    /// The lengths in bytes of what its keys are made of, where they are made of several; each begins at a multiple of 4.
    pub fields: Vec<usize>,
    /// Its elements.
    pub elements: Vec<Element>,
}

/// An element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its key. `None`: whatever is not there otherwise (`*`).
    pub key: Option<Vec<u8>>,
    /// The last key, of an interval that has one.
    pub end: Option<Vec<u8>>,
    /// An interval ends before it, and that is all.
    pub is_end: bool,
    /// What a map has for it.
    pub data: Option<Data>,
    /// An expression of its own that decides whether it matches, by its name.
    pub condition: Option<String>,
}

/// What a map has for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A value.
    Value(Vec<u8>),
    /// A verdict.
    Verdict(Verdict),
}

impl Set {
    /// The element that a key is in.
    pub fn find(&self, key: &[u8]) -> Option<&Element> {
        let keyed = self.elements.iter().filter(|element| element.key.is_some());
        let found = if self.fields.len() > 1 && self.intervals {
            keyed
                .into_iter()
                .find(|element| self.is_within(key, element))
        } else if self.intervals {
            // Where one interval ends and the next begins, the beginning counts.
            keyed
                .filter(|element| starts(element, key))
                .max_by_key(|element| (element.key.as_ref(), !element.is_end))
                .filter(|element| !element.is_end)
        } else {
            keyed
                .into_iter()
                .find(|element| element.key.as_deref().is_some_and(|its| same(its, key)))
        };
        found.or_else(|| self.elements.iter().find(|element| element.key.is_none()))
    }

    /// What it can answer if it is a map of verdicts, each once.
    #[must_use]
    pub fn verdicts(&self) -> BTreeSet<&Verdict> {
        let data = self.elements.iter().map(|element| &element.data);
        data.filter_map(|data| match data {
            Some(Data::Verdict(verdict)) => Some(verdict),
            _ => None,
        })
        .collect()
    }

    /// Each field by itself.
    fn is_within(&self, key: &[u8], element: &Element) -> bool {
        let Some(first) = &element.key else {
            return false;
        };
        let last = element.end.as_ref().unwrap_or(first);
        let mut at = 0;
        self.fields.iter().all(|length| {
            let field = at..at + length;
            at += length.next_multiple_of(4);
            match (
                key.get(field.clone()),
                first.get(field.clone()),
                last.get(field),
            ) {
                (Some(its), Some(first), Some(last)) => (first..=last).contains(&its),
                _ => false,
            }
        })
    }
}

/// Registers hold more than the key, and the kernel pads its keys.
fn same(element: &[u8], key: &[u8]) -> bool {
    key.get(..element.len()) == Some(element)
}

fn starts(element: &Element, key: &[u8]) -> bool {
    let its = element.key.as_deref().unwrap_or_default();
    key.get(..its.len()).is_some_and(|key| its <= key)
}

/// A set without its elements, from `NFTA_SET_*`: its name, and the set.
pub(super) fn decode(attributes: &Attributes<'_>) -> Result<(String, Set), String> {
    const NAME: u16 = 2;
    const FLAGS: u16 = 3;
    const DESCRIPTION: u16 = 9;
    const INTERVAL: u32 = 4;
    const CONCATENATION: u16 = 2;
    let flags = attributes.be32(FLAGS)?.unwrap_or(0);
    let mut fields = Vec::new();
    if let Some(description) = attributes.nested(DESCRIPTION)?
        && let Some(list) = description.nested(CONCATENATION)?
    {
        for (_, field) in list.iter() {
            let length = Attributes::parse(field)?
                .be32(1)?
                .ok_or("a field has no length")?;
            fields.push(usize::try_from(length).map_err(|_| "a field is too long")?);
        }
    }
    let set = Set {
        intervals: flags & INTERVAL != 0,
        fields,
        elements: Vec::new(),
    };
    Ok((attributes.text(NAME).ok_or("a set has no name")?, set))
}

/// An element, from `NFTA_SET_ELEM_*`.
pub(super) fn element(bytes: &[u8]) -> Result<Element, String> {
    const KEY: u16 = 1;
    const DATA: u16 = 2;
    const FLAGS: u16 = 3;
    const EXPRESSION: u16 = 7;
    const KEY_END: u16 = 10;
    const EXPRESSIONS: u16 = 11;
    const IS_END: u32 = 1;
    const CATCH_ALL: u32 = 2;
    let attributes = Attributes::parse(bytes)?;
    let flags = attributes.be32(FLAGS)?.unwrap_or(0);
    let key = |kind| {
        let nested = attributes.nested(kind)?;
        Ok::<_, String>(nested.and_then(|data| data.get(1).map(<[u8]>::to_vec)))
    };
    let mut condition = None;
    let list = attributes.nested(EXPRESSIONS)?;
    let several = list.iter().flat_map(Attributes::iter).map(|(_, one)| one);
    for expression in several.chain(attributes.get(EXPRESSION)) {
        let name = Attributes::parse(expression)?.text(1).unwrap_or_default();
        if !["counter", "last"].contains(&name.as_str()) {
            condition = Some(name);
        }
    }
    Ok(Element {
        key: match flags & CATCH_ALL {
            0 => Some(key(KEY)?.ok_or("an element has no key")?),
            _ => None,
        },
        end: key(KEY_END)?,
        is_end: flags & IS_END != 0,
        data: attributes
            .nested(DATA)?
            .map(|data| answer(&data))
            .transpose()?,
        condition,
    })
}

fn answer(data: &Attributes<'_>) -> Result<Data, String> {
    const VALUE: u16 = 1;
    const VERDICT: u16 = 2;
    match data.nested(VERDICT)? {
        Some(verdict) => Ok(Data::Verdict(operation::verdict(&verdict)?)),
        None => Ok(Data::Value(data.get(VALUE).ok_or("no value")?.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(key: &[u8], is_end: bool) -> Element {
        Element {
            key: Some(key.to_vec()),
            end: None,
            is_end,
            data: None,
            condition: None,
        }
    }

    #[test]
    fn a_key_is_found_as_it_is() {
        let set = Set {
            elements: vec![element(&[1, 2], false), element(&[3, 4], false)],
            ..Set::default()
        };
        assert!(set.find(&[3, 4, 0, 0]).is_some());
        assert!(set.find(&[3, 5, 0, 0]).is_none());
    }

    #[test]
    fn an_interval_ends_before_its_end_and_the_next_may_begin_there() {
        // 10 to 19, 20 to 29; in the order of the kernel's answer, the last first.
        let set = Set {
            intervals: true,
            elements: vec![
                element(&[30], true),
                element(&[20], true),
                element(&[20], false),
                element(&[10], false),
                element(&[0], true),
            ],
            ..Set::default()
        };
        let found: Vec<u8> = (0..40).filter(|key| set.find(&[*key]).is_some()).collect();
        assert_eq!(found, (10..30).collect::<Vec<_>>());
    }

    #[test]
    fn each_field_of_a_key_lies_in_its_own_interval() {
        let mut both = element(&[10, 0, 0, 0, 0, 80, 0, 0], false);
        both.end = Some(vec![10, 0, 0, 255, 0, 90, 0, 0]);
        let set = Set {
            intervals: true,
            fields: vec![4, 2],
            elements: vec![both],
        };
        assert!(set.find(&[10, 0, 0, 7, 0, 85, 0, 0]).is_some());
        assert!(set.find(&[10, 0, 0, 7, 0, 91, 0, 0]).is_none());
        assert!(set.find(&[10, 0, 1, 0, 0, 85, 0, 0]).is_none());
    }

    #[test]
    fn whatever_is_not_there_may_have_an_element() {
        let mut any = element(&[], false);
        any.key = None;
        let set = Set {
            elements: vec![element(&[1], false), any],
            ..Set::default()
        };
        assert!(set.find(&[7]).is_some_and(|found| found.key.is_none()));
        assert!(set.find(&[1]).is_some_and(|found| found.key.is_some()));
    }
}
