//! Labs that are broken in the ways that people break them: the cause is named, and the cure, when it is run, makes the packet arrive.

use std::net::IpAddr;

use netpath::{explain::Arrives, finding::Finding};
use netpath_tests::lab::{Lab, TWO_NODES, addresses};

use super::{asserted, explained, obey, question, shown};

/// A lab that is broken somehow.
struct Broken<'a> {
    lab: &'a Lab,
    from: &'a str,
    to: &'a str,
    size: Option<u32>,
    /// The obstacle, and on which node or endpoint.
    id: &'a str,
    on: &'a str,
    /// What is forgotten between the cure and the next packet.
    forget: &'a dyn Fn(IpAddr),
}

impl<'a> Broken<'a> {
    /// Packets between these two get lost.
    fn between(lab: &'a Lab, from: &'a str, to: &'a str) -> Self {
        Self {
            lab,
            from,
            to,
            size: None,
            id: "",
            on: "",
            forget: &nothing,
        }
    }

    /// By this obstacle, there.
    fn by(self, id: &'a str, on: &'a str) -> Self {
        Self { id, on, ..self }
    }

    /// Explained and lost, cured, explained and answered; with each family.
    fn is_cured(&self, break_it: &dyn Fn(IpAddr)) {
        for to in addresses(self.to) {
            let healthy = asserted(self.lab, self.from, to, self.size);
            assert_eq!(healthy.arrives, Arrives::Yes, "{}", shown(&healthy));
            (self.forget)(to);
            break_it(to);
            self.goes_wrong_and_is_cured(to);
        }
    }

    fn goes_wrong_and_is_cured(&self, to: IpAddr) {
        let found = asserted(self.lab, self.from, to, self.size);
        assert_eq!(found.arrives, Arrives::No, "{}", shown(&found));
        let finding = found.finding.as_ref();
        let finding = finding.unwrap_or_else(|| panic!("no finding: {}", shown(&found)));
        let Finding {
            id, object, cure, ..
        } = finding;
        let told = (*id, object.as_str());
        let on = self.lab.name(self.on);
        assert_eq!(told, (self.id, on.as_str()), "{}", shown(&found));
        assert!(
            found.verdict.contains(&finding.problem),
            "{}",
            found.verdict
        );
        obey(cure);
        (self.forget)(to);
        let found = asserted(self.lab, self.from, to, self.size);
        assert_eq!(found.arrives, Arrives::Yes, "{cure}: {}", shown(&found));
    }
}

fn nothing(_: IpAddr) {}

fn ip(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "",
        IpAddr::V6(_) => "-6 ",
    }
}

fn accepting() -> String {
    TWO_NODES.replace("\"drop\"", "\"accept\"")
}

#[test]
fn a_missing_return_route() {
    let text = accepting();
    let mut kept = Vec::new();
    for line in text.lines() {
        let is_back = line.contains("10.0.1.0/24") || line.contains("fd00:1::/64");
        if !is_back {
            kept.push(line);
        }
    }
    let lab = Lab::up(&kept.join("\n"));
    let broken = Broken::between(&lab, "a1", "b1").by("way_no_route", "B");
    for to in addresses("b1") {
        broken.goes_wrong_and_is_cured(to);
    }
}

#[test]
fn forward_drops() {
    let lab = Lab::up(TWO_NODES);
    let broken = Broken::between(&lab, "a1", "a2").by("way_policy", "A");
    broken.is_cured(&|_| drop(lab.fast_path(false, "A", None)));
}

#[test]
fn a_rule_drops() {
    let lab = Lab::up(&accepting());
    lab.fast_path(false, "A", None);
    let broken = Broken::between(&lab, "a1", "a2").by("way_rule", "A");
    broken.is_cured(&|to| {
        lab.fast_path(false, "A", None);
        let program = if to.is_ipv4() {
            "iptables"
        } else {
            "ip6tables"
        };
        lab.run(
            "A",
            &format!("{program} -w -A FORWARD -i va1 -o va2 -j DROP"),
        );
    });
}

#[test]
fn a_wrong_mtu() {
    let lab = Lab::up(TWO_NODES);
    let forget = |to| {
        lab.ip("a1", &format!("{}route flush cache", ip(to)));
    };
    let broken = Broken {
        size: Some(1400),
        forget: &forget,
        ..Broken::between(&lab, "a1", "b1").by("way_too_big", "A")
    };
    broken.is_cured(&|_| drop(lab.ip("A", "link set dev up0 mtu 1300")));
}

/// The kernel of the endpoint takes an address for its packets that nobody gave it by netpath.
#[test]
fn a_spoofed_source() {
    let lab = Lab::up(TWO_NODES);
    let broken = Broken::between(&lab, "a1", "b1").by("way_spoofed", "A");
    // Both families' routes prefer it.
    broken.is_cured(&|to| {
        let (own, other, length) = match to {
            IpAddr::V4(_) => ("10.0.1.2", "10.0.9.9", 32),
            IpAddr::V6(_) => ("fd00:1::2", "fd00:9::9", 128),
        };
        let nodad = if to.is_ipv6() { " nodad" } else { "" };
        lab.ip("a1", &format!("addr add {other}/{length} dev eth0{nodad}"));
        let route = lab.ip("a1", &format!("{}-N route show default", ip(to)));
        let preferred = format!("src {own}");
        assert!(route.contains(&preferred), "{route}");
        let route = route.replace(&preferred, &format!("src {other}"));
        lab.ip("a1", &format!("{}route replace {}", ip(to), route.trim()));
    });
}

/// What is known of a router is wrong, or it answers nobody.
#[test]
fn a_dead_neighbour() {
    let lab = Lab::up(TWO_NODES);
    let via = |to: IpAddr| addresses("B")[usize::from(to.is_ipv6())];
    let known = Broken::between(&lab, "a1", "b1").by("way_wrong_mac", "A");
    known.is_cured(&|to| {
        let via = via(to);
        let line = format!("neigh replace {via} lladdr 02:00:00:00:00:99 nud permanent dev up0");
        lab.ip("A", &line);
    });
    let asked = known.by("way_next_hop_silent", "B");
    asked.is_cured(&|_| {
        lab.ip("B", "link set dev up0 arp off");
        lab.ip("A", "neigh flush dev up0");
        lab.ip("A", "-6 neigh flush dev up0");
    });
}

#[test]
fn a_node_without_its_fast_path() {
    let lab = Lab::up(TWO_NODES);
    let broken = Broken::between(&lab, "a1", "b1").by("way_policy", "B");
    broken.is_cured(&|_| drop(lab.fast_path(false, "B", None)));
}

/// A rule for what leaves the cluster, which also takes what does not.
#[test]
fn nat_on_the_way() {
    let lab = Lab::up(&accepting());
    lab.fast_path(false, "A", None);
    let broken = Broken::between(&lab, "a1", "b1").by("way_translated", "A");
    broken.is_cured(&|to| {
        let (program, own) = match to {
            IpAddr::V4(_) => ("iptables", "192.0.2.7"),
            IpAddr::V6(_) => ("ip6tables", "2001:db8::7"),
        };
        let line = format!("-t nat -A POSTROUTING -o up0 -j SNAT --to-source {own}");
        lab.run("A", &format!("{program} -w {line}"));
    });
}

#[test]
fn a_changed_next_hop() {
    let lab = Lab::up(TWO_NODES);
    let broken = Broken::between(&lab, "a1", "b1").by("way_led_elsewhere", "A");
    broken.is_cured(&|to| {
        let (dst, via) = match to {
            IpAddr::V4(_) => ("10.0.3.0/24", "100.100.198.77"),
            IpAddr::V6(_) => ("fd00:3::/64", "fd00:198::77"),
        };
        lab.ip("A", &format!("{}route replace {dst} via {via}", ip(to)));
    });
}

/// A blackhole, where the reverse-path filter is on as well: that is only asked about what has a way.
#[test]
fn a_blackhole() {
    let lab = Lab::up(&accepting());
    lab.set_sysctl("A", "ipv4/conf/va1/rp_filter", "1");
    lab.ip("A", "route add blackhole 203.0.113.0/24");
    let asked = question(lab.name("a1"), "203.0.113.1");
    let found = explained(&asked);
    assert_eq!(found.arrives, Arrives::No, "{}", shown(&found));
    let finding = found.finding.as_ref().expect("what is wrong");
    assert!(finding.problem.contains("blackhole"), "{}", shown(&found));
    // The command is one, and then there is no route at all.
    obey(&finding.cure);
    let found = explained(&asked);
    let finding = found.finding.as_ref().expect("what is wrong");
    assert!(finding.problem.contains("no route"), "{}", shown(&found));
}
