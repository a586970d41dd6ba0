//! The per-hop counters: read, named, compared, and held against the law that every packet that enters an
//! interface is counted exactly once, as redirected, punted or dropped.

use std::collections::BTreeMap;

use netpath_common::{
    DropReason, HopCounter, HopKey, Ifindex, InterfaceEntry, Outcome, PuntReason, text,
};
use serde::{Serialize, Serializer};

use crate::{
    datapath::{self, Datapath, DatapathError},
    netns::Netns,
};

/// Stands for the ingress of what the node itself sent.
pub const LOCAL: &str = "local";

/// Stands for the ingress of what found no room in the per-hop counters, and is counted by outcome and
/// reason only.
pub const OVERFLOW: &str = "(overflow)";

/// A failure to read counters.
#[derive(Debug, thiserror::Error)]
pub enum CountersError {
    /// The node is not up.
    #[error("no node {node} is up: `netpath show` lists what is")]
    NotUp {
        /// Its name.
        node: String,
    },
    /// A row has an outcome that this version does not know.
    #[error("node {node} counts an outcome {number}: read it with the netpath that brought it up")]
    UnknownOutcome {
        /// The node.
        node: String,
        /// The outcome's number.
        number: u8,
    },
    /// The maps could not be read.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

/// Why a packet was punted or dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Left to the kernel.
    Punt(PuntReason),
    /// Dropped.
    Drop(DropReason),
    /// One that a newer netpath counts.
    Unknown(u16),
}

impl Reason {
    fn of(outcome: Outcome, number: u16) -> Option<Self> {
        let known = match outcome {
            _ if number == 0 => return None,
            Outcome::Punt => PuntReason::from_number(number).map(Self::Punt),
            Outcome::Drop => DropReason::from_number(number).map(Self::Drop),
            Outcome::RedirectPeer | Outcome::RedirectNeigh | Outcome::Deliver => None,
        };
        Some(known.unwrap_or(Self::Unknown(number)))
    }
}

/// Its stable snake_case name; `reason_<number>` where there is none.
impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Punt(reason) => f.pad(reason.name()),
            Self::Drop(reason) => f.pad(reason.name()),
            Self::Unknown(number) => write!(f, "reason_{number}"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One hop with its counters, as `netpath stats` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HopRow {
    /// The node.
    pub node: String,
    /// The interface it came in by; [`LOCAL`] for what the node itself sent; `if<index>` where the
    /// interface is gone; [`OVERFLOW`] where it is not known.
    pub ingress: String,
    /// The interface it left by; `None` where netpath chose none (punts, drops).
    pub egress: Option<String>,
    /// The endpoint that sent it, or, where it came from elsewhere, the one that it went to.
    pub endpoint: Option<String>,
    /// What became of it.
    #[serde(serialize_with = "outcome_name")]
    pub outcome: Outcome,
    /// Why, for punts and drops.
    pub reason: Option<Reason>,
    /// Packets as the hook sees them: a GSO packet counts once.
    pub packets: u64,
    /// Sum of `skb->len`, in bytes.
    pub bytes: u64,
}

impl HopRow {
    /// Whether the row counts what found no room in the per-hop counters.
    pub fn is_overflow(&self) -> bool {
        self.ingress == OVERFLOW
    }

    fn identity(&self) -> Identity<'_> {
        (
            &self.node,
            &self.ingress,
            self.egress.as_deref(),
            self.endpoint.as_deref(),
            self.outcome,
            self.reason,
        )
    }
}

/// What tells one row from another, and their order.
type Identity<'a> = (
    &'a str,
    &'a str,
    Option<&'a str>,
    Option<&'a str>,
    Outcome,
    Option<Reason>,
);

fn outcome_name<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.name())
}

/// Reads one node's counters, in a fixed order.
///
/// # Errors
/// When the node is not up, or its maps cannot be read.
pub fn read(node: &str) -> Result<Vec<HopRow>, CountersError> {
    let datapath = Datapath::open(node)?.ok_or_else(|| CountersError::NotUp {
        node: node.to_owned(),
    })?;
    let interfaces = datapath.maps.interfaces()?;
    let hops = datapath.maps.hops()?;
    let overflow = datapath.maps.hop_overflow()?;
    let mut names = Names::new(&interfaces);
    names.ask_kernel(&datapath, hops.keys())?;
    rows(node, &names, &hops, &overflow)
}

/// Reads the counters of every node that is up, or of one, in a fixed order.
///
/// # Errors
/// When the one node is not up, or maps cannot be read.
pub fn read_all(only: Option<&str>) -> Result<Vec<HopRow>, CountersError> {
    if let Some(node) = only {
        return read(node);
    }
    let mut all = Vec::new();
    for node in datapath::nodes()? {
        match read(&node) {
            Ok(rows) => all.extend(rows),
            // Taken down since it was listed.
            Err(CountersError::NotUp { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// What was counted between two reads: rows that moved. A row that counts less than before was forgotten
/// with its interface meanwhile and began again, so all that it holds is new.
#[must_use]
pub fn difference(before: &[HopRow], after: &[HopRow]) -> Vec<HopRow> {
    let mut counted: BTreeMap<Identity<'_>, HopCounter> = BTreeMap::new();
    for row in before {
        *counted.entry(row.identity()).or_default() += counter(row);
    }
    let mut now: BTreeMap<Identity<'_>, (&HopRow, HopCounter)> = BTreeMap::new();
    for row in after {
        now.entry(row.identity())
            .or_insert((row, HopCounter::default()))
            .1 += counter(row);
    }
    now.into_iter()
        .filter_map(|(identity, (row, after))| {
            let before = counted.get(&identity).copied().unwrap_or_default();
            let moved = match after.packets.checked_sub(before.packets) {
                Some(packets) => HopCounter {
                    packets,
                    bytes: after.bytes.saturating_sub(before.bytes),
                },
                None => after,
            };
            (moved.packets != 0).then(|| HopRow {
                packets: moved.packets,
                bytes: moved.bytes,
                ..row.clone()
            })
        })
        .collect()
}

/// What came in by one interface, in packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceTotals {
    /// The node.
    pub node: String,
    /// The interface.
    pub interface: String,
    /// Everything that was counted there.
    pub packets_in: u64,
    /// Redirected to a peer or a neighbour.
    pub redirected: u64,
    /// Left to the kernel.
    pub punted: u64,
    /// Dropped.
    pub dropped: u64,
}

/// An interface whose counters do not add up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} on {}: {} packets came in, and {} are counted ({} redirected, {} punted, {} dropped)",
    .totals.interface, .totals.node, .expected, .totals.packets_in, .totals.redirected, .totals.punted,
    .totals.dropped
)]
pub struct LawBroken {
    /// What was counted.
    pub totals: InterfaceTotals,
    /// How many came in, as somebody else counted them.
    pub expected: u64,
}

impl InterfaceTotals {
    /// Holds the counters against a count of somebody else: the kernel's, or the sender's.
    ///
    /// # Errors
    /// When they differ.
    pub fn check(&self, expected: u64) -> Result<(), LawBroken> {
        if self.packets_in == expected
            && self.redirected + self.punted + self.dropped == self.packets_in
        {
            return Ok(());
        }
        Err(LawBroken {
            totals: self.clone(),
            expected,
        })
    }
}

/// Sums rows by ingress interface. What the kernel delivered is left out: it came in by another interface,
/// where it was counted as punted, or from the node itself.
#[must_use]
pub fn totals(rows: &[HopRow]) -> Vec<InterfaceTotals> {
    let mut totals: BTreeMap<(&str, &str), InterfaceTotals> = BTreeMap::new();
    for row in rows {
        if row.outcome == Outcome::Deliver {
            continue;
        }
        let sum = totals
            .entry((&row.node, &row.ingress))
            .or_insert_with(|| InterfaceTotals {
                node: row.node.clone(),
                interface: row.ingress.clone(),
                packets_in: 0,
                redirected: 0,
                punted: 0,
                dropped: 0,
            });
        sum.packets_in += row.packets;
        match row.outcome {
            Outcome::RedirectPeer | Outcome::RedirectNeigh => sum.redirected += row.packets,
            Outcome::Punt => sum.punted += row.packets,
            Outcome::Drop => sum.dropped += row.packets,
            Outcome::Deliver => {}
        }
    }
    totals.into_values().collect()
}

fn counter(row: &HopRow) -> HopCounter {
    HopCounter {
        packets: row.packets,
        bytes: row.bytes,
    }
}

/// Names of a node's interfaces.
struct Names<'a> {
    netpath: &'a BTreeMap<Ifindex, InterfaceEntry>,
    /// Those that netpath's programs are not attached to.
    other: BTreeMap<Ifindex, String>,
}

impl<'a> Names<'a> {
    fn new(netpath: &'a BTreeMap<Ifindex, InterfaceEntry>) -> Self {
        Self {
            netpath,
            other: BTreeMap::new(),
        }
    }

    /// The kernel delivers packets from any interface, and its routes lead to any.
    fn ask_kernel<'k>(
        &mut self,
        datapath: &Datapath,
        hops: impl Iterator<Item = &'k HopKey>,
    ) -> Result<(), DatapathError> {
        let unknown: Vec<Ifindex> = hops
            .flat_map(|key| [key.ingress, key.egress])
            .filter(|index| index.0 != 0 && !self.netpath.contains_key(index))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let meta = datapath.maps.meta()?;
        let netns = if meta.netns_made == 0 {
            Netns::current()
        } else {
            Netns::named(datapath.name())
        };
        // Another namespace of that name has other interfaces; without one, an index has to do.
        let Ok(netns) = netns else { return Ok(()) };
        if netns.cookie().ok() != Some(meta.netns_cookie) {
            return Ok(());
        }
        let names = netns.run(|| {
            unknown
                .into_iter()
                .filter_map(|index| {
                    let name = nix::net::if_::if_indextoname(index.0).ok()?;
                    Some((index, name.into_string().ok()?))
                })
                .collect()
        });
        self.other = names.unwrap_or_default();
        Ok(())
    }

    fn interface(&self, index: Ifindex) -> String {
        self.netpath
            .get(&index)
            .and_then(|entry| text(&entry.name))
            .filter(|name| !name.is_empty())
            .or_else(|| self.other.get(&index).map(String::as_str))
            .map_or_else(|| format!("if{}", index.0), str::to_owned)
    }

    fn endpoint(&self, index: Ifindex) -> Option<String> {
        let name = text(&self.netpath.get(&index)?.endpoint)?;
        (!name.is_empty()).then(|| name.to_owned())
    }

    fn hop(&self, key: &HopKey, outcome: Outcome) -> Hop {
        let is_local = key.ingress == Ifindex(0);
        let (sender, receiver) = (self.endpoint(key.ingress), self.endpoint(key.egress));
        Hop {
            ingress: if is_local {
                LOCAL.to_owned()
            } else {
                self.interface(key.ingress)
            },
            egress: (key.egress != Ifindex(0)).then(|| self.interface(key.egress)),
            endpoint: match outcome {
                Outcome::Deliver => receiver,
                Outcome::RedirectPeer | Outcome::RedirectNeigh | Outcome::Punt | Outcome::Drop => {
                    sender.or(receiver)
                }
            },
        }
    }
}

/// The named parts of a row.
struct Hop {
    ingress: String,
    egress: Option<String>,
    endpoint: Option<String>,
}

fn rows(
    node: &str,
    names: &Names<'_>,
    hops: &BTreeMap<HopKey, HopCounter>,
    overflow: &BTreeMap<HopKey, HopCounter>,
) -> Result<Vec<HopRow>, CountersError> {
    let row = |key: &HopKey, counter: &HopCounter, is_overflow: bool| {
        let outcome =
            Outcome::from_number(key.outcome).ok_or_else(|| CountersError::UnknownOutcome {
                node: node.to_owned(),
                number: key.outcome,
            })?;
        let hop = if is_overflow {
            Hop {
                ingress: OVERFLOW.to_owned(),
                egress: None,
                endpoint: None,
            }
        } else {
            names.hop(key, outcome)
        };
        Ok(HopRow {
            node: node.to_owned(),
            ingress: hop.ingress,
            egress: hop.egress,
            endpoint: hop.endpoint,
            outcome,
            reason: Reason::of(outcome, key.reason),
            packets: counter.packets,
            bytes: counter.bytes,
        })
    };
    let hops = hops.iter().map(|(key, counter)| row(key, counter, false));
    let overflow = overflow
        .iter()
        .map(|(key, counter)| row(key, counter, true));
    let mut rows = hops
        .chain(overflow)
        .collect::<Result<Vec<_>, CountersError>>()?;
    rows.sort_by(|a, b| a.identity().cmp(&b.identity()));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use netpath_common::{EndpointId, InterfaceKind, InterfaceState, Verdict, fixed};

    use super::*;

    const VETH1: Ifindex = Ifindex(3);
    const VETH2: Ifindex = Ifindex(4);
    const UPLINK: Ifindex = Ifindex(2);
    const GONE: Ifindex = Ifindex(9);

    fn interfaces() -> BTreeMap<Ifindex, InterfaceEntry> {
        let entry = |kind: InterfaceKind, id, name: &str, endpoint: &str| InterfaceEntry {
            kind: kind as u32,
            state: InterfaceState::Ready as u32,
            endpoint_id: EndpointId(id),
            rp_filter: 0,
            name: fixed(name).expect("fits"),
            endpoint: fixed(endpoint).expect("fits"),
        };
        BTreeMap::from([
            (UPLINK, entry(InterfaceKind::Uplink, 0, "enp2s0", "")),
            (
                VETH1,
                entry(InterfaceKind::Endpoint, 1, "np-demo01", "demo01"),
            ),
            (
                VETH2,
                entry(InterfaceKind::Endpoint, 2, "np-demo02", "demo02"),
            ),
        ])
    }

    fn named(keys: &[HopKey], overflow: &[HopKey]) -> Vec<HopRow> {
        let count = |keys: &[HopKey]| {
            keys.iter()
                .map(|&key| {
                    let counter = HopCounter {
                        packets: 2,
                        bytes: 196,
                    };
                    (key, counter)
                })
                .collect()
        };
        let interfaces = interfaces();
        let names = Names::new(&interfaces);
        rows("node03", &names, &count(keys), &count(overflow)).expect("known outcomes")
    }

    fn one(ingress: Ifindex, egress: Ifindex, verdict: Verdict) -> (String, String, String) {
        let rows = named(&[HopKey::new(ingress, egress, verdict)], &[]);
        let [row] = rows.try_into().expect("one row");
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        (row.ingress, or_dash(row.egress), or_dash(row.endpoint))
    }

    fn expect(ingress: &str, egress: &str, endpoint: &str) -> (String, String, String) {
        (ingress.into(), egress.into(), endpoint.into())
    }

    #[test]
    fn a_row_names_the_endpoint_that_the_packet_belongs_to() {
        let punt = Verdict::Punt(PuntReason::Arp);
        assert_eq!(
            one(VETH1, VETH2, Verdict::RedirectPeer),
            expect("np-demo01", "np-demo02", "demo01")
        );
        assert_eq!(
            one(VETH1, UPLINK, Verdict::RedirectNeigh),
            expect("np-demo01", "enp2s0", "demo01")
        );
        assert_eq!(
            one(VETH1, Ifindex(0), punt),
            expect("np-demo01", "-", "demo01")
        );
        assert_eq!(
            one(UPLINK, VETH2, Verdict::RedirectPeer),
            expect("enp2s0", "np-demo02", "demo02")
        );
        assert_eq!(one(UPLINK, Ifindex(0), punt), expect("enp2s0", "-", "-"));
        assert_eq!(
            one(VETH1, VETH2, Verdict::Deliver),
            expect("np-demo01", "np-demo02", "demo02")
        );
        assert_eq!(
            one(Ifindex(0), VETH2, Verdict::Deliver),
            expect("local", "np-demo02", "demo02")
        );
        assert_eq!(
            one(GONE, VETH2, Verdict::Deliver),
            expect("if9", "np-demo02", "demo02")
        );
        assert_eq!(one(GONE, Ifindex(0), punt), expect("if9", "-", "-"));
    }

    #[test]
    fn rows_serialize_as_the_contract_says() {
        let keys = [
            HopKey::new(VETH1, VETH2, Verdict::RedirectPeer),
            HopKey::new(VETH1, Ifindex(0), Verdict::Drop(DropReason::Spoofed)),
        ];
        let json = serde_json::to_string(&named(&keys, &[])).expect("serializes");
        assert_eq!(
            json,
            r#"[{"node":"node03","ingress":"np-demo01","egress":null,"endpoint":"demo01","outcome":"drop","reason":"spoofed","packets":2,"bytes":196},"#
                .to_owned()
                + r#"{"node":"node03","ingress":"np-demo01","egress":"np-demo02","endpoint":"demo01","outcome":"redirect_peer","reason":null,"packets":2,"bytes":196}]"#
        );
    }

    #[test]
    fn overflow_is_told_apart() {
        let key = HopKey::new(Ifindex(0), Ifindex(0), Verdict::Punt(PuntReason::NoRoute));
        let rows = named(&[HopKey::new(VETH1, VETH2, Verdict::RedirectPeer)], &[key]);
        let overflow: Vec<_> = rows.iter().filter(|row| row.is_overflow()).collect();
        assert_eq!(overflow.len(), 1);
        assert_eq!(overflow[0].reason, Some(Reason::Punt(PuntReason::NoRoute)));
        assert_eq!(overflow[0].ingress, "(overflow)");
    }

    #[test]
    fn numbers_of_a_newer_version() {
        assert_eq!(
            Reason::of(Outcome::Punt, 199),
            Some(Reason::Unknown(199)),
            "a new reason is shown by its number"
        );
        assert_eq!(Reason::Unknown(199).to_string(), "reason_199");
        let key = HopKey {
            outcome: 77,
            ..HopKey::default()
        };
        let hops = BTreeMap::from([(key, HopCounter::default())]);
        let interfaces = interfaces();
        let error = rows("n", &Names::new(&interfaces), &hops, &BTreeMap::new());
        assert!(matches!(
            error,
            Err(CountersError::UnknownOutcome { number: 77, .. })
        ));
    }

    #[test]
    fn a_difference_has_exactly_what_moved() {
        let keys = [
            HopKey::new(VETH1, VETH2, Verdict::RedirectPeer),
            HopKey::new(VETH2, VETH1, Verdict::RedirectPeer),
        ];
        let before = named(&keys[..1], &[]);
        let mut after = named(&keys, &[]);
        assert_eq!(difference(&after, &after), []);

        let moved = difference(&before, &after);
        assert_eq!(moved.len(), 1);
        assert_eq!(moved[0].ingress, "np-demo02");
        assert_eq!((moved[0].packets, moved[0].bytes), (2, 196));

        after[0].packets = 5;
        after[0].bytes = 500;
        let moved = difference(&before, &after);
        assert_eq!((moved[0].packets, moved[0].bytes), (3, 304));

        after[0].packets = 1;
        after[0].bytes = 98;
        let moved = difference(&before, &after);
        assert_eq!((moved[0].packets, moved[0].bytes), (1, 98), "began again");
        assert_eq!(difference(&after, &[]), [], "forgotten");
    }

    #[test]
    fn totals_follow_the_law_and_leave_out_deliveries() {
        let rows = named(
            &[
                HopKey::new(VETH1, VETH2, Verdict::RedirectPeer),
                HopKey::new(VETH1, UPLINK, Verdict::RedirectNeigh),
                HopKey::new(VETH1, Ifindex(0), Verdict::Punt(PuntReason::Arp)),
                HopKey::new(VETH1, Ifindex(0), Verdict::Drop(DropReason::Spoofed)),
                HopKey::new(VETH1, VETH2, Verdict::Deliver),
                HopKey::new(Ifindex(0), VETH2, Verdict::Deliver),
            ],
            &[],
        );
        let totals = totals(&rows);
        assert_eq!(
            totals,
            [InterfaceTotals {
                node: "node03".to_owned(),
                interface: "np-demo01".to_owned(),
                packets_in: 8,
                redirected: 4,
                punted: 2,
                dropped: 2,
            }]
        );
        assert_eq!(totals[0].check(8), Ok(()));
        let error = totals[0].check(9).expect_err("one is missing");
        assert_eq!(
            error.to_string(),
            "np-demo01 on node03: 9 packets came in, and 8 are counted (4 redirected, 2 punted, 2 dropped)"
        );
    }
}
