//! The planner against simulated worlds.

mod beside;
mod connections;
mod damage;
mod drift;
mod framing;
mod generate;
mod one;
mod own;
mod ownership;
mod properties;
mod routes;

use netpath_common::EndpointId;

use self::generate::{host_uplink, host_world};
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

/// What is recorded, as it could be wanted again, without what is different each time.
fn recorded(world: &World) -> Option<Wanted> {
    let node = world.recorded.as_ref()?;
    Some(Wanted::of_recorded("n", node).expect("netpath's own names"))
}

fn lab() -> Wanted {
    Wanted::of(&crate::model::Topology::builtin_lab().nodes[0], None)
}

/// A machine with a route to another node that netpath made.
fn host_with_a_route() -> (Wanted, World) {
    let mut wanted = Wanted {
        place: NodePlace::Host,
        uplinks: vec![host_uplink()],
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

/// The ids of a plan's drift.
fn told(plan: &Plan) -> impl Iterator<Item = &'static str> {
    let mended = plan.steps.iter().flat_map(|step| &step.drift);
    let drift = mended.chain(plan.told.iter().map(|told| &told.drift));
    drift.map(|drift| drift.kind().id)
}
