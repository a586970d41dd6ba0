//! ABI 8 to 9: user space may map `gates`. The layout is the same, but a map is made so or not at all.

use super::{super::error::DatapathError, Contents};

/// `meta`, the same in both.
const META: usize = 128;
/// A word of `gates`, the same in both.
const WORD: usize = 8;

pub(super) fn step(contents: &mut Contents<'_>) -> Result<(), DatapathError> {
    let mut gates = contents.entries("gates", 4, WORD)?;
    gates.retain(|(_, word)| *word != [0; WORD]);
    contents.put("gates", gates);
    let mut meta = contents.value("meta", META)?;
    meta[..4].copy_from_slice(&9u32.to_ne_bytes());
    contents.put_value("meta", meta);
    Ok(())
}
