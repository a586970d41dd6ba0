//! Packets followed through a namespace that is in memory alone: two interfaces, in1 and out2, and whatever rules.

mod rules;
mod sent;
mod stages;

use std::{collections::BTreeMap, net::IpAddr};

use netpath_common::{Family, Ifindex, Mac};

use super::*;
use crate::{
    netfilter::{
        Policy,
        nft::{
            Base, Chain, ChainId, Hook, Operation, Register, Relation, Rule, TableFamily, Value,
            Verdict,
        },
    },
    netlink::{
        InterfaceAddress, Link, LinkKind, Lookup, Neighbour, NeighbourState, NoWay, Resolved,
        RouteKind, Scope,
    },
};

const IN: Ifindex = Ifindex(2);
const OUT: Ifindex = Ifindex(3);
const NEXT: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

/// A kernel that says what the test says.
#[derive(Default)]
struct Told {
    /// By destination; all else leads out by a router.
    routes: BTreeMap<IpAddr, Result<Resolved, NoWay>>,
    settings: BTreeMap<&'static str, i64>,
}

impl Kernel for Told {
    fn resolve(&self, lookup: &Lookup) -> Result<Result<Resolved, NoWay>, KernelWayError> {
        let found = self.routes.get(&lookup.destination);
        Ok(found.copied().unwrap_or(Ok(out())))
    }

    fn setting(&self, key: &str) -> Result<Option<i64>, KernelWayError> {
        let default = match key {
            "ipv6/conf/all/forwarding" | "ipv4/conf/in1/forwarding" => 1,
            "ipv6/conf/out2/mtu" => 1500,
            _ => 0,
        };
        Ok(Some(self.settings.get(key).copied().unwrap_or(default)))
    }
}

/// The way out by the router 10.9.0.1.
fn out() -> Resolved {
    Resolved {
        kind: RouteKind::Unicast,
        ifindex: OUT,
        via: Some(ip("10.9.0.1")),
        source: None,
        table: 254,
        mtu: None,
        mtu_locked: false,
        learnt: false,
    }
}

fn link(ifindex: Ifindex, name: &str) -> Link {
    Link {
        ifindex,
        name: name.to_owned(),
        altnames: Vec::new(),
        mac: Some(Mac([2, 0, 0, 0, 0, 1])),
        hardware: 1,
        point_to_point: false,
        no_arp: false,
        up: true,
        operational: true,
        carrier: true,
        controller: Ifindex(0),
        port_of: None,
        peer: None,
        mtu: 1500,
        kind: LinkKind::Veth,
        xdp: Vec::new(),
        undecoded: None,
    }
}

fn state() -> State {
    let address = |ifindex, text: &str| {
        let address = InterfaceAddress {
            address: text.parse().expect(text),
            peer: None,
            scope: Scope::Universe,
            permanent: true,
            tentative: false,
            duplicate: false,
        };
        (ifindex, address)
    };
    State {
        links: vec![link(IN, "in1"), link(OUT, "out2")],
        addresses: vec![address(IN, "10.1.0.1/24"), address(OUT, "10.9.0.2/24")],
        neighbours: vec![Neighbour {
            ifindex: OUT,
            address: ip("10.9.0.1"),
            mac: Some(NEXT),
            state: NeighbourState::Reachable,
            age: None,
            is_router: false,
        }],
        ..State::default()
    }
}

/// From 10.1.0.2 to 10.2.0.2, or the like of IPv6, port 80, by TCP.
fn question(family: Family) -> Question {
    let (source, destination) = match family {
        Family::V4 => (ip("10.1.0.2"), ip("10.2.0.2")),
        Family::V6 => (ip("fd00:1::2"), ip("fd00:2::2")),
    };
    Question {
        packet: Packet {
            source,
            destination,
            transport: Transport::Tcp {
                source_port: 40_000,
                destination_port: 80,
                flags: 2,
            },
            ttl: 64,
            tos: 0,
            length: 100,
            dont_fragment: true,
            mark: 0,
            flow_label: 0,
            fragments: None,
        },
        entry: Entry::By {
            ifindex: IN,
            source_mac: None,
        },
        connection: Connection::New,
    }
}

fn chain_id(name: &str) -> ChainId {
    ChainId {
        family: TableFamily::Inet,
        table: "t".to_owned(),
        name: name.to_owned(),
    }
}

/// A base chain of table inet t.
fn chain(state: &mut State, name: &str, at: (Hook, i32), policy: Policy, rules: &[Vec<Operation>]) {
    let (hook, priority) = at;
    let kind = if name.contains("nat") {
        "nat"
    } else {
        "filter"
    };
    let base = Base {
        kind: kind.to_owned(),
        hook,
        priority,
        policy,
        devices: Vec::new(),
        count: None,
    };
    let rules = rules.iter().zip(1..).map(|(operations, handle)| Rule {
        handle,
        operations: operations.clone(),
        text: None,
    });
    let chain = Chain {
        base: Some(base),
        rules: rules.collect(),
    };
    state.rules.chains.insert(chain_id(name), chain);
}

fn verdict(verdict: Verdict) -> Operation {
    Operation::Verdict(verdict)
}

fn immediate(data: &[u8]) -> Operation {
    Operation::Immediate {
        into: Register(0),
        data: data.to_vec(),
    }
}

/// `meta <key> <data>`.
fn meta_is(key: u32, data: &[u8]) -> [Operation; 2] {
    let into = Register(0);
    [
        Operation::Load {
            value: Value::Meta(key),
            into,
        },
        Operation::Compare {
            register: into,
            relation: Relation::Equal,
            data: data.to_vec(),
        },
    ]
}

fn answer(state: &State, kernel: &Told, question: &Question) -> Answer {
    ask(state, kernel, question).expect("the test says all")
}

fn certain(state: &State, kernel: &Told, question: &Question) -> End {
    let answer = answer(state, kernel, question);
    let end = answer.certain();
    end.unwrap_or_else(|| panic!("{answer:?}")).clone()
}

fn leaving(end: &End) -> &Leaving {
    match end {
        End::Leaves(leaving) => leaving,
        other => panic!("{other}"),
    }
}
