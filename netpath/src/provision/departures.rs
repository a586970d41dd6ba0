//! Namespaces that were taken away, until the kernel has cleared them up.
//!
//! Taking away a name is the beginning. When the last user of a namespace is gone, a worker of the kernel's (`cleanup_net`)
//! tells those who know it by an id, and then takes its interfaces down, one batch of namespaces after the other.

use std::{
    collections::BTreeMap,
    fmt,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use super::{error::ProvisionError, unproven::Unproven};
use crate::{
    netlink::{NamespaceId, NamespacesGone, Netlink, NetlinkError},
    netns::{Holder, Inside, Netns, holders},
};

/// How long the kernel may take,
const PATIENCE: Duration = Duration::from_secs(10);
/// and how much longer for each namespace: with each veth that has programs it waits for two RCU grace periods
/// (`dev_tcx_uninstall`), one veth after the other.
const EACH: Duration = Duration::from_millis(100);
/// How often to look whether somebody holds what does not go.
const LOOK: Duration = Duration::from_secs(1);

/// What is still there of what was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// A namespace without a name lives on.
    Namespace {
        /// What its name was.
        name: String,
        /// Who keeps it alive, as far as /proc shows.
        holders: Vec<Holder>,
    },
    /// What no record proves to be netpath's any more was left alone.
    Unproven(Unproven),
    /// The kernel has begun to clear up, and has not finished after so long.
    Unfinished(Duration),
}

impl fmt::Display for Remaining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace { name, holders } => {
                write!(
                    f,
                    "namespace {name} was removed, but lives on with what is in it: "
                )?;
                let Some((first, others)) = holders.split_first() else {
                    return write!(
                        f,
                        "the kernel has not got to it yet, or a socket or another mount namespace holds it"
                    );
                };
                write!(f, "{first}")?;
                others.iter().try_for_each(|other| write!(f, ", {other}"))
            }
            Self::Unproven(unproven) => write!(f, "{unproven}"),
            Self::Unfinished(time) => write!(
                f,
                "the kernel is still clearing up the namespaces that were removed, after {} seconds",
                time.as_secs()
            ),
        }
    }
}

/// One that is going.
struct Going {
    name: String,
    inode: u64,
}

/// Namespaces that are being taken away.
pub struct Departures {
    netlink: Netlink,
    gone: NamespacesGone,
    going: BTreeMap<NamespaceId, Going>,
    /// One of our own, to end after the others. It is made before: while the kernel takes interfaces down nobody can make
    /// one.
    last: Option<Netns>,
}

impl Departures {
    /// None yet. They are watched from the calling thread's namespace.
    pub fn new() -> Result<Self, ProvisionError> {
        let inside = Inside::current();
        Ok(Self {
            gone: NamespacesGone::open(&inside)?,
            netlink: Netlink::open(&inside)?,
            going: BTreeMap::new(),
            last: None,
        })
    }

    /// Watches one whose name is about to be taken away.
    pub fn add(&mut self, netns: &Netns) -> Result<(), ProvisionError> {
        if self.last.is_none() {
            self.last = Some(Netns::unnamed()?);
        }
        self.watch(netns)
    }

    fn watch(&mut self, netns: &Netns) -> Result<(), ProvisionError> {
        let going = Going {
            name: netns.name().to_owned(),
            inode: netns.inode()?,
        };
        let id = self.netlink.name_namespace(netns.as_fd())?;
        // What has been heard so far is of another one that had the id before.
        while self.hear(Instant::now())? {}
        self.going.insert(id, going);
        Ok(())
    }

    /// Waits until the kernel is done with all of them, but not for ever, and says what is left.
    pub fn wait(mut self) -> Result<Vec<Remaining>, ProvisionError> {
        let Some(last) = self.last.take() else {
            return Ok(Vec::new());
        };
        let count = u32::try_from(self.going.len()).unwrap_or(u32::MAX);
        let time = PATIENCE.saturating_add(EACH.saturating_mul(count));
        let end = Instant::now() + time;
        let mut remaining = self.begun(end)?;
        if !self.finished(last, end)? {
            remaining.push(Remaining::Unfinished(time));
        }
        Ok(remaining)
    }

    /// Waits until the kernel has begun with all of them; not for one that somebody holds.
    fn begun(&mut self, end: Instant) -> Result<Vec<Remaining>, ProvisionError> {
        loop {
            let look = end.min(Instant::now() + LOOK);
            while !self.going.is_empty() && Instant::now() < look {
                self.hear(look)?;
            }
            if self.going.is_empty() {
                return Ok(Vec::new());
            }
            let inodes: Vec<u64> = self.going.values().map(|going| going.inode).collect();
            let mut found = holders(&inodes);
            // Another netpath looks at all nodes, and lets go.
            let passing = found.values().flatten().any(Holder::is_netpath);
            let is_held = found.len() == inodes.len() && !passing;
            if is_held || Instant::now() >= end {
                let going = std::mem::take(&mut self.going);
                let remaining = going.into_values().map(|going| Remaining::Namespace {
                    holders: found.remove(&going.inode).unwrap_or_default(),
                    name: going.name,
                });
                return Ok(remaining.collect());
            }
        }
    }

    /// Waits until the kernel has finished with those that it has begun with: only then it begins with another one.
    fn finished(&mut self, last: Netns, end: Instant) -> Result<bool, ProvisionError> {
        self.watch(&last)?;
        drop(last);
        while !self.going.is_empty() && Instant::now() < end {
            self.hear(end)?;
        }
        Ok(self.going.is_empty())
    }

    /// Hears of some that the kernel has begun with; waits until then. Returns whether anything was heard.
    fn hear(&mut self, until: Instant) -> Result<bool, ProvisionError> {
        match self.gone.next(until) {
            Ok(None) => return Ok(false),
            Ok(Some(gone)) => {
                for id in gone {
                    self.going.remove(&id);
                }
            }
            // Some were not heard of: those that have no id any more are gone.
            Err(NetlinkError::Overrun { .. }) => {
                let left = self.netlink.namespace_ids()?;
                self.going.retain(|id, _| left.contains(id));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }
}
