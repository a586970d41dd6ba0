//! Several next hops at once.

use std::net::IpAddr;

use super::{NEXT_HOPS, hop, neighbours, remote};
use crate::{
    Family,
    conformance::{
        case::{Flow, Step},
        cases::List,
        lab::Place,
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
    for (name, weights) in [
        ("1:1", &[1u32, 1][..]),
        ("2:1", &[2, 1]),
        ("11:45", &[11, 45]),
        ("1:1:1", &[1, 1, 1]),
    ] {
        for policy in ["0", "1"] {
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
                format!("ECMP {name}, hash policy {policy}"),
                "RFC 2992; fib_multipath_hash()",
                frames(),
            );
            case.steps = neighbours(family)
                .chain([
                    Step::sysctl(Place::NodeA, sysctl, policy),
                    Step::ip(
                        Place::NodeA,
                        format!("route add {prefix}{legs}"),
                        format!("route del {prefix}"),
                    ),
                ])
                .collect();
        }
    }
    // The kernel sends an error the way of the packets that it is about: here from another address of the
    // sender's side to many hosts.
    let errors = || {
        (1..=40u8).map(|number| {
            let host = match host {
                IpAddr::V4(host) => IpAddr::V4((u32::from(host) + u32::from(number)).into()),
                IpAddr::V6(host) => IpAddr::V6((u128::from(host) + u128::from(number)).into()),
            };
            let to = to.to(host);
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
    for policy in ["0", "1"] {
        let mut special = vec![("ICMP errors", errors().collect::<Vec<_>>())];
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
                format!("ECMP of {name}, hash policy {policy}"),
                "RFC 2992; icmp_multipath_hash",
                frames,
            );
            case.steps = neighbours(family)
                .chain([
                    Step::sysctl(Place::NodeA, sysctl, policy),
                    Step::ip(
                        Place::NodeA,
                        format!("route add {prefix}{legs}"),
                        format!("route del {prefix}"),
                    ),
                ])
                .collect();
        }
    }
    for kind in ["mpath", "resilient buckets 64"] {
        let case = list.frames(
            flow,
            format!("ECMP by a nexthop group, type {kind}, hash policy 1"),
            "fib_nexthops.sh",
            frames(),
        );
        let member = |id: u8, number: u8| {
            Step::ip(
                Place::NodeA,
                format!("nexthop add id {id} via {} dev up0", hop(family, number)),
                format!("nexthop del id {id}"),
            )
        };
        case.steps = neighbours(family)
            .chain([
                Step::sysctl(Place::NodeA, sysctl, "1"),
                member(71, 11),
                member(72, 12),
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
    }
}
