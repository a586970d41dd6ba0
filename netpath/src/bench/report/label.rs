//! The names that readers see, and how each path looks in every plot.

use super::plot::{Colour, Style};
use crate::bench::stats::{Cell, Warning};
use crate::bench::{Family, Measure, Path, Reach};

/// Where the endpoints are.
pub fn reach(reach: Reach) -> &'static str {
    match reach {
        Reach::SameNode => "same node",
        Reach::TwoNodes => "two nodes",
    }
}

/// An address family.
pub fn family(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// A measure.
pub fn measure(measure: Measure) -> &'static str {
    match measure {
        Measure::UdpPacket => "UDP packets",
        Measure::TcpRequest => "TCP request and response",
        Measure::TcpConnect => "TCP connections",
        Measure::TcpBulk => "bulk TCP",
    }
}

/// What one unit of a measure is.
pub fn unit(measure: Measure) -> &'static str {
    match measure {
        Measure::UdpPacket => "packet",
        Measure::TcpRequest => "request",
        Measure::TcpConnect => "connection",
        Measure::TcpBulk => "byte",
    }
}

/// Reach and family.
pub fn place(of: (Reach, Family)) -> String {
    format!("{}, {}", reach(of.0), family(of.1))
}

/// Reach and family as part of a file name.
pub fn place_slug(of: (Reach, Family)) -> &'static str {
    match of {
        (Reach::SameNode, Family::V4) => "same_node_v4",
        (Reach::SameNode, Family::V6) => "same_node_v6",
        (Reach::TwoNodes, Family::V4) => "two_nodes_v4",
        (Reach::TwoNodes, Family::V6) => "two_nodes_v6",
    }
}

/// A measure as part of a file name.
pub fn measure_slug(measure: Measure) -> &'static str {
    match measure {
        Measure::UdpPacket => "udp_packet",
        Measure::TcpRequest => "tcp_request",
        Measure::TcpConnect => "tcp_connect",
        Measure::TcpBulk => "tcp_bulk",
    }
}

/// The colour of reach and family, where both are shown at once.
pub fn place_colour(of: (Reach, Family)) -> Colour {
    match of {
        (Reach::SameNode, Family::V4) => Colour::Blue,
        (Reach::SameNode, Family::V6) => Colour::Sky,
        (Reach::TwoNodes, Family::V4) => Colour::Vermilion,
        (Reach::TwoNodes, Family::V6) => Colour::Orange,
    }
}

/// The look of a path: a colour for the kind, dashes for the number of rules.
pub fn style(path: Path) -> Style {
    let (colour, rules) = match path {
        Path::Direct => (Colour::Ink, 0),
        Path::Netpath => (Colour::Blue, 0),
        Path::Kernel => (Colour::Green, 0),
        Path::Iptables => (Colour::Vermilion, 0),
        Path::IptablesRules(rules) => (Colour::Vermilion, rules),
        Path::NftRules(rules) => (Colour::Orange, rules),
        Path::NftSet(rules) => (Colour::Purple, rules),
        Path::NftFlowtable => (Colour::Sky, 0),
    };
    let dash = match rules {
        0 => "",
        1..=300 => "8 3",
        301..=2000 => "4 3",
        _ => "1.5 3",
    };
    Style { colour, dash }
}

/// Yes or no.
pub fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// A warning as a sentence.
pub fn warning(warning: &Warning) -> String {
    let of = |cell: &Cell| {
        format!(
            "{}, {}",
            measure(cell.measure),
            place((cell.reach, cell.family))
        )
    };
    match warning {
        Warning::FewRounds { rounds } => format!(
            "{rounds} rounds: too few for intervals of 95 % (6 or more); no goal can be judged."
        ),
        Warning::Spread { cell, spread } => format!(
            "{}: direct itself is spread by {:.0} % (interquartile range over median): the machine was too \
             noisy to say.",
            of(cell),
            spread * 100.0
        ),
        Warning::Wide {
            path: judged,
            cell,
            ratio,
        } => format!(
            "{}: {} lies between {:.2} and {:.2} times direct: too wide an interval to say.",
            of(cell),
            judged,
            ratio.low,
            ratio.high
        ),
        Warning::Loss {
            path: judged,
            cell,
            lost,
        } => format!(
            "{}: {} lost {:.1} % of what was sent; its cost per unit holds the work for what was lost.",
            of(cell),
            judged,
            lost * 100.0
        ),
        Warning::Rejected { cells } => format!(
            "{cells} {} thrown away; listed below with the reason.",
            if *cells == 1 {
                "cell was"
            } else {
                "cells were"
            }
        ),
    }
}
