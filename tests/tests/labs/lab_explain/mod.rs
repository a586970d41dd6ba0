//! `netpath explain` says what really happens: in healthy labs, and in broken ones, where it names the cause and a command that cures
//! it. Each packet that is explained is sent, too.

mod borders;
mod broken;
mod healthy;
mod unmoved;

use std::{net::IpAddr, process::Command, time::Duration};

use netpath::{
    explain::{self, Arrives, Explanation, Protocol, Question},
    probe::{Fragmentation, ping::PingOptions},
};
use netpath_tests::lab::Lab;

/// An echo from one end to another, and the answer.
pub fn question(source: impl ToString, destination: impl ToString) -> Question {
    let target = |text: String| {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    Question {
        source: target(source.to_string()),
        destination: target(destination.to_string()),
        protocol: Protocol::Icmp,
        source_port: None,
        destination_port: None,
        ttl: None,
        size: None,
        dont_fragment: false,
        mark: 0,
        dscp: 0,
        reply: Some(true),
        node: None,
        diff: false,
    }
}

/// What was found out, which must be something.
pub fn explained(question: &Question) -> Explanation {
    explain::explain(question).unwrap_or_else(|error| panic!("{error}: {question:?}"))
}

/// All that was found, for people.
pub fn shown(found: &Explanation) -> String {
    let mut text = String::new();
    for (which, way) in [("there", Some(&found.there)), ("back", found.back.as_ref())] {
        let Some(way) = way else {
            continue;
        };
        text += &format!("{which}: {}\n", way.packet);
        for hop in &way.hops {
            text += &format!("  {} by {:?} in by {:?}\n", hop.name, hop.by, hop.ingress);
            for step in &hop.steps {
                text += &format!("    {}: {}\n", step.what, step.text);
            }
            text += &format!("    > {}\n", hop.outcome);
        }
        text += &format!("  it {}\n", way.end);
    }
    format!("{text}{}\n{:?}", found.verdict, found.finding)
}

/// The echo that was explained is sent from an endpoint: whether the answer comes back.
pub fn comes_back(lab: &Lab, from: &str, to: IpAddr, size: Option<u32>) -> bool {
    let headers = if to.is_ipv4() { 28 } else { 48 };
    let options = PingOptions {
        timeout: Duration::from_millis(1500),
        payload_len: size.map_or(56, |size| (size - headers) as usize),
        fragmentation: match size {
            Some(_) => Fragmentation::Probe,
            None => PingOptions::default().fragmentation,
        },
        ..PingOptions::default()
    };
    lab.ping(from, to, &options).received == 1
}

/// Explains an echo of an endpoint's, sends it, and fails where these differ.
#[track_caller]
pub fn asserted(lab: &Lab, from: &str, to: IpAddr, size: Option<u32>) -> Explanation {
    let asked = Question {
        size,
        dont_fragment: size.is_some(),
        ..question(lab.name(from), to)
    };
    let found = explained(&asked);
    let came_back = comes_back(lab, from, to, size);
    let expected = match found.arrives {
        Arrives::Yes => true,
        Arrives::No => false,
        Arrives::May => panic!("nothing is uncertain here: {}", shown(&found)),
    };
    assert_eq!(came_back, expected, "{from} to {to}: {}", shown(&found));
    found
}

/// Runs the first command that a cure names.
pub fn obey(cure: &str) {
    let command = cure.split('`').nth(1);
    let command = command.unwrap_or_else(|| panic!("no command in: {cure}"));
    let command = match command.strip_prefix("netpath ") {
        Some(arguments) => format!("{} {arguments}", netpath_tests::binary().display()),
        None => command.to_owned(),
    };
    let output = Command::new("sh").args(["-c", &command]).output();
    let output = output.expect("a shell");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {stderr}");
}
