//! Many datagrams per system call, with all memory set up beforehand.

use std::{
    io, mem,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
};

use nix::sys::socket::{SockaddrLike as _, SockaddrStorage};

/// Equal datagrams to send, or room for received ones.
pub struct Batch {
    buffers: Vec<Vec<u8>>,
    /// One per buffer, its `msg_iov` pointing into `slices`.
    headers: Vec<libc::mmsghdr>,
    /// One per buffer: where it goes, once [`Batch::aim`] has said so. Never resized: `headers` point here.
    targets: Vec<SockaddrStorage>,
    /// One per buffer, pointing to it. Never resized: `headers` point here.
    _slices: Vec<libc::iovec>,
}

impl Batch {
    /// `count` buffers holding `content`.
    pub fn new(count: usize, content: &[u8]) -> Self {
        let mut buffers = vec![content.to_vec(); count];
        let mut slices: Vec<_> = buffers
            .iter_mut()
            .map(|buffer| libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            })
            .collect();
        let headers = slices
            .iter_mut()
            .map(|slice| {
                // SAFETY: mmsghdr holds integers and pointers only, for all of which zero is a valid value.
                let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
                header.msg_hdr.msg_iov = ptr::from_mut(slice);
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        let nowhere = SockaddrStorage::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        Self {
            buffers,
            headers,
            targets: vec![nowhere; count],
            _slices: slices,
        }
    }

    /// Sets where the datagrams go from now on: the first to the target at `next`, the others to those behind it, and
    /// from the start of the list again at its end. Returns where to go on.
    ///
    /// # Panics
    /// When there is no target at `next`.
    pub fn aim(&mut self, targets: &[SockaddrStorage], mut next: usize) -> usize {
        for (header, target) in self.headers.iter_mut().zip(&mut self.targets) {
            *target = targets[next];
            header.msg_hdr.msg_name = ptr::from_mut(target).cast();
            header.msg_hdr.msg_namelen = target.len();
            next += 1;
            if next == targets.len() {
                next = 0;
            }
        }
        next
    }

    /// Sends all buffers to where [`Batch::aim`] said, or else to the connected peer; returns how many the kernel took, at
    /// least one.
    ///
    /// # Errors
    /// When the kernel takes none.
    pub fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        // SAFETY: the descriptor is open; `headers` and all that they point to are owned by self, which is
        // borrowed for the call, and have the lengths stated.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                0,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Waits for one datagram, at most the socket's receive timeout and not at all where it does not block, and takes as
    /// many as there are.
    ///
    /// # Errors
    /// When none came in that time, or the kernel says why none will.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<impl Iterator<Item = &[u8]>> {
        for header in &mut self.headers {
            // Otherwise the kernel would write there where a datagram is from.
            header.msg_hdr.msg_name = ptr::null_mut();
        }
        // SAFETY: as in `send`; the kernel writes at most `iov_len` bytes to each buffer. No timeout is given.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                libc::MSG_WAITFORONE,
                ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        let received = self.headers.iter().zip(&self.buffers).take(received);
        Ok(received.map(|(header, buffer)| &buffer[..header.msg_len as usize]))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, UdpSocket},
        os::fd::AsFd as _,
        time::Duration,
    };

    use super::*;

    fn socket() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("socket");
        let patience = Some(Duration::from_secs(10));
        socket.set_read_timeout(patience).expect("a time limit");
        let address = socket.local_addr().expect("bound");
        (socket, address)
    }

    #[test]
    fn datagrams_go_to_the_targets_in_turn() {
        let sender = socket().0;
        let receivers = [socket(), socket(), socket()];
        let targets = [0, 1, 2].map(|of: usize| SockaddrStorage::from(receivers[of].1));
        let mut batch = Batch::new(4, b"hello");
        assert_eq!(batch.aim(&targets, 2), 0);
        assert_eq!(batch.send(sender.as_fd()).expect("sent"), 4);
        let mut room = Batch::new(4, &[0; 8]);
        for ((receiver, _), expected) in receivers.iter().zip([1, 1, 2]) {
            let got = room.receive(receiver.as_fd()).expect("received");
            assert!(got.eq([&b"hello"[..]].repeat(expected)));
        }
        // A batch that has received can be sent from again.
        assert_eq!(room.aim(&targets[..1], 0), 0);
        assert_eq!(room.send(sender.as_fd()).expect("sent"), 4);
    }
}
