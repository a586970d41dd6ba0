//! MTUs of veth pairs: each end drops without a word what is longer than its own, so that both have the same.

use std::cmp::Ordering;

use super::{
    super::{
        super::{Drift, Op, Place},
        Draft, Planner,
        sysctls::Ipv6,
    },
    Work,
};
use crate::model::{IPV6_MIN_MTU, MTU_RANGE};

/// The MTU of a veth that nothing gives another, in bytes: Ethernet's.
const VETH_MTU: u32 = 1500;

impl Planner<'_> {
    /// The MTU of an endpoint's veth: the one that is wanted, or else the least of the node's uplinks', as they are in the
    /// planned world. What is larger would be answered with an error on its way to another node anyway.
    fn mtu_of(&self, work: &Work<'_>) -> u32 {
        if let Some(mtu) = work.record.mtu {
            return mtu;
        }
        let uplinks = self.wanted.uplinks.iter();
        let links = uplinks.filter_map(|uplink| self.world.observed.node.link(&uplink.dev));
        let least = links.map(|link| link.mtu).min().unwrap_or(VETH_MTU);
        let floor = match work.uses_ipv6() {
            true => IPV6_MIN_MTU,
            false => *MTU_RANGE.start(),
        };
        least.clamp(floor, *MTU_RANGE.end())
    }

    /// What there is of IPv6 on an endpoint's veth: with a smaller MTU than IPv6 needs the kernel has no settings of it.
    pub(super) fn ipv6_of_veth(&self, work: &Work<'_>) -> Ipv6 {
        match self.ipv6_of(work.uses_ipv6()) {
            Ipv6::Unused if self.mtu_of(work) < IPV6_MIN_MTU => Ipv6::Absent,
            ipv6 => ipv6,
        }
    }

    /// Gives both ends of an endpoint's veth their MTU.
    pub(super) fn veth_mtu(&mut self, draft: &mut Draft, work: &Work<'_>) {
        let wanted = self.mtu_of(work);
        let ends = [
            (Place::Node, work.record.host_dev.clone()),
            (work.place.clone(), work.record.dev.clone()),
        ];
        let found = ends.each_ref().map(|(place, dev)| {
            let there = self.world.namespace(place)?;
            there.link(dev).map(|link| link.mtu)
        });
        let [Some(outside), Some(inside)] = found else {
            return;
        };
        self.note_mtus(draft, work, [outside, inside], wanted);
        for ((place, dev), mtu) in ends.into_iter().zip([outside, inside]) {
            if mtu != wanted {
                let mtu = wanted;
                self.act(draft, Op::SetMtu { place, dev, mtu });
            }
        }
    }

    fn note_mtus(&self, draft: &mut Draft, work: &Work<'_>, mtus: [u32; 2], wanted: u32) {
        let devs = [&work.record.host_dev, &work.record.dev];
        let [outside, inside] = std::array::from_fn(|at| (devs[at].clone(), mtus[at]));
        // Then it is what the file changes.
        let is_new = work
            .before
            .as_ref()
            .is_some_and(|it| it.mtu != work.record.mtu);
        if mtus == [wanted; 2] || is_new {
            return;
        }
        let is_small = |mtu: u32| work.uses_ipv6() && mtu < IPV6_MIN_MTU;
        for (dev, mtu) in [&outside, &inside]
            .into_iter()
            .filter(|end| is_small(end.1))
        {
            let dev = dev.clone();
            draft.note(Drift::MtuTooSmall { dev, mtu: *mtu });
            // Its IPv6 went with it.
            draft.quiet = true;
        }
        draft.note(match outside.1.cmp(&inside.1) {
            Ordering::Equal => Drift::MtuOther {
                dev: outside.0,
                mtu: outside.1,
                wanted,
            },
            Ordering::Greater => Drift::MtuDiffers {
                larger: outside,
                smaller: inside,
            },
            Ordering::Less => Drift::MtuDiffers {
                larger: inside,
                smaller: outside,
            },
        });
    }

    /// An MTU too small for IPv6 takes all of it from an interface, its sysctls too.
    pub(in super::super) fn ipv6_mtu(
        &mut self,
        draft: &mut Draft,
        place: &Place,
        dev: &str,
        ipv6: Ipv6,
    ) {
        if ipv6 == Ipv6::Absent {
            return;
        }
        let link = self
            .world
            .namespace(place)
            .and_then(|there| there.link(dev));
        let Some(mtu) = link.map(|link| link.mtu).filter(|mtu| *mtu < IPV6_MIN_MTU) else {
            return;
        };
        draft.note(Drift::MtuTooSmall {
            dev: dev.to_owned(),
            mtu,
        });
        draft.quiet = true;
        let op = Op::SetMtu {
            place: place.clone(),
            dev: dev.to_owned(),
            mtu: VETH_MTU,
        };
        self.act(draft, op);
    }

    /// Each end of a veth pair drops without a word what is longer than its own MTU, so that of both is to be one: `both`, or
    /// the smaller of theirs.
    pub(in super::super) fn equal_mtus(
        &mut self,
        draft: &mut Draft,
        ends: [(&Place, &str); 2],
        both: Option<u32>,
    ) {
        let mtu = |(place, dev): (&Place, &str)| {
            let there = self.world.namespace(place)?;
            there.link(dev).map(|link| link.mtu)
        };
        let [Some(one), Some(other)] = ends.map(mtu) else {
            return;
        };
        let [one, other] = [(ends[0], one), (ends[1], other)];
        let (larger, smaller) = match one.1.cmp(&other.1) {
            Ordering::Equal => return,
            Ordering::Greater => (one, other),
            Ordering::Less => (other, one),
        };
        let told = |((_, dev), mtu): ((&Place, &str), u32)| (dev.to_owned(), mtu);
        draft.note(Drift::MtuDiffers {
            larger: told(larger),
            smaller: told(smaller),
        });
        let both = both.unwrap_or(smaller.1);
        for ((place, dev), mtu) in [larger, smaller] {
            if mtu != both {
                let op = Op::SetMtu {
                    place: place.clone(),
                    dev: dev.to_owned(),
                    mtu: both,
                };
                self.act(draft, op);
            }
        }
    }
}
