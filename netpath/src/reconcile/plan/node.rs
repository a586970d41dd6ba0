//! The node itself: its namespace's settings, its programs, its policy.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::{
    FastPathMode, FastPathWish, FeatureBits, Ifindex, InterfaceKind, PuntReason, RouteEntry,
};

use super::{
    super::{Action, AddressPunts, Drift, InterfacePunts, Object, Op, Place, Recorded, World},
    Draft, Planner,
    sysctls::{FORWARDING, forwards_v4, forwards_v6, node_sysctls},
};
use crate::model::NodePlace;

impl Planner<'_> {
    /// A node that is not there.
    pub(super) fn make_node(&mut self) {
        let mode = self.wanted.fast_path.unwrap_or(FastPathMode::On);
        let place = match self.wanted.place {
            NodePlace::Lab => format!("namespace {}", self.wanted.name),
            NodePlace::Host => "this machine".to_owned(),
        };
        let policy = if self.wanted.forward_drop {
            ", FORWARD policy DROP"
        } else {
            ""
        };
        let fast_path = format!("fast path {}", mode.name());
        let mut draft = Draft {
            quiet: true,
            ..Draft::default()
        };
        let op = Op::MakeNode {
            place: self.wanted.place,
            fast_path: mode,
        };
        self.act(&mut draft, op);
        self.configure(&mut draft);
        self.accept(&mut draft);
        let name = self.wanted.name.clone();
        let detail = Some(format!("{place}{policy}, {fast_path}"));
        self.step(Action::Create, Object::Node, &name, detail, draft);
    }

    /// A node that is there.
    pub(super) fn settings(&mut self) {
        let mut draft = Draft::default();
        if !self.recorded(|node| node.configured) && self.wanted.place == NodePlace::Lab {
            draft.note(Drift::HalfMade);
            draft.quiet = true;
        }
        self.configure(&mut draft);
        draft.quiet = false;
        self.accept(&mut draft);
        self.bookkeeping(&mut draft);
        if !self.world.observed.programs_current {
            draft.note(Drift::Programs);
            self.act(&mut draft, Op::ReplacePrograms);
        }
        if !self.world.observed.has_room {
            draft.note(Drift::Room(self.wanted.room));
            self.act(&mut draft, Op::Grow);
        }
        let name = self.wanted.name.clone();
        self.step(Action::Update, Object::Node, &name, None, draft);
    }

    /// Notes what of the kernel's doing may be passed by.
    fn accept(&mut self, draft: &mut Draft) {
        let bypass = self.wanted.bypass;
        if bypass != self.recorded(|node| node.bypass) {
            draft.note(Drift::Bypass(bypass.listed()));
            self.act(draft, Op::Accept(bypass));
        }
    }

    fn recorded<T: Default>(&self, of: impl FnOnce(&Recorded) -> T) -> T {
        self.world.recorded.as_ref().map(of).unwrap_or_default()
    }

    /// What a lab node needs of its namespace. The machine's own is not configured, only checked.
    fn configure(&mut self, draft: &mut Draft) {
        if self.wanted.place == NodePlace::Host {
            return;
        }
        for (key, value) in node_sysctls(self.ipv6_of_node()) {
            let found = self.sysctl(&Place::Node, &key);
            if found == Some(value) {
                continue;
            }
            draft.note(if FORWARDING.contains(&key.as_str()) {
                Drift::Forwarding
            } else {
                Drift::Sysctl {
                    key: key.clone(),
                    found: found.map(str::to_owned),
                }
            });
            self.set_sysctl(draft, &Place::Node, key, value);
        }
        self.loopback_up(draft, &Place::Node);
        let drop = self.wanted.forward_drop;
        let found = self.world.observed.forward_drop.unwrap_or_default();
        if drop != self.recorded(|node| node.forward_drop) || found != [drop; 2] {
            draft.note(Drift::ForwardPolicy { drop });
            self.act(draft, Op::SetForwardPolicy { drop });
        }
        if !self.recorded(|node| node.configured) {
            self.act(draft, Op::NoteConfigured);
        }
    }

    /// What of an interface's packets is the kernel's.
    pub(super) fn interface_punts(&self, ifindex: Ifindex) -> InterfacePunts {
        let observed = &self.world.observed;
        let punts = observed.census.interface(ifindex, self.wanted.bypass);
        let ingress = match punts.ingress {
            0 => self.not_forwarded(ifindex),
            ingress => ingress,
        };
        InterfacePunts { ingress, ..punts }
    }

    /// Whether an interface's programs are to count only. Where none are to be attached they are left as they are: they take no
    /// packets before they are detached.
    pub(super) fn is_shadow(&self, ifindex: Ifindex, wish: FastPathWish) -> bool {
        let node = self.world.recorded.as_ref();
        let mode = node.map_or(FastPathMode::On, |node| wish.wants(node.fast_path));
        let known = self.world.observed.maps.interfaces.get(&ifindex);
        match mode {
            FastPathMode::On => false,
            FastPathMode::Shadow => true,
            FastPathMode::Off => known.is_some_and(|known| known.shadow),
        }
    }

    /// Before an interface enters shadow mode or leaves it. For what would be redirected in shadow mode is not noted, the
    /// connections that the kernel has translated meanwhile are entered before packets are taken.
    pub(super) fn change_shadow(&mut self, draft: &mut Draft, ifindex: Ifindex, shadow: bool) {
        let known = self.world.observed.maps.interfaces.get(&ifindex);
        let was = known.is_some_and(|known| known.shadow);
        if shadow {
            self.feature(draft, FeatureBits::SHADOW);
        } else if was {
            self.enter_connections(draft);
        }
    }

    /// What comes in by an interface that does not forward: for the kernel alone to lose.
    fn not_forwarded(&self, ifindex: Ifindex) -> u16 {
        let node = &self.world.observed.node;
        let Some(dev) = node.name_of(ifindex) else {
            return 0;
        };
        let off = |keys: &[String]| {
            let found = keys.iter().filter_map(|key| node.sysctls.get(key));
            let mut found = found.peekable();
            found.peek().is_some() && found.all(|value| value == "0")
        };
        let v4 = self.forwards(IpAddr::is_ipv4) && off(&forwards_v4(dev));
        let v6 = self.forwards(IpAddr::is_ipv6) && off(&forwards_v6(dev));
        let reason = match (v4, v6) {
            (false, false) => return 0,
            (true, false) => PuntReason::Ipv4ForwardingDisabled,
            (false, true) => PuntReason::Ipv6ForwardingDisabled,
            (true, true) => PuntReason::ForwardingDisabled,
        };
        reason.number()
    }

    /// Whether endpoints have addresses of a family: otherwise nothing of it is forwarded, and nobody has to see to it.
    fn forwards(&self, is_family: fn(&IpAddr) -> bool) -> bool {
        let node = self.world.recorded.as_ref();
        let recorded = node.into_iter().flat_map(|node| node.endpoints.values());
        let recorded = recorded.flat_map(|endpoint| &endpoint.addresses);
        let wanted = self.wanted.endpoints.iter();
        let wanted = wanted.flat_map(|endpoint| &endpoint.addresses);
        recorded.chain(wanted).any(|net| is_family(&net.addr()))
    }

    /// Whether an interface is a port of a VRF: what the main table says does not lead by it, and netpath has no routes in
    /// others.
    pub(super) fn is_in_vrf(&self, dev: &str) -> bool {
        let observed = &self.world.observed;
        let link = observed.node.link(dev);
        let census = link.and_then(|link| observed.census.interfaces.get(&link.ifindex));
        census.is_some_and(|census| census.ingress.contains(&PuntReason::Vrf))
    }

    /// What of an address's or a prefix's packets is the kernel's. It is behind this interface, 0 for another node's, whose
    /// programs are wished on or off.
    pub(super) fn address_punts(&self, ifindex: Ifindex, net: IpNet, is_on: bool) -> AddressPunts {
        let census = &self.world.observed.census;
        // What it sends is the kernel's where either is, and then what is sent to it has to be as well: a connection whose
        // directions go different ways is none to connection tracking.
        let interface = census.interface(ifindex, self.wanted.bypass);
        let to = match (interface.egress, interface.ingress) {
            (0, 0) if !is_on => PuntReason::FastPathOff.number(),
            (0, ingress) => ingress,
            (egress, _) => egress,
        };
        AddressPunts {
            to,
            ..census.address(net, self.wanted.bypass)
        }
    }

    pub(super) fn set_sysctl(
        &mut self,
        draft: &mut Draft,
        place: &Place,
        key: String,
        value: &str,
    ) {
        let op = Op::SetSysctl {
            place: place.clone(),
            key,
            value: value.to_owned(),
        };
        self.act(draft, op);
    }

    /// Makes sysctls true, and notes those that are not.
    pub(super) fn sysctls(
        &mut self,
        draft: &mut Draft,
        place: &Place,
        sysctls: Vec<(String, &'static str)>,
    ) {
        for (key, value) in sysctls {
            let found = self.sysctl(place, &key);
            if found == Some(value) {
                continue;
            }
            draft.note(Drift::Sysctl {
                key: key.clone(),
                found: found.map(str::to_owned),
            });
            self.set_sysctl(draft, place, key, value);
        }
    }

    pub(super) fn loopback_up(&mut self, draft: &mut Draft, place: &Place) {
        self.up(draft, place, "lo");
    }

    /// Sets an interface up that is down.
    pub(super) fn up(&mut self, draft: &mut Draft, place: &Place, dev: &str) -> bool {
        let link = self
            .world
            .namespace(place)
            .and_then(|there| there.link(dev));
        if link.is_none_or(|link| link.up) {
            return false;
        }
        draft.note(Drift::InterfaceDown(dev.to_owned()));
        let op = Op::SetUp {
            place: place.clone(),
            dev: dev.to_owned(),
        };
        self.act(draft, op);
        true
    }

    /// Tells the programs to look at something. It is done before that is there: it must never be overlooked.
    pub(super) fn feature(&mut self, draft: &mut Draft, feature: u32) {
        let mut features = self.world.observed.maps.features;
        if features.bits & feature == 0 {
            features.bits |= feature;
            self.act(draft, Op::SetFeatures(features));
        }
    }

    /// [`Self::feature`], for what an uplink needs.
    pub(super) fn uplink_features(
        &mut self,
        draft: &mut Draft,
        kind: InterfaceKind,
        rp_filter: u32,
        punts: InterfacePunts,
    ) {
        if kind == InterfaceKind::BareUplink {
            self.feature(draft, FeatureBits::BARE_UPLINKS);
        }
        if rp_filter != 0 {
            self.feature(draft, FeatureBits::REVERSE_PATH);
        }
        if punts.ingress != 0 {
            self.feature(draft, FeatureBits::PUNT_INGRESS);
        }
    }

    /// Clears the feature bits that nothing in the planned world needs, and sets those that it needs. One that was needed
    /// before and not set is drift, for the programs overlook what it stands for; so is one that nothing needed: they look, and
    /// leave to the kernel what need not be.
    pub(super) fn features(&mut self, draft: &mut Draft) {
        let before = needed_features(self.initial);
        let found = self.initial.observed.maps.features;
        if self.initial.recorded.is_some() && before != found {
            draft.note(Drift::EntryAltered {
                map: "features",
                key: "0".to_owned(),
            });
        }
        let features = needed_features(&self.world);
        if features != self.world.observed.maps.features {
            self.act(draft, Op::SetFeatures(features));
        }
    }

    /// Writes records again that hold what netpath never writes there.
    fn overwritten(&mut self, draft: &mut Draft) {
        let Some(node) = self.world.recorded.clone() else {
            return;
        };
        for (map, key) in self.world.observed.overwritten.clone() {
            let op = match map {
                "endpoint_records" => node
                    .endpoints
                    .get(&key)
                    .map(|record| Op::RecordEndpoint(key.clone(), Box::new(record.clone()))),
                "uplink_records" => node
                    .uplinks
                    .get(&key)
                    .map(|record| Op::RecordUplink(key.clone(), Box::new(record.clone()))),
                _ => {
                    let mut routes = node.routes.iter();
                    let route = routes.find(|(dst, _)| dst.to_string() == key);
                    route.map(|(dst, record)| Op::RecordRoute(*dst, record.clone()))
                }
            };
            if let Some(op) = op {
                draft.note(Drift::EntryAltered { map, key });
                self.act(draft, op);
            }
        }
    }

    /// Notes in the maps what their names do not say: which id comes next, and how much room there is.
    fn bookkeeping(&mut self, draft: &mut Draft) {
        let Some(node) = &self.world.recorded else {
            return;
        };
        let next = node.free_id();
        if next != node.next_id {
            draft.note(Drift::EntryAltered {
                map: "ids",
                key: "0".to_owned(),
            });
            self.act(draft, Op::SetNextId(next));
        }
        if !self.world.observed.settings_sound {
            draft.note(Drift::EntryAltered {
                map: "settings",
                key: "0".to_owned(),
            });
            self.act(draft, Op::MendSettings);
        }
        self.overwritten(draft);
    }
}

/// What the programs have to look at.
pub(super) fn needed_features(world: &World) -> FeatureBits {
    let mut bits = 0;
    let recorded = world.recorded.as_ref();
    let has_prefixes = recorded
        .is_some_and(|node| node.endpoints.values().any(|it| !it.prefixes.is_empty()))
        || world
            .observed
            .maps
            .routes
            .values()
            .any(|it| *it == RouteEntry::NODE);
    if has_prefixes {
        bits |= FeatureBits::LOCAL_PREFIXES;
    }
    let mut interfaces = world.observed.maps.interfaces.values();
    if interfaces.any(|interface| interface.rp_filter != 0) {
        bits |= FeatureBits::REVERSE_PATH;
    }
    let interfaces = world.observed.maps.interfaces.values();
    for interface in interfaces {
        if interface.shadow {
            bits |= FeatureBits::SHADOW;
        }
        let kind = interface.kind;
        if kind.is_some_and(InterfaceKind::is_uplink) && interface.punts.ingress != 0 {
            bits |= FeatureBits::PUNT_INGRESS;
        }
        if kind == Some(InterfaceKind::BareUplink) {
            bits |= FeatureBits::BARE_UPLINKS;
        }
    }
    let census = &world.observed.census;
    if census.path_mtu {
        bits |= FeatureBits::PATH_MTU;
    }
    FeatureBits {
        bits,
        route_mtu: census.route_mtu,
    }
}
