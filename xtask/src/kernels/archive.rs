//! The initial file system of a booting kernel: a cpio archive in the "newc" format
//! (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel), uncompressed, as an emulated
//! processor takes longer to decompress it than to copy it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;
/// Name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive that is being written.
pub struct Archive {
    out: BufWriter<File>,
    directories: BTreeSet<PathBuf>,
    entries: u32,
}

impl Archive {
    /// Starts a file.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self {
            out: BufWriter::new(file),
            directories: BTreeSet::new(),
            entries: 0,
        })
    }

    /// Adds an empty directory.
    pub fn directory(&mut self, path: &Path) -> Result<()> {
        if let Some(parent) = path.parent().filter(|parent| parent.parent().is_some()) {
            self.directory(parent)?;
        }
        if self.directories.insert(path.to_owned()) {
            self.entry(path, DIRECTORY, &[])?;
        }
        Ok(())
    }

    /// Adds a file with its permissions, and the directories above it.
    pub fn file(&mut self, path: &Path, permissions: u32, contents: &[u8]) -> Result<()> {
        self.parent(path)?;
        self.entry(path, REGULAR | permissions, contents)
    }

    /// Adds an executable, or a library, of this machine.
    pub fn copy(&mut self, path: &Path, from: &Path) -> Result<()> {
        let contents = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        self.file(path, 0o755, &contents)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<()> {
        self.entry(&Path::new("/").join(TRAILER), 0, &[])?;
        self.out.flush()?;
        Ok(())
    }

    fn parent(&mut self, path: &Path) -> Result<()> {
        match path.parent().filter(|parent| parent.parent().is_some()) {
            Some(parent) => self.directory(parent),
            None => Ok(()),
        }
    }

    fn entry(&mut self, path: &Path, mode: u32, data: &[u8]) -> Result<()> {
        let name = path.strip_prefix("/").context("not an absolute path")?;
        let name = name.to_str().context("a name that is not UTF-8")?;
        let size = u32::try_from(data.len())?;
        let name_size = u32::try_from(name.len() + 1)?;
        self.entries += 1;
        // inode, mode, uid, gid, links, mtime, size, device of the file system, device, length of the name, 0.
        let (links, mtime) = (1, 0);
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            mtime,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        let mut header = String::from("070701");
        for field in fields {
            header += &format!("{field:08x}");
        }
        header += name;
        header.push('\0');
        self.padded(header.as_bytes())?;
        self.padded(data)
    }

    /// Everything starts at a multiple of four bytes.
    fn padded(&mut self, data: &[u8]) -> Result<()> {
        let padding = data.len().next_multiple_of(4) - data.len();
        self.out.write_all(data)?;
        self.out.write_all(&[0; 3][..padding])?;
        Ok(())
    }
}
