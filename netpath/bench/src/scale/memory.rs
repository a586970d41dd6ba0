//! What a node's maps take, by the kernel's account.
//!
//! Since Linux 6.4 (`map_mem_usage`) that is what is allocated. Before, it is computed from the capacity and the sizes of
//! key and value, the same for an empty map and a full one; then nothing is known of what entries take.

use netpath::datapath::{Maps, map_names};

use super::{ScaleError, results::MapMemory};

/// What each map of a node takes at a moment.
pub struct Account(Vec<(&'static str, u64)>);

impl Account {
    /// Of a node, now.
    pub fn of(node: &str) -> Result<Self, ScaleError> {
        map_names()
            .map(|map| Ok((map, Maps::info(node, map)?.memory)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Growth in bytes by entries that were written since `before`; `None` where the kernel does not count entries, so
    /// that there is none.
    pub fn growth_since(&self, before: &Self) -> Option<u64> {
        let growth = self.sum().checked_sub(before.sum());
        growth.filter(|bytes| *bytes > 0)
    }

    /// For the document, without the figures where they say nothing of the entries.
    pub fn maps(&self, counts_entries: bool) -> Vec<MapMemory> {
        let told = |&(map, bytes): &(&str, u64)| MapMemory {
            map: map.to_owned(),
            bytes: counts_entries.then_some(bytes),
        };
        self.0.iter().map(told).collect()
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|(_, bytes)| bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_by_capacity_tells_no_growth() {
        let account = |routes| Account(vec![("meta", 4096), ("routes_v4", routes)]);
        assert_eq!(account(1024).growth_since(&account(64)), Some(960));
        assert_eq!(account(1024).growth_since(&account(1024)), None);
        let bytes = |counts| account(64).maps(counts).pop().map(|map| map.bytes);
        assert_eq!((bytes(true), bytes(false)), (Some(Some(64)), Some(None)));
    }
}
