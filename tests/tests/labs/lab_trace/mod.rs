//! `netpath trace`: what it tells of real packets, and that nothing of it stays. What a packet met is compared with what was
//! captured where it was to arrive.

mod arriving;
mod end;
mod file;
mod live;
mod vanishing;

use std::{net::IpAddr, time::Duration};

use netpath::probe::{capture::Capture, frame::ParsedFrame};
use netpath_tests::{lab::Lab, netpath};
use serde_json::Value;

/// What `netpath trace` says of probes, and its exit status.
fn trace(lab: &Lab, arguments: &str) -> (Value, Option<i32>) {
    let arguments = arguments.replace('@', lab.prefix());
    let words: Vec<&str> = ["trace", "-j"]
        .into_iter()
        .chain(arguments.split(' '))
        .collect();
    let output = netpath(&words).output().expect("netpath runs");
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments}: {error}: {output:?}"));
    (document, output.status.code())
}

/// The packets of a direction.
fn packets<'v>(document: &'v Value, direction: &str) -> Vec<&'v Value> {
    let packets = document["packets"].as_array().expect("packets").iter();
    packets.filter(|it| it["direction"] == direction).collect()
}

/// What happened to a packet, a short line each: place without the lab's prefix, interface, what, and where netpath sent it or why.
fn steps(lab: &Lab, packet: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let steps = packet["steps"].as_array().expect("steps").iter();
    steps
        .map(|step| {
            let mut words = vec![
                text(&step["place"]).replace(lab.prefix(), ""),
                text(&step["interface"]),
                text(&step["what"]),
            ];
            words.extend(["outcome", "egress", "reason"].map(|key| text(&step[key])));
            words.retain(|word| word != "-");
            words.join(" ")
        })
        .collect()
}

/// How many packets of this length came to an interface until now. `length` is that of the IP packet.
fn captured(capture: &mut Capture, length: usize) -> usize {
    let mut count = 0;
    while let Some(frame) = capture.next(Duration::from_millis(50)).expect("capture") {
        let bytes = frame.on_wire();
        let ip = ParsedFrame::parse(&bytes).and_then(|frame| frame.ip());
        count += usize::from(ip.is_ok_and(|ip| ip.length == length));
    }
    count
}

/// The whole length of an echo request with this payload.
fn length(payload: usize, to: IpAddr) -> usize {
    payload + 8 + if to.is_ipv4() { 20 } else { 40 }
}

/// An odd payload, so that no other packet has its length.
const PAYLOAD: usize = 333;

const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];
