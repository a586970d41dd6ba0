//! Connections that the kernel has translated while the fast path was off are its own when it comes on, and `netpath flows` lists
//! them.

mod full;
mod listing;
mod translated;

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use netpath_common::{ConnectionEntry, ConnectionKey};
use netpath_tests::lab::{Lab, TWO_NODES};

const LONGEST: Duration = Duration::from_secs(10);
/// Where clients connect to, and where servers listen.
const ASKED: u16 = 80;
const SERVED: u16 = 8080;

/// The addresses of a service that no endpoint has.
fn service() -> [IpAddr; 2] {
    ["10.96.0.10", "fd00:96::10"].map(|it| it.parse().expect(it))
}

/// A lab whose FORWARD chains accept, with the fast path off.
fn lab_with_the_kernels_path() -> Lab {
    let lab = Lab::up(&TWO_NODES.replace("\"drop\"", "\"accept\""));
    for node in ["A", "B"] {
        lab.fast_path(false, node, None);
    }
    lab
}

fn fast_path_on(lab: &Lab) {
    for node in ["A", "B"] {
        lab.fast_path(true, node, None);
    }
}

/// What is sent from A's endpoints to an address is translated to a server's, as kube-proxy and Docker do it.
fn translate(lab: &Lab, from: IpAddr, to: IpAddr) {
    let command = match from {
        IpAddr::V4(_) => "iptables",
        IpAddr::V6(_) => "ip6tables",
    };
    let to = SocketAddr::new(to, SERVED);
    let rule =
        format!("-A PREROUTING -d {from} -p tcp --dport {ASKED} -j DNAT --to-destination {to}");
    lab.run("A", &format!("{command} -w -t nat {rule}"));
}

/// A connection that is open, and between which addresses.
struct Open {
    client: TcpStream,
    server: TcpStream,
}

impl Open {
    /// From a client to an address, where a server has another.
    fn new(lab: &Lab, client: &str, asked: SocketAddr, server: &str, serves: SocketAddr) -> Self {
        let listener = lab.inside(server, || TcpListener::bind(serves).expect("bind"));
        let client = lab.inside(client, || TcpStream::connect_timeout(&asked, LONGEST));
        let client = client.unwrap_or_else(|error| panic!("to {asked}: {error}"));
        let (server, _) = listener.accept().expect("accept");
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(LONGEST)).expect("a time");
            stream.set_nodelay(true).expect("no delay");
        }
        Self { client, server }
    }

    /// Through the rules of [`translate`].
    fn translated(lab: &Lab, client: &str, asked: IpAddr, server: &str, serves: IpAddr) -> Self {
        let (asked, serves) = (
            SocketAddr::new(asked, ASKED),
            SocketAddr::new(serves, SERVED),
        );
        Self::new(lab, client, asked, server, serves)
    }

    fn client_address(&self) -> SocketAddr {
        self.client.local_addr().expect("connected")
    }

    /// The server speaks.
    fn push(&mut self, what: &str) {
        speak(&mut self.server, &mut self.client).unwrap_or_else(|error| panic!("{what}: {error}"));
    }

    /// The client speaks.
    fn ask(&mut self, what: &str) {
        speak(&mut self.client, &mut self.server).unwrap_or_else(|error| panic!("{what}: {error}"));
    }

    fn key(&self) -> (SocketAddr, SocketAddr) {
        let server = self.server.local_addr().expect("connected");
        (self.client_address(), server)
    }
}

fn speak(from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    for word in [b"one", b"two"] {
        from.write_all(word)?;
        let mut heard = [0; 3];
        to.read_exact(&mut heard)?;
        assert_eq!(&heard, word);
    }
    Ok(())
}

/// What a node's table has of the connection between two ends.
fn entry(lab: &Lab, node: &str, (from, to): (SocketAddr, SocketAddr)) -> Option<ConnectionEntry> {
    let maps = lab.datapath(node);
    let maps = &maps.maps;
    let found = match (from.ip(), to.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let ends = ((a.octets(), from.port()), (b.octets(), to.port()));
            maps.connections_v4
                .get(&ConnectionKey::of(ends.0, ends.1, 6).0)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let ends = ((a.octets(), from.port()), (b.octets(), to.port()));
            maps.connections_v6
                .get(&ConnectionKey::of(ends.0, ends.1, 6).0)
        }
        mixed => panic!("{mixed:?}"),
    };
    found.expect("read")
}
