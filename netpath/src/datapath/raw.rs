//! A map by its bytes, whatever its layout: what the typed tables are made of, and what migration copies.

use std::{
    fmt, io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use aya::{maps::MapData, util::nr_cpus};
use netpath_common::tables::{FLAGS, MapKind, TableSpec};

use super::{
    error::{DatapathError, file, map},
    mapped::Mapped,
    sys::{self, Cursor, command},
};

/// Entries in one call: as many as keep the copies in the processor's cache.
const CHUNK: usize = 4096;
/// So many bytes of large entries: room for all of [`CHUNK`] takes longer to make than a few records to read.
const CHUNK_BYTES: usize = 128 << 10;
/// But so many at least: a bucket of a hash has to fit.
const CHUNK_LEAST: usize = 32;

/// How often, and for how long each time, it is waited until the kernel has memory for an entry again.
const REFILLS: usize = 100;
const REFILL: Duration = Duration::from_millis(1);

/// Sets entries. What a map allocates entry by entry comes from a small store, which the kernel refills behind whoever empties
/// it (`bpf_mem_alloc`, kernel/bpf/memalloc.c): who sets very many is faster, and waits.
fn patiently(mut set: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 0..REFILLS {
        match set() {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => thread::sleep(REFILL),
            result => return result,
        }
    }
    set()
}

/// What a map's entries look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Number of the map type, of `enum bpf_map_type` in `linux/bpf.h`.
    pub kind: u32,
    /// In bytes.
    pub key_size: usize,
    /// Of one CPU's value, in bytes.
    pub value_size: usize,
    /// Those of [`FLAGS`] that it was made with.
    pub flags: u32,
}

impl Layout {
    /// As the registry has it.
    pub(super) fn of(spec: &TableSpec) -> Self {
        Self {
            kind: spec.kind as u32,
            key_size: spec.key_size,
            value_size: spec.value_size,
            flags: spec.flags,
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "of type {} with keys of {} and values of {} bytes, made with flags {}",
            self.kind, self.key_size, self.value_size, self.flags
        )
    }
}

/// A pinned map.
pub(super) struct RawMap {
    pub name: &'static str,
    fd: OwnedFd,
    pub layout: Layout,
    pub max_entries: u32,
    /// Size of a value as user space sees it: of all CPUs', where each has its own.
    pub stride: usize,
}

impl RawMap {
    /// Opens a pinned map.
    pub(super) fn open(path: &Path, name: &'static str) -> Result<Self, DatapathError> {
        Self::of(MapData::from_pin(path).map_err(map(name))?, name)
    }

    /// A map that is open.
    pub(super) fn of(data: MapData, name: &'static str) -> Result<Self, DatapathError> {
        let info = data.info().map_err(map(name))?;
        let layout = Layout {
            kind: info.map_type().map_err(map(name))? as u32,
            key_size: info.key_size() as usize,
            value_size: info.value_size() as usize,
            flags: info.map_flags() & FLAGS,
        };
        let per_cpu = [MapKind::PerCpuHash, MapKind::PerCpuArray].map(|kind| kind as u32);
        let stride = if per_cpu.contains(&layout.kind) {
            let cpus = nr_cpus().map_err(|(path, source)| file(path, "read")(source))?;
            layout.value_size.next_multiple_of(8) * cpus
        } else {
            layout.value_size
        };
        let max_entries = info.max_entries();
        let fd = data.fd().as_fd().try_clone_to_owned();
        Ok(Self {
            name,
            fd: fd.map_err(file(name, "keep the map open"))?,
            layout,
            max_entries,
            stride,
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Pins the map at another place, too.
    pub(super) fn pin_too(&self, path: PathBuf) -> Result<(), DatapathError> {
        let fd = self.fd.try_clone().map_err(file(&path, "pin"))?;
        let data = MapData::from_fd(fd).map_err(map(self.name))?;
        data.pin(&path)
            .map_err(|source| DatapathError::Pin { path, source })
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> DatapathError {
        let map = self.name;
        move |source| DatapathError::Entry {
            map,
            action,
            source,
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DatapathError> {
        assert_eq!(key.len(), self.layout.key_size);
        let mut value = vec![0; self.stride];
        // SAFETY: the key has the map's size, and there is room for a value of it.
        let got = unsafe {
            sys::element(
                command::MAP_LOOKUP_ELEM,
                self.fd(),
                key.as_ptr(),
                value.as_mut_ptr(),
            )
        };
        match got {
            Err(error) if is_absent(&error) => Ok(None),
            result => result
                .map(|()| Some(value))
                .map_err(self.failed("look up in")),
        }
    }

    /// The key behind another one; behind none, or one that is not there, the first.
    pub(super) fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, DatapathError> {
        let mut next = vec![0; self.layout.key_size];
        if let Some(key) = key {
            assert_eq!(key.len(), self.layout.key_size);
        }
        let from = key.map_or(std::ptr::null(), <[u8]>::as_ptr);
        // SAFETY: both are keys of the map's size; null asks for the first.
        let got = unsafe {
            sys::element(
                command::MAP_GET_NEXT_KEY,
                self.fd(),
                from,
                next.as_mut_ptr(),
            )
        };
        match got {
            Err(error) if is_absent(&error) => Ok(None),
            result => result.map(|()| Some(next)).map_err(self.failed("list")),
        }
    }

    /// Sets an entry.
    pub(super) fn set(&self, key: &[u8], value: &[u8]) -> Result<(), DatapathError> {
        self.update(key, value, 0).map_err(self.failed("write to"))
    }

    /// Sets an entry unless the key has one; false where it has.
    pub(super) fn add(&self, key: &[u8], value: &[u8]) -> Result<bool, DatapathError> {
        /// `BPF_NOEXIST` of linux/bpf.h.
        const NOEXIST: u64 = 1;
        match self.update(key, value, NOEXIST) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(self.failed("add to")(error)),
        }
    }

    fn update(&self, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
        assert_eq!(
            (key.len(), value.len()),
            (self.layout.key_size, self.stride)
        );
        patiently(|| {
            // SAFETY: key and value have the map's sizes; the kernel only reads them.
            unsafe {
                sys::element_with(
                    command::MAP_UPDATE_ELEM,
                    self.fd(),
                    key.as_ptr(),
                    value.as_ptr().cast_mut(),
                    flags,
                )
            }
        })
    }

    /// Removes an entry. What is not there need not be removed.
    pub(super) fn remove(&self, key: &[u8]) -> Result<(), DatapathError> {
        assert_eq!(key.len(), self.layout.key_size);
        // SAFETY: the key has the map's size; no value is touched.
        let removed = unsafe {
            sys::element(
                command::MAP_DELETE_ELEM,
                self.fd(),
                key.as_ptr(),
                std::ptr::null_mut(),
            )
        };
        match removed {
            Err(error) if is_absent(&error) => Ok(()),
            result => result.map_err(self.failed("remove from")),
        }
    }

    /// The words of an array that may be mapped.
    pub(super) fn mapped(&self) -> Result<Mapped, DatapathError> {
        assert_eq!(self.layout.value_size, size_of::<u64>());
        Mapped::of(self.fd(), self.max_entries).map_err(self.failed("map"))
    }

    /// Tells all entries, some at a time: keys after keys, values after values.
    pub(super) fn chunks(
        &self,
        mut tell: impl FnMut(&[u8], &[u8]) -> Result<(), DatapathError>,
    ) -> Result<(), DatapathError> {
        if self.layout.kind == MapKind::DevMapHash as u32 {
            return self.one_by_one(tell);
        }
        let entry = self.layout.key_size + self.stride;
        let fitting = (CHUNK_BYTES / entry).clamp(CHUNK_LEAST, CHUNK);
        let mut chunk = fitting.min(self.max_entries as usize);
        // A key, or a word where that is larger.
        let mut cursor = vec![0u8; self.layout.key_size.max(8)];
        let mut keys = Vec::new();
        let mut values = Vec::new();
        let mut begun = false;
        loop {
            let mut next = cursor.clone();
            keys.resize(chunk * self.layout.key_size, 0);
            values.resize(chunk * self.stride, 0);
            let range = Cursor {
                from: if begun { cursor.as_ptr() as u64 } else { 0 },
                to: next.as_mut_ptr() as u64,
            };
            // SAFETY: both vectors have room for `chunk` entries of the map's sizes, and the cursors for a key.
            let (count, result) = unsafe {
                sys::batch(
                    command::MAP_LOOKUP_BATCH,
                    self.fd(),
                    range,
                    keys.as_mut_ptr(),
                    values.as_mut_ptr(),
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
            tell(
                &keys[..count * self.layout.key_size],
                &values[..count * self.stride],
            )?;
            if end {
                return Ok(());
            }
            cursor = next;
            begun = true;
        }
    }

    /// As [`RawMap::chunks`], for a kind of map without batches.
    fn one_by_one(
        &self,
        mut tell: impl FnMut(&[u8], &[u8]) -> Result<(), DatapathError>,
    ) -> Result<(), DatapathError> {
        let mut before: Option<Vec<u8>> = None;
        loop {
            let Some(key) = self.next_key(before.as_deref())? else {
                return Ok(());
            };
            if let Some(value) = self.get(&key)? {
                tell(&key, &value)?;
            }
            before = Some(key);
        }
    }

    /// Sets many entries, keys after keys and values after values: the same as one after the other.
    pub(super) fn set_many(&self, keys: &[u8], values: &[u8]) -> Result<(), DatapathError> {
        let (key_size, stride) = (self.layout.key_size, self.stride);
        assert_eq!(keys.len() / key_size, values.len() / stride);
        if self.layout.kind == MapKind::DevMapHash as u32 {
            let mut entries = keys.chunks_exact(key_size).zip(values.chunks_exact(stride));
            return entries.try_for_each(|(key, value)| self.set(key, value));
        }
        let chunks = keys
            .chunks(CHUNK * key_size)
            .zip(values.chunks(CHUNK * stride));
        for (keys, values) in chunks {
            let mut set = 0;
            patiently(|| {
                let (keys, values) = (&keys[set * key_size..], &values[set * stride..]);
                let asked = keys.len() / key_size;
                // SAFETY: both slices hold as many entries, of the sizes that the map has, and are only read.
                let (count, result) = unsafe {
                    sys::batch(
                        command::MAP_UPDATE_BATCH,
                        self.fd(),
                        Cursor::default(),
                        keys.as_ptr().cast_mut(),
                        values.as_ptr().cast_mut(),
                        asked,
                    )
                };
                // A call that fails before it begins leaves the number as it was.
                set += if count == asked { 0 } else { count };
                result
            })
            .map_err(self.failed("write many entries to"))?;
        }
        Ok(())
    }

    /// Removes many entries; those that are not there are passed over.
    pub(super) fn remove_many(&self, keys: &[u8]) -> Result<(), DatapathError> {
        let key_size = self.layout.key_size;
        for mut keys in keys.chunks(CHUNK * key_size) {
            while !keys.is_empty() {
                // SAFETY: the slice holds keys of the map's size and is only read.
                let (count, result) = unsafe {
                    sys::batch(
                        command::MAP_DELETE_BATCH,
                        self.fd(),
                        Cursor::default(),
                        keys.as_ptr().cast_mut(),
                        std::ptr::null_mut(),
                        keys.len() / key_size,
                    )
                };
                match result {
                    Ok(()) => break,
                    Err(error) if is_absent(&error) => {
                        keys = keys.get((count + 1) * key_size..).unwrap_or_default();
                    }
                    Err(error) => return Err(self.failed("remove many entries from")(error)),
                }
            }
        }
        Ok(())
    }
}

fn is_absent(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_waited_for_memory_and_for_nothing_else() {
        let mut tries = 0;
        let mut fail = |errno, times| {
            tries = 0;
            let result = patiently(|| {
                tries += 1;
                match tries > times {
                    true => Ok(()),
                    false => Err(io::Error::from_raw_os_error(errno)),
                }
            });
            (result.map_err(|error| error.raw_os_error()), tries)
        };
        assert_eq!(fail(libc::ENOMEM, 3), (Ok(()), 4));
        assert_eq!(fail(libc::E2BIG, 3), (Err(Some(libc::E2BIG)), 1));
        let never = (Err(Some(libc::ENOMEM)), REFILLS + 1);
        assert_eq!(fail(libc::ENOMEM, usize::MAX), never);
    }
}
