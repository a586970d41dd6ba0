//! Raw frames, seen and sent on one interface of the calling thread's namespace (packet(7)).

#[cfg(test)]
mod tests;

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    net::if_::if_nametoindex,
    poll::PollFlags,
    sys::socket::{
        AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockType, recvmsg, send,
        socket,
    },
};

use super::{
    ProbeError,
    error::io_error,
    frame::{TPID_VLAN, Tag},
    socket::{Wake, deadline_after, enlarge_buffers, set_int, wait},
};

/// Room for one frame: more than the largest that IPv4 GSO makes (64 KiB); larger ones are cut.
const FRAME_MAX: usize = 256 * 1024;

/// More frames than the socket's buffer holds.
const QUEUE_MAX: usize = 100_000;

/// Every protocol (`ETH_P_ALL` in linux/if_ether.h).
const ETH_P_ALL: u16 = 0x0003;

/// Destination and source MAC: what precedes a VLAN tag.
const MACS: usize = 12;

/// Which way a frame went and to whom, as the kernel saw it (`sll_pkttype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Came in, to this interface's own address.
    ToUs,
    /// Came in, broadcast.
    Broadcast,
    /// Came in, multicast.
    Multicast,
    /// Came in, to somebody else's address.
    ToOthers,
    /// Went out.
    Outgoing,
    /// Another `PACKET_` constant of linux/if_packet.h.
    Other(u8),
}

/// One frame seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedFrame {
    /// The frame from its destination MAC on. A VLAN tag that the kernel took off is in `vlan`, not here.
    pub bytes: Vec<u8>,
    /// The frame's length, in bytes; more than `bytes` holds if it was over 256 KiB.
    pub length: usize,
    /// Which way it went.
    pub direction: Direction,
    /// The transport checksum is not filled in yet: left to offload, as between veths. Verifying it fails.
    pub csum_not_ready: bool,
    /// The kernel or the device has verified the transport checksum.
    pub csum_valid: bool,
    /// The VLAN tag that the kernel took off.
    pub vlan: Option<Tag>,
}

impl CapturedFrame {
    /// The frame as on the wire: with its VLAN tag put back.
    pub fn on_wire(&self) -> Vec<u8> {
        let mut frame = self.bytes.clone();
        if let Some(Tag { tpid, tci }) = self.vlan {
            let ([a, b], [c, d]) = (tpid.to_be_bytes(), tci.to_be_bytes());
            let at = MACS.min(frame.len());
            frame.splice(at..at, [a, b, c, d]);
        }
        frame
    }
}

/// Sees every frame that enters an interface, before its TC ingress programs, and every frame that leaves it,
/// after its TC egress programs. What `bpf_redirect_peer` moves enters the peer without leaving the host side.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    object: String,
    buffer: Vec<u8>,
    dropped: u64,
}

impl Capture {
    /// Starts capturing on an interface of the calling thread's namespace. Frames are kept from now on; the
    /// capture may then be used from any thread.
    ///
    /// # Errors
    /// When there is no such interface, or without CAP_NET_RAW.
    pub fn open(dev: &str) -> Result<Self, ProbeError> {
        let object = format!("capture on {dev}");
        // Protocol 0 receives nothing until the socket is bound: no other interface's frames slip in.
        let socket = open_socket(&object)?;
        enlarge_buffers(socket.as_fd(), &object)?;
        let auxdata = (libc::SOL_PACKET, libc::PACKET_AUXDATA);
        set_int(socket.as_fd(), auxdata, 1, &object, "PACKET_AUXDATA")?;
        bind_to(&socket, dev, ETH_P_ALL, &object)?;
        Ok(Self {
            socket,
            object,
            buffer: vec![0; FRAME_MAX],
            dropped: 0,
        })
    }

    /// The next frame, or `None` when none comes within the time given.
    ///
    /// # Errors
    /// When the interface goes down or away, or the socket fails.
    pub fn next(&mut self, within: Duration) -> Result<Option<CapturedFrame>, ProbeError> {
        self.next_until(deadline_after(within))
    }

    /// The next frame for which `predicate` holds, or `None` when none comes within the time given. Those
    /// before it are gone.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn wait_for(
        &mut self,
        mut predicate: impl FnMut(&CapturedFrame) -> bool,
        within: Duration,
    ) -> Result<Option<CapturedFrame>, ProbeError> {
        let until = deadline_after(within);
        let mut late = 0;
        while late < QUEUE_MAX {
            match self.next_until(until)? {
                Some(frame) if predicate(&frame) => return Ok(Some(frame)),
                // What was queued in time is looked at even when this thread comes late.
                Some(_) => late += usize::from(Instant::now() >= until),
                None => break,
            }
        }
        Ok(None)
    }

    /// Frames lost so far because the buffer was full.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn dropped(&mut self) -> Result<u64, ProbeError> {
        let mut stats = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut length = libc::socklen_t::try_from(size_of_val(&stats)).expect("8 fits");
        // SAFETY: the socket is open; `stats` and `length` outlive the call, and `length` is the size of the
        // structure that a socket of TPACKET_V1, the default, fills in.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut length,
            )
        };
        if result != 0 {
            let error = io::Error::last_os_error();
            return Err(io_error(&self.object, "PACKET_STATISTICS", error));
        }
        // Reading resets the kernel's count.
        self.dropped += u64::from(stats.tp_drops);
        Ok(self.dropped)
    }

    fn next_until(&mut self, until: Instant) -> Result<Option<CapturedFrame>, ProbeError> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            let wake = wait(self.socket.as_fd(), PollFlags::POLLIN, None, until)
                .map_err(|errno| io_error(&self.object, "poll", errno))?;
            if wake != Wake::Ready {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> Result<Option<CapturedFrame>, ProbeError> {
        let mut control = nix::cmsg_space!(libc::tpacket_auxdata);
        let mut slices = [IoSliceMut::new(&mut self.buffer)];
        let received = recvmsg::<LinkAddr>(
            self.socket.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        );
        let message = match received {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(errno) => return Err(io_error(&self.object, "receive", errno)),
        };
        let missing = |what: &'static str| {
            let error = io::Error::other("the kernel did not report it");
            io_error(&self.object, what, error)
        };
        let aux = message
            .cmsgs()
            .map_err(|errno| io_error(&self.object, "receive control messages", errno))?
            .find_map(auxdata)
            .ok_or_else(|| missing("read PACKET_AUXDATA"))?;
        let address = message.address.ok_or_else(|| missing("read sll_pkttype"))?;
        let len = message.bytes;
        let has = |status| aux.tp_status & status != 0;
        Ok(Some(CapturedFrame {
            direction: direction(address.pkttype()),
            length: aux.tp_len as usize,
            csum_not_ready: has(libc::TP_STATUS_CSUMNOTREADY),
            csum_valid: has(libc::TP_STATUS_CSUM_VALID),
            vlan: has(libc::TP_STATUS_VLAN_VALID).then(|| Tag {
                tpid: if has(libc::TP_STATUS_VLAN_TPID_VALID) {
                    aux.tp_vlan_tpid
                } else {
                    TPID_VLAN
                },
                tci: aux.tp_vlan_tci,
            }),
            bytes: self.buffer[..len].to_vec(),
        }))
    }
}

/// Sends raw frames out of one interface.
#[derive(Debug)]
pub struct Injector {
    socket: OwnedFd,
    object: String,
}

impl Injector {
    /// Opens an interface of the calling thread's namespace; the injector may be used from any thread.
    ///
    /// # Errors
    /// When there is no such interface, or without CAP_NET_RAW.
    pub fn open(dev: &str) -> Result<Self, ProbeError> {
        let object = format!("injector on {dev}");
        let socket = open_socket(&object)?;
        bind_to(&socket, dev, 0, &object)?;
        Ok(Self { socket, object })
    }

    /// Sends a frame, given from its destination MAC on, without a frame check sequence. No checksum is
    /// filled in.
    ///
    /// # Errors
    /// When the interface is down or the frame is shorter than an Ethernet header or exceeds the MTU.
    pub fn send(&self, frame: &[u8]) -> Result<(), ProbeError> {
        loop {
            match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(io_error(&self.object, "send", errno)),
            }
        }
    }
}

fn open_socket(object: &str) -> Result<OwnedFd, ProbeError> {
    socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(|errno| io_error(object, "open packet socket (needs CAP_NET_RAW)", errno))
}

fn bind_to(socket: &OwnedFd, dev: &str, protocol: u16, object: &str) -> Result<(), ProbeError> {
    let ifindex = if_nametoindex(dev)
        .map_err(|errno| io_error(object, "find the interface in this namespace", errno))?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::c_ushort,
        sll_protocol: protocol.to_be(),
        sll_ifindex: ifindex as libc::c_int,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&address)).expect("20 fits");
    // SAFETY: the socket is open, and `address` is a sockaddr_ll of `length` bytes that outlives the call.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 {
        Ok(())
    } else {
        Err(io_error(object, "bind", io::Error::last_os_error()))
    }
}

fn auxdata(message: ControlMessageOwned) -> Option<libc::tpacket_auxdata> {
    let ControlMessageOwned::Unknown(message) = message else {
        return None;
    };
    let header = message.cmsg_header;
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA)
        || message.data_bytes.len() < size_of::<libc::tpacket_auxdata>()
    {
        return None;
    }
    // SAFETY: there are enough bytes, they need no alignment for an unaligned read, and any bit pattern is a
    // valid tpacket_auxdata, which holds integers only.
    Some(unsafe {
        message
            .data_bytes
            .as_ptr()
            .cast::<libc::tpacket_auxdata>()
            .read_unaligned()
    })
}

fn direction(packet_type: u8) -> Direction {
    match packet_type {
        libc::PACKET_HOST => Direction::ToUs,
        libc::PACKET_BROADCAST => Direction::Broadcast,
        libc::PACKET_MULTICAST => Direction::Multicast,
        libc::PACKET_OTHERHOST => Direction::ToOthers,
        libc::PACKET_OUTGOING => Direction::Outgoing,
        other => Direction::Other(other),
    }
}
