//! The clsact qdisc of an uplink that is the machine's own, on kernels without TCX: made where there is none, and taken away
//! with netpath's filters where nobody else has put any there. Everything here acts in the calling thread's network
//! namespace.

use std::collections::BTreeSet;

use aya::programs::tc::{TcError, qdisc_add_clsact};
use netpath_common::{CLSACT_PRIORITY, Hook, ProgramKind};

use super::{
    AttachMode, Datapath,
    attach::CLSACT_NUMBER,
    attach_mode,
    error::{DatapathError, and_then},
    mend,
    pins::Pins,
};
use crate::{
    netlink::{Filter, FilterProgram, Link, Netlink, QdiscParent},
    netns::Inside,
};

/// Both sides of a clsact qdisc.
const HOOKS: [Hook; 2] = [Hook::Ingress, Hook::Egress];

/// What is in the place of an interface's clsact qdisc.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clsact {
    /// Somebody else's filters are in it, or in a block that it shares.
    pub has_others: bool,
    /// The side where another stands in the place of netpath's filter; the first, if both.
    pub taken: Option<Hook>,
}

impl Clsact {
    /// Of an interface; `None` where it has no such qdisc, or where programs are attached by links.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn of(
        _inside: &Inside<'_>,
        netlink: &Netlink,
        datapath: Option<&Datapath>,
        link: &Link,
    ) -> Result<Option<Self>, DatapathError> {
        if attach_mode()? == AttachMode::Tcx {
            return Ok(None);
        }
        let qdiscs = netlink.qdiscs()?;
        let mut qdiscs = qdiscs.iter().filter(|it| it.ifindex == link.ifindex);
        let Some(qdisc) = qdiscs.find(|it| it.parent == QdiscParent::Ingress) else {
            return Ok(None);
        };
        let ours = own_programs(datapath)?;
        let mut found = Self {
            has_others: qdisc.kind != "clsact"
                || qdisc.ingress_block.is_some()
                || qdisc.egress_block.is_some(),
            taken: None,
        };
        for hook in HOOKS {
            for filter in netlink.filters(link, hook)? {
                if !is_one_of(&filter, &ours) {
                    found.has_others = true;
                    let is_there = filter.priority == CLSACT_PRIORITY;
                    found.taken = found.taken.or(is_there.then_some(hook));
                }
            }
        }
        Ok(Some(found))
    }
}

/// The kernel's numbers for a node's programs; none of a node that is yet to be made.
fn own_programs(datapath: Option<&Datapath>) -> Result<BTreeSet<u32>, DatapathError> {
    let own = datapath.into_iter().flat_map(|datapath| {
        let id = |kind| datapath.program_id(kind);
        ProgramKind::ALL.into_iter().map(id)
    });
    own.collect()
}

fn is_one_of(filter: &Filter, ours: &BTreeSet<u32>) -> bool {
    filter
        .program
        .is_some_and(|program| ours.contains(&program))
}

impl Datapath {
    /// Attaches a program to an interface that has no clsact qdisc, and makes one. If that fails there is none.
    pub(super) fn attach_with_clsact(
        &self,
        inside: &Inside<'_>,
        kind: ProgramKind,
        dev: &str,
    ) -> Result<bool, DatapathError> {
        match qdisc_add_clsact(dev) {
            Ok(()) => {}
            Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {
                // With netpath's filters in it, it is the one that was made before.
                return match self.has_filters(inside, dev)? {
                    true => self.attach_clsact(kind, dev),
                    false => Err(DatapathError::QdiscMadeMeanwhile {
                        dev: dev.to_owned(),
                    }),
                };
            }
            Err(source) => {
                return Err(DatapathError::Clsact {
                    dev: dev.to_owned(),
                    source,
                });
            }
        }
        self.attach_clsact(kind, dev)
            .map_err(|cause| and_then(cause, self.remove_empty_clsact(inside, dev).map(drop)))
    }

    fn has_filters(&self, inside: &Inside<'_>, dev: &str) -> Result<bool, DatapathError> {
        let (netlink, ours) = (Netlink::open(inside)?, own_programs(Some(self))?);
        let Some(link) = netlink.link(dev)? else {
            return Ok(false);
        };
        for hook in HOOKS {
            let filters = netlink.filters(&link, hook)?;
            if filters.iter().any(|filter| is_one_of(filter, &ours)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes netpath's programs off an interface, and the clsact qdisc that netpath made with them. It stays where somebody
    /// else's filters are in it, also where they came a moment ago.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_clsact(
        &self,
        inside: &Inside<'_>,
        kinds: &[ProgramKind],
        dev: &str,
    ) -> Result<(), DatapathError> {
        if self.remove_empty_clsact(inside, dev)? {
            return Ok(());
        }
        for kind in kinds {
            self.detach(inside, *kind, dev)?;
        }
        Ok(())
    }

    /// Removes a clsact qdisc that no filter but netpath's is in, in one step with them. Returns whether it is gone.
    fn remove_empty_clsact(&self, inside: &Inside<'_>, dev: &str) -> Result<bool, DatapathError> {
        let netlink = Netlink::open(inside)?;
        let Some(link) = netlink.link(dev)? else {
            return Ok(true);
        };
        let datapath = Some(self);
        let found = Clsact::of(inside, &netlink, datapath, &link)?;
        match found {
            None => Ok(true),
            Some(found) if found.has_others => Ok(false),
            Some(_) => {
                netlink.remove_clsact(&link)?;
                Ok(true)
            }
        }
    }
}

/// Whether the filter in netpath's place runs a program that counts in this directory's `hops`: an older one of the node's does
/// as well as one that is yet to be attached.
pub(super) fn is_own_filter(
    pins: &Pins,
    kind: ProgramKind,
    dev: &str,
) -> Result<bool, DatapathError> {
    let netlink = Netlink::open(&Inside::current())?;
    let Some(link) = netlink.link(dev)? else {
        return Ok(false);
    };
    let filters = netlink.filter_programs(&link, kind.hook())?;
    // Others may stand at the same preference, each with a handle of its own.
    let is_it = |it: &&FilterProgram| it.priority == CLSACT_PRIORITY && it.handle == CLSACT_NUMBER;
    let Some(filter) = filters.iter().find(is_it) else {
        return Ok(false);
    };
    mend::counts_in(pins, filter.program)
}

/// Makes a clsact qdisc unless there is one.
pub(super) fn ensure_clsact(dev: &str) -> Result<(), DatapathError> {
    match qdisc_add_clsact(dev) {
        Ok(()) => Ok(()),
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        Err(source) => Err(DatapathError::Clsact {
            dev: dev.to_owned(),
            source,
        }),
    }
}
