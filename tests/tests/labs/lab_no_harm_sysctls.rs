//! Settings of the machine that netpath needs: it names the command that sets each, and neither following it nor `up` loses
//! the machine what it had.

use netpath_tests::lab::{Deadline, HOST, Lab, obey, on_a_machine, refused, run};

/// A router advertisement (RFC 4861, section 4.2) of fe80::99, for half an hour, to all nodes.
fn advertisement() -> Vec<u8> {
    let mut icmp = vec![134, 0, 0, 0, 64, 0];
    icmp.extend(1800u16.to_be_bytes());
    icmp.extend([0; 8]);
    let mut addresses = [0u8; 32];
    addresses[..2].copy_from_slice(&[0xfe, 0x80]);
    addresses[15] = 0x99;
    addresses[16..18].copy_from_slice(&[0xff, 0x02]);
    addresses[31] = 1;
    let length = u8::try_from(icmp.len()).expect("short");
    let pseudo = [&addresses[..], &[0, 0, 0, length, 0, 0, 0, 58], &icmp].concat();
    let sum = pseudo
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = sum.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("16 bits");
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    let ethernet = [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0x99, 0x86, 0xdd];
    let header = [0x60, 0, 0, 0, 0, length, 58, 255];
    [&ethernet[..], &header, &addresses, &icmp].concat()
}

fn has_default_route() -> bool {
    run("ip -6 route show default").contains("via fe80::99 dev up0 proto ra")
}

/// Gives the machine a default route as routers do.
fn advertise(lab: &Lab) {
    lab.injector("P", "eth0")
        .send(&advertisement())
        .expect("send");
    let deadline = Deadline::new();
    while !has_default_route() {
        deadline.check(|| "no default route comes of the advertisement".to_owned());
    }
}

#[test]
fn a_default_route_by_advertisement_outlives_up_and_its_advice() {
    on_a_machine(|lab| {
        // A machine that does not forward yet, and one that does, but not by its uplink: there it is a host.
        for forwarding in [
            &[("all", "0")][..],
            &[("all", "1"), ("default", "0"), ("up0", "0")],
        ] {
            for (dev, value) in forwarding {
                lab.set_sysctl("H", &format!("ipv6/conf/{dev}/forwarding"), value);
            }
            lab.set_sysctl("H", "ipv6/conf/up0/accept_ra", "1");
            advertise(lab);
            let error = refused(lab).to_string();
            assert!(error.contains("router advertisements on up0"), "{error}");
            assert!(
                error.contains("sysctl -w net.ipv6.conf.up0.accept_ra=2"),
                "{error}"
            );
            obey(lab, &error);
            assert!(has_default_route(), "after {error}");
            lab.converge();
            assert!(has_default_route(), "after up");
            lab.fast_path(false, "H", None);
            lab.down();
            assert!(has_default_route(), "after down");
            run("ip -6 route del default");
        }
    });
}

/// To the kernel every number but 0 is on.
#[test]
fn a_machine_that_forwards_by_another_number_forwards() {
    on_a_machine(|lab| {
        lab.set_sysctl("H", "ipv4/conf/up0/forwarding", "2");
        lab.set_sysctl("H", "ipv6/conf/all/forwarding", "2");
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
        let value = std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/forwarding");
        assert_eq!(value.expect("a sysctl").trim(), "2");
    });
}

#[test]
fn a_setting_of_an_interface_with_dots_in_its_name_is_named_rightly() {
    on_a_machine(|lab| {
        for line in [
            "ip link set up0 down",
            "ip link set up0 name bond0.354",
            "ip link set bond0.354 up",
            "ip addr add fd00:198::250/64 dev bond0.354 nodad",
        ] {
            run(line);
        }
        let deadline = Deadline::new();
        while !run("ip -o link show dev bond0.354").contains("state UP") {
            deadline.check(|| "the uplink does not come up".to_owned());
        }
        lab.rewrite(&HOST.replace("\"up0\"", "\"bond0.354\""));
        lab.set_sysctl("H", "ipv4/conf/bond0.354/forwarding", "0");
        obey(lab, &refused(lab).to_string());
        lab.converge();
        assert_eq!(lab.plan(), Vec::<String>::new());
    });
}
