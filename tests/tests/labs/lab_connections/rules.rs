//! Rules that accept by state and direction, where FORWARD drops the rest.

use std::net::SocketAddr;

use netpath_tests::{
    Family,
    connections::{Case, Loss, Portmap, address, family_of, install, up},
    lab::Lab,
};

use super::{PORT, kube_proxy, server, service};

const HOST_PORT: u16 = 8081;

/// Both nodes have services, node A a port that is a1's, and these rules in FORWARD.
fn prepare(lab: &Lab, rules: &str) {
    for family in Family::ALL {
        for node in ["A", "B"] {
            kube_proxy(family).install(lab, node);
        }
        let (host_port, pod) = (HOST_PORT, server("a1", family));
        Portmap { host_port, pod }.install(lab, "A");
        let rules = format!("*filter\n:FORWARD DROP [0:0]\n{rules}COMMIT\n");
        install(lab, "A", family, &rules);
    }
}

/// What node A's rules judge: a1 asks b1's and a2's services, and others ask a1.
fn asked_by_a1(family: Family) -> [Case; 2] {
    [("b1", "up0"), ("a2", "va2")].map(|(pod, dev)| Case {
        client: "a1",
        to: service(pod, family),
        server: pod,
        port: PORT,
        source: "a1",
        answers: Some(("A", dev)),
    })
}

fn asking_a1(family: Family) -> [Case; 3] {
    ["a2", "b1", "X"].map(|client| Case {
        client,
        to: SocketAddr::new(address("A", family), HOST_PORT),
        server: "a1",
        port: PORT,
        source: client,
        answers: (client != "X").then_some(("A", "va1")),
    })
}

/// The same two with nothing translated: what the fast path delivers past the rules.
fn direct(case: &Case) -> Case {
    let family = family_of(case.to.ip());
    Case {
        to: server(case.server, family),
        answers: None,
        ..*case
    }
}

#[test]
fn who_may_open_a_connection_gets_its_answers() {
    // Accepted are answers, and who begins it on one side of a1's veth.
    const INTO: &str = "-A FORWARD -o va1 -m conntrack --ctstate NEW -j ACCEPT\n";
    const OUT_OF: &str = "-A FORWARD -i va1 -m conntrack --ctstate NEW -j ACCEPT\n";
    for (rule, may_ask) in [(OUT_OF, true), (INTO, false)] {
        for is_on in [false, true] {
            let lab = up(is_on);
            prepare(&lab, rule);
            for family in Family::ALL {
                for case in asked_by_a1(family) {
                    judge(&case, &lab, is_on, may_ask);
                }
                for case in asking_a1(family) {
                    judge(&case, &lab, is_on, !may_ask);
                }
            }
        }
    }
}

fn judge(case: &Case, lab: &Lab, is_on: bool, is_accepted: bool) {
    if is_accepted {
        case.assert_holds(lab, is_on);
    } else {
        case.assert_lost(lab, Loss::Dropped);
    }
}

/// Nothing is accepted, so nothing of what is the kernel's arrives: not the first packet, and none past the table afterwards.
#[test]
fn what_no_rule_accepts_is_dropped_as_without_the_fast_path() {
    for is_on in [false, true] {
        let lab = up(is_on);
        prepare(&lab, "");
        for family in Family::ALL {
            let cases = asked_by_a1(family).into_iter().chain(asking_a1(family));
            for case in cases {
                case.assert_lost(&lab, Loss::Dropped);
                if is_on && case.client != "X" {
                    // What is routed at both ends passes FORWARD by.
                    direct(&case).assert_holds(&lab, is_on);
                }
            }
        }
    }
}
