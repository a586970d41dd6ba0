//! An interface goes, and something else gets its index, its name or its address: no packet of the one is taken
//! for the other's, and no counter is mixed.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use aya::programs::{SchedClassifier, TcAttachType};
use netpath::{
    counters::{self, Reason},
    datapath::{AttachMode, attach_mode},
    netns::Netns,
    probe::{
        capture::{Capture, CapturedFrame, Direction, Injector},
        frame::{FrameBuilder, ParsedFrame, ParsedIp, Transport},
        measure::StopOnDrop,
        stream::{StreamOptions, udp_stream},
    },
    provision::{self, ProvisionError, UpOptions},
    reconcile::{Refusal, Refused},
};
use netpath_common::{DropReason, Ifindex, Mac, Outcome};
use netpath_tests::lab::{Bytes::Exactly, Deadline, Lab, TWO_NODES, addresses, run, udp_port};

/// Destination port of the datagrams that are watched for, and of those that end a watch.
const WATCHED: u16 = 4_001;
const LAST: u16 = 4_002;

const PAYLOAD: [u8; 40] = [0x5a; 40];

/// `skb->len` of a datagram.
fn length(address: IpAddr) -> u64 {
    let header = if address.is_ipv4() { 20 } else { 40 };
    14 + header + 8 + PAYLOAD.len() as u64
}

/// An endpoint that puts datagrams of any source on its wire.
struct Sender {
    macs: (Mac, Mac),
    injector: Injector,
}

impl Sender {
    fn new(lab: &Lab, endpoint: &str) -> Self {
        let record = lab.record("A", endpoint);
        Self {
            macs: (record.endpoint_mac, record.host_mac),
            injector: lab.injector(endpoint, "eth0"),
        }
    }

    fn send(&self, source: IpAddr, destination: IpAddr, port: u16) {
        let frame = FrameBuilder::new(self.macs.0, self.macs.1);
        let frame = netpath_tests::between(frame, source, destination);
        let frame = frame.udp(4_000, port).payload(&PAYLOAD).build();
        self.injector.send(&frame).expect("send");
    }
}

/// Where a UDP datagram that came in was sent to.
fn port(frame: &CapturedFrame) -> Option<u16> {
    if frame.direction == Direction::Outgoing {
        return None;
    }
    udp_port(&frame.bytes)
}

/// Datagrams of a watch that have come in so far.
fn watched(capture: &mut Capture) -> usize {
    let mut count = 0;
    while let Some(frame) = capture.next(Duration::ZERO).expect("capture") {
        count += usize::from(port(&frame) == Some(WATCHED));
    }
    count
}

/// Waits for the datagram that ends a watch, and says how many of the watched were before it.
fn watched_until_last(capture: &mut Capture) -> usize {
    let mut count = 0;
    loop {
        let seen = capture.wait_for(
            |frame| matches!(port(frame), Some(WATCHED | LAST)),
            Duration::from_secs(3),
        );
        let seen = seen.expect("capture").expect("the last datagram");
        match port(&seen) {
            Some(LAST) => return count,
            _ => count += 1,
        }
    }
}

/// Waits until an interface of a node is gone.
fn await_gone(lab: &Lab, node: &str, dev: &str) {
    let deadline = Deadline::new();
    while lab.ip(node, "-o link").contains(&format!(" {dev}@")) {
        deadline.check(|| format!("{dev} stays"));
        thread::sleep(Duration::from_millis(2));
    }
}

/// Deletes an endpoint's namespace behind netpath's back, and waits for its veth to be gone. The index that
/// becomes free.
fn delete_namespace(lab: &Lab, endpoint: &str, host_dev: &str) -> Ifindex {
    let index = lab.record("A", endpoint).host_ifindex;
    Netns::remove(&lab.name(endpoint)).expect("remove");
    await_gone(lab, "A", host_dev);
    index
}

fn stream(lab: &Lab, from: &str, to: &str, addresses: (IpAddr, IpAddr), packets: u64) {
    let options = StreamOptions {
        packets,
        payload_len: PAYLOAD.len(),
        ..StreamOptions::new(addresses.0, addresses.1)
    };
    let report = udp_stream(&lab.netns(from), &lab.netns(to), &options);
    let report = report.unwrap_or_else(|error| panic!("{error}"));
    assert!(report.is_exact(packets), "{from} to {to}: {report:?}");
}

/// The rows of a node's `netpath stats` about an endpoint that is the sender, or the receiver of redirects, as
/// "ingress > egress outcome", with packets.
fn rows_of(lab: &Lab, endpoint: &str) -> Vec<(String, u64)> {
    let endpoint = lab.name(endpoint);
    let rows = counters::read(&lab.name("A")).expect("counters");
    rows.into_iter()
        .filter(|row| row.endpoint.as_ref() == Some(&endpoint))
        // Hosts talk to their link when they please.
        .filter(|row| !matches!(row.outcome, Outcome::Punt | Outcome::Deliver))
        // Also before all is ready.
        .filter(|row| row.reason != Some(Reason::Drop(DropReason::NotReady)))
        .map(|row| {
            let egress = row.egress.as_deref().unwrap_or("-");
            let hop = format!("{} > {egress} {}", row.ingress, row.outcome.name());
            (hop, row.packets)
        })
        .collect()
}

/// That since `before` an interface's packets were all counted, whatever became of rows meanwhile.
fn assert_law(lab: &Lab, dev: &str, before: (u64, u64)) {
    let deadline = Deadline::within(Duration::from_secs(3));
    loop {
        let (counted, received) = lab.traffic("A").packets_in(dev);
        if counted.checked_sub(before.0) == Some(received - before.1) {
            return;
        }
        deadline.check(|| {
            format!(
                "{dev}: counted {counted} after {}, received {received} after {}",
                before.0, before.1
            )
        });
    }
}

#[test]
fn an_endpoint_that_is_made_again_counts_from_zero() {
    let lab = Lab::up(TWO_NODES);
    let before = lab.traffic("A");
    for family in [0, 1] {
        let [a1, a2] = ["a1", "a2"].map(|of| addresses(of)[family]);
        stream(&lab, "a1", "a2", (a1, a2), 300);
        stream(&lab, "a2", "a1", (a2, a1), 200);
    }
    let first = lab.traffic("A");
    assert_eq!(first.since(&before).row("va1 > va2 redirect_peer").0, 600);

    let old = delete_namespace(&lab, "a2", "va2");
    lab.converge();
    assert_ne!(lab.record("A", "a2").host_ifindex, old);
    let again = lab.traffic("A");
    assert_eq!(again.row("va1 > va2 redirect_peer"), (0, 0));
    assert_eq!(again.row("va2 > va1 redirect_peer"), (0, 0));
    // What a1 has sent stays counted, or a1's sum would not be what came in from it.
    assert_eq!(
        again.row("va1 > - redirect_peer"),
        first.row("va1 > va2 redirect_peer")
    );
    assert_law(&lab, "va1", before.packets_in("va1"));

    for family in [0, 1] {
        let [a1, a2] = ["a1", "a2"].map(|of| addresses(of)[family]);
        stream(&lab, "a1", "a2", (a1, a2), 30);
        let bytes = Exactly(30 * length(a1));
        let before = lab.traffic("A");
        stream(&lab, "a2", "a1", (a2, a1), 30);
        lab.assert_counted("A", &before, &[("va2 > va1 redirect_peer", 30, bytes)]);
    }
    let now = lab.traffic("A");
    assert_eq!(now.row("va1 > va2 redirect_peer").0, 60);
    assert_eq!(
        now.row("va1 > - redirect_peer"),
        again.row("va1 > - redirect_peer")
    );
    // Once more: both times are in one row.
    delete_namespace(&lab, "a2", "va2");
    lab.converge();
    let (kept, _) = lab.traffic("A").row("va1 > - redirect_peer");
    assert_eq!(kept, 660);
    assert_law(&lab, "va1", before.packets_in("va1"));
}

/// The heir of a2's addresses, under the host-side name given.
fn with_an_heir(host_dev: &str) -> String {
    TWO_NODES.replace(
        r#"{ name = "@a2", addresses = ["10.0.2.2/24", "fd00:2::2/64"], host_dev = "va2" }"#,
        &format!(
            r#"{{ name = "@a9", addresses = ["10.0.2.2/24", "fd00:2::2/64"], host_dev = "{host_dev}" }}"#
        ),
    )
}

#[test]
fn an_heir_of_addresses_and_of_a_name_inherits_no_counter() {
    for (is_deleted, host_dev) in [(true, "va9"), (true, "va2"), (false, "va2")] {
        let mut lab = Lab::up(TWO_NODES);
        let before = lab.traffic("A").packets_in("va1");
        for family in [0, 1] {
            let [a1, a2] = ["a1", "a2"].map(|of| addresses(of)[family]);
            stream(&lab, "a1", "a2", (a1, a2), 100);
        }
        if is_deleted {
            delete_namespace(&lab, "a2", "va2");
        }
        lab.rewrite(&with_an_heir(host_dev));
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
        assert_eq!(rows_of(&lab, "a2"), [], "of one that is gone");
        assert_eq!(rows_of(&lab, "a9"), [], "of one that is new");
        for family in [0, 1] {
            let [a1, a9] = ["a1", "a2"].map(|of| addresses(of)[family]);
            stream(&lab, "a1", "a9", (a1, a9), 20);
            stream(&lab, "a9", "a1", (a9, a1), 10);
        }
        assert_eq!(
            rows_of(&lab, "a9"),
            [(format!("{host_dev} > va1 redirect_peer"), 20)]
        );
        let row = format!("va1 > {host_dev} redirect_peer");
        assert_eq!(lab.traffic("A").row(&row).0, 40);
        assert_eq!(lab.traffic("A").row("va1 > - redirect_peer").0, 200);
        assert_law(&lab, "va1", before);
    }
}

/// With an endpoint that is made before a2 is.
fn with_a3() -> String {
    TWO_NODES.replace(
        r#"{ name = "@a2","#,
        r#"{ name = "@a3", addresses = ["10.0.5.2/24", "fd00:5::2/64"], host_dev = "va3" },
    { name = "@a2","#,
    )
}

/// Makes a3's veth again, as netpath made it, but with this index: the kernel gives out one of its own choice
/// only where nobody asks for another.
fn move_a3_to(lab: &Lab, index: Ifindex) {
    let a3 = lab.record("A", "a3");
    lab.ip("A", "link del va3");
    lab.ip(
        "A",
        &format!(
            "link add va3 index {} address {} type veth peer name eth0 address {} netns {}",
            index.0,
            a3.host_mac,
            a3.endpoint_mac,
            lab.name("a3")
        ),
    );
}

#[test]
fn an_endpoint_with_a_dead_ones_index_gets_none_of_its_packets_and_rights() {
    let lab = Lab::up(&with_a3());
    let a3: [IpAddr; 2] = ["10.0.5.2", "fd00:5::2"].map(|text| text.parse().expect("address"));
    for (family, a3) in a3.into_iter().enumerate() {
        let [a1, a2] = ["a1", "a2"].map(|of| addresses(of)[family]);
        stream(&lab, "a1", "a2", (a1, a2), 100);
        stream(&lab, "a1", "a3", (a1, a3), 10);
        stream(&lab, "a2", "a1", (a2, a1), 100);
    }
    let start = lab.traffic("A").packets_in("va1");
    let index = delete_namespace(&lab, "a2", "va2");
    move_a3_to(&lab, index);

    // a3 is made true first; then somebody stops it.
    let options = UpOptions::default();
    let interrupted = options.interrupted.clone();
    let result = provision::up(lab.topology(), &options, &mut |change| {
        interrupted.store(change.name == lab.name("a3"), Ordering::Relaxed);
    });
    assert!(
        matches!(result, Err(ProvisionError::Interrupted)),
        "{result:?}"
    );
    assert_eq!(lab.record("A", "a3").host_ifindex, index);
    assert_eq!(rows_of(&lab, "a2"), []);
    assert_eq!(rows_of(&lab, "a3"), []);

    let (from_a1, from_a3) = (Sender::new(&lab, "a1"), Sender::new(&lab, "a3"));
    let (mut at_a1, mut at_a3) = (lab.capture("a1", "eth0"), lab.capture("a3", "eth0"));
    let before = lab.traffic("A");
    for (family, a3) in a3.into_iter().enumerate() {
        let [a1, a2] = ["a1", "a2"].map(|of| addresses(of)[family]);
        // What is for a2 does not arrive at a3, and a3 does not speak for a2.
        for _ in 0..5 {
            from_a1.send(a1, a2, WATCHED);
            from_a3.send(a2, a1, WATCHED);
        }
        from_a1.send(a1, a3, LAST);
        assert_eq!(watched_until_last(&mut at_a3), 0, "at a3, for {a2}");
        from_a3.send(a3, a1, LAST);
        assert_eq!(watched_until_last(&mut at_a1), 0, "at a1, from {a2}");
    }
    let deadline = Deadline::new();
    let spoofed = loop {
        let difference = lab.traffic("A").since(&before);
        let row = difference.row("va3 > - drop spoofed");
        if row.0 >= 10 {
            break row;
        }
        deadline.check(|| format!("{difference:#?}"));
    };
    let expected: u64 = [0, 1]
        .map(|family| 5 * length(addresses("a2")[family]))
        .iter()
        .sum();
    assert_eq!(spoofed, (10, expected));

    lab.converge();
    assert_eq!(lab.plan(), Vec::<String>::new());
    let before = lab.traffic("A");
    for family in [0, 1] {
        let [a1, a2] = ["a1", "a2"].map(|of| addresses(of)[family]);
        stream(&lab, "a1", "a2", (a1, a2), 7);
    }
    // Undoing has brought a2 back: what was for it has arrived there.
    assert_eq!(before.row("va1 > va2 redirect_peer").0, 10);
    assert_eq!(lab.traffic("A").row("va1 > va2 redirect_peer").0, 10 + 14);
    assert_law(&lab, "va1", start);
}

#[test]
fn somebodys_interface_of_a_dead_ones_index_gets_none_of_its_packets() {
    let mut lab = Lab::up(TWO_NODES);
    drop(lab.foreign_namespace("F"));
    let index = delete_namespace(&lab, "a2", "va2");
    lab.ip(
        "A",
        &format!(
            "link add theirs index {} type veth peer name peer0 netns {}",
            index.0,
            lab.name("F")
        ),
    );
    lab.ip("A", "link set theirs up");
    // Without an address it says nothing of itself, which nobody would count.
    lab.ip("F", "link set peer0 addrgenmode none");
    lab.ip("F", "link set peer0 up");
    let mut at_theirs = lab.capture("F", "peer0");
    let mut at_a1 = lab.capture("a1", "eth0");
    let from_a1 = Sender::new(&lab, "a1");
    for is_there in [true, false] {
        if !is_there {
            lab.ip("A", "link del theirs");
        }
        for family in [0, 1] {
            let [a1, a2] = ["a1", "a2"].map(|of| addresses(of)[family]);
            let before = lab.traffic("A");
            from_a1.send(a1, a2, WATCHED);
            // As with the fast path off: the kernel says that there is no route.
            let answer = at_a1.wait_for(|frame| is_no_route(frame, a2), Duration::from_secs(3));
            assert!(
                answer.expect("capture").is_some(),
                "{a2}, there: {is_there}"
            );
            let row = "va1 > - punt endpoint_gone";
            lab.assert_counted("A", &before, &[(row, 1, Exactly(length(a1)))]);
        }
        if is_there {
            assert_eq!(watched(&mut at_theirs), 0);
        }
    }
    lab.converge();
    assert_eq!(lab.plan(), Vec::<String>::new());
    for family in [0, 1] {
        let [a1, a2] = ["a1", "a2"].map(|of| addresses(of)[family]);
        stream(&lab, "a1", "a2", (a1, a2), 50);
    }
}

/// Whether a frame that came in is the kernel's word that it has no route to an address: ICMP Net Unreachable,
/// ICMPv6 No Route.
fn is_no_route(frame: &CapturedFrame, to: IpAddr) -> bool {
    let Ok(packet) = ParsedFrame::parse(&frame.bytes).and_then(|frame| frame.ip()) else {
        return false;
    };
    let kind = match packet.transport() {
        Ok(Transport::Icmp {
            kind,
            code: 0,
            payload,
            ..
        }) if ParsedIp::parse(payload).is_ok_and(|quoted| quoted.destination == to) => kind,
        _ => return false,
    };
    kind == if to.is_ipv4() { 3 } else { 1 }
}

#[test]
fn somebodys_interface_of_a_dead_ones_name_is_left_alone() {
    let mut lab = Lab::up(TWO_NODES);
    drop(lab.foreign_namespace("F"));
    delete_namespace(&lab, "a2", "va2");
    let stranger = lab.name("F");
    lab.ip(
        "A",
        &format!("link add va2 type veth peer name peer0 netns {stranger}"),
    );
    lab.ip("A", "link set va2 up");
    lab.ip("F", "link set peer0 up");
    let index = lab.inside("A", || fs_index("va2"));

    // Whoever switches the fast path switches netpath's interfaces.
    let mut off = lab.fast_path(false, "A", None);
    let mut on = lab.fast_path(true, "A", None);
    off.sort();
    on.sort();
    // The pins of what is gone go too; a filter went with its interface.
    let gone: &[&str] = match attach_mode().expect("the kernel answers") {
        AttachMode::Tcx => &["up0", "va1", "va2"],
        AttachMode::Clsact => &["up0", "va1"],
    };
    let gone: Vec<_> = gone
        .iter()
        .map(|dev| format!("~ fast path {dev} on A: off"))
        .collect();
    assert_eq!(off, gone);
    assert_eq!(
        on,
        ["up0", "va1"].map(|dev| format!("~ fast path {dev} on A: on"))
    );
    for (hook, filters) in [
        (TcAttachType::Ingress, "ingress"),
        (TcAttachType::Egress, "egress"),
    ] {
        match attach_mode().expect("the kernel answers") {
            AttachMode::Tcx => {
                let attached = lab.inside("A", || SchedClassifier::query_tcx("va2", hook));
                let (_, programs) = attached.expect("query");
                assert!(programs.is_empty(), "{filters}: {programs:?}");
            }
            AttachMode::Clsact => {
                let listing = lab.run("A", &format!("tc filter show dev va2 {filters}"));
                assert_eq!(listing, "");
            }
        }
    }
    let refused = lab.try_converge();
    let expected = Refusal::ForeignInterface {
        dev: "va2".to_owned(),
        netns: None,
        key: "host_dev",
    };
    assert!(
        matches!(&refused, Err(ProvisionError::Refused(Refused { refusal, .. })) if *refusal == expected),
        "{refused:?}"
    );
    assert_eq!(
        lab.inside("A", || fs_index("va2")),
        index,
        "it is still theirs"
    );

    // Its packets are nobody's.
    let frame = FrameBuilder::new(Mac([2, 0, 0, 0, 0, 7]), Mac([0xff; 6]));
    let (a1, a2) = (addresses("a1")[0], addresses("a2")[0]);
    let frame = netpath_tests::between(frame, a2, a1)
        .udp(4_000, WATCHED)
        .build();
    lab.injector("F", "peer0").send(&frame).expect("send");
    let deadline = Deadline::new();
    while lab.traffic("A").packets_in("va2").1 == 0 {
        deadline.check(|| "the packet does not come in".to_owned());
    }
    let hops = lab.datapath("A").maps.hops().expect("hops");
    assert!(
        hops.keys()
            .all(|hop| hop.ingress != index && hop.egress != index),
        "{hops:?}"
    );

    lab.ip("A", "link del va2");
    lab.converge();
    assert_eq!(lab.plan(), Vec::<String>::new());
    for family in [0, 1] {
        let [a1, a2] = ["a1", "a2"].map(|of| addresses(of)[family]);
        stream(&lab, "a1", "a2", (a1, a2), 9);
    }
    assert_eq!(lab.traffic("A").row("va1 > va2 redirect_peer").0, 18);
}

/// An interface's index in the calling thread's namespace.
fn fs_index(dev: &str) -> Ifindex {
    let listing = run(&format!("ip -o link show dev {dev}"));
    let (index, _) = listing.split_once(':').expect("an index");
    Ifindex(index.parse().expect("a number"))
}

#[test]
fn a_veth_that_goes_down_and_up_under_traffic() {
    let lab = Lab::up(TWO_NODES);
    let before = lab.traffic("A");
    let lost_before = backlog_drops();
    let sender = Sender::new(&lab, "a1");
    let mut elsewhere = lab.capture("b1", "eth0");
    let stop = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let sent = scope.spawn(|| {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                for family in [0, 1] {
                    let [a1, a2] = ["a1", "a2"].map(|of| addresses(of)[family]);
                    sender.send(a1, a2, WATCHED);
                    sent += 1;
                }
            }
            sent
        });
        let _stop = StopOnDrop(&stop);
        for _ in 0..5 {
            for (place, dev) in [("A", "va2"), ("a2", "eth0")] {
                lab.ip(place, &format!("link set {dev} down"));
                for family in [0, 1] {
                    let [a1, b1] = ["a1", "b1"].map(|of| addresses(of)[family]);
                    stream(&lab, "a1", "b1", (a1, b1), 50);
                }
                lab.ip(place, &format!("link set {dev} up"));
                lab.converge();
                assert_eq!(lab.plan(), Vec::<String>::new(), "{dev}");
                for family in [0, 1] {
                    let [a1, a2] = ["a1", "a2"].map(|of| addresses(of)[family]);
                    stream(&lab, "a2", "a1", (a2, a1), 50);
                    lab.assert_reaches("a1", a2, 63);
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        sent.join().expect("the sender")
    });
    assert_eq!(watched(&mut elsewhere), 0, "of {sent}");
    let difference = lab.traffic("A").since(&before);
    assert!(difference.obeys_the_law(), "{difference:#?}");
    // All that was sent, and three pings in each family each of ten times, but for what the kernel had no room for
    // before any interface had received it.
    let redirected = difference.row("va1 > va2 redirect_peer").0;
    let lost = backlog_drops() - lost_before;
    assert!(
        redirected <= sent + 60 && redirected + lost >= sent + 60,
        "{redirected} of {sent} and 60; {lost} found the backlog full"
    );
}

/// Packets that found a processor's backlog full, since the machine was started: the second column of
/// /proc/net/softnet_stat, a line for each processor (`softnet_seq_show` in net/core/net-procfs.c).
fn backlog_drops() -> u64 {
    let text = std::fs::read_to_string("/proc/net/softnet_stat").expect("softnet_stat");
    let column = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    let drops = text.lines().map(|line| column(line).expect("a column"));
    drops
        .map(|drops| u64::from_str_radix(&drops, 16).expect("a number"))
        .sum()
}
