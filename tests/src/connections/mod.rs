//! Connections beside a kernel that keeps state about them: rules as kube-proxy, portmap and docker write them, conversations
//! of which every byte and address is checked, and many of them at once.

mod case;
mod flood;
mod forget;
mod mix;
mod places;
mod pushed;
mod rules;
mod server;
mod socket;
mod talk;
mod witness;

pub use self::{
    case::{Case, Loss, kernel_connections, redirects},
    flood::flood,
    forget::{clear, forget_connections},
    mix::{Dialogue, Party, hold},
    places::{PODS, address, family_of, prepare, topology, up},
    pushed::Pushed,
    rules::{Docker, FORWARDING, KubeProxy, Portmap, Service, install, masquerade},
    server::Served,
    socket::{report_errors, reset_on_close, set_option},
    talk::{End, Talk, Told, patience},
    witness::{Arrival, Witness},
};

/// Which of the two is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// As in an IP header.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// As iptables takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}
