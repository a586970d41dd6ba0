//! Asking on the links of uplinks who else has their addresses: ARP probes (RFC 5227) and the neighbour solicitations of duplicate
//! address detection (RFC 4862), which enter nothing into anybody's table.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use netpath_common::Mac;

use crate::{
    probe::{
        ProbeError,
        capture::{Capture, CapturedFrame, Direction, Injector},
        frame::{FrameBuilder, ParsedFrame, Transport},
    },
    reconcile::{Framing, Recorded, World},
};

/// How long an answer may take: on a link they come within milliseconds.
const PATIENCE: Duration = Duration::from_millis(300);

const ETHERTYPE_ARP: u16 = 0x0806;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// Who answers for addresses of the uplinks: interface, address, Ethernet address. In the node's namespace.
pub(super) fn ask(
    recorded: &Recorded,
    world: &World,
) -> Result<Vec<(String, IpAddr, String)>, ProbeError> {
    let mut answered = Vec::new();
    for dev in recorded.uplinks.keys() {
        let Some(link) = world.observed.node.link(dev) else {
            continue;
        };
        let (Some(own), true) = (link.mac, link.up && link.carrier && !link.no_arp) else {
            continue;
        };
        if link.framing != Framing::Ethernet {
            continue;
        }
        for address in link.addresses.iter().map(|net| net.addr()) {
            let mut capture = Capture::open(&link.name)?;
            Injector::open(&link.name)?.send(&question(own, address))?;
            let is_others =
                |frame: &CapturedFrame| answers(frame, address).is_some_and(|mac| mac != own);
            let answer = capture.wait_for(is_others, PATIENCE)?;
            let mac = answer.as_ref().and_then(|frame| answers(frame, address));
            answered.extend(mac.map(|mac| (dev.clone(), address, mac.to_string())));
        }
    }
    Ok(answered)
}

/// A frame that only who has the address answers.
fn question(own: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => {
            // Ethernet, IPv4, lengths 6 and 4, request.
            let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
            arp.extend(own.0);
            arp.extend([0; 10]);
            arp.extend(v4.octets());
            let frame = FrameBuilder::new(own, Mac([0xff; 6])).ethertype(ETHERTYPE_ARP);
            frame.payload(&arp).build()
        }
        IpAddr::V6(v6) => {
            let [.., a, b, c] = v6.octets();
            let (low, high) = (u16::from_be_bytes([b, c]), 0xff00 | u16::from(a));
            let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, high, low);
            FrameBuilder::new(own, Mac([0x33, 0x33, 0xff, a, b, c]))
                .ipv6(Ipv6Addr::UNSPECIFIED, group)
                .ttl(255)
                .icmp(NEIGHBOUR_SOLICITATION, 0, [0; 4])
                .payload(&v6.octets())
                .build()
        }
    }
}

/// The Ethernet address of a frame that came in and says who has the address.
fn answers(frame: &CapturedFrame, address: IpAddr) -> Option<Mac> {
    if frame.direction == Direction::Outgoing {
        return None;
    }
    let parsed = ParsedFrame::parse(&frame.bytes).ok()?;
    let says = match address {
        IpAddr::V4(v4) => {
            let arp = parsed.payload;
            parsed.ethertype == ETHERTYPE_ARP
                && arp.get(6..8) == Some(&[0, 2])
                && arp.get(14..18) == Some(&v4.octets())
        }
        IpAddr::V6(v6) => match parsed.ip().ok()?.transport().ok()? {
            Transport::Icmp { kind, payload, .. } => {
                kind == NEIGHBOUR_ADVERTISEMENT && payload.get(..16) == Some(&v6.octets())
            }
            _ => false,
        },
    };
    says.then_some(parsed.source)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn seen(bytes: Vec<u8>) -> CapturedFrame {
        CapturedFrame {
            length: bytes.len(),
            bytes,
            direction: Direction::ToUs,
            csum_not_ready: false,
            csum_valid: false,
            vlan: None,
        }
    }

    #[test]
    fn a_question_is_no_answer_to_itself() {
        for address in ["10.0.0.7", "fd00::7"] {
            let address = address.parse().expect("an address");
            let frame = question(OWN, address);
            assert_eq!(answers(&seen(frame), address), None, "{address}");
        }
    }

    #[test]
    fn an_arp_reply_is_one_for_its_sender() {
        let mut frame = question(OWN, "10.0.0.7".parse().expect("an address"));
        frame[21] = 2;
        frame[28..32].copy_from_slice(&[10, 0, 0, 7]);
        let frame = seen(frame);
        let of = |text: &str| answers(&frame, text.parse().expect("an address"));
        assert_eq!(of("10.0.0.7"), Some(OWN));
        assert_eq!(of("10.0.0.8"), None);
    }
}
