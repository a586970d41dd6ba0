//! The namespaces that netpath knows of: its nodes and endpoints, and who of them has an address or an interface.

use std::{
    cell::OnceCell,
    collections::{BTreeSet, HashMap},
    net::{IpAddr, UdpSocket},
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use netpath_common::{Ifindex, Mac, ProgramKind};

use super::{ExplainError, way::PlaceKind};
use crate::{
    datapath::Datapath,
    kernel_way::State,
    model,
    netlink::Link,
    netns::{self, Netns},
    provision::{self, EndpointStatus, NodeStatus, UplinkStatus},
};

/// What stands for the machine's own namespace in [`NodeStatus::netns`].
const HOST: &str = "host";

/// The number of a place among [`Places`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PlaceId(usize);

/// What a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Node(usize),
    Endpoint(usize, usize),
}

/// A namespace.
pub(super) struct Place {
    role: Role,
    /// The name of the node or endpoint.
    pub name: String,
    /// Its file; `None`: the calling process's own.
    pub file: Option<PathBuf>,
    state: OnceCell<State>,
}

/// An interface of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub place: PlaceId,
    pub ifindex: Ifindex,
}

/// All that is known.
pub(super) struct Places {
    nodes: Vec<NodeStatus>,
    places: Vec<Place>,
    datapaths: HashMap<usize, Datapath>,
    /// Nodes that could not be read.
    pub unread: Vec<String>,
}

/// By what a packet is kept from the kernel.
pub(super) struct Hooked<'a> {
    pub datapath: &'a Datapath,
    pub program: ProgramKind,
    /// Whether the program runs there.
    pub is_attached: bool,
}

impl Places {
    /// Looks at what is up.
    pub(super) fn look() -> Result<Self, ExplainError> {
        let (mut nodes, mut unread) = (Vec::new(), Vec::new());
        for node in provision::observe()? {
            // Neither is a place that could be entered.
            let is_known = !node.netns.is_empty()
                && node.fast_path != provision::FastPath::Unknown
                && !(node.uplinks.is_empty() && node.endpoints.is_empty() && node.drift.len() == 1);
            match is_known {
                true => nodes.push(node),
                false => unread.extend(node.drift.iter().map(ToString::to_string)),
            }
        }
        if nodes.is_empty() && unread.is_empty() {
            return Err(provision::ProvisionError::NothingUp.into());
        }
        let (mut places, mut datapaths) = (Vec::new(), HashMap::new());
        for (number, node) in nodes.iter().enumerate() {
            if let Some(datapath) = Datapath::open(&node.name)? {
                datapaths.insert(number, datapath);
            }
            let file = (node.netns != HOST).then(|| netns::path_of(&node.netns));
            places.push(Place::new(Role::Node(number), &node.name, file));
            for (which, endpoint) in node.endpoints.iter().enumerate() {
                let file = match endpoint.netns.starts_with('/') {
                    true => PathBuf::from(&endpoint.netns),
                    false => netns::path_of(&endpoint.netns),
                };
                let role = Role::Endpoint(number, which);
                places.push(Place::new(role, &endpoint.name, Some(file)));
            }
        }
        Ok(Self {
            nodes,
            places,
            datapaths,
            unread,
        })
    }

    fn ids(&self) -> impl Iterator<Item = PlaceId> + use<> {
        (0..self.places.len()).map(PlaceId)
    }

    pub(super) fn place(&self, id: PlaceId) -> &Place {
        &self.places[id.0]
    }

    /// The node that a place is, or that an endpoint is of.
    pub(super) fn node(&self, id: PlaceId) -> &NodeStatus {
        let (Role::Node(node) | Role::Endpoint(node, _)) = self.place(id).role;
        &self.nodes[node]
    }

    /// The endpoint that a place is.
    pub(super) fn endpoint(&self, id: PlaceId) -> Option<&EndpointStatus> {
        match self.place(id).role {
            Role::Node(_) => None,
            Role::Endpoint(node, which) => self.nodes[node].endpoints.get(which),
        }
    }

    pub(super) fn kind(&self, id: PlaceId) -> PlaceKind {
        match self.place(id).role {
            Role::Node(_) => PlaceKind::Node,
            Role::Endpoint(..) => PlaceKind::Endpoint,
        }
    }

    /// The node of an endpoint, as a place.
    pub(super) fn node_of(&self, id: PlaceId) -> PlaceId {
        let name = &self.node(id).name;
        self.nodes()
            .find(|it| self.node(*it).name == *name)
            .unwrap_or(id)
    }

    /// All nodes.
    pub(super) fn nodes(&self) -> impl Iterator<Item = PlaceId> + '_ {
        self.ids().filter(|it| self.kind(*it) == PlaceKind::Node)
    }

    /// The maps of a place's node.
    pub(super) fn datapath(&self, id: PlaceId) -> Option<&Datapath> {
        let (Role::Node(node) | Role::Endpoint(node, _)) = self.place(id).role;
        self.datapaths.get(&node)
    }

    /// What is in a place's namespace.
    pub(super) fn state(&self, id: PlaceId) -> Result<&State, ExplainError> {
        let place = self.place(id);
        if let Some(state) = place.state.get() {
            return Ok(state);
        }
        let netns = place.netns()?;
        let mut state = netns.enter(State::read)??;
        // What netpath itself has there is followed by its own programs.
        let own: Vec<u32> = match self.datapath(id) {
            Some(datapath) if self.kind(id) == PlaceKind::Node => {
                let kinds = ProgramKind::ALL.into_iter();
                kinds
                    .map(|kind| datapath.program_id(kind))
                    .collect::<Result<_, _>>()?
            }
            _ => Vec::new(),
        };
        state
            .programs
            .retain(|program| program.id.is_none_or(|id| !own.contains(&id)));
        Ok(place.state.get_or_init(|| state))
    }

    /// The places of this name, of one node where it is said.
    pub(super) fn named(&self, name: &str, node: Option<&str>) -> Option<PlaceId> {
        let is_its = |it: &PlaceId| node.is_none_or(|node| self.node(*it).name == node);
        let mut found = self.ids().filter(|it| self.place(*it).name == name);
        found.find(is_its)
    }

    /// The node of this name.
    pub(super) fn node_named(&self, name: &str) -> Option<PlaceId> {
        self.nodes().find(|it| self.place(*it).name == name)
    }

    /// The nodes that are connected with a place's: by wires, or all that are on none.
    pub(super) fn connected(&self, id: PlaceId) -> BTreeSet<usize> {
        let (Role::Node(first) | Role::Endpoint(first, _)) = self.place(id).role;
        let wires = |node: usize| -> BTreeSet<Option<&String>> {
            let uplinks = self.nodes[node].uplinks.iter();
            uplinks.map(|uplink| uplink.wire.as_ref()).collect()
        };
        let (mut found, mut reached) = (BTreeSet::from([first]), wires(first));
        loop {
            let others = 0..self.nodes.len();
            let next = others.filter(|it| !found.contains(it));
            let next = next
                .into_iter()
                .find(|it| !wires(*it).is_disjoint(&reached));
            let Some(next) = next else {
                return found;
            };
            found.insert(next);
            reached.extend(wires(next));
        }
    }

    /// Who has an address, among these nodes and their endpoints: by what is recorded, else by what the namespaces have. Several
    /// may, which know nothing of one another.
    pub(super) fn owners(
        &self,
        address: IpAddr,
        among: Option<&BTreeSet<usize>>,
    ) -> Result<Vec<PlaceId>, ExplainError> {
        let is_asked = |it: &PlaceId| {
            let (Role::Node(node) | Role::Endpoint(node, _)) = self.place(*it).role;
            among.is_none_or(|among| among.contains(&node))
        };
        let asked = || self.ids().filter(is_asked);
        let recorded = asked().filter(|it| self.has_recorded(*it, address));
        let recorded: Vec<PlaceId> = recorded.collect();
        if !recorded.is_empty() {
            return Ok(recorded);
        }
        // A namespace that is gone has none.
        let has = |it: &PlaceId| self.state(*it).is_ok_and(|state| state.has(address));
        Ok(asked().filter(has).collect())
    }

    fn has_recorded(&self, id: PlaceId, address: IpAddr) -> bool {
        match self.endpoint(id) {
            Some(endpoint) => {
                endpoint.addresses.iter().any(|net| net.addr() == address)
                    || endpoint.prefixes.iter().any(|net| net.contains(&address))
            }
            None => {
                let mut uplinks = self.node(id).uplinks.iter();
                uplinks.any(|uplink| uplink.addresses.iter().any(|net| net.addr() == address))
            }
        }
    }

    /// The addresses that a place is recorded with.
    pub(super) fn addresses(&self, id: PlaceId) -> Vec<IpAddr> {
        let nets: Vec<IpNet> = match self.endpoint(id) {
            Some(endpoint) => endpoint.addresses.clone(),
            None => {
                let uplinks = self.node(id).uplinks.iter();
                uplinks
                    .flat_map(|uplink| uplink.addresses.clone())
                    .collect()
            }
        };
        nets.iter().map(IpNet::addr).collect()
    }

    /// The address that the kernel of a place chooses for what it sends to another; `None` where it sends nothing there.
    pub(super) fn source_towards(
        &self,
        id: PlaceId,
        destination: IpAddr,
    ) -> Result<Option<IpAddr>, ExplainError> {
        let chosen = self.place(id).netns()?.run(|| {
            // Nothing is sent: to connect a UDP socket is to ask for a route.
            let any: IpAddr = match destination {
                IpAddr::V4(_) => [0; 4].into(),
                IpAddr::V6(_) => [0; 16].into(),
            };
            let socket = UdpSocket::bind((any, 0)).ok()?;
            socket.connect((destination, 9)).ok()?;
            socket.local_addr().ok().map(|address| address.ip())
        })?;
        Ok(chosen)
    }

    /// The program that sees what comes in by an interface.
    pub(super) fn hooked(&self, at: At) -> Result<Option<Hooked<'_>>, ExplainError> {
        if self.kind(at.place) == PlaceKind::Endpoint {
            return Ok(None);
        }
        let node = self.node(at.place);
        let is_uplink = node
            .uplinks
            .iter()
            .any(|it| it.interface.ifindex == at.ifindex);
        let is_endpoint = node
            .endpoints
            .iter()
            .any(|it| it.interface.ifindex == at.ifindex);
        let program = match (is_uplink, is_endpoint) {
            (true, _) => ProgramKind::FromUplink,
            (false, true) => ProgramKind::FromEndpoint,
            (false, false) => return Ok(None),
        };
        let Some(datapath) = self.datapath(at.place) else {
            return Ok(None);
        };
        Ok(Some(Hooked {
            datapath,
            program,
            is_attached: self.is_attached(at, program)?,
        }))
    }

    /// Whether what the kernel sends out by an interface is noted there.
    pub(super) fn is_noted(&self, at: At) -> Result<bool, ExplainError> {
        let node = self.node(at.place);
        let is_uplink = node
            .uplinks
            .iter()
            .any(|it| it.interface.ifindex == at.ifindex);
        let program = match is_uplink {
            true => ProgramKind::ToUplink,
            false => ProgramKind::ToEndpoint,
        };
        self.is_attached(at, program)
    }

    fn is_attached(&self, at: At, program: ProgramKind) -> Result<bool, ExplainError> {
        let (Some(datapath), Some(link)) = (self.datapath(at.place), self.link(at)?) else {
            return Ok(false);
        };
        let netns = self.place(at.place).netns()?;
        Ok(netns.enter(|inside| datapath.is_attached(inside, program, &link.name))??)
    }

    pub(super) fn link(&self, at: At) -> Result<Option<&Link>, ExplainError> {
        Ok(self.state(at.place)?.link(at.ifindex))
    }

    /// The name of an interface, or its number where it is gone.
    pub(super) fn dev(&self, at: At) -> Result<String, ExplainError> {
        Ok(self.state(at.place)?.dev(at.ifindex))
    }

    /// The endpoint behind a node's interface, and its own interface there.
    pub(super) fn behind(&self, at: At) -> Result<Option<At>, ExplainError> {
        let node = &self.node(at.place).name;
        let of_node = self.ids().filter(|it| self.node(*it).name == *node);
        for id in of_node {
            let Some(endpoint) = self.endpoint(id) else {
                continue;
            };
            if endpoint.interface.ifindex != at.ifindex {
                continue;
            }
            let links = &self.state(id)?.links;
            let mac = links
                .iter()
                .find(|link| link.mac.map(|mac| mac.to_string()).as_deref() == Some(&endpoint.mac));
            let link = mac.or_else(|| links.iter().find(|link| link.is_called(&endpoint.dev)));
            return Ok(link.map(|link| At {
                place: id,
                ifindex: link.ifindex,
            }));
        }
        Ok(None)
    }

    /// The node's interface that an endpoint's leads to, where it does.
    pub(super) fn in_front(&self, at: At) -> Result<Option<At>, ExplainError> {
        let Some(endpoint) = self.endpoint(at.place) else {
            return Ok(None);
        };
        let node = self.node_of(at.place);
        let host = At {
            place: node,
            ifindex: endpoint.interface.ifindex,
        };
        Ok((self.behind(host)? == Some(at)).then_some(host))
    }

    /// The uplink that an interface of a node is.
    pub(super) fn uplink(&self, at: At) -> Option<&UplinkStatus> {
        let mut uplinks = self.node(at.place).uplinks.iter();
        uplinks.find(|it| it.interface.ifindex == at.ifindex)
    }

    /// Interfaces of other nodes on the same wire; of whom it is not known on which they are, all that are on none.
    pub(super) fn beside(&self, at: At) -> Result<Vec<At>, ExplainError> {
        let wire = self.uplink(at).and_then(|uplink| uplink.wire.as_ref());
        let mut found = Vec::new();
        for place in self.nodes().filter(|it| *it != at.place) {
            let on_wire =
                |uplink: &&UplinkStatus| uplink.wire.is_some() && uplink.wire.as_ref() == wire;
            let uplinks = self.node(place).uplinks.iter().filter(on_wire);
            found.extend(uplinks.map(|uplink| At {
                place,
                ifindex: uplink.interface.ifindex,
            }));
            if wire.is_some() {
                continue;
            }
            // One that has gone meanwhile has none.
            let Ok(state) = self.state(place) else {
                continue;
            };
            let links = state.links.iter().map(|link| At {
                place,
                ifindex: link.ifindex,
            });
            found.extend(
                links.filter(|other| self.uplink(*other).is_none_or(|it| it.wire.is_none())),
            );
        }
        Ok(found)
    }

    /// Whether all that is on an uplink's wire is known: on a lab's, where each port of its bridge is an uplink's.
    pub(super) fn is_closed(&self, at: At) -> Result<bool, ExplainError> {
        let Some(wire) = self.uplink(at).and_then(|uplink| uplink.wire.as_ref()) else {
            return Ok(false);
        };
        let Ok(name) = wire.parse() else {
            return Ok(false);
        };
        let netns = Netns::named(model::wire_namespace(&name).as_ref())?;
        let state = netns.enter(State::read)??;
        let on_wire = self.nodes.iter().flat_map(|node| {
            let its = node
                .uplinks
                .iter()
                .filter(|it| it.wire.as_ref() == Some(wire));
            its.map(|uplink| (node.name.as_str(), uplink.interface.dev.as_str()))
        });
        let known: Vec<String> = on_wire
            .filter_map(|(node, dev)| {
                let port = model::wire_port(&node.parse().ok()?, &dev.parse().ok()?);
                Some(port.to_string())
            })
            .collect();
        let mut ports = state
            .links
            .iter()
            .filter(|link| link.controller != Ifindex(0));
        Ok(ports.all(|port| known.contains(&port.name)))
    }

    /// Who of these has an Ethernet address.
    pub(super) fn with_mac(&self, among: &[At], mac: Mac) -> Result<Option<At>, ExplainError> {
        for at in among {
            if self.link(*at)?.and_then(|link| link.mac) == Some(mac) {
                return Ok(Some(*at));
            }
        }
        Ok(None)
    }

    /// Who of these has an IP address, on any of its interfaces: the kernel answers for all of them.
    pub(super) fn with_address(
        &self,
        among: &[At],
        address: IpAddr,
    ) -> Result<Option<At>, ExplainError> {
        let mut other = None;
        for at in among {
            let state = self.state(at.place)?;
            let mut own = state.addresses.iter();
            if own.any(|(its, found)| *its == at.ifindex && found.address.addr() == address) {
                return Ok(Some(*at));
            }
            if address.is_ipv4() && state.has(address) && self.uplink(*at).is_some() {
                other = Some(*at);
            }
        }
        Ok(other)
    }
}

impl Place {
    fn new(role: Role, name: &str, file: Option<PathBuf>) -> Self {
        Self {
            role,
            name: name.to_owned(),
            file,
            state: OnceCell::new(),
        }
    }

    /// Its namespace.
    pub(super) fn netns(&self) -> Result<Netns, ExplainError> {
        Ok(match &self.file {
            Some(file) => Netns::at(file)?,
            None => Netns::current()?,
        })
    }

    /// What a command is begun with that is to be run in it.
    pub(super) fn entry(&self) -> String {
        match &self.file {
            Some(file) => format!("nsenter --net={} ", quoted(file)),
            None => String::new(),
        }
    }
}

fn quoted(path: &Path) -> String {
    path.display().to_string()
}
