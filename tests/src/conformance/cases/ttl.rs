//! TTL and hop limit.

use super::List;
use crate::Family;

pub(super) fn add(list: &mut List<'_>) {
    for flow in list.flows() {
        let source = match flow.family {
            Family::V4 => "RFC 1812, 5.3.1",
            Family::V6 => "RFC 4443, 3.3",
        };
        for ttl in [0, 1, 2, 3, 255] {
            let frame = flow.udp().ttl(ttl).build();
            list.frames(&flow, format!("TTL {ttl}, UDP"), source, [frame]);
        }
        for ttl in [1, 2] {
            let (request, error) = match flow.family {
                Family::V4 => (8, (3, 3)),
                Family::V6 => (128, (1, 4)),
            };
            let echo = flow.ip().ttl(ttl).icmp(request, 0, [0, 7, 0, 1]).build();
            list.frames(&flow, format!("TTL {ttl}, echo request"), source, [echo]);
            let syn = flow.ip().ttl(ttl).tcp(40_000, 40_001, 2).build();
            list.frames(&flow, format!("TTL {ttl}, TCP SYN"), source, [syn]);
            // About a packet that the receiver could have sent.
            let back = flow.from(flow.destination).to(flow.source).udp().build();
            let error = flow
                .ip()
                .ttl(ttl)
                .icmp(error.0, error.1, [0; 4])
                .payload(&back[14..]);
            let silent = match flow.family {
                Family::V4 => "RFC 1812, 4.3.2.7: no error about an error",
                Family::V6 => "RFC 4443, 2.4(e)",
            };
            list.frames(
                &flow,
                format!("TTL {ttl}, ICMP error"),
                silent,
                [error.build()],
            );
            let fragment = flow.ip().ttl(ttl).protocol(17).fragment(64, false);
            let fragment = fragment.payload(&[0x55; 64]).build();
            let name = format!("TTL {ttl}, last fragment");
            list.frames(&flow, name, "RFC 1812, 4.3.2.7", [fragment]);
        }
        let syn = |ttl| flow.ip().ttl(ttl).tcp(40_000, 40_001, 2).build();
        let hops = 1..=5;
        list.frames(
            &flow,
            "traceroute, TCP",
            "traceroute(8)",
            hops.clone().map(syn),
        );
        let probes = hops.map(|ttl| {
            let port = 33_433 + u16::from(ttl);
            flow.ip()
                .ttl(ttl)
                .udp(40_000, port)
                .payload(&[0; 32])
                .build()
        });
        let request = if flow.is_v4() { 8 } else { 128 };
        let echoes = (1..=5).map(|ttl| {
            let echo = flow.ip().ttl(ttl).icmp(request, 0, [0, 7, 0, ttl]);
            echo.payload(&[0; 32]).build()
        });
        list.frames(
            &flow,
            "traceroute, ICMP (as mtr does)",
            "traceroute(8)",
            echoes,
        );
        list.frames(&flow, "traceroute, UDP", "traceroute(8)", probes);
    }
}
