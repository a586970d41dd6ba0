//! BPF filters on clsact qdiscs.

use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
};

use netpath_common::Hook;

use super::{Link, Netlink, NetlinkError, channel::About};

/// A BPF program that runs as a filter of a clsact qdisc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterProgram {
    /// The kernel's number for the program.
    pub program: u32,
    /// Filters are asked in ascending order.
    pub priority: u16,
    /// Its number among the filters of one priority.
    pub handle: u32,
}

impl Netlink {
    /// The programs that run as filters on a hook of an interface; none without a clsact qdisc.
    ///
    /// # Errors
    /// When they cannot be listed, all of them.
    pub fn filter_programs(
        &self,
        link: &Link,
        hook: Hook,
    ) -> Result<Vec<FilterProgram>, NetlinkError> {
        let about = About {
            action: "list filters of",
            object: &link.name,
        };
        let mut message = TcMessage::default();
        message.header.index = link.ifindex.0.cast_signed();
        message.header.parent = TcHandle {
            major: TcHandle::CLSACT.major,
            minor: match hook {
                Hook::Ingress => TcHandle::MIN_INGRESS,
                Hook::Egress => TcHandle::MIN_EGRESS,
            },
        };
        let request = RouteNetlinkMessage::GetTrafficFilter(message);
        self.channel.dump(about, &request, |message| match message {
            RouteNetlinkMessage::NewTrafficFilter(message) => Ok(decode(&message)),
            _ => Ok(None),
        })
    }
}

/// `None` for a filter that runs no eBPF program.
fn decode(message: &TcMessage) -> Option<FilterProgram> {
    let program = message.attributes.iter().find_map(|attribute| {
        let TcAttribute::Options(options) = attribute else {
            return None;
        };
        options.iter().find_map(|option| match option {
            TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
            _ => None,
        })
    })?;
    Some(FilterProgram {
        program,
        // The lower half is the ethertype (TC_H_MAKE of tc_filter.c).
        priority: (message.header.info >> 16) as u16,
        handle: message.header.handle.into(),
    })
}
