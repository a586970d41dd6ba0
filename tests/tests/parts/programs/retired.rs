//! Counters of interfaces that are gone: hidden at once, removed in one pass.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use netpath_common::{
    DropReason, HopCounter, HopKey, Ifindex, InterfaceState, Outcome, PuntReason, Verdict,
    tables::RETIRED_MAX,
};
use netpath_tests::TestNode;

const A: Ifindex = Ifindex(1001);
const B: Ifindex = Ifindex(1002);
const C: Ifindex = Ifindex(1003);
const NONE: Ifindex = Ifindex(0);

fn count(packets: u64) -> HopCounter {
    HopCounter {
        packets,
        bytes: 100 * packets,
    }
}

fn hops(node: &TestNode) -> BTreeMap<HopKey, HopCounter> {
    node.datapath().maps.hops().expect("hops")
}

/// Rows among three interfaces, each with a number of its own so that every sum tells what is in it.
fn rows() -> BTreeMap<HopKey, HopCounter> {
    let peer = Verdict::RedirectPeer;
    let keys = [
        HopKey::new(A, B, peer),
        HopKey::new(A, C, peer),
        HopKey::new(B, A, peer),
        HopKey::new(B, C, peer),
        HopKey::new(C, A, peer),
        HopKey::new(C, B, peer),
        // What an earlier sweep has left of an egress.
        HopKey::new(A, NONE, peer),
        HopKey::new(A, B, Verdict::RedirectNeigh),
        HopKey::new(A, B, Verdict::Deliver),
        HopKey::new(NONE, B, Verdict::Deliver),
        HopKey::new(B, NONE, Verdict::Punt(PuntReason::Arp)),
        HopKey::new(C, NONE, Verdict::Drop(DropReason::Spoofed)),
    ];
    (0u32..)
        .zip(keys)
        .map(|(bit, key)| (key, count(1 << bit)))
        .collect()
}

/// What the decision cache may have decided: of those, how it counts.
fn is_redirect((key, _): &(HopKey, HopCounter)) -> bool {
    key.egress != NONE && key.outcome != Outcome::Deliver.number()
}

/// Counts those rows where the decision cache does, and the others as the stages do.
fn count_hits(node: &TestNode) -> BTreeMap<HopKey, HopCounter> {
    let (hits, others): (Vec<_>, Vec<_>) = rows().into_iter().partition(is_redirect);
    node.change(|maps| {
        for (row, (key, counter)) in (7..).zip(hits) {
            maps.hop_rows.set(&row, &key)?;
            maps.hop_hits.set(&row, &counter)?;
        }
        maps.hops.set_many(others.iter().copied())
    });
    others.into_iter().collect()
}

/// What is counted for the decision cache goes with its interfaces, and the rows are free for others.
#[test]
fn hits_of_a_retired_interface_go_like_other_rows() {
    let node = TestNode::new();
    let others = count_hits(&node);
    assert_eq!(hops(&node), rows());
    node.change(|maps| maps.retire_interface(B));
    let left = without_b();
    assert_eq!(hops(&node), left);
    let maps = &node.datapath().maps;
    assert_eq!(maps.hops.all().expect("rows"), others);

    node.change(|maps| maps.reuse_index(B));
    assert_eq!(hops(&node), left);
    let taken = maps.hop_rows.all().expect("rows");
    let hits = maps.hop_hits.all().expect("hits");
    let kept = [
        HopKey::new(A, C, Verdict::RedirectPeer),
        HopKey::new(C, A, Verdict::RedirectPeer),
    ];
    assert!(taken.values().eq(&kept), "{taken:?}");
    let counted = hits.iter().filter(|(_, hit)| hit.packets > 0);
    assert!(counted.map(|(row, _)| row).eq(taken.keys()));
}

/// What is left of [`rows`] without one of the interfaces.
fn without_b() -> BTreeMap<HopKey, HopCounter> {
    BTreeMap::from([
        (HopKey::new(A, C, Verdict::RedirectPeer), count(1 << 1)),
        (HopKey::new(C, A, Verdict::RedirectPeer), count(1 << 4)),
        (HopKey::new(C, NONE, Verdict::RedirectPeer), count(1 << 5)),
        // Its own, and what A sent to B.
        (
            HopKey::new(A, NONE, Verdict::RedirectPeer),
            count(1 | 1 << 6),
        ),
        (HopKey::new(A, NONE, Verdict::RedirectNeigh), count(1 << 7)),
        (
            HopKey::new(C, NONE, Verdict::Drop(DropReason::Spoofed)),
            count(1 << 11),
        ),
    ])
}

#[test]
fn rows_of_a_retired_interface_read_as_if_they_were_forgotten() {
    let node = TestNode::new();
    node.change(|maps| maps.hops.set_many(rows()));
    assert_eq!(hops(&node), rows());

    node.change(|maps| maps.retire_interface(B));
    let left = without_b();
    assert_eq!(hops(&node), left);
    // Nothing was removed yet.
    assert_eq!(node.datapath().maps.hops.all().expect("rows"), rows());

    // Another interface gets the index.
    node.change(|maps| maps.reuse_index(B));
    assert_eq!(hops(&node), left);
    assert_eq!(node.datapath().maps.hops.all().expect("rows"), left);
    assert_eq!(
        node.datapath().maps.retired.all().expect("retired"),
        BTreeMap::new()
    );
}

#[test]
fn an_index_that_was_never_taken_back_is_forgotten_when_another_interface_has_it() {
    let mut node = TestNode::new();
    node.set_interface(node.a, InterfaceState::Ready);
    let of_a = HopKey::new(node.a.ifindex, NONE, Verdict::Punt(PuntReason::Arp));
    let of_b = HopKey::new(node.b.ifindex, NONE, Verdict::Punt(PuntReason::Arp));
    node.change(|maps| maps.hops.set_many([(of_a, count(3)), (of_b, count(4))]));
    node.change(|maps| maps.reuse_index(node.a.ifindex));
    assert_eq!(hops(&node), BTreeMap::from([(of_b, count(4))]));
}

/// `netpath down` and a CNI's DEL retire one interface after the other.
#[test]
fn a_thousand_interfaces_go_while_fifty_thousand_rows_are_counted() {
    const INTERFACES: u32 = 1_000;
    const PEERS: u32 = 50;
    let node = TestNode::new();
    let interface = |number: u32| Ifindex(100_000 + number % INTERFACES);
    let rows = (0..INTERFACES).flat_map(|from| {
        (1..=PEERS).map(move |peer| {
            let to = interface(from + peer);
            let key = HopKey::new(interface(from), to, Verdict::RedirectPeer);
            (key, count(1))
        })
    });
    let stays = HopKey::new(Ifindex(7), interface(0), Verdict::RedirectPeer);
    node.change(|maps| {
        maps.hops.set_many(rows)?;
        maps.hops.set_many([(stays, count(9))])
    });
    assert_eq!(hops(&node).len() as u32, INTERFACES * PEERS + 1);

    let begun = Instant::now();
    node.change(|maps| (0..INTERFACES).try_for_each(|it| maps.retire_interface(interface(it))));
    let retired = begun.elapsed();
    let left = BTreeMap::from([(
        HopKey::new(Ifindex(7), NONE, Verdict::RedirectPeer),
        count(9),
    )]);
    assert_eq!(hops(&node), left);
    let begun = Instant::now();
    node.change(|maps| maps.reuse_index(interface(1)));
    let swept = begun.elapsed();
    assert_eq!(node.datapath().maps.hops.all().expect("rows"), left);
    println!("retiring {INTERFACES} interfaces: {retired:?}; sweeping their rows: {swept:?}");
    // Walking all rows for each took minutes.
    assert!(retired < Duration::from_secs(10), "{retired:?}");
    assert!(swept < Duration::from_secs(10), "{swept:?}");
}

#[test]
fn many_retired_interfaces_are_swept_without_being_asked() {
    let node = TestNode::new();
    let first = HopKey::new(Ifindex(10_000), NONE, Verdict::Punt(PuntReason::Arp));
    node.change(|maps| {
        maps.hops.set_many([(first, count(1))])?;
        (0..=RETIRED_MAX).try_for_each(|it| maps.retire_interface(Ifindex(10_000 + it)))
    });
    let maps = &node.datapath().maps;
    assert_eq!(maps.hops.all().expect("rows"), BTreeMap::new());
    assert_eq!(
        maps.retired.all().expect("retired"),
        BTreeMap::from([(Ifindex(10_000 + RETIRED_MAX), u64::from(RETIRED_MAX) + 1)])
    );
}
