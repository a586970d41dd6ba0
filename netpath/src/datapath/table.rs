//! Tables: the pinned maps by the types of their keys and values. Anybody may read them; what changes them is open to
//! [`Writer`](super::Writer) only.

use std::{
    collections::BTreeMap,
    io,
    marker::PhantomData,
    ops::{AddAssign, Deref},
};

use aya::Pod;
use netpath_common::{Epoch, GateWord, tables::TableSpec};

use super::{
    clock,
    error::DatapathError,
    pins::Pins,
    raw::{Layout, RawMap},
};

/// A map with one value for each key.
pub struct Table<K, V> {
    raw: RawMap,
    entry: PhantomData<fn() -> (K, V)>,
}

/// A map whose values each CPU has its own of.
pub struct PerCpuTable<K, V> {
    raw: RawMap,
    entry: PhantomData<fn() -> (K, V)>,
}

/// An array with one value.
pub struct Single<K, V>(Table<K, V>);

/// Opens a pinned map, refusing one that is not what the registry says.
fn open(pins: &Pins, spec: &'static TableSpec) -> Result<RawMap, DatapathError> {
    let path = pins.map(spec.name);
    if !path.exists() {
        return Err(DatapathError::Damaged {
            path: pins.directory().to_owned(),
            problem: format!(
                "its map {} is not pinned: `netpath up` pins it again if a program holds it",
                spec.name
            ),
        });
    }
    let raw = RawMap::open(&path, spec.name)?;
    if raw.layout != Layout::of(spec) {
        return Err(DatapathError::Foreign {
            path,
            problem: format!(
                "map {} is {}, not {}",
                spec.name,
                raw.layout,
                Layout::of(spec)
            ),
        });
    }
    Ok(raw)
}

/// The value that one of these is, as bytes.
pub(super) fn bytes<T: Pod>(value: &T) -> &[u8] {
    all_bytes(std::slice::from_ref(value))
}

fn all_bytes<T: Pod>(values: &[T]) -> &[u8] {
    // SAFETY: a type that is Pod has no padding, so that all of its bytes are initialised.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// The value that these bytes are.
pub(super) fn value<T: Pod>(bytes: &[u8]) -> T {
    assert_eq!(
        bytes.len(),
        size_of::<T>(),
        "sizes were compared on opening"
    );
    // SAFETY: there are as many bytes as the type has, and every bit pattern is valid for Pod.
    unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
}

/// Opens as what a table of the registry is.
pub(super) trait Open: Sized {
    fn open(pins: &Pins, spec: &'static TableSpec) -> Result<Self, DatapathError>;
}

impl<K: Pod, V: Pod> Open for Table<K, V> {
    fn open(pins: &Pins, spec: &'static TableSpec) -> Result<Self, DatapathError> {
        Ok(Self {
            raw: open(pins, spec)?,
            entry: PhantomData,
        })
    }
}

impl<K: Pod, V: Pod> Open for PerCpuTable<K, V> {
    fn open(pins: &Pins, spec: &'static TableSpec) -> Result<Self, DatapathError> {
        // The kernel rounds each CPU's value up to eight bytes; a value of that size needs no gap.
        const { assert!(size_of::<V>().is_multiple_of(8)) };
        Ok(Self {
            raw: open(pins, spec)?,
            entry: PhantomData,
        })
    }
}

impl<V: Pod> Open for Single<u32, V> {
    fn open(pins: &Pins, spec: &'static TableSpec) -> Result<Self, DatapathError> {
        Table::open(pins, spec).map(Self)
    }
}

impl<K: Pod, V: Pod> Table<K, V> {
    /// The value of a key. In a trie, that of the longest prefix that holds all of this one: its own, if it has one.
    ///
    /// # Errors
    /// When the kernel refuses, as for every method here.
    pub fn get(&self, key: &K) -> Result<Option<V>, DatapathError> {
        Ok(self.raw.get(bytes(key))?.map(|found| value(&found)))
    }

    /// Every entry.
    ///
    /// # Errors
    /// As for every method here.
    pub fn all(&self) -> Result<BTreeMap<K, V>, DatapathError>
    where
        K: Ord,
    {
        let mut entries = Vec::new();
        self.raw.chunks(|keys, values| {
            let keys = keys.chunks_exact(size_of::<K>()).map(value::<K>);
            let values = values.chunks_exact(size_of::<V>()).map(value::<V>);
            entries.extend(keys.zip(values));
            Ok(())
        })?;
        Ok(entries.into_iter().collect())
    }

    /// Whether a trie has an entry of exactly this key. It gives the longest prefix that holds a key, whichever that is; but which
    /// key is behind another it says only of one that it has, and of others which is the first (`trie_get_next_key`).
    pub(super) fn has_exactly(&self, key: &K) -> Result<bool, DatapathError> {
        let first = self.raw.next_key(None)?;
        let next = self.raw.next_key(Some(bytes(key)))?;
        Ok(first.is_some() && next != first)
    }

    /// How many entries it has room for.
    pub fn max_entries(&self) -> u32 {
        self.raw.max_entries
    }
}

impl Table<u32, GateWord> {
    /// The words that are not zero, with their indices.
    ///
    /// # Errors
    /// As for every method here.
    pub fn set_words(&self) -> Result<Vec<(u32, u64)>, DatapathError> {
        self.raw.mapped().map(|mapped| mapped.set_words())
    }
}

impl<K: Pod + Ord, V: Pod + Default + AddAssign> PerCpuTable<K, V> {
    /// Every entry, summed over the CPUs.
    ///
    /// # Errors
    /// When the kernel refuses, as for every method here.
    pub fn all(&self) -> Result<BTreeMap<K, V>, DatapathError> {
        let mut entries = Vec::new();
        self.raw.chunks(|keys, values| {
            let keys = keys.chunks_exact(size_of::<K>()).map(value::<K>);
            let values = values.chunks_exact(self.raw.stride).map(sum::<V>);
            entries.extend(keys.zip(values));
            Ok(())
        })?;
        Ok(entries.into_iter().collect())
    }

    /// The value of a key, summed over the CPUs.
    ///
    /// # Errors
    /// As for every method here.
    pub fn get(&self, key: &K) -> Result<Option<V>, DatapathError> {
        Ok(self.raw.get(bytes(key))?.map(|found| sum(&found)))
    }
}

/// The sum of the values of all CPUs.
fn sum<V: Pod + Default + AddAssign>(values: &[u8]) -> V {
    values
        .chunks_exact(size_of::<V>())
        .map(value::<V>)
        .fold(V::default(), |mut sum, value| {
            sum += value;
            sum
        })
}

impl<V: Pod> Single<u32, V> {
    /// The value.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn get(&self) -> Result<V, DatapathError> {
        self.0.get(&0)?.ok_or(DatapathError::Entry {
            map: self.0.raw.name,
            action: "look up in",
            source: io::ErrorKind::NotFound.into(),
        })
    }

    /// The value, at its index.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn all(&self) -> Result<BTreeMap<u32, V>, DatapathError> {
        Ok(BTreeMap::from([(0, self.get()?)]))
    }
}

/// A table that may be changed: what a [`Writer`](super::Writer) is made of. It reads as the table does. Each change begins a new
/// epoch once it is made, so that what the programs remember of decisions before it is good no more.
#[derive(Clone, Copy)]
pub struct Writable<'a, T> {
    table: &'a T,
    epoch: &'a Single<u32, Epoch>,
}

impl<'a, T> Writable<'a, T> {
    /// To be had by the holder of the topology lock, or for what nobody else can see yet.
    pub(super) fn new(table: &'a T, epoch: &'a Single<u32, Epoch>) -> Self {
        Self { table, epoch }
    }

    /// Begins a new epoch after a change; also after one that failed, of which a part may have been made.
    fn changed<R>(&self, result: Result<R, DatapathError>) -> Result<R, DatapathError> {
        let now = Epoch {
            changed: clock::monotonic(),
        };
        let begun = self.epoch.0.raw.set(bytes(&0u32), bytes(&now));
        result.and_then(|value| begun.map(|()| value))
    }
}

impl<T> Deref for Writable<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.table
    }
}

impl<K: Pod, V: Pod> Writable<'_, Table<K, V>> {
    /// Sets an entry.
    ///
    /// # Errors
    /// When the kernel refuses, as for every method here; then nothing was changed.
    pub fn set(&self, key: &K, value: &V) -> Result<(), DatapathError> {
        self.changed(self.raw.set(bytes(key), bytes(value)))
    }

    /// Sets an entry unless the key has one. Returns whether it did.
    ///
    /// # Errors
    /// As for every method here.
    pub fn add(&self, key: &K, value: &V) -> Result<bool, DatapathError> {
        self.changed(self.raw.add(bytes(key), bytes(value)))
    }

    /// Removes an entry. What is not there need not be removed.
    ///
    /// # Errors
    /// As for every method here.
    pub fn remove(&self, key: &K) -> Result<(), DatapathError> {
        self.changed(self.raw.remove(bytes(key)))
    }

    /// Sets many entries in few calls: the same as setting one after the other. A trie is filled fastest in the order
    /// of its keys, because neighbours share what the walk to them has fetched.
    ///
    /// # Errors
    /// When the kernel refuses an entry: those before it are there, the others are not.
    pub fn set_many(&self, entries: impl IntoIterator<Item = (K, V)>) -> Result<(), DatapathError> {
        let (keys, values): (Vec<K>, Vec<V>) = entries.into_iter().unzip();
        self.changed(self.raw.set_many(all_bytes(&keys), all_bytes(&values)))
    }

    /// Removes many entries in few calls. What is not there need not be removed.
    ///
    /// # Errors
    /// When the kernel refuses: those before are gone, the others are not.
    pub fn remove_many(&self, keys: &[K]) -> Result<(), DatapathError> {
        self.changed(self.raw.remove_many(all_bytes(keys)))
    }
}

impl<K: Pod, V: Pod + Default> Writable<'_, PerCpuTable<K, V>> {
    /// Sets an entry: the value on one CPU, nothing on the others.
    ///
    /// # Errors
    /// As for [`Table`].
    pub fn set(&self, key: &K, value: &V) -> Result<(), DatapathError> {
        let mut values = vec![0; self.raw.stride];
        values[..size_of::<V>()].copy_from_slice(bytes(value));
        self.changed(self.raw.set(bytes(key), &values))
    }

    /// Removes many entries.
    ///
    /// # Errors
    /// As for [`Table`].
    pub fn remove_many(&self, keys: &[K]) -> Result<(), DatapathError> {
        self.changed(self.raw.remove_many(all_bytes(keys)))
    }

    /// Sets many entries as [`Writable::set`] does.
    ///
    /// # Errors
    /// As for [`Table`].
    pub fn set_many(&self, entries: impl IntoIterator<Item = (K, V)>) -> Result<(), DatapathError> {
        entries
            .into_iter()
            .try_for_each(|(key, value)| self.set(&key, &value))
    }
}

impl<V: Pod> Writable<'_, Single<u32, V>> {
    /// Sets the value.
    ///
    /// # Errors
    /// As for [`Table`].
    pub fn set(&self, value: &V) -> Result<(), DatapathError> {
        self.changed(self.0.raw.set(bytes(&0u32), bytes(value)))
    }

    /// Changes the value.
    ///
    /// # Errors
    /// As for [`Table`].
    pub fn update(&self, change: impl FnOnce(&mut V)) -> Result<(), DatapathError> {
        let mut value = self.get()?;
        change(&mut value);
        self.set(&value)
    }
}
