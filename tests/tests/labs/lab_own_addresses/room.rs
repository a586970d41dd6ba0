//! More addresses than the maps hold are told before anything is touched, with what makes room.

use std::net::IpAddr;

use netpath::Ends as _;
use netpath_tests::{
    command::{assert_ends, run_netpath},
    lab::{on_a_machine, refused, run},
    netpath,
};

use super::{address, wire::machines_wire};

/// What the machine takes in as a whole is in the same maps as what is routed.
#[test]
fn a_machine_with_more_prefixes_than_fit_is_refused() {
    on_a_machine(|lab| {
        lab.edit("netns = \"host\"", "netns = \"host\"\nmax_routes = 3");
        let prefixes = ["10.50.0.0/24", "10.51.0.0/24"];
        for prefix in prefixes {
            run(&format!("ip route add local {prefix} dev lo"));
        }
        // The file has two, which fit.
        let error = refused(lab).to_string();
        let words = "have 4 IPv4 prefixes, and its maps have room for 3: set max_routes of the node to 4 or more";
        assert!(error.contains(words), "{error}");
        lab.assert_nothing_left();
        run(&format!("ip route del local {} dev lo", prefixes[1]));
        lab.converge();
        // Nor do those of one more endpoint, and of what comes later.
        let (name, node) = (lab.name("a3"), lab.name("H"));
        let add = |prefixes: &[&str]| {
            let mut command = netpath(&["endpoint", "add", &name, "--node", &node]);
            command.args(["--address", "10.0.9.2/24"]);
            command.args(prefixes.iter().flat_map(|prefix| ["--prefix", prefix]));
            command.output().expect("start")
        };
        assert_ends(&add(&["10.9.0.0/28"]), 2, &[words]);
        lab.edit("max_routes = 3", "max_routes = 4");
        lab.converge();
        assert_ends(&add(&["10.9.0.0/28"]), 0, &[]);
        run(&format!("ip route add local {} dev lo", prefixes[1]));
        assert_ends(
            &run_netpath(&["fastpath", "on", "--node", &node]),
            2,
            &["have 5 IPv4 prefixes"],
        );
        assert!(
            lab.shown("H")
                .contains(&"too_many_prefixes of node H".to_owned())
        );
        run(&format!("ip route del local {} dev lo", prefixes[1]));
        assert_eq!(lab.converge(), Vec::<String>::new());
        assert_ends(&run_netpath(&["endpoint", "remove", &name]), 0, &[]);
    });
}

#[test]
fn a_machine_with_more_addresses_than_fit_is_refused() {
    on_a_machine(|lab| {
        lab.edit("netns = \"host\"", "netns = \"host\"\nmax_endpoints = 4");
        // 32,768 beside those of endpoints: all whole, as somebody does who takes in what is for a load balancer.
        let lines: String = (0..32_774u32)
            .map(|number| {
                format!(
                    "route add local {} dev lo\n",
                    IpAddr::from((0x0b00_0000 + number).to_be_bytes())
                )
            })
            .collect();
        let file = std::env::temp_dir().join(format!("{}-routes", lab.prefix()));
        std::fs::write(&file, lines).expect("its own file");
        run(&format!("ip -batch {}", file.display()));
        std::fs::remove_file(&file).expect("its own file");
        let error = lab.try_converge().expect_err("a refusal");
        assert!(error.is_refusal(), "{error:?}");
        let text = error.to_string();
        // Two endpoints, an uplink and a bridge have one each, and the last two a subnet with a broadcast address.
        assert!(
            text.contains("have 32780 IPv4 addresses") && text.contains("room for 32772"),
            "{text}"
        );
        assert!(
            text.contains("set max_endpoints of the node to 12 or more"),
            "{text}"
        );
        lab.assert_nothing_left();
        lab.edit("max_endpoints = 4", "max_endpoints = 12");
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
        machines_wire(lab).assert_forged(address("11.0.63.1"));
        run("ip route add local 12.0.0.1 dev lo");
        let node = lab.name("H");
        let output = run_netpath(&["fastpath", "on", "--node", &node]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("32781 IPv4 addresses"), "{told}");
        assert_eq!(output.status.code(), Some(2), "{told}");
        lab.fast_path(false, "H", None);
        run("ip route del local 12.0.0.1 dev lo");
        lab.fast_path(true, "H", None);
    });
}
