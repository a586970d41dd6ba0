//! What somebody put on the interfaces that packets pass.

use std::collections::{BTreeMap, BTreeSet};

use netpath_common::{Ifindex, ProgramKind, PuntReason};

use super::{Subject, named};
use crate::{
    datapath::{AttachMode, Datapath, Hook, attach_mode},
    netfilter::{
        Policy,
        nft::{self, Ruleset, TableFamily},
    },
    netlink::{Link, Netlink, Qdisc, QdiscParent},
    netns::Inside,
    provision::error::ProvisionError,
    reconcile::{Framing, InterfaceCensus},
};

/// Reads it, in the node's namespace.
pub(super) struct Reader<'a> {
    pub subject: &'a Subject<'a>,
    pub inside: &'a Inside<'a>,
    pub netlink: &'a Netlink,
    pub datapath: Option<&'a Datapath>,
    pub ruleset: &'a Ruleset,
}

impl Reader<'_> {
    pub fn interfaces(
        &self,
        links: &[Link],
    ) -> Result<BTreeMap<Ifindex, InterfaceCensus>, ProvisionError> {
        let qdiscs = self.netlink.qdiscs()?;
        let mut found = BTreeMap::new();
        for dev in self.subject.seen_host_devs() {
            if let Some(link) = named(links, dev) {
                found.insert(link.ifindex, self.endpoint(link, &qdiscs)?);
            }
        }
        for dev in self.subject.uplinks() {
            if let Some(link) = named(links, dev) {
                found.insert(link.ifindex, self.uplink(link, dev)?);
            }
        }
        found.retain(|_, census| *census != InterfaceCensus::default());
        Ok(found)
    }

    /// Where a filter in a clsact qdisc runs one of the node's programs though they are attached by links: `NETPATH_ATTACH` chose
    /// the one way, and then the other.
    pub fn beside(&self, links: &[Link]) -> Result<BTreeSet<String>, ProvisionError> {
        let (Some(datapath), AttachMode::Tcx) = (self.datapath, attach_mode()?) else {
            return Ok(BTreeSet::new());
        };
        let qdiscs = self.netlink.qdiscs()?;
        let clsact = qdiscs.iter().filter(|it| it.parent == QdiscParent::Ingress);
        let clsact: BTreeSet<Ifindex> = clsact.map(|qdisc| qdisc.ifindex).collect();
        let own = ProgramKind::ALL.map(|kind| datapath.program_id(kind));
        let own = own.into_iter().collect::<Result<BTreeSet<u32>, _>>()?;
        let mut beside = BTreeSet::new();
        let devs = self.subject.seen_host_devs().into_iter();
        for dev in devs.chain(self.subject.uplinks()) {
            let link = named(links, dev).filter(|link| clsact.contains(&link.ifindex));
            let Some(link) = link else {
                continue;
            };
            for hook in [Hook::Ingress, Hook::Egress] {
                let filters = self.netlink.filters(link, hook)?;
                let is_own = |program: u32| own.contains(&program);
                if filters.iter().any(|it| it.program.is_some_and(is_own)) {
                    beside.insert(dev.to_owned());
                }
            }
        }
        Ok(beside)
    }

    /// What waits for interfaces that are yet to be made: chains at their hooks, by their names.
    pub fn coming(&self, links: &[Link]) -> BTreeMap<String, InterfaceCensus> {
        let devs = self.subject.seen_host_devs().into_iter();
        let coming = devs
            .chain(self.subject.uplinks())
            .filter(|dev| named(links, dev).is_none());
        let mut found: BTreeMap<String, InterfaceCensus> = coming
            .map(|dev| (dev.to_owned(), self.hooks(dev)))
            .collect();
        found.retain(|_, census| *census != InterfaceCensus::default());
        found
    }

    /// A host-side veth. What is redirected to its other end passes by all that it would meet here on its way out.
    fn endpoint(&self, link: &Link, qdiscs: &[Qdisc]) -> Result<InterfaceCensus, ProvisionError> {
        let mut census = controlled(link);
        let mut own = qdiscs.iter().filter(|qdisc| qdisc.ifindex == link.ifindex);
        let queues = own.any(|qdisc| qdisc.parent != QdiscParent::Ingress && !qdisc.is_default());
        if queues || self.keeps_from_others(ProgramKind::ToEndpoint, link)? {
            census.egress.insert(PuntReason::Shaped);
        }
        if self.keeps_from_others(ProgramKind::FromEndpoint, link)? {
            census.ingress.insert(PuntReason::Shaped);
        }
        Ok(census.and(self.hooks(&link.name)))
    }

    /// An uplink. What is sent out of it meets its queueing discipline and filters, by whatever way it came. Not so the
    /// egress hook of nf_tables: the kernel passes it by with what TC has redirected (`nf_skip_egress`).
    fn uplink(&self, link: &Link, dev: &str) -> Result<InterfaceCensus, ProvisionError> {
        let mut census = controlled(link);
        // Its pin has the name that it is called by.
        let pinned = Link {
            name: dev.to_owned(),
            ..link.clone()
        };
        if self.keeps_from_others(ProgramKind::FromUplink, &pinned)? {
            census.ingress.insert(PuntReason::Shaped);
        }
        // It asks the kernel's route of each packet for its other end.
        if Framing::of(link.hardware, link.point_to_point) == Framing::Bare && !link.point_to_point
        {
            census.egress.insert(PuntReason::FibUnsupported);
        }
        Ok(census.and(self.hooks(&link.name)))
    }

    fn keeps_from_others(&self, kind: ProgramKind, link: &Link) -> Result<bool, ProvisionError> {
        Ok(Datapath::keeps_from_others(
            self.inside,
            self.netlink,
            self.datapath,
            kind,
            link,
        )?)
    }

    /// Chains at an interface's own hooks.
    fn hooks(&self, dev: &str) -> InterfaceCensus {
        let mut census = InterfaceCensus::default();
        if self.is_hooked(dev, nft::Hook::Ingress) {
            census.ingress.insert(PuntReason::NetdevHook);
        }
        if self.is_hooked(dev, nft::Hook::Egress) {
            census.egress.insert(PuntReason::NetdevHook);
        }
        census
    }

    /// Whether a chain at an interface's own hook does anything.
    fn is_hooked(&self, dev: &str, hook: nft::Hook) -> bool {
        let mut chains = self.ruleset.base_chains();
        chains.any(|(id, chain, base)| {
            matches!(id.family, TableFamily::Netdev | TableFamily::Inet)
                && base.hook == hook
                && base.devices.iter().any(|device| device.matches(dev))
                && (!chain.rules.is_empty() || base.policy == Policy::Drop)
        })
    }
}

/// A port of another interface: of a VRF, its packets are routed by another table; of a bridge, they are not routed.
fn controlled(link: &Link) -> InterfaceCensus {
    let mut census = InterfaceCensus::default();
    if link.controller != Ifindex(0) {
        let reason = match link.port_of.as_deref() {
            Some("vrf") => PuntReason::Vrf,
            _ => PuntReason::BridgePort,
        };
        census.ingress.insert(reason);
        census.egress.insert(reason);
    }
    census
}
