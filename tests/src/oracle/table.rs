//! Random tables: who has which address, what is remote, and where the kernel's routes lead.

use std::fmt;

use netpath_common::Ifindex;

use super::prefix::{Address, Prefix};
use crate::{Addresses as _, Device, Family, fuzz::Rng};

/// An interface of the node.
#[derive(Clone, Copy, Debug)]
pub struct Interface {
    /// It and what is behind it.
    pub device: Device,
    /// In bytes.
    pub mtu: usize,
}

impl Interface {
    /// Whether other nodes are behind it.
    pub fn is_uplink(&self) -> bool {
        self.device.endpoint.0 == 0
    }
}

/// Where a route of the kernel's leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Out of this interface; over a router behind it with this number, if it is not on the link itself.
    Out(Ifindex, Option<u8>),
    /// `blackhole`.
    Blackhole,
    /// `unreachable`.
    Unreachable,
    /// `prohibit`.
    Prohibit,
    /// Of a type that forwards nothing: the node's own, broadcast, anycast.
    Own,
}

/// All that a choice depends on, but for the packet.
#[derive(Clone, Debug)]
pub struct Tables {
    /// The node's interfaces.
    pub interfaces: Vec<Interface>,
    /// Which address belongs to the endpoint behind which interface.
    pub endpoints: Vec<(Address, Ifindex)>,
    /// The node's own.
    pub node: Vec<Address>,
    /// netpath's route table: the prefixes in it that are remote.
    pub remote: Vec<Prefix>,
    /// Those that are routed to the endpoint behind an interface.
    pub local: Vec<(Prefix, Ifindex)>,
    /// The kernel's routes that are made for these tables.
    pub routes: Vec<(Prefix, Hop)>,
    /// Those that it has anyway.
    pub fixed: Vec<(Prefix, Hop)>,
}

impl Tables {
    /// The interface with this index.
    pub fn interface(&self, ifindex: Ifindex) -> &Interface {
        let mut interfaces = self.interfaces.iter();
        interfaces
            .find(|interface| interface.device.ifindex == ifindex)
            .expect("only the node's own are asked for")
    }

    /// The addresses of the endpoint behind an interface.
    pub fn addresses_of(&self, ifindex: Ifindex) -> Vec<Address> {
        let its = self.endpoints.iter().filter(|(_, at)| *at == ifindex);
        its.map(|&(address, _)| address).collect()
    }

    /// The prefixes of the endpoint behind an interface.
    pub fn prefixes_of(&self, ifindex: Ifindex) -> Vec<Prefix> {
        let its = self.local.iter().filter(|(_, at)| *at == ifindex);
        its.map(|&(prefix, _)| prefix).collect()
    }
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Interface { device, mtu } in &self.interfaces {
            writeln!(f, "  {} = {}, mtu {mtu}", device.ifindex.0, device.name)?;
        }
        writeln!(f, "  endpoints {:?}", self.endpoints)?;
        writeln!(f, "  node      {:?}", self.node)?;
        writeln!(f, "  remote    {:?}", self.remote)?;
        writeln!(f, "  local     {:?}", self.local)?;
        writeln!(
            f,
            "  kernel    {:?}\n            {:?}",
            self.routes, self.fixed
        )
    }
}

/// The kernel's routes by the addresses that a `TestNode`'s uplink has: the node's subnets, their first and last
/// addresses, and the two subnets of the other node.
pub fn fixed(uplink: Ifindex) -> Vec<(Prefix, Hop)> {
    let link = Hop::Out(uplink, None);
    let router = Hop::Out(uplink, Some(253));
    [
        ("100.100.198.0/24", link),
        ("100.100.198.250/32", Hop::Own),
        ("100.100.198.255/32", Hop::Own),
        ("10.0.3.0/24", router),
        ("fd00:198::/64", link),
        ("fd00:198::/128", Hop::Own),
        ("fd00:198::250/128", Hop::Own),
        ("fd00:3::/64", router),
    ]
    .map(|(prefix, hop)| (Prefix::of(prefix), hop))
    .to_vec()
}

/// Random tables for a node with these interfaces, the first uplink of which is a `TestNode`'s.
pub fn generate(rng: &mut Rng, interfaces: &[Interface]) -> Tables {
    let uplinks: Vec<_> = interfaces.iter().filter(|i| i.is_uplink()).collect();
    let mut tables = Tables {
        interfaces: interfaces.to_vec(),
        endpoints: Vec::new(),
        node: Family::ALL
            .map(|family| Address::from(family.node()))
            .to_vec(),
        remote: Vec::new(),
        local: Vec::new(),
        routes: Vec::new(),
        fixed: fixed(uplinks[0].device.ifindex),
    };
    for family in Family::ALL {
        // Everything happens around a few places, so that it nests and overlaps.
        let places: Vec<_> = (0..1 + rng.below(4)).map(|_| place(rng, family)).collect();
        add_endpoints(rng, &mut tables, &places);
        add_remote(rng, &mut tables, &places);
        // Many nodes have none at all.
        if rng.chance(60) {
            add_local(rng, &mut tables, &places);
        }
        add_routes(rng, &mut tables, &places);
    }
    tables
}

/// An address that a router may forward to.
fn place(rng: &mut Rng, family: Family) -> Address {
    let bits = u128::from(rng.next()) << 64 | u128::from(rng.next());
    match family {
        Family::V4 => {
            let first = rng.pick(&[1, 10, 63, 64, 100, 128, 172, 192, 223]);
            Address {
                bits: u128::from(u32::from_be_bytes([first, 0, 0, 0])) | bits & 0xff_ffff,
                width: 32,
            }
        }
        Family::V6 => {
            let first: u128 = rng.pick(&[0x2001, 0x3fff, 0x4000, 0xfd00, 0xfc00, 0x8000]);
            Address {
                bits: first << 112 | bits & (u128::MAX >> 16),
                width: 128,
            }
        }
    }
}

/// Another address near one of these: few bits differ, all behind the first byte.
fn near(rng: &mut Rng, places: &[Address]) -> Address {
    let mut address = rng.pick(places);
    for _ in 0..rng.below(4) {
        address = address.flipped(8 + rng.below(address.width as usize - 8) as u32);
    }
    address
}

fn add_endpoints(rng: &mut Rng, tables: &mut Tables, places: &[Address]) {
    let veths: Vec<_> = tables
        .interfaces
        .iter()
        .filter(|i| !i.is_uplink())
        .copied()
        .collect();
    for veth in veths {
        for _ in 0..rng.below(6) {
            let address = near(rng, places);
            let taken = tables.endpoints.iter().any(|(its, _)| *its == address);
            if !taken && !tables.node.contains(&address) {
                tables.endpoints.push((address, veth.device.ifindex));
            }
        }
    }
}

/// A prefix around one of the places, of any length but 0: the default route is never in a table.
fn prefix(rng: &mut Rng, places: &[Address]) -> Prefix {
    let address = near(rng, places);
    let width = address.width;
    let length = match rng.below(10) {
        0 => 1,
        1 => 2 + rng.below(7) as u32,
        2 => width,
        3 => width - 1,
        4 => 8 * (1 + rng.below(width as usize / 8)) as u32,
        _ => 1 + rng.below(width as usize) as u32,
    };
    Prefix::around(address, length)
}

fn add_remote(rng: &mut Rng, tables: &mut Tables, places: &[Address]) {
    for _ in 0..rng.below(24) {
        let prefix = prefix(rng, places);
        if !tables.remote.contains(&prefix) {
            tables.remote.push(prefix);
        }
    }
}

/// The real ones overlap nothing; these nest in remote ones, around them, around addresses of other endpoints.
fn add_local(rng: &mut Rng, tables: &mut Tables, places: &[Address]) {
    let veths: Vec<_> = tables
        .interfaces
        .iter()
        .filter(|i| !i.is_uplink())
        .map(|i| i.device.ifindex)
        .collect();
    for _ in 0..1 + rng.below(8) {
        let prefix = prefix(rng, places);
        let taken = tables.local.iter().any(|(its, _)| *its == prefix);
        if !taken && !tables.remote.contains(&prefix) {
            tables.local.push((prefix, rng.pick(&veths)));
        }
    }
}

fn add_routes(rng: &mut Rng, tables: &mut Tables, places: &[Address]) {
    let width = places[0].width;
    let same = |prefix: &&Prefix| prefix.first.width == width;
    let remote: Vec<_> = tables.remote.iter().filter(same).copied().collect();
    let mut wanted: Vec<Prefix> = (0..rng.below(12)).map(|_| prefix(rng, places)).collect();
    wanted.extend(remote.into_iter().filter(|_| rng.chance(80)));
    if rng.chance(30) {
        wanted.push(Prefix::around(places[0], 0));
    }
    for prefix in wanted {
        let known = tables.routes.iter().chain(&tables.fixed);
        if known.clone().all(|(its, _)| *its != prefix) {
            let hop = hop(rng, &tables.interfaces);
            tables.routes.push((prefix, hop));
        }
    }
}

fn hop(rng: &mut Rng, interfaces: &[Interface]) -> Hop {
    match rng.below(12) {
        0 => Hop::Blackhole,
        1 => Hop::Unreachable,
        2 => Hop::Prohibit,
        3 => Hop::Out(rng.pick(interfaces).device.ifindex, None),
        _ => {
            let uplinks: Vec<_> = interfaces.iter().filter(|i| i.is_uplink()).collect();
            let uplink = rng.pick(&uplinks).device.ifindex;
            Hop::Out(uplink, Some(rng.pick(&[252, 253])))
        }
    }
}
