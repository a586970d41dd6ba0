//! A router with two endpoints and an uplink.

use std::net::IpAddr;

use netpath::{
    datapath::{Datapath, DatapathError, ProgramKind, Writer},
    netns::{Inside, Netns},
    probe::frame::FrameBuilder,
};
use netpath_common::{
    EndpointEntry, EndpointId, FeatureBits, Ifindex, InterfaceEntry, InterfaceKind, InterfaceState,
    Mac, RouteEntry, fixed,
};
use nix::net::if_::if_nametoindex;

use crate::{
    Addresses as _, Family,
    guard::{DatapathGuard, NetnsGuard, unique_name},
    passage::Passage,
    system,
};

/// A veth pair with one end in the node and the other outside, under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: &'static str,
    /// Index of the end inside the node.
    pub ifindex: Ifindex,
    /// MAC of the end inside the node.
    pub mac: Mac,
    /// MAC of the end outside.
    pub far_mac: Mac,
    /// The endpoint behind it, 0 for the uplink.
    pub endpoint: EndpointId,
}

impl Device {
    /// An empty frame from outside to the node.
    pub fn frame(&self) -> FrameBuilder {
        FrameBuilder::new(self.far_mac, self.mac)
    }

    /// What the maps say of an address of the endpoint behind it.
    pub fn address(&self) -> EndpointEntry {
        EndpointEntry {
            ifindex: self.ifindex,
            id: self.endpoint,
            endpoint_mac: self.far_mac,
            host_mac: self.mac,
            ..EndpointEntry::NODE
        }
    }

    /// What the `interfaces` map says of it when it is complete.
    pub fn entry(&self, state: InterfaceState) -> InterfaceEntry {
        let (kind, endpoint) = match self.endpoint {
            EndpointId(0) => (InterfaceKind::Uplink, ""),
            _ => (InterfaceKind::Endpoint, self.name),
        };
        InterfaceEntry {
            kind: kind as u32,
            state: state as u32,
            endpoint_id: self.endpoint,
            rp_filter: 0,
            punt_ingress: 0,
            punt_egress: 0,
            name: fixed(self.name).expect("the name is short"),
            endpoint: fixed(endpoint).expect("the name is short"),
        }
    }
}

/// A router: endpoints `a` and `b`, each behind a veth, and an uplink to another node that has the subnets
/// 10.0.3.0/24 and fd00:3::/64. All of 10.0.0.0/16 and fd00::/24 is in the route table as remote.
///
/// Programs are loaded, not attached: see [`TestNode::attach`].
#[derive(Debug)]
pub struct TestNode {
    /// Endpoint a.
    pub a: Device,
    /// Endpoint b.
    pub b: Device,
    /// The uplink.
    pub uplink: Device,
    // Dropped in this order: programs are detached before their interfaces are gone.
    datapath: DatapathGuard,
    node: NetnsGuard,
    far: NetnsGuard,
}

impl Default for TestNode {
    fn default() -> Self {
        Self::new()
    }
}

impl TestNode {
    /// Sets it up.
    pub fn new() -> Self {
        let name = unique_name();
        let node = NetnsGuard::new(&name);
        let far = NetnsGuard::new(&format!("{name}-far"));
        let device = |name: &'static str, number: u8| Device {
            name,
            ifindex: Ifindex(0),
            mac: Mac([0x02, 0, 0, 0, number, 0xfe]),
            far_mac: Mac([0x02, 0, 0, 0, number, 0x01]),
            endpoint: EndpointId(number.into()),
        };
        let mut devices = [device("epa", 1), device("epb", 2), device("up0", 0)];
        set_up_kernel(&node.netns, &far.netns, &devices);
        let find = || {
            for device in &mut devices {
                device.ifindex = Ifindex(if_nametoindex(device.name).expect("it was just made"));
            }
        };
        node.netns.run(find).unwrap_or_else(|e| panic!("{e}"));
        let [a, b, uplink] = devices;
        let mut test_node = Self {
            a,
            b,
            uplink,
            datapath: DatapathGuard::new(&node.netns),
            node,
            far,
        };
        test_node.fill_maps();
        test_node
    }

    fn fill_maps(&mut self) {
        for device in [self.a, self.b, self.uplink] {
            self.set_interface(device, InterfaceState::Ready);
        }
        for family in Family::ALL {
            self.set_endpoint(family.a(), self.a);
            self.set_endpoint(family.a_too(), self.a);
            self.set_endpoint(family.b(), self.b);
            self.set_node_address(family.node());
        }
        self.set_route("10.0.0.0/16", &RouteEntry::REMOTE);
        self.set_route("fd00::/24", &RouteEntry::REMOTE);
    }

    /// Adds an interface with an index of one's own choice and an endpoint behind it, of which nothing is in the maps
    /// yet.
    pub fn add(&self, name: &'static str, ifindex: u32, number: u8) -> Device {
        let mac = Mac([0x02, 0, 0, 0, number, 0xfe]);
        let far_mac = Mac([0x02, 0, 0, 0, number, 0x01]);
        self.ip(&format!(
            "link add {name} index {ifindex} address {mac} type veth peer name {name} address {far_mac} netns {}\n\
             link set {name} up",
            self.far().name(),
        ));
        system::ip(self.far(), &[], &format!("link set {name} up"));
        Device {
            name,
            ifindex: Ifindex(ifindex),
            mac,
            far_mac,
            endpoint: EndpointId(number.into()),
        }
    }

    /// The node's namespace.
    pub fn netns(&self) -> &Netns {
        &self.node.netns
    }

    /// The namespace that the endpoints and the other node share.
    pub fn far(&self) -> &Netns {
        &self.far.netns
    }

    /// The node's datapath.
    pub fn datapath(&self) -> &Datapath {
        self.datapath.get()
    }

    /// Runs lines of `ip` commands inside the node, and waits until the decision cache has to heed them.
    pub fn ip(&self, lines: &str) {
        self.ip_only(lines);
        system::wait_for_ticks();
    }

    /// The same without waiting.
    pub fn ip_only(&self, lines: &str) {
        system::ip(self.netns(), &[], lines);
    }

    /// The same, where the command does not say of which family it is.
    pub fn ip_of(&self, family: Family, lines: &str) {
        let option = match family {
            Family::V4 => "-4",
            Family::V6 => "-6",
        };
        system::ip(self.netns(), &[option], lines);
        system::wait_for_ticks();
    }

    /// Sets a sysctl below /proc/sys/net inside the node, and waits as [`TestNode::ip`].
    pub fn sysctl(&self, key: &str, value: u32) {
        system::sysctl(self.netns(), &[(key, value)]);
        system::wait_for_ticks();
    }

    /// Changes the node's maps.
    pub fn change<T>(&self, change: impl FnOnce(&Writer<'_>) -> Result<T, DatapathError>) -> T {
        self.datapath.change(change)
    }

    /// Describes a device in the `interfaces` map.
    pub fn set_interface(&mut self, device: Device, state: InterfaceState) {
        let entry = device.entry(state);
        self.change(|maps| maps.set_interface(device.ifindex, &entry));
    }

    /// Whether the `interfaces` map says that a device is complete.
    pub fn is_ready(&self, device: Device) -> bool {
        let entry = self.datapath().maps.interfaces.get(&device.ifindex);
        let entry = entry.unwrap_or_else(|e| panic!("{e}"));
        entry.is_some_and(|entry| entry.state == InterfaceState::Ready as u32)
    }

    /// Sets the kernel's reverse-path filter on a device, and says so in the maps.
    pub fn filter_reverse_path(&mut self, device: Device, mode: u32) {
        self.sysctl(&format!("ipv4/conf/{}/rp_filter", device.name), mode);
        self.add_feature(FeatureBits::REVERSE_PATH);
        let entry = InterfaceEntry {
            rp_filter: mode,
            ..device.entry(InterfaceState::Ready)
        };
        self.change(|maps| maps.set_interface(device.ifindex, &entry));
    }

    fn add_feature(&mut self, feature: u32) {
        self.change(|maps| maps.features.update(|features| features.bits |= feature));
    }

    /// Takes a device out of the `interfaces` map.
    pub fn remove_interface(&mut self, device: Device) {
        self.set_interface(device, InterfaceState::Preparing);
        self.change(|maps| maps.interfaces.remove(&device.ifindex));
    }

    /// Tells where the endpoint behind a device is.
    fn set_device(&mut self, device: Device) {
        self.change(|maps| {
            let set = || maps.set_device(device.endpoint, device.ifindex);
            self.node.netns.run(set).unwrap_or_else(|e| panic!("{e}"))
        });
    }

    /// Gives an address to the endpoint behind a device.
    pub fn set_endpoint(&mut self, address: IpAddr, device: Device) {
        self.set_device(device);
        self.change(|maps| maps.set_endpoint(address, &device.address()));
    }

    /// Takes an address from its endpoint.
    pub fn remove_endpoint(&mut self, address: IpAddr) {
        self.change(|maps| maps.remove_endpoint(address));
    }

    /// Makes an address the node's own.
    fn set_node_address(&mut self, address: IpAddr) {
        self.change(|maps| maps.set_endpoint(address, &EndpointEntry::NODE));
    }

    /// Routes a prefix in netpath's table.
    pub fn set_route(&mut self, prefix: &str, entry: &RouteEntry) {
        let prefix = prefix.parse().expect("a prefix");
        self.change(|maps| maps.set_route(prefix, entry));
    }

    /// Routes a prefix to the endpoint behind a device.
    pub fn route_to(&mut self, device: Device, prefix: &str) {
        self.set_device(device);
        self.add_feature(FeatureBits::LOCAL_PREFIXES);
        self.set_route(prefix, &RouteEntry::local(&device.address()));
    }

    /// Routes a prefix in netpath's table no more.
    pub fn remove_route(&mut self, prefix: &str) {
        let prefix = prefix.parse().expect("a prefix");
        self.change(|maps| maps.remove_route(prefix));
    }

    /// Attaches the ingress programs: from now on, frames that are sent are carried. The kernel's own listener
    /// reports leave by the same interfaces, so nothing is attached to egress.
    pub fn attach(&self) {
        let work = |inside: &Inside<'_>| {
            for (kind, device) in [
                (ProgramKind::FromEndpoint, self.a),
                (ProgramKind::FromEndpoint, self.b),
                (ProgramKind::FromUplink, self.uplink),
            ] {
                self.datapath()
                    .attach(inside, kind, device.name)
                    .unwrap_or_else(|e| panic!("{e}"));
            }
        };
        self.netns().enter(work).unwrap_or_else(|e| panic!("{e}"));
    }

    /// A frame that endpoint a sends.
    pub fn from_a(&self, frame: FrameBuilder) -> Passage<'_> {
        Passage::new(self, ProgramKind::FromEndpoint, self.a, frame.build())
    }

    /// A frame that the other node sends.
    pub fn from_uplink(&self, frame: FrameBuilder) -> Passage<'_> {
        Passage::new(self, ProgramKind::FromUplink, self.uplink, frame.build())
    }
}

fn set_up_kernel(node: &Netns, far: &Netns, devices: &[Device]) {
    // Before any interface is made: they inherit it. No address of its own accord, so that nothing but the
    // test's own packets is ever sent.
    system::sysctl(far, &[("ipv6/conf/default/disable_ipv6", 1)]);
    system::sysctl(
        node,
        &[
            ("ipv4/ip_forward", 1),
            ("ipv6/conf/all/forwarding", 1),
            ("ipv6/conf/default/forwarding", 1),
            ("ipv6/conf/default/addr_gen_mode", 1),
            ("ipv6/conf/default/accept_dad", 0),
        ],
    );
    let mut inside = String::from("link set lo up\n");
    let mut outside = String::from("link set lo up\n");
    for device in devices {
        let Device {
            name, mac, far_mac, ..
        } = device;
        inside += &format!(
            "link add {name} address {mac} type veth peer name {name} address {far_mac} netns {}\n\
             link set {name} up\n",
            far.name(),
        );
        outside += &format!("link set {name} up\n");
    }
    let uplink = devices.last().expect("the uplink is the last");
    for family in Family::ALL {
        let length = match family {
            Family::V4 => 24,
            Family::V6 => 64,
        };
        let (address, gateway) = (family.node(), family.gateway());
        inside += &format!(
            "addr add {address}/{length} dev up0\n\
             neigh replace {gateway} lladdr {} dev up0 nud permanent\n\
             route add {}/{length} via {gateway}\n",
            uplink.far_mac,
            family.subnet(3, 0),
        );
    }
    system::ip(node, &[], &inside);
    system::ip(far, &[], &outside);
}
