//! Routes: the file's, those of others that lead elsewhere, and the way back.

use super::{
    super::*, assert_true, carry_out, host_with_a_route, made, ops, planned, recorded, told,
};

fn of_a_daemon(route: &mut Route, hops: Vec<Hop>) {
    route.via = hops.first().and_then(|hop| hop.via);
    route.refuses = hops.is_empty();
    route.hops = hops;
    route.ours = false;
    route.told = "10.77.0.0/24 of a daemon's".to_owned();
}

#[test]
fn a_route_that_a_daemon_leads_elsewhere_is_neither_gone_nor_refused() {
    let (wanted, mut world) = host_with_a_route();
    let before = recorded(&world);
    let hop = Hop {
        via: Some([100, 64, 0, 9].into()),
        ifindex: Some(netpath_common::Ifindex(2)),
    };
    of_a_daemon(&mut world.observed.node.routes[0], vec![hop; 2]);
    let plan = planned(&wanted, &world);
    assert_eq!(
        (plan.refusals, plan.steps, plan.told),
        (vec![], vec![], vec![])
    );
    // Nobody answers there.
    let silent = (netpath_common::Ifindex(2), [100, 64, 0, 9].into());
    world.observed.node.silent.insert(silent);
    let plan = planned(&wanted, &world);
    assert_eq!(told(&plan).collect::<Vec<_>>(), ["next_hop_silent"]);
    assert_eq!(plan.steps, []);
    of_a_daemon(&mut world.observed.node.routes[0], Vec::new());
    let plan = planned(&wanted, &world);
    assert_eq!(told(&plan).collect::<Vec<_>>(), ["route_refuses"]);
    // The daemon is gone, and the way of the file is made again.
    world.observed.node.routes.clear();
    let plan = planned(&wanted, &world);
    assert_eq!(told(&plan).collect::<Vec<_>>(), ["route_gone"]);
    carry_out(&mut world, &plan);
    assert_true(&wanted, &world);
    assert_eq!(recorded(&world), before);
}

/// Of a prefix whose next hops are the kernel's nothing is made, refused or taken away; what the file made there before goes.
#[test]
fn a_prefix_of_the_kernels_routes_is_left_to_them() {
    let (mut wanted, mut world) = host_with_a_route();
    let dst = wanted.routes[0].dst;
    wanted.routes[0].via = None;
    let plan = planned(&wanted, &world);
    assert_eq!(plan.refusals, []);
    let removed = |plan: &Plan| {
        ops(plan)
            .filter(|op| matches!(op, Op::RemoveRoute(..)))
            .count()
    };
    assert_eq!(removed(&plan), 1);
    carry_out(&mut world, &plan);
    assert_true(&wanted, &world);
    assert_eq!(world.observed.node.own_routes(dst), []);
    assert_eq!(
        world.observed.maps.routes[&dst],
        netpath_common::RouteEntry::REMOTE
    );
    // Whatever comes there, aggregates that lead nowhere too, is neither told nor touched.
    let hop = Hop {
        via: Some("fe80::9".parse().expect("an address")),
        ifindex: Some(netpath_common::Ifindex(2)),
    };
    for (net, hops) in [("10.77.0.0/24", vec![]), ("10.77.0.64/26", vec![hop; 2])] {
        let mut route = host_with_a_route().1.observed.node.routes[0].clone();
        of_a_daemon(&mut route, hops);
        route.dst = net.parse().expect("a prefix");
        world.observed.node.routes.push(route);
        let plan = planned(&wanted, &world);
        assert_eq!(
            (plan.refusals, plan.steps, plan.told),
            (vec![], vec![], vec![]),
            "{net}"
        );
    }
    // But that nobody answers where packets go.
    world
        .observed
        .node
        .silent
        .insert((netpath_common::Ifindex(2), hop.via.expect("one")));
    let plan = planned(&wanted, &world);
    assert_eq!(told(&plan).collect::<Vec<_>>(), ["next_hop_silent"]);
    let down = down("n", &world);
    assert_eq!(removed(&down), 0);
}

/// Another next hop in the file, where somebody's route leads to a third one.
#[test]
fn somebodys_route_is_in_the_way_of_a_changed_one() {
    let (mut wanted, mut world) = host_with_a_route();
    let hop = Hop {
        via: Some([100, 64, 0, 9].into()),
        ifindex: None,
    };
    of_a_daemon(&mut world.observed.node.routes[0], vec![hop]);
    wanted.routes[0].via = Some([100, 64, 0, 7].into());
    let plan = planned(&wanted, &world);
    let ids: Vec<&str> = plan
        .refusals
        .iter()
        .map(|it| it.refusal.kind().id)
        .collect();
    assert_eq!(ids, ["foreign_route"]);
}

#[test]
fn whoever_is_sent_packets_must_know_a_way_back() {
    let topology = crate::model::Topology::builtin_lab();
    let nodes: Vec<Wanted> = topology
        .nodes
        .iter()
        .map(|node| Wanted::of(node, None))
        .collect();
    let worlds: Vec<World> = nodes.iter().map(made).collect();
    let missing = |nodes: &[Wanted], worlds: &[World]| {
        let pairs: Vec<(&Wanted, &World)> = nodes.iter().zip(worlds).collect();
        let missing = missing_ways_back(&pairs).into_iter();
        missing
            .map(|(node, told)| (node, told.drift.to_string()))
            .collect::<Vec<_>>()
    };
    assert_eq!(missing(&nodes, &worlds), []);
    let mut without = nodes.clone();
    without[1]
        .routes
        .retain(|route| route.dst.to_string() != "10.0.2.0/24");
    let told = "what is sent to the next hop 100.100.198.253 is not answered: node node02 has no route back to 10.0.2.2";
    let blank = vec![World::default(); 2];
    assert_eq!(
        missing(&without, &blank),
        [("node03".to_owned(), told.to_owned())]
    );
    // Somebody else's route leads there, be it the default one.
    assert_eq!(missing(&without, &worlds), []);
    // Another wire, another node.
    for uplink in &mut without[1].uplinks {
        uplink.wire.as_mut().expect("a lab").name = "other".to_owned();
    }
    assert_eq!(missing(&without, &blank), []);
}
