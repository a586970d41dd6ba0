//! Packets that stand for several segments, with bytes behind them.

use netpath::probe::frame::FrameBuilder;
use netpath_tests::{
    Family, GsoInjector, between,
    lab::{Bytes, Place, Watch},
};

use super::{TO_A2, TO_B1, lab, pairs};

/// Nobody answers it (RFC 9293, 3.5.2).
const RESET: u8 = 0x04;

/// The kernel cuts the bytes off and keeps the segments. A redirect would lose one or the other: the packet is the
/// kernel's, and arrives.
#[test]
fn padding_behind_segments_is_the_kernels_to_cut() {
    let lab = lab();
    let record = lab.record("A", "a1");
    let sender = lab.inside("a1", || GsoInjector::open("eth0"));
    for (place, to, routers) in [(TO_A2, "a2", 1), (TO_B1, "b1", 2)] {
        let places: [Place; 1] = [place];
        let mut watch = Watch::new(&lab, places);
        for (family, (from, to)) in Family::ALL.into_iter().zip(pairs("a1", to)) {
            for padding in [0, 10, 1000] {
                let frame = FrameBuilder::new(record.endpoint_mac, record.host_mac);
                let frame = between(frame, from, to)
                    .dont_fragment()
                    .tcp(7_001, 7_002, RESET);
                let frame = frame.payload(&[7; 8_000]).build();
                let padded = [&frame[..], &vec![0; padding]].concat();
                let before = lab.traffic("A");
                sender.send(family, &padded, 1_000);
                let [seen] = watch.seen();
                let what = format!("{from} to {to}, padded by {padding}");
                let seen: Vec<_> = seen
                    .iter()
                    .filter(|packet| (packet.source, packet.destination) == (from, to))
                    .collect();
                let [packet] = seen[..] else {
                    panic!("{what}: {seen:?}");
                };
                assert_eq!((packet.protocol, packet.ttl), (6, 64 - routers), "{what}");
                assert_eq!(packet.bytes.len(), frame.len() - 14, "{what}");
                let row = match (padding, place.at.0) {
                    (0, "a2") => "va1 > va2 redirect_peer",
                    (0, _) => "va1 > up0 redirect_neigh",
                    _ => "va1 > - punt padded_gso",
                };
                let bytes = Bytes::Exactly(padded.len() as u64);
                match (padding, place.at.0) {
                    (1.., "a2") => {
                        let delivered = Bytes::Exactly(frame.len() as u64);
                        let delivered = ("va1 > va2 deliver", 1, delivered);
                        lab.assert_counted("A", &before, &[(row, 1, bytes), delivered]);
                    }
                    _ => lab.assert_counted("A", &before, &[(row, 1, bytes)]),
                }
            }
        }
    }
}
