//! NAT rules as others write them, in the words of `iptables-restore`.

use std::{fmt::Write as _, net::SocketAddr};

use netpath::command;

use super::{PODS, Protocol};
use crate::{Family, lab::Lab};

/// What kube-proxy puts into `filter`: packets that conntrack makes nothing of are dropped.
pub const FORWARDING: &str = "\
*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment \"kubernetes forwarding rules\" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
";

/// Adds rules to those that a node has.
pub fn install(lab: &Lab, node: &str, family: Family, rules: &str) {
    let program = match family {
        Family::V4 => "iptables-restore",
        Family::V6 => "ip6tables-restore",
    };
    lab.inside(node, || {
        command::run(program, &["-w", "--noflush"], rules)
            .unwrap_or_else(|error| panic!("{error}\n{rules}"));
    });
}

/// A service of a cluster: it has one port, both for TCP and for UDP.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its ClusterIP and port.
    pub at: SocketAddr,
    /// Its port on every node.
    pub node_port: Option<u16>,
    /// Who serves.
    pub backends: Vec<SocketAddr>,
}

/// The services of a node's kube-proxy, of one family.
#[derive(Clone, Debug)]
pub struct KubeProxy {
    /// Of which family.
    pub family: Family,
    /// In their order.
    pub services: Vec<Service>,
}

impl KubeProxy {
    /// Writes its rules, [`FORWARDING`] among them, to a node.
    pub fn install(&self, lab: &Lab, node: &str) {
        install(lab, node, self.family, FORWARDING);
        install(lab, node, self.family, &self.nat());
    }

    fn nat(&self) -> String {
        let mut text = String::from(
            "*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE
",
        );
        for (number, service) in self.services.iter().enumerate() {
            for protocol in Protocol::ALL {
                service.write(&mut text, number, protocol, self.family);
            }
        }
        text += "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\nCOMMIT\n";
        text
    }
}

impl Service {
    fn write(&self, text: &mut String, number: usize, protocol: Protocol, family: Family) {
        let protocol = protocol.name();
        let chain = format!("KUBE-SVC-{protocol}{number}");
        let (ip, port) = (self.at.ip(), self.at.port());
        let to = format!("-d {ip} -p {protocol} -m {protocol} --dport {port}");
        let pods = PODS[usize::from(family == Family::V6)];
        let mut line = |line: String| writeln!(text, "{line}").expect("a String takes it");
        line(format!(":{chain} - [0:0]"));
        line(format!("-A KUBE-SERVICES {to} -j {chain}"));
        line(format!("-A {chain} ! -s {pods} {to} -j KUBE-MARK-MASQ"));
        let last = self.backends.len();
        for (index, backend) in self.backends.iter().enumerate() {
            let end = format!("KUBE-SEP-{protocol}{number}-{index}");
            line(format!(":{end} - [0:0]"));
            // As kube-proxy does: the last takes what the others have left.
            let share = match last - index {
                1 => String::new(),
                rest => {
                    let share = 1.0 / rest as f64;
                    format!("-m statistic --mode random --probability {share:.10} ")
                }
            };
            line(format!("-A {chain} {share}-j {end}"));
            line(format!("-A {end} -s {} -j KUBE-MARK-MASQ", backend.ip()));
            line(format!(
                "-A {end} -p {protocol} -m {protocol} -j DNAT --to-destination {backend}"
            ));
        }
        if let Some(port) = self.node_port {
            let external = format!("KUBE-EXT-{protocol}{number}");
            line(format!(":{external} - [0:0]"));
            line(format!(
                "-A KUBE-NODEPORTS -p {protocol} -m {protocol} --dport {port} -j {external}"
            ));
            line(format!("-A {external} -j KUBE-MARK-MASQ"));
            line(format!("-A {external} -j {chain}"));
        }
    }
}

/// A port of the node's that is a pod's, as CNI's plugin `portmap` writes it.
#[derive(Clone, Copy, Debug)]
pub struct Portmap {
    /// The node's port.
    pub host_port: u16,
    /// The pod's address and port.
    pub pod: SocketAddr,
}

impl Portmap {
    /// Writes its rules to a node.
    pub fn install(&self, lab: &Lab, node: &str) {
        let family = super::family_of(self.pod.ip());
        install(lab, node, family, &self.nat());
    }

    fn nat(&self) -> String {
        let Self { host_port, pod } = self;
        let own = format!("CNI-DN-{host_port}");
        let mut text = format!(
            "*nat
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-SETMARK - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
:{own} - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment \"CNI portfwd requiring masquerade\" -j CNI-HOSTPORT-MASQ
-A CNI-HOSTPORT-SETMARK -m comment --comment \"CNI portfwd masquerade mark\" -j MARK --or-mark 0x2000
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
"
        );
        for protocol in Protocol::ALL.map(Protocol::name) {
            let port = format!("-p {protocol} -m {protocol} --dport {host_port}");
            write!(
                text,
                "-A CNI-HOSTPORT-DNAT -p {protocol} -m multiport --destination-ports {host_port} -j {own}
-A {own} -s {} {port} -j CNI-HOSTPORT-SETMARK
-A {own} {port} -j DNAT --to-destination {pod}
",
                pod.ip()
            )
            .expect("a String takes it");
        }
        text + "COMMIT\n"
    }
}

/// A published port of a container, as docker writes it.
#[derive(Clone, Copy, Debug)]
pub struct Docker {
    /// The machine's port.
    pub host_port: u16,
    /// The container's address and port.
    pub container: SocketAddr,
    /// What stands for `docker0`: the host's end of the container's veth.
    pub bridge: &'static str,
}

impl Docker {
    /// Writes its rules to a node, whose FORWARD chain then drops what no rule accepts.
    pub fn install(&self, lab: &Lab, node: &str) {
        let family = super::family_of(self.container.ip());
        install(lab, node, family, &self.nat());
        install(lab, node, family, &self.filter());
    }

    fn nat(&self) -> String {
        let Self {
            host_port,
            container,
            bridge,
        } = self;
        let (ip, port) = (container.ip(), container.port());
        let mut text = format!(
            "*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s {ip} ! -o {bridge} -j MASQUERADE
"
        );
        for protocol in Protocol::ALL.map(Protocol::name) {
            write!(
                text,
                "-A POSTROUTING -s {ip} -d {ip} -p {protocol} -m {protocol} --dport {port} -j MASQUERADE
-A DOCKER ! -i {bridge} -p {protocol} -m {protocol} --dport {host_port} -j DNAT --to-destination {container}
"
            )
            .expect("a String takes it");
        }
        text + "COMMIT\n"
    }

    fn filter(&self) -> String {
        let Self {
            container, bridge, ..
        } = self;
        let (ip, port) = (container.ip(), container.port());
        let mut text = format!(
            "*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
-A FORWARD -o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o {bridge} -j DOCKER
-A FORWARD -i {bridge} ! -o {bridge} -j ACCEPT
"
        );
        for protocol in Protocol::ALL.map(Protocol::name) {
            writeln!(
                text,
                "-A DOCKER -d {ip} ! -i {bridge} -o {bridge} -p {protocol} -m {protocol} --dport {port} -j ACCEPT"
            )
            .expect("a String takes it");
        }
        text + "COMMIT\n"
    }
}

/// Has a node send what pods send to others than pods with its own address, as flannel does.
pub fn masquerade(lab: &Lab, node: &str, family: Family) {
    let pods = PODS[usize::from(family == Family::V6)];
    let rules = format!("*nat\n-A POSTROUTING -s {pods} ! -d {pods} -j MASQUERADE\nCOMMIT\n");
    install(lab, node, family, &rules);
}
