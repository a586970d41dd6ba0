//! `netpath show`.

use std::path::PathBuf;

use netpath::{
    api::Status,
    finding::Finding,
    mounts,
    provision::{self, FastPath, InterfaceStatus, NodeStatus, RouteStatus},
};

use super::{Context, Exit, Failure, Table, file, note};

/// Arguments of `netpath show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Only the nodes of this topology; `-` reads it from stdin [default: every node that is up]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Shows what is up.
pub fn run(args: &ShowArgs, context: &Context) -> Result<Exit, Failure> {
    let wanted = match &args.file {
        Some(path) => Some(file::node_names(&file::load(Some(path))?)),
        None => None,
    };
    context.require_root()?;
    let mut nodes = provision::observe()?;
    if mounts::covers_another()? {
        note(
            "/sys/fs/bpf is mounted twice: nodes that are pinned on the one below are not seen, and their programs run on: \
             `umount /sys/fs/bpf` takes the upper one away",
        );
    }
    let mut exit = Exit::Done;
    if let Some(wanted) = wanted {
        nodes.retain(|node| wanted.contains(&node.name));
        for name in wanted {
            if !nodes.iter().any(|node| node.name == name) {
                note(format_args!("node {name} is not up: `netpath up` makes it"));
                exit = Exit::Degraded;
            }
        }
    } else if nodes.is_empty() {
        note("nothing is up: `netpath up` brings up the built-in lab");
    }
    for finding in nodes.iter().flat_map(NodeStatus::findings) {
        note(finding);
        exit = Exit::Degraded;
    }
    let document = Status::from(&nodes[..]);
    context.output.show(&document, || tables(&nodes))?;
    Ok(exit)
}

fn tables(nodes: &[NodeStatus]) -> Vec<Table> {
    let mut node_table = Table::new([
        "node",
        "netns",
        "fast path",
        "attach",
        "#uplinks",
        "#endpoints",
        "#routes",
        "state",
    ]);
    let mut uplink_table = Table::new([
        "uplink",
        "node",
        "addresses",
        "mac",
        "#ifindex",
        "#mtu",
        "wire",
        "made by",
        "fast path",
        "state",
    ]);
    let mut endpoint_table = Table::new([
        "endpoint",
        "node",
        "addresses",
        "prefixes",
        "dev",
        "mac",
        "host dev",
        "#ifindex",
        "#mtu",
        "fast path",
        "state",
    ]);
    let mut route_table = Table::new(["route", "node", "via", "next hop", "made by"]);
    for node in nodes {
        node_table.row([
            node.name.clone(),
            node.netns.clone(),
            on_off(node.fast_path),
            node.attach_mode.to_owned(),
            node.uplinks.len().to_string(),
            node.endpoints.len().to_string(),
            node.routes.len().to_string(),
            state(node.findings()),
        ]);
        for uplink in &node.uplinks {
            uplink_table.row([
                uplink.interface.dev.clone(),
                node.name.clone(),
                list(&uplink.addresses),
                uplink.interface.mac.clone(),
                uplink.interface.ifindex.0.to_string(),
                mtu(&uplink.interface),
                uplink.wire.clone().unwrap_or_default(),
                made_by(uplink.made),
                fast_path(&uplink.interface),
                state(&uplink.drift),
            ]);
        }
        for endpoint in &node.endpoints {
            endpoint_table.row([
                endpoint.name.clone(),
                node.name.clone(),
                list(&endpoint.addresses),
                list(&endpoint.prefixes),
                endpoint.dev.clone(),
                endpoint.mac.clone(),
                endpoint.interface.dev.clone(),
                endpoint.interface.ifindex.0.to_string(),
                mtu(&endpoint.interface),
                fast_path(&endpoint.interface),
                state(&endpoint.drift),
            ]);
        }
        for route in &node.routes {
            route_table.row([
                route.dst.to_string(),
                node.name.clone(),
                route.via.to_string(),
                next_hops(route),
                made_by(route.made),
            ]);
        }
    }
    vec![node_table, uplink_table, endpoint_table, route_table]
}

/// Whether programs are attached, and for what they leave packets to the kernel.
fn fast_path(interface: &InterfaceStatus) -> String {
    match interface.kernel.as_slice() {
        [] => on_off(interface.fast_path),
        reasons => format!("{} ({})", on_off(interface.fast_path), reasons.join(", ")),
    }
}

fn mtu(interface: &InterfaceStatus) -> String {
    let mtu = interface.mtu;
    mtu.map_or_else(String::new, |mtu| mtu.to_string())
}

fn on_off(fast_path: FastPath) -> String {
    match fast_path {
        FastPath::On => "on",
        FastPath::Off => "off",
        FastPath::Partly => "partly",
        FastPath::Unknown => "unknown",
    }
    .to_owned()
}

fn state<'a>(drift: impl IntoIterator<Item = &'a Finding>) -> String {
    let is_as_made = drift.into_iter().next().is_none();
    if is_as_made { "ok" } else { "drift" }.to_owned()
}

fn made_by(made: bool) -> String {
    if made { "netpath" } else { "others" }.to_owned()
}

/// By the kernel's own route: a routing daemon may have chosen another than the file says.
fn next_hops(route: &RouteStatus) -> String {
    let hops = route.next_hops.iter().map(|hop| {
        let via = hop.via.map(|via| via.to_string());
        let words = [via.as_deref(), hop.dev.as_deref()];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    });
    hops.collect::<Vec<_>>().join(", ")
}

fn list<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use netpath::{
        provision::{EndpointStatus, InterfaceStatus, NextHopStatus, Object, UplinkStatus},
        reconcile::Drift,
    };
    use netpath_common::{EndpointId, Ifindex};

    use super::*;

    fn node() -> NodeStatus {
        let interface = |dev: &str, ifindex| InterfaceStatus {
            kernel: Vec::new(),
            dev: dev.into(),
            ifindex: Ifindex(ifindex),
            mac: "02:00:00:00:00:01".into(),
            mtu: Some(1500),
            fast_path: FastPath::On,
        };
        NodeStatus {
            name: "node03".into(),
            netns: "node03".into(),
            directory: "/sys/fs/bpf/netpath/node03".into(),
            attach_mode: "tcx",
            fast_path: FastPath::Partly,
            uplinks: vec![UplinkStatus {
                interface: interface("enp2s0", 2),
                addresses: vec!["100.100.198.250/24".parse().expect("valid")],
                wire: Some("lan".into()),
                made: true,
                drift: Vec::new(),
            }],
            routes: vec![RouteStatus {
                kernel: Vec::new(),
                dst: "10.0.3.0/24".parse().expect("valid"),
                via: "100.100.198.253".parse().expect("valid"),
                next_hops: vec![NextHopStatus {
                    via: Some("100.100.198.254".parse().expect("valid")),
                    dev: Some("enp2s0".into()),
                }],
                made: false,
            }],
            endpoints: vec![EndpointStatus {
                name: "demo01".into(),
                id: EndpointId(1),
                dev: "eth0".into(),
                mac: "02:00:00:00:00:02".into(),
                interface: interface("np-demo01", 3),
                addresses: vec![
                    "10.0.1.2/24".parse().expect("valid"),
                    "fd00:1::2/64".parse().expect("valid"),
                ],
                prefixes: vec!["10.9.0.0/28".parse().expect("valid")],
                drift: vec![
                    Drift::InterfaceDown("np-demo01".into())
                        .finding(Object::Endpoint.told("demo01", "node03")),
                ],
            }],
            drift: Vec::new(),
        }
    }

    #[test]
    fn a_table_for_each_kind_of_object() {
        let tables: Vec<String> = tables(&[node()])
            .iter()
            .map(|table| table.render(false))
            .collect();
        let expected = [
            "\
NODE    NETNS   FAST PATH  ATTACH  UPLINKS  ENDPOINTS  ROUTES  STATE
node03  node03  partly     tcx           1          1       1  drift
",
            "\
UPLINK  NODE    ADDRESSES           MAC                IFINDEX   MTU  WIRE  MADE BY  FAST PATH  STATE
enp2s0  node03  100.100.198.250/24  02:00:00:00:00:01        2  1500  lan   netpath  on         ok
",
            "\
ENDPOINT  NODE    ADDRESSES                  PREFIXES     DEV   MAC                HOST DEV   IFINDEX   MTU  FAST PATH  STATE
demo01    node03  10.0.1.2/24, fd00:1::2/64  10.9.0.0/28  eth0  02:00:00:00:00:02  np-demo01        3  1500  on         drift
",
            "\
ROUTE        NODE    VIA              NEXT HOP                MADE BY
10.0.3.0/24  node03  100.100.198.253  100.100.198.254 enp2s0  others
",
        ];
        assert_eq!(tables, expected);
    }

    #[test]
    fn drift_names_its_object() {
        let told: Vec<String> = node().findings().map(ToString::to_string).collect();
        assert_eq!(
            told,
            ["endpoint demo01 on node03: interface np-demo01 is down: `netpath up` mends it"]
        );
    }
}
