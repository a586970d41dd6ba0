//! What the running kernel has, as far as it changes what has to become of a packet.

use std::{
    env, fs,
    io::{self, Write as _},
    sync::OnceLock,
    time::Duration,
};

use netpath::command;

/// Whether `bpf_fib_lookup` can be told the mark (`BPF_FIB_LOOKUP_MARK`, Linux 6.10). Elsewhere a marked packet
/// for another node is left to the kernel.
pub fn fib_lookup_takes_marks() -> bool {
    is_at_least((6, 10))
}

/// Whether `bpf_fib_lookup` tells the node's own address (`BPF_FIB_LOOKUP_SRC`, Linux 6.7).
pub fn fib_lookup_tells_sources() -> bool {
    is_at_least((6, 7))
}

/// Whether TC programs can be attached with TCX (Linux 6.6).
pub fn has_tcx() -> bool {
    is_at_least((6, 6))
}

/// Whether the kernel counts what is in a BPF map (`map_mem_usage`, Linux 6.4). Before, it tells a figure of the capacity.
pub fn counts_map_entries() -> bool {
    is_at_least((6, 4))
}

/// Whether a program emulates the processors, as `cargo xtask kernels` says: they take turns, a single one many times as
/// slow as this machine's, so that no time says anything.
pub fn is_emulated() -> bool {
    env::var_os("NETPATH_EMULATED").is_some()
}

/// A time that is more than enough on this machine, as long as that is where the processors are emulated.
pub fn more_than_enough(time: Duration) -> Duration {
    const SLOWER: u32 = 12;
    if is_emulated() { SLOWER * time } else { time }
}

/// What a kernel may be built without, and tests look at where it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Interfaces with a routing table of their own (`CONFIG_NET_VRF`).
    Vrf,
    /// 802.1Q interfaces (`CONFIG_VLAN_8021Q`).
    Vlan,
    /// Tunnels over IPv4, of IPv4 and of IPv6 (`CONFIG_NET_IPIP`, `CONFIG_IPV6_SIT`).
    Tunnels,
    /// Tunnels of IPv4 and IPv6 over IPv6, and GRE over both (`CONFIG_IPV6_TUNNEL`, `CONFIG_NET_IPGRE`, `CONFIG_IPV6_GRE`).
    MoreTunnels,
    /// WireGuard (`CONFIG_WIREGUARD`).
    WireGuard,
    /// Several interfaces as one (`CONFIG_BONDING`).
    Bond,
    /// Ethernet over UDP (`CONFIG_VXLAN`).
    Vxlan,
    /// IPsec's encryption, over both families (`CONFIG_INET_ESP`, `CONFIG_INET6_ESP`), with AES and SHA-1.
    Esp,
}

impl Feature {
    /// Lines of `ip` that need it; without it they say `Unknown device type` or the like.
    fn lines(self) -> &'static str {
        match self {
            Self::Vrf => "link add x type vrf table 9",
            Self::Vlan => "link add v type veth\nlink add link v name x type vlan id 5",
            Self::Tunnels => {
                "link add x type ipip local 192.0.2.1 remote 192.0.2.2\n\
                 link add y type sit local 192.0.2.1 remote 192.0.2.2"
            }
            Self::MoreTunnels => {
                "link add x type ip6tnl mode any local 2001:db8::1 remote 2001:db8::2\n\
                 link add y type gre local 192.0.2.1 remote 192.0.2.2\n\
                 link add z type ip6gre local 2001:db8::1 remote 2001:db8::2"
            }
            Self::WireGuard => "link add x type wireguard",
            Self::Bond => "link add x type bond",
            Self::Vxlan => "link add x type vxlan id 7 remote 192.0.2.2 dstport 4789",
            Self::Esp => {
                "xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 mode tunnel \
                 auth hmac(sha1) 0x0001020304050607080910111213141516171819 \
                 enc cbc(aes) 0x00010203040506070809101112131415\n\
                 xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 1 mode tunnel \
                 auth hmac(sha1) 0x0001020304050607080910111213141516171819 \
                 enc cbc(aes) 0x00010203040506070809101112131415"
            }
        }
    }

    /// Whether this kernel has it. A test that leaves itself out for that says so past libtest, which keeps to itself what
    /// tests print that pass. The kernels of `cargo xtask kernels` have all: they come with the modules.
    ///
    /// # Panics
    /// When it cannot be told, and where it has to be there.
    pub fn is_there(self) -> bool {
        let Err(error) = command::run("unshare", &["--net", "ip", "-batch", "-"], self.lines())
        else {
            return true;
        };
        let told = error.to_string();
        let is_absent = ["Unknown device type", "type not found", "not supported"]
            .iter()
            .any(|absent| told.contains(absent));
        assert!(is_absent && !is_emulated(), "{self:?}: {told}");
        let line = format!("left out, this kernel has no {self:?}: {}\n", told.trim());
        io::stderr().write_all(line.as_bytes()).expect("stderr");
        false
    }
}

fn is_at_least(version: (u32, u32)) -> bool {
    static RUNNING: OnceLock<(u32, u32)> = OnceLock::new();
    let running = RUNNING.get_or_init(|| {
        let release =
            fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release");
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let mut next = || numbers.next().and_then(|number| number.parse().ok());
        next().zip(next()).expect("major.minor")
    });
    *running >= version
}
