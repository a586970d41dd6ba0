//! IPsec: the policies of XFRM, which say what leaves and comes encrypted, and what is blocked (linux/xfrm.h).
//!
//! Policies of single sockets are not among them: they concern the node's own packets only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netpath_common::Ifindex;

use super::{
    NetlinkError,
    attribute::Attributes,
    raw::{Protocol, Raw, RawNetlink},
};
use crate::netns::Inside;

const XFRM_MSG_NEWPOLICY: u16 = 0x13;
const XFRM_MSG_GETPOLICY: u16 = 0x15;
const XFRM_MSG_GETDEFAULT: u16 = 0x28;
const XFRMA_TMPL: u16 = 5;
const XFRMA_MARK: u16 = 21;
const XFRMA_IF_ID: u16 = 31;
/// Size of `struct xfrm_userpolicy_id`, of `struct xfrm_userpolicy_info` and of `struct xfrm_user_tmpl`, in bytes.
const POLICY_ID: usize = 64;
const POLICY_INFO: usize = 168;
const TEMPLATE: usize = 64;

/// Which packets a policy is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XfrmDirection {
    /// Those for the node itself.
    In,
    /// Those that leave, forwarded or not.
    Out,
    /// Those that are forwarded, when they come.
    Forward,
    /// Another number.
    Other(u8),
}

/// What becomes of a policy's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XfrmAction {
    /// They pass; with templates, only as those say.
    Allow,
    /// They are dropped.
    Block,
    /// Another number.
    Other(u8),
}

/// Ports, in the host's byte order, compared where the mask has a bit. A mask of 0: any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XfrmPorts {
    /// The port.
    pub port: u16,
    /// The bits that are compared.
    pub mask: u16,
}

/// The packets that a policy is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XfrmSelector {
    /// Where they come from.
    pub source: IpNet,
    /// Where they go.
    pub destination: IpNet,
    /// The layer-4 protocol's number, or 0 for any.
    pub protocol: u8,
    /// The source ports.
    pub source_ports: XfrmPorts,
    /// The destination ports.
    pub destination_ports: XfrmPorts,
    /// The interface that they leave by or came by; `None` for any.
    pub ifindex: Option<Ifindex>,
}

/// A mark that a policy asks for: `mark & mask == value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XfrmMark {
    /// The value.
    pub value: u32,
    /// The bits that are compared.
    pub mask: u32,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XfrmPolicy {
    /// Its packets. `None` where the family is neither IPv4 nor IPv6 and is not known: then any.
    pub selector: Option<XfrmSelector>,
    /// When it is asked.
    pub direction: XfrmDirection,
    /// What it decides.
    pub action: XfrmAction,
    /// How many templates it has: transformations (ESP, AH, ...) that its packets need.
    pub templates: usize,
    /// The policy with the lowest number is asked first.
    pub priority: u32,
    /// The mark that packets must have.
    pub mark: Option<XfrmMark>,
    /// The XFRM interface whose packets alone it is asked for; 0 for those of none.
    pub if_id: u32,
}

/// What becomes of packets that no policy is about: whether they are blocked (`ip xfrm policy setdefault`, Linux 5.15).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XfrmDefaults {
    /// Those for the node itself.
    pub block_in: bool,
    /// Those that are forwarded.
    pub block_forward: bool,
    /// Those that leave.
    pub block_out: bool,
}

/// All that XFRM decides in a namespace. Empty in a kernel without XFRM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Xfrm {
    /// The policies, of both families and all directions.
    pub policies: Vec<XfrmPolicy>,
    /// What becomes of the rest.
    pub defaults: XfrmDefaults,
}

impl Xfrm {
    /// Reads them in the calling thread's namespace.
    ///
    /// # Errors
    /// When they cannot be listed, all of them.
    pub fn read(inside: &Inside<'_>) -> Result<Self, NetlinkError> {
        let Some(netlink) = RawNetlink::open(inside, Protocol::Xfrm)? else {
            return Ok(Self::default());
        };
        let request = Raw {
            kind: XFRM_MSG_GETPOLICY,
            payload: vec![0; POLICY_ID],
        };
        let policies = netlink.list("XFRM policies", &request, |message| match message.kind {
            XFRM_MSG_NEWPOLICY => decode(&message.payload).map(Some),
            _ => Ok(None),
        })?;
        Ok(Self {
            policies,
            defaults: defaults(&netlink)?,
        })
    }
}

fn defaults(netlink: &RawNetlink) -> Result<XfrmDefaults, NetlinkError> {
    let request = Raw {
        kind: XFRM_MSG_GETDEFAULT,
        payload: vec![0; 4],
    };
    let read = netlink.get("XFRM default policies", request, |message| {
        match (message.kind, message.payload.as_slice()) {
            (XFRM_MSG_GETDEFAULT, [block_in, block_forward, block_out, ..]) => {
                // XFRM_USERPOLICY_BLOCK; XFRM_USERPOLICY_ACCEPT is 2.
                let [block_in, block_forward, block_out] =
                    [block_in, block_forward, block_out].map(|number| *number == 1);
                Ok(Some(XfrmDefaults {
                    block_in,
                    block_forward,
                    block_out,
                }))
            }
            (XFRM_MSG_GETDEFAULT, _) => Err("it is cut off".to_owned()),
            _ => Ok(None),
        }
    });
    match read {
        // A kernel that does not know the question lets all of them pass.
        Err(error) if error.errno() == Some(libc::EINVAL) => Ok(XfrmDefaults::default()),
        read => read,
    }
}

/// A message's `struct xfrm_userpolicy_info` and attributes.
pub(super) fn decode(payload: &[u8]) -> Result<XfrmPolicy, String> {
    let (info, attributes) = Attributes::behind(POLICY_INFO, payload)?;
    let templates = attributes.get(XFRMA_TMPL).unwrap_or_default();
    if templates.len() % TEMPLATE != 0 {
        return Err(format!("templates of {} bytes", templates.len()));
    }
    let mark = attributes.get(XFRMA_MARK).map(|bytes| {
        let [value, mask] = bytes.as_chunks().0 else {
            return Err(format!("a mark of {} bytes", bytes.len()));
        };
        Ok(XfrmMark {
            value: u32::from_ne_bytes(*value),
            mask: u32::from_ne_bytes(*mask),
        })
    });
    Ok(XfrmPolicy {
        selector: selector(info)?,
        direction: match info[160] {
            0 => XfrmDirection::In,
            1 => XfrmDirection::Out,
            2 => XfrmDirection::Forward,
            other => XfrmDirection::Other(other),
        },
        action: match info[161] {
            0 => XfrmAction::Allow,
            1 => XfrmAction::Block,
            other => XfrmAction::Other(other),
        },
        templates: templates.len() / TEMPLATE,
        priority: u32::from_ne_bytes(at(info, 152)),
        mark: mark.transpose()?,
        if_id: attributes.u32(XFRMA_IF_ID)?.unwrap_or(0),
    })
}

/// The `struct xfrm_selector` that a policy begins with.
fn selector(info: &[u8]) -> Result<Option<XfrmSelector>, String> {
    let family = i32::from(u16::from_ne_bytes(at(info, 40)));
    let prefix = |offset: usize, length: u8| {
        let address: IpAddr = match family {
            libc::AF_INET => Ipv4Addr::from(at::<4>(info, offset)).into(),
            _ => Ipv6Addr::from(at::<16>(info, offset)).into(),
        };
        IpNet::new(address, length)
            .map(|prefix| prefix.trunc())
            .map_err(|_| format!("selector {address}/{length}"))
    };
    let ports = |offset| XfrmPorts {
        port: u16::from_be_bytes(at(info, offset)),
        mask: u16::from_be_bytes(at(info, offset + 2)),
    };
    if ![libc::AF_INET, libc::AF_INET6].contains(&family) {
        return Ok(None);
    }
    let ifindex = u32::from_ne_bytes(at(info, 48));
    Ok(Some(XfrmSelector {
        source: prefix(16, info[43])?,
        destination: prefix(0, info[42])?,
        protocol: info[44],
        source_ports: ports(36),
        destination_ports: ports(32),
        ifindex: (ifindex != 0).then_some(Ifindex(ifindex)),
    }))
}

/// Bytes of a header whose length has been checked.
fn at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[offset + index])
}
