//! Planning reaches a fixed point: after the steps of a plan nothing is left to do, from wherever it began.

mod beside;
mod connections;
mod damage;
mod framing;
mod generate;
mod one;

use std::net::IpAddr;

use netpath_common::{EndpointId, Origin};
use proptest::prelude::*;

use self::{
    damage::{Damage, damages},
    generate::{host_world, wanted},
};
use super::*;
use crate::model::NodePlace;

fn planned(wanted: &Wanted, world: &World) -> Plan {
    // Never the same twice, as what provisioning passes.
    static SEED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let seed = SEED.fetch_add(1 << 32, std::sync::atomic::Ordering::Relaxed);
    plan(wanted, world, &mut Fresh::new(seed))
}

fn carry_out(world: &mut World, plan: &Plan) {
    ops(plan).for_each(|op| world.apply(op));
}

fn ops(plan: &Plan) -> impl Iterator<Item = &Op> {
    let steps = plan.steps.iter().chain(&plan.removals);
    steps.flat_map(|step| &step.ops)
}

/// A node as it is wanted, made from nothing.
fn made(wanted: &Wanted) -> World {
    let mut world = match wanted.place {
        NodePlace::Lab => World {
            observed: Observed {
                pins_links: true,
                ..Observed::default()
            },
            ..World::default()
        },
        NodePlace::Host => host_world(),
    };
    let plan = planned(wanted, &world);
    assert_eq!(plan.refusals, []);
    carry_out(&mut world, &plan);
    world
}

fn assert_true(wanted: &Wanted, world: &World) {
    let again = planned(wanted, world);
    assert_eq!(again.refusals, []);
    let steps = again.steps.iter().chain(&again.removals);
    let told: Vec<String> = steps
        .map(|step| {
            format!(
                "{:?}: {:?}: {:?}",
                step.object,
                step.drift,
                step.ops.first()
            )
        })
        .collect();
    assert_eq!(told, Vec::<String>::new(), "a second plan is empty");
    let node = world.recorded.as_ref().expect("made");
    let mut ids: Vec<EndpointId> = node.endpoints.values().map(|it| it.id).collect();
    ids.push(node.next_id);
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(
        ids.len(),
        count,
        "each its own, and the next nobody's: {ids:?}"
    );
}

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

/// What is recorded, as it could be wanted again, without what is different each time.
fn recorded(world: &World) -> Option<Wanted> {
    let node = world.recorded.as_ref()?;
    Some(Wanted::of_recorded("n", node).expect("netpath's own names"))
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
    fn the_switch_reaches_its_wish(wanted in wanted(), on: bool, one in 0..3usize, off: bool) {
        let mut world = made(&wanted);
        let node = world.recorded.clone().expect("made");
        let mut wishes = Wishes::of(&node);
        wishes.node = on;
        if let Some(wish) = wishes.endpoints.values_mut().nth(one) {
            *wish = if off { netpath_common::FastPathWish::Off } else { netpath_common::FastPathWish::On };
        }
        let plan = switch(&wanted, &wishes, &world);
        carry_out(&mut world, &plan);
        prop_assert_eq!(Wishes::of(world.recorded.as_ref().expect("made")), wishes.clone());
        prop_assert_eq!(switch(&wanted, &wishes, &world).steps, vec![]);
        let wish = recorded(&world).expect("made");
        assert_true(&wish, &world);
    }
}

fn lab() -> Wanted {
    Wanted::of(&crate::model::Topology::builtin_lab().nodes[0], None)
}

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

/// The ids of a plan's drift.
fn told(plan: &Plan) -> impl Iterator<Item = &'static str> {
    let mended = plan.steps.iter().flat_map(|step| &step.drift);
    let drift = mended.chain(plan.told.iter().map(|told| &told.drift));
    drift.map(|drift| drift.kind().id)
}

/// A machine with a route to another node that netpath made.
fn host_with_a_route() -> (Wanted, World) {
    let mut wanted = Wanted {
        place: NodePlace::Host,
        uplinks: vec![generate::host_uplink()],
        endpoints: Vec::new(),
        forward_drop: false,
        ..lab()
    };
    wanted.routes = vec![WantedRoute {
        dst: "10.77.0.0/24".parse().expect("a prefix"),
        via: Some(std::net::IpAddr::from([100, 64, 0, 5])),
        dev: None,
    }];
    let world = made(&wanted);
    (wanted, world)
}

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
    world.recorded.as_mut().expect("made").fast_path = false;
    assert_eq!(objects(&world), ["n"]);
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
    wanted.room = (100, 100);
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
    wanted.room = (101, 100);
    assert_eq!(planned(&wanted, &world).refusals, []);
    // A switch refuses it as well, unless it switches off.
    wanted.room = (0, 0);
    let mut wishes = Wishes::of(world.recorded.as_ref().expect("made"));
    assert_eq!(switch(&wanted, &wishes, &world).refusals.len(), 1);
    wishes.node = false;
    let off = switch(&wanted, &wishes, &world);
    assert_eq!(off.refusals, []);
    assert!(!ops(&off).any(|op| matches!(op, Op::SetEntry(_, Owner::Node, _))));
}
