//! What netpath reads of nf_tables, against what `nft`, `iptables-nft` and `ip6tables-nft` put there.

mod chains;
mod iptables;
mod rules;

use std::{
    io::Write as _,
    process::{Command, Stdio},
    thread,
};

use ipnet::IpNet;
use netpath::{
    netfilter::nft::{
        Base, ChainId, Device, EffectKind, Effects, Elements, Meeting, Packets, Ruleset,
        TableFamily,
    },
    netns::Inside,
};
use netpath_common::{Family, Ifindex};
use nix::sched::{CloneFlags, unshare};

/// Runs something in a namespace that nothing else uses and that ends with it.
fn alone(work: impl FnOnce(&Inside<'_>) + Send) {
    let run = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root");
        work(&Inside::current());
    };
    thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn run(program: &str, arguments: &str) {
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace());
    let output = command.output().expect("it is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

fn nft(script: &str) {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nft is installed");
    let mut input = child.stdin.take().expect("a pipe");
    // It wants an end of the line between two of them.
    let script = script.replace("} }", "}\n}").replace("} }", "}\n}");
    input.write_all(script.as_bytes()).expect("written");
    drop(input);
    let output = child.wait_with_output().expect("ended");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

/// The program of a family, and a prefix and two in it, two others, and an address.
struct Net {
    family: Family,
    program: &'static str,
    table: TableFamily,
    /// Routed prefixes.
    a: &'static str,
    b: &'static str,
    /// Of `a`.
    in_a: &'static str,
    in_b: &'static str,
    other: &'static str,
    any: &'static str,
}

impl Net {
    /// As `nft` calls the family.
    fn word(&self) -> &'static str {
        match self.family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }

    fn iptables(&self, arguments: &str) {
        let arguments = arguments
            .replace("IN_A", self.in_a)
            .replace("IN_B", self.in_b)
            .replace(
                "ICMP",
                if self.family == Family::V4 {
                    "icmp"
                } else {
                    "ipv6-icmp"
                },
            );
        let arguments = arguments
            .split_whitespace()
            .map(|word| match word {
                "A" => self.a,
                "B" => self.b,
                other => other,
            })
            .collect::<Vec<_>>();
        run(self.program, &arguments.join(" "));
    }

    /// From, to, by.
    fn packets<'a>(&self, source: &str, destination: &str, iif: Option<&'a str>) -> Packets<'a> {
        let net = |text: &str| text.parse::<IpNet>().expect(text);
        Packets {
            source: net(source),
            destination: net(destination),
            iif: iif.map(|name| Device {
                ifindex: Ifindex(77),
                name,
            }),
            oif: None,
        }
    }
}

const NETS: [Net; 2] = [
    Net {
        family: Family::V4,
        program: "iptables-nft",
        table: TableFamily::Ip,
        a: "10.1.0.0/16",
        b: "10.2.0.0/16",
        in_a: "10.1.7.1/32",
        in_b: "10.2.7.1/32",
        other: "172.16.0.0/12",
        any: "0.0.0.0/0",
    },
    Net {
        family: Family::V6,
        program: "ip6tables-nft",
        table: TableFamily::Ip6,
        a: "fd00:1::/33",
        b: "fd00:2::/40",
        in_a: "fd00:1::7/128",
        in_b: "fd00:2::7/128",
        other: "2001:db8::/32",
        any: "::/0",
    },
];

fn base(ruleset: &Ruleset, family: TableFamily, table: &str, name: &str) -> (ChainId, Base) {
    let found = ruleset
        .base_chains()
        .find(|(id, ..)| id.family == family && id.table == table && id.name == name);
    let (id, _, base) = found.unwrap_or_else(|| panic!("{family:?} {table} {name}: {ruleset:?}"));
    (id.clone(), base.clone())
}

fn effects(inside: &Inside<'_>, family: TableFamily, table: &str, name: &str) -> Effects {
    let ruleset = Ruleset::read(inside, Elements::OfVerdicts).expect("ruleset");
    let (id, base) = base(&ruleset, family, table, name);
    Effects::of(&ruleset, &id, &base)
}

/// The most that is known of effects of a kind.
fn meeting(effects: &Effects, kind: &EffectKind, packets: &Packets<'_>) -> Meeting {
    let mut found = Meeting::No;
    for (effect, meeting) in effects.meetings(packets) {
        match meeting {
            _ if effect.kind != *kind => {}
            Meeting::Yes => return Meeting::Yes,
            Meeting::Perhaps => found = Meeting::Perhaps,
            Meeting::No => {}
        }
    }
    found
}

fn kinds(effects: &Effects) -> Vec<EffectKind> {
    effects.iter().map(|effect| effect.kind.clone()).collect()
}
