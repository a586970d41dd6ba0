//! Random routes and settings of the router.

use std::fmt::Write as _;

use netpath::random::SplitMix64;
use netpath_common::Family;
use netpath_tests::random_rules::{DEAD, chance, ip, narrow, one, wide};

/// Lines for `ip -batch`.
pub fn routes(family: Family, random: &mut SplitMix64) -> String {
    let via = |side, last| ip(family, [side, 0, last]);
    let mut script = String::new();
    let mut add = |text: String| writeln!(script, "{text}").expect("a string");
    if chance(random, 40) {
        // Masquerading has a choice then.
        let (length, nodad) = if family == Family::V4 {
            (24, "")
        } else {
            (48, " nodad")
        };
        for address in [[2, 9, 1], [2, 0, 40]] {
            add(format!(
                "addr add {}/{length} dev r1{nodad}",
                ip(family, address)
            ));
        }
    }
    for (x, next) in [(20, via(2, 2)), (30, via(3, 3)), (50, via(2, DEAD))] {
        let mtu = match random.below(4) {
            0 => " mtu 1300",
            1 => " mtu lock 1300",
            _ => "",
        };
        add(format!("route add {} via {next}{mtu}", wide(family, x)));
    }
    add(format!(
        "route add {} nexthop via {} nexthop via {}",
        wide(family, 60),
        via(2, 2),
        via(3, 3)
    ));
    for (x, kind) in [(40, "unreachable"), (41, "blackhole"), (42, "prohibit")] {
        add(format!("route add {kind} {}", wide(family, x)));
    }
    add(format!("route add default via {} table 100", via(3, 3)));
    let kind = one(random, &["unreachable", "blackhole", "prohibit", "throw"]);
    add(format!("route add {kind} default table 101"));
    for (mark, table) in [(1, 100), (2, 101)] {
        if chance(random, 70) {
            add(format!(
                "rule add fwmark {mark} table {table} prio {}",
                100 + mark
            ));
        }
    }
    let to = narrow(family, [20, 5]);
    for (rule, percent) in [
        (format!("to {to} table 100"), 50),
        (format!("to {to} iif r0 table 101"), 20),
        ("ipproto tcp dport 8080 table 100".to_owned(), 20),
        ("ipproto udp dport 5000-5005 table 101".to_owned(), 15),
        (format!("from {} table 100", ip(family, [1, 0, 5])), 15),
        (format!("tos 0x10 to {} table 100", wide(family, 30)), 20),
        (format!("to {} prohibit", narrow(family, [30, 3])), 20),
        (format!("to {} blackhole", narrow(family, [30, 4])), 20),
    ] {
        if chance(random, percent) {
            add(format!("rule add {rule} prio {}", 200 + random.below(100)));
        }
    }
    script
}

/// Sysctls, in the order in which they are set.
pub fn settings(family: Family, random: &mut SplitMix64) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut add = |key: &str, value: usize| found.push((key.to_owned(), value.to_string()));
    match family {
        Family::V4 => {
            add("ipv4/ip_forward", usize::from(chance(random, 95)));
            if chance(random, 5) {
                add("ipv4/conf/r0/forwarding", 0);
            }
            add("ipv4/conf/all/rp_filter", one(random, &[0, 0, 0, 1, 2]));
            add("ipv4/conf/r0/rp_filter", one(random, &[0, 0, 0, 1, 2]));
            add("ipv4/conf/r1/rp_filter", one(random, &[0, 0, 0, 2]));
            add("ipv4/conf/all/src_valid_mark", random.below(2));
            add("ipv4/ip_forward_use_pmtu", random.below(2));
            add("ipv4/fib_multipath_hash_policy", random.below(2));
        }
        Family::V6 => {
            add("ipv6/conf/all/forwarding", usize::from(chance(random, 95)));
            if chance(random, 3) {
                add("ipv6/conf/r1/disable_ipv6", 1);
            }
            add("ipv6/fib_multipath_hash_policy", random.below(2));
        }
    }
    found
}
