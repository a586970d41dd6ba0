//! Several next hops at once.

use std::net::IpAddr;

use super::{NEXT_HOPS, hop, neighbours, remote};
use crate::{
    Family,
    conformance::{
        case::{Flow, Step},
        cases::List,
        place::Place,
    },
};

/// Which path each of many flows takes is the kernel's choice, flow by flow.
pub(super) fn add(list: &mut List<'_>, flow: &Flow) {
    const FLOWS: u16 = 100;
    let (prefix, host) = remote(flow.family);
    let family = flow.family;
    let to = flow.to(host);
    let frames = || {
        let mut frames = Vec::new();
        for number in 0..FLOWS {
            let port = 20_000 + number * 7;
            let udp = to
                .ip()
                .udp(port, 40_001)
                .flow_label(u32::from(number) * 331);
            frames.push(udp.payload(&number.to_be_bytes()).build());
            frames.push(to.ip().tcp(port, 40_001, 2).build());
        }
        for number in 0..10 {
            if flow.is_v4() {
                let fragment = to.ip().protocol(17).fragment(800, false).id(number);
                frames.push(fragment.payload(&[number as u8; 16]).build());
            }
            let kind = if flow.is_v4() { 8 } else { 128 };
            frames.push(to.ip().icmp(kind, 0, [0, number as u8, 0, 0]).build());
            for protocol in [33, 50, 51, 136] {
                let spi = [0, 8, 3, number as u8, 7, 7, number as u8, 1, 0, 0];
                frames.push(to.ip().protocol(protocol).payload(&spi).build());
            }
            frames.push(
                to.ip()
                    .protocol(47)
                    .payload(&[0, 0, 8, 0, number as u8])
                    .build(),
            );
        }
        frames
    };
    let sysctl = match family {
        Family::V4 => "ipv4/fib_multipath_hash_policy",
        Family::V6 => "ipv6/fib_multipath_hash_policy",
    };
    let steps = |policy: &str, legs: &str| {
        neighbours(family)
            .chain([
                Step::sysctl(Place::NodeA, sysctl, policy),
                Step::ip(
                    Place::NodeA,
                    format!("route add {prefix}{legs}"),
                    format!("route del {prefix}"),
                ),
            ])
            .collect()
    };
    for (name, weights) in [
        ("1:1", &[1u32, 1][..]),
        ("2:1", &[2, 1]),
        ("11:45", &[11, 45]),
        ("1:1:1", &[1, 1, 1]),
    ] {
        for policy in ["0", "1", "2", "3"] {
            let legs: String = weights
                .iter()
                .zip(NEXT_HOPS)
                .map(|(weight, (number, _))| {
                    let hop = hop(family, number);
                    format!(" nexthop via {hop} dev up0 weight {weight}")
                })
                .collect();
            let case = list.frames(
                flow,
                format!("ECMP by hash policy {policy}: {name}"),
                "RFC 2992; fib_multipath_hash()",
                frames(),
            );
            case.steps = steps(policy, &legs);
        }
    }
    // The kernel sends an error the way of the packets that it is about: here from another address of the
    // sender's side to many hosts.
    let errors = || {
        (1..=40u8).map(|number| {
            let to = to.to(beside(host, number));
            let about = to.from(host).to(Place::A2.address(family)).udp().build();
            let (kind, code) = if flow.is_v4() { (3, 3) } else { (1, 4) };
            to.ip()
                .icmp(kind, code, [0; 4])
                .payload(&about[14..])
                .build()
        })
    };
    let pad = [1, 4, 0, 0, 0, 0];
    let behind = |number: u16| {
        let port = 20_000 + number * 7;
        let to = to.to(beside(host, number as u8));
        let udp = to.ip().udp(port, 40_001).payload(&number.to_be_bytes());
        let fragment = to.ip().protocol(17).fragment(800, false).id(number.into());
        [
            udp.clone().extension(60, &pad).build(),
            udp.extension(60, &pad)
                .fragment(0, true)
                .id(number.into())
                .build(),
            fragment.payload(&[number as u8; 16]).build(),
        ]
    };
    // From one tunnel's end to another, packets between many hosts.
    let tunnelled = || {
        (1..=40u8).map(|number| {
            let inner = flow.to(beside(host, number)).udp().build();
            let protocol = if flow.is_v4() { 4 } else { 41 };
            let outer = to.ip().protocol(protocol).id(number.into());
            outer.payload(&inner[14..]).build()
        })
    };
    for policy in ["0", "1", "2", "3"] {
        let mut special = vec![
            ("ICMP errors", errors().collect::<Vec<_>>()),
            ("tunnelled packets", tunnelled().collect()),
        ];
        if !flow.is_v4() {
            let frames = (0..40).flat_map(behind).collect();
            special.push(("IPv6 extension headers and fragments", frames));
        }
        for (name, frames) in special {
            let legs: String = [11, 12]
                .map(|number| format!(" nexthop via {} dev up0", hop(family, number)))
                .concat();
            let case = list.frames(
                flow,
                format!("ECMP by hash policy {policy}: {name}"),
                "RFC 2992; icmp_multipath_hash",
                frames,
            );
            case.steps = steps(policy, &legs);
        }
    }
    if flow.is_v4() {
        let (v4, v6) = (hop(Family::V4, 11), hop(Family::V6, 12));
        let case = list.frames(
            flow,
            "ECMP by hash policy 1: an IPv4 and an IPv6 next hop",
            "RFC 5549; fib_nexthops.sh",
            frames(),
        );
        let legs = format!("nexthop via {v4} dev up0 nexthop via inet6 {v6} dev up0");
        case.steps = Family::ALL
            .into_iter()
            .flat_map(neighbours)
            .chain([
                Step::sysctl(Place::NodeA, sysctl, "1"),
                Step::ip(
                    Place::NodeA,
                    format!("route add {prefix} {legs}"),
                    format!("route del {prefix}"),
                ),
            ])
            .collect();
    }
    let replaced = format!("nexthop replace id 72 via {} dev up0", hop(family, 13));
    for (name, kind, change) in [
        ("type mpath", "mpath", ""),
        ("type resilient buckets 64", "resilient buckets 64", ""),
        ("a member replaced", "mpath", &replaced),
        ("a member gone", "mpath", "nexthop del id 72"),
    ] {
        let case = list.frames(
            flow,
            format!("ECMP by hash policy 1: a nexthop group, {name}"),
            "fib_nexthops.sh",
            frames(),
        );
        let member = |id: u8, number: u8, undo: &str| {
            Step::ip(
                Place::NodeA,
                format!("nexthop add id {id} via {} dev up0", hop(family, number)),
                undo,
            )
        };
        let undo = if change.contains("del") {
            ""
        } else {
            "nexthop del id 72"
        };
        case.steps = neighbours(family)
            .chain([
                Step::sysctl(Place::NodeA, sysctl, "1"),
                member(71, 11, "nexthop del id 71"),
                member(72, 12, undo),
                Step::ip(
                    Place::NodeA,
                    format!("nexthop add id 80 group 71,2/72,1 type {kind}"),
                    "nexthop del id 80",
                ),
                Step::ip(
                    Place::NodeA,
                    format!("route add {prefix} nhid 80"),
                    format!("route del {prefix}"),
                ),
            ])
            .collect();
        if !change.is_empty() {
            case.steps.push(Step::ip(Place::NodeA, change, ""));
        }
    }
}

/// The address that comes so many after another.
fn beside(host: IpAddr, number: u8) -> IpAddr {
    match host {
        IpAddr::V4(host) => IpAddr::V4((u32::from(host) + u32::from(number)).into()),
        IpAddr::V6(host) => IpAddr::V6((u128::from(host) + u128::from(number)).into()),
    }
}
