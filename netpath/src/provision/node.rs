//! A node: its namespace, its datapath, and what they have in common.

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use netpath_common::{Meta, NameKey};

use super::{error::ProvisionError, iptables};
use crate::{
    datapath::{Capacity, Datapath, NodeIdentity, ObjectKind},
    model::{self, ForwardPolicy, NodePlace},
    netlink::{Netlink, Replace},
    netns::{Inside, NameState, Netns, name_state},
    sysctl::{self, Tree},
};

/// A node that is up.
pub struct Node {
    pub name: String,
    pub netns: Netns,
    /// In a namespace that netpath made, as opposed to the machine's own.
    pub lab: bool,
    datapath: Mutex<Datapath>,
}

/// What is there under a node's name.
pub enum Found {
    /// Nothing.
    Absent,
    /// The node.
    Up(Node),
    /// The node's pins without its namespace: what an interrupted `up` or `down`, or somebody's
    /// `ip netns del`, left.
    Remains(Datapath),
}

impl Node {
    /// The node's maps and programs. A panic of another thread does not make them wrong: every map is
    /// changed one entry at a time.
    pub fn datapath(&self) -> MutexGuard<'_, Datapath> {
        self.datapath.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn into_datapath(self) -> Datapath {
        self.datapath
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub fn meta(&self) -> Result<Meta, ProvisionError> {
        Ok(self.datapath().maps.meta()?)
    }

    /// Changes the node's identity record.
    pub fn update_meta(&self, change: impl FnOnce(&mut Meta)) -> Result<(), ProvisionError> {
        let mut datapath = self.datapath();
        let mut meta = datapath.maps.meta()?;
        change(&mut meta);
        Ok(datapath.maps.set_meta(&meta)?)
    }

    /// Runs `work` in the node's namespace.
    pub fn inside<T: Send>(
        &self,
        work: impl FnOnce(&Inside<'_>) -> Result<T, ProvisionError> + Send,
    ) -> Result<T, ProvisionError> {
        self.netns.enter(work)?
    }

    /// Whose routes may be replaced: in a namespace that netpath made there are no others' to be kept.
    pub fn replaces(&self) -> Replace {
        if self.lab {
            Replace::Any
        } else {
            Replace::Ours
        }
    }

    /// A netlink socket in the node's namespace.
    pub fn netlink(&self) -> Result<Netlink, ProvisionError> {
        Ok(self.netns.enter(Netlink::open)??)
    }
}

/// Finds a node by its name. What is there and is not netpath's is an error.
pub fn find(name: &str) -> Result<Found, ProvisionError> {
    let Some(datapath) = Datapath::open(name)? else {
        return Ok(Found::Absent);
    };
    let meta = datapath.maps.meta()?;
    let lab = meta.netns_made != 0;
    let netns = if lab {
        match name_state(name)? {
            NameState::Namespace => Netns::named(name)?,
            NameState::Free | NameState::EmptyFile => return Ok(Found::Remains(datapath)),
            NameState::Foreign => return Err(foreign_namespace(name)),
        }
    } else {
        Netns::current()?
    };
    if netns.cookie()? != meta.netns_cookie {
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
        datapath: Mutex::new(datapath),
    }))
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
pub fn create(wanted: &model::Node, object: ObjectKind) -> Result<Node, ProvisionError> {
    let name = wanted.name.as_ref();
    let capacity = Capacity {
        endpoints: wanted.capacity.endpoints,
        routes: wanted.capacity.routes,
    };
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
                made.remove()?;
                return Err(error);
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
    Ok(Node {
        name: name.to_owned(),
        netns,
        lab,
        datapath: Mutex::new(datapath),
    })
}

/// What makes a namespace a router.
const FORWARDING: [&str; 3] = [
    "ipv4/ip_forward",
    "ipv6/conf/all/forwarding",
    "ipv6/conf/default/forwarding",
];

/// Whether a lab node forwards: not if its making was interrupted, or somebody has changed it.
pub fn forwards(node: &Node) -> Result<bool, ProvisionError> {
    node.inside(|inside| {
        for key in FORWARDING {
            if sysctl::get(inside, key)? != "1" {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// What a node needs of its namespace, however often it is done. The machine's own namespace is not
/// configured, only checked (by `check`).
pub fn configure(node: &Node, wanted: &model::Node) -> Result<(), ProvisionError> {
    if !node.lab {
        return Ok(());
    }
    node.inside(|inside| {
        // First: writing it resets other settings of the namespace (RFC 1812's for a router).
        for key in FORWARDING {
            sysctl::set(inside, key, "1")?;
        }
        for scope in ["all", "default"] {
            let key = sysctl::of_interface(Tree::Ipv4, scope, "rp_filter");
            sysctl::set(inside, &key, "0")?;
            quiet_ipv6(inside, scope)?;
        }
        let netlink = Netlink::open(inside)?;
        if let Some(lo) = netlink.link("lo")? {
            netlink.set_up(&lo)?;
        }
        Ok(())
    })?;
    let drop = wanted.forward_policy == ForwardPolicy::Drop;
    if drop != (node.meta()?.forward_drop != 0) || (drop && !forward_is_dropped(node)?) {
        node.inside(|inside| iptables::set_forward_policy(inside, drop))?;
        node.update_meta(|meta| meta.forward_drop = u32::from(drop))?;
    }
    node.update_meta(|meta| meta.configured = 1)
}

/// Tells the programs to look at something. To be done before it is there: it must never be overlooked.
pub fn set_feature(datapath: &mut Datapath, feature: u32) -> Result<(), ProvisionError> {
    let mut meta = datapath.maps.meta()?;
    if meta.features & feature == 0 {
        meta.features |= feature;
        datapath.maps.set_meta(&meta)?;
    }
    Ok(())
}

/// Spares the programs what nothing of the topology, which is true now, has any more.
pub fn forget_features(node: &Node, wanted: &model::Node) -> Result<(), ProvisionError> {
    let features = node.meta()?.features;
    let mut kept = features;
    if wanted.endpoints.iter().all(|e| e.prefixes.is_empty()) {
        kept &= !Meta::LOCAL_PREFIXES;
    }
    if features & Meta::REVERSE_PATH != 0 && !filters_by_reverse_path(node)? {
        kept &= !Meta::REVERSE_PATH;
    }
    if kept == features {
        return Ok(());
    }
    node.update_meta(|meta| meta.features = kept)
}

/// Whether some uplink is recorded with a reverse-path filter.
fn filters_by_reverse_path(node: &Node) -> Result<bool, ProvisionError> {
    let datapath = node.datapath();
    for record in datapath.maps.uplink_records()?.values() {
        let interface = datapath.maps.interface(record.ifindex)?;
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
pub fn quiet_ipv6(inside: &Inside<'_>, scope: &str) -> Result<(), ProvisionError> {
    for setting in ["accept_ra", "accept_dad", "dad_transmits"] {
        let key = sysctl::of_interface(Tree::Ipv6, scope, setting);
        sysctl::set(inside, &key, "0")?;
    }
    Ok(())
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
