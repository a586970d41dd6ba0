//! Uplinks, and in a lab the wires that they are on: a bridge in a namespace of its own.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use netpath_common::{EndpointEntry, EndpointId, FastPathWish, Ifindex, InterfaceKind};

use super::{
    super::{
        Action, AddressKind, AddressPunts, Drift, Framing, Link, NamespaceState, NewInterface,
        Object, Op, Owner, Place, RecordedUplink, WantedUplink,
        observed::{Interface, taken_by},
        wanted::WantedWire,
        words::List,
    },
    BRIDGE, Draft, Planner,
    entries::{UPLINK, described_otherwise},
    names::{end_on_the_wire, own_uplink},
    sysctls::{reverse_path_sysctls, uplink_sysctls, wire_sysctls},
};
use crate::model::IPV6_MIN_MTU;

impl Planner<'_> {
    /// Makes an uplink true, whatever is there of it already.
    pub(super) fn uplink(&mut self, wanted: &WantedUplink) {
        let Some(node) = &self.world.recorded else {
            return;
        };
        let before = node.uplinks.get(&wanted.dev).cloned();
        let mut draft = Draft {
            quiet: before.is_none(),
            ..Draft::default()
        };
        let changes = before
            .as_ref()
            .map_or_else(Vec::new, |before| changes(before, wanted));
        if before.as_ref().is_some_and(|before| !before.complete) {
            draft.note(Drift::HalfMade);
            draft.quiet = true;
        }
        let Some(mut record) = self.uplink_record(wanted, before.as_ref()) else {
            // An interface of the machine that is not there: refused before.
            draft.note(Drift::InterfaceGone(wanted.dev.clone()));
            self.step(Action::Update, Object::Uplink, &wanted.dev, None, draft);
            return;
        };
        if before.as_ref() != Some(&record) {
            self.record_uplink(&mut draft, wanted, &record, false);
        }
        let had = |address: &IpNet| {
            let before = before.as_ref();
            before.is_some_and(|before| before.addresses.contains(address))
        };
        match &wanted.wire {
            Some(wire) => self.lab_uplink(&mut draft, wanted, wire, &mut record, &had),
            None => self.machine_uplink(&mut draft, wanted, &record),
        }
        self.publish_uplink(&mut draft, wanted, &mut record, &had);
        draft.quiet = false;
        changes.into_iter().for_each(|change| draft.note(change));
        let node = self.world.recorded.as_ref();
        let recorded = node.and_then(|node| node.uplinks.get(&wanted.dev)).cloned();
        record.complete = true;
        if recorded.as_ref() != Some(&record) {
            self.record_uplink(&mut draft, wanted, &record, true);
        }
        let (action, detail) = match before {
            None => (Action::Create, Some(description(wanted))),
            Some(_) => (Action::Update, None),
        };
        draft.silent = action == Action::Update && draft.drift.is_empty();
        self.step(action, Object::Uplink, &wanted.dev, detail, draft);
    }

    fn record_uplink(
        &mut self,
        draft: &mut Draft,
        wanted: &WantedUplink,
        record: &RecordedUplink,
        complete: bool,
    ) {
        let record = RecordedUplink {
            complete,
            ..record.clone()
        };
        let op = Op::RecordUplink(wanted.dev.clone(), Box::new(record));
        self.act(draft, op);
    }

    /// What is to be recorded; `None` where the machine has no such interface.
    fn uplink_record(
        &self,
        wanted: &WantedUplink,
        before: Option<&RecordedUplink>,
    ) -> Option<RecordedUplink> {
        let wire = wanted.wire.as_ref().map_or("", |wire| wire.name.as_str());
        let made = wanted.wire.is_some();
        let blank = RecordedUplink {
            wire: wire.to_owned(),
            wire_cookie: 0,
            complete: false,
            ifindex: Ifindex(0),
            made,
            mac: wanted.mac,
            port_mac: wanted.port_mac,
            addresses: Vec::new(),
            position: wanted.position,
            clsact_made: false,
        };
        let identity = before
            .filter(|before| before.wire == wire)
            .cloned()
            .unwrap_or(blank);
        let mac = if made {
            identity.mac
        } else {
            let link = self.world.observed.node.link(&wanted.dev)?;
            link.mac.unwrap_or_default()
        };
        Some(RecordedUplink {
            addresses: wanted.addresses.clone(),
            position: wanted.position,
            mac,
            ..identity
        })
    }

    fn machine_uplink(
        &mut self,
        draft: &mut Draft,
        wanted: &WantedUplink,
        record: &RecordedUplink,
    ) {
        let Some(link) = self.world.observed.node.link(&wanted.dev).cloned() else {
            return;
        };
        if record.ifindex != Ifindex(0) && record.ifindex != link.ifindex {
            draft.note(Drift::InterfaceRemade(wanted.dev.clone()));
        }
    }

    fn lab_uplink(
        &mut self,
        draft: &mut Draft,
        wanted: &WantedUplink,
        wire: &WantedWire,
        record: &mut RecordedUplink,
        had: &dyn Fn(&IpNet) -> bool,
    ) {
        self.uplink_back(draft, &wanted.dev, record);
        let place = Place::Wire(wire.name.clone());
        self.wire(draft, wanted, wire, &place, record);
        let made = self.uplink_veth(draft, wanted, wire, &place, record);
        let ipv6 = self.ipv6_of_node();
        self.ipv6_mtu(draft, &Place::Node, &wanted.dev, ipv6);
        self.sysctls(draft, &Place::Node, uplink_sysctls(&wanted.dev, ipv6));
        let mut set_up = self.up(draft, &Place::Node, &wanted.dev);
        for &address in &wanted.addresses {
            let link = self.world.observed.node.link(&wanted.dev);
            if link.is_some_and(|link| link.addresses.contains(&address)) {
                continue;
            }
            if had(&address) {
                draft.note(Drift::AddressGone(address));
            }
            let op = Op::AddAddress {
                place: Place::Node,
                dev: wanted.dev.clone(),
                address,
                kind: AddressKind::OnLink,
            };
            self.act(draft, op);
        }
        set_up |= self.port(draft, &wanted.dev, wire, &place);
        if made || set_up {
            let ends = [(Place::Node, &wanted.dev), (place, &wire.port)];
            for (place, dev) in ends {
                let dev = dev.clone();
                self.act(draft, Op::AwaitOperational { place, dev });
            }
        }
    }

    /// Gives an uplink its MAC and its name back, where the other end or the MAC proves it; notes one that is not there.
    fn uplink_back(&mut self, draft: &mut Draft, dev: &str, record: &RecordedUplink) {
        let Some(link) = own_uplink(&self.world, record).cloned() else {
            draft.note(Drift::InterfaceGone(dev.to_owned()));
            draft.quiet = true;
            return;
        };
        if link.mac != Some(record.mac) {
            draft.note(Drift::OtherMac(dev.to_owned()));
            let op = Op::SetMac {
                dev: link.name.clone(),
                mac: record.mac,
            };
            self.act(draft, op);
        }
        if link.name == dev {
            return;
        }
        let mut initially = self.initial.observed.node.links.iter();
        let initially = initially.find(|found| found.ifindex == link.ifindex);
        draft.note(Drift::InterfaceRenamed {
            dev: dev.to_owned(),
            to: initially.unwrap_or(&link).name.clone(),
        });
        draft.quiet = true;
        let is_whole = end_on_the_wire(&self.world, record).is_some();
        if is_whole && self.world.observed.node.link(dev).is_none() {
            self.rename(draft, &Place::Node, &link.name, dev.to_owned());
        }
    }

    /// The wire's namespace with its bridge.
    fn wire(
        &mut self,
        draft: &mut Draft,
        wanted: &WantedUplink,
        wire: &WantedWire,
        place: &Place,
        record: &mut RecordedUplink,
    ) {
        let state = self
            .world
            .namespace(place)
            .map_or(NamespaceState::Absent, |n| n.state);
        match state {
            NamespaceState::Present(cookie) if cookie == record.wire_cookie => {}
            NamespaceState::Present(_) => {
                let there = self.initial.namespace(place);
                // The uplink's own port is in it.
                if record.complete
                    && there.is_some_and(|there| there.link_with(record.port_mac).is_some())
                {
                    draft.note(altered_record(wanted));
                }
                let op = Op::JoinWire {
                    dev: wanted.dev.clone(),
                    wire: wire.name.clone(),
                };
                self.act(draft, op);
            }
            state => {
                draft.note(Drift::NamespaceGone(wire.namespace.clone()));
                draft.quiet = true;
                if state == NamespaceState::EmptyFile {
                    self.act(draft, Op::RemoveNamespace(place.clone()));
                }
                let op = Op::MakeNamespace {
                    place: place.clone(),
                    record: wanted.dev.clone(),
                };
                self.record_uplink(draft, wanted, record, false);
                self.act(draft, op);
            }
        }
        let node = self.world.recorded.as_ref();
        let recorded = node.and_then(|node| node.uplinks.get(&wanted.dev));
        record.wire_cookie = recorded.map_or(0, |recorded| recorded.wire_cookie);
        self.sysctls(draft, place, wire_sysctls(self.ipv6_of_node()));
        if self
            .world
            .namespace(place)
            .is_none_or(|there| there.link(BRIDGE).is_none())
        {
            draft.note(Drift::InterfaceGone(BRIDGE.to_owned()));
            let op = Op::AddBridge {
                place: place.clone(),
                dev: BRIDGE.to_owned(),
            };
            self.act(draft, op);
        }
        self.up(draft, place, BRIDGE);
    }

    /// Makes the veth pair anew unless both of its ends are there. Returns whether it did.
    fn uplink_veth(
        &mut self,
        draft: &mut Draft,
        wanted: &WantedUplink,
        wire: &WantedWire,
        place: &Place,
        record: &RecordedUplink,
    ) -> bool {
        let is = |link: Option<&Link>, mac| link.is_some_and(|link| link.mac == Some(mac));
        let port = self
            .world
            .namespace(place)
            .and_then(|there| there.link(&wire.port));
        let here = self.world.observed.node.link(&wanted.dev);
        if is(here, record.mac) && is(port, record.port_mac) {
            return false;
        }
        draft.note(Drift::OffTheWire(wire.port.clone()));
        draft.quiet = true;
        for (there, mac) in [(Place::Node, record.mac), (place.clone(), record.port_mac)] {
            let namespace = self.world.namespace(&there);
            let Some(dev) = namespace
                .and_then(|n| n.link_with(mac))
                .map(|link| link.name.clone())
            else {
                continue;
            };
            self.act(
                draft,
                Op::DeleteLink {
                    place: there,
                    dev,
                    mac,
                },
            );
        }
        let op = Op::AddVeth {
            dev: wanted.dev.clone(),
            mac: record.mac,
            place: place.clone(),
            peer: wire.port.clone(),
            peer_mac: record.port_mac,
        };
        self.act(draft, op);
        true
    }

    /// The port on the wire's bridge. Returns whether it was set up.
    fn port(&mut self, draft: &mut Draft, dev: &str, wire: &WantedWire, place: &Place) -> bool {
        let there = self.world.namespace(place);
        let bridge = there
            .and_then(|there| there.link(BRIDGE))
            .map(|link| link.ifindex);
        let port = there.and_then(|there| there.link(&wire.port));
        if port.map(|port| port.controller) != bridge {
            draft.note(Drift::OffTheWire(wire.port.clone()));
            let op = Op::SetController {
                place: place.clone(),
                dev: wire.port.clone(),
                bridge: BRIDGE.to_owned(),
            };
            self.act(draft, op);
        }
        self.ipv6_mtu(draft, place, &wire.port, self.ipv6_of_node());
        let others = self.least_mtu_of_others(wire, place);
        self.equal_mtus(draft, [(&Place::Node, dev), (place, &wire.port)], others);
        self.up(draft, place, &wire.port)
    }

    /// What all other ports of the wire's bridge can take; `None` where there are none.
    fn least_mtu_of_others(&self, wire: &WantedWire, place: &Place) -> Option<u32> {
        let there = self.world.namespace(place)?;
        let bridge = there.link(BRIDGE)?.ifindex;
        let ports = there.links.iter();
        let others = ports.filter(|link| link.controller == bridge && link.name != wire.port);
        let mtus = others.map(|link| link.mtu);
        // One that is smaller is another node's to mend.
        mtus.filter(|mtu| *mtu >= IPV6_MIN_MTU).min()
    }

    /// The uplink in the maps. It is ready before its program is attached: until then its packets are the kernel's,
    /// and they are not to be dropped in between.
    fn publish_uplink(
        &mut self,
        draft: &mut Draft,
        wanted: &WantedUplink,
        record: &mut RecordedUplink,
        had: &dyn Fn(&IpNet) -> bool,
    ) {
        let ifindex = self.world.ifindex(&wanted.dev);
        if ifindex == Ifindex(0) {
            return;
        }
        for address in &wanted.addresses {
            for taken in taken_by(address)
                .filter(|it| !self.is_endpoints(*it))
                .collect::<Vec<_>>()
            {
                let punts = AddressPunts::default();
                self.entry(draft, had(address), taken, &Owner::Node, punts);
            }
        }
        let rp_filter = self.reverse_path_filter(&wanted.dev);
        let punts = self.interface_punts(ifindex);
        let kind = self.uplink_kind(&wanted.dev);
        self.uplink_features(draft, kind, rp_filter, punts);
        self.register_uplink(draft, wanted, record, ifindex, (kind, rp_filter));
        let interface = self.world.observed.maps.interfaces.get(&ifindex);
        if !interface.is_some_and(|interface| interface.ready) {
            draft.note(Drift::NotReady(wanted.dev.clone()));
            self.act(draft, Op::SetReady(wanted.dev.clone()));
        }
        let on = self
            .world
            .recorded
            .as_ref()
            .is_some_and(|node| node.fast_path.attaches());
        self.programs(draft, &wanted.dev, UPLINK, on);
        let node = self.world.recorded.as_ref();
        let recorded = node.and_then(|node| node.uplinks.get(&wanted.dev));
        record.clsact_made = recorded.is_some_and(|recorded| recorded.clsact_made);
        let old = record.ifindex;
        let there = self.initial.observed.node.link_with(record.mac);
        if record.made && record.complete && there.is_some_and(|link| link.ifindex != old) {
            draft.note(altered_record(wanted));
        }
        let known = self.world.observed.maps.interfaces.get(&old);
        let is_own = known.is_some_and(|known| {
            known.kind.is_some_and(InterfaceKind::is_uplink) && known.dev == wanted.dev
        });
        if old != ifindex && is_own {
            self.act(draft, Op::Unregister(old));
        }
        record.ifindex = ifindex;
    }

    fn register_uplink(
        &mut self,
        draft: &mut Draft,
        wanted: &WantedUplink,
        record: &RecordedUplink,
        ifindex: Ifindex,
        (kind, rp_filter): (InterfaceKind, u32),
    ) {
        let found = self.world.observed.maps.interfaces.get(&ifindex);
        let interface = Interface {
            kind: Some(kind),
            ready: true,
            shadow: self.is_shadow(ifindex, FastPathWish::AsNode),
            id: EndpointId(0),
            rp_filter,
            punts: self.interface_punts(ifindex),
            dev: wanted.dev.clone(),
            endpoint: String::new(),
        };
        let key = ifindex.0.to_string();
        match found {
            Some(found) => {
                let found = Interface {
                    ready: true,
                    ..found.clone()
                };
                if found == interface {
                    return;
                }
                draft.note(described_otherwise(key, Some(&found), &interface));
            }
            None if record.ifindex == ifindex => draft.note(Drift::EntryGone {
                map: "interfaces",
                key,
            }),
            None => {}
        }
        let new = NewInterface {
            dev: interface.dev,
            kind,
            id: interface.id,
            endpoint: interface.endpoint,
            rp_filter,
            punts: interface.punts,
            shadow: interface.shadow,
        };
        self.change_shadow(draft, ifindex, new.shadow);
        self.act(draft, Op::Register(new));
    }

    /// What the programs take an uplink for.
    pub(super) fn uplink_kind(&self, dev: &str) -> InterfaceKind {
        let link = self.world.observed.node.link(dev);
        match link.map(|link| link.framing) {
            Some(Framing::Bare) => InterfaceKind::BareUplink,
            _ => InterfaceKind::Uplink,
        }
    }

    /// The mode of the kernel's reverse-path filter on an interface: the larger of its own and that of all
    /// (`IN_DEV_RPFILTER` in linux/inetdevice.h). An interface without an IPv4 address is never loose (`no_addr` in
    /// `__fib_validate_source`).
    pub(super) fn reverse_path_filter(&self, dev: &str) -> u32 {
        const STRICT: u32 = 1;
        // Whatever is not 0 is on, and only 2 is loose.
        let mode = |key: &String| {
            self.sysctl(&Place::Node, key)
                .map_or(0, |value| value.parse().unwrap_or(STRICT))
        };
        let mode = reverse_path_sysctls(self.world.observed.node.kernel_name(dev))
            .iter()
            .map(mode)
            .max()
            .unwrap_or(0);
        let link = self.world.observed.node.link(dev);
        let has_ipv4 =
            link.is_some_and(|link| link.addresses.iter().any(|net| net.addr().is_ipv4()));
        if mode > STRICT && !has_ipv4 {
            STRICT
        } else {
            mode
        }
    }

    /// Takes away the addresses that a kept uplink has no more, or all of it where it moves to another wire.
    pub(super) fn retire_uplink(&mut self, wanted: &WantedUplink) {
        let node = self.world.recorded.as_ref();
        let Some(before) = node.and_then(|node| node.uplinks.get(&wanted.dev)).cloned() else {
            return;
        };
        let mut draft = Draft {
            silent: true,
            quiet: true,
            ..Draft::default()
        };
        let wire = wanted.wire.as_ref().map_or("", |wire| wire.name.as_str());
        if before.wire != wire {
            self.drop_uplink(&mut draft, &wanted.dev, &before);
        } else {
            for &address in before
                .addresses
                .iter()
                .filter(|a| !wanted.addresses.contains(a))
            {
                self.retire_address(&mut draft, wanted, &before, address);
            }
        }
        self.step(Action::Update, Object::Uplink, &wanted.dev, None, draft);
    }

    fn retire_address(
        &mut self,
        draft: &mut Draft,
        wanted: &WantedUplink,
        before: &RecordedUplink,
        address: IpNet,
    ) {
        let link = self.world.observed.node.link(&wanted.dev);
        let is_ours = link
            .is_some_and(|link| link.mac == Some(before.mac) && link.addresses.contains(&address));
        if before.made && is_ours {
            let op = Op::RemoveAddress {
                place: Place::Node,
                dev: wanted.dev.clone(),
                address,
            };
            self.act(draft, op);
        }
        let kept: BTreeSet<IpAddr> = wanted.addresses.iter().flat_map(taken_by).collect();
        for taken in taken_by(&address).filter(|taken| !kept.contains(taken)) {
            // It may still be an address of the machine's.
            let observed = &self.world.observed;
            let entry = observed.maps.endpoints.get(&taken);
            let is_its = entry.is_some_and(EndpointEntry::is_node);
            if is_its && !observed.own.contains(&taken) {
                self.act(draft, Op::RemoveEntry(taken));
            }
        }
    }
}

fn changes(before: &RecordedUplink, wanted: &WantedUplink) -> Vec<Drift> {
    let mut changes = Vec::new();
    if before.addresses != wanted.addresses {
        changes.push(Drift::Addresses(wanted.addresses.clone()));
    }
    let wire = wanted.wire.as_ref().map_or("", |wire| wire.name.as_str());
    if before.wire != wire {
        changes.push(Drift::Wire(wire.to_owned()));
    }
    changes
}

fn description(wanted: &WantedUplink) -> String {
    let wire = wanted.wire.as_ref();
    let wire = wire.map_or_else(String::new, |wire| format!(", wire {}", wire.name));
    format!("{}{wire}", List(&wanted.addresses))
}

fn altered_record(uplink: &WantedUplink) -> Drift {
    Drift::EntryAltered {
        map: "uplink_records",
        key: uplink.dev.clone(),
    }
}
