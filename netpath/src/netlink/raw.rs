//! Messages of any netlink protocol, by their bytes, and a socket for protocols other than rtnetlink.

use std::convert::Infallible;

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_XFRM};

use super::{
    NetlinkError,
    channel::{About, Channel},
};
use crate::netns::Inside;

/// A message: its type, and what follows its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raw {
    pub kind: u16,
    pub payload: Vec<u8>,
}

impl Raw {
    /// That message, so that its answer is read raw too.
    pub fn of(message: &impl NetlinkSerializable) -> Self {
        let mut payload = vec![0; message.buffer_len()];
        message.serialize(&mut payload);
        Self {
            kind: message.message_type(),
            payload,
        }
    }
}

impl NetlinkSerializable for Raw {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.payload.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.payload);
    }
}

impl NetlinkDeserializable for Raw {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self {
            kind: header.message_type,
            payload: payload.to_vec(),
        })
    }
}

/// A netlink protocol besides rtnetlink.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    Xfrm,
    Netfilter,
}

/// A socket of such a protocol, in the namespace where it was opened.
pub(crate) struct RawNetlink {
    channel: Channel,
}

impl RawNetlink {
    /// Opens a socket in the calling thread's namespace; `None` where the kernel does not have the protocol, also after
    /// it has looked for a module.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn open(_inside: &Inside<'_>, protocol: Protocol) -> Result<Option<Self>, NetlinkError> {
        let number = match protocol {
            Protocol::Xfrm => NETLINK_XFRM,
            Protocol::Netfilter => NETLINK_NETFILTER,
        };
        match Channel::open(number) {
            Ok(channel) => Ok(Some(Self { channel })),
            Err(NetlinkError::Socket { source, .. })
                if source.raw_os_error() == Some(libc::EPROTONOSUPPORT) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Lists something, all of it or none. `decode` makes an item of each message, or says that it is not one of those
    /// wanted.
    ///
    /// # Errors
    /// When the kernel refuses, does not answer in time, or a message makes no sense.
    pub fn list<T>(
        &self,
        object: &str,
        request: &Raw,
        decode: impl Fn(&Raw) -> Result<Option<T>, String>,
    ) -> Result<Vec<T>, NetlinkError> {
        let action = "list";
        let about = About { action, object };
        self.channel
            .dump(about, request, |message: Raw| decode(&message))
    }

    /// Asks for one thing. `decode` finds it in the answer.
    ///
    /// # Errors
    /// As [`RawNetlink::list`]; also when the answer does not hold it.
    pub fn get<T>(
        &self,
        object: &str,
        request: Raw,
        decode: impl Fn(&Raw) -> Result<Option<T>, String>,
    ) -> Result<T, NetlinkError> {
        let action = "read";
        let about = About { action, object };
        let answer = self.channel.ask(about, request, 0)?;
        let found = answer
            .iter()
            .find_map(|message| decode(message).transpose());
        found
            .unwrap_or_else(|| Err("it is not in the answer".to_owned()))
            .map_err(|problem| about.undecoded(problem))
    }
}
