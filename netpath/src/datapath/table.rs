//! Tables: the pinned maps by the types of their keys and values. Anybody may read them; what changes them is open to
//! [`Writer`](super::Writer) only.

use std::{
    collections::BTreeMap,
    io,
    marker::PhantomData,
    ops::{AddAssign, Deref},
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::{Pod, maps::MapData, util::nr_cpus};
use netpath_common::tables::{MapKind, TableSpec};

use super::{
    error::{DatapathError, file},
    pins::Pins,
    sys::{self, Cursor, command},
};

/// Entries in one call: as many as keep the copies in the processor's cache.
const CHUNK: usize = 4096;

/// A map with one value for each key.
pub struct Table<K, V> {
    raw: Raw,
    entry: PhantomData<fn() -> (K, V)>,
}

/// A map whose values each CPU has its own of.
pub struct PerCpuTable<K, V> {
    raw: Raw,
    cpus: usize,
    entry: PhantomData<fn() -> (K, V)>,
}

/// An array with one value.
pub struct Single<K, V>(Table<K, V>);

/// What the tables have in common.
struct Raw {
    spec: &'static TableSpec,
    data: MapData,
}

impl Raw {
    /// Opens a pinned map, refusing one that is not what the registry says.
    fn open(pins: &Pins, spec: &'static TableSpec) -> Result<Self, DatapathError> {
        let path = pins.map(spec.name);
        if !path.exists() {
            return Err(DatapathError::Damaged {
                path: pins.directory().to_owned(),
                problem: format!("its map {} is not pinned", spec.name),
            });
        }
        let data = MapData::from_pin(&path).map_err(super::error::map(spec.name))?;
        let info = data.info().map_err(super::error::map(spec.name))?;
        let kind = info.map_type().map_err(super::error::map(spec.name))?;
        let found = (kind as u32, info.key_size(), info.value_size());
        let expected = (
            spec.kind as u32,
            spec.key_size as u32,
            spec.value_size as u32,
        );
        if found != expected {
            return Err(DatapathError::Foreign {
                path,
                problem: format!(
                    "map {} is of type {}, with keys of {} and values of {} bytes, not {} with {} and {}",
                    spec.name, found.0, found.1, found.2, expected.0, expected.1, expected.2
                ),
            });
        }
        Ok(Self { spec, data })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.data.fd().as_fd()
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> DatapathError {
        let map = self.spec.name;
        move |source| DatapathError::Entry {
            map,
            action,
            source,
        }
    }

    fn get<K: Pod>(&self, key: &K, value: *mut u8) -> Result<bool, DatapathError> {
        // SAFETY: the sizes of keys and values were compared when the map was opened, and `value` has room for one:
        // both callers see to that.
        let got = unsafe {
            sys::element(
                command::MAP_LOOKUP_ELEM,
                self.fd(),
                std::ptr::from_ref(key).cast(),
                value,
            )
        };
        match got {
            Err(error) if is_absent(&error) => Ok(false),
            result => result.map(|()| true).map_err(self.failed("look up in")),
        }
    }

    fn set<K: Pod>(&self, key: &K, value: *const u8) -> Result<(), DatapathError> {
        // SAFETY: as in `get`; the kernel only reads the value.
        unsafe {
            sys::element(
                command::MAP_UPDATE_ELEM,
                self.fd(),
                std::ptr::from_ref(key).cast(),
                value.cast_mut(),
            )
        }
        .map_err(self.failed("write to"))
    }

    /// What is not there need not be removed.
    fn remove<K: Pod>(&self, key: &K) -> Result<(), DatapathError> {
        // SAFETY: as in `get`; no value is touched.
        let removed = unsafe {
            sys::element(
                command::MAP_DELETE_ELEM,
                self.fd(),
                std::ptr::from_ref(key).cast(),
                std::ptr::null_mut(),
            )
        };
        match removed {
            Err(error) if is_absent(&error) => Ok(()),
            result => result.map_err(self.failed("remove from")),
        }
    }

    /// Tells every key with its values, of which it has `width`.
    fn each<K: Pod, V: Pod>(
        &self,
        width: usize,
        mut tell: impl FnMut(K, &[V]),
    ) -> Result<(), DatapathError> {
        if self.spec.kind == MapKind::DevMapHash {
            return self.one_by_one(width, tell);
        }
        let mut chunk = CHUNK;
        let mut cursor = vec![0u64; size_of::<K>().div_ceil(8).max(1)];
        let mut begun = false;
        loop {
            let mut next = cursor.clone();
            let mut keys: Vec<K> = Vec::with_capacity(chunk);
            let mut values: Vec<V> = Vec::with_capacity(chunk * width);
            let range = Cursor {
                from: if begun { cursor.as_ptr() as u64 } else { 0 },
                to: next.as_mut_ptr() as u64,
            };
            // SAFETY: both vectors have room for `chunk` entries of the map's sizes, which were compared when it was
            // opened, and the cursors for a key.
            let (count, result) = unsafe {
                sys::batch(
                    command::MAP_LOOKUP_BATCH,
                    self.fd(),
                    range,
                    keys.as_mut_ptr().cast_const().cast(),
                    values.as_mut_ptr().cast_const().cast(),
                    chunk,
                )
            };
            let end = match result {
                Ok(()) => false,
                Err(error) if is_absent(&error) => true,
                // A bucket holds more than there is room for: then nothing of it was written.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    chunk *= 2;
                    continue;
                }
                // A trie was changed meanwhile (`generic_map_lookup_batch`): again from where this call began.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed("list")(error)),
            };
            // SAFETY: the kernel has written `count` entries, at most the room that it was told of, and every bit
            // pattern is valid for Pod.
            unsafe {
                keys.set_len(count.min(chunk));
                values.set_len(count.min(chunk) * width);
            }
            for (key, values) in keys.into_iter().zip(values.chunks_exact(width)) {
                tell(key, values);
            }
            if end {
                return Ok(());
            }
            cursor = next;
            begun = true;
        }
    }

    /// As [`Raw::each`], for a kind of map without batches.
    fn one_by_one<K: Pod, V: Pod>(
        &self,
        width: usize,
        mut tell: impl FnMut(K, &[V]),
    ) -> Result<(), DatapathError> {
        let mut before: Option<K> = None;
        loop {
            let mut key = std::mem::MaybeUninit::<K>::uninit();
            let from = before.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
            // SAFETY: both are keys of the map's size, which was compared when it was opened; null asks for the first.
            let got = unsafe {
                sys::element(
                    command::MAP_GET_NEXT_KEY,
                    self.fd(),
                    from.cast(),
                    key.as_mut_ptr().cast(),
                )
            };
            match got {
                Err(error) if is_absent(&error) => return Ok(()),
                result => result.map_err(self.failed("list"))?,
            }
            // SAFETY: the kernel has written it.
            let key = unsafe { key.assume_init() };
            let mut value: Vec<V> = Vec::with_capacity(width);
            if self.get(&key, value.as_mut_ptr().cast())? {
                // SAFETY: the kernel has written it.
                unsafe { value.set_len(width) };
                tell(key, &value);
            }
            before = Some(key);
        }
    }

    /// Sets many entries; the same as one after the other.
    fn set_many<K: Pod, V: Pod>(&self, keys: &[K], values: &[V]) -> Result<(), DatapathError> {
        for (keys, values) in keys.chunks(CHUNK).zip(values.chunks(CHUNK)) {
            // SAFETY: both slices hold as many entries, of the sizes that the map has, and are only read.
            let (_, result) = unsafe {
                sys::batch(
                    command::MAP_UPDATE_BATCH,
                    self.fd(),
                    Cursor::default(),
                    keys.as_ptr().cast(),
                    values.as_ptr().cast(),
                    keys.len().min(values.len()),
                )
            };
            result.map_err(self.failed("write many entries to"))?;
        }
        Ok(())
    }

    /// Removes many entries; those that are not there are passed over.
    fn remove_many<K: Pod>(&self, keys: &[K]) -> Result<(), DatapathError> {
        for mut keys in keys.chunks(CHUNK) {
            while !keys.is_empty() {
                // SAFETY: the slice holds keys of the map's size and is only read.
                let (count, result) = unsafe {
                    sys::batch(
                        command::MAP_DELETE_BATCH,
                        self.fd(),
                        Cursor::default(),
                        keys.as_ptr().cast(),
                        std::ptr::null(),
                        keys.len(),
                    )
                };
                match result {
                    Ok(()) => break,
                    Err(error) if is_absent(&error) => {
                        keys = keys.get(count + 1..).unwrap_or_default();
                    }
                    Err(error) => return Err(self.failed("remove many entries from")(error)),
                }
            }
        }
        Ok(())
    }

    fn max_entries(&self) -> Result<u32, DatapathError> {
        let info = self
            .data
            .info()
            .map_err(super::error::map(self.spec.name))?;
        Ok(info.max_entries())
    }
}

fn is_absent(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOENT)
}

/// Opens as what a table of the registry is.
pub(super) trait Open: Sized {
    fn open(pins: &Pins, spec: &'static TableSpec) -> Result<Self, DatapathError>;
}

impl<K: Pod, V: Pod> Open for Table<K, V> {
    fn open(pins: &Pins, spec: &'static TableSpec) -> Result<Self, DatapathError> {
        Ok(Self {
            raw: Raw::open(pins, spec)?,
            entry: PhantomData,
        })
    }
}

impl<K: Pod, V: Pod> Open for PerCpuTable<K, V> {
    fn open(pins: &Pins, spec: &'static TableSpec) -> Result<Self, DatapathError> {
        // The kernel rounds each CPU's value up to eight bytes; a value of that size needs no gap.
        const { assert!(size_of::<V>().is_multiple_of(8)) };
        let raw = Raw::open(pins, spec)?;
        let cpus = nr_cpus().map_err(|(path, source)| file(path, "read")(source))?;
        Ok(Self {
            raw,
            cpus,
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
        let mut value = std::mem::MaybeUninit::<V>::uninit();
        let found = self.raw.get(key, value.as_mut_ptr().cast())?;
        // SAFETY: the kernel has written it if it was found.
        Ok(found.then(|| unsafe { value.assume_init() }))
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
        self.raw.each(1, |key, values| {
            entries.extend(values.first().map(|value| (key, *value)))
        })?;
        Ok(entries.into_iter().collect())
    }

    /// How many entries it has room for.
    ///
    /// # Errors
    /// As for every method here.
    pub fn max_entries(&self) -> Result<u32, DatapathError> {
        self.raw.max_entries()
    }
}

impl<K: Pod + Ord, V: Pod + Default + AddAssign> PerCpuTable<K, V> {
    /// Every entry, summed over the CPUs.
    ///
    /// # Errors
    /// When the kernel refuses, as for every method here.
    pub fn all(&self) -> Result<BTreeMap<K, V>, DatapathError> {
        let mut entries = Vec::new();
        self.raw
            .each(self.cpus, |key, values| entries.push((key, sum(values))))?;
        Ok(entries.into_iter().collect())
    }

    /// The value of a key, summed over the CPUs.
    ///
    /// # Errors
    /// As for every method here.
    pub fn get(&self, key: &K) -> Result<Option<V>, DatapathError> {
        let mut values: Vec<V> = Vec::with_capacity(self.cpus);
        if !self.raw.get(key, values.as_mut_ptr().cast())? {
            return Ok(None);
        }
        // SAFETY: the kernel has written a value for each CPU.
        unsafe { values.set_len(self.cpus) };
        Ok(Some(sum(&values)))
    }
}

fn sum<V: Copy + Default + AddAssign>(values: &[V]) -> V {
    values.iter().fold(V::default(), |mut sum, value| {
        sum += *value;
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
            map: self.0.raw.spec.name,
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

/// A table that may be changed: what a [`Writer`](super::Writer) is made of. It reads as the table does.
#[derive(Clone, Copy)]
pub struct Writable<'a, T> {
    table: &'a T,
}

impl<'a, T> Writable<'a, T> {
    /// To be had by the holder of the topology lock, or for what nobody else can see yet.
    pub(super) fn new(table: &'a T) -> Self {
        Self { table }
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
        self.raw.set(key, std::ptr::from_ref(value).cast())
    }

    /// Removes an entry. What is not there need not be removed.
    ///
    /// # Errors
    /// As for every method here.
    pub fn remove(&self, key: &K) -> Result<(), DatapathError> {
        self.raw.remove(key)
    }

    /// Sets many entries in few calls: the same as setting one after the other. A trie is filled fastest in the order
    /// of its keys, because neighbours share what the walk to them has fetched.
    ///
    /// # Errors
    /// When the kernel refuses an entry: those before it are there, the others are not.
    pub fn set_many(&self, entries: impl IntoIterator<Item = (K, V)>) -> Result<(), DatapathError> {
        let (keys, values): (Vec<K>, Vec<V>) = entries.into_iter().unzip();
        self.raw.set_many(&keys, &values)
    }

    /// Removes many entries in few calls. What is not there need not be removed.
    ///
    /// # Errors
    /// When the kernel refuses: those before are gone, the others are not.
    pub fn remove_many(&self, keys: &[K]) -> Result<(), DatapathError> {
        self.raw.remove_many(keys)
    }
}

impl<K: Pod, V: Pod + Default> Writable<'_, PerCpuTable<K, V>> {
    /// Sets an entry: the value on one CPU, nothing on the others.
    ///
    /// # Errors
    /// As for [`Table`].
    pub fn set(&self, key: &K, value: &V) -> Result<(), DatapathError> {
        let mut values = vec![V::default(); self.cpus];
        values[0] = *value;
        self.raw.set(key, values.as_ptr().cast())
    }

    /// Removes many entries.
    ///
    /// # Errors
    /// As for [`Table`].
    pub fn remove_many(&self, keys: &[K]) -> Result<(), DatapathError> {
        self.raw.remove_many(keys)
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
        self.0.raw.set(&0u32, std::ptr::from_ref(value).cast())
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
