//! Interfaces have alternative names, and are renamed: by either name an uplink is found, what is netpath's gets its own
//! name back, and of what is the machine's it is said how it is called now.

use std::net::IpAddr;

use netpath_common::Ifindex;
use netpath_tests::lab::{
    Bytes::Any, Deadline, HOST, Lab, addresses, obey, on_a_machine, refused, run,
};

const ALTNAME: &str = "enp0s31f6";

fn uplink_called(name: &str) -> String {
    let dev = "dev = \"up0\"";
    assert!(HOST.contains(dev));
    HOST.replace(dev, &format!("dev = \"{name}\""))
}

/// To the other endpoint, and to the other side of the uplink.
fn reaches(lab: &Lab) {
    let behind: [IpAddr; 2] = ["10.0.3.2", "fd00:3::2"].map(|text| text.parse().expect(text));
    for dst in addresses("a2").into_iter().chain(behind) {
        lab.assert_reaches("a1", dst, 63);
    }
}

/// Renames the machine's uplink: before Linux 6.2 it has to be down for that.
fn rename(from: &str, to: &str) {
    let route = "10.0.4.0/24 via 100.100.198.253";
    for line in [
        format!("ip link set {from} down"),
        format!("ip link set {from} name {to}"),
        format!("ip link set {to} up"),
        format!("ip addr add fd00:198::250/64 dev {to} nodad"),
        format!("ip route add {route}"),
    ] {
        run(&line);
    }
    let deadline = Deadline::new();
    while !run(&format!("ip -o link show dev {to}")).contains("state UP") {
        deadline.check(|| "the uplink does not come up".to_owned());
    }
}

fn assert_settled(lab: &Lab) {
    assert_eq!(lab.told("H"), [""; 0]);
    assert_eq!(lab.plan(), Vec::<String>::new());
    reaches(lab);
}

#[test]
fn an_uplink_is_found_by_its_alternative_name() {
    on_a_machine(|lab| {
        run(&format!("ip link property add dev up0 altname {ALTNAME}"));
        lab.rewrite(&uplink_called(ALTNAME));
        let plan = lab.plan();
        assert_eq!(lab.converge(), plan);
        assert_settled(lab);
        let before = lab.traffic("H");
        lab.assert_reaches("a1", "10.0.3.2".parse().expect("an address"), 63);
        let rows = [
            (format!("va1 > {ALTNAME} redirect_neigh"), 3),
            (format!("{ALTNAME} > va1 redirect_peer"), 3),
        ];
        let rows = rows
            .each_ref()
            .map(|(row, count)| (row.as_str(), *count, Any));
        let counted = lab.traffic("H").since(&before);
        for (row, count, _) in rows {
            assert_eq!(counted.row(row).0, count, "{row}: {counted:?}");
        }

        // The kernel's own name changes: the file's does not. Only what went with the interface while it was down is made.
        rename("up0", "lan.7");
        lab.converge();
        assert_settled(lab);
        // What is looked at and advised goes by the kernel's name.
        lab.set_sysctl("H", "ipv4/conf/lan.7/rp_filter", "1");
        assert_eq!(lab.told("H"), ["reverse_path_filter"]);
        lab.converge();
        assert_settled(lab);
        lab.set_sysctl("H", "ipv4/conf/lan.7/forwarding", "0");
        obey(lab, &refused(lab).to_string());
        lab.fast_path(false, "H", None);
        lab.fast_path(true, "H", None);
        assert_settled(lab);

        // The file may call it by its own name instead.
        lab.rewrite(&uplink_called("lan.7"));
        lab.converge();
        assert_settled(lab);
        lab.down();
        assert!(run("ip link show dev lan.7").contains(ALTNAME));
    });
}

#[test]
fn one_interface_is_not_two_uplinks() {
    on_a_machine(|lab| {
        run(&format!("ip link property add dev up0 altname {ALTNAME}"));
        let uplinks = format!("uplink = [{{ dev = \"{ALTNAME}\" }}, ");
        lab.rewrite(&HOST.replace("uplink = [", &uplinks));
        let error = refused(lab).to_string();
        assert!(
            error.contains(&format!("up0 and {ALTNAME} are names of one interface")),
            "{error}"
        );
    });
}

#[test]
fn a_machines_uplink_that_was_renamed_is_named() {
    on_a_machine(|lab| {
        lab.converge();
        rename("up0", "lan7");
        let name = lab.name("H");
        let says = format!("uplink up0 on {name}: uplink up0 is called lan7 now");
        let status = lab.status("H");
        assert!(
            status
                .findings()
                .any(|finding| finding.to_string().starts_with(&says)),
            "{status:?}"
        );
        let error = refused(lab).to_string();
        assert!(error.contains(&says), "{error}");
        obey(lab, &error);
        lab.converge();
        assert_settled(lab);

        // Or the file follows.
        run("ip link property del dev lan7 altname up0");
        lab.rewrite(&uplink_called("lan7"));
        lab.converge();
        assert_settled(lab);
    });
}

#[test]
fn a_host_veth_that_was_renamed_keeps_what_it_is() {
    on_a_machine(|lab| {
        lab.converge();
        let index = |lab: &Lab| -> Ifindex { lab.status("H").endpoints[0].interface.ifindex };
        let before = index(lab);
        run("ip link set va1 down");
        run("ip link set va1 name elsewhere");
        run("ip link set elsewhere up");
        assert_eq!(lab.told("H"), ["interface_renamed"]);
        let plan = lab.plan();
        assert_eq!(lab.converge(), plan);
        assert_eq!(index(lab), before);
        assert_settled(lab);
    });
}
