//! Queueing disciplines, and the filters at the ingress and egress of an interface (linux/rtnetlink.h, pkt_cls.h).
//!
//! They are read by their bytes: of a discipline or a filter of an unknown kind, the kind is known all the same.

use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcHandle, TcMessage},
};
use netpath_common::{Hook, Ifindex};

use super::{Link, Netlink, NetlinkError, attribute::Attributes, channel::About, raw::Raw};

const RTM_NEWQDISC: u16 = 36;
const RTM_NEWTFILTER: u16 = 44;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
const TCA_INGRESS_BLOCK: u16 = 13;
const TCA_EGRESS_BLOCK: u16 = 14;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;
/// Size of `struct tcmsg` in bytes.
const TCMSG: usize = 20;
/// `TC_H_ROOT` and `TC_H_INGRESS`, which is `TC_H_CLSACT` too.
const ROOT: u32 = 0xffff_ffff;
const INGRESS: u32 = 0xffff_fff1;

/// Where a queueing discipline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QdiscParent {
    /// All that an interface sends passes it.
    Root,
    /// Kind `ingress` or `clsact`: it queues nothing, and holds filters.
    Ingress,
    /// A class of another discipline, `major << 16 | minor`.
    Class(u32),
}

/// A queueing discipline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qdisc {
    /// Its interface.
    pub ifindex: Ifindex,
    /// `fq_codel`, `tbf`, `clsact`, ...
    pub kind: String,
    /// Where it is.
    pub parent: QdiscParent,
    /// Its number, `major << 16`.
    pub handle: u32,
    /// The block of filters that its ingress shares with others.
    pub ingress_block: Option<u32>,
    /// The same of its egress.
    pub egress_block: Option<u32>,
}

impl Qdisc {
    /// Whether the kernel itself put it there: what somebody adds gets a number.
    pub fn is_default(&self) -> bool {
        self.handle == 0
    }
}

/// A filter at the ingress or egress of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// `bpf`, `u32`, `matchall`, `flower`, ...
    pub kind: String,
    /// Filters are asked in ascending order.
    pub priority: u16,
    /// The ethertype of its packets, in the host's byte order; 3 (`ETH_P_ALL`) is any.
    pub protocol: u16,
    /// The chain of filters that it is in. Packets begin at chain 0.
    pub chain: u32,
    /// Its number among the filters of one priority. 0: the kernel says no more than that there are some.
    pub handle: u32,
    /// The kernel's number for the eBPF program that it runs.
    pub program: Option<u32>,
    /// The name that was given with a BPF program.
    pub program_name: Option<String>,
}

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
    /// The queueing disciplines of all interfaces.
    ///
    /// # Errors
    /// When they cannot be listed, all of them.
    pub fn qdiscs(&self) -> Result<Vec<Qdisc>, NetlinkError> {
        let about = About {
            action: "list",
            object: "queueing disciplines",
        };
        let message = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        self.channel
            .dump(about, &Raw::of(&message), |message: Raw| {
                match message.kind {
                    RTM_NEWQDISC => decode_qdisc(&message.payload).map(Some),
                    _ => Ok(None),
                }
            })
    }

    /// Removes the clsact or ingress qdisc of an interface with all filters in it; nothing where there is none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_clsact(&self, link: &Link) -> Result<(), NetlinkError> {
        let about = About {
            action: "remove the clsact qdisc of",
            object: &link.name,
        };
        let mut message = TcMessage::default();
        message.header.index = link.ifindex.0.cast_signed();
        message.header.parent = TcHandle::CLSACT;
        let message = RouteNetlinkMessage::DelQueueDiscipline(message);
        match self.channel.request(about, message, 0) {
            // No qdisc, or no interface (`tc_get_qdisc`).
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENODEV)) => Ok(()),
            result => result,
        }
    }

    /// The filters at a hook of an interface, those of a block that it shares included; none without an ingress or
    /// clsact discipline.
    ///
    /// # Errors
    /// When they cannot be listed, all of them.
    pub fn filters(&self, link: &Link, hook: Hook) -> Result<Vec<Filter>, NetlinkError> {
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
        let message = RouteNetlinkMessage::GetTrafficFilter(message);
        let found = self
            .channel
            .dump(about, &Raw::of(&message), |message: Raw| {
                match message.kind {
                    RTM_NEWTFILTER => decode_filter(&message.payload).map(Some),
                    _ => Ok(None),
                }
            })?;
        Ok(without_heads(found))
    }

    /// The programs that run as filters on a hook of an interface; none without a clsact qdisc.
    ///
    /// # Errors
    /// When they cannot be listed, all of them.
    pub fn filter_programs(
        &self,
        link: &Link,
        hook: Hook,
    ) -> Result<Vec<FilterProgram>, NetlinkError> {
        let program = |filter: Filter| {
            Some(FilterProgram {
                program: filter.program?,
                priority: filter.priority,
                handle: filter.handle,
            })
        };
        Ok(self
            .filters(link, hook)?
            .into_iter()
            .filter_map(program)
            .collect())
    }
}

/// The kernel lists a priority once by itself and then with each filter in it. By itself it tells only of filters that
/// cannot be listed.
pub(super) fn without_heads(mut filters: Vec<Filter>) -> Vec<Filter> {
    let group = |filter: &Filter| (filter.chain, filter.priority, filter.protocol);
    let listed: Vec<_> = filters
        .iter()
        .filter(|filter| filter.handle != 0)
        .map(group)
        .collect();
    filters.retain(|filter| filter.handle != 0 || !listed.contains(&group(filter)));
    filters
}

fn decode_qdisc(payload: &[u8]) -> Result<Qdisc, String> {
    let (header, attributes) = Attributes::behind(TCMSG, payload)?;
    Ok(Qdisc {
        ifindex: Ifindex(word(header, 4)),
        kind: attributes.text(TCA_KIND).ok_or("it has no kind")?,
        parent: match word(header, 12) {
            ROOT => QdiscParent::Root,
            INGRESS => QdiscParent::Ingress,
            class => QdiscParent::Class(class),
        },
        handle: word(header, 8),
        ingress_block: attributes.u32(TCA_INGRESS_BLOCK)?,
        egress_block: attributes.u32(TCA_EGRESS_BLOCK)?,
    })
}

fn decode_filter(payload: &[u8]) -> Result<Filter, String> {
    let (header, attributes) = Attributes::behind(TCMSG, payload)?;
    let kind = attributes.text(TCA_KIND).ok_or("it has no kind")?;
    let (mut program, mut program_name) = (None, None);
    if kind == "bpf"
        && let Some(options) = attributes.nested(TCA_OPTIONS)?
    {
        program = options.u32(TCA_BPF_ID)?;
        program_name = options.text(TCA_BPF_NAME);
    }
    let info = word(header, 16);
    Ok(Filter {
        kind,
        // The lower half is the ethertype, in network byte order (TC_H_MAKE of tc_filter.c).
        priority: (info >> 16) as u16,
        protocol: u16::from_be(info as u16),
        chain: attributes.u32(TCA_CHAIN)?.unwrap_or(0),
        handle: word(header, 8),
        program,
        program_name,
    })
}

/// A word of a header whose length has been checked.
fn word(header: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(std::array::from_fn(|index| header[offset + index]))
}
