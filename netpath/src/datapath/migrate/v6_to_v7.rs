//! ABI 6 to 7: settings say how many connections there is to be room for. The tables of connections are new, and empty: what the
//! kernel has translated is read from it before programs are attached.

use super::{super::error::DatapathError, Contents};

/// `meta`, the same in both, and `settings` of ABI 6.
const META: usize = 128;
const SETTINGS: usize = 48;
/// New at the end: max_connections, reserved.
const CONNECTIONS: u32 = 65_536;

pub(super) fn step(contents: &mut Contents<'_>) -> Result<(), DatapathError> {
    let settings = contents.value("settings", SETTINGS)?;
    let connections = [CONNECTIONS.to_ne_bytes(), [0; 4]].concat();
    contents.put_value("settings", [settings, connections].concat());
    let mut meta = contents.value("meta", META)?;
    meta[..4].copy_from_slice(&7u32.to_ne_bytes());
    contents.put_value("meta", meta);
    Ok(())
}
