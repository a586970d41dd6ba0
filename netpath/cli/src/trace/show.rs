//! A packet's way as text, 80 columns wide.

use std::fmt::Write as _;

use netpath::{
    api::{TraceStep, TracedPacket},
    trace::{OF_A_WHOLE, is_arrival},
};
use netpath_bench::grouped;

use crate::output::folded;

const WIDTH: usize = 80;

/// A packet, a line for each step, and what became of it.
pub fn packet(packet: &TracedPacket) -> String {
    let mut text = format!("{}\n", headline(packet));
    let width = |of: fn(&TraceStep) -> usize| packet.steps.iter().map(of).max().unwrap_or(0);
    let place = width(|step| step.place.len());
    let device = width(|step| step.interface.as_ref().map_or(1, String::len));
    let mut before = 0;
    let mut ttl = Some(packet.ttl);
    for step in &packet.steps {
        let interface = step.interface.as_deref().unwrap_or("-");
        let since = format!("+{}", grouped(step.nanoseconds - before));
        let head = format!(
            "{since:>12} ns  {:place$}  {interface:device$}  ",
            step.place
        );
        before = step.nanoseconds;
        let mut what = happened(step);
        if step.ttl.is_some() && step.ttl != ttl {
            ttl = step.ttl;
            let _infallible = write!(what, ", ttl {}", ttl.unwrap_or(0));
        }
        append(&mut text, &head, &what);
    }
    append(&mut text, "  ", &verdict(packet));
    if let Some(cure) = &packet.cure {
        append(&mut text, "  ", cure);
    }
    text.push('\n');
    text
}

/// What became of a packet, in a sentence.
pub fn verdict(packet: &TracedPacket) -> String {
    let at = &packet.place;
    match (packet.outcome, &packet.why) {
        ("arrived", _) => format!("arrived at {at} after {} ns", grouped(packet.nanoseconds)),
        ("left", _) => format!(
            "left this machine at {at} by {}",
            packet.interface.as_deref().unwrap_or("-")
        ),
        ("dropped", Some(why)) => format!("vanished on {at}: {why}"),
        _ => format!("vanished: it was last seen on {at}"),
    }
}

fn headline(packet: &TracedPacket) -> String {
    let end = |address: &str, port: Option<u16>| match port {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address.to_owned(),
    };
    let kind = match (packet.protocol_number, packet.icmp_type) {
        (1, Some(8)) | (58, Some(128)) => " echo request".to_owned(),
        (1, Some(0)) | (58, Some(129)) => " echo reply".to_owned(),
        (_, Some(kind)) => format!(" type {kind} code {}", packet.icmp_code.unwrap_or(0)),
        (_, None) => String::new(),
    };
    let text = format!(
        "{}{kind} {} > {}, ttl {}, {} bytes",
        packet.protocol,
        end(&packet.source, packet.source_port),
        end(&packet.destination, packet.destination_port),
        packet.ttl,
        packet.length
    );
    folded(&text, WIDTH)
}

fn happened(step: &TraceStep) -> String {
    let mut text = match (step.what, step.outcome) {
        ("decided", Some(outcome)) => match (&step.egress, &step.reason) {
            (Some(egress), _) if outcome.starts_with("redirect") => {
                format!("netpath {outcome} to {egress}")
            }
            (_, Some(reason)) => format!("netpath {outcome} {reason}"),
            (_, None) => format!("netpath {outcome}"),
        },
        ("dropped", _) => {
            let reason = step.reason.as_deref().unwrap_or("no reason told");
            let calls: Vec<&str> = step
                .function
                .iter()
                .chain(&step.callers)
                .map(String::as_str)
                .collect();
            let how = match is_arrival(reason) {
                true => "nobody takes it:",
                false => "dropped",
            };
            match calls.is_empty() {
                true => format!("{how} {reason}"),
                false => format!("{how} {reason} in {}", calls.join(" < ")),
            }
        }
        ("consumed", _) => match &step.function {
            Some(function) if function == OF_A_WHOLE => {
                "put together with the other fragments".to_owned()
            }
            Some(function) => format!("taken in by {function}"),
            None => "taken in".to_owned(),
        },
        (what, _) => what.to_owned(),
    };
    if let Some([from, to]) = &step.rewritten {
        let _infallible = write!(text, " as {from} > {to}");
    }
    if step.mark != 0 {
        let _infallible = write!(text, ", mark {:#x}", step.mark);
    }
    if step.copy != 0 {
        let _infallible = write!(text, " (copy {})", step.copy);
    }
    text
}

/// A text behind a head; what does not fit goes on below, indented as far.
fn append(text: &mut String, head: &str, rest: &str) {
    let indent = head.chars().count();
    let width = WIDTH.saturating_sub(indent).max(24);
    for (index, line) in folded(rest, width).lines().enumerate() {
        match index {
            0 => text.push_str(head),
            _ => text.extend(std::iter::repeat_n(' ', indent)),
        }
        text.push_str(line);
        text.push('\n');
    }
}
