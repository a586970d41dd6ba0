//! Reading nf_tables over nfnetlink (linux/netfilter/nf_tables.h, nfnetlink.h).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    condition::NamePattern,
    operation::{self, Operation},
    ruleset::{Base, Chain, ChainId, Hook, Rule, Ruleset, TableFamily},
    set::{self, Element, Set},
};
use crate::{
    netfilter::{NetfilterError, Policy},
    netlink::{
        NetlinkError,
        attribute::{Attributes, attribute, text},
        raw::{Protocol, Raw, RawNetlink},
    },
    netns::Inside,
};

/// How often to read anew what has changed while it was being read.
const ATTEMPTS: u32 = 10;

const SUBSYSTEM: u16 = 10 << 8;
const NEWTABLE: u16 = SUBSYSTEM;
const GETTABLE: u16 = SUBSYSTEM | 1;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const GETCHAIN: u16 = SUBSYSTEM | 4;
const NEWRULE: u16 = SUBSYSTEM | 6;
const GETRULE: u16 = SUBSYSTEM | 7;
const NEWSET: u16 = SUBSYSTEM | 9;
const GETSET: u16 = SUBSYSTEM | 10;
const NEWSETELEM: u16 = SUBSYSTEM | 12;
const GETSETELEM: u16 = SUBSYSTEM | 13;
const NEWGEN: u16 = SUBSYSTEM | 15;
const GETGEN: u16 = SUBSYSTEM | 16;
/// Size of `struct nfgenmsg` in bytes.
const NFGENMSG: usize = 4;

/// The sets and maps that are read with the rules that look into them: some have very many elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elements {
    /// Of maps of verdicts, which lead to other chains.
    OfVerdicts,
    /// Of all.
    OfAll,
}

impl Ruleset {
    /// Reads all chains and rules of the calling thread's namespace, and the sets asked for, as they are at one moment.
    ///
    /// # Errors
    /// When they cannot be listed, all of them, or change each time meanwhile.
    pub fn read(inside: &Inside<'_>, elements: Elements) -> Result<Self, NetfilterError> {
        let Some(netlink) = RawNetlink::open(inside, Protocol::Netfilter)? else {
            return Ok(Self::default());
        };
        let Some(mut before) = generation(&netlink)? else {
            return Ok(Self::default());
        };
        for _ in 0..ATTEMPTS {
            let found = read(&netlink, elements);
            let after = generation(&netlink)?;
            if after == Some(before) {
                return found;
            }
            before = after.unwrap_or(before);
        }
        Err(NetfilterError::Changing { attempts: ATTEMPTS })
    }
}

/// The number of the present ruleset; `None` in a kernel without nf_tables, which does not know the question.
fn generation(netlink: &RawNetlink) -> Result<Option<u32>, NetlinkError> {
    const ID: u16 = 1;
    let request = request(GETGEN, 0, &[]);
    let asked = netlink.get("the generation of nf_tables", request, |message| {
        if message.kind != NEWGEN {
            return Ok(None);
        }
        let (_, attributes) = Attributes::behind(NFGENMSG, &message.payload)?;
        attributes.be32(ID)
    });
    match asked {
        Ok(number) => Ok(Some(number)),
        Err(error) if error.errno() == Some(libc::EINVAL) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(netlink: &RawNetlink, elements: Elements) -> Result<Ruleset, NetfilterError> {
    let mut dormant = BTreeSet::new();
    for payload in list(netlink, "tables", GETTABLE, NEWTABLE)? {
        let (table, asleep) = table(&payload).map_err(undecoded("tables"))?;
        if asleep {
            dormant.insert(table);
        }
    }
    let sleeps = |id: &ChainId| dormant.contains(&(id.family, id.table.clone()));
    let mut chains = BTreeMap::new();
    for payload in list(netlink, "chains", GETCHAIN, NEWCHAIN)? {
        let (id, base) = chain(&payload).map_err(undecoded("chains"))?;
        if !sleeps(&id) {
            let rules = Vec::new();
            chains.insert(id, Chain { base, rules });
        }
    }
    let mut used = BTreeSet::new();
    for payload in list(netlink, "rules", GETRULE, NEWRULE)? {
        let (id, rule) = rule(&payload).map_err(undecoded("rules"))?;
        if sleeps(&id) {
            continue;
        }
        let looked_up = rule.operations.iter().filter_map(|it| match it {
            Operation::Lookup { set, decides, .. } if *decides || elements == Elements::OfAll => {
                Some(set.clone())
            }
            _ => None,
        });
        used.extend(looked_up.map(|name| ChainId { name, ..id.clone() }));
        let chain = chains.get_mut(&id).ok_or_else(|| {
            undecoded("rules")(format!("one is of chain {}, which is not there", id.name))
        })?;
        chain.rules.push(rule);
    }
    let sets = sets(netlink, &used)?;
    Ok(Ruleset { chains, sets })
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

fn undecoded(what: &'static str) -> impl Fn(String) -> NetfilterError {
    move |problem| NetfilterError::Undecoded { what, problem }
}

/// A `struct nfgenmsg` and attributes.
fn request(kind: u16, family: u8, attributes: &[u8]) -> Raw {
    let mut payload = vec![family, libc::NFNETLINK_V0 as u8, 0, 0];
    payload.extend(attributes);
    Raw { kind, payload }
}

fn sets(
    netlink: &RawNetlink,
    used: &BTreeSet<ChainId>,
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
    let request: Raw = request(GETSETELEM, set.family.number(), &named);
    let object = format!("elements of set {}", set.name);
    let found = netlink.list(&object, &request, |message| {
        if message.kind != NEWSETELEM {
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

/// A table, and whether it is switched off.
fn table(payload: &[u8]) -> Result<((TableFamily, String), bool), String> {
    const NAME: u16 = 1;
    const FLAGS: u16 = 2;
    const DORMANT: u32 = 1;
    let (header, attributes) = Attributes::behind(NFGENMSG, payload)?;
    let name = attributes.text(NAME).ok_or("a table has no name")?;
    let flags = attributes.be32(FLAGS)?.unwrap_or(0);
    let family = TableFamily::of(header[0]);
    Ok(((family, name), flags & DORMANT != 0))
}

fn chain(payload: &[u8]) -> Result<(ChainId, Option<Base>), String> {
    const TABLE: u16 = 1;
    const NAME: u16 = 3;
    const HOOK: u16 = 4;
    const POLICY: u16 = 5;
    const TYPE: u16 = 7;
    const COUNTERS: u16 = 8;
    let (header, attributes) = Attributes::behind(NFGENMSG, payload)?;
    let id = ChainId {
        family: TableFamily::of(header[0]),
        table: attributes.text(TABLE).ok_or("a chain has no table")?,
        name: attributes.text(NAME).ok_or("a chain has no name")?,
    };
    let Some(hook) = attributes.nested(HOOK)? else {
        return Ok((id, None));
    };
    let counters = attributes.nested(COUNTERS)?;
    let base = Base {
        kind: attributes.text(TYPE).ok_or("a base chain has no type")?,
        hook: id
            .family
            .hook(hook.be32(1)?.ok_or("a base chain has no hook")?),
        priority: hook
            .be32(2)?
            .ok_or("a base chain has no priority")?
            .cast_signed(),
        policy: match attributes.be32(POLICY)? {
            Some(0) => Policy::Drop,
            Some(1) | None => Policy::Accept,
            Some(other) => return Err(format!("chain {} has policy {other}", id.name)),
        },
        devices: devices(&hook)?,
        count: counters.as_ref().map(operation::count).transpose()?,
    };
    Ok((id, Some(base)))
}

/// The interfaces of a hook: one by itself, or a list, in which one may be the beginning of names (Linux 6.16).
fn devices(hook: &Attributes<'_>) -> Result<Vec<NamePattern>, String> {
    const DEV: u16 = 3;
    const DEVS: u16 = 4;
    const NAME: u16 = 1;
    const PREFIX: u16 = 2;
    if let Some(list) = hook.nested(DEVS)? {
        let device = |(kind, name)| match kind {
            NAME => Ok(NamePattern::Exact(text(name))),
            PREFIX => Ok(NamePattern::Prefix(text(name))),
            other => Err(format!("a device of type {other}")),
        };
        return list.iter().map(device).collect();
    }
    Ok(hook.text(DEV).map(NamePattern::Exact).into_iter().collect())
}

fn rule(payload: &[u8]) -> Result<(ChainId, Rule), String> {
    const TABLE: u16 = 1;
    const CHAIN: u16 = 2;
    const HANDLE: u16 = 3;
    const EXPRESSIONS: u16 = 4;
    let (header, attributes) = Attributes::behind(NFGENMSG, payload)?;
    let id = ChainId {
        family: TableFamily::of(header[0]),
        table: attributes.text(TABLE).ok_or("a rule has no table")?,
        name: attributes.text(CHAIN).ok_or("a rule has no chain")?,
    };
    let list = attributes.nested(EXPRESSIONS)?;
    let expressions = list.iter().flat_map(Attributes::iter);
    let rule = Rule {
        handle: attributes.be64(HANDLE)?.ok_or("a rule has no handle")?,
        operations: expressions
            .map(|(_, bytes)| operation::decode(bytes))
            .collect::<Result<_, _>>()?,
        text: None,
    };
    Ok((id, rule))
}

/// `NFPROTO_*`.
const FAMILIES: [(TableFamily, i32); 6] = [
    (TableFamily::Inet, libc::NFPROTO_INET),
    (TableFamily::Ip, libc::NFPROTO_IPV4),
    (TableFamily::Ip6, libc::NFPROTO_IPV6),
    (TableFamily::Arp, libc::NFPROTO_ARP),
    (TableFamily::Bridge, libc::NFPROTO_BRIDGE),
    (TableFamily::Netdev, libc::NFPROTO_NETDEV),
];

impl TableFamily {
    fn of(number: u8) -> Self {
        let found = FAMILIES.iter().find(|(_, its)| *its == i32::from(number));
        found.map_or(Self::Other(number), |(family, _)| *family)
    }

    fn number(self) -> u8 {
        match self {
            Self::Other(number) => number,
            known => FAMILIES
                .iter()
                .find(|(family, _)| *family == known)
                .map_or(0, |(_, number)| *number as u8),
        }
    }

    /// The hook with this number, which means another one in each family.
    fn hook(self, number: u32) -> Hook {
        match (self, number) {
            (Self::Netdev, 0) | (Self::Inet, 5) => Hook::Ingress,
            (Self::Netdev, 1) => Hook::Egress,
            (Self::Arp, 0) => Hook::Input,
            (Self::Arp, 1) => Hook::Output,
            (Self::Arp, 2) => Hook::Forward,
            (Self::Ip | Self::Ip6 | Self::Inet | Self::Bridge, 0) => Hook::Prerouting,
            (Self::Ip | Self::Ip6 | Self::Inet | Self::Bridge, 1) => Hook::Input,
            (Self::Ip | Self::Ip6 | Self::Inet | Self::Bridge, 2) => Hook::Forward,
            (Self::Ip | Self::Ip6 | Self::Inet | Self::Bridge, 3) => Hook::Output,
            (Self::Ip | Self::Ip6 | Self::Inet | Self::Bridge, 4) => Hook::Postrouting,
            (_, other) => Hook::Other(other),
        }
    }
}
