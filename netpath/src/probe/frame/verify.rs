//! Verifying a packet's checksums.

use super::{
    FrameError, PROTOCOL_ICMP, ParsedIp, Transport, internet_checksum,
    parse::{at_least, be16, need},
    transport_checksum,
};

impl ParsedIp<'_> {
    /// Verifies the IPv4 header's checksum and that of UDP, TCP, ICMP or ICMPv6. Of a fragment, and of other
    /// protocols, there is only the former; UDP over IPv4 may have none.
    ///
    /// # Errors
    /// The first one that is wrong, or that the packet is not all there.
    pub fn verify_checksums(&self) -> Result<(), FrameError> {
        if self.source.is_ipv4() {
            verify("IPv4 header", be16(self.header, 10), |found| {
                reverse(internet_checksum(self.header), found)
            })?;
        }
        need(
            "IP payload",
            self.payload,
            self.length.saturating_sub(self.header.len()),
        )?;
        if self.is_fragment() {
            return Ok(());
        }
        let whole = self.payload;
        let (layer, at, segment) = match (self.protocol, self.transport()?) {
            (_, Transport::Udp { length, .. }) => {
                let length = usize::from(length);
                at_least("UDP header", length, 8)?;
                need("UDP payload", whole, length)?;
                if self.source.is_ipv4() && be16(whole, 6) == 0 {
                    return Ok(());
                }
                ("UDP", 6, &whole[..length])
            }
            (_, Transport::Tcp { .. }) => ("TCP", 16, whole),
            (PROTOCOL_ICMP, Transport::Icmp { .. }) => {
                return verify("ICMP", be16(whole, 2), |found| {
                    reverse(internet_checksum(whole), found)
                });
            }
            (_, Transport::Icmp { .. }) => ("ICMPv6", 2, whole),
            (_, Transport::Other(_)) => return Ok(()),
        };
        verify(layer, be16(segment, at), |found| {
            let over_all =
                transport_checksum(self.source, self.destination, self.protocol, segment);
            // 0 stands for "no checksum", which only UDP over IPv4 allows: UDP sends 0xffff instead.
            match reverse(over_all, found) {
                0 if layer == "UDP" => 0xffff,
                expected => expected,
            }
        })
    }
}

/// The right value of a checksum field, from the checksum over data that includes the field's value `found`.
fn reverse(over_all: u16, found: u16) -> u16 {
    if over_all == 0 {
        return found;
    }
    // Ones' complement addition of what is missing.
    let sum = u32::from(over_all) + u32::from(found);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

fn verify(
    layer: &'static str,
    found: u16,
    expected: impl FnOnce(u16) -> u16,
) -> Result<(), FrameError> {
    let expected = expected(found);
    if found == expected {
        return Ok(());
    }
    Err(FrameError::Checksum {
        layer,
        found,
        expected,
    })
}
