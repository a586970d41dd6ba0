//! The links that hold programs on TCX hooks. Everything here acts in the calling thread's network namespace.
//!
//! A program runs as long as its link lives, and a link as long as somebody holds it: a pin, or a process. One whose pin is
//! gone may live for a while (the kernel lets it go in its own time, `bpf_link_put`), or because somebody else pinned it:
//! it runs, and may end at any moment.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    thread,
    time::{Duration, Instant},
};

use aya::programs::links::{FdLink, PinnedLink};
use netpath_common::{Hook, ProgramKind};
use nix::{errno::Errno, net::if_::if_nametoindex};

use super::{
    Datapath,
    error::{DatapathError, file},
    sys,
};

/// `BPF_TCX_INGRESS` of `enum bpf_attach_type` in linux/bpf.h.
const TCX_INGRESS: u32 = 46;
/// `BPF_TCX_EGRESS`.
const TCX_EGRESS: u32 = 47;

/// How long the kernel may take to let go of a link that nobody holds any more.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether a program of netpath's runs on an interface, and what holds it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    /// It does not.
    No,
    /// It does, and the link that netpath pinned holds it; or it is a clsact filter, which needs nobody to hold it.
    Held,
    /// It does, by a link that netpath's pin does not lead to: it may end at any moment.
    Loose,
}

/// A program on a hook by a link of this id.
struct Found {
    link: u32,
    is_pinned: bool,
}

impl Datapath {
    pub(super) fn runs_by_tcx(
        &self,
        kind: ProgramKind,
        dev: &str,
    ) -> Result<Running, DatapathError> {
        Ok(match self.on_hook(kind, dev)? {
            None => Running::No,
            Some(found) if found.is_pinned => Running::Held,
            Some(_) => Running::Loose,
        })
    }

    /// Ours on a hook; of several the one that is pinned.
    fn on_hook(&self, kind: ProgramKind, dev: &str) -> Result<Option<Found>, DatapathError> {
        let ours = self.program_id(kind)?;
        let ifindex = match if_nametoindex(dev) {
            Ok(ifindex) => ifindex,
            Err(Errno::ENODEV | Errno::ENXIO) => return Ok(None),
            Err(errno) => return Err(file(dev, "find interface")(errno.into())),
        };
        let found = programs(kind, ifindex)?;
        let mut links = found.iter().filter(|(program, _)| *program == ours);
        let Some(&(_, first)) = links.clone().next() else {
            return Ok(None);
        };
        let pinned = pinned_link(&self.pins.link(kind.name(), dev));
        let is_pinned = links.any(|(_, link)| Some(*link) == pinned);
        Ok(Some(Found {
            link: if is_pinned {
                pinned.unwrap_or(first)
            } else {
                first
            },
            is_pinned,
        }))
    }

    /// Pins the link by which a program runs. Returns whether it runs then: the link may have been on its way out.
    pub(super) fn hold(&self, kind: ProgramKind, dev: &str) -> Result<bool, DatapathError> {
        let path = self.pins.link(kind.name(), dev);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Some(found) = self.on_hook(kind, dev)? else {
                return Ok(false);
            };
            if found.is_pinned {
                return Ok(true);
            }
            match sys::link_by_id(found.link) {
                Ok(link) => return pin(&link, &path).map(|()| true),
                Err(error) if is_leaving(&error) && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(file(&path, "pin again")(error)),
            }
        }
    }

    /// Takes a program off a hook that somebody else's link holds there. Returns whether there was one.
    pub(super) fn cut(&self, kind: ProgramKind, dev: &str) -> Result<bool, DatapathError> {
        let deadline = Instant::now() + PATIENCE;
        let mut was_there = false;
        while let Some(found) = self.on_hook(kind, dev)? {
            was_there = true;
            let cut = sys::link_by_id(found.link).and_then(|link| sys::detach_link(link.as_fd()));
            match cut {
                Ok(()) => {}
                Err(error) if is_leaving(&error) && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(file(dev, "detach a program from interface")(error)),
            }
        }
        Ok(was_there)
    }
}

/// What runs at the hook of a program, in order: programs by id, each with the id of its link; nothing where the interface
/// is gone.
pub(super) fn programs(kind: ProgramKind, ifindex: u32) -> Result<Vec<(u32, u32)>, DatapathError> {
    let attach_type = match kind.hook() {
        Hook::Ingress => TCX_INGRESS,
        Hook::Egress => TCX_EGRESS,
    };
    match sys::query_tcx(ifindex, attach_type) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(Vec::new()),
        result => {
            let interface = format!("interface {ifindex}");
            result.map_err(file(interface, "ask for the programs of"))
        }
    }
}

/// Whether a link is not found because nobody holds it any more (`bpf_link_by_id`).
fn is_leaving(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EAGAIN))
}

/// The id of the link that is pinned there; none where nothing is, or something else.
pub(super) fn pinned_link(path: &Path) -> Option<u32> {
    let link = FdLink::from(PinnedLink::from_pin(path).ok()?);
    link.info().ok().map(|info| info.id())
}

/// Pins a link, in the place of another.
fn pin(link: &OwnedFd, path: &Path) -> Result<(), DatapathError> {
    super::attach::unpin(path)?;
    let failed = file(path, "pin again");
    let name = match CString::new(path.as_os_str().as_bytes()) {
        Ok(name) => name,
        Err(error) => return Err(failed(error.into())),
    };
    sys::pin(link.as_fd(), &name).map_err(failed)
}
