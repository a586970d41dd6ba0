//! The topology that a command is about: a file, or the built-in lab.

use std::{
    fs,
    io::{self, Read as _},
    os::{
        fd::AsFd as _,
        unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, poll},
};

use netpath::model::{NamedNodes, Topology};

use super::{Failure, Refusal};

/// What a topology file may have, in bytes: many times what the largest one that netpath can make takes.
const SIZE_MAX: u64 = 64 << 20;

/// How long a FIFO may be without anybody who has it open to write.
const FIFO_WAIT: Duration = Duration::from_secs(2);

/// Milliseconds between two looks whether somebody has.
const FIFO_STEP: u16 = 50;

/// Reads and checks a topology file; `-` is stdin, and without a file it is the built-in lab.
pub(super) fn load(file: Option<&PathBuf>) -> Result<Topology, Failure> {
    let Some(file) = file else {
        return Ok(Topology::builtin_lab());
    };
    let (shown, text) = text(file)?;
    Ok(Topology::parse(shown, &text)?)
}

/// The names of the nodes of a topology file, which may have mistakes; read as by [`load`].
pub(super) fn load_names(file: Option<&PathBuf>) -> Result<NamedNodes, Failure> {
    let Some(file) = file else {
        return Ok(Topology::builtin_lab().into());
    };
    let (shown, text) = text(file)?;
    let named = NamedNodes::parse(shown, &text);
    named.map_err(|errors| {
        let cure = "it names no node for certain: `netpath down NODE...` removes nodes by name, `netpath show` lists them";
        Failure::from(errors).and(cure)
    })
}

/// What to call a file, and all of it.
pub(super) fn text(file: &Path) -> Result<(&Path, String), Refusal> {
    if file.as_os_str() == "-" {
        let shown = Path::new("stdin");
        return Ok((shown, read(shown, io::stdin().lock())?));
    }
    let unreadable = |error| unreadable(file, &error);
    // A FIFO that nobody writes would otherwise keep the opening waiting for ever. Regular files do not mind.
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(file)
        .map_err(unreadable)?;
    let found = opened.metadata().map_err(unreadable)?;
    if found.is_file() && found.len() > SIZE_MAX {
        return Err(too_large(file));
    }
    if found.file_type().is_fifo() {
        return Ok((file, read(file, Fifo::new(opened))?));
    }
    fcntl(&opened, FcntlArg::F_SETFL(OFlag::empty())).map_err(|errno| unreadable(errno.into()))?;
    Ok((file, read(file, opened)?))
}

/// A pipe: what somebody writes is waited for, however long it takes; but not for somebody to write.
struct Fifo {
    pipe: fs::File,
    /// When it is enough of waiting; `None` once somebody has it open to write.
    until: Option<Instant>,
}

impl Fifo {
    fn new(pipe: fs::File) -> Self {
        Self {
            pipe,
            until: Some(Instant::now() + FIFO_WAIT),
        }
    }

    /// Waits for a change, a moment at most, so that a writer that says nothing is noticed too.
    fn wait(&self) -> io::Result<()> {
        let mut polled = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, FIFO_STEP) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl io::Read for Fifo {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match (self.pipe.read(buffer), self.until) {
                // Open to be written, and nothing written.
                (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => self.until = None,
                (Ok(0), Some(until)) if Instant::now() < until => {}
                (Ok(0), Some(_)) => return Err(io::ErrorKind::TimedOut.into()),
                (result, _) => {
                    self.until = None;
                    return result;
                }
            }
            self.wait()?;
        }
    }
}

/// All of a file. A device may never end, so no more is read than any topology takes.
fn read(file: &Path, from: impl io::Read) -> Result<String, Refusal> {
    let mut bytes = Vec::new();
    from.take(SIZE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(file, &error))?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(too_large(file));
    }
    String::from_utf8(bytes).map_err(|_| unreadable(file, &io::ErrorKind::InvalidData.into()))
}

fn too_large(file: &Path) -> Refusal {
    let (file, size) = (file.display(), SIZE_MAX >> 20);
    Refusal(format!(
        "{file}: it is larger than {size} MiB, which no topology file is: name one with -f"
    ))
}

/// The names of a topology's nodes.
pub(super) fn node_names(topology: &Topology) -> Vec<String> {
    topology
        .nodes
        .iter()
        .map(|node| node.name.to_string())
        .collect()
}

fn unreadable(file: &Path, error: &io::Error) -> Refusal {
    let file = file.display();
    Refusal(match error.kind() {
        io::ErrorKind::NotFound => format!(
            "{file}: no such file: name a topology file with -f, or leave -f out for the built-in lab"
        ),
        io::ErrorKind::IsADirectory => {
            format!("{file}: it is a directory: name a topology file with -f")
        }
        io::ErrorKind::TimedOut => {
            let seconds = FIFO_WAIT.as_secs();
            format!(
                "{file}: it is a FIFO that nobody has written for {seconds} s: name a file with -f"
            )
        }
        io::ErrorKind::InvalidData => {
            format!("{file}: it is not UTF-8 text: a topology file is TOML")
        }
        _ => format!("{file}: cannot be read: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exit;

    #[test]
    fn without_a_file_it_is_the_lab() {
        let topology = load(None).expect("valid");
        assert_eq!(node_names(&topology), ["node03", "node02"]);
    }

    #[test]
    fn a_missing_file_is_refused_by_name() {
        let failure = load(Some(&"/nonexistent/lab.toml".into())).expect_err("missing");
        assert_eq!(failure.exit, Exit::Refused);
        let start = "/nonexistent/lab.toml: no such file: ";
        assert!(failure.text.starts_with(start), "{failure:?}");
        let failure = load(Some(&"/proc".into())).expect_err("a directory");
        assert_eq!(failure.exit, Exit::Refused);
        assert!(failure.text.contains("directory"), "{failure:?}");
    }

    /// A FIFO of a test's own.
    struct Pipe(PathBuf);

    impl Pipe {
        fn make(name: &str) -> Self {
            let name = format!("netpath-{}-{name}.fifo", std::process::id());
            let path = std::env::temp_dir().join(name);
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
            Self(path)
        }
    }

    impl Drop for Pipe {
        fn drop(&mut self) {
            fs::remove_file(&self.0).expect("its own FIFO");
        }
    }

    #[test]
    fn a_fifo_that_nobody_writes_is_refused() {
        let pipe = Pipe::make("silent");
        let began = Instant::now();
        let failure = load(Some(&pipe.0)).expect_err("nobody writes");
        assert_eq!(failure.exit, Exit::Refused);
        assert!(
            failure.text.contains("nobody has written for 2 s"),
            "{}",
            failure.text
        );
        assert!(began.elapsed() < 5 * FIFO_WAIT);
    }

    #[test]
    fn a_fifo_that_somebody_writes_slowly_is_read_to_its_end() {
        let pipe = Pipe::make("slow");
        let to = pipe.0.clone();
        let writer = std::thread::spawn(move || {
            use std::io::Write as _;
            let mut pipe = fs::OpenOptions::new()
                .write(true)
                .open(to)
                .expect("a reader");
            for text in ["[[node]]\n", "name = \"slow\"\n"] {
                std::thread::sleep(FIFO_WAIT + Duration::from_millis(200));
                pipe.write_all(text.as_bytes()).expect("a reader");
            }
        });
        let topology = load(Some(&pipe.0)).expect("valid");
        assert_eq!(node_names(&topology), ["slow"]);
        writer.join().expect("it has written");
    }

    #[test]
    fn a_huge_file_is_not_even_read() {
        let path = std::env::temp_dir().join(format!("netpath-{}-huge.toml", std::process::id()));
        let file = fs::File::create(&path).expect("a file");
        // Sparse: it takes no room.
        file.set_len(1 << 30).expect("its length");
        let failure = load(Some(&path));
        fs::remove_file(&path).expect("its own file");
        let text = failure.expect_err("too large").text;
        assert!(text.contains("larger than 64 MiB"), "{text}");
    }

    #[test]
    fn a_file_without_an_end_is_refused() {
        let failure = load(Some(&"/dev/zero".into())).expect_err("no topology");
        assert_eq!(failure.exit, Exit::Refused);
        let start = "/dev/zero: it is larger than 64 MiB";
        assert!(failure.text.starts_with(start), "{}", failure.text);
        let failure = load(Some(&std::env::current_exe().expect("this test")));
        let failure = failure.expect_err("no text").text;
        assert!(failure.contains("not UTF-8"), "{failure}");
    }
}
