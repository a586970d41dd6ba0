//! A way to somebody, and what has to arrive on it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{Arrival, End, Protocol, Talk, Witness, address, family_of};
use crate::lab::{Lab, Traffic};

/// Requests of each conversation by UDP.
const REQUESTS: usize = 4;

/// A way that a kernel's rules lead.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Who asks.
    pub client: &'static str,
    /// Whom, as far as it knows.
    pub to: SocketAddr,
    /// Who answers.
    pub server: &'static str,
    /// The server's own port.
    pub port: u16,
    /// Whose address the server sees, as a client's.
    pub source: &'static str,
    /// Node and interface by which the answers come in where only a table of connections tells that they are the kernel's.
    pub answers: Option<(&'static str, &'static str)>,
}

/// Why a conversation does not take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Something drops its packets.
    Dropped,
}

impl Case {
    fn at(&self) -> SocketAddr {
        SocketAddr::new(address(self.server, family_of(self.to.ip())), self.port)
    }

    fn ports(&self) -> [u16; 2] {
        [self.to.port(), self.port]
    }

    fn talk<'a>(&self, lab: &'a Lab) -> Talk<'a> {
        Talk {
            lab,
            client: self.client,
            to: self.to,
            server: self.server,
            at: self.at(),
        }
    }

    /// All that may be seen at the ends: packets from whom was spoken to, and from whom the server knows as its client.
    fn expected(&self) -> BTreeSet<Arrival> {
        let source = address(self.source, family_of(self.to.ip()));
        let arrivals = [
            Arrival::new(self.client, self.to.ip()),
            Arrival::new(self.server, source),
        ];
        let seen = arrivals
            .into_iter()
            .filter(|it| !matches!(it.at, "A" | "B"));
        seen.collect()
    }

    /// Speaks by UDP and TCP, and looks at what arrives; with the fast path on, at what is counted as well.
    ///
    /// # Panics
    /// When anything else arrives than has to, or by the wrong side.
    pub fn assert_holds(&self, lab: &Lab, is_on: bool) {
        let mut witness = Witness::new(lab, &[self.client, self.server]);
        let source = address(self.source, family_of(self.to.ip()));
        let before = self.answers.map(|(node, _)| lab.traffic(node));
        let told = self.talk(lab).udp(REQUESTS, 100);
        self.assert_right(told.map(|told| told.clients), source, "UDP");
        self.assert_seen(&mut witness, Protocol::Udp);
        if let (Some((node, dev)), Some(before), true) = (self.answers, before, is_on) {
            let counted = lab.traffic(node).since(&before);
            let punted = counted.row(&format!("{dev} > - punt kernel_connection")).0;
            assert_eq!(punted, REQUESTS as u64, "{self:?}: {counted:?}");
        }
        for end in End::ALL {
            let told = self.talk(lab).tcp(40_000, end);
            self.assert_right(
                told.map(|told| told.clients),
                source,
                &format!("TCP, {end:?}"),
            );
            self.assert_seen(&mut witness, Protocol::Tcp);
        }
        if is_on && self.answers.is_some() {
            self.assert_direct_is_redirected(lab);
        }
    }

    /// Speaks, and nothing arrives.
    ///
    /// # Panics
    /// When something does.
    pub fn assert_lost(&self, lab: &Lab, why: Loss) {
        let mut witness = Witness::new(lab, &[self.server]);
        assert!(!self.talk(lab).arrives(), "{self:?}: not {why:?}");
        let seen = witness.seen(Protocol::Udp.number(), &self.ports());
        assert_eq!(seen, BTreeSet::new(), "{self:?}: not {why:?}");
    }

    /// The same two without a translation: by the fast path, all of it.
    fn assert_direct_is_redirected(&self, lab: &Lab) {
        let direct = Self {
            to: self.at(),
            ..*self
        };
        let nodes = ["A", "B"];
        let before = nodes.map(|node| lab.traffic(node));
        let told = direct.talk(lab).udp(REQUESTS, 100);
        let client = address(self.client, family_of(self.to.ip()));
        self.assert_right(told.map(|told| told.clients), client, "direct");
        let mut counted = nodes.iter().zip(&before);
        let counted = [(); 2].map(|()| {
            let (node, before) = counted.next().expect("two nodes");
            lab.traffic(node).since(before)
        });
        let kernels: u64 = counted.iter().map(kernel_connections).sum();
        let redirected: u64 = counted.iter().map(redirects).sum();
        let hops = if self.client.as_bytes()[0] == self.server.as_bytes()[0] {
            1
        } else {
            2
        };
        assert_eq!(
            (kernels, redirected),
            (0, 2 * hops * REQUESTS as u64),
            "{direct:?}: {counted:?}"
        );
    }

    fn assert_right(&self, clients: std::io::Result<BTreeSet<IpAddr>>, source: IpAddr, how: &str) {
        match clients {
            Ok(clients) => assert_eq!(clients, BTreeSet::from([source]), "{self:?}, {how}"),
            Err(error) => panic!("{self:?}, {how}: {error}"),
        }
    }

    fn assert_seen(&self, witness: &mut Witness, protocol: Protocol) {
        let seen = witness.seen(protocol.number(), &self.ports());
        assert_eq!(seen, self.expected(), "{self:?}, {protocol:?}");
    }
}

/// Packets that were the kernel's because their connection is.
pub fn kernel_connections(counted: &Traffic) -> u64 {
    packets(counted, |row| row.ends_with(" punt kernel_connection"))
}

/// Packets that took the fast path.
pub fn redirects(counted: &Traffic) -> u64 {
    packets(counted, |row| row.contains(" redirect_"))
}

fn packets(counted: &Traffic, is_one: impl Fn(&str) -> bool) -> u64 {
    let rows = counted.without_chatter().filter(|(row, _)| is_one(row));
    rows.map(|(_, counter)| counter.packets).sum()
}
