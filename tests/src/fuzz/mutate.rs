//! Making frames worse.

use netpath::probe::frame::internet_checksum;

use super::{corpus::Case, rng::Rng};

/// Bytes that mean something to somebody: versions with header lengths, protocols, TTLs, extreme values.
const BYTES: [u8; 18] = [
    0, 1, 2, 6, 17, 43, 44, 51, 58, 59, 60, 0x40, 0x44, 0x45, 0x46, 0x60, 0x7f, 0xff,
];
/// EtherTypes: IPv4, IPv6, ARP, VLAN tags, MPLS, LLDP, lengths.
const ETHERTYPES: [u16; 9] = [
    0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x8847, 0x88cc, 0, 0x5dc,
];
/// Lengths at which something changes.
const WORDS: [u16; 12] = [0, 1, 19, 20, 21, 27, 40, 1480, 1500, 1501, 0x7fff, 0xffff];
/// Header checksums at which a carry comes round when the TTL goes down.
const CHECKSUMS: [u16; 7] = [0, 1, 0xfeff, 0xff00, 0xfefe, 0xfffe, 0xffff];
/// The beginnings of special IPv4 addresses.
const V4: [[u8; 4]; 10] = [
    [0, 0, 0, 0],
    [127, 0, 0, 1],
    [224, 0, 0, 1],
    [240, 0, 0, 1],
    [255, 255, 255, 255],
    [169, 254, 1, 1],
    [100, 100, 198, 250],
    [10, 0, 1, 2],
    [10, 0, 2, 2],
    [10, 0, 3, 2],
];
/// Where most of the headers are, in bytes.
const HEADERS: usize = 78;
/// The longest that the kernel takes is somewhat more.
const LONGEST: usize = 3400;

/// Changes a frame in several ways; the less, the more probable.
pub fn mutate(rng: &mut Rng, frame: &mut Vec<u8>, corpus: &[Case]) {
    while rng.chance(66) {
        once(rng, frame, corpus);
    }
    // What has to fit together is made to fit again in most cases: else little would get past the parser.
    if rng.chance(45) {
        repair_length(frame);
    }
    if rng.chance(75) {
        repair_checksum(frame);
    }
    if rng.chance(10) {
        let target = rng.pick(&CHECKSUMS);
        steer_checksum(frame, target);
    }
    frame.truncate(LONGEST);
}

fn once(rng: &mut Rng, frame: &mut Vec<u8>, corpus: &[Case]) {
    let other = &corpus[rng.below(corpus.len())].frame;
    match rng.below(16) {
        0 | 1 => {
            let bit = 1 << rng.below(8);
            change(rng, frame, |byte| *byte ^= bit);
        }
        2 => {
            let value = rng.byte();
            change(rng, frame, |byte| *byte = value);
        }
        3 => {
            let value = rng.pick(&BYTES);
            change(rng, frame, |byte| *byte = value);
        }
        4 => {
            let delta = rng.pick(&[1, 0xff]);
            change(rng, frame, |byte| *byte = byte.wrapping_add(delta));
        }
        5 => {
            let at = place(rng, frame.len());
            write(frame, at, &rng.pick(&WORDS).to_be_bytes());
        }
        6 => write(frame, 12, &rng.pick(&ETHERTYPES).to_be_bytes()),
        7 => frame.truncate(place(rng, frame.len() + 1)),
        8 => {
            let length = frame.len() + rng.below(80);
            let filler = rng.byte();
            frame.resize(length, filler);
        }
        9 => {
            let (at, length) = (place(rng, frame.len()), rng.below(24));
            let end = frame.len().min(at + length);
            frame.drain(at.min(end)..end);
        }
        10 => {
            let at = place(rng, frame.len() + 1).min(frame.len());
            let filler = vec![rng.byte(); rng.below(24)];
            frame.splice(at..at, filler);
        }
        // The head of this one, the tail of another.
        11 => {
            let at = place(rng, frame.len().min(other.len()));
            frame.truncate(at);
            frame.extend(&other[at..]);
        }
        // A field or two of another one.
        12 => {
            let at = place(rng, other.len());
            let end = other.len().min(at + 1 + rng.below(20));
            write(frame, at, &other[at..end]);
        }
        13 => swap(rng, frame),
        14 => field(rng, frame),
        _ => {
            let at = rng.pick(&[26, 30, 22, 38]);
            write(frame, at, &rng.pick(&V4));
        }
    }
}

/// Somewhere in the frame, mostly in its headers.
fn place(rng: &mut Rng, length: usize) -> usize {
    let end = if rng.chance(85) {
        length.min(HEADERS)
    } else {
        length
    };
    rng.below(end.max(1))
}

fn change(rng: &mut Rng, frame: &mut [u8], how: impl FnOnce(&mut u8)) {
    let at = place(rng, frame.len());
    frame.get_mut(at).map(how);
}

fn write(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = frame.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

/// Source for destination: MACs, IPv4 addresses, IPv6 addresses.
fn swap(rng: &mut Rng, frame: &mut [u8]) {
    let (at, size) = rng.pick(&[(0, 6), (26, 4), (22, 16)]);
    if let Some(both) = frame.get_mut(at..at + 2 * size) {
        both.rotate_left(size);
    }
}

/// One field of an IP header: version and length, TOS, total length, fragment, TTL, protocol, flow label,
/// payload length, next header, hop limit.
fn field(rng: &mut Rng, frame: &mut [u8]) {
    let at = rng.pick(&[14, 15, 16, 18, 19, 20, 21, 22, 23]);
    let value = if rng.chance(50) {
        rng.pick(&BYTES)
    } else {
        rng.byte()
    };
    write(frame, at, &[value]);
}

fn repair_length(frame: &mut [u8]) {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => {
            let length = (frame.len() - 14) as u16;
            write(frame, 16, &length.to_be_bytes());
        }
        Some([0x86, 0xdd]) => {
            let length = frame.len().saturating_sub(54) as u16;
            write(frame, 18, &length.to_be_bytes());
        }
        _ => {}
    }
}

fn repair_checksum(frame: &mut [u8]) {
    if frame.get(12..14) != Some(&[0x08, 0x00]) || frame.len() < 34 {
        return;
    }
    let end = 14 + usize::from(frame[14] & 0xf) * 4;
    if end < 34 || end > frame.len() {
        return;
    }
    frame[24..26].fill(0);
    let checksum = internet_checksum(&frame[14..end]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
}

/// Changes the identification so that the right header checksum is this one.
fn steer_checksum(frame: &mut [u8], target: u16) {
    repair_checksum(frame);
    if let Some([high, low]) = frame.get(24..26)
        && frame[12..14] == [0x08, 0x00]
    {
        let checksum = u16::from_be_bytes([*high, *low]);
        let id = u16::from_be_bytes([frame[18], frame[19]]);
        // One's complement: what the checksum is to lose, the identification has to gain.
        let sum = u32::from(id) + u32::from(checksum) + u32::from(!target);
        let sum = (sum & 0xffff) + (sum >> 16);
        let id = ((sum & 0xffff) + (sum >> 16)) as u16;
        write(frame, 18, &id.to_be_bytes());
        repair_checksum(frame);
        // The other zero of one's complement: nobody computes it, and everybody takes it.
        if target == 0xffff {
            write(frame, 24, &[0xff; 2]);
        }
    }
}
