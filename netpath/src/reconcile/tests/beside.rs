//! Another node in the same network namespace.

use ipnet::IpNet;
use netpath_common::{EndpointEntry, RouteEntry};

use super::*;

const ADDRESS: &str = "10.6.0.2/24";
const PREFIX: &str = "fd06::/64";

/// The lab, beside another node with one endpoint.
fn beside() -> World {
    let mut world = made(&lab());
    let mut other = made(&lab()).recorded.expect("made");
    other.routes.clear();
    other.uplinks.clear();
    other.endpoints.retain(|name, _| name == "demo01");
    let endpoint = other.endpoints.get_mut("demo01").expect("kept");
    endpoint.addresses = vec![ADDRESS.parse().expect("an address")];
    endpoint.prefixes = vec![PREFIX.parse().expect("a prefix")];
    world.observed.others.insert("k".to_owned(), other);
    world
}

fn entries(world: &World) -> (Option<&EndpointEntry>, Option<&RouteEntry>) {
    let address: IpNet = ADDRESS.parse().expect("an address");
    let prefix: IpNet = PREFIX.parse().expect("a prefix");
    let maps = &world.observed.maps;
    (
        maps.endpoints.get(&address.addr()),
        maps.routes.get(&prefix),
    )
}

const KNOWN: (Option<&EndpointEntry>, Option<&RouteEntry>) =
    (Some(&EndpointEntry::NODE), Some(&RouteEntry::NODE));

#[test]
fn an_endpoint_of_another_node_here_is_told_and_made_known() {
    let mut world = beside();
    let plan = planned(&lab(), &world);
    let texts: Vec<String> = plan
        .steps
        .iter()
        .flat_map(|step| &step.drift)
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        texts,
        ["10.6.0.2", "fd06::/64"].map(|net| {
            format!("{net} is an endpoint's of node k, and the fast path takes it for anybody's")
        }),
        "{plan:#?}"
    );
    assert_eq!(
        told(&plan).collect::<Vec<_>>(),
        ["other_nodes_address_unknown"; 2]
    );
    carry_out(&mut world, &plan);
    assert_true(&lab(), &world);
    assert_eq!(entries(&world), KNOWN);
    world.observed.others.clear();
    let plan = planned(&lab(), &world);
    assert_eq!(
        told(&plan).collect::<Vec<_>>(),
        ["own_address_gone", "own_prefix_gone"]
    );
    carry_out(&mut world, &plan);
    assert_true(&lab(), &world);
    assert_eq!(entries(&world), (None, None));
}

/// What is told a node because of another is that, and nothing else of it.
#[test]
fn one_node_is_told_of_another_and_nothing_else_is_done() {
    let mut world = beside();
    let link = world.recorded.as_ref().expect("made").endpoints["demo01"]
        .host_dev
        .clone();
    world.observed.node.links.retain(|it| it.name != link);
    let plan = own(&lab(), &world);
    assert_eq!(plan.refusals, []);
    let made = |op: &&Op| {
        !matches!(
            op,
            Op::SetEntry(..) | Op::SetPrefix(..) | Op::SetFeatures(_)
        )
    };
    assert_eq!(ops(&plan).filter(made).count(), 0, "{plan:#?}");
    carry_out(&mut world, &plan);
    assert_eq!(entries(&world), KNOWN);
    assert_eq!(ops(&own(&lab(), &world)).count(), 0);
}

/// What cannot be read may be the one that has it.
#[test]
fn while_another_node_cannot_be_read_what_was_known_of_it_stays() {
    let mut world = beside();
    let plan = planned(&lab(), &world);
    carry_out(&mut world, &plan);
    world.observed.others.clear();
    world.observed.unreadable = Some("k".to_owned());
    assert_true(&lab(), &world);
    assert_eq!(entries(&world), KNOWN);
    assert_eq!(ops(&own(&lab(), &world)).count(), 0);
}
