//! What acts at interfaces and between addresses, which the census knows; and the reverse-path filter.

use std::collections::{BTreeMap, BTreeSet};

use netpath_common::{Ifindex, PuntReason};

use super::{Group, Item, ItemKind, Subject};

/// A reverse-path filter of an interface's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The interface.
    pub dev: String,
    /// Its mode: 0 off, 1 strict, 2 loose.
    pub rp_filter: u32,
    /// It leads to other nodes.
    pub is_uplink: bool,
}

/// What tc has at an interface, as far as it is listed: by the interface and `ingress` or `egress`, in words.
pub type Shapers = BTreeMap<(Ifindex, &'static str), Vec<String>>;

/// What is at interfaces and between addresses: all of it is left to the kernel, unless it is accepted.
#[must_use]
pub fn of_interfaces(
    subject: &Subject<'_>,
    name: &dyn Fn(Ifindex) -> String,
    shapers: &Shapers,
    settings: &[Setting],
) -> Vec<Item> {
    let mut items = Vec::new();
    for (&ifindex, census) in &subject.census.interfaces {
        for (direction, reasons) in [("ingress", &census.ingress), ("egress", &census.egress)] {
            for &reason in reasons {
                let listed = shapers.get(&(ifindex, direction));
                let what = match listed.filter(|_| reason == PuntReason::Shaped) {
                    Some(listed) => listed.join(", "),
                    None => in_words(reason).to_owned(),
                };
                let text = format!("{direction}: {what}");
                let place = name(ifindex);
                items.push(heeded(subject, ItemKind::Interface, place, text, reason));
            }
        }
    }
    // Rules have items of their own; what else there is between addresses, each once.
    let others = subject
        .census
        .matters
        .iter()
        .filter(|it| it.reason != PuntReason::Rules);
    let others: BTreeSet<PuntReason> = others.map(|it| it.reason).collect();
    for reason in others {
        let text = in_words(reason).to_owned();
        items.push(heeded(
            subject,
            ItemKind::Addresses,
            "between addresses".to_owned(),
            text,
            reason,
        ));
    }
    items.extend(settings.iter().filter(|it| it.rp_filter != 0).map(filter));
    items
}

fn heeded(
    subject: &Subject<'_>,
    kind: ItemKind,
    place: String,
    text: String,
    reason: PuntReason,
) -> Item {
    let accepted = subject.bypass.has(reason);
    Item {
        kind,
        group: if accepted {
            Group::Accepted
        } else {
            Group::Heeded
        },
        place,
        handle: None,
        text,
        acts: Vec::new(),
        why: match accepted {
            true => format!("`bypass` has {}", reason.name()),
            false => "these packets stay the kernel's".to_owned(),
        },
        count: None,
        reason: (!accepted).then_some(reason),
        may_drop: false,
    }
}

/// The fast path asks the kernel's FIB as that filter does; of an endpoint it checks each source itself.
fn filter(setting: &Setting) -> Item {
    let mode = match setting.rp_filter {
        1 => "strict",
        _ => "loose",
    };
    let (group, why) = match setting.is_uplink {
        true => (Group::Heeded, "what it may refuse stays the kernel's"),
        false => (Group::NoEffect, "each source is checked"),
    };
    Item {
        kind: ItemKind::ReversePathFilter,
        group,
        place: setting.dev.clone(),
        handle: None,
        text: format!("rp_filter {mode}"),
        acts: Vec::new(),
        why: why.to_owned(),
        count: None,
        reason: setting.is_uplink.then_some(PuntReason::ReversePath),
        may_drop: false,
    }
}

fn in_words(reason: PuntReason) -> &'static str {
    match reason {
        PuntReason::Shaped => "a queueing discipline, a tc filter or a TC program",
        PuntReason::NetdevHook => "rules of nf_tables at the interface",
        PuntReason::Xdp => "an XDP program",
        PuntReason::Vrf => "it is in a VRF",
        PuntReason::BridgePort => "it is a port of another interface",
        PuntReason::Ipsec => "IPsec policies",
        other => other.name(),
    }
}
