//! From the kernel's message to an [`Operation`] (linux/netfilter/nf_tables.h).

use super::{Header, Operation, Refusal, Register, Relation, Translation, Value, Verdict};
use crate::{netfilter::Count, netlink::attribute::Attributes};

/// Reads one expression. What is not in the form that is known is kept by its name.
///
/// # Errors
/// When it has no name, or an attribute does not fit.
pub(in super::super) fn decode(bytes: &[u8]) -> Result<Operation, String> {
    const NAME: u16 = 1;
    const DATA: u16 = 2;
    let attributes = Attributes::parse(bytes)?;
    let name = attributes.text(NAME).ok_or("an expression has no name")?;
    let empty = Attributes::parse(&[])?;
    let data = attributes.nested(DATA)?.unwrap_or(empty);
    let known = known(&name, &data).ok().flatten();
    Ok(known.unwrap_or(Operation::Other(name)))
}

/// `None` for one that is not known.
fn known(name: &str, data: &Attributes<'_>) -> Result<Option<Operation>, String> {
    Ok(Some(match name {
        "payload" => return moved(data, payload(data)?, 1, 5),
        "meta" => return moved(data, Value::Meta(need(data, 2)?), 1, 3),
        "ct" => {
            let value = Value::Connection {
                key: need(data, 2)?,
                direction: data.u8(3)?,
            };
            return moved(data, value, 1, 4);
        }
        "fib" => {
            let value = Value::Fib {
                result: need(data, 2)?,
                flags: need(data, 3)?,
            };
            return moved(data, value, 1, u16::MAX);
        }
        "exthdr" => {
            const PRESENT: u32 = 1;
            let value = Value::Extension {
                of: data.be32(6)?.unwrap_or(0),
                present: data.be32(5)?.unwrap_or(0) & PRESENT != 0,
            };
            return moved(data, value, 1, 7);
        }
        "numgen" => return moved(data, choice(data, "numgen", (2, 4))?, 1, u16::MAX),
        "hash" => return moved(data, choice(data, "hash", (4, 6))?, 2, u16::MAX),
        "rt" | "osf" | "xfrm" => {
            return moved(data, Value::Other(name.to_owned()), 1, u16::MAX);
        }
        "socket" | "tunnel" => return moved(data, Value::Other(name.to_owned()), 2, u16::MAX),
        "cmp" => compare(data)?,
        "range" => Operation::Range {
            register: register(data, 1)?,
            outside: need(data, 2)? != 0,
            from: value(data, 3)?,
            to: value(data, 4)?,
        },
        "bitwise" => return bitwise(data),
        "byteorder" => Operation::ByteOrder {
            from: register(data, 1)?,
            into: register(data, 2)?,
            length: need(data, 4)?,
            size: need(data, 5)?,
        },
        "immediate" => immediate(data)?,
        "counter" => Operation::Counter(Some(count(data)?)),
        "lookup" => lookup(data)?,
        "nat" => nat(data)?,
        "masq" => Operation::Masquerade {
            flags: data.be32(1)?.unwrap_or(0),
            ports: registers(data, 2, 3)?,
        },
        "redir" => Operation::Redirect {
            ports: registers(data, 1, 2)?,
        },
        "reject" => reject(data)?,
        "notrack" => Operation::Notrack,
        "match" => Operation::Match {
            name: data.text(1).ok_or("no name")?,
            revision: need(data, 2)?,
            data: data.get(3).unwrap_or_default().to_vec(),
        },
        "target" => Operation::Target {
            name: data.text(1).ok_or("no name")?,
            revision: need(data, 2)?,
            data: data.get(3).unwrap_or_default().to_vec(),
        },
        "objref" => return Ok(object(data.be32(1)?)),
        "dynset" => Operation::Dynset {
            decides: data.get(7).is_some() || data.get(10).is_some(),
        },
        "limit" | "quota" | "connlimit" => Operation::Condition(name.to_owned()),
        "log" | "last" | "dup" | "flow_offload" => Operation::Nothing(name.to_owned()),
        "queue" | "fwd" | "tproxy" | "synproxy" => Operation::Take(name.to_owned()),
        _ => return Ok(None),
    }))
}

fn need(data: &Attributes<'_>, kind: u16) -> Result<u32, String> {
    data.be32(kind)?
        .ok_or_else(|| format!("no attribute {kind}"))
}

fn register(data: &Attributes<'_>, kind: u16) -> Result<Register, String> {
    let number = need(data, kind)?;
    Register::of(number).ok_or_else(|| format!("register {number}"))
}

/// A least and a greatest; one alone is both.
fn registers(
    data: &Attributes<'_>,
    least: u16,
    greatest: u16,
) -> Result<Option<(Register, Register)>, String> {
    if data.get(least).is_none() {
        return Ok(None);
    }
    let first = register(data, least)?;
    let last = match data.get(greatest) {
        None => first,
        Some(_) => register(data, greatest)?,
    };
    Ok(Some((first, last)))
}

/// The value in `struct nft_data`.
fn value(data: &Attributes<'_>, kind: u16) -> Result<Vec<u8>, String> {
    const VALUE: u16 = 1;
    let nested = data.nested(kind)?.ok_or("no data")?;
    Ok(nested.get(VALUE).ok_or("no value")?.to_vec())
}

/// A register that a value is loaded into, or else one that it is written from.
fn moved(
    data: &Attributes<'_>,
    value: Value,
    into: u16,
    from: u16,
) -> Result<Option<Operation>, String> {
    if data.get(into).is_some() {
        let into = register(data, into)?;
        return Ok(Some(Operation::Load { value, into }));
    }
    if data.get(from).is_some() {
        let from = register(data, from)?;
        return Ok(Some(Operation::Store { to: value, from }));
    }
    Ok(None)
}

fn payload(data: &Attributes<'_>) -> Result<Value, String> {
    Ok(Value::Payload {
        header: match need(data, 2)? {
            0 => Header::Link,
            1 => Header::Network,
            2 => Header::Transport,
            other => Header::Other(other),
        },
        offset: need(data, 3)?,
        length: need(data, 4)?,
    })
}

fn choice(data: &Attributes<'_>, by: &'static str, at: (u16, u16)) -> Result<Value, String> {
    Ok(Value::Choice {
        by,
        modulus: need(data, at.0)?,
        offset: data.be32(at.1)?.unwrap_or(0),
    })
}

fn compare(data: &Attributes<'_>) -> Result<Operation, String> {
    Ok(Operation::Compare {
        register: register(data, 1)?,
        relation: match need(data, 2)? {
            0 => Relation::Equal,
            1 => Relation::NotEqual,
            2 => Relation::Less,
            3 => Relation::LessOrEqual,
            4 => Relation::Greater,
            5 => Relation::GreaterOrEqual,
            other => return Err(format!("comparison {other}")),
        },
        data: value(data, 3)?,
    })
}

fn bitwise(data: &Attributes<'_>) -> Result<Option<Operation>, String> {
    const DATA: u16 = 7;
    let (from, into) = (register(data, 1)?, register(data, 2)?);
    let shift = |right| {
        let bits = value(data, DATA)?;
        let bits = <[u8; 4]>::try_from(bits.as_slice()).map_err(|_| "a shift by no word")?;
        Ok::<_, String>(Operation::Shift {
            from,
            into,
            length: need(data, 3)?,
            bits: u32::from_ne_bytes(bits),
            right,
        })
    };
    Ok(Some(match data.be32(6)?.unwrap_or(0) {
        0 => Operation::Mask {
            from,
            into,
            mask: value(data, 4)?,
            xor: value(data, 5)?,
        },
        1 => shift(false)?,
        2 => shift(true)?,
        _ => Operation::Load {
            value: Value::Other("bitwise".to_owned()),
            into,
        },
    }))
}

fn immediate(data: &Attributes<'_>) -> Result<Operation, String> {
    const VERDICT: u16 = 2;
    if data.be32(1)? != Some(Register::VERDICT) {
        return Ok(Operation::Immediate {
            into: register(data, 1)?,
            data: value(data, 2)?,
        });
    }
    let nested = data.nested(2)?.ok_or("no data")?;
    let verdict = nested.nested(VERDICT)?.ok_or("no verdict")?;
    Ok(Operation::Verdict(self::verdict(&verdict)?))
}

/// `NFTA_VERDICT_*`.
pub(in super::super) fn verdict(data: &Attributes<'_>) -> Result<Verdict, String> {
    let code = data.be32(1)?.ok_or("no verdict")?.cast_signed();
    let chain = || data.text(2).ok_or("a jump to no chain".to_owned());
    Ok(match code {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        -1 => Verdict::Continue,
        -3 => Verdict::Jump(chain()?),
        -4 => Verdict::Goto(chain()?),
        -5 => Verdict::Return,
        // NF_QUEUE, with the queue's number above it.
        code if code & 0xff == 3 && code > 0 => Verdict::Queue,
        other => Verdict::Other(other),
    })
}

/// `NFTA_COUNTER_*`.
pub(in super::super) fn count(data: &Attributes<'_>) -> Result<Count, String> {
    Ok(Count {
        packets: data.be64(2)?.ok_or("no packets")?,
        bytes: data.be64(1)?.ok_or("no bytes")?,
    })
}

fn lookup(data: &Attributes<'_>) -> Result<Operation, String> {
    const INVERT: u32 = 1;
    let decides = data.be32(3)? == Some(Register::VERDICT);
    let into = data.get(3).filter(|_| !decides);
    Ok(Operation::Lookup {
        set: data.text(1).ok_or("no set")?,
        key: register(data, 2)?,
        invert: data.be32(5)?.unwrap_or(0) & INVERT != 0,
        into: into.map(|_| register(data, 3)).transpose()?,
        decides,
    })
}

fn nat(data: &Attributes<'_>) -> Result<Operation, String> {
    Ok(Operation::Nat {
        translation: match need(data, 1)? {
            0 => Translation::Source,
            1 => Translation::Destination,
            other => return Err(format!("nat of type {other}")),
        },
        family: need(data, 2)?,
        addresses: registers(data, 3, 4)?,
        ports: registers(data, 5, 6)?,
        flags: data.be32(7)?.unwrap_or(0),
    })
}

fn reject(data: &Attributes<'_>) -> Result<Operation, String> {
    let code = data.u8(2)?.unwrap_or(0);
    Ok(Operation::Reject(match need(data, 1)? {
        0 => Refusal::Icmp(code),
        1 => Refusal::TcpReset,
        2 => Refusal::Icmpx(code),
        other => return Err(format!("a reject of type {other}")),
    }))
}

/// A named object, by its type (`NFT_OBJECT_*`); `None` where a map chooses it.
fn object(kind: Option<u32>) -> Option<Operation> {
    Some(match kind? {
        1 => Operation::Counter(None),
        2 => Operation::Condition("quota".to_owned()),
        4 => Operation::Condition("limit".to_owned()),
        5 => Operation::Condition("connlimit".to_owned()),
        // What helps or times connections, and labels.
        3 | 7 | 8 | 9 => Operation::Nothing("objref".to_owned()),
        10 => Operation::Take("synproxy".to_owned()),
        _ => return None,
    })
}
