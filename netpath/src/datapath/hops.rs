//! Counters of interfaces that are gone.
//!
//! The rows of an interface that goes would have to be found among all rows, for each interface that goes. So its index
//! is only noted, in the map `retired`, and readers leave its rows out. One pass over all rows really removes the rows of
//! all retired interfaces: before an interface that has got a retired index is counted, when many are retired, or when
//! rows are short.
//!
//! What the decision cache decides is counted in `hop_hits`, in rows that programs take in `hop_rows` for as long as both
//! interfaces are there. A row's hop never changes in between and its counters only grow, so that the sum of a hop's two
//! counters is right whenever it is read.

use std::collections::BTreeMap;

use netpath_common::{Gate, HopCounter, HopKey, Ifindex, Outcome, tables::RETIRED_MAX};

use super::{
    error::DatapathError,
    maps::{Maps, Writer},
};

/// What becomes of a row when interfaces are gone.
enum Fate {
    /// It stays.
    Kept,
    /// It goes with its interface.
    Gone,
    /// What another interface sent to one that is gone stays counted as its own, without an egress: what came in by it
    /// still adds up.
    Merged(HopKey),
}

impl Fate {
    fn of(key: &HopKey, retired: &BTreeMap<Ifindex, u64>) -> Self {
        if retired.contains_key(&key.ingress) {
            return Self::Gone;
        }
        match (
            retired.contains_key(&key.egress),
            key.outcome == Outcome::Deliver.number(),
        ) {
            (false, _) => Self::Kept,
            (true, true) => Self::Gone,
            (true, false) => Self::Merged(HopKey {
                egress: Ifindex(0),
                ..*key
            }),
        }
    }
}

impl Maps {
    /// Per-hop counters, summed over CPUs, of interfaces that are there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn hops(&self) -> Result<BTreeMap<HopKey, HopCounter>, DatapathError> {
        let retired = self.retired.all()?;
        let mut rows = self.hops.all()?;
        for (_, key, counter) in self.hits()? {
            *rows.entry(key).or_default() += counter;
        }
        Ok(without(rows, &retired))
    }

    /// What the decision cache has decided: the index of each row, its hop, and its counter summed over CPUs.
    fn hits(&self) -> Result<Vec<(u32, HopKey, HopCounter)>, DatapathError> {
        let taken = self.hop_rows.all()?;
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        let counters = self.hop_hits.all()?;
        let hit = |(row, key)| {
            let counter = counters.get(&row).copied().unwrap_or_default();
            // Rows are taken before they are counted in.
            (counter.packets > 0).then_some((row, key, counter))
        };
        Ok(taken.into_iter().filter_map(hit).collect())
    }
}

fn without(
    rows: BTreeMap<HopKey, HopCounter>,
    retired: &BTreeMap<Ifindex, u64>,
) -> BTreeMap<HopKey, HopCounter> {
    if retired.is_empty() {
        return rows;
    }
    let mut left: BTreeMap<HopKey, HopCounter> = BTreeMap::new();
    for (key, counter) in rows {
        match Fate::of(&key, retired) {
            Fate::Kept => *left.entry(key).or_default() += counter,
            Fate::Gone => {}
            Fate::Merged(into) => *left.entry(into).or_default() += counter,
        }
    }
    left
}

impl Writer<'_> {
    /// Forgets an interface that is gone, and its counters, so that the next one with its index does not inherit them.
    ///
    /// # Errors
    /// When the kernel refuses, as for every method here.
    pub fn retire_interface(&self, ifindex: Ifindex) -> Result<(), DatapathError> {
        let retired = self.retired.all()?;
        if !retired.contains_key(&ifindex) {
            if retired.len() >= RETIRED_MAX as usize || !self.hop_overflow.all()?.is_empty() {
                self.sweep(&retired)?;
            }
            let last = retired.values().max().copied().unwrap_or_default();
            self.retired.set(&ifindex, &(last + 1))?;
        }
        self.set_gate(ifindex, Gate::default())?;
        self.interfaces.remove(&ifindex)
    }

    /// Forgets what was counted for an interface that had this index before. To be done before the new one's packets
    /// are counted.
    ///
    /// # Errors
    /// As for every method here.
    pub fn reuse_index(&self, ifindex: Ifindex) -> Result<(), DatapathError> {
        if self.interfaces.get(&ifindex)?.is_some() {
            self.retire_interface(ifindex)?;
        }
        let retired = self.retired.all()?;
        if retired.contains_key(&ifindex) {
            self.sweep(&retired)?;
        }
        Ok(())
    }

    /// As [`Writer::retire_interface`], for an interface that stays while its programs go: the kernel's own packets are
    /// counted by its index still.
    ///
    /// # Errors
    /// As for every method here.
    pub fn forget_interface(&self, ifindex: Ifindex) -> Result<(), DatapathError> {
        self.retire_interface(ifindex)?;
        self.sweep(&self.retired.all()?)
    }

    /// Removes the rows of retired interfaces, all in one pass.
    fn sweep(&self, retired: &BTreeMap<Ifindex, u64>) -> Result<(), DatapathError> {
        self.sweep_hits(retired)?;
        let rows = self.hops.all()?;
        let mut gone = Vec::new();
        let mut merged: BTreeMap<HopKey, (HopCounter, Vec<HopKey>)> = BTreeMap::new();
        for (key, counter) in &rows {
            match Fate::of(key, retired) {
                Fate::Kept => {}
                Fate::Gone => gone.push(*key),
                Fate::Merged(into) => {
                    let (sum, from) = merged.entry(into).or_default();
                    *sum += *counter;
                    from.push(*key);
                }
            }
        }
        self.hops.remove_many(&gone)?;
        for (into, (mut sum, from)) in merged {
            // Programs never count a redirect without an egress, so nobody writes to the row meanwhile.
            sum += rows.get(&into).copied().unwrap_or_default();
            self.hops.set(&into, &sum)?;
            self.hops.remove_many(&from)?;
        }
        let swept: Vec<Ifindex> = retired.keys().copied().collect();
        self.retired.remove_many(&swept)
    }

    /// Gives back the rows of the decision cache that are of retired interfaces. What is to stay of their counters goes to
    /// `hops`.
    fn sweep_hits(&self, retired: &BTreeMap<Ifindex, u64>) -> Result<(), DatapathError> {
        let taken = self.hop_rows.all()?;
        for (row, key) in taken {
            let into = match Fate::of(&key, retired) {
                Fate::Kept => continue,
                Fate::Gone => None,
                Fate::Merged(into) => Some(into),
            };
            let counter = self.hop_hits.get(&row)?.unwrap_or_default();
            if let Some(into) = into {
                let mut sum = self.hops.get(&into)?.unwrap_or_default();
                sum += counter;
                self.hops.set(&into, &sum)?;
            }
            self.hop_hits.set(&row, &HopCounter::default())?;
            self.hop_rows.remove(&row)?;
        }
        Ok(())
    }
}
