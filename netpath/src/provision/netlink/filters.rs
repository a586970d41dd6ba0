//! BPF filters on clsact qdiscs.

use rtnetlink::packet_route::tc::{TcAttribute, TcFilterBpfOption, TcMessage, TcOption};

use super::{Link, Netlink};
use crate::{datapath::Hook, provision::error::ProvisionError};

impl Netlink {
    /// Ids of the programs that run as filters on a hook of an interface; none without a clsact qdisc.
    pub fn filter_programs(&self, link: &Link, hook: Hook) -> Result<Vec<u32>, ProvisionError> {
        let request = self.handle.traffic_filter(link.ifindex.0 as i32).get();
        let request = match hook {
            Hook::Ingress => request.ingress(),
            Hook::Egress => request.egress(),
        };
        let messages = self.dump("filters", request.execute())?;
        Ok(messages.iter().filter_map(program).collect())
    }
}

fn program(message: &TcMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| {
        let TcAttribute::Options(options) = attribute else {
            return None;
        };
        options.iter().find_map(|option| match option {
            TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
            _ => None,
        })
    })
}
