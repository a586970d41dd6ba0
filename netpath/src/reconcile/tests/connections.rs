//! What the kernel has translated is entered before any program asks for it, and after all note what comes.

use std::collections::BTreeSet;

use netpath_common::{FastPathMode, FeatureBits, Hook, Ifindex, ProgramKind};
use proptest::prelude::*;

use super::{
    damage::{Damage, damages},
    generate::wanted,
    lab, made, ops, planned,
};
use crate::reconcile::{Fresh, NewInterface, Op, Plan, Wanted, Wishes, World, down, switch};

type Attached = BTreeSet<(Ifindex, ProgramKind)>;

/// Walks through the operations of a plan and checks what they do to programs.
fn check(start: &World, plan: &Plan) {
    let mut world = start.clone();
    // What was attached, and which interfaces were known, when connections were entered.
    let mut entered: Option<(Attached, BTreeSet<(String, Ifindex)>)> = None;
    let mut times = 0;
    for op in ops(plan) {
        match op {
            Op::EnterConnections(_) => {
                times += 1;
                let known = world.observed.node.links.iter();
                let known = known.filter(|link| {
                    let interfaces = &world.observed.maps.interfaces;
                    interfaces.contains_key(&link.ifindex)
                });
                let known = known.map(|link| (link.name.clone(), link.ifindex));
                entered = Some((world.observed.attached.clone(), known.collect()));
            }
            Op::Attach(program, dev) => {
                let ifindex = world.ifindex(dev);
                let attached = &world.observed.attached;
                let is_new = !attached.contains(&(ifindex, *program));
                if is_new && program.hook() == Hook::Ingress {
                    let egress = match program {
                        ProgramKind::FromEndpoint => ProgramKind::ToEndpoint,
                        _ => ProgramKind::ToUplink,
                    };
                    assert!(attached.contains(&(ifindex, egress)), "{dev}");
                    let (then, known) = entered.as_ref().expect("entered first");
                    if known.contains(&(dev.clone(), ifindex)) {
                        assert!(then.contains(&(ifindex, egress)), "{dev} was there");
                    }
                }
            }
            _ => {}
        }
        world.apply(op);
    }
    let gained = world.observed.attached.difference(&start.observed.attached);
    let is_any = gained.count() != 0;
    assert!(!is_any || entered.is_some(), "{:#?}", plan.steps);
    assert!(times <= 2, "for new ends, and for programs");
    let attaches = ops(plan).any(|op| matches!(op, Op::Attach(..)));
    let entries = ops(plan).any(|op| matches!(op, Op::SetEntry(..) | Op::SetPrefix(..)));
    let was_shadow = |new: &NewInterface| {
        let known = start.observed.maps.interfaces.values();
        known.filter(|it| it.dev == new.dev).any(|it| it.shadow)
    };
    let leaves =
        ops(plan).any(|op| matches!(op, Op::Register(new) if !new.shadow && was_shadow(new)));
    assert!(
        attaches || entries || leaves || entered.is_none(),
        "nothing changes"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn connections_are_entered_between_who_notes_and_who_asks(
        before in wanted(), after in wanted(), damages in damages(),
    ) {
        prop_assume!(before.place == after.place);
        let mut world = made(&before);
        damages.iter().for_each(|damage: &Damage| damage.inflict(&mut world));
        check(&world, &planned(&after, &world));
        check(&world, &down("n", &world));
    }

    #[test]
    fn switching_on_enters_connections_in_between(wanted in wanted(), damages in damages()) {
        let mut world = made(&wanted);
        let node = world.recorded.clone().expect("made");
        let mut wishes = Wishes::of(&node);
        wishes.node = FastPathMode::Off;
        let off = switch(&wanted, &wishes, &world);
        check(&world, &off);
        ops(&off).for_each(|op| world.apply(op));
        damages.iter().for_each(|damage| damage.inflict(&mut world));
        wishes.node = FastPathMode::On;
        check(&world, &switch(&wanted, &wishes, &world));
    }
}

/// What would be redirected in shadow mode is not noted: what the kernel has translated of it is entered before packets are taken.
#[test]
fn leaving_shadow_mode_enters_connections_first() {
    let wanted = lab();
    let mut world = made(&wanted);
    let mut wishes = Wishes::of(world.recorded.as_ref().expect("made"));
    let places = |plan: &Plan| {
        let at = |is_it: fn(&Op) -> bool| ops(plan).position(is_it);
        let enters = at(|op| matches!(op, Op::EnterConnections(_)));
        let takes = at(|op| matches!(op, Op::Register(new) if !new.shadow));
        (enters, takes)
    };
    wishes.node = FastPathMode::Shadow;
    let plan = switch(&wanted, &wishes, &world);
    assert_eq!(places(&plan), (None, None));
    let feature = |op: &Op| matches!(op, Op::SetFeatures(it) if it.bits & FeatureBits::SHADOW != 0);
    let registers = |op: &Op| matches!(op, Op::Register(new) if new.shadow);
    let first = ops(&plan).position(feature).expect("the node is told");
    assert!(first < ops(&plan).position(registers).expect("each interface is"));
    ops(&plan).for_each(|op| world.apply(op));
    assert_eq!(
        planned(
            &Wanted::of_recorded(&wanted.name, world.recorded.as_ref().expect("made"))
                .expect("names"),
            &world
        )
        .steps,
        vec![]
    );
    wishes.node = FastPathMode::On;
    let (enters, takes) = places(&switch(&wanted, &wishes, &world));
    assert!(enters.expect("entered") < takes.expect("taken"));
}

/// What is routed when all is made, and not yet when connections are entered.
#[test]
fn what_is_yet_to_be_routed_is_an_end_already() {
    let to_come = |plan: &Plan| {
        let mut nets = ops(plan).filter_map(|op| match op {
            Op::EnterConnections(nets) => Some(nets.clone()),
            _ => None,
        });
        let nets = nets.next().expect("something is attached");
        nets.iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
    };
    let wanted = lab();
    let nothing = World::default();
    let expected = [
        "10.0.1.2/32",
        "10.0.2.2/32",
        "fd00:1::2/128",
        "fd00:2::2/128",
    ];
    let fresh = crate::reconcile::plan(&wanted, &nothing, &mut Fresh::new(1));
    let all = to_come(&fresh);
    assert!(expected.iter().all(|net| all.contains(*net)), "{all:?}");
    // One whose veth is gone, among others that are there.
    let mut world = made(&wanted);
    let v4 = "10.0.2.2".parse().expect("valid");
    world.observed.maps.endpoints.remove(&v4);
    let ifindex = world.ifindex(&wanted.uplinks[0].dev);
    world
        .observed
        .attached
        .retain(|(index, _)| *index != ifindex);
    let again = planned(&wanted, &world);
    let all = to_come(&again);
    assert_eq!(all.into_iter().collect::<Vec<_>>(), ["10.0.2.2/32"]);
}

/// One whose programs were off by the file, and are not any more, beside one that is new and comes before it.
#[test]
fn what_the_file_switches_on_is_attached_before_connections_are_entered() {
    let mut before = lab();
    before.fast_path = None;
    let mut after = before.clone();
    let first = before.endpoints.remove(0);
    for wanted in &mut before.endpoints {
        wanted.fast_path = Some(netpath_common::FastPathWish::Off);
    }
    for wanted in &mut after.endpoints {
        wanted.fast_path = Some(netpath_common::FastPathWish::On);
    }
    assert_eq!(after.endpoints[0].name, first.name);
    let world = made(&before);
    check(&world, &planned(&after, &world));
}

/// While programs run nobody notes a connection of what is no end yet.
#[test]
fn what_becomes_an_end_under_way_is_asked_for() {
    let wanted = lab();
    let is_entered_first = |plan: &Plan| {
        let mut ops = ops(plan);
        let first = ops.find(|op| {
            matches!(
                op,
                Op::EnterConnections(_) | Op::SetEntry(..) | Op::SetPrefix(..)
            )
        });
        assert!(first.is_some(), "{:#?}", plan.steps);
        matches!(first, Some(Op::EnterConnections(_)))
    };
    let mut more = wanted.clone();
    let mut route = more.routes[0].clone();
    route.dst = "10.77.0.0/16".parse().expect("valid");
    more.routes.push(route);
    assert!(is_entered_first(&planned(&more, &made(&wanted))));
    let mut world = made(&wanted);
    let v4 = "10.0.2.2".parse().expect("valid");
    world.observed.maps.endpoints.remove(&v4);
    assert!(is_entered_first(&planned(&wanted, &world)));
    // Where nothing runs it is entered when something is attached.
    world.observed.attached.clear();
    let mut off = wanted;
    off.fast_path = Some(false.into());
    let plan = planned(&off, &world);
    assert!(!ops(&plan).any(|op| matches!(op, Op::EnterConnections(_))));
}

/// A program that is attached before it is its interface's turn is told in its turn.
#[test]
fn what_is_attached_ahead_is_told_with_its_interface() {
    let wanted = lab();
    let mut world = made(&wanted);
    let [first, second] = [0, 1].map(|number: usize| wanted.endpoints[number].host_dev.clone());
    for (program, dev) in [
        (ProgramKind::FromEndpoint, &first),
        (ProgramKind::ToEndpoint, &second),
    ] {
        let ifindex = world.ifindex(dev);
        assert!(world.observed.attached.remove(&(ifindex, program)));
    }
    let told = |plan: &Plan| plan.changes().map(ToString::to_string).collect::<Vec<_>>();
    let wishes = Wishes::of(world.recorded.as_ref().expect("made"));
    let on = [&first, &second].map(|dev| format!("~ fast path {dev} on node03: on"));
    assert_eq!(told(&switch(&wanted, &wishes, &world)), on);
    let mended = [
        format!("~ endpoint demo01 on node03: program from_endpoint is not attached to {first}"),
        format!("~ endpoint demo02 on node03: program to_endpoint is not attached to {second}"),
    ];
    assert_eq!(told(&planned(&wanted, &world)), mended);
}
