//! Sending packets that stand for several segments, as a TCP sender in a namespace does.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    net::if_::if_nametoindex,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socket},
};

use crate::{Addresses as _, Family};

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM` of `linux/virtio_net.h`.
const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV4`.
const GSO_TCPV4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV6`.
const GSO_TCPV6: u8 = 4;
/// Length of a TCP header without options, and where its checksum stands in it.
const TCP_HEADER: usize = 20;
const TCP_CHECKSUM: u16 = 16;

/// Sends TCP GSO packets out of one interface.
#[derive(Debug)]
pub struct GsoInjector {
    socket: OwnedFd,
}

impl GsoInjector {
    /// Opens an interface of the calling thread's namespace; it may be used from any thread.
    pub fn open(dev: &str) -> Self {
        let ifindex = if_nametoindex(dev).expect("the interface is in this namespace");
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .expect("a packet socket");
        let on: libc::c_int = 1;
        // Frames are then preceded by a `struct virtio_net_hdr` (packet(7), linux/virtio_net.h).
        // SAFETY: the socket is open, and `on` outlives the call and has the size stated.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_VNET_HDR,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
        };
        assert_eq!(result, 0, "PACKET_VNET_HDR: {}", io::Error::last_os_error());
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as libc::c_ushort,
            sll_protocol: 0,
            sll_ifindex: ifindex as libc::c_int,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let length = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the socket is open, and `address` is a sockaddr_ll of `length` bytes that outlives the call.
        let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
        assert_eq!(result, 0, "bind: {}", io::Error::last_os_error());
        Self { socket }
    }

    /// Sends a TCP packet (no IP or TCP options) that stands for segments with `gso_size` bytes of payload.
    pub fn send(&self, family: Family, frame: &[u8], gso_size: u16) {
        let headers = family.headers();
        let gso_type = match family {
            Family::V4 => GSO_TCPV4,
            Family::V6 => GSO_TCPV6,
        };
        let mut bytes = vec![NEEDS_CSUM, gso_type];
        for field in [
            (headers + TCP_HEADER) as u16,
            gso_size,
            headers as u16,
            TCP_CHECKSUM,
        ] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.extend(frame);
        let sent = send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty()).expect("sending");
        assert_eq!(sent, bytes.len());
    }
}
