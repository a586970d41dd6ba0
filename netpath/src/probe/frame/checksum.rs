//! The Internet checksum (RFC 1071).

use std::net::IpAddr;

/// Checksum of `bytes` as RFC 1071 defines it: the complement of the ones' complement sum of 16-bit words;
/// an odd last byte is padded with zero. Over data that includes a correct checksum it is 0.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// Checksum of a TCP or ICMPv6 message or UDP datagram with its pseudo header (RFC 9293, 3.1; RFC 768;
/// RFC 8200, 8.1). UDP sends 0xffff where this is 0. Both addresses must be of one family.
pub fn transport_checksum(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    segment: &[u8],
) -> u16 {
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            sum(&source.octets()) + sum(&destination.octets())
        }
        (source, destination) => sum(&v6_octets(source)) + sum(&v6_octets(destination)),
    };
    !fold(addresses + u64::from(protocol) + segment.len() as u64 + sum(segment))
}

fn v6_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The sum without its carries folded in: 64 bits hold those of any packet.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(2);
    let odd = words.remainder().first().map_or(0, |&b| u64::from(b) << 8);
    words
        .map(|word| u64::from(u16::from_be_bytes([word[0], word[1]])))
        .sum::<u64>()
        + odd
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_of_rfc_1071() {
        // RFC 1071, section 3: the sum is ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(internet_checksum(&bytes), !0xddf2);
        assert_eq!(internet_checksum(&bytes[..7]), !0xdcfb);
        assert_eq!(internet_checksum(&[]), 0xffff);
    }

    #[test]
    fn known_ipv4_header() {
        // A UDP packet's header from 192.168.0.1 to 192.168.0.199, checksum b861.
        let mut header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(internet_checksum(&header), 0);
        header[10..12].fill(0);
        assert_eq!(internet_checksum(&header), 0xb861);
    }

    #[test]
    fn pseudo_headers_worked_by_hand() {
        // 10.0.0.1 -> 10.0.0.2, UDP, ports 1 and 2, length 9, one byte 0x03:
        // 0a00+0001+0a00+0002 + 0011 + 0009 + 0001+0002+0009+0000+0300 = 1729
        let segment = [0, 1, 0, 2, 0, 9, 0, 0, 3];
        let v4 = |last| IpAddr::from([10, 0, 0, last]);
        assert_eq!(transport_checksum(v4(1), v4(2), 17, &segment), !0x1729);
        // fd00::1 -> fd00::2: fd00+0001+fd00+0002 + 0011 + 0009 + 030c = 1fd29, folded fd2a
        let v6 = |last| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last]);
        assert_eq!(transport_checksum(v6(1), v6(2), 17, &segment), !0xfd2a);
    }
}
