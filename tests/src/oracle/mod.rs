//! An oracle: what DESIGN.md (section 3) and the reasons' documentation say of a packet, written a second time, for
//! the host, as plainly as possible; and random tables and packets on which the programs have to agree with it.
//!
//! Nothing here is taken from `netpath-ebpf`: tables are vectors, the longest prefix is found by looking at
//! all of them, and the kernel's own routes are known because they were made here.

mod decide;
mod generate;
mod packet;
mod prefix;
mod router;
mod table;

use netpath_common::HopKey;

pub use decide::{Choice, decide};
pub use packet::Packet;
pub use table::{Hop, Interface, Tables};

use crate::fuzz::{KernelLog, Ledger, Rng, Row};
use router::Router;

/// Packets on the same tables.
const ROUND: u64 = 1000;
/// Packets between two looks at the counters.
const BATCH: u64 = 250;

/// Runs so many packets, each on a random table, and panics where a program's choice is not the oracle's.
pub fn compare(seed: u64, packets: u64) {
    println!("oracle: seed {seed:#x}, {packets} packets");
    let mut log = KernelLog::from_now_on();
    let mut router = Router::new();
    let mut seen = Seen::default();
    for round in 0..packets.div_ceil(ROUND) {
        let tables = table::generate(&mut Rng::new(seed, round), router.interfaces());
        router.install(&tables);
        let comparison = Comparison {
            router: &router,
            tables: &tables,
            seed,
            round,
        };
        comparison.run(ROUND.min(packets - round * ROUND), &mut seen);
    }
    let complaints = log.complaints();
    assert!(
        complaints.is_empty(),
        "the kernel complained: {complaints:#?}"
    );
    seen.report();
}

/// How often each choice was made.
#[derive(Debug, Default)]
struct Seen(std::collections::BTreeMap<String, u64>);

impl Seen {
    fn report(&self) {
        println!("oracle: {:#?}", self.0);
        // A generator that no longer reaches a choice no longer tests it.
        let choices = self.0.len();
        assert!(
            choices >= 45,
            "only {choices} different choices: {:#?}",
            self.0
        );
    }
}

struct Comparison<'a> {
    router: &'a Router,
    tables: &'a Tables,
    seed: u64,
    round: u64,
}

impl Comparison<'_> {
    fn run(&self, packets: u64, seen: &mut Seen) {
        let work = || {
            let mut ledger = Ledger::open(&self.router.datapath().maps);
            for from in (0..packets).step_by(BATCH as usize) {
                let batch = from..packets.min(from + BATCH);
                for number in batch.clone() {
                    self.once(number, &mut ledger, Some(seen));
                }
                if ledger.settle().is_err() {
                    self.name_the_one(batch, &mut ledger);
                }
            }
        };
        let node = self.router.netns();
        node.run(work).unwrap_or_else(|error| panic!("{error}"));
    }

    /// The packet with this number of the round.
    fn packet(&self, number: u64) -> Packet {
        let mut rng = Rng::new(self.seed ^ 0x7061_636b, self.round * ROUND + number);
        generate::packet(&mut rng, self.tables)
    }

    fn once(&self, number: u64, ledger: &mut Ledger<'_>, seen: Option<&mut Seen>) {
        let packet = self.packet(number);
        let choice = decide(self.tables, &packet);
        let answer = self.router.run(&packet);
        assert!(
            answer == choice.code(),
            "the program answers {answer:?}, the oracle says {choice:?}\n{}",
            self.describe(&packet, number)
        );
        for _ in 0..Router::TIMES {
            ledger.expect(Row::Exact(self.row(&packet, choice)), packet.frame.len());
        }
        if let Some(Seen(counts)) = seen {
            let name = format!("{:?} {:?}", packet.program, choice.verdict);
            *counts.entry(name).or_default() += 1;
        }
    }

    fn row(&self, packet: &Packet, choice: Choice) -> HopKey {
        HopKey::new(packet.ingress, choice.egress, choice.verdict)
    }

    /// Runs a batch once more, packet by packet, and tells of the first on which there is no agreement.
    fn name_the_one(&self, batch: std::ops::Range<u64>, ledger: &mut Ledger<'_>) {
        for number in batch {
            self.once(number, ledger, None);
            if let Err(violation) = ledger.settle() {
                let packet = self.packet(number);
                panic!("{violation:?}\n{}", self.describe(&packet, number));
            }
        }
        panic!(
            "round {}: each packet is counted well, all together are not",
            self.round
        );
    }

    fn describe(&self, packet: &Packet, number: u64) -> String {
        format!(
            "  seed {:#x}, round {}, packet {number}; again: NETPATH_FUZZ_SEED={:#x} cargo test -p netpath-tests \
             --test packets -- --ignored generated_tables_as_told\n{packet}\n{}",
            self.seed, self.round, self.seed, self.tables
        )
    }
}
