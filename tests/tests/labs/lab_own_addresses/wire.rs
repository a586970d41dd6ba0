//! Forged datagrams from outside.

use std::{net::IpAddr, time::Duration};

use netpath::{netlink::Netlink, netns::Inside, probe::capture::Capture};
use netpath_common::Mac;
use netpath_tests::lab::{Bytes::Exactly, Lab, addresses, listener, udp_port};

use super::{FORGED, HONEST, datagram, length};

const COUNT: u64 = 25;

/// Sends datagrams from outside that say to come from an address, and an honest one behind them. Only the honest one
/// arrives, and each of the others is counted.
pub(super) struct Wire<'a> {
    lab: &'a Lab,
    node: &'static str,
    outside: (&'static str, &'static str),
    pub(super) macs: (Mac, Mac),
    receiver: &'static str,
    host_dev: &'static str,
    honest: &'static str,
}

impl Wire<'_> {
    pub(super) fn assert_forged(&self, source: IpAddr) {
        let family = usize::from(source.is_ipv6());
        let (destination, honest) = (
            addresses(self.receiver)[family],
            addresses(self.honest)[family],
        );
        let (place, dev) = self.outside;
        let injector = self.lab.injector(place, dev);
        let mut capture = self.lab.capture(self.receiver, "eth0");
        // Nobody answers: how often Port Unreachable is said depends on the time.
        let _listener = self.lab.inside(self.receiver, || listener(HONEST));
        let before = self.lab.traffic(self.node);
        for _ in 0..COUNT {
            let frame = datagram(self.macs, source, destination, FORGED);
            injector.send(&frame).expect("send");
        }
        let frame = datagram(self.macs, honest, destination, HONEST);
        injector.send(&frame).expect("send");
        assert_eq!(arrived(&mut capture), HONEST, "from {source}");
        let redirected = format!("up0 > {} redirect_peer", self.host_dev);
        self.lab.assert_counted(
            self.node,
            &before,
            &[
                (
                    "up0 > - drop spoofed",
                    COUNT,
                    Exactly(COUNT * length(source)),
                ),
                (&redirected, 1, Exactly(length(honest))),
            ],
        );
    }
}

/// The port of the first of the test's datagrams that arrives.
fn arrived(capture: &mut Capture) -> u16 {
    let is_one = |frame: &netpath::probe::capture::CapturedFrame| {
        matches!(udp_port(&frame.bytes), Some(FORGED | HONEST))
    };
    let seen = capture.wait_for(is_one, Duration::from_secs(3));
    let seen = seen.expect("capture").expect("the honest datagram");
    udp_port(&seen.bytes).expect("a datagram")
}

pub(super) fn machines_wire<'a>(lab: &'a Lab) -> Wire<'a> {
    let mac = |place, dev: &str| {
        let look = || {
            let netlink = Netlink::open(&Inside::current()).expect("socket");
            netlink.link(dev).expect("asked").expect(dev).mac
        };
        lab.inside(place, look).expect("Ethernet")
    };
    Wire {
        lab,
        node: "H",
        outside: ("P", "eth0"),
        macs: (mac("P", "eth0"), mac("H", "up0")),
        receiver: "a1",
        host_dev: "va1",
        honest: "b1",
    }
}

pub(super) fn labs_wire<'a>(lab: &'a Lab) -> Wire<'a> {
    Wire {
        lab,
        node: "B",
        outside: ("A", "up0"),
        macs: (lab.uplink_mac("A"), lab.uplink_mac("B")),
        receiver: "b1",
        host_dev: "vb1",
        honest: "a1",
    }
}
