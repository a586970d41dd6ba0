//! What the kernel is asked on the way: routes and settings.

use netpath_common::Ifindex;

use super::KernelWayError;
use crate::{
    netfilter::{RuleTexts, nft::ChainId},
    netlink::{Lookup, Netlink, NoWay, Resolved},
    netns::Inside,
    sysctl,
};

/// Answers of a namespace's kernel. In tests they come from a table.
pub trait Kernel {
    /// The way that it would choose for a packet.
    ///
    /// # Errors
    /// When it does not say.
    fn resolve(&self, lookup: &Lookup) -> Result<Result<Resolved, NoWay>, KernelWayError>;

    /// A number below /proc/sys/net; `None` where there is no such setting.
    ///
    /// # Errors
    /// When it cannot be read, or is no number.
    fn setting(&self, key: &str) -> Result<Option<i64>, KernelWayError>;

    /// A rule in the words of whom it was written with, by its number in its chain and its handle; `None` where nobody can
    /// be asked.
    fn rule(&self, _chain: &ChainId, _number: usize, _handle: u64) -> Option<String> {
        None
    }
}

/// The kernel of the calling thread's namespace.
pub struct Live<'a> {
    netlink: Netlink,
    inside: &'a Inside<'a>,
    texts: RuleTexts<'a>,
}

impl<'a> Live<'a> {
    /// Opens a socket in it.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn open(inside: &'a Inside<'a>) -> Result<Self, KernelWayError> {
        let netlink = Netlink::open(inside)?;
        Ok(Self {
            netlink,
            inside,
            texts: RuleTexts::new(inside),
        })
    }
}

impl Kernel for Live<'_> {
    fn resolve(&self, lookup: &Lookup) -> Result<Result<Resolved, NoWay>, KernelWayError> {
        Ok(self.netlink.resolve(lookup)?)
    }

    fn setting(&self, key: &str) -> Result<Option<i64>, KernelWayError> {
        match sysctl::get(self.inside, key) {
            Ok(text) => {
                let number = text.parse();
                number.map(Some).map_err(|_| KernelWayError::NoNumber {
                    key: key.to_owned(),
                    text,
                })
            }
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn rule(&self, chain: &ChainId, number: usize, handle: u64) -> Option<String> {
        self.texts.of(chain, number, handle)
    }
}

/// The loopback device has this index in every namespace.
pub(super) const LOOPBACK: Ifindex = Ifindex(1);
