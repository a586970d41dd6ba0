//! Decoding of messages that Linux 6.18 sent, and a kernel that does not answer as it should.

use std::{
    io,
    os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use netlink_packet_core::ParseableParametrized as _;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
};
use netlink_sys::Socket;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use super::{
    channel::{About, Channel},
    *,
};

// Interfaces of the recording: 3 is a0, 5 is b0, whose other end is down.
const MULTIPATH: &str = "02100000fe0c00010000000008000f00fe000000080001000a0100000800060007000000240009001000000203000000080005000a0000021000100005000000080005000a000102";
const VIA_INET6: &str = "02100000fe6e00010000000008000f00fe000000080001000a020000160012000a00fe80000000000000000000000000000200000800040003000000";
const NEXTHOP_OBJECT: &str = "02180000fe0300010000000008000f00fe000000080001000a03010008001e000b000000080005000a0000030800040003000000";
const BLACKHOLE: &str = "02100000fc0300060000000008000f00e8030000080001000a040000";
const LINKDOWN: &str = "02100010fe0300011400000008000f00fe000000080001000a050000080007000a000001080005000a0001090800040005000000";
const UNREACHABLE6: &str = "0a300000fe0300070000000008000f00fe00000014000100fd0000040000000000000000000000000800060000040000080004000100000024000c0000000000000000000000000000000000000000000000000000000000000000000500140000000000";
const MULTIPATH6: &str = "0a300000fe0400010000000008000f00fe00000014000100fd00000600000000000000000000000008000600000400003c0009001c0000000300000014000500fd0000000000000000000000000000021c0000010300000014000500fd00000000000000000000000000000324000c0000000000000000000000000000000000000000000000000000000000000000000500140000000000";
const RULE: &str = "02181000fc0000010200000008000f00e803000008000e00ffffffff05001500000000000700030061300000080006004d00000008000a001000000008001000ff00000008001800350036000500160011000000080001000a080000080002000a090000";
const RULE_OF_ALL: &str =
    "02000000ff0000010000000008000f00ff00000008000e00ffffffff0500150002000000";

const RTM_NEWROUTE: u16 = 24;
const RTM_NEWRULE: u16 = 32;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
        .collect()
}

fn route(hex: &str) -> Route {
    match RouteNetlinkMessage::parse_with_param(&bytes(hex), RTM_NEWROUTE) {
        Ok(RouteNetlinkMessage::NewRoute(message)) => route::decode(&message)
            .expect("decoded")
            .expect("no exception"),
        other => panic!("{other:?}"),
    }
}

fn rule(hex: &str) -> Rule {
    match RouteNetlinkMessage::parse_with_param(&bytes(hex), RTM_NEWRULE) {
        Ok(RouteNetlinkMessage::NewRule(message)) => rule::decode(&message),
        other => panic!("{other:?}"),
    }
}

fn hop(via: &str, ifindex: u32) -> NextHop {
    NextHop {
        via: Some(via.parse().expect("address")),
        ifindex: Some(netpath_common::Ifindex(ifindex)),
        weight: 1,
        dead: false,
        linkdown: false,
        onlink: false,
        encapsulated: false,
    }
}

#[test]
fn every_next_hop_of_a_multipath_route_is_there() {
    let found = route(MULTIPATH);
    assert_eq!(
        found,
        Route {
            mtu: None,
            dst: "10.1.0.0/16".parse().expect("prefix"),
            from: None,
            table: 254,
            kind: RouteKind::Unicast,
            protocol: 12,
            metric: 7,
            tos: 0,
            scope: Scope::Universe,
            source: None,
            next_hops: vec![
                NextHop {
                    weight: 3,
                    ..hop("10.0.0.2", 3)
                },
                NextHop {
                    linkdown: true,
                    ..hop("10.0.1.2", 5)
                },
            ],
            nexthop_id: None,
        }
    );
    assert_eq!(found.single_next_hop(), None);
    assert!(!found.is_only_via("10.0.0.2".parse().expect("address")));
    assert_eq!(found.way().to_string(), "via 10.0.0.2 or via 10.0.1.2");

    let found = route(MULTIPATH6);
    assert_eq!(
        found.next_hops,
        [
            hop("fd00::2", 3),
            NextHop {
                weight: 2,
                ..hop("fd00::3", 3)
            }
        ]
    );
    assert_eq!(found.metric, 1024);
}

#[test]
fn a_router_of_the_other_family_is_a_next_hop() {
    let found = route(VIA_INET6);
    assert!(found.is_ours());
    assert_eq!(found.single_next_hop(), Some(&hop("fe80::2", 3)));
}

#[test]
fn a_nexthop_object_is_named_besides_what_it_leads_to() {
    let found = route(NEXTHOP_OBJECT);
    assert_eq!(found.nexthop_id, Some(11));
    assert_eq!(found.next_hops, [hop("10.0.0.3", 3)]);
    assert_eq!(found.way().to_string(), "via 10.0.0.3 by nexthop object 11");
}

#[test]
fn a_refusing_route_leads_nowhere() {
    let found = route(BLACKHOLE);
    assert_eq!(
        (found.kind, found.table, found.next_hops.len()),
        (RouteKind::Blackhole, 1000, 0)
    );
    assert_eq!(found.way().to_string(), "(blackhole)");
    // IPv6 says that it leads to lo.
    let found = route(UNREACHABLE6);
    assert_eq!(found.kind, RouteKind::Unreachable);
    assert_eq!(found.single_next_hop(), None);
}

#[test]
fn the_flags_of_a_next_hop_are_kept() {
    let found = route(LINKDOWN);
    assert_eq!(found.tos, 0x10);
    assert_eq!(found.source, Some("10.0.0.1".parse().expect("address")));
    assert_eq!(
        found.next_hops,
        [NextHop {
            linkdown: true,
            onlink: true,
            ..hop("10.0.1.9", 5)
        }]
    );
    // Flags 0x15: dead, on the link, without a carrier.
    let dead = LINKDOWN.replacen("14000000", "15000000", 1);
    assert!(route(&dead).next_hops[0].dead);
}

#[test]
fn a_rule_says_all_that_it_matches() {
    assert_eq!(
        rule(RULE),
        Rule {
            ipv6: false,
            priority: 77,
            action: RuleAction::Table(1000),
            selectors: [
                "not",
                "iif a0",
                "dport 53-54",
                "ipproto 17",
                "to 10.8.0.0/24",
                "from 10.9.0.0/16",
                "fwmark 0x10/0xff"
            ]
            .map(str::to_owned)
            .into(),
        }
    );
    assert_eq!(
        rule(RULE_OF_ALL),
        Rule {
            ipv6: false,
            priority: 0,
            action: RuleAction::Table(255),
            selectors: vec![],
        }
    );
}

// A stand-in for the kernel: the other end of a socket pair.

const ABOUT: About<'static> = About {
    action: "list",
    object: "interfaces",
};
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const MULTI: u16 = 2;
const CHANGED: u16 = 0x10;

struct Kernel(OwnedFd);

fn pair(patience: Duration) -> (Channel, Kernel) {
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .expect("socket pair");
    // SAFETY: the descriptor is open, and nobody else owns it any more.
    let socket = unsafe { Socket::from_raw_fd(ours.into_raw_fd()) };
    (Channel::over(socket, patience), Kernel(theirs))
}

impl Kernel {
    fn say(&self, messages: &[Vec<u8>]) {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&self.0);
        send(fd, &messages.concat(), MsgFlags::empty()).expect("sent");
    }

    /// Takes a request and returns its sequence number.
    fn hear(&self) -> u32 {
        let mut request = [0; 4096];
        let fd = std::os::fd::AsRawFd::as_raw_fd(&self.0);
        let length = recv(fd, &mut request, MsgFlags::empty()).expect("received");
        assert!(length >= 16, "{length} bytes");
        u32::from_ne_bytes(request[8..12].try_into().expect("four bytes"))
    }

    /// The other end is closed, and nothing more came from it.
    fn heard_all(&self) {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&self.0);
        assert_eq!(recv(fd, &mut [0; 16], MsgFlags::empty()), Ok(0));
    }
}

fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).expect("short");
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    message.extend(payload);
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

#[test]
fn a_route_that_is_known_takes_one_request() {
    let (channel, kernel) = pair(PATIENCE);
    let netlink = Netlink { channel };
    let new = NewRoute {
        dst: "10.2.0.0/16".parse().expect("prefix"),
        via: Some("10.0.0.2".parse().expect("address")),
        ifindex: None,
        onlink: false,
        source: None,
    };
    let known = KnownRoutes::of([route(VIA_INET6)]);
    kernel.say(&[message(NLMSG_ERROR, 0, 1, &[0; 20])]);
    netlink
        .add_route_among(&known, &new, Replace::Ours)
        .expect("replaced");
    assert_eq!(kernel.hear(), 1);
    // Somebody else's takes none.
    let known = KnownRoutes::of([Route {
        protocol: 3,
        ..route(VIA_INET6)
    }]);
    let error = netlink
        .add_route_among(&known, &new, Replace::Ours)
        .expect_err("somebody's");
    assert!(matches!(error, NetlinkError::RouteExists { .. }), "{error}");
    drop(netlink);
    kernel.heard_all();
}

/// The interface of this index, named `x`.
fn interface(index: u8) -> Vec<u8> {
    let mut payload = vec![0; 16];
    payload[4] = index;
    payload.extend([6, 0, 3, 0, b'x', 0, 0, 0]);
    payload
}

fn done(sequence: u32) -> Vec<u8> {
    message(NLMSG_DONE, MULTI, sequence, &[0; 4])
}

fn list(channel: &Channel) -> Result<Vec<u32>, NetlinkError> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    channel.dump(ABOUT, &request, |message| match message {
        RouteNetlinkMessage::NewLink(message) if message.attributes.is_empty() => {
            Err("without a name".to_owned())
        }
        RouteNetlinkMessage::NewLink(message) => Ok(Some(message.header.index)),
        _ => Ok(None),
    })
}

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

#[test]
fn a_kernel_that_does_not_answer_is_not_waited_for_for_ever() {
    let (channel, kernel) = pair(SHORT);
    let begun = Instant::now();
    let error = list(&channel).expect_err("no answer");
    assert!(matches!(error, NetlinkError::Timeout { .. }), "{error}");
    assert!(begun.elapsed() >= SHORT);
    assert_eq!(
        error.to_string(),
        "list interfaces: the kernel did not answer within 50ms"
    );
    assert_eq!(kernel.hear(), 1);
    // What comes too late is not taken for the answer to the next request.
    kernel.say(&[message(RTM_NEWLINK, MULTI, 1, &interface(7)), done(1)]);
    kernel.say(&[message(RTM_NEWLINK, MULTI, 2, &interface(9)), done(2)]);
    assert_eq!(list(&channel).expect("answered"), [9]);
}

#[test]
fn a_list_that_stops_half_way_is_no_list() {
    let (channel, kernel) = pair(SHORT);
    kernel.say(&[message(RTM_NEWLINK, MULTI, 1, &interface(7))]);
    let error = list(&channel).expect_err("no end");
    assert!(matches!(error, NetlinkError::Timeout { .. }), "{error}");
}

#[test]
fn a_list_that_changed_meanwhile_is_asked_for_again_and_not_for_ever() {
    let (channel, kernel) = pair(PATIENCE);
    kernel.say(&[
        message(RTM_NEWLINK, MULTI | CHANGED, 1, &interface(7)),
        done(1),
    ]);
    kernel.say(&[message(RTM_NEWLINK, MULTI, 2, &interface(8)), done(2)]);
    assert_eq!(list(&channel).expect("the second time"), [8]);

    for sequence in 3..=12 {
        let end = message(NLMSG_DONE, MULTI | CHANGED, sequence, &[0; 4]);
        kernel.say(&[message(RTM_NEWLINK, MULTI, sequence, &interface(7)), end]);
    }
    let error = list(&channel).expect_err("each time");
    assert!(
        matches!(error, NetlinkError::Interrupted { attempts: 10, .. }),
        "{error}"
    );
}

#[test]
fn a_message_that_cannot_be_decoded_fails_the_whole_list() {
    let (channel, kernel) = pair(PATIENCE);
    // An attribute that says it is longer than the message.
    let mut broken = interface(8);
    broken[16] = 200;
    // An interface without a name.
    let nameless = &interface(8)[..16];
    for (payload, sequence) in [(broken.as_slice(), 1), (nameless, 2)] {
        kernel.say(&[
            message(RTM_NEWLINK, MULTI, sequence, &interface(7)),
            message(RTM_NEWLINK, MULTI, sequence, payload),
        ]);
        kernel.say(&[
            message(RTM_NEWLINK, MULTI, sequence, &interface(9)),
            done(sequence),
        ]);
        let error = list(&channel).expect_err("undecoded");
        assert!(matches!(error, NetlinkError::Undecoded { .. }), "{error}");
    }
    // All of it was read.
    kernel.say(&[message(RTM_NEWLINK, MULTI, 3, &interface(9)), done(3)]);
    assert_eq!(list(&channel).expect("a good one"), [9]);
}

#[test]
fn what_the_kernel_says_about_an_error_is_told() {
    let (channel, kernel) = pair(PATIENCE);
    let mut payload = (-libc::EINVAL).to_ne_bytes().to_vec();
    payload.extend([0; 16]);
    payload.extend([11, 0, 1, 0]);
    payload.extend(b"no way\0\0");
    kernel.say(&[message(NLMSG_ERROR, 0x200, 1, &payload)]);
    let error = list(&channel).expect_err("refused");
    assert_eq!(error.errno(), Some(libc::EINVAL));
    let why = io::Error::from_raw_os_error(libc::EINVAL);
    assert_eq!(
        error.to_string(),
        format!("list interfaces: {why} (no way)")
    );
    // A list that fails at its end.
    let end = message(NLMSG_DONE, MULTI, 2, &(-libc::EBUSY).to_ne_bytes());
    kernel.say(&[message(RTM_NEWLINK, MULTI, 2, &interface(7)), end]);
    let error = list(&channel).expect_err("refused");
    assert_eq!(error.errno(), Some(libc::EBUSY));
}

#[test]
fn an_answer_longer_than_usual_is_read_whole() {
    let (channel, kernel) = pair(PATIENCE);
    let mut all: Vec<_> = (0..2000)
        .map(|_| message(RTM_NEWLINK, MULTI, 1, &interface(7)))
        .collect();
    all.push(done(1));
    assert!(all.concat().len() > 2 * 32 * 1024);
    kernel.say(&all);
    assert_eq!(list(&channel).expect("answered").len(), 2000);
}

#[test]
fn a_request_is_over_when_the_kernel_says_so() {
    let (channel, kernel) = pair(PATIENCE);
    kernel.say(&[message(NLMSG_ERROR, 0, 1, &[0; 20])]);
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName("x".to_owned()));
    let request = RouteNetlinkMessage::NewLink(message);
    channel.request(ABOUT, request, 0).expect("done");
    assert_eq!(kernel.hear(), 1);
}

/// An interface's message: its index, and attributes.
fn link_message(attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut payload = vec![0; 16];
    payload[4] = 7;
    for (kind, value) in attributes {
        payload.extend(attribute::attribute(*kind, value));
    }
    payload
}

fn nested(attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    link_message(attributes)[16..].to_vec()
}

#[test]
fn what_this_kernel_has_no_interface_of_is_read() {
    let name = (3, b"x\0".to_vec());
    let word = |number: u32| number.to_ne_bytes().to_vec();
    // A port of a VRF, whose index is 9.
    let info = nested(&[(1, b"veth\0".to_vec()), (4, b"vrf\0".to_vec())]);
    let link = link::decode(&link_message(&[name.clone(), (10, word(9)), (18, info)]));
    let link = link.expect("decoded");
    assert_eq!(link.controller, netpath_common::Ifindex(9));
    assert_eq!(link.port_of.as_deref(), Some("vrf"));
    // XDP of several kinds at once, of a kernel that tells of the only one, of a mode that is not known, and of none.
    let program = |mode, program| XdpProgram { mode, program };
    for (xdp, expected) in [
        (
            vec![(2, vec![4]), (6, word(5)), (7, word(6))],
            vec![program(XdpMode::Generic, 5), program(XdpMode::Offload, 6)],
        ),
        (
            vec![(2, vec![1]), (4, word(5))],
            vec![program(XdpMode::Native, 5)],
        ),
        (
            vec![(2, vec![9]), (4, word(5))],
            vec![program(XdpMode::Other(9), 5)],
        ),
        (vec![(2, vec![0])], vec![]),
    ] {
        let link = link::decode(&link_message(&[name.clone(), (43, nested(&xdp))]));
        let link = link.expect("decoded");
        assert_eq!((link.xdp, link.undecoded), (expected, None));
    }
}

#[test]
fn an_interface_that_makes_no_sense_is_there_and_says_so() {
    let name = (3, b"x\0".to_vec());
    for (odd, expected) in [
        ((4, vec![1, 2]), "its MTU has 2 bytes"),
        ((43, vec![9, 0, 1, 0]), "attribute 1 of 9 bytes in 4 bytes"),
        (
            (43, nested(&[(2, vec![1])])),
            "its XDP program has no number",
        ),
    ] {
        let link = link::decode(&link_message(&[name.clone(), odd, (10, vec![9, 0, 0, 0])]));
        let link = link.expect("there");
        assert_eq!(link.undecoded.as_deref(), Some(expected));
        // What comes behind it is read all the same.
        assert_eq!(link.controller, netpath_common::Ifindex(9));
    }
    let link = link::decode(&link_message(&[])).expect("there");
    assert_eq!(link.ifindex, netpath_common::Ifindex(7));
    assert_eq!(link.undecoded.as_deref(), Some("it has no name"));
    // Whose it is, nobody knows.
    assert!(link::decode(&[0; 15]).is_err());
}

#[test]
fn a_policy_that_makes_no_sense_is_an_error() {
    let mut payload = vec![0; 168];
    // AF_INET, a prefix of 33 bits.
    payload[40] = 2;
    assert!(xfrm::decode(&payload).is_ok());
    payload[42] = 33;
    assert!(xfrm::decode(&payload).is_err());
    // Of another family its selector is not known, and it is there.
    payload[40] = 9;
    (payload[160], payload[161]) = (3, 2);
    let policy = xfrm::decode(&payload).expect("there");
    assert_eq!(policy.selector, None);
    assert_eq!(policy.direction, XfrmDirection::Other(3));
    assert_eq!(policy.action, XfrmAction::Other(2));
    assert!(xfrm::decode(&payload[..160]).is_err());
    // A mark, and a template, that are cut off.
    for (kind, length) in [(21, 4), (5, 60)] {
        let mut payload = payload.clone();
        payload.extend(attribute::attribute(kind, &vec![0; length]));
        assert!(xfrm::decode(&payload).is_err(), "{kind}");
    }
}

#[test]
fn a_priority_by_itself_tells_only_of_filters_that_are_not_listed() {
    let filter = |priority, handle| Filter {
        kind: "bpf".to_owned(),
        priority,
        protocol: 3,
        chain: 0,
        handle,
        program: None,
        program_name: None,
    };
    let listed = vec![filter(1, 0), filter(1, 1), filter(1, 2), filter(2, 0)];
    let expected = [filter(1, 1), filter(1, 2), filter(2, 0)];
    assert_eq!(tc::without_heads(listed), expected);
}

#[test]
fn messages_of_another_protocol_are_carried_by_their_bytes() {
    let (channel, kernel) = pair(PATIENCE);
    let request = raw::Raw {
        kind: 0x0a04,
        payload: vec![2, 0, 0, 0],
    };
    // The same exchange as rtnetlink's: what changed meanwhile is listed anew, whole.
    kernel.say(&[message(0x0a03, MULTI | CHANGED, 1, &[1; 4]), done(1)]);
    kernel.say(&[message(0x0a03, MULTI, 2, &[2; 5])]);
    kernel.say(&[message(0x0a03, MULTI, 2, &[3; 4]), done(2)]);
    let found = channel
        .dump(ABOUT, &request, |message: raw::Raw| Ok(Some(message)))
        .expect("the second time");
    let answer = |payload: &[u8]| raw::Raw {
        kind: 0x0a03,
        payload: payload.to_vec(),
    };
    assert_eq!(found, [answer(&[2; 5]), answer(&[3; 4])]);
    assert_eq!(kernel.hear(), 1);
}
