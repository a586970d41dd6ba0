//! What mends what is refused.

use ipnet::IpNet;
use netpath_common::Origin;

use super::{FILTER_PREFERENCE, Refusal, sysctl_name};
use crate::reconcile::is_address;

impl Refusal {
    /// What mends it. `entry` goes before a command, to run it in the node's namespace.
    pub(super) fn cure(&self, entry: &str) -> String {
        match self {
            Self::ForeignInterface { key, .. } => {
                format!("set {key} to another name")
            }
            Self::OtherMac { dev, mac } => format!(
                "set it back with `{entry}ip link set dev {dev} address {mac}` if nobody else made it, or remove the node \
                 with `netpath down NODE` first"
            ),
            Self::OnAnotherNode { node, .. } => format!(
                "first bring up a file that has it neither there nor here, or remove that node with `netpath down {node}`"
            ),
            Self::NamespaceReplaced(name) => format!(
                "remove it with `ip netns del {name}` if nothing in it is of use: then `netpath up` makes netpath's anew, or \
                 `netpath down NODE` removes the rest"
            ),
            Self::EmptyFile(name) => format!(
                "remove it with `rm /run/netns/{name}`, which fails if somebody is at work there"
            ),
            Self::OfAnotherNode { node, .. } => format!(
                "give it to one of the two: `netpath down {node}`, or a file that has it there no more, once that is \
                 up, lets go of it"
            ),
            Self::LeftInterface(dev) => format!(
                "remove it with `{entry}ip link del dev {dev}` if nothing uses it, or set host_dev in the topology file to \
                 another name"
            ),
            Self::FilterInPlace { dev, hook } => format!(
                "remove it with `{entry}tc filter del dev {dev} {} pref {FILTER_PREFERENCE}` if nobody needs it (a netpath \
                 whose directory is gone leaves one), or give it another preference",
                hook.name()
            ),
            Self::UplinkRenamed { dev, to } => format!(
                "write dev = \"{to}\" into the topology file, or give it the old name as an alternative one with \
                 `{entry}ip link property add dev {to} altname {dev}` (netpath renames no interface that it did not make)"
            ),
            Self::UplinkDown(dev) => format!(
                "set it up with `{entry}ip link set {dev} up` (netpath configures no interface that it did not make)"
            ),
            Self::NotForwarding {
                key, advertised, ..
            } => {
                let forward = format!("`{entry}sysctl -w {}=1`", sysctl_name(key));
                match advertised.as_ref() {
                    [] => format!(
                        "set it with {forward} (netpath changes no setting of the machine's)"
                    ),
                    devs => format!(
                        "first {}, or the machine loses the IPv6 default route that it has by router advertisements on {}; \
                         then {forward} (netpath changes no setting of the machine's)",
                        accept(devs, entry),
                        devs.join(", ")
                    ),
                }
            }
            Self::Advertised(devs) => format!(
                "set {} first (netpath changes no setting of the machine's)",
                accept(devs, entry)
            ),
            Self::OtherNamespace { name: Some(name) } => {
                format!("run netpath there: `nsenter --net=/run/netns/{name} netpath ...`")
            }
            Self::OwnAddress { net, .. } => others(net).to_owned(),
            Self::TooManyAddresses { max_endpoints, .. } => format!(
                "set max_endpoints of the node to {max_endpoints} or more in the topology file, and run `netpath up`"
            ),
            Self::TooManyPrefixes { count, .. } => format!(
                "set max_routes of the node to {count} or more in the topology file, and run `netpath up`"
            ),
            Self::RoutedElsewhere { net, text, .. } => match text {
                Some(text) => format!(
                    "{}, or remove the route with `{entry}ip route del {text}`",
                    others(net)
                ),
                None => others(net).to_owned(),
            },
            Self::ForeignRoute { text, by_one, .. } => {
                let first = match by_one {
                    true => "write that next hop into the topology file, or ",
                    false => "",
                };
                format!(
                    "{first}leave via out of the file's route, so that the kernel's own routes say where it leads, or remove it with \
                     `{entry}ip route del {text}`"
                )
            }
            Self::NameTaken { cure, .. } => cure.to_string(),
            Self::OtherOrigin(Origin::File) => {
                "take it out of the topology file, and run `netpath up`".to_owned()
            }
            Self::OtherOrigin(Origin::Command) => "use `netpath endpoint remove`".to_owned(),
            Self::OtherOrigin(Origin::Cni) => "have the container runtime remove it".to_owned(),
            _ => self.kind().cure.to_owned(),
        }
    }
}

fn others(net: &IpNet) -> &'static str {
    match is_address(net) {
        true => "give the endpoint another address",
        false => "route only prefixes to an endpoint that are wholly its own",
    }
}

/// The commands that make a forwarding machine heed router advertisements all the same.
fn accept(devs: &[String], entry: &str) -> String {
    let commands = devs.iter().map(|dev| {
        let key = format!("ipv6/conf/{dev}/accept_ra");
        format!("`{entry}sysctl -w {}=2`", sysctl_name(&key))
    });
    commands.collect::<Vec<_>>().join(" and ")
}
