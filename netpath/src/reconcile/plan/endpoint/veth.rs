//! The namespace and the veth pair.

use super::{
    super::{
        super::{Drift, Home, Link, NamespaceState, Op, Place, RecordedEndpoint, World},
        Draft, Planner,
        sysctls::endpoint_sysctls,
    },
    Work,
};

impl Planner<'_> {
    /// Gives the interface outside its MAC back, where somebody gave it another: the other end proves it.
    pub(super) fn mac_back(&mut self, draft: &mut Draft, work: &Work<'_>) {
        let Some(link) = other_end(&self.world, &work.wanted.name, &work.record) else {
            return;
        };
        let (dev, mac) = (link.name.clone(), work.record.host_mac);
        if link.mac == Some(mac) || self.world.observed.node.link_with(mac).is_some() {
            return;
        }
        draft.note(Drift::OtherMac(dev.clone()));
        self.act(draft, Op::SetMac { dev, mac });
    }

    /// Notes an interface outside that is not there.
    pub(super) fn veth_gone(&mut self, draft: &mut Draft, work: &Work<'_>) {
        let dev = &work.record.host_dev;
        if host_link(&self.world, &work.record).is_some() {
            return;
        }
        match self.world.observed.node.link_with(work.record.host_mac) {
            Some(renamed) => {
                let to = renamed.name.clone();
                draft.note(Drift::InterfaceRenamed {
                    dev: dev.clone(),
                    to,
                });
            }
            None if self.world.observed.node.link(dev).is_some() => {
                draft.note(Drift::OtherMac(dev.clone()));
            }
            None => draft.note(Drift::InterfaceGone(dev.clone())),
        }
    }

    /// Makes the namespace, unless it is somebody else's to make.
    pub(super) fn endpoint_namespace(&mut self, draft: &mut Draft, work: &mut Work<'_>) {
        let name = &work.wanted.name;
        let state = self
            .world
            .namespace(&work.place)
            .map_or(NamespaceState::Absent, |n| n.state);
        let is_ours =
            work.record.cookie != 0 && state == NamespaceState::Present(work.record.cookie);
        if !is_ours {
            draft.note(Drift::NamespaceGone(match &work.wanted.home {
                Home::Made => name.clone(),
                Home::Given(path) => path.clone(),
            }));
            draft.quiet = true;
            match (&work.wanted.home, state) {
                (Home::Given(_), NamespaceState::Present(cookie)) => work.record.cookie = cookie,
                (Home::Given(_), _) => return,
                (Home::Made, state) => {
                    if state == NamespaceState::EmptyFile {
                        self.act(draft, Op::RemoveNamespace(work.place.clone()));
                    }
                    let op = Op::MakeNamespace {
                        place: work.place.clone(),
                        record: name.clone(),
                    };
                    // Its record says so already when it becomes visible.
                    let pending = RecordedEndpoint {
                        complete: false,
                        ..work.record.clone()
                    };
                    self.record(draft, work, pending);
                    self.act(draft, op);
                    let node = self.world.recorded.as_ref();
                    let recorded = node.and_then(|node| node.endpoints.get(name));
                    work.record.cookie = recorded.map_or(0, |recorded| recorded.cookie);
                }
            }
        }
        if work.wanted.home == Home::Made {
            self.sysctls(draft, &work.place, endpoint_sysctls());
        }
        self.loopback_up(draft, &work.place);
    }

    /// Makes the veth pair anew unless both of its ends are there. Returns whether it did.
    pub(super) fn veth(&mut self, draft: &mut Draft, work: &Work<'_>) -> bool {
        let record = &work.record;
        let there = self.world.namespace(&work.place);
        let inside = there.and_then(|there| there.link(&record.dev));
        let outside = host_link(&self.world, record);
        let is_ours = |link: &Link| link.mac == Some(record.endpoint_mac);
        if outside.is_some() && inside.is_some_and(is_ours) {
            return false;
        }
        match inside {
            None => draft.note(Drift::InterfaceGone(record.dev.clone())),
            Some(link) if !is_ours(link) => draft.note(Drift::OtherMac(record.dev.clone())),
            Some(_) => {}
        }
        draft.quiet = true;
        // A moved or renamed end, or one whose MAC was changed, goes with the other.
        let rest = [
            (Place::Node, record.host_mac),
            (work.place.clone(), record.endpoint_mac),
        ];
        for (place, mac) in rest {
            let namespace = self.world.namespace(&place);
            let Some(dev) = namespace
                .and_then(|n| n.link_with(mac))
                .map(|link| link.name.clone())
            else {
                continue;
            };
            self.act(draft, Op::DeleteLink { place, dev, mac });
        }
        let op = Op::AddVeth {
            dev: record.host_dev.clone(),
            mac: record.host_mac,
            place: work.place.clone(),
            peer: record.dev.clone(),
            peer_mac: record.endpoint_mac,
        };
        self.act(draft, op);
        true
    }

    pub(super) fn await_veth(&mut self, draft: &mut Draft, work: &Work<'_>, made: bool) {
        let set_up = |op: &Op| matches!(op, Op::SetUp { dev, .. } if dev != "lo");
        if !made && !draft.ops.iter().any(set_up) {
            return;
        }
        let ends = [
            (Place::Node, work.record.host_dev.clone()),
            (work.place.clone(), work.record.dev.clone()),
        ];
        for (place, dev) in ends {
            self.act(draft, Op::AwaitOperational { place, dev });
        }
    }
}

/// The other end of the endpoint's interface inside, where that is proven to be netpath's by its namespace and its MAC. So
/// this one is, too, whatever it is called and whatever MAC it has.
pub(in super::super) fn other_end<'w>(
    world: &'w World,
    name: &str,
    record: &RecordedEndpoint,
) -> Option<&'w Link> {
    let there = world.namespace(&Place::Endpoint(name.to_owned()))?;
    if record.cookie == 0 || there.state != NamespaceState::Present(record.cookie) {
        return None;
    }
    let ifindex = there.link_with(record.endpoint_mac)?.other_end?;
    let mut links = world.observed.node.links.iter();
    links.find(|link| link.veth && link.ifindex == ifindex)
}

/// The host-side veth, if it is there and is the one that netpath made: its MAC says so.
pub(super) fn host_link<'w>(world: &'w World, record: &RecordedEndpoint) -> Option<&'w Link> {
    let link = world.observed.node.link(&record.host_dev);
    link.filter(|link| link.mac == Some(record.host_mac))
}
