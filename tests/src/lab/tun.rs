//! Two tun devices, each in a namespace of its own, and a thread that carries packets from one to the other: what a VPN's
//! daemon is to the kernel.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, PipeReader, PipeWriter, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::OpenOptionsExt as _,
    },
    thread::{self, JoinHandle},
};

use netpath::netns::Netns;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// Of linux/if_tun.h.
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
const TUNSETLINK: libc::Ioctl = 0x4004_54cd;
/// More than a tun device gives at once.
const PACKET_MAX: usize = 128 * 1024;

/// The two devices, as long as this lives.
#[derive(Debug)]
pub struct Cable {
    stop: Option<PipeWriter>,
    carrier: Option<JoinHandle<()>>,
}

impl Cable {
    /// Makes them, of this name in both namespaces and of this type (`ARPHRD_*` of linux/if_arp.h). They are down.
    pub fn between(ends: [&Netns; 2], dev: &str, link_type: u16) -> Self {
        let make = || device(dev, link_type);
        let [here, there] = ends.map(|netns| netns.run(make).expect("enter"));
        let (stopped, stop) = io::pipe().expect("a pipe");
        let carrier = thread::spawn(move || carry([&here, &there], &stopped));
        Self {
            stop: Some(stop),
            carrier: Some(carrier),
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.stop.take();
        let ended = self.carrier.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.expect("it was started").expect("carrying packets");
        }
    }
}

/// A tun device of the calling thread's namespace, which goes when it is closed.
fn device(name: &str, link_type: u16) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let file = options
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")
        .expect("/dev/net/tun");
    // SAFETY: integers and arrays of them may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the file is open, and the request outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) };
    assert_eq!(result, 0, "{name}: {}", io::Error::last_os_error());
    // SAFETY: the file is open, and the type goes by value.
    let result =
        unsafe { libc::ioctl(file.as_raw_fd(), TUNSETLINK, libc::c_ulong::from(link_type)) };
    assert_eq!(result, 0, "{name}: {}", io::Error::last_os_error());
    file
}

fn carry(ends: [&File; 2], stopped: &PipeReader) {
    let mut buffer = vec![0; PACKET_MAX];
    loop {
        let readable = PollFlags::POLLIN;
        let mut waiting = [
            PollFd::new(ends[0].as_fd(), readable),
            PollFd::new(ends[1].as_fd(), readable),
            PollFd::new(stopped.as_fd(), readable),
        ];
        match poll(&mut waiting, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
        if waiting[2].any() != Some(false) {
            return;
        }
        carry_one(ends[0], ends[1], &mut buffer);
        carry_one(ends[1], ends[0], &mut buffer);
    }
}

/// Carries a packet, if there is one. A device that is down takes none, and loses it as a cable does.
fn carry_one(mut from: &File, mut to: &File, buffer: &mut [u8]) {
    let length = match from.read(buffer) {
        Ok(length) => length,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return,
        Err(error) => panic!("read from tun: {error}"),
    };
    match to.write(&buffer[..length]) {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(libc::EIO) => {}
        Err(error) => panic!("write to tun: {error}"),
    }
}
