//! The archive: a private file that was not there before, and is not left half written.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};

use super::{
    super::{Failure, Refusal},
    parts::Part,
};

/// An archive that is being written. It is removed when it is dropped before its end.
pub(super) struct Archive {
    path: PathBuf,
    /// The directory that all is in.
    within: String,
    seconds: u64,
    builder: Option<tar::Builder<GzEncoder<File>>>,
}

impl Archive {
    /// Makes the file, which only its owner may read.
    pub(super) fn create(path: &Path, within: &str, seconds: u64) -> Result<Self, Failure> {
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let file = opened.map_err(|error| {
            let path = path.display();
            match error.kind() {
                io::ErrorKind::AlreadyExists => Failure::from(Refusal(format!(
                    "{path}: it is there already, and is not overwritten: name another file with --to"
                ))),
                _ => Failure::new(format!("{path}: cannot be made: {error}")),
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            within: within.to_owned(),
            seconds,
            builder: Some(tar::Builder::new(GzEncoder::new(
                file,
                Compression::default(),
            ))),
        })
    }

    /// Adds a part.
    pub(super) fn add(&mut self, part: &Part) -> Result<(), Failure> {
        let (name, bytes) = match &part.error {
            None => (part.name.clone(), part.bytes.clone()),
            Some(error) => (format!("{}.error", part.name), format!("{error}\n").into()),
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.seconds);
        let name = format!("{}/{name}", self.within);
        let Some(builder) = &mut self.builder else {
            return Ok(());
        };
        let added = builder.append_data(&mut header, name, bytes.as_slice());
        added.map_err(|error| self.failed(&error))
    }

    /// Ends it.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let Some(builder) = self.builder.take() else {
            return Ok(());
        };
        let written = builder
            .into_inner()
            .and_then(GzEncoder::finish)
            .and_then(|file| file.sync_all());
        if let Err(error) = written {
            let failure = self.failed(&error);
            return Err(match fs::remove_file(&self.path) {
                Ok(()) => failure,
                Err(error) => failure.and(&format!("{}: {error}", self.path.display())),
            });
        }
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::new(format!("writing {}: {error}", self.path.display()))
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if self.builder.is_some()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, "{} stays half written", self.path.display());
        }
    }
}
