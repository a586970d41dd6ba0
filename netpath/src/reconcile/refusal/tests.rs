//! What refusals say.

use netpath_common::Hook;

use super::*;

#[test]
fn each_says_what_is_wrong_and_what_mends_it() {
    let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
    let own = |text: &str| Refusal::OwnAddress {
        net: net(text),
        address: IpAddr::from([10, 0, 1, 2]),
        dev: "lo".into(),
    };
    let foreign = |netns: Option<&str>, key| Refusal::ForeignInterface {
        dev: "eth7".into(),
        netns: netns.map(str::to_owned),
        key,
    };
    let forwarding = |dev: &str, found: Option<&str>| Refusal::NotForwarding {
        key: format!("ipv4/conf/{dev}/forwarding"),
        found: found.map(str::to_owned),
        advertised: Box::default(),
    };
    let (told, text) = ("10.0.1.0/24 on the link", "10.0.1.0/24 dev br7");
    let elsewhere = |to: &str| Refusal::RoutedElsewhere {
        net: net(to),
        told: told.into(),
        text: Some(text.into()),
    };
    let cases = [
        (
            Refusal::ForeignNamespace("x".into()),
            "network namespace x exists and is not netpath's: choose another name in the \
             topology file, or remove it with `ip netns del` if it is of no use",
        ),
        (
            Refusal::NamespaceReplaced("x".into()),
            "network namespace x is not the one that netpath made: somebody has removed that, and made another one of its \
             name: remove it with `ip netns del x` if nothing in it is of use: then `netpath up` makes netpath's anew, or \
             `netpath down n1` removes the rest",
        ),
        (
            Refusal::OnAnotherNode {
                name: "x".into(),
                node: "n2".into(),
            },
            "namespace x is an endpoint's that is up on node n2: first bring up a file that has it neither there nor here, \
             or remove that node with `netpath down n2`",
        ),
        (
            Refusal::TooManyAddresses {
                family: "IPv6",
                count: 16_390,
                room: 16_388,
                max_endpoints: 6,
            },
            "its endpoints, its uplinks and its other interfaces have 16390 IPv6 addresses, and \
                 its maps have room for 16388: set max_endpoints of the node to 6 or more in the \
                 topology file, and run `netpath up`",
        ),
        (
            Refusal::Unproven {
                name: "x".into(),
                dev: "np-x".into(),
            },
            "namespace x and interface np-x were most likely made for it, and no record \
             proves that any more: remove the node with `netpath down n1`, which says what it \
             leaves, and make it anew",
        ),
        (
            Refusal::UnknownFraming {
                dev: "ib0".into(),
                hardware: 32,
            },
            "what uplink ib0 receives has a header that netpath does not know (its hardware type \
             is 32): name an uplink with Ethernet headers, or with none (tun, WireGuard, ppp, \
             ipip, sit; gre with a fixed remote)",
        ),
        (
            Refusal::UplinkDown("eth7".into()),
            "uplink eth7 is down: set it up with `ip link set eth7 up` (netpath configures no \
             interface that it did not make)",
        ),
        (
            foreign(None, "host_dev"),
            "interface eth7 exists and is not netpath's: set host_dev to another name",
        ),
        (
            foreign(Some("x"), "dev"),
            "interface eth7 exists in namespace x and is not netpath's: set dev to another name",
        ),
        (
            Refusal::MadeMeanwhile("eth7".into()),
            "interface eth7 exists and is not netpath's: somebody made it while netpath was \
             at work: run it again",
        ),
        (
            Refusal::OtherMac {
                dev: "eth7".into(),
                mac: Mac([2, 0, 0, 0, 0, 9]),
            },
            "interface eth7 has another MAC than netpath gave it, 02:00:00:00:00:09: set it \
             back with `ip link set dev eth7 address 02:00:00:00:00:09` if nobody else made \
             it, or remove the node with `netpath down n1` first",
        ),
        (
            Refusal::LostMaps(vec!["ids", "meta"]),
            "has lost what its maps held whose pins are gone: ids, meta: remove what is left \
             of it with `netpath down n1`, and make it anew",
        ),
        (
            Refusal::DamagedRecords(vec!["that of x in map y (z)".into()]),
            "has records that cannot be read: that of x in map y (z): remove the node with \
             `netpath down n1`, which says what they no longer prove netpath's, and make it anew",
        ),
        (
            Refusal::OtherPlace,
            "is up, but not in the place that the file says: remove it with `netpath down n1` first",
        ),
        (
            Refusal::OtherNamespace { name: None },
            "is up in another network namespace: run netpath there",
        ),
        (
            Refusal::OtherNamespace {
                name: Some("H".into()),
            },
            "is up in another network namespace: run netpath there: `nsenter \
                 --net=/run/netns/H netpath ...`",
        ),
        (
            Refusal::NamespaceDead,
            "the network namespace that it was made in is gone: remove what is left of the \
                 node with `netpath down n1`",
        ),
        (
            Refusal::NoNamespace("/x".into()),
            "there is no network namespace at /x: give the path of one, such as \
             /run/netns/NAME",
        ),
        (
            Refusal::NoUplink("eth7".into()),
            "there is no interface eth7 to be an uplink: name one that `ip link` lists",
        ),
        (
            Refusal::NoAddress {
                dev: "eth7".into(),
                address: net("10.0.0.1/24"),
            },
            "uplink eth7 has no address 10.0.0.1/24: add it, or correct the file (netpath \
             configures no interface that it did not make)",
        ),
        (
            forwarding("eth7", Some("0")),
            "this machine does not forward: net.ipv4.conf.eth7.forwarding is 0: set it with \
             `sysctl -w net.ipv4.conf.eth7.forwarding=1` (netpath changes no setting of the \
             machine's)",
        ),
        (
            Refusal::NotForwarding {
                key: "ipv6/conf/all/forwarding".into(),
                found: Some("0".into()),
                advertised: ["eth7".into(), "bond0.354".into()].into(),
            },
            "this machine does not forward: net.ipv6.conf.all.forwarding is 0: first `sysctl -w \
             net.ipv6.conf.eth7.accept_ra=2` and `sysctl -w net/ipv6/conf/bond0.354/accept_ra=2`, or the machine \
             loses the IPv6 default route that it has by router advertisements on eth7, bond0.354; then `sysctl -w \
             net.ipv6.conf.all.forwarding=1` (netpath changes no setting of the machine's)",
        ),
        (
            Refusal::Advertised(vec!["eth7".into()]),
            "the machine has its IPv6 default route by router advertisements on eth7, and would lose it when an \
             endpoint's interface is made to forward: set `sysctl -w net.ipv6.conf.eth7.accept_ra=2` first (netpath \
             changes no setting of the machine's)",
        ),
        (
            Refusal::NodesNamespace {
                name: "x".into(),
                node: "n2".into(),
            },
            "node n2 is in network namespace x: choose another name in the topology file",
        ),
        (
            Refusal::PerhapsOnAnotherNode {
                what: "network namespace x".into(),
                node: "n2".into(),
            },
            "network namespace x may be node n2's, which cannot be read: put that node right first (`netpath show` says \
             what is wrong with it), or take another here",
        ),
        (
            Refusal::EmptyFile("x".into()),
            "/run/netns/x is an empty file and no namespace: what is left of one that was made where nobody saw it, \
             or never finished: remove it with `rm /run/netns/x`, which fails if somebody is at work there",
        ),
        (
            Refusal::OfAnotherNode {
                what: "10.0.1.2".into(),
                node: "n2".into(),
            },
            "10.0.1.2 is node n2's, which is in this network namespace too: give it to one of the two: `netpath down \
             n2`, or a file that has it there no more, once that is up, lets go of it",
        ),
        (
            Refusal::TooManyPrefixes {
                family: "IPv6",
                count: 9,
                room: 8,
            },
            "its routes, its endpoints and its namespace have 9 IPv6 prefixes, and its maps have room for 8: set max_routes of \
             the node to 9 or more in the topology file, and run `netpath up`",
        ),
        (
            Refusal::InSubnet {
                net: net("172.17.0.9/32"),
                subnet: net("172.17.0.0/16"),
                dev: "docker0".into(),
            },
            "172.17.0.9 lies in 172.17.0.0/16, the subnet of this machine's interface docker0, which is no uplink: give the \
             endpoint addresses and prefixes outside of that subnet, or name the interface as an uplink without addresses, if \
             the machine answers there for endpoints (proxy_arp)",
        ),
        (
            Refusal::LeftInterface("np-x".into()),
            "interface np-x was most likely made for an endpoint by a netpath whose records are gone, and nothing \
             proves that: remove it with `ip link del dev np-x` if nothing uses it, or set host_dev in the topology \
             file to another name",
        ),
        (
            forwarding("bond0.354", None),
            "this machine does not forward: net/ipv4/conf/bond0.354/forwarding is not there: \
             set it with `sysctl -w net/ipv4/conf/bond0.354/forwarding=1` (netpath changes no \
             setting of the machine's)",
        ),
        (
            Refusal::SharedUplink {
                dev: "eth7".into(),
                node: "n2".into(),
            },
            "uplink eth7 is node n2's already, and before Linux 6.6 (without TCX) an interface \
             has one place for the filters of a node: give the uplink to one of the two nodes, or \
             use Linux 6.6 or newer, where several may share it",
        ),
        (
            Refusal::FilterInPlace {
                dev: "eth7".into(),
                hook: Hook::Ingress,
            },
            "somebody's tc filter stands in the place of netpath's on eth7, at the ingress with \
             preference 28272: remove it with `tc filter del dev eth7 ingress pref 28272` if \
             nobody needs it (a netpath whose directory is gone leaves one), or give it another \
             preference",
        ),
        (
            own("10.0.1.2/32"),
            "10.0.1.2 is this machine's own address, on lo: give the endpoint another address",
        ),
        (
            own("10.0.1.0/24"),
            "10.0.1.2 of 10.0.1.0/24 is this machine's own address, on lo: route only \
             prefixes to an endpoint that are wholly its own",
        ),
        (
            elsewhere("10.0.1.2/32"),
            "the machine already has a route to 10.0.1.0/24 on the link, and 10.0.1.2 is to \
             be an endpoint's: give the endpoint another address, or remove the route with \
             `ip route del 10.0.1.0/24 dev br7`",
        ),
        (
            elsewhere("10.0.0.0/16"),
            "the machine already has a route to 10.0.1.0/24 on the link, and 10.0.0.0/16 is \
             to be an endpoint's: route only prefixes to an endpoint that are wholly its own, \
             or remove the route with `ip route del 10.0.1.0/24 dev br7`",
        ),
        (
            Refusal::ForeignRoute {
                told: told.into(),
                text: text.into(),
                by_one: false,
            },
            "the machine already has a route to 10.0.1.0/24 on the link: leave via out of the file's route, so that the kernel's \
             own routes say where it leads, or remove it with `ip route del 10.0.1.0/24 dev br7`",
        ),
        (
            Refusal::ForeignRoute {
                told: "10.0.3.0/24 via 192.0.2.1".into(),
                text: "10.0.3.0/24 via 192.0.2.1".into(),
                by_one: true,
            },
            "the machine already has a route to 10.0.3.0/24 via 192.0.2.1: write that next hop into the topology file, or leave \
             via out of the file's route, so that the kernel's own routes say where it leads, or remove it with `ip route del \
             10.0.3.0/24 via 192.0.2.1`",
        ),
        (
            Refusal::NoIptables("ip6tables"),
            "forward_policy = \"drop\" needs ip6tables, which is not there: install the \
             package iptables, or leave forward_policy out",
        ),
        (
            Refusal::UplinkRenamed {
                dev: "eth7".into(),
                to: "lan0".into(),
            },
            "uplink eth7 is called lan0 now: write dev = \"lan0\" into the topology file, or give \
             it the old name as an alternative one with `ip link property add dev lan0 altname eth7` \
             (netpath renames no interface that it did not make)",
        ),
        (
            Refusal::SameInterface {
                dev: "eth7".into(),
                other: "enp7s0".into(),
            },
            "eth7 and enp7s0 are names of one interface: name each interface once",
        ),
        (
            Refusal::Bypasses(vec![
                "ip filter FORWARD: policy DROP (from 10.0.1.2 to 10.0.2.2)".into(),
            ]),
            "the fast path would change what becomes of packets: ip filter FORWARD: policy DROP (from 10.0.1.2 to \
             10.0.2.2): see `netpath audit`, and accept it with `--accept-bypass`, or with `bypass = [\"forward\"]` of the \
             node in the topology file; or have the fast path only counted first: `netpath up --no-fast-path` and \
             `netpath fastpath shadow`",
        ),
        (
            Refusal::NoIpv6,
            "the kernel has no IPv6, and the topology file does: leave IPv6 out of the topology \
             file, or boot without `ipv6.disable=1`",
        ),
        (
            Refusal::CapabilitiesMissing(vec!["CAP_NET_ADMIN".into(), "CAP_SYS_ADMIN".into()]),
            "lacks CAP_NET_ADMIN, CAP_SYS_ADMIN: run it with sudo, or with these capabilities in its \
             ambient set, as by `setpriv` or the AmbientCapabilities of a systemd unit (netpath(1) has \
             what each command needs)",
        ),
        (Refusal::NameTooLong, "is too long for a record: shorten it"),
        (
            Refusal::NamespaceTaken {
                path: "/run/netns/c1".into(),
                whose: "endpoint x's".into(),
            },
            "the network namespace at /run/netns/c1 is endpoint x's: give a container's, or \
             leave it out to have one made",
        ),
        (
            Refusal::DefaultRouteThere {
                path: "/run/netns/c1".into(),
                told: "0.0.0.0/0 via 10.0.0.1".into(),
            },
            "the network namespace at /run/netns/c1 has a default route of somebody's, 0.0.0.0/0 \
             via 10.0.0.1: remove that route first if nothing uses it, or give another namespace",
        ),
        (
            Refusal::NameTaken {
                what: "endpoint x".into(),
                by: "of the topology file".into(),
                cure: "choose another name".into(),
            },
            "endpoint x is there already: it is of the topology file: choose another name",
        ),
        (
            Refusal::AddressTaken {
                net: "10.0.1.2/32".parse().expect("an address"),
                by: "address 10.0.1.2 of endpoint x".into(),
            },
            "10.0.1.2 overlaps address 10.0.1.2 of endpoint x: give the endpoint addresses and \
             prefixes that nothing else has there",
        ),
        (
            Refusal::OtherOrigin(Origin::File),
            "is there for a topology file: take it out of the topology file, and run `netpath up`",
        ),
        (
            Refusal::OtherOrigin(Origin::Cni),
            "is there for a container runtime: have the container runtime remove it",
        ),
        (
            Refusal::NodeHalfMade,
            "was begun and not finished: finish it with `netpath up` first",
        ),
    ];
    let mut ids = std::collections::BTreeSet::new();
    for (refusal, words) in cases {
        ids.insert(refusal.kind().id);
        assert_eq!(
            refusal.of("node n1").on("n1").to_string(),
            format!("node n1: {words}")
        );
    }
    assert_eq!(ids.len(), Refusal::KINDS.len(), "{ids:?}");
}

/// A command acts where it is run, so each says where that has to be.
#[test]
fn commands_are_run_in_the_nodes_namespace() {
    let entry = "nsenter --net=/run/netns/H ";
    let route = || Refusal::ForeignRoute {
        told: "10.0.1.0/24 on the link".into(),
        text: "10.0.1.0/24 dev br7 table main".into(),
        by_one: false,
    };
    let refusals = [
        route(),
        Refusal::RoutedElsewhere {
            net: "10.0.1.0/24".parse().expect("a prefix"),
            told: "10.0.1.0/24 on the link".into(),
            text: Some("10.0.1.0/24 dev br7 table main".into()),
        },
        Refusal::UplinkDown("eth7".into()),
        Refusal::FilterInPlace {
            dev: "eth7".into(),
            hook: Hook::Ingress,
        },
        Refusal::UplinkRenamed {
            dev: "eth7".into(),
            to: "lan0".into(),
        },
        Refusal::LeftInterface("np-x".into()),
        Refusal::OtherMac {
            dev: "eth7".into(),
            mac: Mac([2, 0, 0, 0, 0, 9]),
        },
        Refusal::NotForwarding {
            key: "ipv4/conf/eth7/forwarding".into(),
            found: None,
            advertised: ["eth7".into()].into(),
        },
        Refusal::Advertised(vec!["eth7".into()]),
    ];
    for refusal in refusals {
        let told = refusal.of("node n1").entered_by(entry).to_string();
        let commands: Vec<&str> = told.split('`').skip(1).step_by(2).collect();
        let in_it = commands
            .iter()
            .filter(|command| !command.starts_with("netpath"));
        for command in in_it {
            assert!(command.starts_with(entry), "{command} in {told}");
        }
    }
}

/// A cure that tells of any file cannot name the one that was given.
#[test]
fn a_cure_with_another_file_is_no_command() {
    for kind in Refusal::KINDS {
        for word in ["up", "down"] {
            let (command, cure) = (format!("`netpath {word}`"), kind.cure);
            let other = ["of", "with", "first with"].map(|word| format!("{command} {word} "));
            assert!(!other.iter().any(|it| cure.contains(it)), "{cure}");
        }
        assert!(!kind.cure.contains("`netpath down`"), "{}", kind.cure);
    }
}
