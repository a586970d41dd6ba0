//! What goes from one other node to another, through a hub: what the kernel would do there, it does.

use std::net::IpAddr;

use aya::programs::TcAttachType;
use netpath_tests::{
    Family,
    lab::{Deadline, HUB, Lab, Place, Watch},
    tc_program::{Behaviour, Position, TcProgram},
};

use super::{COUNT, all, counted, priority::BY_TOS, sent_and_seen};

/// What the hub sends on to node C.
const THROUGH: Place = Place::leaving(("A", "up1"));
/// Nodes B and A.
const ROUTERS: u8 = 2;
const ROW: &str = "up0 > up1 redirect_neigh";

/// From b1 to c1, of each family.
fn ends() -> [(IpAddr, IpAddr); 2] {
    [("10.2.1.2", "10.3.1.2"), ("fd00:2:1::2", "fd00:3:1::2")]
        .map(|(from, to)| (from.parse().expect(from), to.parse().expect(to)))
}

/// The hub's FORWARD accepts what it is left, and all know each other's MACs.
fn hub() -> Lab {
    let lab = Lab::up(&HUB.replace("forward_policy = \"drop\"\n", ""));
    for (_, to) in ends() {
        lab.assert_reaches("b1", to, 61);
    }
    lab
}

/// All of them go through, by the fast path.
fn goes_through(lab: &Lab, watch: &mut Watch<1>) {
    for ends in ends() {
        let before = lab.traffic("A");
        assert_eq!(sent_and_seen(lab, watch, ("b1", ends), ROUTERS), COUNT);
        lab.assert_counted("A", &before, &[counted(ROW)]);
    }
}

/// None of them does, for this reason.
fn is_kept(lab: &Lab, watch: &mut Watch<1>, reason: &str) {
    for ends in ends() {
        let before = lab.traffic("A");
        assert_eq!(sent_and_seen(lab, watch, ("b1", ends), ROUTERS), 0);
        lab.assert_counted("A", &before, &[counted(&format!("up0 > - punt {reason}"))]);
    }
}

#[test]
fn what_is_blocked_does_not_go_through() {
    let lab = hub();
    let mut watch = Watch::new(&lab, [THROUGH]);
    goes_through(&lab, &mut watch);
    for direction in ["out", "fwd"] {
        let lines = ends().map(|(from, to)| {
            format!("ip xfrm policy add src {from} dst {to} dir {direction} action block")
        });
        all(&lab, "A", &lines.join("\n"));
        lab.converge();
        is_kept(&lab, &mut watch, "ipsec");
        all(&lab, "A", "ip xfrm policy flush");
    }
    lab.converge();
    goes_through(&lab, &mut watch);
}

/// Where it comes in and where it leaves.
#[test]
fn hooks_of_either_uplink_see_what_goes_through() {
    let lab = hub();
    let mut watch = Watch::new(&lab, [THROUGH]);
    for (hook, dev) in [("egress", "up1"), ("ingress", "up0")] {
        goes_through(&lab, &mut watch);
        lab.run("A", "nft add table netdev t");
        let hook = format!("{{ type filter hook {hook} device {dev} priority 0 ; }}");
        lab.run("A", &format!("nft add chain netdev t c {hook}"));
        lab.run("A", "nft add rule netdev t c udp dport 7002 drop");
        lab.converge();
        is_kept(&lab, &mut watch, "netdev_hook");
        lab.run("A", "nft delete table netdev t");
        lab.converge();
    }
    goes_through(&lab, &mut watch);
}

#[test]
fn what_goes_through_has_the_priority_that_forwarding_gives_it() {
    let lab = hub();
    let (netns, hook) = (lab.netns("A"), TcAttachType::Egress);
    let injector = lab.injector("b1", "eth0");
    for fast_path in [true, false] {
        lab.fast_path(fast_path, "A", None);
        for (family, (from, to)) in Family::ALL.into_iter().zip(ends()) {
            for (tos, of_ipv4) in BY_TOS {
                let frame = lab.datagram("B", "b1", from, to).tos(tos).build();
                let behaviour = Behaviour::WATCH.only_length(frame.len() as u32);
                let leaving = TcProgram::attach(&netns, "up1", hook, Position::After, behaviour);
                let before = lab.traffic("A");
                for _ in 0..COUNT {
                    injector.send(&frame).expect("send");
                }
                if fast_path {
                    lab.assert_counted("A", &before, &[counted(ROW)]);
                }
                let mut expected = [0; 8];
                let priority = match family {
                    Family::V4 => of_ipv4,
                    Family::V6 => 0,
                };
                expected[usize::from(priority)] = COUNT as u64;
                let deadline = Deadline::new();
                while leaving.priorities() != expected {
                    deadline.check(|| {
                        format!("{family} {tos:#x} {fast_path}: {:?}", leaving.priorities())
                    });
                }
            }
        }
    }
}
