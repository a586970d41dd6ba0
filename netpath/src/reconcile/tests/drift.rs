//! What is told of a node, and what is not.

use super::{super::*, damage, lab, made, planned, told};

#[test]
fn what_the_kernel_drops_matters_where_it_is_left_to_it() {
    let mut world = made(&lab());
    let net = |text: &str| text.parse().expect("a prefix");
    let [source, destination] = ["10.0.1.2/32", "10.0.2.2/32"].map(net);
    let drop = ForwardDrop {
        iif: None,
        certain: true,
        source,
        destination,
        chain: "FORWARD".to_owned(),
    };
    world.observed.census.forward_drops.push(drop);
    let objects = |world: &World| {
        let node = world.recorded.as_ref().expect("made");
        let plan = planned(&Wanted::of_recorded("n", node).expect("names"), world);
        let objects = plan.told.into_iter().map(|told| told.object.1);
        objects.collect::<Vec<_>>()
    };
    assert_eq!(
        objects(&world),
        Vec::<String>::new(),
        "the fast path passes it by"
    );
    let off = |world: &mut World, wish| {
        let node = world.recorded.as_mut().expect("made");
        node.endpoints.get_mut("demo01").expect("wanted").fast_path = wish;
    };
    off(&mut world, netpath_common::FastPathWish::Off);
    assert_eq!(objects(&world), ["demo01"]);
    off(&mut world, netpath_common::FastPathWish::AsNode);
    let ifindex = world.ifindex("vethhost02");
    let census = world.observed.census.interfaces.entry(ifindex).or_default();
    census.egress.insert(netpath_common::PuntReason::Shaped);
    assert_eq!(objects(&world), ["demo01"]);
    world.recorded.as_mut().expect("made").fast_path = netpath_common::FastPathMode::Off;
    assert_eq!(objects(&world), ["n"]);
}

#[test]
fn damage_is_told_by_kind() {
    let wanted = lab();
    let mut world = made(&wanted);
    let damages = damage::each_damage();
    let mut ids = std::collections::BTreeSet::new();
    for damage in damages {
        let mut damaged = world.clone();
        damage.inflict(&mut damaged);
        let plan = planned(&wanted, &damaged);
        ids.extend(told(&plan));
    }
    world.observed.programs_current = false;
    let plan = planned(&wanted, &world);
    ids.extend(told(&plan));
    assert!(ids.len() > 15, "{ids:?}");
}

#[test]
fn a_changed_address_is_told_and_nothing_that_follows_from_it() {
    let world = made(&lab());
    let mut changed = lab();
    changed.endpoints[0].addresses[0] = "10.0.1.9/24".parse().expect("an address");
    let plan = planned(&changed, &world);
    let told: Vec<String> = plan.changes().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["~ endpoint demo01 on node03: addresses 10.0.1.9/24, fd00:1::2/64"]
    );
}
