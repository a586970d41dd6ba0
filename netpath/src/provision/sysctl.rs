//! Network sysctls of the calling thread's namespace.

use std::fs;

use super::error::ProvisionError;

/// Writes `/proc/sys/net/<key>` if it does not hold the value yet.
pub fn set(key: &str, value: &str) -> Result<(), ProvisionError> {
    if get(key)? == value {
        return Ok(());
    }
    let path = path(key);
    fs::write(&path, value).map_err(|source| ProvisionError::File { path, source })
}

/// Reads `/proc/sys/net/<key>`.
pub fn get(key: &str) -> Result<String, ProvisionError> {
    let path = path(key);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(source) => Err(ProvisionError::File { path, source }),
    }
}

fn path(key: &str) -> String {
    format!("/proc/sys/net/{key}")
}
