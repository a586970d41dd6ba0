//! Sets and maps.

use super::{Here, Next, registers::Bits, registers::known};
use crate::{
    kernel_way::{
        Unknown,
        walk::{Going, Walk},
    },
    netfilter::nft::{ChainId, Data, Element, Operation, Set, Verdict},
};

impl Walk<'_> {
    pub(super) fn lookup(&mut self, here: &mut Here<'_>, operation: &Operation) -> Going<Next> {
        let Operation::Lookup {
            set: name,
            key,
            invert,
            into,
            decides,
        } = operation
        else {
            return Ok(Next::On);
        };
        let id = ChainId {
            name: name.clone(),
            ..here.id.clone()
        };
        let state = self.state;
        let set = state.rules.sets.get(&id);
        let found = set.and_then(|set| find(set, &here.registers.rest(*key)));
        let Some(found) = found else {
            return Ok(self.unclear_lookup(here, set, operation));
        };
        if let Some(condition) = found.and_then(|element| element.condition.as_ref()) {
            here.pending.push(format!("{condition} of set {name}"));
        }
        if !decides && into.is_none() {
            return Ok(match found.is_some() != *invert {
                true => Next::On,
                false => Next::Miss,
            });
        }
        Ok(
            match (found.and_then(|element| element.data.as_ref()), into) {
                (Some(Data::Verdict(verdict)), _) => Next::Decides(verdict.clone()),
                (Some(Data::Value(value)), Some(into)) => {
                    here.registers.load(*into, &known(value));
                    Next::On
                }
                _ => Next::Miss,
            },
        )
    }

    /// The key, or the set, is not known.
    fn unclear_lookup(
        &mut self,
        here: &mut Here<'_>,
        set: Option<&Set>,
        operation: &Operation,
    ) -> Next {
        let Operation::Lookup {
            set: name,
            into,
            decides,
            ..
        } = operation
        else {
            return Next::On;
        };
        let what = match set {
            Some(_) => format!("{} in set {name}", here.unclear),
            None => format!("set {name}"),
        };
        if *decides {
            return self.any_verdict(here, set, what);
        }
        here.pending.push(what);
        if let Some(into) = into {
            here.registers.load(*into, &[Bits::UNKNOWN; 16]);
        }
        Next::On
    }

    /// Any of a map's verdicts, or none.
    fn any_verdict(&mut self, here: &Here<'_>, set: Option<&Set>, what: String) -> Next {
        let possible: Vec<&Verdict> = set.iter().flat_map(|set| set.verdicts()).collect();
        let mut so = vec!["it is not there".to_owned()];
        so.extend(possible.iter().map(|verdict| format!("{verdict:?}")));
        let rule = Some(here.at());
        match self.suppose(Unknown { what, rule }, &so) {
            0 => Next::Miss,
            chosen => Next::Decides(possible[chosen - 1].clone()),
        }
    }
}

/// The element of a key, if there is one; `None` where that depends on what is not known.
#[expect(
    clippy::option_option,
    reason = "whether it is known, and then what it is"
)]
fn find<'a>(set: &'a Set, key: &[Bits]) -> Option<Option<&'a Element>> {
    let lengths = set
        .elements
        .iter()
        .filter_map(|element| element.key.as_ref());
    let length = lengths.map(Vec::len).max().unwrap_or(0);
    let key = key.get(..length.min(key.len()))?;
    let known: Option<Vec<u8>> = key.iter().map(|bits| bits.known()).collect();
    Some(set.find(&known?))
}
