//! Planning reaches a fixed point: after the steps of a plan nothing is left to do, from wherever it began.

use proptest::prelude::*;

use super::{
    super::*,
    assert_true, carry_out,
    damage::{Damage, damages},
    generate::{host_world, mode, wanted},
    made, ops, planned, recorded,
};
use crate::model::NodePlace;

/// The namespaces, and the MACs that are in them and in the node. A bridge has that of a port.
fn identities(
    world: &World,
) -> Vec<(
    Place,
    NamespaceState,
    std::collections::BTreeSet<netpath_common::Mac>,
)> {
    let observed = &world.observed;
    let endpoints = observed.endpoints.iter();
    let wires = observed.wires.iter();
    let all = endpoints
        .map(|(name, there)| (Place::Endpoint(name.clone()), there))
        .chain(wires.map(|(name, there)| (Place::Wire(name.clone()), there)))
        .chain([(Place::Node, &observed.node)]);
    let there = all.filter(|(_, there)| there.state != NamespaceState::Absent);
    let identity = |(place, there): (Place, &Namespace)| {
        let veths = there.links.iter().filter(|link| link.veth);
        (
            place,
            there.state,
            veths.filter_map(|link| link.mac).collect(),
        )
    };
    there.map(identity).collect()
}

/// Whether an uplink changes its wire.
fn is_rewired(before: &Wanted, after: &Wanted) -> bool {
    after.uplinks.iter().any(|uplink| {
        let mut old = before.uplinks.iter();
        old.any(|old| old.dev == uplink.dev && old.wire != uplink.wire)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_global_rejects: 1 << 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_second_plan_is_empty(wanted in wanted()) {
        assert_true(&wanted, &made(&wanted));
    }

    #[test]
    fn one_pass_from_one_topology_to_another(before in wanted(), after in wanted()) {
        prop_assume!(before.place == after.place);
        let mut world = made(&before);
        let plan = planned(&after, &world);
        prop_assert_eq!(&plan.refusals, &[]);
        carry_out(&mut world, &plan);
        assert_true(&after, &world);
    }

    #[test]
    fn any_damage_is_mended_in_one_pass(before in wanted(), after in wanted(), damages in damages()) {
        prop_assume!(before.place == after.place);
        // What proves such an uplink goes with its old wire: that takes a second pass.
        prop_assume!(!(is_rewired(&before, &after) && damages.iter().any(Damage::gives_another_mac)));
        let mut world = made(&before);
        damages.iter().for_each(|damage: &Damage| damage.inflict(&mut world));
        let plan = planned(&after, &world);
        prop_assert_eq!(&plan.refusals, &[]);
        carry_out(&mut world, &plan);
        assert_true(&after, &world);
    }

    #[test]
    fn damage_is_told(wanted in wanted(), damages in damages()) {
        let mut world = made(&wanted);
        let intact = world.clone();
        damages.iter().for_each(|damage| damage.inflict(&mut world));
        let node = world.recorded.as_ref().expect("made");
        let plan = planned(&Wanted::of_recorded("n", node).expect("names"), &world);
        let told = plan.steps.iter().any(|step| !step.drift.is_empty()) || !plan.told.is_empty();
        prop_assert_eq!(told, world != intact, "{:#?}", plan.steps);
    }

    #[test]
    fn whatever_was_done_is_undone(before in wanted(), after in wanted(), done in 0.0..1.0f64) {
        prop_assume!(before.place == after.place);
        let mut world = made(&before);
        let wish = recorded(&world).expect("made");
        let ops: Vec<Op> = ops(&planned(&after, &world)).cloned().collect();
        let count = (ops.len() as f64 * done) as usize;
        ops.iter().take(count).for_each(|op| world.apply(op));
        let undo = planned(&wish, &world);
        prop_assert_eq!(&undo.refusals, &[]);
        carry_out(&mut world, &undo);
        assert_true(&wish, &world);
        prop_assert_eq!(recorded(&world), Some(wish));
    }

    /// What goes is still there, with what is in it, until all that comes is there too.
    #[test]
    fn what_is_undone_in_time_keeps_its_namespaces_and_macs(
        before in wanted(), after in wanted(), damages in damages(), done in 0.0..=1.0f64,
    ) {
        prop_assume!(before.place == after.place);
        // What proves a wire's namespace is its uplink's record, which has room for one wire.
        let on = |wanted: &Wanted| -> Vec<_> {
            let wires = wanted.uplinks.iter().map(|uplink| uplink.wire.as_ref().map(|w| w.name.clone()));
            wires.collect()
        };
        prop_assume!(on(&before).iter().zip(on(&after)).all(|(one, other)| *one == other));
        let mut world = made(&before);
        let wish = recorded(&world).expect("made");
        damages.iter().for_each(|damage| damage.inflict(&mut world));
        let mend = planned(&before, &world);
        carry_out(&mut world, &mend);
        let kept = identities(&world);
        let plan = planned(&after, &world);
        let ops: Vec<&Op> = plan.steps.iter().flat_map(|step| &step.ops).collect();
        let count = (ops.len() as f64 * done) as usize;
        ops.into_iter().take(count).for_each(|op| world.apply(op));
        let undo = planned(&wish, &world);
        prop_assert_eq!(&undo.refusals, &[]);
        carry_out(&mut world, &undo);
        assert_true(&wish, &world);
        prop_assert_eq!(identities(&world), kept);
    }

    #[test]
    fn names_that_were_exchanged_come_back(wanted in wanted(), order in Just(vec![0, 1, 2, 3, 4]).prop_shuffle()) {
        let mut world = made(&wanted);
        let node = world.recorded.clone().expect("made");
        let macs = node.endpoints.values().map(|endpoint| endpoint.host_mac);
        let macs: Vec<_> = macs.chain(node.uplinks.values().filter(|u| u.made).map(|u| u.mac)).collect();
        let kept = identities(&world);
        let links = &mut world.observed.node.links;
        let ours: Vec<usize> = (0..links.len()).filter(|&at| macs.iter().any(|mac| links[at].mac == Some(*mac))).collect();
        let names: Vec<String> = ours.iter().map(|&at| links[at].name.clone()).collect();
        let order: Vec<usize> = order.into_iter().filter(|&at| at < names.len()).collect();
        for (&at, &to) in ours.iter().zip(&order) {
            links[at].name.clone_from(&names[to]);
        }
        let plan = planned(&wanted, &world);
        prop_assert_eq!(&plan.refusals, &[]);
        let made = |op: &Op| matches!(op, Op::AddVeth { .. } | Op::DeleteLink { .. });
        prop_assert!(!ops(&plan).any(made), "{:#?}", plan.steps);
        carry_out(&mut world, &plan);
        assert_true(&wanted, &world);
        prop_assert_eq!(identities(&world), kept);
    }

    #[test]
    fn down_leaves_nothing(wanted in wanted(), damages in damages()) {
        let mut world = made(&wanted);
        damages.iter().for_each(|damage| damage.inflict(&mut world));
        let plan = down("n", &world);
        carry_out(&mut world, &plan);
        prop_assert_eq!(&world.recorded, &None);
        for namespace in world.observed.endpoints.values().chain(world.observed.wires.values()) {
            prop_assert_eq!(namespace.state, NamespaceState::Absent);
        }
        match wanted.place {
            NodePlace::Lab => prop_assert_eq!(&world.observed.node, &Namespace::default()),
            NodePlace::Host => {
                let before = host_world().observed.node;
                // A cable that somebody pulled out is nobody's here to put in.
                world.observed.node.links.iter_mut().for_each(|link| link.carrier = true);
                prop_assert_eq!(&world.observed.node.links, &before.links);
                prop_assert_eq!(&world.observed.node.routes, &before.routes);
            }
        }
        prop_assert!(world.observed.attached.is_empty(), "{:?}", world.observed.attached);
        prop_assert!(world.observed.link_pins.is_empty(), "{:?}", world.observed.link_pins);
    }

    #[test]
    fn the_switch_reaches_its_wish(wanted in wanted(), of_node in mode(), one in 0..3usize, of_one in mode()) {
        let mut world = made(&wanted);
        let node = world.recorded.clone().expect("made");
        let mut wishes = Wishes::of(&node);
        wishes.node = of_node;
        if let Some(wish) = wishes.endpoints.values_mut().nth(one) {
            *wish = netpath_common::FastPathWish::for_mode(of_one);
        }
        let plan = switch(&wanted, &wishes, &world);
        carry_out(&mut world, &plan);
        prop_assert_eq!(Wishes::of(world.recorded.as_ref().expect("made")), wishes.clone());
        prop_assert_eq!(switch(&wanted, &wishes, &world).steps, vec![]);
        let wish = recorded(&world).expect("made");
        assert_true(&wish, &world);
    }
}
