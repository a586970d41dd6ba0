//! What the kernel would do with packets beside routing them and asking filter FORWARD: what of it the fast path must not
//! pass by, and so leaves to the kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use netpath_common::{Bypass, EndpointEntry, Ifindex, PuntReason};

use super::{AddressPunts, InterfacePunts};

/// What acts on the packets of an interface and is passed by when they are redirected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCensus {
    /// On what comes in by it.
    pub ingress: BTreeSet<PuntReason>,
    /// On what leaves by it.
    pub egress: BTreeSet<PuntReason>,
}

impl InterfaceCensus {
    /// Both of them.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.ingress.extend(other.ingress);
        self.egress.extend(other.egress);
        self
    }
}

/// Something that acts on packets from some of the addresses that are routed to some others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matter {
    /// As which packets are punted for it.
    pub reason: PuntReason,
    /// From these.
    pub sources: BTreeSet<IpNet>,
    /// To these.
    pub destinations: BTreeSet<IpNet>,
}

/// Packets that the kernel would drop at filter FORWARD, if it were left them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardDrop {
    /// By this interface, where it is known.
    pub iif: Option<String>,
    /// From this address of an endpoint, or from this prefix of another node's.
    pub source: IpNet,
    /// To this one, or to this prefix.
    pub destination: IpNet,
    /// The chain that drops them.
    pub chain: String,
    /// Whether it does so for certain: otherwise something that is not understood may have accepted them before.
    pub certain: bool,
}

/// Where the kernel leads packets, asked of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Way {
    /// They come in by this interface.
    pub dev: String,
    /// From here.
    pub source: IpAddr,
    /// To one of the node's routes, or to an address or a prefix of an endpoint.
    pub of: IpNet,
    /// To this part of it, or all of it.
    pub dst: IpNet,
    /// To this address in it.
    pub destination: IpAddr,
    /// The veth that it is behind, if it is an endpoint's.
    pub veth: Option<String>,
    /// Their type of service.
    pub tos: u8,
    /// Where they go; nowhere if empty.
    pub hops: Vec<WayHop>,
    /// By which route, in words; or what there is instead of one.
    pub told: String,
}

/// One way on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WayHop {
    /// The router; `None` on the link.
    pub via: Option<IpAddr>,
    /// The interface.
    pub dev: Option<String>,
}

/// What else acts on the packets of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// By interface.
    pub interfaces: BTreeMap<Ifindex, InterfaceCensus>,
    /// By name, what waits for interfaces that are yet to be made.
    pub coming: BTreeMap<String, InterfaceCensus>,
    /// By addresses.
    pub matters: Vec<Matter>,
    /// All that is routed, and whether it is behind an endpoint of the node.
    pub routed: BTreeMap<IpNet, bool>,
    /// What filter FORWARD drops: one pair of each endpoint's addresses with others, and from uplink to uplink.
    pub forward_drops: Vec<ForwardDrop>,
    /// Where the kernel leads what is recorded, where that may be otherwise than its main table says.
    pub ways: Vec<Way>,
    /// The host-side veths and uplinks with a filter of the node's, though its programs are attached by links.
    pub beside: BTreeSet<String>,
    /// The least MTU that a route of the node's has of its own, in bytes; 0 where none has.
    pub route_mtu: u32,
    /// The kernel goes by paths' MTUs when it forwards IPv4.
    pub path_mtu: bool,
}

impl Census {
    /// What of an interface's packets is the kernel's.
    #[must_use]
    pub fn interface(&self, ifindex: Ifindex, accepted: Bypass) -> InterfacePunts {
        let first = |reasons: &BTreeSet<PuntReason>| {
            let mut reasons = reasons.iter().filter(|reason| !accepted.has(**reason));
            reasons.next().map_or(0, |reason| reason.number())
        };
        self.interfaces
            .get(&ifindex)
            .map_or_else(InterfacePunts::default, |census| InterfacePunts {
                ingress: first(&census.ingress),
                egress: first(&census.egress),
            })
    }

    /// What of an address's packets, or a prefix's, is the kernel's whatever interface it is behind.
    #[must_use]
    pub fn address(&self, net: IpNet, accepted: Bypass) -> AddressPunts {
        let mut punts = AddressPunts::default();
        for matter in &self.matters {
            let has_both = !matter.sources.is_empty() && !matter.destinations.is_empty();
            if !has_both || accepted.has(matter.reason) {
                continue;
            }
            let (alone, others) = match self.few(matter, net) {
                Some(few) => (few.contains(&net), false),
                None => {
                    let mut ends = matter.sources.union(&matter.destinations);
                    (false, ends.any(|end| *end == net))
                }
            };
            if alone && punts.between & EndpointEntry::ALONE == 0 {
                punts.between = matter.reason.number() | EndpointEntry::ALONE;
            } else if others && punts.between == 0 {
                punts.between = matter.reason.number();
            }
        }
        punts
    }

    /// The few ends of what acts between them and all that is routed, so that the others need not be marked: none where there
    /// is no such side. From outside the source is not looked at first, so they have to be the node's own.
    fn few<'a>(&self, matter: &'a Matter, net: IpNet) -> Option<&'a BTreeSet<IpNet>> {
        let is_family = |other: &IpNet| other.addr().is_ipv4() == net.addr().is_ipv4();
        let all: Vec<&IpNet> = self.routed.keys().filter(|it| is_family(it)).collect();
        let is_all = |side: &BTreeSet<IpNet>| all.iter().all(|it| side.contains(it));
        let few = match (is_all(&matter.sources), is_all(&matter.destinations)) {
            (true, false) => &matter.destinations,
            (false, true) => &matter.sources,
            _ => return None,
        };
        let mut of_family = few.iter().filter(|it| is_family(it));
        of_family
            .all(|it| self.routed.get(it) == Some(&true))
            .then_some(few)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn nets(texts: &[&str]) -> BTreeSet<IpNet> {
        texts.iter().map(|text| net(text)).collect()
    }

    fn matter(sources: &[&str], destinations: &[&str]) -> Matter {
        Matter {
            reason: PuntReason::Ipsec,
            sources: nets(sources),
            destinations: nets(destinations),
        }
    }

    #[test]
    fn both_ends_of_what_acts_are_marked() {
        let census = Census {
            matters: vec![matter(&["10.0.1.2/32"], &["10.0.3.0/24"])],
            ..Census::default()
        };
        let between = |text: &str| census.address(net(text), Bypass::default()).between;
        let ipsec = PuntReason::Ipsec.number();
        assert_eq!(between("10.0.1.2/32"), ipsec);
        assert_eq!(between("10.0.3.0/24"), ipsec);
        assert_eq!(between("10.0.2.2/32"), 0);
        let accepted = Bypass::named("ipsec").expect("it is one");
        let punts = census.address(net("10.0.1.2/32"), accepted);
        assert_eq!(punts, AddressPunts::default());
    }

    #[test]
    fn what_acts_between_one_and_all_marks_that_one() {
        let all = ["10.0.1.2/32", "10.0.2.2/32", "10.0.3.0/24"];
        let routed = all.map(|text| (net(text), text != "10.0.3.0/24"));
        let rules = PuntReason::Rules.number();
        let alone = rules | EndpointEntry::ALONE;
        for (sources, destinations, expected) in [
            (&all[..], &all[..1], [alone, 0, 0]),
            (&all[1..2], &all, [0, alone, 0]),
            // Another node's prefix is not the first that is looked at.
            (&all, &all[2..], [rules; 3]),
            (&all, &all, [rules; 3]),
            (&all[..1], &all[1..2], [rules, rules, 0]),
        ] {
            let census = Census {
                matters: vec![Matter {
                    reason: PuntReason::Rules,
                    ..matter(sources, destinations)
                }],
                routed: routed
                    .into_iter()
                    .chain([(net("fd00::/64"), true)])
                    .collect(),
                ..Census::default()
            };
            let found = all.map(|text| census.address(net(text), Bypass::default()).between);
            assert_eq!(found, expected, "{sources:?} {destinations:?}");
            let other = census.address(net("fd00::/64"), Bypass::default());
            assert_eq!(other, AddressPunts::default());
        }
    }

    #[test]
    fn what_has_one_end_outside_marks_nothing() {
        let census = Census {
            matters: vec![matter(&["10.0.1.2/32"], &[])],
            ..Census::default()
        };
        let punts = census.address(net("10.0.1.2/32"), Bypass::default());
        assert_eq!(punts, AddressPunts::default());
    }

    #[test]
    fn an_interface_has_its_first_reason_that_is_not_accepted() {
        let mut census = Census::default();
        let of = InterfaceCensus {
            ingress: BTreeSet::from([PuntReason::Shaped, PuntReason::Xdp]),
            egress: BTreeSet::from([PuntReason::Shaped]),
        };
        census.interfaces.insert(Ifindex(7), of);
        let punts = |ifindex, accepted| census.interface(Ifindex(ifindex), accepted);
        let (shaped, xdp) = (PuntReason::Shaped.number(), PuntReason::Xdp.number());
        assert_eq!(
            punts(7, Bypass::default()),
            InterfacePunts {
                ingress: shaped,
                egress: shaped
            }
        );
        let accepted = Bypass::named("shaped").expect("it is one");
        assert_eq!(
            punts(7, accepted),
            InterfacePunts {
                ingress: xdp,
                egress: 0
            }
        );
        assert_eq!(punts(8, Bypass::default()), InterfacePunts::default());
    }
}
