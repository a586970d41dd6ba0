//! Ways between the endpoints besides netpath's nodes as they are: what a user would pick instead. They are made once for a
//! run, and stay beside the others: each has addresses, interfaces and routes of its own.
//!
//! All that they consist of is in the lab's namespaces, and in one without a name that ends with the process.

mod plan;

use std::net::IpAddr;

use netpath::{
    command::{self, CommandError},
    netlink::Netlink,
    netns::Netns,
};
use netpath_common::Family;

use self::plan::{Addresses, Place, Plan, plan};
use super::{
    error::BenchError,
    passage::received,
    results::{Path, Reach},
};

/// The namespaces that ways are made in.
#[derive(Clone, Copy)]
pub(super) struct Namespaces<'a> {
    pub sender: &'a Netns,
    /// By [`Reach`].
    pub receivers: &'a [Netns; 2],
    /// In the order that traffic passes them.
    pub nodes: [&'a Netns; 2],
}

/// A way that is there.
#[derive(Debug)]
struct Way {
    path: Path,
    reach: Reach,
    counted: Vec<(Place, &'static str)>,
    addresses: Addresses,
}

/// The ways that a lab has.
#[derive(Debug)]
pub(super) struct Beside {
    aside: Netns,
    ways: Vec<Way>,
    /// Those that it should have, with why it has not.
    missing: Vec<(Path, String)>,
}

impl Beside {
    /// None yet.
    pub fn new() -> Result<Self, BenchError> {
        Ok(Self {
            aside: Netns::unnamed()?,
            ways: Vec::new(),
            missing: Vec::new(),
        })
    }

    /// Makes the way of a path, if it is one of these. Where the machine lacks what it takes, that is noted.
    pub fn make(&mut self, path: Path, namespaces: Namespaces<'_>) -> Result<(), BenchError> {
        let receiver = |reach| namespaces.receiver(reach).name();
        let names = [namespaces.sender.name(), receiver(Reach::SameNode)];
        let Some(plan) = plan(path, names) else {
            return Ok(());
        };
        match self.carry_out(&plan, namespaces) {
            Ok(()) => self.ways.push(Way {
                path,
                reach: plan.reach,
                counted: plan.counted,
                addresses: plan.addresses,
            }),
            Err(BenchError::Command(error)) => self.missing.push((path, reason(&error))),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn carry_out(&self, plan: &Plan, namespaces: Namespaces<'_>) -> Result<(), BenchError> {
        let at = |place| self.at(place, plan.reach, namespaces);
        for step in &plan.steps {
            let run = || command::run(step.program, &["-batch", "-"], &step.lines);
            at(step.at).run(run)??;
        }
        for (place, dev) in &plan.awaited {
            at(*place).enter(|inside| Netlink::open(inside)?.await_operational(dev))??;
        }
        Ok(())
    }

    fn at<'a>(&'a self, place: Place, reach: Reach, namespaces: Namespaces<'a>) -> &'a Netns {
        let [first, second] = namespaces.nodes;
        match place {
            Place::Sender => namespaces.sender,
            Place::Receiver => namespaces.receiver(reach),
            Place::First => first,
            Place::Second => second,
            Place::Aside => &self.aside,
        }
    }

    /// Why the machine does not have a path's way; `None` where it has, or the path needs none.
    pub fn missing(&self, path: Path) -> Option<&str> {
        let found = self.missing.iter().find(|(missing, _)| *missing == path)?;
        Some(&found.1)
    }

    /// The sender's and the receiver's address on the way of a path.
    pub fn addresses(&self, path: Path, family: Family) -> Option<[IpAddr; 2]> {
        let way = self.ways.iter().find(|way| way.path == path)?;
        let [src, dst] = way.addresses.of(family);
        Some([src, dst].map(|text| text.parse().expect("a test parses it")))
    }

    /// Packets that each way has received, of those that join endpoints placed so.
    pub fn received(
        &self,
        reach: Reach,
        namespaces: Namespaces<'_>,
    ) -> Result<Vec<(Path, u64)>, BenchError> {
        let ways = self.ways.iter().filter(|way| way.reach == reach);
        ways.map(|way| {
            let mut sum = 0;
            for (place, dev) in &way.counted {
                sum += received(self.at(*place, reach, namespaces), &[*dev])?;
            }
            Ok((way.path, sum))
        })
        .collect()
    }
}

impl<'a> Namespaces<'a> {
    fn receiver(self, reach: Reach) -> &'a Netns {
        &self.receivers[reach.index()]
    }
}

/// On one line: `nft` and `ip` show the place of a mistake on further ones.
pub(super) fn reason(error: &CommandError) -> String {
    match error {
        CommandError::Start { command, source } => format!("{command}: {source}"),
        error @ (CommandError::Hung { .. } | CommandError::Interrupted { .. }) => error.to_string(),
        CommandError::Failed { command, message } => {
            format!("{command}: {}", message.lines().next().unwrap_or_default())
        }
    }
}
