//! Header fields that a router leaves alone, and the checksums that it has to mend.

use super::List;
use crate::Family;

pub(super) fn add(list: &mut List<'_>) {
    for flow in list.flows() {
        let source = match flow.family {
            Family::V4 => "RFC 2474; RFC 3168",
            Family::V6 => "RFC 2474; RFC 3168; RFC 6437",
        };
        for tos in [0x01, 0x02, 0x03, 0x04, 0x10, 0xb8, 0xfc, 0xff] {
            let frame = flow.udp().tos(tos).build();
            let name = format!("field: DSCP {}, ECN {}", tos >> 2, tos & 3);
            list.frames(&flow, name, source, [frame]);
        }
        if flow.is_v4() {
            for id in [0, 1, 0xffff] {
                for df in [false, true] {
                    let frame = flow.udp().id(id);
                    let frame = if df { frame.dont_fragment() } else { frame };
                    let name = format!("field: identification {id:#06x}, DF {}", u8::from(df));
                    list.frames(&flow, name, "RFC 6864", [frame.build()]);
                }
            }
            // One's complement has two zeros; every value of the sum's last step.
            let frames = (0..=0xffff).step_by(97).map(|id| flow.udp().id(id).build());
            list.frames(
                &flow,
                "field: the checksum's every carry",
                "RFC 1624",
                frames,
            );
            let mut evil = flow.udp().build();
            evil[20] |= 0x80;
            evil[24..26].fill(0);
            let checksum = netpath::probe::frame::internet_checksum(&evil[14..34]);
            evil[24..26].copy_from_slice(&checksum.to_be_bytes());
            list.frames(&flow, "field: the reserved flag", "RFC 3514", [evil]);
        } else {
            for label in [1, 0xf_ffff, 0x8_0000] {
                let frame = flow.udp().flow_label(label).build();
                list.frames(
                    &flow,
                    format!("field: flow label {label:#07x}"),
                    source,
                    [frame],
                );
            }
        }
        let frames = [4, 16, 64, 128, 129, 200, 254].map(|ttl| flow.udp().ttl(ttl).build());
        list.frames(&flow, "field: TTL of all sizes", "RFC 1812, 5.3.1", frames);
    }
}
