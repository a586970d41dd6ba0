//! What rules of the packet filter do to a packet, and the command that has them leave it alone.

use super::Doctor;
use crate::{
    explain::{ExplainError, obstacle::Obstacle, places::PlaceId},
    finding::Finding,
    kernel_way::{LEGACY, RuleAt},
    netfilter::{IPTABLES_TABLES, nft::TableFamily},
};

use super::command;

impl Doctor<'_> {
    pub(super) fn rule(&self, rule: &RuleAt) -> Result<Finding, ExplainError> {
        let here = self.name(self.fault.place).to_owned();
        let node = &self.places.node(self.fault.place).name;
        let [from, to] = [self.dev(self.fault.ingress)?, self.egress()?];
        let ends = match (&from, &to) {
            (Some(from), Some(to)) => format!("{from} -> {to}"),
            (Some(dev), None) | (None, Some(dev)) => dev.clone(),
            (None, None) => self.fault.packet.to_string(),
        };
        let (kind, problem, own) = match rule.handle {
            None => (
                Obstacle::Policy,
                format!(
                    "{} of {here} has policy DROP and no rule accepts {ends}",
                    rule.chain
                ),
                format!(
                    "accept it: {}",
                    self.accept(rule, from.as_deref(), to.as_deref())
                ),
            ),
            Some(handle) => {
                let counted = rule
                    .count
                    .map(|count| format!(" ({} packets so far)", count.packets));
                (
                    Obstacle::Rule,
                    format!(
                        "rule {} of {} in {here} drops {ends}: {}{}",
                        rule.number,
                        rule.chain,
                        rule.text,
                        counted.unwrap_or_default()
                    ),
                    format!(
                        "remove the rule: {}",
                        self.remove(self.fault.place, rule, handle)
                    ),
                )
            }
        };
        let cure = match self.fault.is_off {
            true => {
                format!("switch the fast path on: `netpath fastpath on --node {node}`; or {own}")
            }
            false => own,
        };
        Ok(self.found(kind, problem, cure))
    }

    pub(super) fn accept(&self, rule: &RuleAt, from: Option<&str>, to: Option<&str>) -> String {
        let entry = self.entry(self.fault.place);
        let chain = &rule.chain;
        let line = match iptables(rule) {
            Some((program, table)) => {
                let from = from.map(|dev| format!(" -i {dev}")).unwrap_or_default();
                let to = to.map(|dev| format!(" -o {dev}")).unwrap_or_default();
                format!("{program} -w -t {table} -I {chain}{from}{to} -j ACCEPT")
            }
            None => {
                let from = from
                    .map(|dev| format!(" iifname {dev}"))
                    .unwrap_or_default();
                let to = to.map(|dev| format!(" oifname {dev}")).unwrap_or_default();
                let family = rule.family;
                format!(
                    "nft insert rule {family} {} {chain}{from}{to} accept",
                    rule.table
                )
            }
        };
        command(&entry, line)
    }

    pub(super) fn remove(&self, place: PlaceId, rule: &RuleAt, handle: u64) -> String {
        let line = match iptables(rule) {
            Some((program, table)) => {
                format!("{program} -w -t {table} -D {} {}", rule.chain, rule.number)
            }
            None => format!(
                "nft delete rule {} {} {} handle {handle}",
                rule.family, rule.table, rule.chain
            ),
        };
        command(&self.entry(place), line)
    }

    pub(super) fn translated(&self, place: PlaceId, rule: &RuleAt) -> Finding {
        let name = self.name(place);
        let problem = format!(
            "rule {} of {} in {name} translates the packet: {}; and so it does not arrive",
            rule.number, rule.chain, rule.text
        );
        let cure = match rule.handle {
            Some(handle) => format!("remove the rule: {}", self.remove(place, rule, handle)),
            None => Obstacle::Translated.kind().cure.to_owned(),
        };
        Obstacle::Translated.kind().found(name, problem, cure)
    }
}

/// The program of iptables whose rule or chain it is, as far as it looks like one, and what that calls its table.
fn iptables(rule: &RuleAt) -> Option<(&'static str, &str)> {
    let legacy = rule.table.strip_suffix(LEGACY);
    let table = legacy.unwrap_or(&rule.table);
    let is_its =
        IPTABLES_TABLES.contains(&table) && rule.chain.chars().all(|c| !c.is_ascii_lowercase());
    let program = match (rule.family, legacy) {
        (TableFamily::Ip, None) if is_its => "iptables",
        (TableFamily::Ip6, None) if is_its => "ip6tables",
        (TableFamily::Ip, Some(_)) => "iptables-legacy",
        (TableFamily::Ip6, Some(_)) => "ip6tables-legacy",
        _ => return None,
    };
    Some((program, table))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(family: TableFamily, table: &str, chain: &str) -> RuleAt {
        RuleAt {
            family,
            table: table.to_owned(),
            chain: chain.to_owned(),
            handle: Some(7),
            number: 1,
            text: String::new(),
            count: None,
        }
    }

    #[test]
    fn rules_are_removed_by_whose_they_are() {
        use TableFamily::{Inet, Ip, Ip6};
        for (family, table, chain, expected) in [
            (Ip, "filter", "FORWARD", Some(("iptables", "filter"))),
            (Ip6, "nat", "KUBE-SEP-1", Some(("ip6tables", "nat"))),
            (
                Ip,
                "filter (legacy)",
                "FORWARD",
                Some(("iptables-legacy", "filter")),
            ),
            (
                Ip6,
                "mangle (legacy)",
                "PREROUTING",
                Some(("ip6tables-legacy", "mangle")),
            ),
            (Inet, "filter", "FORWARD", None),
            (Ip, "filter", "forward", None),
            (Ip, "mine", "FORWARD", None),
        ] {
            assert_eq!(
                iptables(&rule(family, table, chain)),
                expected,
                "{table} {chain}"
            );
        }
    }
}
