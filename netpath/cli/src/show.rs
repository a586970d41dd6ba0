//! `netpath show`.

use std::path::{Path, PathBuf};

use netpath::{
    api::Status,
    capabilities::Work,
    finding::Finding,
    model::Name,
    provision::{
        self, EndpointStatus, FastPath, InterfaceStatus, NodeStatus, ProvisionError, RouteStatus,
    },
};

use super::{Context, Exit, Failure, Table, advice, completions, file, note, table::DRIFT};

/// Arguments of `netpath show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Only these nodes, and these endpoints with all that is known of them [default: all that is up]
    #[arg(value_name = "NAME", add = completions::objects())]
    names: Vec<Name>,

    /// Only the nodes of this topology; `-` reads it from stdin [default: every node that is up]
    #[arg(short, long, value_name = "FILE", conflicts_with = "names")]
    pub(super) file: Option<PathBuf>,

    /// Only a row for each node
    #[arg(short, long)]
    brief: bool,
}

/// Shows what is up.
pub fn run(args: &ShowArgs, context: &Context) -> Result<Exit, Failure> {
    let wanted = match &args.file {
        Some(path) => Some(file::node_names(&file::load(Some(path))?)),
        None => None,
    };
    context.require(Work::Nodes)?;
    let mut nodes = provision::observe()?;
    for finding in nodes.iter_mut().flat_map(NodeStatus::findings_mut) {
        finding.cure = advice::typed(&finding.cure);
    }
    let mut exit = Exit::Done;
    if let Some(wanted) = wanted {
        nodes.retain(|node| wanted.contains(&node.name));
        for name in wanted {
            if !nodes.iter().any(|node| node.name == name) {
                let file = args.file.as_deref().unwrap_or(Path::new("-")).display();
                note(format_args!(
                    "node {name} is not up: `netpath up -f {file}` makes it"
                ));
                exit = Exit::Degraded;
            }
        }
    } else if !args.names.is_empty() {
        // What cannot be read may have it.
        let unreadable = nodes.iter().filter(|it| it.fast_path == FastPath::Unknown);
        let unreadable: Vec<Finding> = unreadable.flat_map(|it| it.drift.clone()).collect();
        nodes = selected(nodes, &args.names).inspect_err(|_| unreadable.iter().for_each(note))?;
    } else if nodes.is_empty() {
        note("nothing is up: `netpath up` brings up the built-in lab");
    }
    for finding in nodes.iter().flat_map(NodeStatus::findings) {
        note(finding);
        exit = Exit::Degraded;
    }
    let document = Status::from(&nodes[..]);
    context.output.show(&document, || {
        if args.brief {
            vec![node_table(&nodes)]
        } else if args.names.is_empty() {
            tables(&nodes)
        } else {
            of_names(&nodes, &args.names)
        }
    })?;
    Ok(exit)
}

/// What is called so: whole nodes, and of others the endpoints.
fn selected(nodes: Vec<NodeStatus>, names: &[Name]) -> Result<Vec<NodeStatus>, ProvisionError> {
    let is_named = |name: &str| names.iter().any(|wanted| wanted.as_ref() == name);
    let is_up = |wanted: &Name| {
        let is_it = |name: &str| name == wanted.as_ref();
        nodes.iter().any(|node| {
            is_it(&node.name) || node.endpoints.iter().any(|endpoint| is_it(&endpoint.name))
        })
    };
    if let Some(name) = names.iter().find(|name| !is_up(name)) {
        return Err(ProvisionError::NotUp {
            object: "node or endpoint",
            name: name.to_string(),
        });
    }
    let nodes = nodes.into_iter().filter_map(|mut node| {
        if is_named(&node.name) {
            return Some(node);
        }
        node.endpoints.retain(|endpoint| is_named(&endpoint.name));
        node.uplinks.clear();
        node.routes.clear();
        node.drift.clear();
        (!node.endpoints.is_empty()).then_some(node)
    });
    Ok(nodes.collect())
}

/// Nodes as always; endpoints that were asked for by name with all that is known of them.
fn of_names(nodes: &[NodeStatus], names: &[Name]) -> Vec<Table> {
    let is_named = |name: &str| names.iter().any(|wanted| wanted.as_ref() == name);
    let whole: Vec<NodeStatus> = nodes
        .iter()
        .filter(|node| is_named(&node.name))
        .cloned()
        .collect();
    let mut shown = match whole.is_empty() {
        true => Vec::new(),
        false => tables(&whole),
    };
    for node in nodes {
        let named = node.endpoints.iter().filter(|it| is_named(&it.name));
        shown.extend(named.map(|endpoint| details(node, endpoint)));
    }
    shown
}

/// All that is known of an endpoint, line by line.
fn details(node: &NodeStatus, endpoint: &EndpointStatus) -> Table {
    let mut table = Table::new(["endpoint", ""]);
    let mut line = |what: &str, value: String| table.row([what.to_owned(), value]);
    line("name", endpoint.name.clone());
    line("node", node.name.clone());
    line("for", endpoint.origin.to_owned());
    for address in &endpoint.addresses {
        line("address", address.to_string());
    }
    for prefix in &endpoint.prefixes {
        line("prefix", prefix.to_string());
    }
    line("dev", endpoint.dev.clone());
    line("mac", endpoint.mac.clone());
    line("host dev", endpoint.interface.dev.clone());
    line("host mac", endpoint.interface.mac.clone());
    line("ifindex", endpoint.interface.ifindex.0.to_string());
    line("mtu", mtu(&endpoint.interface));
    line("fast path", fast_path(&endpoint.interface));
    for finding in &endpoint.drift {
        line("drift", format!("{}: {}", finding.problem, finding.cure));
    }
    if endpoint.drift.is_empty() {
        line("state", state(&endpoint.drift));
    }
    table
}

fn node_table(nodes: &[NodeStatus]) -> Table {
    let mut table = Table::new([
        "node",
        "netns",
        "fast path",
        "+attach",
        "#uplinks",
        "#endpoints",
        "#routes",
        "state",
    ]);
    for node in nodes {
        table.row([
            node.name.clone(),
            node.netns.clone(),
            on_off(node.fast_path),
            node.attach_mode.to_owned(),
            node.uplinks.len().to_string(),
            node.endpoints.len().to_string(),
            node.routes.len().to_string(),
            state(node.findings()),
        ]);
    }
    table
}

fn tables(nodes: &[NodeStatus]) -> Vec<Table> {
    let mut uplink_table = Table::new([
        "uplink",
        "node",
        "addresses",
        "+mac",
        "+#ifindex",
        "+#mtu",
        "+wire",
        "made by",
        "fast path",
        "state",
    ]);
    let mut endpoint_table = Table::new([
        "endpoint",
        "node",
        "+for",
        "addresses",
        "+prefixes",
        "+dev",
        "+mac",
        "host dev",
        "+#ifindex",
        "+#mtu",
        "fast path",
        "state",
    ]);
    let mut route_table = Table::new(["route", "node", "via", "next hop", "made by"]);
    for node in nodes {
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
                endpoint.origin.to_owned(),
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
                wanted_hop(route),
                next_hops(route),
                route_made_by(route),
            ]);
        }
    }
    vec![node_table(nodes), uplink_table, endpoint_table, route_table]
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
        FastPath::Shadow => "shadow",
        FastPath::Off => "off",
        FastPath::Partly => "partly",
        FastPath::Unknown => "unknown",
    }
    .to_owned()
}

fn state<'a>(drift: impl IntoIterator<Item = &'a Finding>) -> String {
    let is_as_made = drift.into_iter().next().is_none();
    if is_as_made { "ok" } else { DRIFT }.to_owned()
}

fn made_by(made: bool) -> String {
    if made { "netpath" } else { "others" }.to_owned()
}

/// Nobody made a route that is not there.
fn route_made_by(route: &RouteStatus) -> String {
    match route.next_hops.as_slice() {
        [] => String::new(),
        _ => made_by(route.made),
    }
}

/// As the file says it.
fn wanted_hop(route: &RouteStatus) -> String {
    match (route.via, &route.dev) {
        (None, _) => "kernel's".to_owned(),
        (Some(via), None) => via.to_string(),
        (Some(via), Some(dev)) => format!("{via} {dev}"),
    }
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
        provision::{NextHopStatus, Object, UplinkStatus},
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
                via: Some("100.100.198.253".parse().expect("valid")),
                dev: None,
                next_hops: vec![NextHopStatus {
                    via: Some("100.100.198.254".parse().expect("valid")),
                    dev: Some("enp2s0".into()),
                }],
                made: false,
            }],
            endpoints: vec![EndpointStatus {
                name: "demo01".into(),
                origin: "file",
                netns: "demo01".into(),
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
ENDPOINT  NODE    FOR   ADDRESSES                  PREFIXES     DEV   MAC                HOST DEV   IFINDEX   MTU  FAST PATH  STATE
demo01    node03  file  10.0.1.2/24, fd00:1::2/64  10.9.0.0/28  eth0  02:00:00:00:00:02  np-demo01        3  1500  on         drift
",
            "\
ROUTE        NODE    VIA              NEXT HOP                MADE BY
10.0.3.0/24  node03  100.100.198.253  100.100.198.254 enp2s0  others
",
        ];
        assert_eq!(tables, expected);
    }

    fn names(names: &[&str]) -> Vec<Name> {
        names
            .iter()
            .map(|name| name.parse().expect("a name"))
            .collect()
    }

    #[test]
    fn tables_fit_a_terminal() {
        for table in tables(&[node()]) {
            let text = table.render_within(false, Some(80));
            assert!(text.lines().all(|line| line.len() <= 80), "{text}");
            assert_eq!(text.lines().count(), 2, "{text}");
        }
    }

    #[test]
    fn what_is_asked_for_by_name_is_shown_alone() {
        let nodes = selected(vec![node()], &names(&["demo01"])).expect("it is up");
        assert_eq!((nodes[0].uplinks.len(), nodes[0].routes.len()), (0, 0));
        let shown = of_names(&nodes, &names(&["demo01"]));
        let expected = "\
ENDPOINT
name       demo01
node       node03
for        file
address    10.0.1.2/24
address    fd00:1::2/64
prefix     10.9.0.0/28
dev        eth0
mac        02:00:00:00:00:02
host dev   np-demo01
host mac   02:00:00:00:00:01
ifindex    3
mtu        1500
fast path  on
drift      interface np-demo01 is down: `netpath up` mends it
";
        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0].render(false), expected);
        let nodes = selected(vec![node()], &names(&["node03"])).expect("it is up");
        assert_eq!(of_names(&nodes, &names(&["node03"])).len(), 4);
        let error = selected(vec![node()], &names(&["node03", "demo09"])).expect_err("not up");
        let told = "no node or endpoint demo09 is up: `netpath show` lists what is";
        assert_eq!(error.to_string(), told);
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
