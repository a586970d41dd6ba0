//! A packet takes the fast path if both its ends are routed: what comes from outside is the kernel's in both directions, so that
//! conntrack sees whole connections; what goes from one other node to another is netpath's.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use netpath_tests::lab::{Bytes::Any, HUB, Lab, TWO_NODES, addresses};

/// What kube-proxy and Docker put before FORWARD's end, as `iptables` and `ip6tables` take it.
const RULES: [(&str, &[&str]); 2] = [
    (
        "kube-proxy's",
        &["-A FORWARD -m conntrack --ctstate INVALID -j DROP"],
    ),
    (
        "Docker's",
        &[
            "-P FORWARD DROP",
            "-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            "-A FORWARD -i up0 -p tcp --dport 8080 -j ACCEPT",
        ],
    ),
];

const PORT: u16 = 8080;
const LONGEST: Duration = Duration::from_secs(10);

/// Sends a line to an endpoint's server from inside a namespace; returns what came back.
fn talk(lab: &Lab, from: &str, endpoint: &str, server: IpAddr) -> std::io::Result<Vec<u8>> {
    let address = SocketAddr::new(server, PORT);
    let listener = lab.inside(endpoint, || TcpListener::bind(address).expect("bind"));
    thread::scope(|scope| {
        let serving = scope.spawn(move || -> std::io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(LONGEST))?;
            let mut line = [0; 5];
            stream.read_exact(&mut line)?;
            stream.write_all(&[&line[..], b" back"].concat())
        });
        let told = lab.inside(from, || {
            let mut stream = TcpStream::connect_timeout(&address, LONGEST)?;
            stream.set_read_timeout(Some(LONGEST))?;
            stream.write_all(b"hello")?;
            let mut text = Vec::new();
            stream.read_to_end(&mut text)?;
            Ok(text)
        });
        if told.is_err() {
            // Lets the server go on.
            let wake = || TcpStream::connect_timeout(&address, LONGEST).map(drop);
            lab.inside(endpoint, wake).expect("its own address");
        }
        let served = serving.join().expect("the server's thread");
        told.and_then(|text| served.map(|()| text))
    })
}

#[test]
fn a_client_outside_is_served_beside_rules_about_connections() {
    for (whose, rules) in RULES {
        let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
        for command in ["iptables", "ip6tables"] {
            for rule in rules {
                lab.run("A", &format!("{command} {rule}"));
            }
        }
        lab.fast_path(true, "A", None);
        for server in addresses("a1") {
            let before = lab.traffic("A");
            let told = talk(&lab, "B", "a1", server);
            let told = told.unwrap_or_else(|error| panic!("{whose} rules, {server}: {error}"));
            assert_eq!(told, b"hello back", "{whose} rules, {server}");
            let counted = lab.traffic("A").since(&before);
            let packets = |row: &str| counted.row(row).0;
            // As many come from the kernel as are left to it: none of the connection is redirected.
            assert!(packets("up0 > - punt outside") >= 4, "{whose} rules");
            assert_eq!(packets("up0 > va1 redirect_peer"), 0, "{whose} rules");
            assert_eq!(
                packets("up0 > - punt outside"),
                packets("up0 > va1 deliver"),
                "{whose} rules"
            );
            assert!(packets("va1 > - punt no_route") >= 4, "{whose} rules");
            // Those between endpoints are as before.
            let told = talk(&lab, "b1", "a1", server).expect("on the fast path");
            assert_eq!(told, b"hello back");
        }
    }
}

#[test]
fn what_goes_from_one_other_node_to_another_takes_the_fast_path() {
    let mut lab = Lab::up(HUB);
    let c1: [IpAddr; 2] = ["10.3.1.2", "fd00:3:1::2"].map(|it| it.parse().expect(it));
    for dst in c1 {
        let before = lab.traffic("A");
        lab.assert_reaches("b1", dst, 61);
        let rows = ["up0 > up1 redirect_neigh", "up1 > up0 redirect_neigh"];
        lab.assert_counted("A", &before, &rows.map(|row| (row, 3, Any)));
    }
    // Without a route of netpath's to one of the ends it is the kernel's, which drops it.
    lab.edit("    { dst = \"10.2.0.0/16\", via = \"10.9.1.2\" },\n", "");
    lab.converge();
    lab.ip("A", "route add 10.2.0.0/16 via 10.9.1.2");
    let before = lab.traffic("A");
    lab.assert_loses("b1", c1[0]);
    lab.assert_counted("A", &before, &[("up0 > - punt outside", 1, Any)]);
}
