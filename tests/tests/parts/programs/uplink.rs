//! `from_uplink` to an endpoint of this node.

use netpath_tests::{Addresses as _, Family, TestNode, between};

use super::redirect::kinds;

#[test]
fn packets_of_every_kind() {
    let node = TestNode::new();
    for family in Family::ALL {
        for source in [family.remote(), family.subnet(3, 9)] {
            let base = between(node.uplink.frame(), source, family.b());
            for frame in kinds(&base, family) {
                node.from_uplink(frame).goes_to(node.b);
            }
        }
    }
}

#[test]
fn to_each_endpoint_its_own() {
    let node = TestNode::new();
    for family in Family::ALL {
        for (destination, endpoint) in [
            (family.a(), node.a),
            (family.a_too(), node.a),
            (family.b(), node.b),
        ] {
            let frame = between(node.uplink.frame(), family.remote(), destination);
            node.from_uplink(frame.udp(1, 2)).goes_to(endpoint);
        }
    }
}

#[test]
fn padding_is_trimmed() {
    let node = TestNode::new();
    for family in Family::ALL {
        let frame = between(node.uplink.frame(), family.remote(), family.b()).udp(1, 2);
        let length = frame.build().len();
        node.from_uplink(frame.pad_to(length + 20))
            .trimmed_to(length)
            .goes_to(node.b);
    }
}
