//! Where connections begin and end: two nodes with two endpoints each, and somebody outside on the nodes' wire.

use std::net::IpAddr;

use crate::{
    Family,
    lab::{Lab, TWO_NODES, addresses},
};

/// Somebody whom nobody's routes lead to: not routed.
const OUTSIDE: &str = r#"
[[node]]
name = "@X"
uplink = [{ dev = "up0", addresses = ["100.100.198.1/24", "fd00:198::1/64"], wire = "@w" }]
"#;

/// All endpoints' addresses, and no node's.
pub const PODS: [&str; 2] = ["10.0.0.0/16", "fd00::/29"];

/// Nodes A and B of [`TWO_NODES`], and `X` outside. FORWARD accepts.
pub fn topology() -> String {
    let nodes = TWO_NODES.replace("\"drop\"", "\"accept\"");
    format!("{nodes}{OUTSIDE}")
}

/// A lab of [`topology`] whose nodes A and B have the fast path on, or off.
pub fn up(is_on: bool) -> Lab {
    let lab = Lab::up(&topology());
    prepare(&lab, is_on);
    lab
}

/// Has nodes A and B of a lab that is up have the fast path on, or off. All else than pods is behind `X`: who has no way to an
/// address has no connection to it, whatever is made of it on the way.
pub fn prepare(lab: &Lab, is_on: bool) {
    for node in ["A", "B"] {
        for family in Family::ALL {
            let via = address("X", family);
            lab.ip(node, &format!("route add default via {via}"));
        }
        if !is_on {
            lab.fast_path(false, node, None);
        }
    }
}

/// A place's address.
pub fn address(place: &str, family: Family) -> IpAddr {
    let both = match place {
        "X" => ["100.100.198.1", "fd00:198::1"].map(|it| it.parse().expect(it)),
        place => addresses(place),
    };
    match family {
        Family::V4 => both[0],
        Family::V6 => both[1],
    }
}

/// The family of an address.
pub fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}
