//! Taking all of a namespace's packet filter away again, over nfnetlink (linux/netfilter/nfnetlink.h,
//! nf_tables.h, nfnetlink_conntrack.h). `nft flush ruleset` and `conntrack -F` send the same; neither has to
//! be installed for a path that has no rules.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use netpath::{netfilter, netns::Netns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::error::{BenchError, system};

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const IPCTNL_MSG_CT_DELETE: u16 = 2;
const NFT_MSG_DELTABLE: u16 = 2;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
/// Size of nlmsghdr and of nfgenmsg, in bytes.
const NLMSGHDR: usize = 16;
const NFGENMSG: usize = 4;

/// Deletes every nf_tables table, those of iptables-nft included, and with them the hooks of their chains and
/// of connection tracking.
pub(super) fn flush_tables(netns: &Netns) -> Result<(), BenchError> {
    let mut batch = message(NFNL_MSG_BATCH_BEGIN, 0, NFNL_SUBSYS_NFTABLES);
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    // A table without a name and a family: all of them.
    batch.extend(message(
        NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE,
        flags,
        0,
    ));
    batch.extend(message(NFNL_MSG_BATCH_END, 0, NFNL_SUBSYS_NFTABLES));
    request(netns, &batch, "delete all tables")
}

/// Forgets every connection. What no chain asks for is not tracked, so that none appears again.
pub(super) fn flush_connections(netns: &Netns) -> Result<(), BenchError> {
    if connections(netns)? == 0 {
        return Ok(());
    }
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let message = message(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, flags, 0);
    request(netns, &message, "forget all connections")
}

/// Connections that are tracked in a namespace.
pub(super) fn connections(netns: &Netns) -> Result<u64, BenchError> {
    Ok(netns.run(netfilter::connections)??)
}

/// An nlmsghdr and an nfgenmsg of the unspecified family.
fn message(kind: u16, flags: u16, resource: u16) -> Vec<u8> {
    let length = (NLMSGHDR + NFGENMSG) as u32;
    let flags = flags | libc::NLM_F_REQUEST as u16;
    let mut bytes = Vec::with_capacity(NLMSGHDR + NFGENMSG);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Sequence number and port.
    bytes.extend([0; 8]);
    bytes.extend([libc::AF_UNSPEC as u8, libc::NFNETLINK_V0 as u8]);
    bytes.extend(resource.to_be_bytes());
    bytes
}

/// Sends messages of which one asks for an answer, and takes it.
fn request(netns: &Netns, messages: &[u8], what: &str) -> Result<(), BenchError> {
    let failed = |source| system(format!("{what} in {}", netns.name()), source);
    let answer = netns.run(|| {
        let socket = open()?;
        send(socket.as_raw_fd(), messages, MsgFlags::empty())?;
        let mut answer = [0; 4096];
        let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        Ok::<_, nix::Error>(answer[..length].to_vec())
    })?;
    let answer = answer.map_err(|errno| failed(errno.into()))?;
    match errno(&answer) {
        Some(0) => Ok(()),
        Some(errno) => Err(failed(io::Error::from_raw_os_error(errno))),
        None => Err(failed(io::Error::from(io::ErrorKind::InvalidData))),
    }
}

fn open() -> nix::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(10))?;
    Ok(socket)
}

/// The errno of an NLMSG_ERROR, positive; 0 for done.
pub(super) fn errno(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    if i32::from(kind) != libc::NLMSG_ERROR {
        return None;
    }
    let errno = answer.get(NLMSGHDR..NLMSGHDR + 4)?.try_into().ok()?;
    i32::from_ne_bytes(errno).checked_neg()
}
