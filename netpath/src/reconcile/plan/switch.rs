//! The fast path on or off, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use netpath_common::{FastPathMode, FastPathWish, Ifindex, Mac, ProgramKind};

use super::{
    super::{
        Action, Change, NewInterface, Object, Op, Owner, Plan, Recorded, RecordedEndpoint, Wanted,
        World,
    },
    Draft, Fresh, Planner,
    endpoint::host_link,
    entries::{ENDPOINT, UPLINK},
};

/// What a switch says that attaches and detaches nothing, and notes what is wished.
const WISHED: &str = "noted, and no program is to be attached or detached";
/// What it says if only what the programs know was not as it is any more.
const TOLD: &str = "its programs are told what has changed";

/// What is wished for the programs of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// For the node as a whole.
    pub node: FastPathMode,
    /// For each of its endpoints.
    pub endpoints: BTreeMap<String, FastPathWish>,
}

impl Wishes {
    /// Those that are recorded.
    #[must_use]
    pub fn of(node: &Recorded) -> Self {
        let endpoints = node.endpoints.iter();
        Self {
            node: node.fast_path,
            endpoints: endpoints
                .map(|(name, e)| (name.clone(), e.fast_path))
                .collect(),
        }
    }
}

impl Wishes {
    /// Whether something is to take packets that does not with the other wishes.
    #[must_use]
    pub fn take_more_than(&self, before: &Self) -> bool {
        let modes = |wishes: &Self| {
            let endpoints = wishes.endpoints.iter();
            let of_one = |(name, wish): (&String, &FastPathWish)| {
                let mode = wish.wants(wishes.node);
                (mode == FastPathMode::On).then(|| Some(name.clone()))
            };
            let of_node = (wishes.node == FastPathMode::On).then_some(None);
            endpoints.filter_map(of_one).chain(of_node).collect()
        };
        let (before, after): (BTreeSet<_>, BTreeSet<_>) = (modes(before), modes(self));
        !after.is_subset(&before)
    }

    fn wants_any(&self) -> bool {
        let mut endpoints = self.endpoints.values();
        self.node.attaches() || endpoints.any(|wish| wish.wants(self.node).attaches())
    }
}

/// What attaches and detaches programs as it is wished, and re-creates nothing: an interface that is gone gets its
/// programs when it is made again.
#[must_use]
pub fn switch(wanted: &Wanted, wishes: &Wishes, world: &World) -> Plan {
    let mut fresh = Fresh::new(0);
    // The wishes stand in the records from the first step on; what was wished before counts no more.
    let mut wanted = wanted.clone();
    for endpoint in &mut wanted.endpoints {
        endpoint.fast_path = None;
    }
    let mut planner = Planner::new(&wanted, world, &mut fresh);
    if wishes.wants_any() {
        planner.refuse_room();
        wanted
            .uplinks
            .iter()
            .for_each(|uplink| planner.refuse_place(uplink));
    }
    planner.wish(wishes);
    for interface in planner.interfaces() {
        planner.change_mode(&interface);
    }
    planner.look_again();
    for interface in planner.interfaces() {
        planner.switch_one(&interface);
    }
    planner.tell_silent_steps();
    planner.tell();
    planner.plan
}

/// An interface of a node that programs belong on.
struct Interface {
    dev: String,
    programs: &'static [ProgramKind],
    /// What proves it to be netpath's own; none where netpath did not make it.
    mac: Option<Mac>,
    /// What is wished for it, and what that makes of it on this node.
    wish: FastPathWish,
    mode: FastPathMode,
}

impl Planner<'_> {
    /// Where the topology says how the fast path is to be, and it is otherwise.
    pub(super) fn switch_wanted(&mut self) {
        let (Some(mode), Some(node)) = (self.wanted.fast_path, self.world.recorded.as_ref()) else {
            return;
        };
        let endpoints = self.exceptions(node);
        if node.fast_path == mode && endpoints.is_empty() {
            return;
        }
        let is_other = node.fast_path != mode;
        let mut draft = Draft::default();
        draft.note(super::super::Drift::FastPath { mode });
        if is_other {
            self.act(&mut draft, Op::WishFastPath(mode));
        }
        for (name, record) in endpoints {
            self.act(&mut draft, Op::RecordEndpoint(name, Box::new(record)));
        }
        self.refresh_entries(&mut draft);
        draft.quiet = true;
        self.is_switching = true;
        for interface in self.interfaces() {
            self.switch_interface(&mut draft, &interface);
        }
        self.is_switching = false;
        let name = self.wanted.name.clone();
        self.step(Action::Update, Object::FastPath, &name, None, draft);
    }

    /// Endpoints of which something else is wished than of their node, without that wish: a topology that says how the
    /// fast path is to be means all of the file's.
    fn exceptions(&self, node: &Recorded) -> Vec<(String, RecordedEndpoint)> {
        let wanted = self
            .wanted
            .endpoints
            .iter()
            .filter(|wanted| wanted.fast_path.is_none());
        let endpoints = wanted.filter_map(|wanted| node.endpoints.get_key_value(&wanted.name));
        endpoints
            .filter(|(_, record)| record.fast_path != FastPathWish::AsNode)
            .map(|(name, record)| {
                let record = RecordedEndpoint {
                    fast_path: FastPathWish::AsNode,
                    ..record.clone()
                };
                (name.clone(), record)
            })
            .collect()
    }

    /// Records what is wished, first: a switch that is interrupted is ended by the next `up`.
    fn wish(&mut self, wishes: &Wishes) {
        let Some(node) = self.world.recorded.clone() else {
            return;
        };
        let mut draft = Draft {
            silent: true,
            ..Draft::default()
        };
        if node.bypass != self.wanted.bypass {
            self.act(&mut draft, Op::Accept(self.wanted.bypass));
        }
        if node.fast_path != wishes.node {
            self.act(&mut draft, Op::WishFastPath(wishes.node));
        }
        for (name, endpoint) in node.endpoints {
            let wish = wishes
                .endpoints
                .get(&name)
                .copied()
                .unwrap_or(endpoint.fast_path);
            if wish != endpoint.fast_path {
                let mut record = endpoint;
                record.fast_path = wish;
                self.act(&mut draft, Op::RecordEndpoint(name, Box::new(record)));
            }
        }
        let name = self.wanted.name.clone();
        self.step(Action::Update, Object::FastPath, &name, None, draft);
    }

    /// A switch that attaches and detaches nothing may have changed something all the same.
    fn tell_silent_steps(&mut self) {
        if self.plan.changes().next().is_some() {
            return;
        }
        let is_wish = |op: &Op| matches!(op, Op::WishFastPath(_) | Op::RecordEndpoint(..));
        for step in &mut self.plan.steps {
            let detail = match step.ops.iter().any(is_wish) {
                true => WISHED,
                false => TOLD,
            };
            step.change = Some(Change {
                action: Action::Update,
                object: step.object.0,
                node: self.wanted.name.clone(),
                name: step.object.1.clone(),
                detail: detail.to_owned(),
            });
        }
    }

    fn interfaces(&self) -> Vec<Interface> {
        let Some(node) = &self.world.recorded else {
            return Vec::new();
        };
        let endpoints = node.endpoints.values().map(|record| Interface {
            dev: record.host_dev.clone(),
            programs: ENDPOINT,
            mac: Some(record.host_mac),
            wish: record.fast_path,
            mode: record.fast_path.wants(node.fast_path),
        });
        let uplinks = node.uplinks.iter().map(|(dev, record)| Interface {
            dev: dev.clone(),
            programs: UPLINK,
            mac: record.made.then_some(record.mac),
            wish: FastPathWish::AsNode,
            mode: node.fast_path,
        });
        endpoints.chain(uplinks).collect()
    }

    fn switch_one(&mut self, interface: &Interface) {
        let mut draft = Draft {
            quiet: true,
            ..Draft::default()
        };
        let changed = self.switch_interface(&mut draft, interface);
        draft.silent = !changed;
        let detail = interface.mode.name().to_owned();
        self.step(
            Action::Update,
            Object::FastPath,
            &interface.dev,
            Some(detail),
            draft,
        );
    }

    /// Tells the programs of an interface that stay there to take packets, or to count only.
    fn change_mode(&mut self, interface: &Interface) {
        let ifindex = self.world.ifindex(&interface.dev);
        let observed = &self.world.observed;
        let known = observed.maps.interfaces.get(&ifindex);
        let is_other =
            known.is_some_and(|known| known.shadow != (interface.mode == FastPathMode::Shadow));
        let mut programs = interface.programs.iter();
        let stays = programs.any(|program| observed.attached.contains(&(ifindex, *program)));
        if !is_other || !stays || !interface.mode.attaches() {
            return;
        }
        let mut draft = Draft::default();
        self.refresh_interface(&mut draft, &interface.dev, interface.wish);
        let detail = Some(interface.mode.name().to_owned());
        let (action, object) = (Action::Update, Object::FastPath);
        self.step(action, object, &interface.dev, detail, draft);
    }

    /// Returns whether a program is attached or detached.
    fn switch_interface(&mut self, draft: &mut Draft, interface: &Interface) -> bool {
        let on = interface.mode.attaches();
        let mut unpinned = !on && self.take_off_renamed(draft, interface);
        unpinned |= !on && self.unpin(draft, interface);
        // Another's interface of that name is not it.
        let link = self.world.observed.node.link(&interface.dev);
        if !link.is_some_and(|link| interface.mac.is_none() || link.mac == interface.mac) {
            return unpinned;
        }
        let before = draft.ops.len();
        self.programs(draft, &interface.dev, interface.programs, on);
        unpinned || draft.is_ahead || draft.ops.len() != before
    }

    /// Takes the programs off an uplink that somebody has given another name.
    fn take_off_renamed(&mut self, draft: &mut Draft, interface: &Interface) -> bool {
        let now = self.name_of_uplink(&interface.dev);
        let runs = |it: &ProgramKind| {
            let ifindex = self.world.ifindex(&now);
            now != interface.dev && self.world.observed.attached.contains(&(ifindex, *it))
        };
        let running: Vec<ProgramKind> = interface.programs.iter().copied().filter(runs).collect();
        for program in &running {
            self.take_off(draft, *program, &interface.dev);
        }
        !running.is_empty()
    }

    /// Removes the pins of links whose program does not run on the interface of that name: it was another one.
    fn unpin(&mut self, draft: &mut Draft, interface: &Interface) -> bool {
        let mut unpinned = false;
        for &program in interface.programs {
            let dev = interface.dev.clone();
            let runs = (self.world.ifindex(&dev), program);
            let observed = &self.world.observed;
            let is_pinned = observed.link_pins.contains(&(program, dev.clone()));
            if is_pinned && !observed.attached.contains(&runs) {
                self.act(draft, Op::Detach(program, dev));
                unpinned = true;
            }
        }
        unpinned
    }

    /// Tells the programs what else acts on packets as it is now, before they are attached: of what they know of already.
    fn look_again(&mut self) {
        let Some(node) = self.world.recorded.clone() else {
            return;
        };
        let mut draft = Draft {
            silent: true,
            ..Draft::default()
        };
        for record in node.endpoints.values() {
            if host_link(&self.world, record).is_some() {
                self.refresh_interface(&mut draft, &record.host_dev, record.fast_path);
            }
        }
        self.refresh_entries(&mut draft);
        for dev in node.uplinks.keys() {
            self.refresh_interface(&mut draft, dev, FastPathWish::AsNode);
        }
        // Without room for them nothing is switched on: then it does not matter what the programs know.
        if self.without_room().is_empty() {
            self.refresh_own_prefixes(&mut draft);
            self.refresh_own_addresses(&mut draft);
        }
        self.features(&mut draft);
        let name = self.wanted.name.clone();
        self.step(Action::Update, Object::FastPath, &name, None, draft);
    }

    /// What of the packets for endpoints and other nodes is the kernel's, by what else acts on them and by what is wished.
    fn refresh_entries(&mut self, draft: &mut Draft) {
        let Some(node) = self.world.recorded.clone() else {
            return;
        };
        for record in node.endpoints.values() {
            // Of one whose interface is gone nothing is passed.
            if host_link(&self.world, record).is_none() {
                continue;
            }
            let ifindex = self.world.ifindex(&record.host_dev);
            let owner = Owner::Endpoint {
                id: record.id,
                dev: record.host_dev.clone(),
                endpoint_mac: record.endpoint_mac,
                host_mac: record.host_mac,
            };
            let is_on = record.fast_path.wants(node.fast_path).attaches();
            for address in record.addresses.iter().map(IpNet::addr) {
                if self.world.observed.maps.endpoints.contains_key(&address) {
                    let punts = self.address_punts(ifindex, address.into(), is_on);
                    self.entry(draft, false, address, &owner, punts);
                }
            }
            self.refresh_prefixes(draft, (ifindex, is_on), &record.prefixes, &owner);
        }
        for &dst in node.routes.keys() {
            if self.world.observed.maps.routes.contains_key(&dst) {
                let (owner, punts) = self.of_route(dst);
                self.prefix_entry(draft, false, dst, &owner, punts);
            }
        }
    }

    fn refresh_prefixes(
        &mut self,
        draft: &mut Draft,
        (ifindex, is_on): (Ifindex, bool),
        prefixes: &[IpNet],
        owner: &Owner,
    ) {
        for &prefix in prefixes {
            if self.world.observed.maps.routes.contains_key(&prefix) {
                let punts = self.address_punts(ifindex, prefix, is_on);
                self.prefix_entry(draft, false, prefix, owner, punts);
            }
        }
    }

    /// What the kernel has for an interface beside its programs: its reverse-path filter, and what else acts on it; and whether
    /// it is in shadow mode.
    fn refresh_interface(&mut self, draft: &mut Draft, dev: &str, wish: FastPathWish) {
        let ifindex = self.world.ifindex(dev);
        let Some(known) = self.world.observed.maps.interfaces.get(&ifindex).cloned() else {
            return;
        };
        let Some(mut kind) = known.kind else {
            return;
        };
        let punts = self.interface_punts(ifindex);
        let mut rp_filter = 0;
        if kind.is_uplink() {
            kind = self.uplink_kind(dev);
            rp_filter = self.reverse_path_filter(dev);
            self.uplink_features(draft, kind, rp_filter, punts);
        }
        let shadow = self.is_shadow(ifindex, wish);
        let found = (known.kind, known.rp_filter, known.punts, known.shadow);
        if found == (Some(kind), rp_filter, punts, shadow) {
            return;
        }
        self.change_shadow(draft, ifindex, shadow);
        let new = NewInterface {
            dev: dev.to_owned(),
            kind,
            id: known.id,
            endpoint: known.endpoint,
            rp_filter,
            punts,
            shadow,
        };
        self.act(draft, Op::Register(new));
    }
}
