//! ABI 7 to 8: the epoch, and counters beside `hops` for what the decision cache decides. All are new, and empty.

use super::{super::error::DatapathError, Contents};

/// `meta`, the same in both.
const META: usize = 128;

pub(super) fn step(contents: &mut Contents<'_>) -> Result<(), DatapathError> {
    let mut meta = contents.value("meta", META)?;
    meta[..4].copy_from_slice(&8u32.to_ne_bytes());
    contents.put_value("meta", meta);
    Ok(())
}
