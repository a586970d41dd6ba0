//! What a hop costs on the wire: against the size of netpath's tables, and against the number of FORWARD rules where
//! iptables does the work. All nodes are up at once, so that every round goes through all of them in random order.

use std::{fmt::Write as _, net::IpAddr, time::Duration};

use netpath::proc_net;
use netpath_common::Outcome;
use nix::sys::socket::SockaddrStorage;

use super::{
    Run, ScaleError,
    fill::Filled,
    flow::{Flow, Sockets, pin},
    lab::{self, Node},
    population,
    programs::pick,
    results::{HopSample, RejectedHop, Size},
};
use crate::{Family, Path, Reach};

/// One line of the plot at one point.
struct Subject<'a> {
    node: &'a Node,
    path: Path,
    size: Size,
    reach: Reach,
    family: Family,
    spread: bool,
    sockets: &'a Sockets,
    targets: Vec<SockaddrStorage>,
    direct: Vec<SockaddrStorage>,
}

/// Sockets of a node, by family.
struct Pair {
    v4: Sockets,
    v6: Sockets,
}

impl Pair {
    fn open(node: &Node) -> Result<Self, ScaleError> {
        Ok(Self {
            v4: Sockets::open(node, Family::V4)?,
            v6: Sockets::open(node, Family::V6)?,
        })
    }

    fn of(&self, family: Family) -> &Sockets {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

/// Puts so many rules that match nothing before those that accept an endpoint's traffic, as `netpath demo` writes
/// them, and a masquerading rule that brings in connection tracking.
pub fn add_rules(node: &Node, rules: u32) -> Result<(), ScaleError> {
    for (program, family) in [
        ("iptables-restore", Family::V4),
        ("ip6tables-restore", Family::V6),
    ] {
        let mut text = String::from("*filter\n");
        for rule in 0..rules {
            let source = match family {
                Family::V4 => IpAddr::V4((0xc612_0000 + rule).into()),
                Family::V6 => IpAddr::V6(((0xfd61_u128 << 112) + u128::from(rule)).into()),
            };
            let _infallible = writeln!(text, "-A FORWARD -s {source} -j DROP");
        }
        for dev in ["va", "vb"] {
            let _infallible = writeln!(
                text,
                "-A FORWARD -i {dev} -j ACCEPT\n-A FORWARD -o {dev} -j ACCEPT"
            );
        }
        text += "COMMIT\n*nat\n-A POSTROUTING -o up0 -j MASQUERADE\nCOMMIT\n";
        lab::feed(&node.netns, program, &["-w", "-n"], &text)?;
    }
    Ok(())
}

/// Measures all nodes in each round.
pub fn measure(
    run: &mut Run<'_>,
    filled: &[Filled],
    ruled: &[(Node, Path)],
) -> Result<(Vec<HopSample>, Vec<RejectedHop>), ScaleError> {
    let of_filled: Vec<Pair> = filled
        .iter()
        .map(|filled| Pair::open(&filled.node))
        .collect::<Result<_, _>>()?;
    let of_ruled: Vec<Pair> = ruled
        .iter()
        .map(|(node, _)| Pair::open(node))
        .collect::<Result<_, _>>()?;
    let mut subjects = Vec::new();
    for family in [Family::V4, Family::V6] {
        for (filled, pair) in filled.iter().zip(&of_filled) {
            for reach in [Reach::SameNode, Reach::TwoNodes] {
                subjects.extend(of_tables(run, filled, reach, family, pair.of(family)));
            }
        }
        for ((node, path), pair) in ruled.iter().zip(&of_ruled) {
            subjects.push(Subject {
                node,
                path: *path,
                size: Size::default(),
                reach: Reach::SameNode,
                family,
                spread: false,
                sockets: pair.of(family),
                targets: pair.of(family).targets(&[lab::receiver(family)]),
                direct: pair
                    .of(family)
                    .targets(&population::direct(family, 1, run.options.seed)),
            });
        }
    }
    let (mut samples, mut rejected) = (Vec::new(), Vec::new());
    for round in 0..run.options.rounds {
        run.random.shuffle(&mut subjects);
        for subject in &subjects {
            run.step("hops", || format!("round {}", round + 1))?;
            match subject.measure(run, round)? {
                Ok(sample) => samples.push(sample),
                Err(reason) => rejected.push(RejectedHop {
                    round,
                    path: subject.path,
                    size: subject.size,
                    reach: subject.reach,
                    family: subject.family,
                    reason,
                }),
            }
        }
    }
    Ok((samples, rejected))
}

/// One flow, and a flow to each of many destinations.
fn of_tables<'a>(
    run: &mut Run<'_>,
    filled: &'a Filled,
    reach: Reach,
    family: Family,
    sockets: &'a Sockets,
) -> Vec<Subject<'a>> {
    let contents = filled.contents(family);
    let most = run.options.destinations_max as usize;
    let all: Vec<IpAddr> = match reach {
        Reach::SameNode => pick(&contents.endpoints, most, &mut run.random),
        Reach::TwoNodes => pick(&contents.routes, most, &mut run.random)
            .into_iter()
            .map(|prefix| population::inside(prefix, &mut run.random))
            .collect(),
    };
    let direct = population::direct(family, all.len(), run.options.seed);
    [(false, 1), (true, all.len())]
        .into_iter()
        .map(|(spread, count)| Subject {
            spread,
            node: &filled.node,
            path: Path::Netpath,
            size: filled.size,
            reach,
            family,
            sockets,
            targets: sockets.targets(&all[..count]),
            direct: sockets.targets(&direct[..count]),
        })
        .collect()
}

/// What a node has forwarded: by netpath's redirects, and by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Forwarded {
    redirected: u64,
    kernel: u64,
}

impl Subject<'_> {
    /// This path and the direct one in turn; or why the sample is of no use.
    fn measure(&self, run: &Run<'_>, round: u32) -> Result<Result<HopSample, String>, ScaleError> {
        let ([hop, direct], found) = self.flows(run)?;
        let expected = match self.path {
            Path::Netpath => Forwarded {
                redirected: hop.sent,
                kernel: 0,
            },
            _ => Forwarded {
                redirected: 0,
                kernel: hop.sent,
            },
        };
        if found != expected {
            return Ok(Err(format!(
                "{} packets sent, {} redirected and {} forwarded by the kernel; should be {} and {}",
                hop.sent, found.redirected, found.kernel, expected.redirected, expected.kernel
            )));
        }
        let (Some(batch_ns), Some(direct_batch_ns)) = (hop.batch_ns(), direct.batch_ns()) else {
            return Ok(Err(format!(
                "{} of {} packets arrived, {} of {} directly",
                hop.received, hop.sent, direct.received, direct.sent
            )));
        };
        Ok(Ok(HopSample {
            round,
            path: self.path,
            size: self.size,
            reach: self.reach,
            family: self.family,
            spread: self.spread,
            destinations: self.targets.len() as u32,
            ns: hop.ns(),
            direct_ns: direct.ns(),
            batch_ns,
            direct_batch_ns,
            sent: hop.sent,
            received: hop.received,
            direct_sent: direct.sent,
            direct_received: direct.received,
        }))
    }

    /// A warm-up of a fifth, and the flows, this path's and the direct one, with what the node forwarded meanwhile.
    fn flows(&self, run: &Run<'_>) -> Result<([Flow; 2], Forwarded), ScaleError> {
        let duration = Duration::from_millis(run.options.cell_ms.into());
        let payload = run.options.udp_payload as usize;
        let processor = run.processor;
        let targets = [&self.targets[..], &self.direct[..]];
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    pin(processor)?;
                    self.sockets.run(targets, payload, duration / 5)?;
                    let before = forwarded(self.node, self.family)?;
                    let flows = self.sockets.run(targets, payload, duration)?;
                    let after = forwarded(self.node, self.family)?;
                    let meanwhile = Forwarded {
                        redirected: after.redirected - before.redirected,
                        kernel: after.kernel - before.kernel,
                    };
                    Ok((flows, meanwhile))
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

fn forwarded(node: &Node, family: Family) -> Result<Forwarded, ScaleError> {
    let redirect = [Outcome::RedirectPeer, Outcome::RedirectNeigh].map(|outcome| outcome.number());
    let hops = node.datapath.maps.hops()?;
    let redirected = hops
        .iter()
        .filter(|(hop, _)| redirect.contains(&hop.outcome))
        .map(|(_, counter)| counter.packets)
        .sum();
    let kernel = proc_net::forwarded(&node.netns, family)?;
    Ok(Forwarded { redirected, kernel })
}
