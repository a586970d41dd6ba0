//! The node whose programs are compared: a `TestNode` with a third endpoint and two more uplinks.

use netpath::{
    datapath::{Datapath, DatapathError, ReturnCode, TestPacket, Writer},
    netns::{Inside, Netns},
};
use netpath_common::{
    EndpointEntry, EndpointId, FeatureBits, Ifindex, InterfaceState, Mac, RouteEntry,
};
use nix::net::if_::if_nametoindex;

use super::{Hop, Interface, Packet, Tables};
use crate::{Device, Family, TestNode};

/// Marks the kernel's routes that tables bring (`rt_protocol`), so that they can be removed together.
const PROTOCOL: u8 = 222;

/// A node with endpoints a, b, c and uplinks up0, up1, up2.
#[derive(Debug)]
pub struct Router {
    node: TestNode,
    interfaces: Vec<Interface>,
}

impl Router {
    /// Sets it up.
    pub fn new() -> Self {
        let mut node = TestNode::new();
        let added = [("epc", 3, 3), ("up1", 4, 0), ("up2", 5, 0)];
        let added = added.map(|(name, number, endpoint)| add(&node, name, number, endpoint));
        for device in added {
            node.set_interface(device, InterfaceState::Ready);
        }
        node.ip("link set epb mtu 1400\nlink set up1 mtu 1280\nlink set up2 mtu 9000");
        let [c, up1, up2] = added;
        let interfaces = [
            (node.uplink, 1500),
            (up1, 1280),
            (up2, 9000),
            (node.a, 1500),
            (node.b, 1400),
            (c, 1500),
        ];
        Self {
            node,
            interfaces: interfaces
                .map(|(device, mtu)| Interface { device, mtu })
                .to_vec(),
        }
    }

    /// All of its interfaces, the `TestNode`'s uplink first.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        self.node.netns()
    }

    /// Its datapath.
    pub fn datapath(&self) -> &Datapath {
        self.node.datapath()
    }

    /// Replaces netpath's tables and the kernel's routes by these.
    pub fn install(&mut self, tables: &Tables) {
        self.node.change(|maps| {
            let filled = self.node.netns().run(|| fill(maps, tables));
            filled.unwrap_or_else(|e| panic!("{e}"))
        });
        for (family, width) in [(Family::V4, 32), (Family::V6, 128)] {
            let routes = tables.routes.iter();
            let routes = routes.filter(|(prefix, _)| prefix.first.width == width);
            let lines: String = routes
                .map(|(prefix, hop)| self.route(family, &format!("{prefix:?}"), *hop))
                .collect();
            let flush = format!("route flush proto {PROTOCOL}\n");
            self.node.ip_of(family, &(flush + &lines));
        }
    }

    fn route(&self, family: Family, prefix: &str, hop: Hop) -> String {
        let name = |ifindex| {
            let mut interfaces = self.interfaces.iter();
            let found = interfaces.find(|i| i.device.ifindex == ifindex);
            found
                .expect("tables name this node's interfaces")
                .device
                .name
        };
        let (kind, to) = match hop {
            Hop::Out(ifindex, None) => ("", format!("dev {}", name(ifindex))),
            Hop::Out(ifindex, Some(router)) => {
                let via = match family {
                    Family::V4 => format!("100.100.198.{router}"),
                    Family::V6 => format!("fe80::{router}"),
                };
                ("", format!("via {via} dev {} onlink", name(ifindex)))
            }
            Hop::Blackhole => ("blackhole", String::new()),
            Hop::Unreachable => ("unreachable", String::new()),
            Hop::Prohibit => ("prohibit", String::new()),
            Hop::Own => unreachable!("only the kernel makes those here"),
        };
        format!("route add {kind} {prefix} {to} proto {PROTOCOL}\n")
    }

    /// How often a packet is run.
    pub const TIMES: usize = 3;

    /// What the program answers: the stages, and then the decision cache where it may. The calling thread is in the node's
    /// namespace.
    pub fn run(&self, packet: &Packet) -> ReturnCode {
        let test = TestPacket {
            ingress_ifindex: packet.ingress,
            ..TestPacket::new(packet.frame.clone(), packet.ingress)
        };
        let run = |()| {
            let datapath = self.datapath();
            let outcome = datapath.test_run(&Inside::current(), packet.program, &test);
            outcome.unwrap_or_else(|e| panic!("{e}\n{packet}")).code
        };
        let [by_stages, again, cached] = [(); Self::TIMES].map(run);
        assert_eq!([again, cached], [by_stages; 2], "again\n{packet}");
        by_stages
    }
}

fn add(node: &TestNode, name: &'static str, number: u8, endpoint: u32) -> Device {
    let mac = Mac([0x02, 0, 0, 0, number, 0xfe]);
    let far_mac = Mac([0x02, 0, 0, 0, number, 0x01]);
    node.ip(&format!(
        "link add {name} address {mac} type veth peer name {name} address {far_mac} netns {}\n\
         link set {name} up",
        node.far().name(),
    ));
    crate::system::ip(node.far(), &[], &format!("link set {name} up"));
    let index = || if_nametoindex(name).expect("it was just made");
    Device {
        name,
        ifindex: Ifindex(node.netns().run(index).unwrap_or_else(|e| panic!("{e}"))),
        mac,
        far_mac,
        endpoint: EndpointId(endpoint),
    }
}

/// Writes netpath's maps, in the node's namespace.
fn fill(maps: &Writer<'_>, tables: &Tables) -> Result<(), DatapathError> {
    for address in maps.reader.endpoints()?.into_keys() {
        maps.remove_endpoint(address)?;
    }
    for prefix in maps.reader.routes()?.into_keys() {
        maps.remove_route(prefix)?;
    }
    for &address in &tables.node {
        maps.set_endpoint(address.ip(), &EndpointEntry::NODE)?;
    }
    for &(address, ifindex) in &tables.endpoints {
        let device = tables.interface(ifindex).device;
        let entry = device.address();
        maps.set_device(entry.id, ifindex)?;
        maps.set_endpoint(address.ip(), &entry)?;
    }
    for prefix in &tables.remote {
        let text = format!("{prefix:?}");
        maps.set_route(text.parse().expect("a prefix"), &RouteEntry::REMOTE)?;
    }
    for &(prefix, ifindex) in &tables.local {
        let text = format!("{prefix:?}");
        let device = tables.interface(ifindex).device;
        maps.set_device(device.endpoint, ifindex)?;
        let entry = RouteEntry::local(&device.address());
        maps.set_route(text.parse().expect("a prefix"), &entry)?;
    }
    maps.features.set(&FeatureBits {
        bits: match tables.local.is_empty() {
            true => 0,
            false => FeatureBits::LOCAL_PREFIXES,
        },
        route_mtu: 0,
    })
}
