//! What is whose: an id is never another endpoint's later, and what is not the file's, or what nothing proves the node's, is
//! left alone, refused or proven anew.

use netpath_common::{EndpointId, Origin};

use super::{super::*, assert_true, carry_out, host_with_a_route, lab, made, planned};

#[test]
fn endpoints_of_others_are_not_the_files_to_remove() {
    let mut world = made(&lab());
    let node = world.recorded.as_mut().expect("made");
    node.endpoints.get_mut("demo01").expect("wanted").origin = Origin::Cni;
    let mut without = lab();
    without.endpoints.clear();
    let plan = planned(&without, &world);
    let told: Vec<String> = plan.changes().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["- endpoint demo02 on node03: 10.0.2.2/24, fd00:2::2/64"]
    );
    carry_out(&mut world, &plan);
    assert!(
        world
            .recorded
            .as_ref()
            .expect("there")
            .endpoints
            .contains_key("demo01")
    );
    assert_true(&without, &world);
}

#[test]
fn ids_are_never_given_twice() {
    let mut world = made(&lab());
    let mut without = lab();
    without.endpoints.clear();
    let plan = planned(&without, &world);
    carry_out(&mut world, &plan);
    let plan = planned(&lab(), &world);
    carry_out(&mut world, &plan);
    let node = world.recorded.as_ref().expect("there");
    let ids: Vec<EndpointId> = node
        .endpoints
        .values()
        .map(|endpoint| endpoint.id)
        .collect();
    assert_eq!(ids, [EndpointId(3), EndpointId(4)]);
}

#[test]
fn a_wire_that_an_unreadable_node_may_claim_stays() {
    let mut world = made(&lab());
    world
        .observed
        .claims
        .push(WireClaim::Unknown("n2".to_owned()));
    let mut alone = world.clone();
    carry_out(&mut alone, &down("n", &world));
    assert_eq!(
        alone.observed.wires["lan"].state,
        NamespaceState::Absent,
        "no port but its own"
    );
    let wire = world.observed.wires.get_mut("lan").expect("made");
    let mut port = wire.links.last().expect("a port").clone();
    port.mac = Some(netpath_common::Mac([2, 0, 0, 0, 0, 1]));
    wire.links.push(port);
    let plan = down("n", &world);
    carry_out(&mut world, &plan);
    assert_ne!(world.observed.wires["lan"].state, NamespaceState::Absent);
}

#[test]
fn what_is_left_of_a_node_whose_machine_is_gone_is_removed() {
    let (wanted, mut world) = host_with_a_route();
    world.observed.node = Namespace::default();
    let plan = planned(&wanted, &world);
    let ids: Vec<&str> = plan
        .refusals
        .iter()
        .map(|it| it.refusal.kind().id)
        .collect();
    assert_eq!((ids, plan.steps), (vec!["namespace_dead"], vec![]));
    let plan = down("n", &world);
    assert_eq!(plan.refusals, []);
    carry_out(&mut world, &plan);
    assert_eq!(world.recorded, None);
    // Another one is there: whose it is nobody knows.
    let (_, mut world) = host_with_a_route();
    world.observed.node.state = NamespaceState::Present(4711);
    let ids = down("n", &world)
        .refusals
        .into_iter()
        .map(|it| it.refusal.kind().id);
    assert_eq!(ids.collect::<Vec<_>>(), ["other_namespace"]);
}

/// The lab, and somebody gave a host-side veth another MAC.
fn with_another_mac() -> World {
    let mut world = made(&lab());
    let links = &mut world.observed.node.links;
    let veth = links
        .iter_mut()
        .find(|link| link.name == "vethhost01")
        .expect("made");
    veth.mac = Some(netpath_common::Mac([2, 0, 0, 0, 0, 9]));
    world
}

#[test]
fn a_host_side_veth_with_another_mac_gets_its_own_back() {
    let mut world = with_another_mac();
    let plan = planned(&lab(), &world);
    assert_eq!(plan.refusals, []);
    let told: Vec<String> = plan.changes().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["~ endpoint demo01 on node03: interface vethhost01 has another MAC"]
    );
    let made = |op: &Op| matches!(op, Op::AddVeth { .. } | Op::DeleteLink { .. });
    assert!(!plan.steps.iter().flat_map(|step| &step.ops).any(made));
    carry_out(&mut world, &plan);
    assert_true(&lab(), &world);
}

/// Somebody's veth under the name, whose other end is not the one inside.
#[test]
fn a_host_side_veth_that_nothing_proves_is_refused_with_what_mends_it() {
    let mut world = with_another_mac();
    let inside = world.observed.endpoints.get_mut("demo01").expect("made");
    for link in &mut inside.links {
        link.other_end = None;
    }
    let plan = planned(&lab(), &world);
    let refusals: Vec<String> = plan.refusals.iter().map(ToString::to_string).collect();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert!(
        refusals[0].contains("`ip link set dev vethhost01 address "),
        "{refusals:?}"
    );
    let drift: Vec<&Drift> = plan.steps.iter().flat_map(|step| &step.drift).collect();
    assert!(
        drift.contains(&&Drift::OtherMac("vethhost01".to_owned())),
        "{drift:?}"
    );
}
