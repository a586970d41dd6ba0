//! ABI 5 to 6: records of routes say which uplink the next hop is on the link of.

use super::{super::error::DatapathError, Contents};

/// Key and value of the routes' records in ABI 5.
const PREFIX: usize = 20;
const ROUTE: usize = 32;
/// New at the end: dev. Addresses alone said so until now.
const NO_DEV: [u8; 16] = [0; 16];
/// `meta`, the same in both.
const META: usize = 128;

pub(super) fn step(contents: &mut Contents<'_>) -> Result<(), DatapathError> {
    let routes = contents.entries("route_records", PREFIX, ROUTE)?;
    let longer = |(key, value): (Vec<u8>, Vec<u8>)| (key, [&value[..], &NO_DEV].concat());
    contents.put("route_records", routes.into_iter().map(longer).collect());
    let mut meta = contents.value("meta", META)?;
    meta[..4].copy_from_slice(&6u32.to_ne_bytes());
    contents.put_value("meta", meta);
    Ok(())
}
