//! What `wg set` does, over generic netlink: a device's key, and its only peer.

use std::{net::Ipv4Addr, os::fd::AsRawFd as _};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

/// The UDP port of every device here.
const PORT: u16 = 51_820;

// linux/genetlink.h.
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
// linux/wireguard.h.
const WG_CMD_GET_DEVICE: u8 = 0;
const WG_CMD_SET_DEVICE: u8 = 1;
const WGDEVICE_A_IFNAME: u16 = 2;
const WGDEVICE_A_PRIVATE_KEY: u16 = 3;
const WGDEVICE_A_PUBLIC_KEY: u16 = 4;
const WGDEVICE_A_LISTEN_PORT: u16 = 6;
const WGDEVICE_A_PEERS: u16 = 8;
const WGPEER_A_PUBLIC_KEY: u16 = 1;
const WGPEER_A_ENDPOINT: u16 = 4;
const WGPEER_A_ALLOWEDIPS: u16 = 9;
const WGALLOWEDIP_A_FAMILY: u16 = 1;
const WGALLOWEDIP_A_IPADDR: u16 = 2;
const WGALLOWEDIP_A_CIDR_MASK: u16 = 3;

/// Length of `struct nlmsghdr` and of `struct genlmsghdr` in bytes.
const HEADERS: usize = 16 + 4;

/// A key pair of WireGuard's: any bytes are a private key.
pub type Key = [u8; 32];

/// Gives a device of the calling thread's namespace a private key and a port, and returns the public key.
pub fn set_key(dev: &str, private: Key) -> Key {
    let request = [
        attribute(WGDEVICE_A_IFNAME, &terminated(dev)),
        attribute(WGDEVICE_A_PRIVATE_KEY, &private),
        attribute(WGDEVICE_A_LISTEN_PORT, &PORT.to_ne_bytes()),
    ]
    .concat();
    let family = family();
    ask(family, WG_CMD_SET_DEVICE, libc::NLM_F_ACK, &request);
    let request = attribute(WGDEVICE_A_IFNAME, &terminated(dev));
    let told = ask(family, WG_CMD_GET_DEVICE, libc::NLM_F_DUMP, &request);
    let key = find(&told, WGDEVICE_A_PUBLIC_KEY).expect("a public key");
    key.try_into().expect("32 bytes")
}

/// Gives it the peer that everything goes to and comes from.
pub fn set_peer(dev: &str, public: Key, at: Ipv4Addr) {
    let mut address = Vec::new();
    address.extend((libc::AF_INET as u16).to_ne_bytes());
    address.extend(PORT.to_be_bytes());
    address.extend(at.octets());
    address.extend([0; 8]);
    let everything = |family: i32, length: usize| {
        let allowed = [
            attribute(WGALLOWEDIP_A_FAMILY, &(family as u16).to_ne_bytes()),
            attribute(WGALLOWEDIP_A_IPADDR, &vec![0; length]),
            attribute(WGALLOWEDIP_A_CIDR_MASK, &[0]),
        ];
        nested(0, &allowed.concat())
    };
    let allowed = [everything(libc::AF_INET, 4), everything(libc::AF_INET6, 16)].concat();
    let peer = [
        attribute(WGPEER_A_PUBLIC_KEY, &public),
        attribute(WGPEER_A_ENDPOINT, &address),
        nested(WGPEER_A_ALLOWEDIPS, &allowed),
    ];
    let request = [
        attribute(WGDEVICE_A_IFNAME, &terminated(dev)),
        nested(WGDEVICE_A_PEERS, &nested(0, &peer.concat())),
    ]
    .concat();
    ask(family(), WG_CMD_SET_DEVICE, libc::NLM_F_ACK, &request);
}

fn family() -> u16 {
    let name = attribute(CTRL_ATTR_FAMILY_NAME, &terminated("wireguard"));
    let told = ask(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 0, &name);
    let id = find(&told, CTRL_ATTR_FAMILY_ID).expect("the kernel knows wireguard");
    u16::from_ne_bytes(id.try_into().expect("two bytes"))
}

fn terminated(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + payload.len()).expect("small");
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute made of others.
fn nested(kind: u16, attributes: &[u8]) -> Vec<u8> {
    attribute(kind | libc::NLA_F_NESTED as u16, attributes)
}

/// The payload of an attribute among others.
fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    while let [a, b, c, d, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        if u16::from_ne_bytes([c, d]) == kind {
            return attributes.get(4..length);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Asks, and returns the attributes of the first message of the answer; none of an acknowledgement.
fn ask(family: u16, command: u8, flags: i32, attributes: &[u8]) -> Vec<u8> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkGeneric,
    )
    .expect("a netlink socket");
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).expect("bind");
    let length = u32::try_from(HEADERS + attributes.len()).expect("small");
    let flags = u16::try_from(flags | libc::NLM_F_REQUEST).expect("flags");
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend(attributes);
    send(socket.as_raw_fd(), &message, MsgFlags::empty()).expect("send");
    let mut answer = vec![0; 16 * 1024];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).expect("receive");
    assert!(length >= HEADERS, "an answer of {length} bytes");
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    if i32::from(kind) == libc::NLMSG_ERROR {
        let error = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
        assert_eq!(error, 0, "generic netlink: error {error}");
        return Vec::new();
    }
    let stated = u32::from_ne_bytes([answer[0], answer[1], answer[2], answer[3]]);
    answer.truncate(usize::try_from(stated).expect("small").min(length));
    answer.split_off(HEADERS)
}
