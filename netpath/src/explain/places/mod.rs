//! The namespaces that netpath knows of: its nodes and endpoints, and who of them has an address or an interface.

mod interfaces;

pub(super) use self::interfaces::{At, Hooked};

use std::{
    cell::OnceCell,
    collections::{BTreeSet, HashMap},
    net::{IpAddr, UdpSocket},
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use netpath_common::ProgramKind;

use super::{ExplainError, way::PlaceKind};
use crate::{
    datapath::Datapath,
    kernel_way::State,
    netns::{self, Netns},
    provision::{self, EndpointStatus, NodeStatus},
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

/// All that is known.
pub(super) struct Places {
    nodes: Vec<NodeStatus>,
    places: Vec<Place>,
    datapaths: HashMap<usize, Datapath>,
    /// Nodes that could not be read.
    pub unread: Vec<String>,
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
