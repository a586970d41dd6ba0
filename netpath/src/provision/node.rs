//! A node: its namespace, its datapath, and what they have in common.

use std::{net::IpAddr, ops::Deref};

use netpath_common::{FeatureBits, NameKey, Settings};

use super::{error::ProvisionError, iptables, netlink::Netlink, sysctl};
use crate::{
    datapath::{Capacity, Datapath, NodeIdentity, ObjectKind, Writer},
    lock::TopologyLock,
    model::{self, ForwardPolicy, NodePlace},
    netns::{NameState, Netns, name_state},
};

/// A node that is up.
pub struct Node {
    pub name: String,
    pub netns: Netns,
    /// In a namespace that netpath made, as opposed to the machine's own.
    pub lab: bool,
    datapath: Datapath,
}

/// A node that may be changed, because the topology lock is held.
pub struct HeldNode<'lock> {
    node: Node,
    pub lock: &'lock TopologyLock,
}

impl Deref for HeldNode<'_> {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl HeldNode<'_> {
    /// The node's maps, to be changed.
    pub fn writer(&self) -> Writer<'_> {
        self.node.datapath.writer(self.lock)
    }

    pub fn into_datapath(self) -> Datapath {
        self.node.datapath
    }

    /// Changes what is wanted of the node.
    pub fn update_settings(
        &self,
        change: impl FnOnce(&mut Settings),
    ) -> Result<(), ProvisionError> {
        Ok(self.writer().settings.update(change)?)
    }
}

/// What is there under a node's name.
pub enum Found<N = Node> {
    /// Nothing.
    Absent,
    /// The node.
    Up(N),
    /// The node's pins without its namespace: what an interrupted `up` or `down`, or somebody's
    /// `ip netns del`, left.
    Remains(Box<Datapath>),
}

impl Node {
    /// The node's maps and programs.
    pub fn datapath(&self) -> &Datapath {
        &self.datapath
    }

    /// To be changed.
    pub fn hold(self, lock: &TopologyLock) -> HeldNode<'_> {
        HeldNode { node: self, lock }
    }

    pub fn settings(&self) -> Result<Settings, ProvisionError> {
        Ok(self.datapath().maps.settings.get()?)
    }

    /// Runs `work` in the node's namespace.
    pub fn inside<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, ProvisionError> + Send,
    ) -> Result<T, ProvisionError> {
        self.netns.run(work)?
    }
}

/// Finds a node by its name. What is there and is not netpath's is an error.
pub fn find(name: &str) -> Result<Found, ProvisionError> {
    let Some(datapath) = Datapath::open(name)? else {
        return Ok(Found::Absent);
    };
    let identity = datapath.maps.meta.get()?;
    let lab = identity.netns_made != 0;
    let netns = if lab {
        match name_state(name)? {
            NameState::Namespace => Netns::named(name)?,
            NameState::Free | NameState::EmptyFile => {
                return Ok(Found::Remains(Box::new(datapath)));
            }
            NameState::Foreign => return Err(foreign_namespace(name)),
        }
    } else {
        Netns::current()?
    };
    if netns.cookie()? != identity.netns_cookie {
        if !lab {
            return Err(ProvisionError::Unmet {
                problem: format!("node {name} is up in another network namespace"),
                remedy: "run netpath there".into(),
            });
        }
        return Err(foreign_namespace(name));
    }
    Ok(Found::Up(Node {
        name: name.to_owned(),
        netns,
        lab,
        datapath,
    }))
}

/// As [`find`], to change it: what an older netpath has pinned is brought to this version first.
pub fn find_held<'lock>(
    name: &str,
    object: ObjectKind,
    lock: &'lock TopologyLock,
) -> Result<Found<HeldNode<'lock>>, ProvisionError> {
    Datapath::migrate(name, object, lock)?;
    Ok(find(name)?.held(lock))
}

impl Found {
    /// To be changed.
    pub fn held(self, lock: &TopologyLock) -> Found<HeldNode<'_>> {
        match self {
            Self::Absent => Found::Absent,
            Self::Up(node) => Found::Up(node.hold(lock)),
            Self::Remains(datapath) => Found::Remains(datapath),
        }
    }
}

pub fn foreign_namespace(name: &str) -> ProvisionError {
    ProvisionError::NotOurs {
        object: "network namespace",
        name: name.to_owned(),
        netns: None,
        remedy: "choose another name in the topology file, or remove it with `ip netns del` if it is of no use",
    }
}

/// Makes a node: its datapath, and its namespace if it is a lab's.
pub fn create<'lock>(
    wanted: &model::Node,
    object: ObjectKind,
    lock: &'lock TopologyLock,
) -> Result<HeldNode<'lock>, ProvisionError> {
    let name = wanted.name.as_ref();
    let capacity = capacity(wanted);
    let make = |netns_cookie, netns_made| {
        let identity = NodeIdentity {
            name,
            netns_cookie,
            netns_made,
        };
        Datapath::create(identity, capacity, object).map_err(ProvisionError::from)
    };
    let lab = wanted.place == NodePlace::Lab;
    let mut datapath = None;
    let netns = if lab {
        let netns = Netns::create(name, |cookie| {
            datapath = Some(make(cookie, true)?);
            Ok::<(), ProvisionError>(())
        });
        match (netns, datapath.take()) {
            (Ok(netns), made) => {
                datapath = made;
                netns
            }
            (Err(error), None) => return Err(error),
            (Err(error), Some(made)) => {
                return Err(match made.remove() {
                    Ok(()) => error,
                    Err(undoing) => ProvisionError::Undo {
                        cause: Box::new(error),
                        undoing: vec![undoing.into()],
                    },
                });
            }
        }
    } else {
        let netns = Netns::current()?;
        datapath = Some(make(netns.cookie()?, false)?);
        netns
    };
    let datapath = datapath.ok_or_else(|| ProvisionError::NotUp {
        object: "node",
        name: name.to_owned(),
    })?;
    let node = Node {
        name: name.to_owned(),
        netns,
        lab,
        datapath,
    };
    Ok(node.hold(lock))
}

/// How much a node's maps are to hold.
pub fn capacity(wanted: &model::Node) -> Capacity {
    let routes = u32::try_from(wanted.routes.len()).unwrap_or(u32::MAX);
    Capacity {
        endpoints: wanted.capacity.endpoints,
        routes: wanted.capacity.routes,
        route_records: routes.max(Capacity::DEFAULT.route_records),
    }
}

/// What makes a namespace a router.
const FORWARDING: [&str; 3] = [
    "ipv4/ip_forward",
    "ipv6/conf/all/forwarding",
    "ipv6/conf/default/forwarding",
];

/// Whether a lab node forwards: not if its making was interrupted, or somebody has changed it.
pub fn forwards(node: &Node) -> Result<bool, ProvisionError> {
    node.inside(|| {
        for key in FORWARDING {
            if sysctl::get(key)? != "1" {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// What a node needs of its namespace, however often it is done. The machine's own namespace is not
/// configured, only checked (by `check`).
pub fn configure(node: &HeldNode<'_>, wanted: &model::Node) -> Result<(), ProvisionError> {
    if !node.lab {
        return Ok(());
    }
    node.inside(|| {
        // First: writing it resets other settings of the namespace (RFC 1812's for a router).
        for key in FORWARDING {
            sysctl::set(key, "1")?;
        }
        for scope in ["all", "default"] {
            sysctl::set(&format!("ipv4/conf/{scope}/rp_filter"), "0")?;
            quiet_ipv6(scope)?;
        }
        let netlink = Netlink::open()?;
        if let Some(lo) = netlink.link("lo")? {
            netlink.set_up(&lo)?;
        }
        Ok(())
    })?;
    let drop = wanted.forward_policy == ForwardPolicy::Drop;
    if drop != (node.settings()?.forward_drop != 0) || (drop && !forward_is_dropped(node)?) {
        node.inside(|| iptables::set_forward_policy(drop))?;
        node.update_settings(|settings| settings.forward_drop = u32::from(drop))?;
    }
    node.update_settings(|settings| settings.configured = 1)
}

/// Tells the programs to look at something. To be done before it is there: it must never be overlooked.
pub fn set_feature(node: &HeldNode<'_>, feature: u32) -> Result<(), ProvisionError> {
    let features = node.writer().features;
    if features.get()?.bits & feature == 0 {
        features.update(|features| features.bits |= feature)?;
    }
    Ok(())
}

/// Spares the programs what nothing of the topology, which is true now, has any more.
pub fn forget_features(node: &HeldNode<'_>, wanted: &model::Node) -> Result<(), ProvisionError> {
    let features = node.datapath().maps.features.get()?;
    let mut kept = features;
    if wanted.endpoints.iter().all(|e| e.prefixes.is_empty()) {
        kept.bits &= !FeatureBits::LOCAL_PREFIXES;
    }
    if features.bits & FeatureBits::REVERSE_PATH != 0 && !filters_by_reverse_path(node)? {
        kept.bits &= !FeatureBits::REVERSE_PATH;
    }
    if kept == features {
        return Ok(());
    }
    Ok(node.writer().features.set(&kept)?)
}

/// Whether some uplink is recorded with a reverse-path filter.
fn filters_by_reverse_path(node: &Node) -> Result<bool, ProvisionError> {
    let datapath = node.datapath();
    for record in datapath.maps.uplink_records.all()?.values() {
        let interface = datapath.maps.interfaces.get(&record.ifindex)?;
        if interface.is_some_and(|interface| interface.rp_filter != 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the FORWARD policy is DROP in both families.
pub fn forward_is_dropped(node: &Node) -> Result<bool, ProvisionError> {
    node.inside(iptables::forward_policy_is_drop)
}

/// No router advertisements accepted, and addresses usable at once: nothing else is on these links.
pub fn quiet_ipv6(scope: &str) -> Result<(), ProvisionError> {
    sysctl::set(&format!("ipv6/conf/{scope}/accept_ra"), "0")?;
    sysctl::set(&format!("ipv6/conf/{scope}/accept_dad"), "0")?;
    sysctl::set(&format!("ipv6/conf/{scope}/dad_transmits"), "0")
}

/// The addresses that the node itself answers and sends from: the first of each family on its uplinks.
#[derive(Clone, Copy, Default)]
pub struct Sources {
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
}

impl Sources {
    pub fn of(wanted: &model::Node) -> Self {
        let mut sources = Self::default();
        for address in wanted.uplinks.iter().flat_map(|uplink| &uplink.addresses) {
            let slot = match address.addr() {
                IpAddr::V4(_) => &mut sources.v4,
                IpAddr::V6(_) => &mut sources.v6,
            };
            slot.get_or_insert(address.addr());
        }
        sources
    }

    /// The one to use towards an address.
    pub fn towards(self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(_) => self.v4,
            IpAddr::V6(_) => self.v6,
        }
    }
}

/// The key of a name in the record maps. The model has checked its length.
pub fn key(name: &str) -> Result<NameKey, ProvisionError> {
    match netpath_common::fixed(name) {
        Some(name) => Ok(NameKey { name }),
        None => Err(ProvisionError::Unmet {
            problem: format!("the name {name} is too long"),
            remedy: "shorten it".into(),
        }),
    }
}

/// The text of a zero-terminated field that netpath wrote itself.
pub fn text(field: &[u8]) -> String {
    netpath_common::text(field).unwrap_or_default().to_owned()
}

/// A locally administered unicast address, at random (IEEE 802, the two lowest bits of the first byte).
pub fn random_mac() -> Result<netpath_common::Mac, ProvisionError> {
    let mut bytes = [0u8; 6];
    // SAFETY: the buffer outlives the call and has the length stated.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != 6 {
        return Err(ProvisionError::File {
            path: "getrandom".into(),
            source: std::io::Error::last_os_error(),
        });
    }
    bytes[0] = (bytes[0] & 0xfc) | 0x02;
    Ok(netpath_common::Mac(bytes))
}
