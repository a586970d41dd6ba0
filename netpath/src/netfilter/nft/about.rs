//! What a condition that is not about families, addresses or interfaces is about, as far as it says something of packets that are
//! forwarded, unmarked and not translated.

/// What is asked of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Of its own fields (protocol, ports, length, ...), or of how many there are: some packets are so, and others are not.
    Packet,
    /// Of its mark: `mark & mask == value`.
    Mark {
        /// The value.
        value: u32,
        /// The bits that are compared.
        mask: u32,
        /// It must not be that.
        negated: bool,
    },
    /// That its connection is in one of these states: bits of `NF_CT_STATE_BIT`, 1 for an invalid one.
    States(u32),
    /// That its destination is an address of the node's.
    LocalDestination {
        /// It must not be one.
        negated: bool,
    },
    /// Nothing that is known here.
    Unknown,
}

/// Connections that there are: `IP_CT_ESTABLISHED`, `IP_CT_RELATED`, `IP_CT_NEW`.
const ESTABLISHED: u32 = 1 << 1;
const RELATED: u32 = 1 << 2;
const NEW: u32 = 1 << 3;
/// `NF_CT_STATE_INVALID_BIT` of nf_tables, and of xtables.
const INVALID: u32 = 1;

impl About {
    /// States that packets of a connection have which nobody translates.
    pub(super) const USUAL: u32 = ESTABLISHED | RELATED | NEW;
    /// With these two every connection's packets are met.
    pub(super) const WHOLE: u32 = ESTABLISHED | NEW;

    /// Of states that are asked for, or of all but these.
    pub(super) fn states(of: u32, negated: bool) -> Self {
        Self::States(if negated { !of } else { of })
    }

    /// Whether only what is no connection's packet, or what connection tracking takes for none, is so.
    pub(super) fn is_rare(self) -> bool {
        matches!(self, Self::States(states) if states & Self::USUAL == 0 && states & INVALID != 0)
    }

    /// What is asked by something that is known by its name alone.
    pub(super) fn of_condition(name: &str) -> Self {
        match is_of_packet(name) {
            true => Self::Packet,
            false => Self::Unknown,
        }
    }

    /// What a match of xtables asks: its structure is that of linux/netfilter/xt_*.h.
    pub(super) fn of_match(name: &str, revision: u32, data: &[u8]) -> Self {
        match name {
            "mark" => mark(data),
            "conntrack" => conntrack(revision, data),
            "state" => match word(data, 0) {
                Some(states) => Self::States(states),
                None => Self::Unknown,
            },
            "addrtype" => address_type(revision, data),
            name => Self::of_condition(name),
        }
    }
}

/// Whether a match or a condition of this name asks only for what is in a packet, or how many of them there are.
fn is_of_packet(name: &str) -> bool {
    const NAMES: [&str; 32] = [
        "protocol",
        "tcp",
        "udp",
        "udplite",
        "icmp",
        "icmp6",
        "icmpv6",
        "ipv6-icmp",
        "sctp",
        "dccp",
        "esp",
        "ah",
        "multiport",
        "length",
        "limit",
        "hashlimit",
        "connlimit",
        "statistic",
        "quota",
        "dscp",
        "tos",
        "ttl",
        "hl",
        "ecn",
        "tcpmss",
        "string",
        "u32",
        "time",
        "frag",
        "hbh",
        "dst",
        "pkttype",
    ];
    NAMES.contains(&name)
}

/// `struct xt_mark_mtinfo1`.
fn mark(data: &[u8]) -> About {
    match (word(data, 0), word(data, 4), data.get(8)) {
        (Some(value), Some(mask), Some(inverted)) => About::Mark {
            value,
            mask,
            negated: *inverted != 0,
        },
        _ => About::Unknown,
    }
}

/// `struct xt_conntrack_mtinfo1` and its successors, whose masks are of 16 bits.
fn conntrack(revision: u32, data: &[u8]) -> About {
    /// `XT_CONNTRACK_STATE`, of the flags that say what is asked.
    const STATE: u16 = 1;
    const FLAGS: usize = 146;
    const INVERTED: usize = 148;
    const STATES: usize = 150;
    let (Some(STATE), Some(inverted)) = (half(data, FLAGS), half(data, INVERTED)) else {
        return About::Unknown;
    };
    let states = match revision {
        1 => data.get(STATES).map(|states| u32::from(*states)),
        _ => half(data, STATES).map(u32::from),
    };
    states.map_or(About::Unknown, |states| {
        About::states(states, inverted & STATE != 0)
    })
}

/// `struct xt_addrtype_info_v1`.
fn address_type(revision: u32, data: &[u8]) -> About {
    const NO_SOURCE: u16 = 0;
    /// `1 << RTN_LOCAL`.
    const LOCAL: u16 = 1 << 2;
    /// `XT_ADDRTYPE_INVERT_DEST`.
    const INVERTED: u32 = 2;
    match (revision, half(data, 0), half(data, 2), word(data, 4)) {
        (1, Some(NO_SOURCE), Some(LOCAL), Some(flags)) if flags & !INVERTED == 0 => {
            About::LocalDestination {
                negated: flags != 0,
            }
        }
        _ => About::Unknown,
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at + size_of::<u32>())?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn half(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at + size_of::<u16>())?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_of_xtables_say_what_they_ask() {
        let mark = [
            0x4000u32.to_ne_bytes(),
            0x4000u32.to_ne_bytes(),
            [1, 0, 0, 0],
        ]
        .concat();
        let negated = About::Mark {
            value: 0x4000,
            mask: 0x4000,
            negated: true,
        };
        assert_eq!(About::of_match("mark", 1, &mark), negated);
        let mut conntrack = vec![0; 160];
        conntrack[146] = 1;
        conntrack[150] = 1;
        let invalid = About::of_match("conntrack", 3, &conntrack);
        assert_eq!(invalid, About::States(1));
        assert!(invalid.is_rare());
        conntrack[148] = 1;
        let others = About::of_match("conntrack", 3, &conntrack);
        assert_eq!(others, About::States(!1));
        assert!(!others.is_rare());
        // Its status is asked, too.
        conntrack[146] = 3;
        assert_eq!(About::of_match("conntrack", 3, &conntrack), About::Unknown);
        let local = About::LocalDestination { negated: false };
        assert_eq!(
            About::of_match("addrtype", 1, &[0, 0, 4, 0, 0, 0, 0, 0]),
            local
        );
        assert_eq!(
            About::of_match("addrtype", 1, &[4, 0, 0, 0, 0, 0, 0, 0]),
            About::Unknown
        );
        assert_eq!(About::of_match("tcp", 0, &[]), About::Packet);
        for cut_off in ["mark", "conntrack", "state", "addrtype", "telepathy"] {
            assert_eq!(
                About::of_match(cut_off, 1, &[1]),
                About::Unknown,
                "{cut_off}"
            );
        }
    }
}
