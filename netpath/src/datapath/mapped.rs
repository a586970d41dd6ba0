//! Arrays that are mapped instead of copied entry by entry.

use std::{
    io,
    num::NonZeroUsize,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::{self, NonNull},
};

/// Words that are read in one step.
const STEP: usize = 512;

/// The words of an array of the kind `BPF_F_MMAPABLE`, mapped to be read.
pub(super) struct Mapped {
    words: NonNull<[u64; STEP]>,
    steps: NonZeroUsize,
}

impl Mapped {
    /// Maps an array of so many words, a multiple of [`STEP`] and so of pages.
    pub(super) fn of(map: BorrowedFd<'_>, words: u32) -> io::Result<Self> {
        let words = Some(words as usize).filter(|words| words.is_multiple_of(STEP));
        let steps = words.and_then(|words| NonZeroUsize::new(words / STEP));
        let steps = steps.ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping, to be read only, where the kernel finds room for it.
        let at = unsafe {
            libc::mmap(
                ptr::null_mut(),
                steps.get() * size_of::<[u64; STEP]>(),
                libc::PROT_READ,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(at.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { words, steps })
    }

    /// The words that are not zero, with their indices.
    pub(super) fn set_words(&self) -> Vec<(u32, u64)> {
        let mut set = Vec::new();
        let mut index = 0u32;
        for step in 0..self.steps.get() {
            // SAFETY: the step lies within the mapping. Others may write to it meanwhile, word by word, so it is read once.
            let words = unsafe { self.words.add(step).read_volatile() };
            if words == [0; STEP] {
                index += STEP as u32;
                continue;
            }
            for word in words {
                if word != 0 {
                    set.push((index, word));
                }
                index += 1;
            }
        }
        set
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let bytes = self.steps.get() * size_of::<[u64; STEP]>();
        // SAFETY: what was mapped, and nothing that refers to it is left.
        let unmapped = unsafe { libc::munmap(self.words.as_ptr().cast(), bytes) };
        debug_assert_eq!(unmapped, 0, "a mapping of its own");
    }
}
