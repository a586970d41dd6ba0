//! What is told of the rule that decides: in the words that it was written in, with its counters.

use netpath::{
    kernel_way::{
        self, Answer, Cause, Connection, End, Entry, Live, Packet, Question, RuleAt, State,
        Transport,
    },
    netns::Netns,
};
use netpath_common::Ifindex;

use super::world::{netns, run};

/// A namespace with 10.1.0.1 on an interface of its own, which is returned.
fn host() -> (Netns, Ifindex) {
    let host = netns();
    let script = "link add a0 type veth peer name a1\naddr add 10.1.0.1/24 dev a0\nlink set a1 up\nlink set a0 up\n";
    run(&host, "ip", &["-batch", "-"], script);
    let link = host.enter(|inside| netpath::netlink::Netlink::open(inside)?.link("a0"));
    let link = link
        .expect("entered")
        .expect("listed")
        .expect("it was made");
    (host, link.ifindex)
}

/// What becomes of a packet to the host.
fn answer(host: &Netns, ifindex: Ifindex, transport: Transport) -> Answer {
    let question = Question {
        packet: Packet {
            source: "10.1.0.2".parse().expect("an address"),
            destination: "10.1.0.1".parse().expect("an address"),
            transport,
            ttl: 64,
            tos: 0,
            length: 100,
            dont_fragment: false,
            mark: 0,
            flow_label: 0,
            fragments: None,
        },
        entry: Entry::By {
            ifindex,
            source_mac: None,
        },
        connection: Connection::New,
    };
    let answer = host
        .enter(|inside| kernel_way::ask(&State::read(inside)?, &Live::open(inside)?, &question));
    answer
        .expect("entered")
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The rule that drops a packet to port 53 of the host.
fn dropping(host: &Netns, ifindex: Ifindex) -> RuleAt {
    let transport = Transport::Udp {
        source_port: 4000,
        destination_port: 53,
    };
    match answer(host, ifindex, transport).certain() {
        Some(End::Dropped {
            cause: Cause::Rule(rule),
        }) => rule.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rule_is_told_in_the_words_that_it_was_written_in() {
    const WRITTEN: &str = "-A INPUT -p udp -m udp --dport 53 -j DROP";
    let accept = "INPUT -p tcp -j ACCEPT";
    for program in ["iptables-nft", "iptables-legacy"] {
        let (host, ifindex) = host();
        for rule in [accept, "INPUT -p udp --dport 53 -j DROP"] {
            let arguments: Vec<&str> = ["-A"].into_iter().chain(rule.split(' ')).collect();
            run(&host, program, &arguments, "");
        }
        let rule = dropping(&host, ifindex);
        assert_eq!((rule.text.as_str(), rule.number), (WRITTEN, 2), "{program}");
        assert_eq!(rule.count.map(|count| count.packets), Some(0), "{program}");
    }
    let (host, ifindex) = host();
    let script = "table inet t {\nchain in {\ntype filter hook input priority 0;\n\
                  tcp dport 22 accept\nudp dport 53 counter packets 7 bytes 700 drop\n}\n}\n";
    run(&host, "nft", &["-f", "-"], script);
    let rule = dropping(&host, ifindex);
    let written = "udp dport 53 counter packets 7 bytes 700 drop";
    assert_eq!((rule.text.as_str(), rule.number), (written, 2));
    assert_eq!(rule.count.map(|count| count.packets), Some(7));
}

#[test]
fn a_match_that_is_not_known_is_told_with_its_rule() {
    let (host, ifindex) = host();
    let rule = "-A INPUT -m recent --name x --rcheck -j DROP";
    run(
        &host,
        "iptables-nft",
        &rule.split(' ').collect::<Vec<_>>(),
        "",
    );
    let answer = answer(&host, ifindex, Transport::Other(132));
    assert_eq!(answer.ways.len(), 2);
    let unknown = answer.unknown();
    assert_eq!(unknown.len(), 1);
    assert_eq!(unknown[0].what, "match recent");
    let text = &unknown[0].rule.as_ref().expect("a rule").text;
    assert!(text.starts_with("-A INPUT -m recent --rcheck"), "{text}");
}
