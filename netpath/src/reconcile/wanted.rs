//! What is wanted of a node: by the topology file, or as it was recorded.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use netpath_common::{Bypass, FastPathMode, FastPathWish, Mac, Origin};

use super::{Home, Recorded};
use crate::model::{self, Capacity, ForwardPolicy, InterfaceName, Name, NodePlace};

/// Of what is recorded, what is planned for, and which endpoints are removed when they are not among the wanted ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of the topology file. Those of others are not looked at.
    File,
    /// All.
    All,
    /// The endpoint of this name, and nothing else of the node.
    Endpoint(String),
}

/// The wire of an uplink, in a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedWire {
    /// Its name.
    pub name: String,
    /// The name of its namespace.
    pub namespace: String,
    /// The uplink's port on it.
    pub port: String,
}

/// An uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedUplink {
    /// The interface.
    pub dev: String,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Its wire; `None` where the interface is the machine's.
    pub wire: Option<WantedWire>,
    /// Its MAC where netpath makes it: always the same for a node and a device, so that neighbours need not learn it
    /// anew when it is made again.
    pub mac: Mac,
    /// MAC of its port on the wire.
    pub port_mac: Mac,
    /// Its place among the node's uplinks, from 0.
    pub position: u32,
}

/// A prefix of other nodes' endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedRoute {
    /// The destination.
    pub dst: IpNet,
    /// The next hop; `None` where the kernel's own routes say where the prefix leads: none is made for it.
    pub via: Option<IpAddr>,
    /// The uplink that the next hop is on the link of, where not its address says so.
    pub dev: Option<String>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedEndpoint {
    /// Its name.
    pub name: String,
    /// Who wants it.
    pub origin: Origin,
    /// Its namespace.
    pub home: Home,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Prefixes that are routed to it.
    pub prefixes: Vec<IpNet>,
    /// The MTU of its veth in bytes; `None` for the least of the node's uplinks.
    pub mtu: Option<u32>,
    /// The interface inside.
    pub dev: String,
    /// The host-side veth.
    pub host_dev: String,
    /// What is wished for its programs; `None` leaves what is recorded.
    pub fast_path: Option<FastPathWish>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub place: NodePlace,
    /// Whether the FORWARD policy is to be DROP; only in a lab.
    pub forward_drop: bool,
    /// What the fast path is to be; `None` leaves what is recorded, and turns a new node on.
    pub fast_path: Option<FastPathMode>,
    /// What of the kernel's doing may be passed by.
    pub bypass: Bypass,
    /// For how much there is to be room; zeros for what there is.
    pub room: Capacity,
    /// Which recorded endpoints are removed when they are not among `endpoints`.
    pub scope: Scope,
    /// Its uplinks.
    pub uplinks: Vec<WantedUplink>,
    /// Its routes.
    pub routes: Vec<WantedRoute>,
    /// Its endpoints.
    pub endpoints: Vec<WantedEndpoint>,
}

impl Wanted {
    /// What a topology file wants of a node.
    #[must_use]
    pub fn of(node: &model::Node, fast_path: Option<FastPathMode>) -> Self {
        let endpoint = |endpoint: &model::Endpoint| WantedEndpoint {
            name: endpoint.name.to_string(),
            origin: Origin::File,
            home: Home::Made,
            addresses: endpoint.addresses.clone(),
            prefixes: endpoint.prefixes.clone(),
            mtu: endpoint.mtu,
            dev: endpoint.dev.to_string(),
            host_dev: endpoint.host_dev.to_string(),
            fast_path: None,
        };
        let uplink = |(position, uplink): (u32, &model::Uplink)| WantedUplink {
            position,
            ..wanted_uplink(
                &node.name,
                &uplink.dev,
                uplink.wire.as_ref(),
                &uplink.addresses,
            )
        };
        let route = |route: &model::Route| WantedRoute {
            dst: route.dst,
            via: route.via,
            dev: route.dev.as_ref().map(ToString::to_string),
        };
        Self {
            name: node.name.to_string(),
            place: node.place,
            forward_drop: node.forward_policy == ForwardPolicy::Drop,
            fast_path,
            bypass: node.bypass,
            room: node.capacity,
            scope: Scope::File,
            uplinks: (0..).zip(&node.uplinks).map(uplink).collect(),
            routes: node.routes.iter().map(route).collect(),
            endpoints: node.endpoints.iter().map(endpoint).collect(),
        }
    }

    /// What was recorded, so that a plan for it mends whatever has become of it since, and nothing else.
    ///
    /// # Errors
    /// When a recorded name is none: the record is damaged.
    pub fn of_recorded(name: &str, recorded: &Recorded) -> Result<Self, DamagedRecord> {
        let node: Name = parse(name)?;
        let mut uplinks = Vec::new();
        for (dev, uplink) in &recorded.uplinks {
            let dev: InterfaceName = parse(dev)?;
            let wire: Option<Name> = match uplink.wire.as_str() {
                "" => None,
                wire => Some(parse(wire)?),
            };
            let wanted = wanted_uplink(&node, &dev, wire.as_ref(), &uplink.addresses);
            uplinks.push(WantedUplink {
                mac: uplink.mac,
                port_mac: uplink.port_mac,
                position: uplink.position,
                ..wanted
            });
        }
        uplinks.sort_by_key(|uplink| uplink.position);
        let routes = recorded.routes.iter().map(|(&dst, route)| WantedRoute {
            dst,
            via: route.via,
            dev: route.dev.clone(),
        });
        let endpoints = recorded
            .endpoints
            .iter()
            .map(|(name, endpoint)| WantedEndpoint {
                name: name.clone(),
                origin: endpoint.origin,
                home: endpoint.home.clone(),
                addresses: endpoint.addresses.clone(),
                prefixes: endpoint.prefixes.clone(),
                mtu: endpoint.mtu,
                dev: endpoint.dev.clone(),
                host_dev: endpoint.host_dev.clone(),
                fast_path: Some(endpoint.fast_path),
            });
        Ok(Self {
            name: name.to_owned(),
            place: recorded.place,
            forward_drop: recorded.forward_drop,
            fast_path: Some(recorded.fast_path),
            bypass: recorded.bypass,
            room: Capacity::default(),
            scope: Scope::All,
            uplinks,
            routes: routes.collect(),
            endpoints: endpoints.collect(),
        })
    }

    /// One endpoint of a node that is up, and nothing else of it: as it is wanted, or without it to be removed.
    ///
    /// # Errors
    /// As of [`Wanted::of_recorded`].
    pub fn of_one(
        node: &str,
        recorded: &Recorded,
        name: &str,
        wanted: Option<WantedEndpoint>,
    ) -> Result<Self, DamagedRecord> {
        let of_node = Recorded {
            endpoints: BTreeMap::new(),
            routes: BTreeMap::new(),
            ..recorded.clone()
        };
        Ok(Self {
            scope: Scope::Endpoint(name.to_owned()),
            endpoints: wanted.into_iter().collect(),
            ..Self::of_recorded(node, &of_node)?
        })
    }

    /// Whether anything of it has an IPv6 address, prefix or next hop.
    #[must_use]
    pub fn uses_ipv6(&self) -> bool {
        let uplinks = self.uplinks.iter().flat_map(|uplink| &uplink.addresses);
        let endpoints = self
            .endpoints
            .iter()
            .flat_map(|endpoint| &endpoint.addresses);
        let routes = self.routes.iter().map(|route| &route.dst);
        let mut next_hops = self.routes.iter().filter_map(|route| route.via);
        let mut nets = uplinks.chain(endpoints).chain(routes);
        nets.any(|net| net.addr().is_ipv6()) || next_hops.any(|via| via.is_ipv6())
    }
}

/// A record holds what netpath never writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record names {0:?}, which is no name that netpath writes")]
pub struct DamagedRecord(pub String);

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, DamagedRecord> {
    text.parse().map_err(|_| DamagedRecord(text.to_owned()))
}

fn wanted_uplink(
    node: &Name,
    dev: &InterfaceName,
    wire: Option<&Name>,
    addresses: &[IpNet],
) -> WantedUplink {
    WantedUplink {
        dev: dev.to_string(),
        addresses: addresses.to_vec(),
        wire: wire.map(|wire| WantedWire {
            name: wire.to_string(),
            namespace: model::wire_namespace(wire).to_string(),
            port: model::wire_port(node, dev).to_string(),
        }),
        mac: model::derived_mac(node, dev, "uplink"),
        port_mac: model::derived_mac(node, dev, "port"),
        position: 0,
    }
}
