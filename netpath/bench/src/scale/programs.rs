//! What the programs cost by themselves, at every size of the tables, beside the empty program.

use std::{net::IpAddr, time::Duration};

use netpath::{
    datapath::{ProgramKind, ReturnCode, TimedProgram},
    probe::frame::FrameBuilder,
    random::SplitMix64,
};
use netpath_common::{EndpointEntry, Ifindex, Mac};

use super::{
    Run, ScaleError,
    fill::Filled,
    flow::pin,
    lab::{UPLINKS, receiver, sender},
    population,
    results::{PacketKind, ProgramSample},
};
use crate::Family;

/// Runs of one system call, each of which takes a hop off the packet's TTL of 255.
const REPEAT: u32 = 250;
/// System calls that make up one sample.
const CALLS: usize = 40;

/// System calls, at least, that make up one sample of many destinations.
const SPREAD_CALLS: usize = 512;

const PACKETS: [PacketKind; 5] = [
    PacketKind::SameNode,
    PacketKind::Remote,
    PacketKind::Uplink,
    PacketKind::Spoofed,
    PacketKind::NoRoute,
];

/// A program and the packets it is run on.
struct Subject<'a> {
    filled: &'a Filled,
    packet: PacketKind,
    family: Family,
    program: TimedProgram,
    ifindex: Ifindex,
    frames: Vec<Vec<u8>>,
}

/// Measures everything in each round, in random order.
pub fn measure(run: &mut Run<'_>, nodes: &[Filled]) -> Result<Vec<ProgramSample>, ScaleError> {
    let empty = TimedProgram::empty()?;
    let mut subjects = Vec::new();
    for filled in nodes {
        for family in [Family::V4, Family::V6] {
            for packet in PACKETS {
                subjects.push(subject(run, filled, packet, family)?);
            }
        }
    }
    let mut samples = Vec::new();
    for round in 0..run.options.rounds {
        run.random.shuffle(&mut subjects);
        for subject in &subjects {
            run.step("programs", || format!("round {}", round + 1))?;
            let processor = run.processor;
            let found = subject
                .filled
                .node
                .netns
                .run(|| -> Result<_, ScaleError> {
                    pin(processor)?;
                    Ok([subject.same(&empty)?, subject.spread(&empty)?])
                })??;
            for (spread, [run_ps, empty_ps]) in [false, true].into_iter().zip(found) {
                samples.push(ProgramSample {
                    round,
                    size: subject.filled.size,
                    packet: subject.packet,
                    family: subject.family,
                    spread,
                    destinations: if spread {
                        subject.frames.len() as u32
                    } else {
                        1
                    },
                    run_ps,
                    empty_ps,
                });
            }
        }
    }
    Ok(samples)
}

impl Subject<'_> {
    /// The same packet again and again: everything it needs is in the processor's caches.
    fn same(&self, empty: &TimedProgram) -> Result<[u64; 2], ScaleError> {
        let frame = &self.frames[0];
        let mut figures = [Duration::ZERO; 2];
        for _ in 0..CALLS {
            figures[1] += empty.run(frame, self.ifindex, REPEAT)?.1;
            figures[0] += self.checked(frame, REPEAT)?;
        }
        Ok(figures.map(|sum| picoseconds(sum, CALLS)))
    }

    /// One run for each destination: what it looks up was not looked up just before, and its code has left the
    /// first-level cache for that of a system call.
    fn spread(&self, empty: &TimedProgram) -> Result<[u64; 2], ScaleError> {
        let mut figures = [Vec::new(), Vec::new()];
        let frames = self.frames.iter().cycle();
        for frame in frames.take(self.frames.len().max(SPREAD_CALLS)) {
            figures[1].push(empty.run(frame, self.ifindex, 1)?.1);
            figures[0].push(self.checked(frame, 1)?);
        }
        // A single run that an interrupt falls into takes a hundred times as long: the median, not the mean.
        Ok(figures.map(|mut runs| {
            runs.sort_unstable();
            picoseconds(runs[runs.len() / 2], 1)
        }))
    }

    /// Runs the program and makes sure that it did what is to be measured.
    fn checked(&self, frame: &[u8], repeat: u32) -> Result<Duration, ScaleError> {
        let (code, duration) = self.program.run(frame, self.ifindex, repeat)?;
        let expected = match self.packet {
            PacketKind::SameNode | PacketKind::Remote | PacketKind::Uplink => ReturnCode::Redirect,
            PacketKind::Spoofed => ReturnCode::Shot,
            PacketKind::NoRoute => ReturnCode::Next,
        };
        if code != expected {
            return Err(ScaleError::Lab {
                what: format!(
                    "the program answers {code:?} to a packet of kind {:?} instead of {expected:?}",
                    self.packet
                ),
            });
        }
        Ok(duration)
    }
}

fn picoseconds(sum: Duration, count: usize) -> u64 {
    u64::try_from(sum.as_nanos() * 1000 / count.max(1) as u128).unwrap_or(u64::MAX)
}

fn subject<'a>(
    run: &mut Run<'_>,
    filled: &'a Filled,
    packet: PacketKind,
    family: Family,
) -> Result<Subject<'a>, ScaleError> {
    let node = &filled.node;
    let (kind, dev) = match packet {
        PacketKind::Uplink => (ProgramKind::FromUplink, UPLINKS[0]),
        _ => (ProgramKind::FromEndpoint, "va"),
    };
    let a = node.entry(sender(family))?;
    let outside = destinations(filled, packet, family, run);
    let remote = remote(filled, family, run)?;
    let frames = outside
        .into_iter()
        .map(|other| {
            let ends = ends(packet, family, other, remote);
            frame(packet, &a, ends, run.options.udp_payload)
        })
        .collect::<Result<_, _>>()?;
    Ok(Subject {
        filled,
        packet,
        family,
        program: node.datapath.timed(kind)?,
        ifindex: node.ifindex(dev)?,
        frames,
    })
}

/// The addresses that differ from frame to frame: destinations, or the sources of spoofed packets.
fn destinations(
    filled: &Filled,
    packet: PacketKind,
    family: Family,
    run: &mut Run<'_>,
) -> Vec<IpAddr> {
    let contents = filled.contents(family);
    // A system call for each takes two microseconds or so.
    let count = run.options.destinations_max.min(4096) as usize;
    match packet {
        PacketKind::SameNode | PacketKind::Uplink => {
            pick(&contents.endpoints, count, &mut run.random)
        }
        PacketKind::Remote => pick(&contents.routes, count, &mut run.random)
            .into_iter()
            .map(|prefix| population::inside(prefix, &mut run.random))
            .collect(),
        PacketKind::Spoofed => population::direct(
            family,
            contents.endpoints.len().min(count),
            run.options.seed,
        ),
        PacketKind::NoRoute => match family {
            Family::V4 => vec![population::UNROUTED_V4.into()],
            Family::V6 => vec![population::UNROUTED_V6.into()],
        },
    }
}

/// So many of the items, all if there are fewer, in random order.
pub fn pick<T: Copy>(items: &[T], count: usize, random: &mut SplitMix64) -> Vec<T> {
    let mut picked: Vec<T> = items.to_vec();
    random.shuffle(&mut picked);
    picked.truncate(count);
    picked
}

/// An address behind another node.
fn remote(filled: &Filled, family: Family, run: &mut Run<'_>) -> Result<IpAddr, ScaleError> {
    let routes = &filled.contents(family).routes;
    let first = routes.first().ok_or_else(|| ScaleError::Lab {
        what: "it routes no prefix of other nodes".to_owned(),
    })?;
    Ok(population::inside(*first, &mut run.random))
}

/// Source and destination.
fn ends(packet: PacketKind, family: Family, other: IpAddr, remote: IpAddr) -> [IpAddr; 2] {
    match packet {
        PacketKind::SameNode | PacketKind::Remote | PacketKind::NoRoute => [sender(family), other],
        PacketKind::Spoofed => [other, receiver(family)],
        PacketKind::Uplink => [remote, other],
    }
}

fn frame(
    packet: PacketKind,
    a: &EndpointEntry,
    [source, destination]: [IpAddr; 2],
    payload: u32,
) -> Result<Vec<u8>, ScaleError> {
    // No program asks for the MACs that a frame has; the kernel only tells packets for others apart.
    let (from, to) = match packet {
        PacketKind::Uplink => (Mac([2, 0, 0x5c, 0, 0, 2]), Mac([2, 0, 0x5c, 0, 0, 1])),
        _ => (a.endpoint_mac, a.host_mac),
    };
    let builder = FrameBuilder::new(from, to)
        .ttl(255)
        .udp(40_000, 9)
        .payload(&vec![0x5a; payload as usize]);
    let builder = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => builder.ipv4(source, destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) => builder.ipv6(source, destination),
        _ => {
            return Err(ScaleError::Lab {
                what: format!("{source} and {destination} are of two families"),
            });
        }
    };
    Ok(builder.build())
}
