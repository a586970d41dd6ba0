//! Filters, in the syntax of pcap-filter(7) as far as it is about IP: what is not known is refused, and where it stands.
//!
//! Known are `host`, `net`, `port`, `portrange` and `proto`, with `src` and `dst` and with `ip`, `ip6`, `tcp`, `udp`, `icmp`,
//! `icmp6` before them or alone; `and`, `or` (of one precedence, from left to right, as there), `not`, parentheses; and a value
//! alone, which is of the kind of the one before. What is behind IPv6 extension headers is not looked at.

mod parse;
#[cfg(test)]
mod tests;
mod words;

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::trace::{FILTER_STEPS, FilterStep, TraceFilter};

/// A filter that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter: {problem}\n  {text}\n  {:at$}^", "")]
pub struct FilterError {
    /// The filter.
    pub text: String,
    /// Where in it the mistake is, in characters.
    pub at: usize,
    /// What it is, and what to write.
    pub problem: String,
}

/// A filter, as steps that leave one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Vec<FilterStep>);

impl Filter {
    /// What every packet matches.
    pub fn any() -> Self {
        Self(vec![step(FilterStep::ANY)])
    }

    /// Reads a filter.
    ///
    /// # Errors
    /// When it is none, or too long.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let filter = parse::parse(text)?;
        if filter.0.len() > FILTER_STEPS {
            return Err(FilterError {
                text: text.to_owned(),
                at: 0,
                problem: format!(
                    "it takes {} steps, and there is room for {FILTER_STEPS}: look for less at a time",
                    filter.0.len()
                ),
            });
        }
        Ok(filter)
    }

    /// What comes from an address or a prefix.
    pub fn from(of: impl Into<IpNet>) -> Self {
        Self(vec![address(FilterStep::SOURCE, of.into())])
    }

    /// What goes to one.
    pub fn to(of: impl Into<IpNet>) -> Self {
        Self(vec![address(FilterStep::DESTINATION, of.into())])
    }

    /// What has one at either end.
    pub fn at(of: impl Into<IpNet> + Copy) -> Self {
        Self::from(of).or(Self::to(of))
    }

    /// ICMP and ICMPv6 errors.
    pub fn errors() -> Self {
        Self(vec![step(FilterStep::ICMP_ERROR)])
    }

    /// A protocol of IP.
    pub fn protocol(number: u8) -> Self {
        Self::numbers(FilterStep::PROTOCOL, number.into(), number.into())
    }

    fn family(number: u16) -> Self {
        Self::numbers(FilterStep::FAMILY, number, number)
    }

    fn source_ports(low: u16, high: u16) -> Self {
        Self::numbers(FilterStep::SOURCE_PORT, low, high)
    }

    fn destination_ports(low: u16, high: u16) -> Self {
        Self::numbers(FilterStep::DESTINATION_PORT, low, high)
    }

    fn numbers(what: u32, low: u16, high: u16) -> Self {
        Self(vec![FilterStep {
            low,
            high,
            ..step(what)
        }])
    }

    /// What matches both.
    pub fn and(self, other: Self) -> Self {
        self.with(other, FilterStep::AND)
    }

    /// What matches one of them.
    pub fn or(self, other: Self) -> Self {
        self.with(other, FilterStep::OR)
    }

    /// What does not match it.
    pub fn negated(mut self) -> Self {
        self.0.push(step(FilterStep::NOT));
        self
    }

    fn with(mut self, other: Self, how: u32) -> Self {
        self.0.extend(other.0);
        self.0.push(step(how));
        self
    }

    /// As the programs take it; `None` where it is too long.
    pub fn compiled(&self) -> Option<TraceFilter> {
        let mut steps = [FilterStep::default(); FILTER_STEPS];
        steps.get_mut(..self.0.len())?.copy_from_slice(&self.0);
        Some(TraceFilter { steps })
    }
}

fn step(what: u32) -> FilterStep {
    FilterStep {
        what,
        ..FilterStep::default()
    }
}

fn address(what: u32, of: IpNet) -> FilterStep {
    let (family, address, mask) = match (of.network(), of.netmask()) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => (
            4,
            [u32::from_ne_bytes(address.octets()), 0, 0, 0],
            [u32::from_ne_bytes(mask.octets()), 0, 0, 0],
        ),
        (address, mask) => (6, words(address), words(mask)),
    };
    FilterStep {
        low: family,
        address,
        mask,
        ..step(what)
    }
}

fn words(address: IpAddr) -> [u32; 4] {
    let bytes = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    std::array::from_fn(|at| u32::from_ne_bytes(std::array::from_fn(|of| bytes[4 * at + of])))
}
