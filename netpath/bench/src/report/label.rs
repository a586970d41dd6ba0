//! How places and paths look in every plot, and what warnings say. The names themselves are in `bench/names.rs`.

use super::plot::{Colour, Style};
use crate::stats::{Cell, Warning};
use crate::{Family, Path, Reach};

/// Reach and family.
pub fn place((reach, family): (Reach, Family)) -> String {
    format!("{reach}, {}", family.title())
}

/// Reach and family as part of a file name.
pub fn place_slug((reach, family): (Reach, Family)) -> String {
    format!("{}_{}", reach.slug(), family.slug())
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

/// The look of a path: a colour for the kind, dashes for the number of rules and for what is not on netpath's nodes.
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
        Path::Floor | Path::FloorRemote => return dashed(Colour::Ink),
        Path::Nat => return dashed(Colour::Blue),
        Path::Bridge => return dashed(Colour::Green),
        Path::Macvlan => return dashed(Colour::Purple),
        Path::Ipvlan => return dashed(Colour::Orange),
        Path::Vxlan => return dashed(Colour::Sky),
        Path::Ipip => return dashed(Colour::Vermilion),
    };
    let dash = match rules {
        0 => "",
        1..=300 => "8 3",
        301..=2000 => "4 3",
        _ => "1.5 3",
    };
    Style { colour, dash }
}

fn dashed(colour: Colour) -> Style {
    Style {
        colour,
        dash: "10 3 2 3",
    }
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
            cell.measure.title(),
            place((cell.reach, cell.family))
        )
    };
    match warning {
        Warning::FewRounds { rounds } => format!(
            "{rounds} rounds: too few for intervals of 95 % (6 or more); no goal can be judged."
        ),
        Warning::Spread { cell, spread } => format!(
            "{}: direct itself is spread by {:.0} % (interquartile range over median), in the rounds' ratios too: the \
             machine was too noisy to say.",
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
