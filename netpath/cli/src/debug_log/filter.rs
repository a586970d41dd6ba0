//! Which of the logged packets are shown.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use netpath::counters::PacketRow;
use netpath_common::{DropReason, Outcome, PuntReason};

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// It came in or went out by this interface.
    Interface(String),
    /// It is this endpoint's.
    Endpoint(String),
    /// What became of it.
    Outcome(Outcome),
    /// Why, by its name.
    Reason(String),
    /// One of its addresses is among these.
    Address(IpNet),
}

/// Why a text is no filter.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FilterError {
    /// It has no key that is known.
    #[error("write interface=, endpoint=, outcome=, reason= or address=, and what it is to be")]
    Key,
    /// Nothing follows the key.
    #[error("nothing follows {0}=")]
    Empty(&'static str),
    /// There is no such outcome.
    #[error("no outcome is called {0}: write one of {names}", names = outcomes())]
    Outcome(String),
    /// There is no such reason.
    #[error("no reason is called {0}: `netpath stats` shows those that occur")]
    Reason(String),
    /// It is no address.
    #[error("{0} is neither an address nor a prefix")]
    Address(String),
}

fn outcomes() -> String {
    let names = Outcome::ALL.iter().map(|outcome| outcome.name());
    names.collect::<Vec<_>>().join(", ")
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let (key, value) = text.split_once('=').ok_or(FilterError::Key)?;
        let named = |key, of: fn(String) -> Self| match value {
            "" => Err(FilterError::Empty(key)),
            _ => Ok(of(value.to_owned())),
        };
        match key {
            "interface" => named("interface", Self::Interface),
            "endpoint" => named("endpoint", Self::Endpoint),
            "outcome" => Outcome::ALL
                .iter()
                .find(|outcome| outcome.name() == value)
                .map(|outcome| Self::Outcome(*outcome))
                .ok_or_else(|| FilterError::Outcome(value.to_owned())),
            "reason" => {
                let punts = PuntReason::ALL.iter().map(|reason| reason.name());
                let drops = DropReason::ALL.iter().map(|reason| reason.name());
                match punts.chain(drops).any(|name| name == value) {
                    true => Ok(Self::Reason(value.to_owned())),
                    false => Err(FilterError::Reason(value.to_owned())),
                }
            }
            "address" => {
                let address = value.parse::<IpAddr>().map(IpNet::from);
                let net = address.or_else(|_| value.parse::<IpNet>());
                net.map(Self::Address)
                    .map_err(|_| FilterError::Address(value.to_owned()))
            }
            _ => Err(FilterError::Key),
        }
    }
}

impl Filter {
    /// Whether a packet passes all: of those of one key, one.
    pub fn all_pass(filters: &[Self], row: &PacketRow) -> bool {
        filters.iter().all(|filter| {
            let is_alike =
                |other: &&Self| std::mem::discriminant(*other) == std::mem::discriminant(filter);
            let mut alike = filters.iter().filter(is_alike);
            alike.any(|alike| alike.passes(row))
        })
    }

    fn passes(&self, PacketRow { hop, addresses }: &PacketRow) -> bool {
        match self {
            Self::Interface(dev) => hop.ingress == *dev || hop.egress.as_ref() == Some(dev),
            Self::Endpoint(name) => hop.endpoint.as_ref() == Some(name),
            Self::Outcome(outcome) => hop.outcome == *outcome,
            Self::Reason(name) => hop.reason.is_some_and(|reason| reason.to_string() == *name),
            Self::Address(net) => addresses
                .iter()
                .flatten()
                .any(|address| net.contains(address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use netpath::counters::{HopRow, Reason};

    use super::*;

    fn row() -> PacketRow {
        PacketRow {
            hop: HopRow {
                node: "node03".into(),
                ingress: "va1".into(),
                egress: None,
                endpoint: Some("demo01".into()),
                outcome: Outcome::Drop,
                reason: Some(Reason::Drop(DropReason::Spoofed)),
                packets: 1,
                bytes: 98,
            },
            addresses: Some(["10.0.9.9", "10.0.2.2"].map(|text| text.parse().expect("an address"))),
        }
    }

    fn passes(filters: &[&str]) -> bool {
        let filters: Vec<Filter> = filters
            .iter()
            .map(|text| {
                text.parse()
                    .unwrap_or_else(|error| panic!("{text}: {error}"))
            })
            .collect();
        Filter::all_pass(&filters, &row())
    }

    #[test]
    fn of_one_key_any_holds_and_of_different_keys_all() {
        for filters in [
            &[][..],
            &["interface=va1"],
            &["endpoint=demo01", "outcome=drop", "reason=spoofed"],
            &["address=10.0.9.9"],
            &["address=10.0.2.0/24", "outcome=drop"],
            &["outcome=punt", "outcome=drop"],
        ] {
            assert!(passes(filters), "{filters:?}");
        }
        for filters in [
            &["interface=va2"][..],
            &["endpoint=demo02"],
            &["outcome=punt"],
            &["reason=martian_source"],
            &["address=10.0.3.0/24"],
            &["outcome=drop", "endpoint=demo02"],
        ] {
            assert!(!passes(filters), "{filters:?}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "va1",
            "node=x",
            "interface=",
            "outcome=lost",
            "reason=bad",
            "address=x",
        ] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_packet_is_told_in_words() {
        assert_eq!(
            row().to_string(),
            "node03: va1 drop spoofed, 98 bytes, 10.0.9.9 > 10.0.2.2, endpoint demo01"
        );
        let mut row = row();
        row.hop.egress = Some("va2".into());
        (row.hop.outcome, row.hop.reason) = (Outcome::RedirectPeer, None);
        (row.hop.endpoint, row.addresses) = (None, None);
        assert_eq!(row.to_string(), "node03: va1 > va2 redirect_peer, 98 bytes");
    }
}
