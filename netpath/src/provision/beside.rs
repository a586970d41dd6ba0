//! Other nodes in the network namespace that netpath runs in: their programs are told what endpoints come and go here. Nothing
//! from outside comes from an endpoint, and each node's programs have to know that of all of them: on an uplink that two nodes
//! share one's programs redirect before the other's see the packet.

use super::{carry_out::Site, error::ProvisionError, snapshot};
use crate::{
    datapath::{Datapath, nodes},
    lock::TopologyLock,
    netns::Netns,
    reconcile::{self, Wanted},
};

/// Tells the programs of all nodes here but these. One that cannot be read is left as it is: `show` tells of it.
pub fn tell(but: &[String], lock: &TopologyLock) -> Result<(), ProvisionError> {
    let here = Netns::current()?.cookie()?;
    for name in nodes()?.into_iter().filter(|name| !but.contains(name)) {
        let found = Datapath::open(&name).and_then(|datapath| match datapath {
            Some(datapath) => Ok(Some(datapath.maps.meta.get()?.netns_cookie)),
            None => Ok(None),
        });
        if let Ok(Some(cookie)) = found
            && cookie == here
        {
            tell_one(&name, lock).map_err(|cause| ProvisionError::Untold {
                node: name.clone(),
                cause: Box::new(cause),
            })?;
        }
    }
    Ok(())
}

fn tell_one(name: &str, lock: &TopologyLock) -> Result<(), ProvisionError> {
    let snapshot = match snapshot::take_node(name) {
        Err(ProvisionError::Refused(_) | ProvisionError::DamagedRecord(_)) => return Ok(()),
        snapshot => snapshot?,
    };
    let (Some(recorded), Some(_)) = (&snapshot.world.recorded, &snapshot.netns) else {
        return Ok(());
    };
    let wanted = Wanted::of_recorded(name, recorded)?;
    let plan = reconcile::own(&wanted, &snapshot.world);
    if let Some(refusal) = plan.refusals.into_iter().next() {
        return Err(refusal.into());
    }
    Site::new(name, lock, snapshot, None).steps(&plan.steps, &mut |_| {})
}
