//! Ids of namespaces: by what one namespace knows another, and how it hears that another is gone.

use std::{
    collections::BTreeSet,
    os::fd::{AsRawFd as _, BorrowedFd},
    time::Instant,
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    nsid::{NsidAttribute, NsidMessage},
};

use super::{
    Netlink, NetlinkError,
    channel::{About, Channel},
};
use crate::netns::Inside;

/// `RTNLGRP_NSID` of linux/rtnetlink.h.
const GROUP: u32 = 28;

/// The id by which a namespace knows another one. It is given out again when that one is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamespaceId(i32);

impl NamespaceId {
    fn of(attributes: &[NsidAttribute]) -> Result<Option<Self>, String> {
        let id = attributes.iter().find_map(|attribute| match attribute {
            NsidAttribute::Id(id) => Some(*id),
            _ => None,
        });
        match id {
            Some(id) => Ok((id >= 0).then_some(Self(id))),
            None => Err("it holds no id".to_owned()),
        }
    }

    pub(super) fn from_number(id: i32) -> Option<Self> {
        (id >= 0).then_some(Self(id))
    }
}

impl Netlink {
    /// The id of another namespace in the socket's own; `None` where it has none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn namespace_id(&self, netns: BorrowedFd<'_>) -> Result<Option<NamespaceId>, NetlinkError> {
        let about = About {
            action: "find the id of",
            object: "a namespace",
        };
        let mut message = NsidMessage::default();
        message.attributes = vec![fd(netns)?];
        let answer = self
            .channel
            .ask(about, RouteNetlinkMessage::GetNsId(message), 0)?;
        let found = answer.into_iter().find_map(|message| match message {
            RouteNetlinkMessage::NewNsId(message) => Some(NamespaceId::of(&message.attributes)),
            _ => None,
        });
        found
            .unwrap_or_else(|| Err("it holds no id".to_owned()))
            .map_err(|problem| about.undecoded(problem))
    }

    /// Gives another namespace an id in the socket's own, unless it has one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn name_namespace(&self, netns: BorrowedFd<'_>) -> Result<NamespaceId, NetlinkError> {
        if let Some(id) = self.namespace_id(netns)? {
            return Ok(id);
        }
        let about = About {
            action: "give an id to",
            object: "a namespace",
        };
        let mut message = NsidMessage::default();
        // Any that is free.
        message.attributes = vec![fd(netns)?, NsidAttribute::Id(-1)];
        let request = RouteNetlinkMessage::NewNsId(message);
        match self.channel.request(about, request, 0) {
            // An interface with its other end there was looked at meanwhile.
            Err(error) if error.errno() == Some(libc::EEXIST) => {}
            result => result?,
        }
        self.namespace_id(netns)?
            .ok_or_else(|| about.undecoded("it has none all the same"))
    }

    /// The ids of all namespaces that the socket's own knows.
    ///
    /// # Errors
    /// When they cannot be listed, all of them.
    pub fn namespace_ids(&self) -> Result<BTreeSet<NamespaceId>, NetlinkError> {
        let about = About {
            action: "list",
            object: "ids of namespaces",
        };
        let request = RouteNetlinkMessage::GetNsId(NsidMessage::default());
        let ids = self
            .channel
            .dump(about, &request, |message| match message {
                RouteNetlinkMessage::NewNsId(message) => NamespaceId::of(&message.attributes),
                _ => Ok(None),
            })?;
        Ok(ids.into_iter().collect())
    }
}

fn fd(netns: BorrowedFd<'_>) -> Result<NsidAttribute, NetlinkError> {
    let number = u32::try_from(netns.as_raw_fd()).map_err(|_| NetlinkError::Socket {
        step: "take the number of a namespace's file",
        source: std::io::ErrorKind::InvalidInput.into(),
    })?;
    Ok(NsidAttribute::Fd(number))
}

/// Hears of each namespace with an id in the calling thread's own when the kernel begins to clear it up, which it does
/// when its last user is gone.
pub struct NamespacesGone {
    channel: Channel,
}

impl NamespacesGone {
    /// From now on.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn open(_inside: &Inside<'_>) -> Result<Self, NetlinkError> {
        Ok(Self {
            channel: Channel::subscribe(GROUP)?,
        })
    }

    /// The next of which is heard; waits until then. `None` if nothing was heard.
    ///
    /// # Errors
    /// [`NetlinkError::Overrun`] where some were lost: [`Netlink::namespace_ids`] tells which are left.
    pub fn next(&self, until: Instant) -> Result<Option<Vec<NamespaceId>>, NetlinkError> {
        let about = About {
            action: "hear of",
            object: "namespaces that go",
        };
        let Some(heard) = self.channel.hear(about, until)? else {
            return Ok(None);
        };
        let mut gone = Vec::new();
        for message in heard {
            if let RouteNetlinkMessage::DelNsId(message) = message {
                let id = NamespaceId::of(&message.attributes);
                gone.extend(id.map_err(|problem| about.undecoded(problem))?);
            }
        }
        Ok(Some(gone))
    }
}
