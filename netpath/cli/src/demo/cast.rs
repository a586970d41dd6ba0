//! Who plays in the story: names and addresses, taken from the lab's topology.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath::model::{Endpoint, Node, Topology, Uplink};
use netpath_common::Family;
use serde::{Serialize as _, Serializer};

use super::error::DemoError;

/// Size of a family's IP header without options or extension headers, in bytes.
pub fn header(family: Family) -> u64 {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

/// In the story's document a family has its name of the command line.
pub fn named<S: Serializer>(family: &Family, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(family)
}

/// The same where a check may be about both.
pub fn maybe_named<S: Serializer>(
    family: &Option<Family>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    family
        .map(|family| family.to_string())
        .serialize(serializer)
}

/// The nodes and endpoints that the story is about.
#[derive(Clone, Copy, Debug)]
pub struct Cast<'a> {
    /// The node of the first two endpoints.
    pub near: &'a Node,
    /// The other node.
    pub far: &'a Node,
    /// Its uplinks, one of each node.
    pub near_uplink: &'a Uplink,
    pub far_uplink: &'a Uplink,
    /// The endpoint that sends.
    pub sender: &'a Endpoint,
    /// Its neighbour on the same node.
    pub neighbour: &'a Endpoint,
    /// One on the other node.
    pub remote: &'a Endpoint,
}

impl<'a> Cast<'a> {
    pub fn of(topology: &'a Topology) -> Result<Self, DemoError> {
        let [near, far, ..] = &topology.nodes[..] else {
            return Err(missing("second node"));
        };
        let [sender, neighbour, ..] = &near.endpoints[..] else {
            return Err(missing("second endpoint on its first node"));
        };
        let remote = far.endpoints.first();
        Ok(Self {
            near,
            far,
            near_uplink: uplink(near)?,
            far_uplink: uplink(far)?,
            sender,
            neighbour,
            remote: remote.ok_or_else(|| missing("endpoint on its second node"))?,
        })
    }

    pub fn nodes(&self) -> [&'a Node; 2] {
        [self.near, self.far]
    }
}

/// An endpoint's first address of a family.
pub fn address(endpoint: &Endpoint, family: Family) -> Result<IpAddr, DemoError> {
    endpoint
        .addresses
        .iter()
        .find(|address| Family::of(address.addr()) == family)
        .map(IpNet::addr)
        .ok_or_else(|| missing(&format!("{family} address on {}", endpoint.name)))
}

fn uplink(node: &Node) -> Result<&Uplink, DemoError> {
    node.uplinks
        .first()
        .ok_or_else(|| missing(&format!("uplink on {}", node.name)))
}

fn missing(what: &str) -> DemoError {
    DemoError::Lab {
        missing: what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_lab_has_everyone() {
        let lab = Topology::builtin_lab();
        let cast = Cast::of(&lab).expect("complete");
        let names = [cast.sender, cast.neighbour, cast.remote].map(|e| e.name.to_string());
        assert_eq!(names, ["demo01", "demo02", "demo03"]);
        assert_eq!(
            cast.nodes().map(|node| node.name.to_string()),
            ["node03", "node02"]
        );
        for endpoint in [cast.sender, cast.neighbour, cast.remote] {
            for family in Family::ALL {
                assert_eq!(
                    address(endpoint, family).expect("has one").is_ipv4(),
                    family == Family::V4
                );
            }
        }
    }
}
