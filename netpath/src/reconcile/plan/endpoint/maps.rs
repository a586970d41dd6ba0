//! The endpoint in the maps.

use netpath_common::{FeatureBits, Ifindex, InterfaceKind};

use super::{
    super::{
        super::{Drift, NewInterface, Op, observed::Interface},
        Draft, Planner,
        entries::{ENDPOINT, described_otherwise},
    },
    Work,
};

impl Planner<'_> {
    /// The endpoint in the maps. Its interface becomes ready last: until then its packets are dropped.
    pub(super) fn publish(&mut self, draft: &mut Draft, work: &mut Work<'_>) {
        let ifindex = self.world.ifindex(&work.record.host_dev);
        if ifindex == Ifindex(0) {
            return;
        }
        let id = work.record.id;
        self.register(draft, work, ifindex);
        let node = self.world.recorded.as_ref();
        let on = node.is_some_and(|node| work.record.fast_path.wants(node.fast_path).attaches());
        self.programs(draft, &work.record.host_dev, ENDPOINT, on);
        if self.world.observed.maps.devices.get(&id) != Some(&ifindex) {
            draft.note(Drift::EntryGone {
                map: "devices",
                key: id.0.to_string(),
            });
            self.act(draft, Op::SetDevice(id, work.record.host_dev.clone()));
        }
        let owner = work.owner();
        for address in work.record.addresses.clone() {
            let recorded = work.had(&address);
            let punts = self.address_punts(ifindex, address.addr().into(), on);
            self.entry(draft, recorded, address.addr(), &owner, punts);
        }
        if !work.record.prefixes.is_empty() {
            self.feature(draft, FeatureBits::LOCAL_PREFIXES);
        }
        for prefix in work.record.prefixes.clone() {
            let recorded = work.had_prefix(&prefix);
            let punts = self.address_punts(ifindex, prefix, on);
            self.prefix_entry(draft, recorded, prefix, &owner, punts);
        }
        let interface = self.world.observed.maps.interfaces.get(&ifindex);
        if !interface.is_some_and(|interface| interface.ready) {
            draft.note(Drift::NotReady(work.record.host_dev.clone()));
            self.act(draft, Op::SetReady(work.record.host_dev.clone()));
        }
        let old = work.record.ifindex;
        let there = self.initial.observed.node.link_with(work.record.host_mac);
        let was_complete = work.before.as_ref().is_some_and(|before| before.complete);
        if was_complete && there.is_some_and(|link| link.ifindex != old) {
            draft.note(Drift::EntryAltered {
                map: "endpoint_records",
                key: work.wanted.name.clone(),
            });
        }
        if old != Ifindex(0) && old != ifindex {
            let known = self.world.observed.maps.interfaces.get(&old);
            if known.is_some_and(|known| known.id == id) {
                self.act(draft, Op::Unregister(old));
            }
        }
        work.record.ifindex = ifindex;
    }

    fn register(&mut self, draft: &mut Draft, work: &Work<'_>, ifindex: Ifindex) {
        let record = &work.record;
        let wanted = Interface {
            kind: Some(InterfaceKind::Endpoint),
            ready: true,
            shadow: self.is_shadow(ifindex, record.fast_path),
            id: record.id,
            rp_filter: 0,
            punts: self.interface_punts(ifindex),
            dev: record.host_dev.clone(),
            endpoint: work.wanted.name.clone(),
        };
        let found = self.world.observed.maps.interfaces.get(&ifindex);
        let described = found.is_some_and(|found| {
            Interface {
                ready: true,
                ..found.clone()
            } == wanted
        });
        if described {
            return;
        }
        let key = ifindex.0.to_string();
        if record.ifindex == ifindex {
            draft.note(described_otherwise(key, found, &wanted));
        }
        let new = NewInterface {
            dev: wanted.dev,
            kind: InterfaceKind::Endpoint,
            id: record.id,
            endpoint: wanted.endpoint,
            rp_filter: 0,
            punts: wanted.punts,
            shadow: wanted.shadow,
        };
        self.change_shadow(draft, ifindex, new.shadow);
        self.act(draft, Op::Register(new));
    }
}
