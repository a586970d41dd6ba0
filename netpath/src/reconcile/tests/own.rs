//! Addresses of the node beside those that its topology names.

use std::net::IpAddr;

use super::{super::*, assert_true, carry_out, generate::room_for, lab, made, ops, planned, told};

/// The lab, whose node has another address.
fn with_another_address(address: &str) -> World {
    let mut world = made(&lab());
    world.observed.own.insert(address.parse().expect("one"));
    world
}

#[test]
fn an_address_of_the_node_that_nothing_names_is_told_and_made_known() {
    let mut world = with_another_address("10.9.9.9");
    let plan = planned(&lab(), &world);
    assert_eq!(
        told(&plan).collect::<Vec<_>>(),
        ["own_address_unknown"],
        "{plan:#?}"
    );
    carry_out(&mut world, &plan);
    assert_true(&lab(), &world);
    let entry = world.observed.maps.endpoints[&IpAddr::from([10, 9, 9, 9])];
    assert_eq!(entry, netpath_common::EndpointEntry::NODE);
    world.observed.own.remove(&IpAddr::from([10, 9, 9, 9]));
    let plan = planned(&lab(), &world);
    assert_eq!(told(&plan).collect::<Vec<_>>(), ["own_address_gone"]);
    carry_out(&mut world, &plan);
    assert_true(&lab(), &world);
}

/// A switch tells the programs what is the node's, and says so where it switches nothing.
#[test]
fn a_switch_makes_the_nodes_addresses_known() {
    let mut world = with_another_address("10.9.9.9");
    let wishes = Wishes::of(world.recorded.as_ref().expect("made"));
    let plan = switch(&lab(), &wishes, &world);
    let changes: Vec<String> = plan.changes().map(ToString::to_string).collect();
    assert_eq!(
        changes,
        ["~ fast path node03: its programs are told what has changed"]
    );
    carry_out(&mut world, &plan);
    assert_true(&lab(), &world);
}

#[test]
fn an_address_of_an_endpoint_stays_the_endpoints() {
    for address in ["10.0.1.2", "fd00:2::2"] {
        let world = with_another_address(address);
        let plan = planned(&lab(), &world);
        assert_eq!(ops(&plan).count(), 0, "{plan:#?}");
        let wishes = Wishes::of(world.recorded.as_ref().expect("made"));
        assert_eq!(switch(&lab(), &wishes, &world).steps, []);
    }
    // Nor one inside a prefix that is routed to an endpoint.
    let mut wanted = lab();
    wanted.endpoints[0].prefixes = vec!["10.9.0.0/28".parse().expect("a prefix")];
    let mut world = made(&wanted);
    world.observed.own.insert(IpAddr::from([10, 9, 0, 3]));
    assert_eq!(ops(&planned(&wanted, &world)).count(), 0);
}

/// A file within its limits never fails half-way for what the machine has: it is refused before.
#[test]
fn more_addresses_than_the_maps_hold_are_refused_with_what_makes_room() {
    let mut world = made(&lab());
    let room = 100 + netpath_common::tables::UPLINK_ADDRESSES;
    world.observed.address_room = room;
    let mut wanted = lab();
    wanted.room = room_for(100, 100);
    // Two endpoints and an uplink have an address of each family, and the uplink's subnet a broadcast address.
    let others = (0..room - 4).map(|number| IpAddr::from((0x0b00_0000 + number).to_be_bytes()));
    world.observed.own.extend(others);
    assert_eq!(planned(&wanted, &world).refusals, []);
    world.observed.own.insert(IpAddr::from([12, 0, 0, 1]));
    let refusals: Vec<String> = planned(&wanted, &world)
        .refusals
        .iter()
        .map(ToString::to_string)
        .collect();
    let [refusal] = refusals.as_slice() else {
        panic!("{refusals:?}");
    };
    let count = room + 1;
    assert!(
        refusal.contains(&format!("have {count} IPv4 addresses")),
        "{refusal}"
    );
    assert!(
        refusal.contains("max_endpoints of the node to 101"),
        "{refusal}"
    );
    wanted.room = room_for(101, 100);
    assert_eq!(planned(&wanted, &world).refusals, []);
    // A switch refuses it as well, unless it switches off.
    wanted.room = room_for(0, 0);
    let mut wishes = Wishes::of(world.recorded.as_ref().expect("made"));
    assert_eq!(switch(&wanted, &wishes, &world).refusals.len(), 1);
    wishes.node = netpath_common::FastPathMode::Off;
    let off = switch(&wanted, &wishes, &world);
    assert_eq!(off.refusals, []);
    assert!(!ops(&off).any(|op| matches!(op, Op::SetEntry(_, Owner::Node, _))));
}
