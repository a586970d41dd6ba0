//! A netlink socket and the exchange of messages over it: one request at a time, each with its whole answer.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlasIterator, ParseableParametrized as _,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::NetlinkError;

/// How long to wait for an answer, or for the next part of a long one. The kernel works on a request while it is being
/// sent, and has answered when it is: only what is out of order takes longer than no time.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to list anew what has changed while it was being listed.
const ATTEMPTS: u32 = 10;
/// The most that the kernel puts into one datagram of a dump, in bytes (`netlink_recvmsg`).
const DATAGRAM: usize = 32 * 1024;

// Message types and flags of linux/netlink.h.
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`: the kernel's words about an error.
const ERROR_MESSAGE: u16 = 1;
/// Length of `struct nlmsghdr` in bytes; messages begin at multiples of [`ALIGN`].
const HEADER: usize = 16;
const ALIGN: usize = 4;

/// What a request is about, for its errors.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub action: &'static str,
    pub object: &'a str,
}

impl About<'_> {
    fn transport(self, source: io::Error) -> NetlinkError {
        NetlinkError::Transport {
            action: self.action,
            object: self.object.to_owned(),
            source,
        }
    }

    pub fn undecoded(self, problem: impl ToString) -> NetlinkError {
        NetlinkError::Undecoded {
            action: self.action,
            object: self.object.to_owned(),
            problem: problem.to_string(),
        }
    }

    fn overrun(self) -> NetlinkError {
        NetlinkError::Overrun {
            action: self.action,
            object: self.object.to_owned(),
        }
    }
}

/// What a channel carries: messages of one netlink protocol, or [`Raw`](super::raw::Raw) ones of any.
pub(super) trait Message: NetlinkSerializable + NetlinkDeserializable + Clone {}

impl<M: NetlinkSerializable + NetlinkDeserializable + Clone> Message for M {}

/// How the answer to a request ended.
enum End {
    /// With all of it.
    Complete,
    /// With all of it, but what was listed changed meanwhile.
    Changed,
}

pub(super) struct Channel {
    socket: Socket,
    /// Of the last request.
    sequence: Cell<u32>,
    buffer: RefCell<Vec<u8>>,
    patience: Duration,
}

impl Channel {
    /// Opens a socket of a protocol (`NETLINK_*` of linux/netlink.h) in the calling thread's namespace.
    pub fn open(protocol: isize) -> Result<Self, NetlinkError> {
        let step = |step| move |source| NetlinkError::Socket { step, source };
        let mut socket = Socket::new(protocol).map_err(step("open"))?;
        socket.bind_auto().map_err(step("bind"))?;
        // From then on nobody but the kernel can send to it.
        socket
            .connect(&SocketAddr::new(0, 0))
            .map_err(step("connect"))?;
        socket.set_ext_ack(true).map_err(step("NETLINK_EXT_ACK"))?;
        // An error repeats no more than the head of the request, behind which the kernel's words are.
        socket.set_cap_ack(true).map_err(step("NETLINK_CAP_ACK"))?;
        // Otherwise the kernel lists everything whatever is asked for.
        socket
            .set_netlink_get_strict_chk(true)
            .map_err(step("NETLINK_GET_STRICT_CHK"))?;
        Ok(Self::over(socket, PATIENCE))
    }

    /// Hears what the kernel tells a multicast group (`RTNLGRP_*` of linux/rtnetlink.h) of the calling thread's namespace
    /// from now on.
    pub fn subscribe(group: u32) -> Result<Self, NetlinkError> {
        let channel = Self::open(NETLINK_ROUTE)?;
        let step = |source| NetlinkError::Socket {
            step: "NETLINK_ADD_MEMBERSHIP",
            source,
        };
        channel.socket.add_membership(group).map_err(step)?;
        Ok(channel)
    }

    /// The next that the group was told; waits for something until then. `None` if there was nothing.
    pub fn hear(
        &self,
        about: About<'_>,
        until: Instant,
    ) -> Result<Option<Vec<RouteNetlinkMessage>>, NetlinkError> {
        let mut buffer = self.buffer.borrow_mut();
        let length = match self.datagram(about, &mut buffer, until) {
            Err(NetlinkError::Timeout { .. }) => return Ok(None),
            length => length?,
        };
        messages(&buffer[..length])
            .map(|message| {
                let message = message?;
                RouteNetlinkMessage::parse_with_param(message.payload(), message.message_type())
                    .map_err(|error| error.to_string())
            })
            .collect::<Result<_, _>>()
            .map(Some)
            .map_err(|problem| about.undecoded(problem))
    }

    /// Over a connected socket, whoever is at its other end.
    pub fn over(socket: Socket, patience: Duration) -> Self {
        Self {
            socket,
            sequence: Cell::new(0),
            buffer: RefCell::new(vec![0; DATAGRAM]),
            patience,
        }
    }

    /// Sends a request and waits until the kernel has said that it is done.
    pub fn request(
        &self,
        about: About<'_>,
        message: impl Message,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.ask(about, message, flags).map(drop)
    }

    /// As [`Channel::request`]; returns what the kernel answered before that.
    pub fn ask<M: Message>(
        &self,
        about: About<'_>,
        message: M,
        flags: u16,
    ) -> Result<Vec<M>, NetlinkError> {
        let sequence = self.send(about, message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        let mut answer = Vec::new();
        self.receive(about, sequence, NLMSG_ERROR, &mut |message| {
            answer.push(message);
            Ok(())
        })?;
        Ok(answer)
    }

    /// Lists something, all of it or none. `decode` makes an item of each message, or says that it is not one of those
    /// wanted.
    pub fn dump<M: Message, T>(
        &self,
        about: About<'_>,
        message: &M,
        decode: impl Fn(M) -> Result<Option<T>, String>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..ATTEMPTS {
            let sequence = self.send(about, message.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            let mut items = Vec::new();
            let end = self.receive(about, sequence, NLMSG_DONE, &mut |message| {
                items.extend(decode(message)?);
                Ok(())
            })?;
            match end {
                End::Complete => return Ok(items),
                End::Changed => {}
            }
        }
        Err(NetlinkError::Interrupted {
            action: about.action,
            object: about.object.to_owned(),
            attempts: ATTEMPTS,
        })
    }

    fn send(
        &self,
        about: About<'_>,
        message: impl Message,
        flags: u16,
    ) -> Result<u32, NetlinkError> {
        tracing::trace!("netlink: {} {}", about.action, about.object);
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let mut message = NetlinkMessage::new(
            NetlinkHeader::default(),
            NetlinkPayload::InnerMessage(message),
        );
        message.header.flags = flags;
        message.header.sequence_number = sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        loop {
            match self.socket.send(&bytes, 0) {
                Ok(_) => return Ok(sequence),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(about.transport(error)),
            }
        }
    }

    /// Reads the answer to a request up to the message that ends it. A message that cannot be decoded fails the request,
    /// but the answer is read to its end, so that the next one finds the socket empty.
    fn receive<M: Message>(
        &self,
        about: About<'_>,
        sequence: u32,
        last: u16,
        item: &mut dyn FnMut(M) -> Result<(), String>,
    ) -> Result<End, NetlinkError> {
        let mut changed = false;
        let mut failed = None;
        loop {
            let mut buffer = self.buffer.borrow_mut();
            let until = Instant::now() + self.patience;
            let length = match self.datagram(about, &mut buffer, until) {
                // Part of the list is lost; the rest of it follows. An acknowledgement would not be repeated.
                Err(NetlinkError::Overrun { .. }) if last == NLMSG_DONE => {
                    changed = true;
                    continue;
                }
                length => length?,
            };
            for message in messages(&buffer[..length]) {
                let message = message.map_err(|problem| about.undecoded(problem))?;
                if message.sequence_number() != sequence {
                    // The answer to an earlier request, which nobody waits for any more.
                    continue;
                }
                changed |= message.flags() & NLM_F_DUMP_INTR != 0;
                match message.message_type() {
                    NLMSG_NOOP => {}
                    NLMSG_OVERRUN => return Err(about.overrun()),
                    kind @ (NLMSG_ERROR | NLMSG_DONE) => {
                        outcome(about, &message)?;
                        if kind != last {
                            let problem = format!("message type {kind} ends it");
                            return Err(about.undecoded(problem));
                        }
                        return match failed {
                            Some(problem) => Err(about.undecoded(problem)),
                            None if changed => Ok(End::Changed),
                            None => Ok(End::Complete),
                        };
                    }
                    kind => {
                        let mut header = NetlinkHeader::default();
                        header.message_type = kind;
                        let decoded = M::deserialize(&header, message.payload())
                            .map_err(|error| error.to_string())
                            .and_then(&mut *item);
                        if let Err(problem) = decoded {
                            failed.get_or_insert(problem);
                        }
                    }
                }
            }
        }
    }

    /// Waits for one datagram until then and returns its length.
    fn datagram(
        &self,
        about: About<'_>,
        buffer: &mut Vec<u8>,
        until: Instant,
    ) -> Result<usize, NetlinkError> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, timeout) {
                Ok(0) if left.is_zero() => {
                    return Err(NetlinkError::Timeout {
                        action: about.action,
                        object: about.object.to_owned(),
                        limit: self.patience,
                    });
                }
                // Waiting ends a little early where the rest is less than a millisecond.
                Ok(0) | Err(nix::Error::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(about.transport(errno.into())),
            }
            // Asked for its length first: what does not fit is cut off.
            match self.take(buffer, libc::MSG_PEEK | libc::MSG_TRUNC) {
                Ok(length) if length > buffer.len() => buffer.resize(length, 0),
                Ok(_) => {}
                Err(error) if again(&error) => continue,
                Err(error) => return Err(lost(about, error)),
            }
            match self.take(buffer, 0) {
                Ok(0) => return Err(about.transport(io::ErrorKind::UnexpectedEof.into())),
                Ok(length) => return Ok(length),
                Err(error) if again(&error) => {}
                Err(error) => return Err(lost(about, error)),
            }
        }
    }

    fn take(&self, buffer: &mut [u8], flags: i32) -> io::Result<usize> {
        let mut room = &mut *buffer;
        self.socket.recv(&mut room, flags | libc::MSG_DONTWAIT)
    }
}

fn again(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn lost(about: About<'_>, error: io::Error) -> NetlinkError {
    match error.raw_os_error() {
        Some(libc::ENOBUFS) => about.overrun(),
        _ => about.transport(error),
    }
}

/// The messages of a datagram.
fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<NetlinkBuffer<&[u8]>, String>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let message = match NetlinkBuffer::new_checked(rest) {
            Ok(message) => message,
            Err(error) => {
                rest = &[];
                return Some(Err(error.to_string()));
            }
        };
        let length = (message.length() as usize).next_multiple_of(ALIGN);
        rest = rest.get(length..).unwrap_or_default();
        Some(Ok(message))
    })
}

/// What the last message of an answer says.
fn outcome(about: About<'_>, message: &NetlinkBuffer<&[u8]>) -> Result<(), NetlinkError> {
    let payload = message.payload();
    // Linux ends some lists with an empty message.
    let Some((code, rest)) = payload.split_first_chunk() else {
        return if payload.is_empty() && message.message_type() == NLMSG_DONE {
            Ok(())
        } else {
            Err(about.undecoded("its last message is cut off"))
        };
    };
    let code = i32::from_ne_bytes(*code);
    if code >= 0 {
        return Ok(());
    }
    // Behind the head of the request, if it is an error; behind the code, if it is the end of a list.
    let attributes = match message.message_type() {
        NLMSG_ERROR => rest.get(HEADER..).unwrap_or_default(),
        _ => rest,
    };
    let words = (message.flags() & NLM_F_ACK_TLVS != 0)
        .then(|| words(attributes))
        .flatten();
    Err(NetlinkError::Refused {
        action: about.action,
        object: about.object.to_owned(),
        errno: code.saturating_neg(),
        message: words,
    })
}

/// The kernel's words among the attributes of an error, which are no more than a help.
fn words(attributes: &[u8]) -> Option<String> {
    NlasIterator::new(attributes)
        .map_while(Result::ok)
        .find(|attribute| attribute.kind() == ERROR_MESSAGE)
        .map(|attribute| {
            let text = String::from_utf8_lossy(attribute.value());
            text.trim_end_matches('\0').to_owned()
        })
}
