//! The kinds of uplinks that a kernel has.

use crate::kernel::Feature;

/// What the two machines' uplinks are.
#[derive(Clone, Copy, Debug)]
pub struct UplinkKind {
    /// What it is called.
    pub name: &'static str,
    /// What it is made by.
    pub made: Made,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it carries IPv6 too.
    pub carries_ipv6: bool,
    /// What the kernel must have for it.
    pub needs: Option<Feature>,
}

/// How an uplink is made.
#[derive(Clone, Copy, Debug)]
pub enum Made {
    /// By these commands on each machine, over `nic0`, which has an address of each family: `%own` and `%own6`; those of the
    /// other machine's are `%other` and `%other6`.
    By(&'static [&'static str]),
    /// A tun device of this type (`ARPHRD_*` of linux/if_arp.h), from which packets are carried to the other one.
    Tun(u16),
    /// A WireGuard device over `nic0`, whose only peer is the other one.
    WireGuard,
}

impl UplinkKind {
    /// Both families, or IPv4 alone.
    pub fn families(&self) -> &'static [usize] {
        if self.carries_ipv6 { &[0, 1] } else { &[0] }
    }

    /// Whether no header of the link's is before its packets.
    pub fn is_bare(&self) -> bool {
        Self::BARE.iter().any(|it| it.name == self.name)
    }

    /// What makes it, but for tuns.
    pub(super) fn lines(&self) -> &'static [&'static str] {
        match self.made {
            Made::By(lines) => lines,
            Made::Tun(_) => &[],
            Made::WireGuard => &["ip link add up0 type wireguard"],
        }
    }
}

/// `ARPHRD_PPP`.
const PPP_TYPE: u16 = 512;
/// `ARPHRD_RAWIP`, as modems have.
const RAWIP_TYPE: u16 = 519;
/// `ARPHRD_NONE`, a tun's own.
const NONE_TYPE: u16 = 0xfffe;

/// As `made`, of both families and on every kernel.
const fn kind(name: &'static str, mtu: u32, made: Made) -> UplinkKind {
    UplinkKind {
        name,
        made,
        mtu,
        carries_ipv6: true,
        needs: None,
    }
}

const fn needing(feature: Feature, kind: UplinkKind) -> UplinkKind {
    UplinkKind {
        needs: Some(feature),
        ..kind
    }
}

impl UplinkKind {
    /// Without a header of the link's, from here on.
    pub const TUN: Self = kind("tun", 1500, Made::Tun(NONE_TYPE));
    /// What PPP looks like to the rest of the kernel: a device of its type, with no header before its packets.
    pub const PPP: Self = kind("ppp", 1500, Made::Tun(PPP_TYPE));
    /// The same, of a modem.
    pub const RAWIP: Self = kind("rawip", 1500, Made::Tun(RAWIP_TYPE));
    /// IPv4 in IPv4.
    pub const IPIP: Self = Self {
        carries_ipv6: false,
        ..needing(
            Feature::Tunnels,
            kind(
                "ipip",
                1480,
                Made::By(&["ip link add up0 type ipip local %own remote %other"]),
            ),
        )
    };
    /// Both families in IPv4.
    pub const SIT: Self = needing(
        Feature::Tunnels,
        kind(
            "sit",
            1480,
            Made::By(&["ip link add up0 type sit mode any local %own remote %other"]),
        ),
    );
    /// GRE over IPv4.
    pub const GRE: Self = needing(
        Feature::MoreTunnels,
        kind(
            "gre",
            1476,
            Made::By(&["ip link add up0 type gre local %own remote %other"]),
        ),
    );
    /// Both families in IPv6.
    pub const IP6TNL: Self = needing(
        Feature::MoreTunnels,
        kind(
            "ip6tnl",
            1452,
            Made::By(&["ip link add up0 type ip6tnl mode any local %own6 remote %other6"]),
        ),
    );
    /// GRE over IPv6.
    pub const IP6GRE: Self = needing(
        Feature::MoreTunnels,
        kind(
            "ip6gre",
            1448,
            Made::By(&["ip link add up0 type ip6gre local %own6 remote %other6"]),
        ),
    );
    /// WireGuard over IPv4.
    pub const WIREGUARD: Self =
        needing(Feature::WireGuard, kind("wireguard", 1420, Made::WireGuard));

    /// With a header of Ethernet's, from here on.
    pub const MACVLAN: Self = kind(
        "macvlan",
        1500,
        Made::By(&["ip link add link nic0 name up0 type macvlan mode bridge"]),
    );
    /// A bridge with one port.
    pub const BRIDGE: Self = kind(
        "bridge",
        1500,
        Made::By(&["ip link add up0 type bridge", "ip link set nic0 master up0"]),
    );
    /// Ethernet in UDP.
    pub const VXLAN: Self = needing(
        Feature::Vxlan,
        kind(
            "vxlan",
            1450,
            Made::By(&[
                "ip link add up0 type vxlan id 7 dev nic0 local %own remote %other dstport 4789",
            ]),
        ),
    );
    /// 802.1Q.
    pub const VLAN: Self = needing(
        Feature::Vlan,
        kind(
            "vlan",
            1500,
            Made::By(&["ip link add link nic0 name up0 type vlan id 5"]),
        ),
    );
    /// One of a single port.
    pub const BOND: Self = needing(
        Feature::Bond,
        kind(
            "bond",
            1500,
            Made::By(&[
                "ip link add up0 type bond mode active-backup miimon 100",
                "ip link set nic0 down",
                "ip link set nic0 master up0",
            ]),
        ),
    );

    /// All with a header of Ethernet's.
    pub const FRAMED: [Self; 5] = [
        Self::MACVLAN,
        Self::BRIDGE,
        Self::VXLAN,
        Self::VLAN,
        Self::BOND,
    ];
    /// All without a header of the link's.
    pub const BARE: [Self; 9] = [
        Self::TUN,
        Self::PPP,
        Self::RAWIP,
        Self::IPIP,
        Self::SIT,
        Self::GRE,
        Self::IP6TNL,
        Self::IP6GRE,
        Self::WIREGUARD,
    ];
}
