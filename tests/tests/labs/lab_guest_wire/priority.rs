//! The priority of what leaves, by which queueing disciplines classify.

use aya::programs::TcAttachType;
use netpath_tests::{
    Family,
    lab::Deadline,
    tc_program::{Behaviour, Position, TcProgram},
};

use super::{COUNT, counted, lab, pairs};

/// Type of service, and the priority that forwarding gives an IPv4 packet for it (`rt_tos2priority` in net/route.h).
pub const BY_TOS: [(u8, u8); 6] = [
    (0x00, 0),
    (0x08, 2),
    (0x10, 6),
    (0x18, 4),
    (0xb8, 4),
    (0xe0, 0),
];

#[test]
fn what_leaves_has_the_priority_that_forwarding_gives_it() {
    let lab = lab();
    // The queueing discipline is next.
    let (netns, hook) = (lab.netns("A"), TcAttachType::Egress);
    let attach = |length: usize| {
        let behaviour = Behaviour::WATCH.only_length(length as u32);
        TcProgram::attach(&netns, "up0", hook, Position::After, behaviour)
    };
    let injector = lab.injector("a1", "eth0");
    for fast_path in [true, false] {
        lab.fast_path(fast_path, "A", None);
        for (family, (from, to)) in Family::ALL.into_iter().zip(pairs("a1", "b1")) {
            for (tos, of_ipv4) in BY_TOS {
                let frame = lab.datagram("A", "a1", from, to).tos(tos).build();
                let leaving = attach(frame.len());
                assert_eq!(lab.plan(), Vec::<String>::new());
                let before = lab.traffic("A");
                for _ in 0..COUNT {
                    injector.send(&frame).expect("send");
                }
                if fast_path {
                    lab.assert_counted("A", &before, &[counted("va1 > up0 redirect_neigh")]);
                }
                let mut expected = [0; 8];
                let priority = match family {
                    Family::V4 => of_ipv4,
                    // `ip6_forward` leaves it as it is.
                    Family::V6 => 0,
                };
                expected[usize::from(priority)] = COUNT as u64;
                let what = format!("{family} {tos:#x} {fast_path}");
                let deadline = Deadline::new();
                while leaving.priorities() != expected {
                    deadline.check(|| format!("{what}: {:?}", leaving.priorities()));
                }
            }
        }
    }
}
