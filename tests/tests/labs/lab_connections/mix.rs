//! Ten thousand connections at once, of every kind there is.

use std::{
    env,
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use netpath_tests::{
    Family,
    connections::{
        Dialogue, Party, Portmap, Protocol, Served, address, family_of, hold, kernel_connections,
        masquerade, redirects, up,
    },
    fuzz::Rng,
    lab::Lab,
};

use super::{PODS, PORT, node_port, server, service, with_kube_proxy};

const HOST_PORT: u16 = 8081;

/// Where pods serve those who speak to them directly. Of these conntrack knows nothing: it could give a translated connection the
/// ports of one of them, if they were to the same port.
const DIRECT: u16 = PORT + 1;

/// Who speaks.
const CLIENTS: [&str; 6] = ["a1", "a2", "b1", "b2", "A", "X"];

/// Who serves, in both families.
fn served() -> Vec<Served> {
    let everybody = Family::ALL.into_iter().flat_map(|family| {
        let at = move |place| Served {
            place,
            at: SocketAddr::new(address(place, family), PORT),
        };
        let direct = PODS.map(|place| Served {
            place,
            at: SocketAddr::new(address(place, family), DIRECT),
        });
        PODS.into_iter().chain(["X"]).map(at).chain(direct)
    });
    everybody.collect()
}

/// Whom a client can speak to, and who answers.
fn ways(client: &str) -> Vec<(SocketAddr, SocketAddr)> {
    let mut ways = Vec::new();
    for family in Family::ALL {
        for pod in PODS {
            let at = server(pod, family);
            if client != "X" {
                let direct = SocketAddr::new(at.ip(), DIRECT);
                ways.extend([(service(pod, family), at), (direct, direct)]);
            }
            if client != "A" {
                let nodes = ["A", "B"].map(|node| address(node, family));
                ways.extend(nodes.map(|node| ((node, node_port(pod)).into(), at)));
            }
        }
        ways.push((
            (address("A", family), HOST_PORT).into(),
            server("a1", family),
        ));
        if client != "X" {
            let outside = SocketAddr::new(address("X", family), PORT);
            ways.push((outside, outside));
        }
    }
    ways
}

/// What FORWARD of node A makes of connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Forward {
    Accepts,
    /// It drops all but what was translated on A, and its answers.
    ByState,
}

impl Forward {
    /// Whether a connection passes: on its way to node B's ports and outside A translates nothing, nor what B has translated.
    fn passes(self, client: &str, (to, at): &(SocketAddr, SocketAddr)) -> bool {
        let family = family_of(to.ip());
        let (is_to_b, is_outside) = (
            to.ip() == address("B", family),
            to.ip() == address("X", family),
        );
        let is_a = |pod: &&str| server(pod, family).ip() == at.ip();
        let is_served_by_a = PODS[..2].iter().any(is_a);
        match client {
            _ if self == Self::Accepts => true,
            "A" => true,
            "a1" | "a2" => !is_to_b && !is_outside,
            _ => !(is_to_b && is_served_by_a),
        }
    }

    fn install(self, lab: &Lab) {
        if self == Self::Accepts {
            return;
        }
        let accepted = "-m conntrack --ctstate DNAT,RELATED,ESTABLISHED -j ACCEPT";
        for tables in ["iptables", "ip6tables"] {
            lab.run("A", &format!("{tables} -w -I FORWARD {accepted}"));
            lab.run("A", &format!("{tables} -w -A FORWARD -j DROP"));
        }
    }
}

fn parties(rng: &mut Rng, served: &[Served], forward: Forward, count: usize) -> Vec<Party> {
    let mut parties = CLIENTS.map(|place| Party {
        place,
        dialogues: Vec::new(),
    });
    let ways = CLIENTS.map(|client| {
        let mut ways = ways(client);
        ways.retain(|way| forward.passes(client, way));
        ways
    });
    for _ in 0..count {
        let client = rng.below(CLIENTS.len());
        let (to, at) = rng.pick(&ways[client]);
        // Most are short, as in life.
        let most = rng.pick(&[1, 3, 10, 30, 100]);
        parties[client].dialogues.push(Dialogue {
            to,
            protocol: rng.pick(&Protocol::ALL),
            server: served.iter().position(|it| it.at == at).expect("it serves"),
            messages: 1 + rng.below(most) as u32,
            resets: rng.chance(30),
        });
    }
    parties.into()
}

fn prepare(lab: &Lab) {
    with_kube_proxy(lab);
    for family in Family::ALL {
        let (host_port, pod) = (HOST_PORT, server("a1", family));
        Portmap { host_port, pod }.install(lab, "A");
        for node in ["A", "B"] {
            masquerade(lab, node, family);
        }
    }
}

/// The seed is the time's, or `NETPATH_MIX_SEED`'s.
fn seed() -> u64 {
    let of_time = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.expect("after 1970").as_nanos() as u64
    };
    let given = env::var("NETPATH_MIX_SEED").ok();
    given.map_or_else(of_time, |it| it.parse().expect("a number"))
}

fn mix(is_on: bool, forward: Forward, count: usize) {
    let seed = seed();
    println!("again: NETPATH_MIX_SEED={seed}");
    let lab = up(is_on);
    prepare(&lab);
    forward.install(&lab);
    let served = served();
    let parties = parties(&mut Rng::new(seed, 0), &served, forward, count);
    let before = lab.traffic("A");
    let wrong = hold(&lab, &served, &parties);
    assert_eq!(wrong, Vec::<String>::new(), "seed {seed}");
    let counted = lab.traffic("A").since(&before);
    let (kernels, redirected) = (kernel_connections(&counted), redirects(&counted));
    assert_eq!((kernels > 0, redirected > 0), (is_on, is_on), "{counted:?}");
    assert!(!is_on || counted.obeys_the_law(), "{counted:?}");
}

/// Connections of the mix: fewer by `NETPATH_MIX`, where a processor is emulated.
const CONNECTIONS: usize = 10_000;

#[test]
fn of_ten_thousand_connections_none_is_lost_and_none_untranslated() {
    let count = env::var("NETPATH_MIX").map_or(CONNECTIONS, |it| it.parse().expect("a number"));
    mix(true, Forward::Accepts, count);
}

/// The same without netpath's doing, for fewer: it has to arrive there too.
#[test]
fn nor_is_one_with_the_fast_path_off() {
    let count = env::var("NETPATH_MIX").map_or(2_000, |it| it.parse().expect("a number"));
    mix(false, Forward::Accepts, count);
}

/// Beside a rule that drops what conntrack has not seen translated: only what takes the fast path passes it.
#[test]
fn nor_is_one_beside_rules_by_state() {
    let count = env::var("NETPATH_MIX").map_or(2_000, |it| it.parse().expect("a number"));
    mix(true, Forward::ByState, count);
}
