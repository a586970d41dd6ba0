//! What endpoints of a node that are not planned for have already: those of commands and container runtimes, while a file is
//! made true, and all others, while one is added.

use std::collections::BTreeMap;

use ipnet::IpNet;
use netpath_common::Origin;

use super::{
    super::{Object, RecordedEndpoint, Refusal, Scope, WantedEndpoint, is_address},
    Planner,
};

impl Planner<'_> {
    /// Refuses names that are somebody else's endpoint's. Returns whether there are any.
    pub(super) fn refuse_names(&mut self) -> bool {
        let before = self.plan.refusals.len();
        for endpoint in &self.wanted.endpoints {
            let node = self.initial.recorded.as_ref();
            if let Some(record) = node.and_then(|node| node.endpoints.get(&endpoint.name)) {
                self.refuse_name(endpoint, record);
            }
        }
        self.plan.refusals.len() != before
    }

    /// Refuses an address, a prefix or an interface that another endpoint of the node has, which stays; and what would lead
    /// an endpoint's addresses elsewhere.
    pub(super) fn refuse_shared(&mut self) {
        let Some(node) = self.initial.recorded.clone() else {
            return;
        };
        let going: Vec<String> = self
            .surplus_endpoints()
            .into_iter()
            .map(|it| it.0)
            .collect();
        let wanted = self.wanted;
        let is_wanted = |name: &str| wanted.endpoints.iter().any(|it| it.name == name);
        let stays = |name: &&String| !going.contains(name) && !is_wanted(name);
        let kept = node.endpoints.iter().filter(|(name, _)| stays(name));
        let kept: BTreeMap<&String, &RecordedEndpoint> = kept.collect();
        for endpoint in &wanted.endpoints {
            for (name, record) in &kept {
                self.refuse_what_is_theirs(endpoint, name, record);
            }
        }
        match &wanted.scope {
            Scope::Endpoint(_) => {
                for endpoint in &wanted.endpoints {
                    let uplink = node.uplinks.get(&endpoint.host_dev);
                    if uplink.is_some_and(|uplink| uplink.made) {
                        let refusal = Refusal::NameTaken {
                            what: format!("interface {}", endpoint.host_dev),
                            by: "an uplink of the node's".to_owned(),
                            cure: "choose another name for the interface".into(),
                        };
                        self.refuse_with(Object::Endpoint, &endpoint.name, refusal);
                    }
                    let nets = nets(&endpoint.addresses, &endpoint.prefixes);
                    for (net, by) in self.led_elsewhere(&nets, &node) {
                        let refusal = Refusal::AddressTaken { net, by };
                        self.refuse_with(Object::Endpoint, &endpoint.name, refusal);
                    }
                }
            }
            Scope::File | Scope::All => {
                for (name, record) in &kept {
                    self.refuse_on_the_way(name, record);
                }
            }
        }
    }

    /// An endpoint is its asker's: nobody else takes it over, and as another than it is it is not made anew.
    fn refuse_name(&mut self, wanted: &WantedEndpoint, record: &RecordedEndpoint) {
        let name = &wanted.name;
        let is_same = record.addresses == wanted.addresses
            && record.prefixes == wanted.prefixes
            && record.mtu == wanted.mtu
            && record.dev == wanted.dev
            && record.host_dev == wanted.host_dev;
        let by_one = matches!(self.wanted.scope, Scope::Endpoint(_));
        let stays = self.stays_in(wanted, record);
        // Of the one that it has nothing is known where another path is given.
        let lost = by_one && record.home == wanted.home && self.lost_its_namespace(name, record);
        let differs = by_one && (!stays || record.complete && !is_same);
        let (by, cure) = if record.origin != wanted.origin {
            let cure = match record.origin {
                Origin::File => {
                    "choose another name, or take it out of the topology file and run `netpath up`"
                        .to_owned()
                }
                Origin::Command | Origin::Cni => removal(name, record.origin),
            };
            (asked_by(record.origin).to_owned(), cure)
        } else if lost {
            let by = format!("{}, in a namespace that is gone", asked_by(record.origin));
            (by, removal(name, record.origin))
        } else if differs {
            let by = format!("{}, and as another one", asked_by(record.origin));
            (by, removal(name, record.origin))
        } else {
            return;
        };
        let refusal = Refusal::NameTaken {
            what: format!("endpoint {name}"),
            by,
            cure: cure.into(),
        };
        self.refuse_with(Object::Endpoint, name, refusal);
    }

    fn refuse_what_is_theirs(
        &mut self,
        wanted: &WantedEndpoint,
        name: &str,
        record: &RecordedEndpoint,
    ) {
        if wanted.host_dev == record.host_dev {
            let refusal = Refusal::NameTaken {
                what: format!("interface {}", wanted.host_dev),
                by: format!("endpoint {name}'s"),
                cure: "choose another name for the interface".into(),
            };
            self.refuse_with(Object::Endpoint, &wanted.name, refusal);
        }
        let theirs = nets(&record.addresses, &record.prefixes);
        for net in nets(&wanted.addresses, &wanted.prefixes) {
            if let Some(other) = theirs.iter().find(|other| overlap(**other, net)) {
                let by = format!("{} of endpoint {name}", told(*other));
                let refusal = Refusal::AddressTaken { net, by };
                self.refuse_with(Object::Endpoint, &wanted.name, refusal);
            }
        }
    }

    /// What of an endpoint's lies in a prefix of other nodes, or in an uplink's subnet, and in which.
    fn led_elsewhere(&self, nets: &[IpNet], node: &super::super::Recorded) -> Vec<(IpNet, String)> {
        let uplinks = node.uplinks.iter().flat_map(|(dev, uplink)| {
            let subnets = uplink.addresses.iter().map(IpNet::trunc);
            subnets.map(move |net| (net, format!("{net}, the subnet of uplink {dev}")))
        });
        let routes = node.routes.keys();
        let routes = routes.map(|dst| (*dst, format!("the route to {dst}")));
        let uplinks: Vec<(IpNet, String)> = uplinks.collect();
        let routes: Vec<(IpNet, String)> = routes.collect();
        let own = self.initial.observed.own.iter();
        let own: Vec<IpNet> = own.map(|address| IpNet::from(*address)).collect();
        let mut found = Vec::new();
        for &net in nets {
            // A route to a wider prefix leads nothing of a longer one elsewhere.
            let by_route = || routes.iter().find(|(dst, _)| net.contains(dst));
            let by_uplink = uplinks.iter().find(|(other, _)| overlap(*other, net));
            let led = by_uplink.or_else(by_route);
            let is_own = own.iter().find(|address| overlap(**address, net));
            if let Some((_, by)) = led {
                found.push((net, by.clone()));
            } else if let Some(address) = is_own.filter(|_| !self.is_on_a_machine()) {
                let by = format!("{}, an address of the node's own", address.addr());
                found.push((net, by));
            }
        }
        found
    }

    /// Of a machine that is asked otherwise: with what to do about it.
    fn is_on_a_machine(&self) -> bool {
        self.wanted.place == crate::model::NodePlace::Host
    }

    /// Refuses what the file has and what would lead a kept endpoint's packets elsewhere.
    fn refuse_on_the_way(&mut self, name: &str, record: &RecordedEndpoint) {
        let theirs = nets(&record.addresses, &record.prefixes);
        let by = |net: &IpNet| format!("{} of endpoint {name}", told(*net));
        let wanted = self.wanted;
        for route in &wanted.routes {
            if let Some(net) = theirs.iter().find(|net| net.contains(&route.dst)) {
                let (net, by) = (route.dst, by(net));
                let refusal = Refusal::AddressTaken { net, by };
                self.refuse_with(Object::Route, &route.dst.to_string(), refusal);
            }
        }
        for uplink in &wanted.uplinks {
            let subnets: Vec<IpNet> = uplink.addresses.iter().map(IpNet::trunc).collect();
            let taken = theirs
                .iter()
                .find_map(|net| Some((net, subnets.iter().find(|it| overlap(*net, **it))?)));
            if let Some((net, subnet)) = taken {
                let (net, by) = (*subnet, by(net));
                let refusal = Refusal::AddressTaken { net, by };
                self.refuse_with(Object::Uplink, &uplink.dev, refusal);
            }
        }
        if wanted.uplinks.iter().any(|it| it.dev == record.host_dev) {
            let refusal = Refusal::NameTaken {
                what: format!("interface {}", record.host_dev),
                by: format!("endpoint {name}'s"),
                cure: removal(name, record.origin).into(),
            };
            self.refuse_with(Object::Uplink, &record.host_dev, refusal);
        }
    }
}

/// All that an endpoint may send from: its addresses alone, and its prefixes whole.
fn nets(addresses: &[IpNet], prefixes: &[IpNet]) -> Vec<IpNet> {
    let addresses = addresses.iter().map(|address| address.addr().into());
    addresses.chain(prefixes.iter().copied()).collect()
}

fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

fn told(net: IpNet) -> String {
    match is_address(&net) {
        true => format!("address {}", net.addr()),
        false => format!("prefix {net}"),
    }
}

fn asked_by(origin: Origin) -> &'static str {
    match origin {
        Origin::File => "of the topology file",
        Origin::Command => "made by `netpath endpoint add`",
        Origin::Cni => "a container runtime's, by CNI",
    }
}

fn removal(name: &str, origin: Origin) -> String {
    match origin {
        Origin::File | Origin::Command => {
            format!("choose another name, or remove it with `netpath endpoint remove {name}` first")
        }
        Origin::Cni => "choose another name, or have the runtime remove it first".to_owned(),
    }
}
