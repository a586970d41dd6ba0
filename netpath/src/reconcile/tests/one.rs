//! One endpoint that is added to a node and removed: nothing else of the node is touched.

use ipnet::IpNet;
use netpath_common::{Bypass, EndpointId, Origin};
use proptest::prelude::*;

use super::{
    super::*,
    assert_true, carry_out,
    generate::{room_for, wanted},
    made, ops, planned,
};
use crate::model::NodePlace;

const COOKIE: u64 = 4242;

fn x(home: Home) -> WantedEndpoint {
    WantedEndpoint {
        name: "x".to_owned(),
        origin: Origin::Command,
        home,
        addresses: ["10.79.0.2/24", "fd79::2/64"]
            .map(|net| net.parse().expect(net))
            .to_vec(),
        prefixes: vec!["10.78.0.0/24".parse().expect("a prefix")],
        dev: "eth0".to_owned(),
        host_dev: "vx".to_owned(),
        fast_path: None,
        mtu: None,
    }
}

fn recorded(world: &World) -> &Recorded {
    world.recorded.as_ref().expect("made")
}

fn one(world: &World, wanted: Option<WantedEndpoint>) -> Wanted {
    Wanted::of_one("n", recorded(world), "x", wanted).expect("names")
}

fn refused(world: &World, wanted: &WantedEndpoint) -> Vec<&'static str> {
    let plan = planned(&one(world, Some(wanted.clone())), world);
    let ids: Vec<&'static str> = plan.refusals.iter().map(|it| it.finding().id).collect();
    assert!(plan.steps.is_empty() && plan.removals.is_empty(), "{ids:?}");
    ids
}

/// With a namespace of somebody's at that path.
fn given(world: &mut World, path: &str) -> Home {
    let there = Namespace {
        state: NamespaceState::Present(COOKIE),
        ..Namespace::default()
    };
    world.observed.endpoints.insert("x".to_owned(), there);
    Home::Given(path.to_owned())
}

proptest! {
    #[test]
    fn one_endpoint_comes_and_goes(wanted in wanted(), is_given: bool, cut in 0.0..=1.0f64) {
        let mut world = made(&wanted);
        let home = match is_given {
            true => given(&mut world, "/run/netns/c"),
            false => Home::Made,
        };
        let before = world.clone();
        let add = one(&world, Some(x(home)));
        let plan = planned(&add, &world);
        prop_assert_eq!(&plan.refusals, &[]);
        // What is done of it, and as far as it was done, is undone by its removal.
        let count = (ops(&plan).count() as f64 * cut) as usize;
        ops(&plan).take(count).for_each(|op| world.apply(op));
        if cut == 1.0 {
            let again = planned(&add, &world);
            prop_assert_eq!(ops(&again).count(), 0, "{:#?}", again.steps);
            assert_true(&wanted, &world);
        }
        if recorded(&world).endpoints.contains_key("x") {
            let gone = planned(&one(&world, None), &world);
            prop_assert_eq!(&gone.refusals, &[]);
            carry_out(&mut world, &gone);
        }
        assert_true(&wanted, &world);
        // Ids and retired interfaces are not given out again.
        let mut left = world;
        left.recorded.as_mut().expect("made").next_id = recorded(&before).next_id;
        left.observed.maps.retired.clone_from(&before.observed.maps.retired);
        if !is_given {
            left.observed.endpoints.remove("x");
        }
        prop_assert_eq!(left, before);
    }

    #[test]
    fn what_another_endpoint_has_is_refused(wanted in wanted(), is_prefix: bool) {
        prop_assume!(!wanted.endpoints.is_empty());
        let world = made(&wanted);
        let theirs = &wanted.endpoints[0];
        let mut mine = x(Home::Made);
        mine.addresses = vec![theirs.addresses[0]];
        mine.prefixes = Vec::new();
        if is_prefix && let Some(prefix) = theirs.prefixes.first() {
            let inside = prefix.hosts().next().expect("an address");
            mine.addresses = vec![IpNet::from(inside)];
        }
        prop_assert_eq!(refused(&world, &mine), ["address_taken"]);
        mine = WantedEndpoint { host_dev: theirs.host_dev.clone(), ..x(Home::Made) };
        prop_assert!(refused(&world, &mine).contains(&"name_taken"));
        mine = WantedEndpoint { name: theirs.name.clone(), ..x(Home::Made) };
        let named = Wanted::of_one("n", recorded(&world), &theirs.name, Some(mine)).expect("names");
        let plan = planned(&named, &world);
        prop_assert!(plan.refusals.iter().any(|it| it.finding().id == "name_taken"));
    }
}

#[test]
fn a_namespace_that_is_another_by_now_is_not_touched() {
    let mut world = made(&Wanted {
        name: "n".to_owned(),
        place: NodePlace::Host,
        forward_drop: false,
        fast_path: None,
        bypass: Bypass::default(),
        room: room_for(16, 16),
        scope: Scope::File,
        uplinks: Vec::new(),
        routes: Vec::new(),
        endpoints: Vec::new(),
    });
    let home = given(&mut world, "/proc/7/ns/net");
    let add = one(&world, Some(x(home.clone())));
    let plan = planned(&add, &world);
    carry_out(&mut world, &plan);
    let id = recorded(&world).endpoints["x"].id;
    assert_ne!(id, EndpointId(0));
    // The process has ended, and another one has its number.
    let there = world.observed.endpoints.get_mut("x").expect("there");
    there.state = NamespaceState::Present(COOKIE + 1);
    let of_all = Wanted::of_recorded("n", recorded(&world)).expect("names");
    let plan = planned(&of_all, &world);
    assert_eq!(plan.refusals, []);
    let inside = Place::Endpoint("x".to_owned());
    assert!(
        ops(&plan).all(|op| *op.place() != inside),
        "{:#?}",
        plan.steps
    );
    let told: Vec<&Drift> = plan.told.iter().map(|told| &told.drift).collect();
    assert_eq!(told, [&Drift::GivenGone("/proc/7/ns/net".to_owned())]);
    assert_eq!(refused(&world, &x(home)), ["name_taken"]);
}
