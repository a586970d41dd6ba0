//! Packets in a file that Wireshark reads: pcapng (draft-ietf-opsawg-pcapng), an interface for each place of a packet's way, and what
//! became of the packet as a comment.

use std::{
    collections::HashMap,
    io::{self, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{packet::Packet, places::Places};
use crate::datapath::monotonic_now;

/// Types of blocks.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;

/// What tells the byte order.
const MAGIC: u32 = 0x1a2b_3c4d;
/// `LINKTYPE_RAW`: packets begin with their IP header.
const RAW: u16 = 101;

/// Options.
const END: u16 = 0;
const COMMENT: u16 = 1;
const NAME: u16 = 2;
const RESOLUTION: u16 = 9;
const APPLICATION: u16 = 4;

/// Times are in nanoseconds: 10 to the minus ninth.
const NANOSECONDS: u8 = 9;

/// A file that packets are written to.
#[derive(Debug)]
pub struct Pcapng<W> {
    to: W,
    interfaces: HashMap<(u32, u32), u32>,
    /// Nanoseconds from the kernel's clock to the calendar's.
    since: u64,
}

impl<W: Write> Pcapng<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// When it cannot be written, as for every method here.
    pub fn new(to: W) -> io::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_err(io::Error::other)?.as_nanos();
        let since = u64::try_from(now).map_err(io::Error::other)? - monotonic_now();
        let mut file = Self {
            to,
            interfaces: HashMap::new(),
            since,
        };
        let mut body = Vec::new();
        body.extend(MAGIC.to_ne_bytes());
        // Version 1.0, of a length that is not known.
        body.extend(1u16.to_ne_bytes());
        body.extend(0u16.to_ne_bytes());
        body.extend(u64::MAX.to_ne_bytes());
        option(&mut body, APPLICATION, b"netpath trace");
        option(&mut body, END, &[]);
        file.block(SECTION, &body)?;
        Ok(file)
    }

    /// Writes a packet as it was at each step of its way.
    ///
    /// # Errors
    /// As for every method here.
    pub fn packet(&mut self, packet: &Packet, places: &Places, verdict: &str) -> io::Result<()> {
        for step in packet.steps.iter().filter(|step| !step.bytes.is_empty()) {
            let interface = self.interface((step.netns, step.ifindex), places)?;
            let time = step.time + self.since;
            let mut body = Vec::new();
            body.extend(interface.to_ne_bytes());
            body.extend(((time >> 32) as u32).to_ne_bytes());
            body.extend((time as u32).to_ne_bytes());
            body.extend((step.bytes.len() as u32).to_ne_bytes());
            let length = packet.summary.length.max(step.bytes.len());
            body.extend((length as u32).to_ne_bytes());
            body.extend(&step.bytes);
            pad(&mut body);
            option(&mut body, COMMENT, verdict.as_bytes());
            option(&mut body, END, &[]);
            self.block(PACKET, &body)?;
        }
        Ok(())
    }

    /// Writes what is not written yet.
    ///
    /// # Errors
    /// As for every method here.
    pub fn finish(mut self) -> io::Result<W> {
        self.to.flush()?;
        Ok(self.to)
    }

    fn interface(&mut self, at: (u32, u32), places: &Places) -> io::Result<u32> {
        if let Some(number) = self.interfaces.get(&at) {
            return Ok(*number);
        }
        let name = format!("{}/{}", places.name(at.0), places.device(at.0, at.1));
        let mut body = Vec::new();
        body.extend(RAW.to_ne_bytes());
        body.extend([0; 2]);
        // No packet is cut off by the interface.
        body.extend(0u32.to_ne_bytes());
        option(&mut body, NAME, name.as_bytes());
        option(&mut body, RESOLUTION, &[NANOSECONDS]);
        option(&mut body, END, &[]);
        self.block(INTERFACE, &body)?;
        let number = self.interfaces.len() as u32;
        self.interfaces.insert(at, number);
        Ok(number)
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let length = (body.len() + 12) as u32;
        self.to.write_all(&kind.to_ne_bytes())?;
        self.to.write_all(&length.to_ne_bytes())?;
        self.to.write_all(body)?;
        self.to.write_all(&length.to_ne_bytes())
    }
}

/// Options and packets end where a word does.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    // What is longer is cut off.
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    body.extend(code.to_ne_bytes());
    body.extend((value.len() as u16).to_ne_bytes());
    body.extend(value);
    pad(body);
}
