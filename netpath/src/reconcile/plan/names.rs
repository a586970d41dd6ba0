//! Names of interfaces that are netpath's, where one has the name that another is to have.
//!
//! What proves an interface to be netpath's is its MAC, or the other end of its veth pair. So names may have been exchanged
//! among several in any way, and all of them are mended: who has another's name gets one of its own first.

use netpath_common::Mac;

use super::{
    super::{
        Action, Link, NamespaceState, Object, Op, Place, RecordedEndpoint, RecordedUplink, World,
    },
    Draft, Planner,
};

impl Planner<'_> {
    /// Takes each name that a wanted interface is to have from another one of netpath's that has it.
    pub(super) fn free_names(&mut self) {
        let endpoints = self.wanted.endpoints.iter();
        let endpoints = endpoints.map(|endpoint| {
            let node = self.world.recorded.as_ref();
            let record = node.and_then(|node| node.endpoints.get(&endpoint.name));
            let own = record.and_then(|record| own_veth(&self.world, &endpoint.name, record));
            (&endpoint.host_dev, own.map(|link| link.ifindex))
        });
        let made = self.wanted.uplinks.iter();
        let made = made.filter(|uplink| uplink.wire.is_some());
        let uplinks = made.map(|uplink| {
            let node = self.world.recorded.as_ref();
            let record = node.and_then(|node| node.uplinks.get(&uplink.dev));
            let own = record.and_then(|record| own_uplink(&self.world, record));
            (&uplink.dev, own.map(|link| link.ifindex))
        });
        let names: Vec<_> = endpoints.chain(uplinks).collect();
        let mut draft = Draft {
            silent: true,
            ..Draft::default()
        };
        for (name, own) in names {
            let Some(link) = self.world.observed.node.link(name) else {
                continue;
            };
            if let Some(mac) = link.mac
                && Some(link.ifindex) != own
                && is_ours(&self.world, link)
            {
                self.rename(&mut draft, &Place::Node, name, spare(mac));
            }
        }
        let name = self.wanted.name.clone();
        self.step(Action::Update, Object::Node, &name, None, draft);
    }

    /// Gives an interface another name. It is down then: before Linux 6.2 one that is up cannot be renamed.
    pub(super) fn rename(&mut self, draft: &mut Draft, place: &Place, dev: &str, to: String) {
        let there = self.world.namespace(place);
        let Some(link) = there.and_then(|there| there.link(dev)).cloned() else {
            return;
        };
        if link.up {
            self.set_down(draft, place, dev);
        }
        let op = Op::Rename {
            place: place.clone(),
            dev: dev.to_owned(),
            mac: link.mac.unwrap_or_default(),
            to,
        };
        self.act(draft, op);
    }

    pub(super) fn set_down(&mut self, draft: &mut Draft, place: &Place, dev: &str) {
        let op = Op::SetDown {
            place: place.clone(),
            dev: dev.to_owned(),
        };
        self.act(draft, op);
    }
}

/// A name that nobody has: the MAC is one that nobody has. Of 15 characters, as many as an interface may have.
fn spare(mac: Mac) -> String {
    let digits: Vec<String> = mac.0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("np-{}", digits.concat())
}

/// Whether an interface of the node is one that netpath made, whatever it is called.
pub(super) fn is_ours(world: &World, link: &Link) -> bool {
    let is_it = |own: Option<&Link>| own.is_some_and(|own| own.ifindex == link.ifindex);
    world.recorded.iter().any(|node| {
        let mut uplinks = node.uplinks.values();
        let mut endpoints = node.endpoints.iter();
        uplinks.any(|record| is_it(own_uplink(world, record)))
            || endpoints.any(|(name, record)| is_it(own_veth(world, name, record)))
    })
}

/// An endpoint's host-side veth, whatever it is called: its MAC or its other end proves it.
pub(super) fn own_veth<'w>(
    world: &'w World,
    name: &str,
    record: &RecordedEndpoint,
) -> Option<&'w Link> {
    let by_mac = world.observed.node.link_with(record.host_mac);
    by_mac.or_else(|| other_end(world, name, record))
}

/// As [`own_veth`], of an uplink that netpath made.
pub(super) fn own_uplink<'w>(world: &'w World, record: &RecordedUplink) -> Option<&'w Link> {
    if !record.made {
        return None;
    }
    let by_mac = world.observed.node.link_with(record.mac);
    by_mac.or_else(|| end_on_the_wire(world, record))
}

/// The other end of the endpoint's interface inside, where that is proven to be netpath's by its namespace and its MAC. So
/// this one is, too, whatever it is called and whatever MAC it has.
pub(in super::super) fn other_end<'w>(
    world: &'w World,
    name: &str,
    record: &RecordedEndpoint,
) -> Option<&'w Link> {
    let place = Place::Endpoint(name.to_owned());
    end_of(world, &place, record.cookie, record.endpoint_mac)
}

/// As [`other_end`], of an uplink's port on its wire.
pub(super) fn end_on_the_wire<'w>(world: &'w World, record: &RecordedUplink) -> Option<&'w Link> {
    let place = Place::Wire(record.wire.clone());
    end_of(world, &place, record.wire_cookie, record.port_mac)
}

fn end_of<'w>(world: &'w World, place: &Place, cookie: u64, mac: Mac) -> Option<&'w Link> {
    let there = world.namespace(place)?;
    if cookie == 0 || there.state != NamespaceState::Present(cookie) {
        return None;
    }
    let ifindex = there.link_with(mac)?.other_end?;
    let mut links = world.observed.node.links.iter();
    links.find(|link| link.veth && link.ifindex == ifindex)
}
