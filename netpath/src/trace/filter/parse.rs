//! From words to a filter.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Filter, FilterError,
    words::{Word, words},
};

/// What a value is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Host,
    Net,
    Port,
    PortRange,
    Proto,
}

impl Kind {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "host" => Self::Host,
            "net" => Self::Net,
            "port" => Self::Port,
            "portrange" => Self::PortRange,
            "proto" => Self::Proto,
            _ => return None,
        })
    }
}

/// Which end a value is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Either,
    Both,
}

impl Side {
    /// Of what comes from something, and of what goes to it.
    fn of(self, from: Filter, to: Filter) -> Filter {
        match self {
            Self::Source => from,
            Self::Destination => to,
            Self::Either => from.or(to),
            Self::Both => from.and(to),
        }
    }
}

/// What stands before a value.
#[derive(Clone, Copy, Debug)]
struct Qualifiers<'a> {
    protocol: Option<Word<'a>>,
    side: Side,
    kind: Kind,
}

/// How many parentheses and `not` may stand within one another.
const DEEPEST: usize = 100;

/// Protocols, and whether a port may follow.
const PROTOCOLS: [&str; 6] = ["ip", "ip6", "tcp", "udp", "icmp", "icmp6"];

struct Parser<'a> {
    text: &'a str,
    words: Vec<Word<'a>>,
    next: usize,
    /// Parentheses and `not` that the next word is within.
    depth: usize,
    /// Those of the last value.
    last: Option<Qualifiers<'a>>,
}

pub(super) fn parse(text: &str) -> Result<Filter, FilterError> {
    let mut parser = Parser {
        text,
        words: words(text),
        next: 0,
        depth: 0,
        last: None,
    };
    if parser.words.is_empty() {
        return Ok(Filter::any());
    }
    let filter = parser.expression()?;
    match parser.peek() {
        None => Ok(filter),
        Some(word) if word.text == ")" => Err(parser.refuse(word, "no parenthesis is open here")),
        Some(word) => {
            let problem = format!("`and` or `or` has to stand before `{}`", word.text);
            Err(parser.refuse(word, &problem))
        }
    }
}

impl<'a> Parser<'a> {
    /// Terms, from left to right: `and` and `or` are of one precedence.
    fn expression(&mut self) -> Result<Filter, FilterError> {
        let mut filter = self.term()?;
        loop {
            filter = match self.peek().map(|word| word.text) {
                Some("and" | "&&") => {
                    self.next += 1;
                    filter.and(self.term()?)
                }
                Some("or" | "||") => {
                    self.next += 1;
                    filter.or(self.term()?)
                }
                _ => return Ok(filter),
            };
        }
    }

    fn term(&mut self) -> Result<Filter, FilterError> {
        let word = self.peek().ok_or_else(|| self.ends("a primitive"))?;
        if self.depth >= DEEPEST {
            let problem = format!("more than {DEEPEST} parentheses and `not` within one another");
            return Err(self.refuse(word, &problem));
        }
        self.depth += 1;
        let found = self.one(word);
        self.depth -= 1;
        found
    }

    fn one(&mut self, word: Word<'a>) -> Result<Filter, FilterError> {
        match word.text {
            "not" | "!" => {
                self.next += 1;
                Ok(self.term()?.negated())
            }
            "(" => {
                self.next += 1;
                let inner = self.expression()?;
                match self.peek() {
                    Some(word) if word.text == ")" => {
                        self.next += 1;
                        Ok(inner)
                    }
                    Some(word) => {
                        let problem =
                            format!("`)`, `and` or `or` has to stand before `{}`", word.text);
                        Err(self.refuse(word, &problem))
                    }
                    None => Err(self.ends("`)`")),
                }
            }
            _ => self.primitive(),
        }
    }

    fn primitive(&mut self) -> Result<Filter, FilterError> {
        let first = self.next;
        let protocol = self.take(|word| PROTOCOLS.contains(&word));
        let side = self.side();
        let kind = self.take(|word| Kind::of(word).is_some());
        let kind = kind.and_then(|word| Kind::of(word.text));
        if let (Some(protocol), None, None) = (protocol, side, kind)
            && !self.peek().is_some_and(|word| is_value(word.text))
        {
            return Ok(of_protocol(protocol.text));
        }
        let begins_with_a_value = self.next == first;
        let value = self.peek().ok_or_else(|| self.ends("a value"))?;
        if begins_with_a_value && !is_value(value.text) {
            let problem = format!(
                "`{}` is not known here: write host, net, port, portrange, proto, src, dst, ip, ip6, tcp, udp, icmp or icmp6",
                value.text
            );
            return Err(self.refuse(value, &problem));
        }
        self.next += 1;
        let qualifiers = match (begins_with_a_value, self.last) {
            (true, Some(last)) => last,
            _ => Qualifiers {
                protocol,
                side: side.unwrap_or(Side::Either),
                kind: kind.unwrap_or(Kind::Host),
            },
        };
        self.last = Some(qualifiers);
        self.value(value, qualifiers)
    }

    fn side(&mut self) -> Option<Side> {
        let first = self.take(|word| ["src", "dst"].contains(&word))?;
        let is_source = first.text == "src";
        let other = if is_source { "dst" } else { "src" };
        let both = match self.words.get(self.next..self.next + 2) {
            Some([how, second]) if second.text == other => match how.text {
                "or" | "||" => Some(Side::Either),
                "and" | "&&" => Some(Side::Both),
                _ => None,
            },
            _ => None,
        };
        if both.is_some() {
            self.next += 2;
            return both;
        }
        Some(if is_source {
            Side::Source
        } else {
            Side::Destination
        })
    }

    fn value(&self, value: Word<'a>, of: Qualifiers<'a>) -> Result<Filter, FilterError> {
        let filter = match of.kind {
            Kind::Host => {
                let address: IpAddr = value.text.parse().map_err(|_| {
                    self.refuse(
                        value,
                        "a host is an address here, such as 10.0.1.2 or fd00:1::2",
                    )
                })?;
                of.side.of(Filter::from(address), Filter::to(address))
            }
            Kind::Net => {
                let prefix: IpNet = value.text.parse().map_err(|_| {
                    self.refuse(
                        value,
                        "a net is a prefix here, such as 10.0.1.0/24 or fd00:1::/64",
                    )
                })?;
                if prefix.trunc() != prefix {
                    let problem =
                        format!("it has bits behind its length: write {}", prefix.trunc());
                    return Err(self.refuse(value, &problem));
                }
                of.side.of(Filter::from(prefix), Filter::to(prefix))
            }
            Kind::Port => {
                let port = self.port(value, value.text)?;
                ports(of.side, port, port)
            }
            Kind::PortRange => {
                let ends = value.text.split_once('-');
                let (low, high) = ends.ok_or_else(|| {
                    self.refuse(value, "a range of ports is two numbers, such as 8000-8080")
                })?;
                let (low, high) = (self.port(value, low)?, self.port(value, high)?);
                ports(of.side, low.min(high), low.max(high))
            }
            Kind::Proto => self.protocol(value, of)?,
        };
        self.with_protocol(filter, of)
    }

    /// What stands before a value says of which packets it is.
    fn with_protocol(&self, filter: Filter, of: Qualifiers<'a>) -> Result<Filter, FilterError> {
        let Some(protocol) = of.protocol else {
            return Ok(filter);
        };
        let has_ports = ["tcp", "udp"].contains(&protocol.text);
        let is_network = ["ip", "ip6"].contains(&protocol.text);
        let fits = match of.kind {
            Kind::Port | Kind::PortRange => has_ports || is_network,
            Kind::Host | Kind::Net | Kind::Proto => is_network,
        };
        if !fits {
            let problem = match of.kind {
                Kind::Port | Kind::PortRange => format!("{} has no ports", protocol.text),
                _ => format!(
                    "`{}` says nothing of an address: write `{} and host ...`",
                    protocol.text, protocol.text
                ),
            };
            return Err(self.refuse(protocol, &problem));
        }
        Ok(of_protocol(protocol.text).and(filter))
    }

    fn port(&self, value: Word<'a>, text: &str) -> Result<u16, FilterError> {
        text.parse()
            .map_err(|_| self.refuse(value, "a port is a number here, from 0 to 65535"))
    }

    fn protocol(&self, value: Word<'a>, of: Qualifiers<'a>) -> Result<Filter, FilterError> {
        if of.side != Side::Either {
            return Err(self.refuse(value, "a protocol has no source and no destination"));
        }
        let number = match value.text.trim_start_matches('\\') {
            "icmp" => 1,
            "tcp" => 6,
            "udp" => 17,
            "icmp6" => 58,
            text => text.parse().map_err(|_| {
                self.refuse(
                    value,
                    "a protocol is icmp, icmp6, tcp, udp, or a number from 0 to 255",
                )
            })?,
        };
        Ok(Filter::protocol(number))
    }

    fn take(&mut self, is_it: impl Fn(&str) -> bool) -> Option<Word<'a>> {
        let word = self.peek().filter(|word| is_it(word.text))?;
        self.next += 1;
        Some(word)
    }

    fn peek(&self) -> Option<Word<'a>> {
        self.words.get(self.next).copied()
    }

    fn refuse(&self, word: Word<'_>, problem: &str) -> FilterError {
        FilterError {
            text: self.text.to_owned(),
            at: word.at,
            problem: problem.to_owned(),
        }
    }

    fn ends(&self, before: &str) -> FilterError {
        FilterError {
            text: self.text.to_owned(),
            at: self.text.chars().count(),
            problem: format!("it ends where {before} should stand"),
        }
    }
}

fn is_value(word: &str) -> bool {
    let is_digit = |it: char| it.is_ascii_digit();
    word.starts_with(is_digit) || word.contains(':') || word.starts_with('\\')
}

fn ports(side: Side, low: u16, high: u16) -> Filter {
    side.of(
        Filter::source_ports(low, high),
        Filter::destination_ports(low, high),
    )
}

fn of_protocol(name: &str) -> Filter {
    match name {
        "ip" => Filter::family(4),
        "ip6" => Filter::family(6),
        "tcp" => Filter::protocol(6),
        "udp" => Filter::protocol(17),
        "icmp" => Filter::family(4).and(Filter::protocol(1)),
        _ => Filter::family(6).and(Filter::protocol(58)),
    }
}
