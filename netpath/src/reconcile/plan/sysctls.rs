//! The sysctls that netpath sets, each in one place: what is set here is what is observed.

/// What there is of IPv6 where sysctls are to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6 {
    /// Addresses or prefixes: it is switched on, and forwards.
    Used,
    /// None: it stays on or off as it is. Nothing is heeded that comes by netpath's own interfaces.
    Unused,
    /// The kernel has no IPv6 (`ipv6.disable=1`): there are no sysctls of it.
    Absent,
}

/// What makes a lab node's namespace a router, as keys below `/proc/sys/net` with their values. In this order: writing
/// the first ones resets others (RFC 1812's for a router).
pub fn node_sysctls(ipv6: Ipv6) -> Vec<(String, &'static str)> {
    let is_used = |key: &&&str| ipv6 == Ipv6::Used || !key.starts_with("ipv6/");
    let forwarding = FORWARDING.iter().filter(is_used);
    let mut sysctls: Vec<(String, &'static str)> =
        forwarding.map(|key| ((*key).to_owned(), "1")).collect();
    for scope in ["all", "default"] {
        sysctls.push((format!("ipv4/conf/{scope}/rp_filter"), "0"));
        sysctls.extend(quiet_ipv6(scope, ipv6));
    }
    sysctls
}

/// What makes a namespace a router.
pub(super) const FORWARDING: [&str; 3] = [
    "ipv4/ip_forward",
    "ipv6/conf/all/forwarding",
    "ipv6/conf/default/forwarding",
];

/// Those of an endpoint's namespace that netpath made.
pub fn endpoint_sysctls(ipv6: Ipv6) -> Vec<(String, &'static str)> {
    ["all", "default"]
        .into_iter()
        .flat_map(|scope| quiet_ipv6(scope, ipv6))
        .collect()
}

/// Those of a wire's namespace: a switch says nothing of its own.
pub fn wire_sysctls(ipv6: Ipv6) -> Vec<(String, &'static str)> {
    let scopes: &[&str] = match ipv6 {
        Ipv6::Used | Ipv6::Unused => &["all", "default"],
        Ipv6::Absent => &[],
    };
    scopes
        .iter()
        .map(|scope| (format!("ipv6/conf/{scope}/disable_ipv6"), "1"))
        .collect()
}

/// Those of an endpoint's host-side veth.
pub fn veth_sysctls(dev: &str, ipv6: Ipv6) -> Vec<(String, &'static str)> {
    let mut sysctls = Vec::new();
    if ipv6 == Ipv6::Used {
        sysctls.push(switched_on(dev));
    }
    sysctls.extend(quiet_ipv6(dev, ipv6));
    if ipv6 != Ipv6::Absent {
        // Only fe80::1, not one made from the MAC as well.
        sysctls.push((format!("ipv6/conf/{dev}/addr_gen_mode"), "1"));
    }
    if ipv6 == Ipv6::Used {
        sysctls.push((forwarding_v6(dev), "1"));
    }
    sysctls.extend([
        (format!("ipv4/conf/{dev}/forwarding"), "1"),
        (format!("ipv4/conf/{dev}/rp_filter"), "1"),
    ]);
    sysctls
}

/// Those of the interface inside an endpoint.
pub fn inside_sysctls(dev: &str, ipv6: Ipv6) -> Vec<(String, &'static str)> {
    match ipv6 {
        Ipv6::Used => vec![switched_on(dev)],
        Ipv6::Unused | Ipv6::Absent => Vec::new(),
    }
}

/// Those of an uplink. On the machine they are looked at, and set by nobody here.
pub fn uplink_sysctls(dev: &str, ipv6: Ipv6) -> Vec<(String, &'static str)> {
    let forwarding = (format!("ipv4/conf/{dev}/forwarding"), "1");
    match ipv6 {
        Ipv6::Used => vec![switched_on(dev), forwarding, (forwarding_v6(dev), "1")],
        Ipv6::Unused | Ipv6::Absent => vec![forwarding],
    }
}

/// IPv6 on an interface, whatever new ones begin with.
fn switched_on(dev: &str) -> (String, &'static str) {
    (format!("ipv6/conf/{dev}/disable_ipv6"), "0")
}

/// Whether an interface forwards IPv6. Without it bpf_fib_lookup refuses (`BPF_FIB_LKUP_RET_FWD_DISABLED`), though the
/// kernel itself asks only for that of all interfaces.
pub(super) fn forwarding_v6(dev: &str) -> String {
    format!("ipv6/conf/{dev}/forwarding")
}

/// By which the kernel forwards what comes in by an interface, any of them.
pub fn forwards_v4(dev: &str) -> [String; 1] {
    [format!("ipv4/conf/{dev}/forwarding")]
}

/// The same for IPv6, which is asked of the namespace, and, since Linux 6.17, of the interface.
pub fn forwards_v6(dev: &str) -> [String; 2] {
    [
        "ipv6/conf/all/forwarding".to_owned(),
        format!("ipv6/conf/{dev}/force_forwarding"),
    ]
}

/// Those that say which reverse-path filter the kernel has for an interface.
pub fn reverse_path_sysctls(dev: &str) -> [String; 2] {
    ["all", dev].map(|scope| format!("ipv4/conf/{scope}/rp_filter"))
}

/// No router advertisements accepted, and addresses usable at once: nothing else is on these links.
fn quiet_ipv6(scope: &str, ipv6: Ipv6) -> Vec<(String, &'static str)> {
    let keys: &[&str] = match ipv6 {
        Ipv6::Used | Ipv6::Unused => &["accept_ra", "accept_dad", "dad_transmits"],
        Ipv6::Absent => &[],
    };
    keys.iter()
        .map(|key| (format!("ipv6/conf/{scope}/{key}"), "0"))
        .collect()
}
