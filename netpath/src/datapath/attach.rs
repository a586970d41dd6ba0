//! Attaching and detaching. Everything here acts in the calling thread's network namespace.

use std::{collections::BTreeSet, fs, io, os::fd::AsRawFd as _};

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType,
    links::{FdLink, LinkError, PinnedLink},
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
};

use netpath_common::{CLSACT_PRIORITY, Hook, InterfaceKind, NameKey, ProgramKind};

use super::{
    AttachMode, Datapath, attach_mode,
    clsact::{self, ensure_clsact},
    error::{DatapathError, file},
    maps::Maps,
    migrate::inside,
    pins::{Pins, nodes},
    sys,
    tcx::{self, Running},
};
use crate::{
    netlink::{self, Netlink},
    netns::Inside,
};

/// Their handle, as a number.
pub(super) const CLSACT_NUMBER: u32 = 1;
/// Their handle.
pub(super) const CLSACT_HANDLE: TcHandle = TcHandle::new(0, CLSACT_NUMBER as u16);

/// The hook of a program, in aya's words.
fn attach_type(program: ProgramKind) -> TcAttachType {
    match program.hook() {
        Hook::Ingress => TcAttachType::Ingress,
        Hook::Egress => TcAttachType::Egress,
    }
}

/// Whether of the programs of a hook, in their order, some get no packet that ours redirects. Ours is put behind all that
/// are there.
fn are_kept(kind: ProgramKind, programs: &[u32], ours: Option<u32>) -> bool {
    let position = programs.iter().position(|id| Some(*id) == ours);
    match (kind.hook(), position) {
        (Hook::Ingress, Some(position)) => position + 1 < programs.len(),
        (Hook::Ingress, None) => false,
        (Hook::Egress, position) => programs.len() > usize::from(position.is_some()),
    }
}

/// The programs of an [`InterfaceKind`], by its number.
fn of_interface(kind: u32) -> &'static [ProgramKind] {
    InterfaceKind::from_number(kind).map_or(&[], InterfaceKind::programs)
}

impl Datapath {
    /// The pinned links, by program and interface; none where programs are clsact filters.
    ///
    /// # Errors
    /// When bpffs refuses, or a pin is not one of netpath's.
    pub fn link_pins(&self) -> Result<Vec<(ProgramKind, String)>, DatapathError> {
        link_pins(&self.pins)
    }

    /// Whether the interface of a pinned link is there, in whatever namespace: the kernel says 0 for the index of one that is
    /// gone (`tcx_link_fdinfo`).
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn has_living_link(&self) -> Result<bool, DatapathError> {
        for (kind, dev) in link_pins(&self.pins)? {
            let path = self.pins.link(kind.name(), &dev);
            let link = sys::open_pin(&path).map_err(file(&path, "open"))?;
            let info = format!("/proc/self/fdinfo/{}", link.as_raw_fd());
            let info = fs::read_to_string(&info).map_err(file(&info, "read"))?;
            if ifindex(&info) != Some(0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn pinned(&self, kind: ProgramKind) -> Result<SchedClassifier, DatapathError> {
        pinned_program(&self.pins, kind)
    }

    /// The kernel's number for a program.
    ///
    /// # Errors
    /// When the program is not pinned.
    pub fn program_id(&self, kind: ProgramKind) -> Result<u32, DatapathError> {
        Ok(self.pinned(kind)?.info().map_err(failed(kind, None))?.id())
    }

    /// Whether a program runs on an interface: on none that is not there.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn is_attached(
        &self,
        inside: &Inside<'_>,
        kind: ProgramKind,
        dev: &str,
    ) -> Result<bool, DatapathError> {
        Ok(self.runs(inside, kind, dev)? != Running::No)
    }

    /// Whether a program runs on an interface, and what holds it there.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn runs(
        &self,
        inside: &Inside<'_>,
        kind: ProgramKind,
        dev: &str,
    ) -> Result<Running, DatapathError> {
        match attach_mode()? {
            AttachMode::Tcx => self.runs_by_tcx(kind, dev),
            AttachMode::Clsact => {
                let ours = self.program_id(kind)?;
                let netlink = Netlink::open(inside)?;
                let Some(link) = netlink.link(dev)? else {
                    return Ok(Running::No);
                };
                let filters = netlink.filter_programs(&link, kind.hook())?;
                Ok(match filters.iter().any(|filter| filter.program == ours) {
                    true => Running::Held,
                    false => Running::No,
                })
            }
        }
    }

    /// Whether a program of netpath's keeps packets from what somebody else put on its hook: programs and filters behind
    /// it at an ingress, any at an egress, where a packet that was redirected does not come by.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn keeps_from_others(
        inside: &Inside<'_>,
        netlink: &Netlink,
        datapath: Option<&Self>,
        kind: ProgramKind,
        link: &netlink::Link,
    ) -> Result<bool, DatapathError> {
        let _in_the_namespace_of_the_link = inside;
        let ours = match datapath {
            Some(datapath) => Some(datapath.program_id(kind)?),
            None => None,
        };
        let others = programs_of_nodes(kind)?;
        let is_ours = |program: Option<u32>| {
            program.is_some_and(|it| Some(it) == ours || others.contains(&it))
        };
        let filters = netlink.filters(link, kind.hook())?;
        let mut filters = filters.iter().filter(|filter| !is_ours(filter.program));
        match attach_mode()? {
            // The kernel runs filters behind all programs.
            AttachMode::Tcx if filters.next().is_some() => Ok(true),
            AttachMode::Tcx => {
                let pin = datapath.map(|datapath| datapath.pins.link(kind.name(), &link.name));
                let pinned = pin.and_then(|pin| tcx::pinned_link(&pin));
                // Whatever runs by netpath's link goes when netpath's program is attached.
                let programs = tcx::programs(kind, link.ifindex.0)?.into_iter();
                let programs = programs.map(|(program, link)| match pinned == Some(link) {
                    true => ours.unwrap_or(program),
                    false => program,
                });
                let programs = programs.filter(|id| Some(*id) == ours || !others.contains(id));
                Ok(are_kept(kind, &programs.collect::<Vec<_>>(), ours))
            }
            // One in front has acted already. What is no program polices or redirects, and what then comes back is not
            // seen here again: it is told, as it is with TCX.
            AttachMode::Clsact => Ok(filters.any(|filter| {
                // Whatever stands in the place of netpath's own goes when that is attached.
                let is_in_its_place =
                    filter.priority == CLSACT_PRIORITY && filter.handle == CLSACT_NUMBER;
                !is_in_its_place
                    && (kind.hook() == Hook::Egress
                        || filter.priority >= CLSACT_PRIORITY
                        || filter.kind != "bpf")
            })),
        }
    }

    /// Attaches a program to an interface, behind those that are there. Returns whether it was not yet. Without TCX that takes a
    /// clsact qdisc; where one is made that is recorded as netpath's, there is none afterwards if it fails.
    ///
    /// # Errors
    /// When the interface does not exist, the kernel refuses, or somebody has made the qdisc that was to be netpath's.
    pub fn attach(
        &self,
        inside: &Inside<'_>,
        kind: ProgramKind,
        dev: &str,
    ) -> Result<bool, DatapathError> {
        match attach_mode()? {
            AttachMode::Tcx => self.attach_tcx(inside, kind, dev),
            AttachMode::Clsact if self.makes_clsact(dev)? => {
                self.attach_with_clsact(inside, kind, dev)
            }
            AttachMode::Clsact => {
                ensure_clsact(dev)?;
                self.attach_clsact(kind, dev)
            }
        }
    }

    /// Whether it is recorded that netpath makes the clsact qdisc of an interface that it did not make.
    fn makes_clsact(&self, dev: &str) -> Result<bool, DatapathError> {
        // An interface whose name fits into no record has none.
        let Some(name) = netpath_common::fixed(dev) else {
            return Ok(false);
        };
        let record = self.maps.uplink_records.get(&NameKey { name })?;
        Ok(record.is_some_and(|record| record.clsact_made != 0))
    }

    fn attach_tcx(
        &self,
        inside: &Inside<'_>,
        kind: ProgramKind,
        dev: &str,
    ) -> Result<bool, DatapathError> {
        let running = self.runs(inside, kind, dev)?;
        if running == Running::Held {
            return Ok(false);
        }
        // Somebody may have removed the directory with its links.
        self.pins.complete()?;
        if running == Running::Loose && self.hold(kind, dev)? {
            return Ok(true);
        }
        let path = self.pins.link(kind.name(), dev);
        // A pin without a program on the hook is the link of an earlier interface of that name.
        unpin(&path)?;
        let mut program = self.pinned(kind)?;
        let id = program
            .attach_with_options(
                dev,
                attach_type(kind),
                TcAttachOptions::TcxOrder(LinkOrder::default()),
            )
            .map_err(failed(kind, Some(dev)))?;
        let link = program.take_link(id).map_err(failed(kind, Some(dev)))?;
        let link = FdLink::try_from(link).map_err(|source| DatapathError::Link {
            path: path.clone(),
            source,
        })?;
        link.pin(&path)
            .map_err(|source| DatapathError::Pin { path, source })?;
        Ok(true)
    }

    /// To an interface that has a clsact qdisc.
    pub(super) fn attach_clsact(
        &self,
        kind: ProgramKind,
        dev: &str,
    ) -> Result<bool, DatapathError> {
        if replace_filter(&self.pins, kind, dev)? {
            return Ok(false);
        }
        let mut program = self.pinned(kind)?;
        let id = program
            .attach_with_options(
                dev,
                attach_type(kind),
                TcAttachOptions::Netlink(NlOptions {
                    priority: CLSACT_PRIORITY,
                    handle: CLSACT_HANDLE,
                    classid: None,
                }),
            )
            .map_err(failed(kind, Some(dev)))?;
        let link = program.take_link(id).map_err(failed(kind, Some(dev)))?;
        // The filter is to outlive this process; dropping the link would remove it.
        std::mem::forget(link);
        Ok(true)
    }

    /// Detaches a program from an interface. Returns whether it was attached. An interface that is gone
    /// has nothing attached.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn detach(
        &self,
        _inside: &Inside<'_>,
        kind: ProgramKind,
        dev: &str,
    ) -> Result<bool, DatapathError> {
        match attach_mode()? {
            AttachMode::Tcx => {
                let unpinned = unpin(&self.pins.link(kind.name(), dev))?;
                Ok(self.cut(kind, dev)? || unpinned)
            }
            AttachMode::Clsact => self.detach_clsact(kind, dev),
        }
    }

    fn detach_clsact(&self, kind: ProgramKind, dev: &str) -> Result<bool, DatapathError> {
        if is_somebodys(&self.pins, kind, dev)? {
            return Ok(false);
        }
        let Some(link) = filter(kind, dev)? else {
            return Ok(false);
        };
        use aya::programs::Link as _;
        match link.detach() {
            Ok(()) => Ok(true),
            Err(ProgramError::NetlinkError(error)) if is_no_filter(error.raw_os_error()) => {
                Ok(false)
            }
            Err(source) => Err(failed(kind, Some(dev))(source)),
        }
    }
}

/// Points every hook that has a program of this node at those that are pinned in a directory.
pub(super) fn point_hooks_at(pins: &Pins, maps: &Maps) -> Result<(), DatapathError> {
    match attach_mode()? {
        AttachMode::Tcx => update_links(pins),
        AttachMode::Clsact => update_filters(pins, maps),
    }
}

/// Pins the links of one directory in another, too: a link lives as long as any of its pins.
pub(super) fn pin_links_too(from: &Pins, to: &Pins) -> Result<(), DatapathError> {
    for (program, dev) in from.links()? {
        let path = from.link(&program, &dev);
        let link =
            PinnedLink::from_pin(&path).map_err(|source| DatapathError::Link { path, source })?;
        let path = to.link(&program, &dev);
        FdLink::from(link)
            .pin(&path)
            .map_err(|source| DatapathError::Pin { path, source })?;
    }
    Ok(())
}

fn link_pins(pins: &Pins) -> Result<Vec<(ProgramKind, String)>, DatapathError> {
    let pin = |(program, dev): (String, String)| match ProgramKind::from_name(&program) {
        Some(kind) => Ok((kind, dev)),
        None => Err(DatapathError::Foreign {
            path: pins.link(&program, &dev),
            problem: "it is no link of a program of netpath".to_owned(),
        }),
    };
    pins.links()?.into_iter().map(pin).collect()
}

/// Points every pinned link at the pinned programs.
fn update_links(pins: &Pins) -> Result<(), DatapathError> {
    for (kind, dev) in link_pins(pins)? {
        let path = pins.link(kind.name(), &dev);
        let link = |source| DatapathError::Link {
            path: path.clone(),
            source,
        };
        let pinned = PinnedLink::from_pin(&path).map_err(link)?;
        let tcx: SchedClassifierLink = FdLink::from(pinned).try_into().map_err(link)?;
        let mut program = pinned_program(pins, kind)?;
        match program.attach_to_link(tcx) {
            // The pin keeps the link; this handle of it may go.
            Ok(_) => {}
            // The link of an interface that is gone.
            Err(ProgramError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::ENOLINK) =>
            {
                unpin(&path)?;
            }
            Err(source) => return Err(failed(kind, Some(&dev))(source)),
        }
    }
    Ok(())
}

/// Puts the pinned programs into every filter of ours.
fn update_filters(pins: &Pins, maps: &Maps) -> Result<(), DatapathError> {
    let interfaces = maps.interfaces.all()?;
    inside(maps, || {
        for entry in interfaces.values() {
            let Some(dev) = netpath_common::text(&entry.name) else {
                continue;
            };
            for kind in of_interface(entry.kind) {
                replace_filter(pins, *kind, dev)?;
            }
        }
        Ok(())
    })
}

/// Whether no filter of netpath's stands in the place of a program's. A host-side veth is netpath's; on an uplink it may be
/// somebody else's.
fn is_somebodys(pins: &Pins, kind: ProgramKind, dev: &str) -> Result<bool, DatapathError> {
    let is_of_uplink = InterfaceKind::Uplink.programs().contains(&kind);
    Ok(is_of_uplink && !clsact::is_own_filter(pins, kind, dev)?)
}

/// Puts the pinned program into our filter in one step, if there is such a filter.
fn replace_filter(pins: &Pins, kind: ProgramKind, dev: &str) -> Result<bool, DatapathError> {
    if is_somebodys(pins, kind, dev)? {
        return Ok(false);
    }
    // First: what stands for a filter takes the filter away when it is dropped.
    let mut program = pinned_program(pins, kind)?;
    let Some(filter) = filter(kind, dev)? else {
        return Ok(false);
    };
    match program.attach_to_link(filter) {
        Ok(id) => {
            let link = program.take_link(id).map_err(failed(kind, Some(dev)))?;
            // The filter is to outlive this process.
            std::mem::forget(link);
            Ok(true)
        }
        Err(ProgramError::TcError(TcError::NetlinkError(error)))
            if is_no_filter(error.raw_os_error()) =>
        {
            Ok(false)
        }
        Err(source) => Err(failed(kind, Some(dev))(source)),
    }
}

/// Whether the kernel says that there is no such filter, or no clsact qdisc that could have one (`tc_new_tfilter`,
/// `tc_del_tfilter`), or no such interface.
fn is_no_filter(errno: Option<i32>) -> bool {
    matches!(errno, Some(libc::ENOENT | libc::EINVAL | libc::ENODEV))
}

/// The pinned programs for this kind's hook of all nodes that can be read. Several nodes may share an uplink, and what one
/// redirects is nothing of another's; and interfaces change names, so that what belongs on one runs on the other.
fn programs_of_nodes(kind: ProgramKind) -> Result<BTreeSet<u32>, DatapathError> {
    let id = |pins: &Pins, kind: ProgramKind| {
        let program = pinned_program(pins, kind).ok()?;
        program.info().ok().map(|info| info.id())
    };
    let mut ids = BTreeSet::new();
    for node in nodes()? {
        let pins = Pins::of(&node);
        let kinds = ProgramKind::ALL.into_iter();
        let kinds = kinds.filter(|other| other.hook() == kind.hook());
        ids.extend(kinds.filter_map(|kind| id(&pins, kind)));
    }
    Ok(ids)
}

fn pinned_program(pins: &Pins, kind: ProgramKind) -> Result<SchedClassifier, DatapathError> {
    SchedClassifier::from_pin(pins.program(kind.name())).map_err(failed(kind, None))
}

/// Our filter on an interface, whether or not it is there; none where the interface is not.
fn filter(kind: ProgramKind, dev: &str) -> Result<Option<SchedClassifierLink>, DatapathError> {
    let filter =
        SchedClassifierLink::attached(dev, attach_type(kind), CLSACT_PRIORITY, CLSACT_HANDLE, None);
    match filter {
        Ok(filter) => Ok(Some(filter)),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(source) => Err(DatapathError::Clsact {
            dev: dev.to_owned(),
            source: source.into(),
        }),
    }
}

/// The index in what /proc says of a link; `None` where it says none.
fn ifindex(info: &str) -> Option<u32> {
    let index = info
        .lines()
        .find_map(|line| line.strip_prefix("ifindex:"))?;
    index.trim().parse().ok()
}

pub(super) fn unpin(path: &std::path::Path) -> Result<bool, DatapathError> {
    // Opened first, so that the link is there until the pin is gone, and detached exactly then.
    let link = match PinnedLink::from_pin(path) {
        Ok(link) => link,
        Err(LinkError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            return Ok(false);
        }
        Err(source) => {
            return Err(DatapathError::Link {
                path: path.to_owned(),
                source,
            });
        }
    };
    fs::remove_file(path).map_err(file(path, "unpin"))?;
    drop(link);
    Ok(true)
}

fn failed(kind: ProgramKind, dev: Option<&str>) -> impl FnOnce(ProgramError) -> DatapathError {
    let dev = dev.map(str::to_owned);
    move |source| DatapathError::Program {
        program: kind.name(),
        dev,
        source,
    }
}
