//! The sysctls that netpath sets, each in one place: what is set here is what is observed.

/// What makes a lab node's namespace a router, as keys below `/proc/sys/net` with their values. In this order: writing
/// the first ones resets others (RFC 1812's for a router).
pub fn node_sysctls() -> Vec<(String, &'static str)> {
    let mut sysctls: Vec<(String, &'static str)> = FORWARDING
        .iter()
        .map(|key| ((*key).to_owned(), "1"))
        .collect();
    for scope in ["all", "default"] {
        sysctls.push((format!("ipv4/conf/{scope}/rp_filter"), "0"));
        sysctls.extend(quiet_ipv6(scope));
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
pub fn endpoint_sysctls() -> Vec<(String, &'static str)> {
    ["all", "default"]
        .into_iter()
        .flat_map(quiet_ipv6)
        .collect()
}

/// Those of a wire's namespace: a switch says nothing of its own.
pub fn wire_sysctls() -> Vec<(String, &'static str)> {
    ["all", "default"]
        .into_iter()
        .map(|scope| (format!("ipv6/conf/{scope}/disable_ipv6"), "1"))
        .collect()
}

/// Those of an endpoint's host-side veth.
pub fn veth_sysctls(dev: &str) -> Vec<(String, &'static str)> {
    let mut sysctls = vec![(format!("ipv6/conf/{dev}/disable_ipv6"), "0")];
    sysctls.extend(quiet_ipv6(dev));
    sysctls.extend([
        // Only fe80::1, not one made from the MAC as well.
        (format!("ipv6/conf/{dev}/addr_gen_mode"), "1"),
        (format!("ipv6/conf/{dev}/forwarding"), "1"),
        (format!("ipv4/conf/{dev}/forwarding"), "1"),
        (format!("ipv4/conf/{dev}/rp_filter"), "1"),
    ]);
    sysctls
}

/// Those of an uplink. On the machine they are looked at, and set by nobody here.
pub fn uplink_sysctls(dev: &str) -> Vec<(String, &'static str)> {
    vec![
        (format!("ipv6/conf/{dev}/disable_ipv6"), "0"),
        (format!("ipv4/conf/{dev}/forwarding"), "1"),
        (forwarding_v6(dev), "1"),
    ]
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
fn quiet_ipv6(scope: &str) -> [(String, &'static str); 3] {
    ["accept_ra", "accept_dad", "dad_transmits"]
        .map(|key| (format!("ipv6/conf/{scope}/{key}"), "0"))
}
