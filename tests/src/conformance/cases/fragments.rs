//! Fragments: routers forward each by itself and never look behind the IP header (RFC 1812, 5.2.6; RFC 8200, 4.5).

use super::List;
use crate::{Addresses as _, Family, conformance::case::Flow};

pub(super) fn add(list: &mut List<'_>) {
    for flow in list.flows() {
        let source = match flow.family {
            Family::V4 => "RFC 791, 3.2; RFC 1858",
            Family::V6 => "RFC 8200, 4.5; RFC 5722",
        };
        let datagram = segment(&flow, 4000);
        let cut = |at: usize, to: usize, id: u32| {
            let more = to < datagram.len();
            fragment(
                &flow,
                &datagram[at..to.min(datagram.len())],
                at as u16,
                more,
                id,
            )
        };
        let end = datagram.len();
        for (name, frames) in [
            ("fragment, first alone", vec![cut(0, 1400, 1)]),
            ("fragment, middle alone", vec![cut(1400, 2800, 2)]),
            ("fragment, last alone", vec![cut(2800, end, 3)]),
            (
                "fragments, in order",
                vec![cut(0, 1400, 4), cut(1400, 2800, 4), cut(2800, end, 4)],
            ),
            (
                "fragments, last first",
                vec![cut(2800, end, 5), cut(1400, 2800, 5), cut(0, 1400, 5)],
            ),
            (
                "fragments, overlapping",
                vec![cut(0, 1400, 6), cut(1392, 2800, 6), cut(2800, end, 6)],
            ),
            (
                "fragments, one twice",
                vec![
                    cut(0, 1400, 7),
                    cut(0, 1400, 7),
                    cut(1400, end.min(2800), 7),
                ],
            ),
            (
                "fragments, a tiny first one",
                vec![
                    cut(0, 8, 8),
                    cut(8, 1400, 8),
                    cut(1400, 2800, 8),
                    cut(2800, end, 8),
                ],
            ),
            ("fragment, offset 8 alone", vec![cut(8, 64, 9)]),
        ] {
            list.frames(&flow, name, source, frames);
        }
        let large = segment(&flow, 60_000);
        let frames: Vec<Vec<u8>> = (0..large.len())
            .step_by(1400)
            .map(|at| {
                let to = (at + 1400).min(large.len());
                fragment(&flow, &large[at..to], at as u16, to < large.len(), 10)
            })
            .collect();
        list.frames(&flow, "fragments of a 60 KB datagram", source, frames);
        // RFC 6946: a fragment header, and yet all of it.
        if !flow.is_v4() {
            let atomic = fragment(&flow, &segment(&flow, 100), 0, false, 11);
            list.frames(&flow, "atomic fragment", "RFC 6946", [atomic]);
        }
        let beyond = fragment(&flow, &[0x33; 1000], 65_528, false, 12);
        list.frames(&flow, "fragment beyond 64 KB", "ping of death", [beyond]);
    }
}

/// A UDP header and its data, checksummed.
fn segment(flow: &Flow, length: usize) -> Vec<u8> {
    let data: Vec<u8> = (0..length).map(|i| (i / 7) as u8).collect();
    let frame = flow.udp().payload(&data).build();
    frame[flow.family.headers()..].to_vec()
}

fn fragment(flow: &Flow, bytes: &[u8], offset: u16, more: bool, id: u32) -> Vec<u8> {
    flow.ip()
        .protocol(17)
        .id(0x7000 + id)
        .fragment(offset, more)
        .payload(bytes)
        .build()
}
