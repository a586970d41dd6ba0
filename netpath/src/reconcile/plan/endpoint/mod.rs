//! An endpoint: its namespace, its veth pair, what is configured on both ends, and its entries in the maps.

pub(super) mod inside;
mod maps;
mod mtu;
mod retire;
mod routes;
mod veth;

pub(super) use self::veth::host_link;

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::{FastPathWish, Ifindex};

use super::{
    super::{
        Action, Drift, Home, Object, Op, Owner, Place, Recorded, RecordedEndpoint, WantedEndpoint,
        words::List,
    },
    Draft, Planner, first_of_family, is_ipv6,
};

/// One endpoint, being planned.
struct Work<'w> {
    wanted: &'w WantedEndpoint,
    place: Place,
    /// What is recorded; `None` of a new one.
    before: Option<RecordedEndpoint>,
    /// What is to be recorded.
    record: RecordedEndpoint,
}

impl Work<'_> {
    /// Whether an address was recorded: if so, its absence is drift.
    fn had(&self, address: &IpNet) -> bool {
        let before = self.before.as_ref();
        before.is_some_and(|before| before.addresses.contains(address))
    }

    /// Whether there was an address of a family.
    fn had_family(&self, of: IpAddr) -> bool {
        let before = self.before.as_ref();
        before.is_some_and(|before| first_of_family(&before.addresses, of).is_some())
    }

    /// Whether there is to be an IPv6 address; a prefix has one of its family.
    fn uses_ipv6(&self) -> bool {
        self.record.addresses.iter().any(is_ipv6)
    }

    fn had_prefix(&self, prefix: &IpNet) -> bool {
        let before = self.before.as_ref();
        before.is_some_and(|before| before.prefixes.contains(prefix))
    }

    fn owner(&self) -> Owner {
        Owner::Endpoint {
            id: self.record.id,
            dev: self.record.host_dev.clone(),
            endpoint_mac: self.record.endpoint_mac,
            host_mac: self.record.host_mac,
        }
    }
}

impl Planner<'_> {
    /// Makes an endpoint true, whatever is there of it already.
    pub(in super::super) fn endpoint(&mut self, wanted: &WantedEndpoint) {
        let Some(node) = &self.world.recorded else {
            return;
        };
        let before = node.endpoints.get(&wanted.name).cloned();
        if before
            .as_ref()
            .is_some_and(|it| self.lost_its_namespace(&wanted.name, it))
        {
            return;
        }
        let mut draft = Draft::default();
        let record = self.wished_record(&mut draft, wanted, before.as_ref());
        let mut work = Work {
            wanted,
            place: Place::Endpoint(wanted.name.clone()),
            before,
            record,
        };
        let changes = work
            .before
            .as_ref()
            .map_or_else(Vec::new, |old| changes(old, wanted));
        draft.quiet = work.before.is_none();
        if work.before.as_ref().is_some_and(|before| !before.complete) {
            draft.note(Drift::HalfMade);
            draft.quiet = true;
        }
        let before = work.before.clone();
        if before.as_ref() != Some(&work.record) {
            let pending = RecordedEndpoint {
                complete: false,
                ..work.record.clone()
            };
            self.record(&mut draft, &work, pending);
        }
        draft.quiet |= changes
            .iter()
            .any(|change| matches!(change, Drift::Dev(_) | Drift::HostDev(_) | Drift::Home(_)));
        self.mac_back(&mut draft, &work);
        self.name_back(&mut draft, &work);
        self.routes_gone(&mut draft, &work);
        self.endpoint_namespace(&mut draft, &mut work);
        let made = self.veth(&mut draft, &work);
        self.host_side(&mut draft, &work);
        self.inside(&mut draft, &work);
        self.await_veth(&mut draft, &work, made);
        self.publish(&mut draft, &mut work);
        draft.quiet = false;
        changes.into_iter().for_each(|change| draft.note(change));
        self.finish_endpoint(draft, work);
    }

    fn finish_endpoint(&mut self, mut draft: Draft, work: Work<'_>) {
        let done = RecordedEndpoint {
            complete: true,
            ..work.record.clone()
        };
        let node = self.world.recorded.as_ref();
        if node.and_then(|node| node.endpoints.get(&work.wanted.name)) != Some(&done) {
            self.record(&mut draft, &work, done);
        }
        let name = &work.wanted.name;
        match &work.before {
            None => {
                let detail = Some(description(work.wanted));
                self.step(Action::Create, Object::Endpoint, name, detail, draft);
            }
            Some(_) => {
                // What only follows from another step of this plan is not told apart from it.
                draft.silent = draft.drift.is_empty();
                self.step(Action::Update, Object::Endpoint, name, None, draft);
            }
        }
    }

    fn record(&mut self, draft: &mut Draft, work: &Work<'_>, record: RecordedEndpoint) {
        let op = Op::RecordEndpoint(work.wanted.name.clone(), Box::new(record));
        self.act(draft, op);
    }

    /// What identifies the endpoint stays, all else is as wanted.
    fn wished_record(
        &mut self,
        draft: &mut Draft,
        wanted: &WantedEndpoint,
        before: Option<&RecordedEndpoint>,
    ) -> RecordedEndpoint {
        let identity = match before {
            Some(before) => before.clone(),
            None => self.new_record(draft, wanted),
        };
        let moved = !self.stays_in(wanted, &identity);
        RecordedEndpoint {
            origin: wanted.origin,
            home: wanted.home.clone(),
            cookie: if moved { 0 } else { identity.cookie },
            dev: wanted.dev.clone(),
            host_dev: wanted.host_dev.clone(),
            addresses: wanted.addresses.clone(),
            prefixes: wanted.prefixes.clone(),
            mtu: wanted.mtu,
            fast_path: wanted.fast_path.unwrap_or(identity.fast_path),
            ..identity
        }
    }

    fn new_record(&mut self, draft: &mut Draft, wanted: &WantedEndpoint) -> RecordedEndpoint {
        let id = self
            .world
            .recorded
            .as_ref()
            .map_or_else(Default::default, Recorded::free_id);
        let next = netpath_common::EndpointId(id.0.saturating_add(1));
        self.act(draft, Op::SetNextId(next));
        RecordedEndpoint {
            origin: wanted.origin,
            home: wanted.home.clone(),
            cookie: 0,
            id,
            complete: false,
            ifindex: Ifindex(0),
            endpoint_mac: self.fresh.mac(),
            host_mac: self.fresh.mac(),
            dev: String::new(),
            host_dev: String::new(),
            addresses: Vec::new(),
            prefixes: Vec::new(),
            mtu: None,
            fast_path: FastPathWish::AsNode,
        }
    }
}

/// What the topology wants otherwise than it is recorded.
fn changes(before: &RecordedEndpoint, wanted: &WantedEndpoint) -> Vec<Drift> {
    let mut changes = Vec::new();
    if before.addresses != wanted.addresses {
        changes.push(Drift::Addresses(wanted.addresses.clone()));
    }
    if before.prefixes != wanted.prefixes {
        changes.push(Drift::Prefixes(wanted.prefixes.clone()));
    }
    if before.mtu != wanted.mtu {
        changes.push(Drift::Mtu(wanted.mtu));
    }
    if before.dev != wanted.dev {
        changes.push(Drift::Dev(wanted.dev.clone()));
    }
    if before.host_dev != wanted.host_dev {
        changes.push(Drift::HostDev(wanted.host_dev.clone()));
    }
    if before.home != wanted.home {
        changes.push(Drift::Home(match &wanted.home {
            Home::Made => wanted.name.clone(),
            Home::Given(path) => path.clone(),
        }));
    }
    changes
}

fn description(wanted: &WantedEndpoint) -> String {
    let prefixes = match wanted.prefixes.as_slice() {
        [] => String::new(),
        prefixes => format!(", prefixes {}", List(prefixes)),
    };
    let mtu = match wanted.mtu {
        Some(mtu) => format!(", MTU {mtu}"),
        None => String::new(),
    };
    format!(
        "{}{prefixes}{mtu}, {} to {}",
        List(&wanted.addresses),
        wanted.dev,
        wanted.host_dev
    )
}
