//! Subnets of the machine's interfaces: whoever is on such a link is asked for there, and not behind this machine.

use ipnet::IpNet;

use super::{
    super::{Link, Refusal},
    Planner,
    names::is_ours,
};

impl Planner<'_> {
    /// Why an endpoint's address or prefix may not be, if it lies in the subnet of an interface that is no uplink. Of uplinks the
    /// file knows: their subnets are other nodes'.
    pub(super) fn in_subnet(&self, net: IpNet) -> Option<Refusal> {
        let others = self.initial.observed.node.links.iter();
        let others = others.filter(|link| !self.is_uplink(link) && !is_ours(self.initial, link));
        let mut subnets = others.flat_map(|link| {
            let subnets = link.addresses.iter().map(IpNet::trunc);
            subnets.map(|subnet| (subnet, link.name.clone()))
        });
        let (subnet, dev) = subnets.find(|(subnet, _)| subnet.contains(&net))?;
        Some(Refusal::InSubnet { net, subnet, dev })
    }

    fn is_uplink(&self, link: &Link) -> bool {
        let node = &self.initial.observed.node;
        let is_it = |dev: &str| node.link(dev).is_some_and(|it| it.ifindex == link.ifindex);
        let mut uplinks = self.wanted.uplinks.iter();
        uplinks.any(|uplink| is_it(&uplink.dev))
    }
}
