//! The fragments of a datagram: what comes behind one that is the kernel's for itself alone goes where that went.

use netpath::{
    datapath::ProgramKind,
    probe::frame::{FrameBuilder, PROTOCOL_UDP},
};
use netpath_common::PuntReason;
use netpath_tests::{Addresses as _, Device, Family, Passage, TestNode, between};

const TOO_LARGE: PuntReason = PuntReason::MtuExceeded;

/// A fragment that is so many bytes long from its IP header on.
fn sized(frame: FrameBuilder, family: Family, (offset, length): (u16, usize)) -> FrameBuilder {
    let extension = match family {
        Family::V4 => 0,
        Family::V6 => 8,
    };
    let payload = vec![offset as u8; length - (family.headers() - 14) - extension];
    let frame = frame.protocol(PROTOCOL_UDP).payload(&payload);
    frame.fragment(offset, offset == 0)
}

/// What fits, by itself and before anything has been too large.
const SMALL: (u16, usize) = (1480, 100);
const LARGE: (u16, usize) = (0, 1452);

fn narrow() -> TestNode {
    let node = TestNode::new();
    node.ip("link set epb mtu 1400\nlink set up0 mtu 1420");
    node
}

/// To an endpoint with a smaller MTU and out by an uplink, in each way that a packet can come.
#[test]
fn what_comes_behind_one_that_is_too_large_is_the_kernels() {
    for family in Family::ALL {
        let node = narrow();
        let remote = family.remote();
        let from_a = |to, frame: FrameBuilder, size| {
            node.from_a(sized(between(frame, family.a(), to), family, size))
        };
        let a = |id| node.a.frame().id(id);
        let goes = |passage: Passage<'_>, to: Option<Device>| match to {
            Some(device) => passage.goes_to(device),
            None => passage.goes_out(),
        };
        for (to, device) in [(family.b(), Some(node.b)), (remote, None)] {
            goes(from_a(to, a(1), SMALL), device);
            from_a(to, a(1), LARGE).is_punted(TOO_LARGE);
            from_a(to, a(1), SMALL).is_punted(TOO_LARGE);
            from_a(to, a(1), (2960, 1000)).is_punted(TOO_LARGE);
            // Another datagram, and another destination.
            goes(from_a(to, a(2), SMALL), device);
            from_a(to, a(2), LARGE).is_punted(TOO_LARGE);
            from_a(to, a(2), SMALL).is_punted(TOO_LARGE);
            from_a(to, a(1), SMALL).is_punted(TOO_LARGE);
            from_a(family.subnet(3, 9), a(1), SMALL).goes_out();
            // Whole packets of the same ends.
            let whole = || between(a(1), family.a(), to).udp(1, 2).payload(&[1; 64]);
            goes(node.from_a(whole()), device);
        }
        let from_uplink = |id, size| {
            let frame = between(node.uplink.frame().id(id), remote, family.b());
            node.from_uplink(sized(frame, family, size))
        };
        from_uplink(1, SMALL).goes_to(node.b);
        from_uplink(1, LARGE).is_punted(TOO_LARGE);
        from_uplink(1, SMALL).is_punted(TOO_LARGE);
    }
}

/// Those that all fit stay on the fast path, whatever MTU they came by.
#[test]
fn a_datagram_whose_fragments_fit_is_not() {
    for family in Family::ALL {
        let node = narrow();
        for size in [(0, 1392), (1344, 1392), (2688, 80)] {
            let frame = between(node.uplink.frame().id(7), family.remote(), family.b());
            node.from_uplink(sized(frame, family, size)).goes_to(node.b);
        }
    }
}

/// Options that only the first fragment has, as some systems send them.
#[test]
fn what_comes_behind_one_with_options_is_the_kernels() {
    let (node, family) = (TestNode::new(), Family::V4);
    for to in [family.b(), family.remote()] {
        let frame = |id, size| {
            let frame = between(node.a.frame().id(id), family.a(), to);
            sized(frame, family, size)
        };
        let record_route = [7, 7, 4, 0, 0, 0, 0, 0];
        let reason = PuntReason::IpOptions;
        node.from_a(frame(3, (0, 200)).options(&record_route))
            .is_punted(reason);
        node.from_a(frame(3, SMALL)).is_punted(reason);
        // A whole packet with options says nothing of others.
        let whole = between(node.a.frame().id(4), family.a(), to).udp(1, 2);
        node.from_a(whole.options(&record_route)).is_punted(reason);
        let next = node.from_a(frame(4, SMALL));
        match to == family.b() {
            true => next.goes_to(node.b),
            false => next.goes_out(),
        };
    }
}

/// The kernel's answer, or what it has put together, makes nothing of the connection the kernel's.
#[test]
fn nothing_is_entered_of_what_follows() {
    for family in Family::ALL {
        let node = narrow();
        let frame = |size| {
            sized(
                between(node.a.frame(), family.a(), family.b()),
                family,
                size,
            )
        };
        node.from_a(frame(LARGE)).is_punted(TOO_LARGE);
        // As a first fragment that came behind.
        node.from_a(frame((0, 600))).is_punted(TOO_LARGE);
        let back = between(node.b.frame(), family.b(), family.a()).udp(2, 1);
        Passage::new(&node, ProgramKind::FromEndpoint, node.b, back.build()).goes_to(node.a);
    }
}
