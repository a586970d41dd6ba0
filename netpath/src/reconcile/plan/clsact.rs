//! The clsact qdisc of an uplink that is the machine's own, where programs are filters in one: whose it is, and when it goes.
//!
//! It is netpath's where a record says that netpath made it and a filter of the node's is in it: that one would be gone with
//! the qdisc that it was put into. So it goes with the last of them, also when the fast path is switched off, unless somebody
//! else has a filter in it by then: from then on it is his.

use netpath_common::{Ifindex, ProgramKind};

use super::{
    super::{Object, Op, Recorded, RecordedUplink, Refusal, WantedUplink},
    Draft, Planner,
    entries::UPLINK,
};

impl Planner<'_> {
    /// The record of an uplink that netpath did not make.
    fn machines(&self, dev: &str) -> Option<&RecordedUplink> {
        let uplink = self.world.recorded.as_ref()?.uplinks.get(dev)?;
        (!uplink.made && !self.world.observed.pins_links).then_some(uplink)
    }

    /// Notes, before a program is attached, whether netpath makes the qdisc for it.
    pub(super) fn note_clsact(&mut self, draft: &mut Draft, dev: &str) {
        if self.has_program(dev) {
            return;
        }
        let makes = !self.world.observed.clsact.contains_key(dev);
        self.record_clsact(draft, dev, makes);
    }

    /// Takes a program off an interface, and the qdisc that is netpath's with it. An uplink is the one of its index, whatever
    /// somebody calls it by now.
    pub(super) fn take_off(&mut self, draft: &mut Draft, program: ProgramKind, dev: &str) {
        let now = self.name_of_uplink(dev);
        let is_ours = self.machines(dev).is_some_and(|uplink| uplink.clsact_made);
        let clsact = self.world.observed.clsact.get(&now);
        let is_empty = clsact.is_some_and(|clsact| !clsact.has_others);
        if is_ours && is_empty {
            self.act(draft, Op::RemoveClsact(now.clone()));
        } else {
            self.act(draft, Op::Detach(program, now.clone()));
        }
        // Its link is pinned by the name that it had.
        let pin = (program, dev.to_owned());
        if now != dev && self.world.observed.link_pins.contains(&pin) {
            self.act(draft, Op::Detach(program, pin.1));
        }
        if !self.has_program(&now) {
            self.record_clsact(draft, dev, false);
        }
    }

    /// What the interface of a recorded uplink of the machine's is called now.
    pub(super) fn name_of_uplink(&self, dev: &str) -> String {
        let node = self.world.recorded.as_ref();
        let uplink = node.and_then(|node| node.uplinks.get(dev));
        let uplink = uplink.filter(|uplink| !uplink.made && uplink.ifindex != Ifindex(0));
        let name = uplink.and_then(|uplink| self.world.observed.node.name_of(uplink.ifindex));
        name.unwrap_or(dev).to_owned()
    }

    fn has_program(&self, dev: &str) -> bool {
        let ifindex = self.world.ifindex(dev);
        let attached = &self.world.observed.attached;
        UPLINK
            .iter()
            .any(|program| attached.contains(&(ifindex, *program)))
    }

    fn record_clsact(&mut self, draft: &mut Draft, dev: &str, clsact_made: bool) {
        let Some(record) = self.machines(dev).cloned() else {
            return;
        };
        if record.clsact_made != clsact_made {
            let record = RecordedUplink {
                clsact_made,
                ..record
            };
            self.act(draft, Op::RecordUplink(dev.to_owned(), Box::new(record)));
        }
    }

    /// All nodes have one place for their filters. Whatever stands there would go when a program is attached, so nothing may
    /// that is not this node's own.
    pub(super) fn refuse_place(&mut self, wanted: &WantedUplink) {
        let dev = &wanted.dev;
        let observed = &self.initial.observed;
        if observed.pins_links || wanted.wire.is_some() {
            return;
        }
        // It may call it by another name.
        let index = observed.node.link(dev).map(|link| link.ifindex);
        let has = |other: &Recorded| {
            let mut uplinks = other.uplinks.iter();
            uplinks.any(|(theirs, record)| theirs == dev || Some(record.ifindex) == index)
        };
        if let Some(node) = self.holder(has) {
            let dev = dev.clone();
            let refusal = Refusal::SharedUplink { dev, node };
            self.refuse_with(Object::Uplink, &wanted.dev, refusal);
            return;
        }
        let clsact = observed.clsact.get(dev);
        if let Some(hook) = clsact.and_then(|clsact| clsact.taken) {
            let dev = dev.clone();
            let refusal = Refusal::FilterInPlace { dev, hook };
            self.refuse_with(Object::Uplink, &wanted.dev, refusal);
        }
    }
}
