//! All of a namespace's nf_tables: rules with all that they say, and the elements of the sets that they look into.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    operation::{self, Operation, Value},
    read::{self, ATTEMPTS, NFGENMSG, request, undecoded},
    ruleset::{Base, ChainId, TableFamily},
    set::{self, Element, Set},
};
use netpath_common::Family;

use crate::{
    netfilter::NetfilterError,
    netlink::{
        attribute::{Attributes, attribute},
        raw::{Protocol, Raw, RawNetlink},
    },
    netns::Inside,
};

const NEWSET: u16 = read::SUBSYSTEM | 9;
const GETSET: u16 = read::SUBSYSTEM | 10;

/// A rule with all that it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeRule {
    /// Its number in its table, as `nft -a` shows it.
    pub handle: u64,
    /// Each is carried out if all before it were true.
    pub operations: Vec<Operation>,
    /// Its text, where it was read from one.
    pub text: Option<String>,
}

/// A chain of such rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeChain {
    /// Of a base chain.
    pub base: Option<Base>,
    /// Its rules, in their order.
    pub rules: Vec<WholeRule>,
}

/// What a namespace's nf_tables hold, without tables that are switched off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// By name.
    pub chains: BTreeMap<ChainId, WholeChain>,
    /// The sets and maps that rules look into. The name of one stands where a chain's would.
    pub sets: BTreeMap<ChainId, Set>,
}

/// Whether an expression needs connection tracking (`nf_ct_netns_get`).
fn tracks(operation: &Operation) -> bool {
    match operation {
        Operation::Load { value, .. } | Operation::Store { to: value, .. } => {
            matches!(value, Value::Connection { .. })
        }
        Operation::Nat { .. }
        | Operation::Masquerade { .. }
        | Operation::Redirect { .. }
        | Operation::Notrack
        | Operation::Other(_)
        | Operation::Take(_) => true,
        Operation::Condition(name) => name.starts_with("conn"),
        Operation::Match { name, .. } => {
            name.starts_with("conn")
                || matches!(name.as_str(), "state" | "helper" | "cluster" | "socket")
        }
        Operation::Target { name, .. } => matches!(
            name.as_str(),
            "CT" | "NOTRACK"
                | "CONNMARK"
                | "CONNSECMARK"
                | "SNAT"
                | "DNAT"
                | "MASQUERADE"
                | "REDIRECT"
                | "NETMAP"
                | "SYNPROXY"
                | "TPROXY"
        ),
        _ => false,
    }
}

impl Whole {
    /// Whether a rule has connection tracking look at the packets of a family; what is not understood may.
    pub fn tracks(&self, family: Family) -> bool {
        let sees = |id: &ChainId| match id.family {
            TableFamily::Inet => true,
            TableFamily::Ip => family == Family::V4,
            TableFamily::Ip6 => family == Family::V6,
            _ => false,
        };
        let chains = self.chains.iter().filter(|(id, _)| sees(id));
        let rules = chains.flat_map(|(_, chain)| &chain.rules);
        let mut operations = rules.flat_map(|rule| &rule.operations);
        operations.any(tracks)
    }

    /// Reads them in the calling thread's namespace, as they are at one moment.
    ///
    /// # Errors
    /// When they cannot be listed, all of them, or change each time meanwhile.
    pub fn read(inside: &Inside<'_>) -> Result<Self, NetfilterError> {
        let Some(netlink) = RawNetlink::open(inside, Protocol::Netfilter)? else {
            return Ok(Self::default());
        };
        let Some(mut before) = read::generation(&netlink)? else {
            return Ok(Self::default());
        };
        for _ in 0..ATTEMPTS {
            let found = whole(&netlink);
            let after = read::generation(&netlink)?;
            if after == Some(before) {
                return found;
            }
            before = after.unwrap_or(before);
        }
        Err(NetfilterError::Changing { attempts: ATTEMPTS })
    }
}

fn whole(netlink: &RawNetlink) -> Result<Whole, NetfilterError> {
    let mut dormant = BTreeSet::new();
    for payload in list(netlink, "tables", read::GETTABLE, read::NEWTABLE)? {
        let (table, asleep) = read::table(&payload).map_err(undecoded("tables"))?;
        if asleep {
            dormant.insert(table);
        }
    }
    let sleeps = |id: &ChainId| dormant.contains(&(id.family, id.table.clone()));
    let mut chains = BTreeMap::new();
    for payload in list(netlink, "chains", read::GETCHAIN, read::NEWCHAIN)? {
        let (id, base) = read::chain(&payload).map_err(undecoded("chains"))?;
        if !sleeps(&id) {
            let rules = Vec::new();
            chains.insert(id, WholeChain { base, rules });
        }
    }
    let mut used = BTreeSet::new();
    for payload in list(netlink, "rules", read::GETRULE, read::NEWRULE)? {
        let (id, rule) = rule(&payload).map_err(undecoded("rules"))?;
        if sleeps(&id) {
            continue;
        }
        used.extend(
            rule.operations
                .iter()
                .filter_map(|operation| match operation {
                    Operation::Lookup { set, .. } => Some(ChainId {
                        name: set.clone(),
                        ..id.clone()
                    }),
                    _ => None,
                }),
        );
        let chain = chains.get_mut(&id).ok_or_else(|| {
            undecoded("rules")(format!("one is of chain {}, which is not there", id.name))
        })?;
        chain.rules.push(rule);
    }
    Ok(Whole {
        chains,
        sets: sets(netlink, used)?,
    })
}

fn list(
    netlink: &RawNetlink,
    what: &str,
    get: u16,
    new: u16,
) -> Result<Vec<Vec<u8>>, NetfilterError> {
    let object = format!("nf_tables {what}");
    Ok(netlink.list(&object, &request(get, 0, &[]), |message| {
        Ok((message.kind == new).then(|| message.payload.clone()))
    })?)
}

fn rule(payload: &[u8]) -> Result<(ChainId, WholeRule), String> {
    const HANDLE: u16 = 3;
    const EXPRESSIONS: u16 = 4;
    let (header, attributes) = Attributes::behind(NFGENMSG, payload)?;
    let id = ChainId {
        family: TableFamily::of(header[0]),
        table: attributes.text(1).ok_or("a rule has no table")?,
        name: attributes.text(2).ok_or("a rule has no chain")?,
    };
    let list = attributes.nested(EXPRESSIONS)?;
    let expressions = list.iter().flat_map(Attributes::iter);
    let rule = WholeRule {
        handle: attributes.be64(HANDLE)?.ok_or("a rule has no handle")?,
        operations: expressions
            .map(|(_, bytes)| operation::decode(bytes))
            .collect::<Result<_, _>>()?,
        text: None,
    };
    Ok((id, rule))
}

fn sets(
    netlink: &RawNetlink,
    used: BTreeSet<ChainId>,
) -> Result<BTreeMap<ChainId, Set>, NetfilterError> {
    let mut sets = BTreeMap::new();
    if used.is_empty() {
        return Ok(sets);
    }
    for payload in list(netlink, "sets", GETSET, NEWSET)? {
        let decoded = Attributes::behind(NFGENMSG, &payload).and_then(|(header, attributes)| {
            let (name, set) = set::decode(&attributes)?;
            let table = attributes.text(1).ok_or("a set has no table")?;
            let family = TableFamily::of(header[0]);
            Ok((
                ChainId {
                    family,
                    table,
                    name,
                },
                set,
            ))
        });
        let (id, set) = decoded.map_err(undecoded("sets"))?;
        if used.contains(&id) {
            sets.insert(id, set);
        }
    }
    for (id, set) in &mut sets {
        set.elements = elements(netlink, id)?;
    }
    Ok(sets)
}

fn elements(netlink: &RawNetlink, set: &ChainId) -> Result<Vec<Element>, NetfilterError> {
    const ELEMENTS: u16 = 3;
    let mut named = attribute(1, format!("{}\0", set.table).as_bytes());
    named.extend(attribute(2, format!("{}\0", set.name).as_bytes()));
    let request: Raw = request(read::GETSETELEM, set.family.number(), &named);
    let object = format!("elements of set {}", set.name);
    let found = netlink.list(&object, &request, |message| {
        if message.kind != read::NEWSETELEM {
            return Ok(None);
        }
        let (_, attributes) = Attributes::behind(NFGENMSG, &message.payload)?;
        let elements = attributes.nested(ELEMENTS)?;
        let elements = elements.iter().flat_map(Attributes::iter);
        let decoded: Result<Vec<_>, _> = elements.map(|(_, one)| set::element(one)).collect();
        decoded.map(Some)
    })?;
    Ok(found.into_iter().flatten().collect())
}
