//! A rule in words, close to those of `nft`, for where nobody else can be asked for them.

use super::{Operation, Refusal, Relation, Translation, Verdict};

/// All that a rule says.
#[must_use]
pub fn in_words(operations: &[Operation]) -> String {
    let words: Vec<String> = operations.iter().filter_map(word).collect();
    words.join(" ")
}

fn word(operation: &Operation) -> Option<String> {
    Some(match operation {
        Operation::Load { value, .. } => value.to_string(),
        Operation::Store { to, .. } => format!("set {to}"),
        Operation::Compare { relation, data, .. } => {
            let sign = match relation {
                Relation::Equal => "",
                Relation::NotEqual => "!= ",
                Relation::Less => "< ",
                Relation::LessOrEqual => "<= ",
                Relation::Greater => "> ",
                Relation::GreaterOrEqual => ">= ",
            };
            format!("{sign}{}", bytes(data))
        }
        Operation::Range {
            outside, from, to, ..
        } => {
            let sign = if *outside { "!= " } else { "" };
            format!("{sign}{}-{}", bytes(from), bytes(to))
        }
        Operation::Mask { mask, .. } => format!("& {}", bytes(mask)),
        Operation::Shift { bits, right, .. } => {
            format!("{} {bits}", if *right { ">>" } else { "<<" })
        }
        Operation::ByteOrder { .. } => return None,
        Operation::Immediate { data, .. } => bytes(data),
        Operation::Verdict(verdict) => verdict_word(verdict),
        Operation::Counter(_) => "counter".to_owned(),
        Operation::Lookup { set, invert, .. } => {
            format!("{}@{set}", if *invert { "!= " } else { "" })
        }
        Operation::Nat { translation, .. } => match translation {
            Translation::Source => "snat".to_owned(),
            Translation::Destination => "dnat".to_owned(),
        },
        Operation::Masquerade { .. } => "masquerade".to_owned(),
        Operation::Redirect { .. } => "redirect".to_owned(),
        Operation::Reject(Refusal::TcpReset) => "reject with tcp reset".to_owned(),
        Operation::Reject(Refusal::Icmp(code)) => format!("reject with icmp code {code}"),
        Operation::Reject(Refusal::Icmpx(code)) => format!("reject with icmpx code {code}"),
        Operation::Notrack => "notrack".to_owned(),
        Operation::Match { name, .. } => format!("-m {name}"),
        Operation::Target { name, .. } => format!("-j {name}"),
        Operation::Dynset { .. } => "dynset".to_owned(),
        Operation::Condition(name)
        | Operation::Take(name)
        | Operation::Nothing(name)
        | Operation::Other(name) => name.clone(),
    })
}

fn verdict_word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Queue => "queue".to_owned(),
        Verdict::Continue => "continue".to_owned(),
        Verdict::Return => "return".to_owned(),
        Verdict::Jump(chain) => format!("jump {chain}"),
        Verdict::Goto(chain) => format!("goto {chain}"),
        Verdict::Other(number) => format!("verdict {number}"),
    }
}

/// A name as it is, all else in hexadecimal digits.
fn bytes(data: &[u8]) -> String {
    let end = data
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    let text = &data[..end];
    if text.len() > 1 && text.iter().all(|byte| byte.is_ascii_graphic()) {
        return format!("{:?}", String::from_utf8_lossy(text));
    }
    let digits: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}
