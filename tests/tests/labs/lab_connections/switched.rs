//! `fastpath off` and `on` while connections live.

use netpath_tests::{
    Family,
    connections::{Pushed, kernel_connections, redirects, up},
    lab::{HUB, Lab},
};

use super::{server, service, with_kube_proxy};

/// Who pushes to whom, each through a service: on the same node, and from the other one.
const STREAMS: [(&str, &str); 2] = [("a1", "a2"), ("a1", "b1")];

fn switch(lab: &Lab, is_on: bool) {
    for node in ["A", "B"] {
        lab.fast_path(is_on, node, None);
    }
}

fn through_services(lab: &Lab) -> Vec<Pushed> {
    let each = Family::ALL.into_iter().flat_map(|family| {
        STREAMS.map(|(client, pod)| {
            let to = (client, service(pod, family));
            Pushed::start(lab, to, (pod, server(pod, family)))
        })
    });
    each.collect()
}

fn direct(lab: &Lab) -> Vec<Pushed> {
    let each = Family::ALL.into_iter().flat_map(|family| {
        STREAMS.map(|(client, pod)| {
            let mut at = server(pod, family);
            at.set_port(at.port() + 1);
            Pushed::start(lab, (client, at), (pod, at))
        })
    });
    each.collect()
}

/// How many packets of a moment were the kernel's connections', and how many took the fast path, at node A.
fn meanwhile(lab: &Lab, streams: &[Pushed]) -> (u64, u64) {
    let before = lab.traffic_now("A");
    Pushed::assert_all_go_on(streams);
    let counted = lab.traffic_now("A").since(&before);
    (kernel_connections(&counted), redirects(&counted))
}

/// Streams through services, while the fast path is switched as told; where it is on all of it is the kernel's.
fn through_services_while(began_on: bool, switched: &[bool]) {
    let lab = up(began_on);
    with_kube_proxy(&lab);
    let streams = through_services(&lab);
    let go_on = |is_on| {
        if is_on {
            let (kernels, redirected) = meanwhile(&lab, &streams);
            assert!(kernels > 0 && redirected == 0, "{kernels}, {redirected}");
        } else {
            Pushed::assert_all_go_on(&streams);
        }
    };
    go_on(began_on);
    for &is_on in switched {
        switch(&lab, is_on);
        go_on(is_on);
    }
    streams.into_iter().for_each(Pushed::assert_ends_whole);
}

#[test]
fn a_stream_through_a_service_survives_off_and_on() {
    through_services_while(true, &[false, true, false, true]);
}

#[test]
fn a_stream_that_began_while_it_was_off_survives_on() {
    through_services_while(false, &[true]);
}

/// So does one that nobody translates, beside a rule that drops what conntrack makes nothing of. One that conntrack has seen the
/// beginning of goes on by the fast path; conntrack, which has missed a part of it then, would drop it after that.
#[test]
fn a_direct_stream_survives_off_and_on() {
    for (is_on, switched) in [(true, &[false, true, false][..]), (false, &[true])] {
        let lab = up(is_on);
        with_kube_proxy(&lab);
        let streams = direct(&lab);
        Pushed::assert_all_go_on(&streams);
        for &is_on in switched {
            println!("next, the fast path is on: {is_on}");
            switch(&lab, is_on);
            // Further than what conntrack takes for the window that it has last seen.
            for _ in 0..8 {
                Pushed::assert_all_go_on(&streams);
            }
        }
        streams.into_iter().for_each(Pushed::assert_ends_whole);
    }
}

/// A node that all come through: its translated connections lead from one uplink to the other.
#[test]
fn a_stream_through_a_hub_that_translates_survives_off_and_on() {
    let lab = Lab::up(&HUB.replace("\"drop\"", "\"accept\""));
    let rules = |target: &str, ip: &str| {
        format!("-t nat -A PREROUTING -p tcp -d {ip} -j DNAT --to-destination {target}")
    };
    let ways = [
        ("iptables", "10.96.0.9", "10.3.1.2", "10.9.1.1"),
        ("ip6tables", "fd00:96::9", "fd00:3:1::2", "fd00:91::1"),
    ];
    let mut streams = Vec::new();
    for (program, to, pod, hub) in ways {
        lab.ip("B", &format!("route add {to} via {hub}"));
        lab.run("A", &format!("{program} -w {}", rules(pod, to)));
        let invalid = "-A FORWARD -m conntrack --ctstate INVALID -j DROP";
        lab.run("A", &format!("{program} -w {invalid}"));
        let [to, pod] =
            [to, pod].map(|it| (it.parse::<std::net::IpAddr>().expect(it), 8080).into());
        streams.push(Pushed::start(&lab, ("b1", to), ("c1", pod)));
    }
    Pushed::assert_all_go_on(&streams);
    for is_on in [false, true] {
        lab.fast_path(is_on, "A", None);
        Pushed::assert_all_go_on(&streams);
    }
    streams.into_iter().for_each(Pushed::assert_ends_whole);
}
