//! Switching what an interface does for the stack.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
};

use crate::conformance::{lab::Lab, place::Place};

/// What can be switched: commands of linux/ethtool.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Offload {
    /// Checksums of what is received are somebody else's work: `ETHTOOL_SRXCSUM`.
    ReceiveChecksum = 0x15,
    /// Checksums of what is sent, and with them segmentation, likewise: `ETHTOOL_STXCSUM`.
    TransmitChecksum = 0x17,
    /// Packets that come in are merged: `ETHTOOL_SGRO`.
    Merge = 0x2c,
}

/// An interface with something switched, as long as this lives.
pub(super) struct Switched<'a> {
    lab: &'a Lab,
    place: Place,
    dev: &'static str,
    offload: Offload,
    on: bool,
}

impl<'a> Switched<'a> {
    pub(super) fn new(
        lab: &'a Lab,
        (place, dev): (Place, &'static str),
        offload: Offload,
        on: bool,
    ) -> Self {
        switch(lab, place, dev, offload, on);
        Self {
            lab,
            place,
            dev,
            offload,
            on,
        }
    }
}

impl Drop for Switched<'_> {
    fn drop(&mut self) {
        switch(self.lab, self.place, self.dev, self.offload, !self.on);
    }
}

fn switch(lab: &Lab, place: Place, dev: &str, offload: Offload, on: bool) {
    /// `struct ethtool_value`.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let switch = || {
        let socket = UdpSocket::bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))?;
        let mut value = Value {
            command: offload as u32,
            data: u32::from(on),
        };
        let mut name = [0; libc::IFNAMSIZ];
        for (to, from) in name.iter_mut().zip(dev.bytes()) {
            *to = from as libc::c_char;
        }
        let mut request = libc::ifreq {
            ifr_name: name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_data: (&raw mut value).cast(),
            },
        };
        // SAFETY: the socket is open; the request and the value that it points to outlive the call.
        let result =
            unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    let result = lab
        .netns(place)
        .run(switch)
        .expect("the namespace is there");
    result.unwrap_or_else(|error| panic!("SIOCETHTOOL ({place}, {dev}, {offload:?}): {error}"));
}
