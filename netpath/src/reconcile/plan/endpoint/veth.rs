//! The namespace and the veth pair.

use super::{
    super::{
        super::{Drift, Home, Link, NamespaceState, Op, Place, RecordedEndpoint, World},
        Draft, Planner,
        names::other_end,
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

    /// Gives the interface outside its name back, where it is called otherwise; notes one that is not there.
    pub(super) fn name_back(&mut self, draft: &mut Draft, work: &Work<'_>) {
        let (record, dev) = (&work.record, &work.record.host_dev);
        if host_link(&self.world, record).is_some() {
            return;
        }
        let Some(link) = self.world.observed.node.link_with(record.host_mac).cloned() else {
            draft.note(match self.world.observed.node.link(dev) {
                Some(_) => Drift::OtherMac(dev.clone()),
                None => Drift::InterfaceGone(dev.clone()),
            });
            return;
        };
        // It may have another name by now than it had when planning began.
        let mut initially = self.initial.observed.node.links.iter();
        let initially = initially.find(|found| found.ifindex == link.ifindex);
        draft.note(Drift::InterfaceRenamed {
            dev: dev.clone(),
            to: initially.unwrap_or(&link).name.clone(),
        });
        let is_whole = other_end(&self.world, &work.wanted.name, record).is_some();
        if is_whole && self.world.observed.node.link(dev).is_none() {
            draft.quiet = true;
            self.rename(draft, &Place::Node, &link.name, dev.clone());
        }
    }

    /// The same for the one inside, as long as the other end is there.
    fn name_back_inside(&mut self, draft: &mut Draft, work: &Work<'_>) {
        let (record, dev) = (&work.record, &work.record.dev);
        let there = self.world.namespace(&work.place);
        let Some(there) = there.filter(|there| there.link(dev).is_none()) else {
            return;
        };
        let Some(name) = there.link_with(record.endpoint_mac).map(|l| l.name.clone()) else {
            return;
        };
        let outside = host_link(&self.world, record).map(|link| link.ifindex);
        let end = other_end(&self.world, &work.wanted.name, record).map(|link| link.ifindex);
        if outside.is_none() || end != outside {
            return;
        }
        draft.note(Drift::InterfaceRenamed {
            dev: dev.clone(),
            to: name.clone(),
        });
        draft.quiet = true;
        self.rename(draft, &work.place, &name, dev.clone());
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
                (Home::Given(_), NamespaceState::Present(cookie)) => {
                    work.record.cookie = cookie;
                    let pending = RecordedEndpoint {
                        complete: false,
                        ..work.record.clone()
                    };
                    self.record(draft, work, pending);
                }
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
            let ipv6 = self.ipv6_of(work.uses_ipv6());
            self.sysctls(draft, &work.place, endpoint_sysctls(ipv6));
            self.loopback_up(draft, &work.place);
        }
    }

    /// Makes the veth pair anew unless both of its ends are there. Returns whether it did.
    pub(super) fn veth(&mut self, draft: &mut Draft, work: &Work<'_>) -> bool {
        self.name_back_inside(draft, work);
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
        self.delete_end(draft, Place::Node, record.host_mac);
        self.delete_end(draft, work.place.clone(), record.endpoint_mac);
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

/// The host-side veth, if it is there and is the one that netpath made: its MAC says so.
pub(in super::super) fn host_link<'w>(
    world: &'w World,
    record: &RecordedEndpoint,
) -> Option<&'w Link> {
    let link = world.observed.node.link(&record.host_dev);
    link.filter(|link| link.mac == Some(record.host_mac))
}
