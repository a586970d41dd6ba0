//! IPsec. What its policies do to a packet is not followed; whether there is one that it meets is.

use super::{Going, Walk};
use crate::{
    kernel_way::{Cause, Place, Unknown},
    netlink::{XfrmDirection, XfrmPolicy},
};

impl Walk<'_> {
    pub(super) fn ipsec(&mut self, direction: XfrmDirection) -> Going<()> {
        let xfrm = &self.state.xfrm;
        let mut policies = xfrm.policies.iter();
        let name = "IPsec policy".to_owned();
        if policies.any(|policy| policy.direction == direction && self.is_met(policy)) {
            let what = name.clone();
            let so = ["it lets it pass", "it drops or encrypts it"].map(str::to_owned);
            return match self.suppose(Unknown { what, rule: None }, &so) {
                0 => Ok(()),
                _ => self.drop(Place::Programs, Cause::Program { name }),
            };
        }
        let blocks = match direction {
            XfrmDirection::In => xfrm.defaults.block_in,
            XfrmDirection::Out => xfrm.defaults.block_out,
            XfrmDirection::Forward => xfrm.defaults.block_forward,
            XfrmDirection::Other(_) => false,
        };
        match blocks {
            true => self.drop(Place::Programs, Cause::Program { name }),
            false => Ok(()),
        }
    }

    /// By its addresses: its ports and marks make fewer packets meet it, and none more.
    fn is_met(&self, policy: &XfrmPolicy) -> bool {
        policy.selector.as_ref().is_none_or(|selector| {
            selector.source.contains(&self.packet.source)
                && selector.destination.contains(&self.packet.destination)
        })
    }
}
