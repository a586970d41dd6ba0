//! The order of the stages, and nothing else.

use netpath_common::{HopKey, Ifindex, Verdict};

use crate::{
    access::Skb,
    checks,
    destination::{self, Destination},
    family::{Family, V4, V6},
    parse::{self, Network},
    redirect::NextHop,
    rewrite, source,
};

/// Where a redirected packet goes.
pub enum Egress {
    /// Into the namespace behind this host-side veth.
    Peer(Ifindex),
    /// To a neighbour on an uplink.
    Neighbour(NextHop),
}

/// What is to be done with a packet.
pub enum Decision {
    /// Sent on by netpath.
    Redirect(Egress),
    /// Not redirected: punted, dropped, or delivered by the kernel.
    Leave(Verdict),
}

impl Decision {
    /// The row that this packet is counted in.
    #[inline(always)]
    pub fn hop(&self, skb: &Skb) -> HopKey {
        match self {
            Self::Redirect(Egress::Peer(egress)) => {
                HopKey::new(skb.interface(), *egress, Verdict::RedirectPeer)
            }
            Self::Redirect(Egress::Neighbour(next_hop)) => {
                HopKey::new(skb.interface(), next_hop.ifindex, Verdict::RedirectNeigh)
            }
            Self::Leave(Verdict::Deliver) => {
                HopKey::new(skb.arrived_by(), skb.interface(), Verdict::Deliver)
            }
            Self::Leave(verdict) => HopKey::new(skb.interface(), Ifindex(0), *verdict),
        }
    }
}

impl From<Result<Egress, Verdict>> for Decision {
    #[inline(always)]
    fn from(result: Result<Egress, Verdict>) -> Self {
        match result {
            Ok(egress) => Self::Redirect(egress),
            Err(verdict) => Self::Leave(verdict),
        }
    }
}

/// A packet that an endpoint sent.
#[inline(always)]
pub fn from_endpoint(skb: &mut Skb) -> Decision {
    match parse::ethernet(skb) {
        Ok(Network::V4) => endpoint_stages::<V4>(skb).into(),
        Ok(Network::V6) => endpoint_stages::<V6>(skb).into(),
        Err(verdict) => Decision::Leave(verdict),
    }
}

/// A packet from another node.
#[inline(always)]
pub fn from_uplink(skb: &mut Skb) -> Decision {
    match parse::ethernet(skb) {
        Ok(Network::V4) => uplink_stages::<V4>(skb).into(),
        Ok(Network::V6) => uplink_stages::<V6>(skb).into(),
        Err(verdict) => Decision::Leave(verdict),
    }
}

/// A packet that the kernel delivers to an endpoint.
#[inline(always)]
pub fn to_endpoint(_skb: &mut Skb) -> Decision {
    Decision::Leave(Verdict::Deliver)
}

#[inline(always)]
fn endpoint_stages<F: Family>(skb: &mut Skb) -> Result<Egress, Verdict> {
    let packet = F::parse(skb)?;
    source::of_endpoint(skb, &packet)?;
    if let Some(reason) = packet.punt {
        return Err(Verdict::Punt(reason));
    }
    match destination::of_endpoint(skb, &packet)? {
        Destination::Local(endpoint) => {
            checks::turns_back(skb, endpoint.ifindex)?;
            checks::ttl(&packet)?;
            checks::device_mtu(skb, &packet, endpoint.ifindex)?;
            rewrite::trim_padding(skb, &packet)?;
            rewrite::to_endpoint::<F>(skb, &endpoint)?;
            Ok(Egress::Peer(endpoint.ifindex))
        }
        Destination::Remote(next_hop) => {
            checks::turns_back(skb, next_hop.ifindex)?;
            checks::ttl(&packet)?;
            checks::path_mtu(skb, &next_hop)?;
            rewrite::trim_padding(skb, &packet)?;
            rewrite::to_next_hop::<F>(skb)?;
            Ok(Egress::Neighbour(next_hop))
        }
    }
}

#[inline(always)]
fn uplink_stages<F: Family>(skb: &mut Skb) -> Result<Egress, Verdict> {
    let packet = F::parse(skb)?;
    source::of_uplink(&packet)?;
    if let Some(reason) = packet.punt {
        return Err(Verdict::Punt(reason));
    }
    let endpoint = destination::of_uplink(&packet)?;
    checks::turns_back(skb, endpoint.ifindex)?;
    checks::ttl(&packet)?;
    checks::device_mtu(skb, &packet, endpoint.ifindex)?;
    rewrite::trim_padding(skb, &packet)?;
    rewrite::to_endpoint::<F>(skb, &endpoint)?;
    Ok(Egress::Peer(endpoint.ifindex))
}
